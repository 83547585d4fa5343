"""Verified copies of a database, and the way back.

SQLite is copied by its backup API in one step (``pages=-1``), from a connection
of its own: https://www.sqlite.org/backup.html. Measured against ``VACUUM
INTO``, it takes as long, and the copy is the database page by page: every row
and rowid, ``sqlite_sequence`` and free page. VACUUM promises no rowid of a
table without an INTEGER PRIMARY KEY, and runs the schema again, which fails
where an index needs a collation or function that only the app registers. What
is in the WAL is in the copy; the copy itself needs no file beside it.

A copy is made under a ``.partial`` name, 0600 from its first byte, checked,
synced and renamed; the maker holds a lock on it, so that what a killed run left
can be told from what is being made. Only files called as ours are ever pruned.
"""

from __future__ import annotations

import ast
import hashlib
import logging
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Collection as AnyOf
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peewee as pw

from framework_schema import ddl
from framework_schema.config import Config
from framework_schema.databases import Target, _own_copy, hide_password, translate
from framework_schema.drift import Drift
from framework_schema.errors import BackupFailed, Locked, SchemaError, Unreadable
from framework_schema.migration import Migration
from framework_schema.reshape import reshapings
from framework_schema.side_lock import SideLock
from framework_schema.sizes import size
from framework_schema.snapshot import Snapshot
from framework_schema.sources import FRAMEWORK
from framework_schema.sqlite import SqliteDialect

try:
    import fcntl
except ImportError:  # Windows: leftovers of dead runs stay
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

FOLDER = "backups"
"""Where copies go, beside the database, unless ``FRAMEWORK_SCHEMA_BACKUP_DIR`` says otherwise."""
STAMP = "%Y%m%dT%H%M%S%f"
NAME = re.compile(r"\d{8}T\d{12}Z\.backup")
KEPT = re.compile(r"\d{8}T\d{12}Z\.(manual|replaced)\.backup")
"""What a copy is called that nobody prunes: one made by hand, or of what a restore replaced."""
PARTIAL = ".partial"
SPARE = 1024 * 1024
"""Bytes that stay free on the disk beyond those of the copy."""
MORE = 2
"""Copies that may be kept beyond the usual number while attempts fail."""
DROPS = frozenset({"remove_model", "remove_fields"})
TAKES = DROPS | {"change_fields"}
REBUILDS = frozenset(
    {"change_fields", "add_not_null", "drop_not_null", "add_default", "add_constraint", "drop_constraints"}
)
DROPPING = re.compile(r"^\s*(DROP\s+TABLE|DELETE\s+FROM|TRUNCATE|ALTER\s+TABLE\b[^;]*\bDROP)\b", re.I | re.M)
Facts = tuple[int, int, tuple[Any, ...]]
Record = Callable[[pw.Database, Path | None], None]


# When one is due


def is_due(
    policy: str, engine: str, steps: Iterable[Migration], rebuilds: Callable[[], bool], tables: AnyOf[str] | None = None
) -> bool:
    """Tell whether a run begins with a copy.

    ``auto`` means: before a rebuild, and before a script that says it is
    destructive or can be seen to drop or rebuild something. What cannot be
    seen has to be said: ``destructive = True``. ``tables`` are those there are:
    what the framework's scripts rebuild of others is new.
    """
    if policy != "auto":
        return policy == "always"
    seen = DROPS | REBUILDS if engine == "sqlite" else DROPS
    return any(step.destructive or _does(step, seen, tables) for step in steps) or (engine == "sqlite" and rebuilds())


def takes(steps: Iterable[Migration], tables: AnyOf[str]) -> bool:
    """Tell whether a step says or can be seen to take away tables, columns, rows or values of these tables."""
    return any(step.destructive or _does(step, DROPS if step.source == FRAMEWORK else TAKES, tables) for step in steps)


def _does(step: Migration, calls: AnyOf[str], tables: AnyOf[str] | None) -> bool:
    """Look for calls and SQL that drop or rebuild, in everything of the script but its rollback."""
    parts = [node for node in step.tree.body if not (isinstance(node, ast.FunctionDef) and node.name == "rollback")]
    if step.source != FRAMEWORK:
        tables = None
    for node in (inner for part in parts for inner in ast.walk(part)):
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in calls
        if isinstance(node, ast.Call) and is_call and (tables is None or _may_name(node, tables)):
            return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and DROPPING.search(node.value):
            return True
    return False


def _may_name(call: ast.Call, tables: AnyOf[str]) -> bool:
    """Tell whether a call may be about one of these tables; the framework's models are called as their tables."""
    model = call.args[0] if call.args else None
    return not isinstance(model, ast.Constant) or ddl.fold(str(model.value)) in tables


def would_rebuild(database: pw.Database, drift: Drift, expected: Snapshot, live: Snapshot, *, repair: bool) -> bool:
    """Tell whether strict alignment has a table to rebuild, or rows to set aside; in doubt, yes."""
    if not drift.structural or repair:
        return bool(drift) and (repair or bool(drift.structural))
    assert isinstance(database, pw.SqliteDatabase)
    try:
        return any(table.new_sql or table.drops for table in reshapings(database, drift, expected, live))
    except (pw.DatabaseError, ddl.DDLError):
        return True


# Where copies are


def listed(target: Target, config: Config) -> tuple[Path, ...]:
    """Return the copies of a database that are called as ours, newest first."""
    folder, stem = _place(target, config)
    found = [path for path in _inside(folder) if _is_ours(path.name, stem)]
    return tuple(sorted(found, key=lambda path: path.name, reverse=True))


def _place(target: Target, config: Config) -> tuple[Path, str]:
    """Return the folder and the first part of the name.

    In one folder for many databases those of the same file name are told
    apart by a hash of their path.
    """
    if target.path is None and target.engine == "sqlite":
        raise BackupFailed(target.name, "a database without a path of its own has no place for backups", "Name a file.")
    if target.path is not None and config.backup_dir is None:
        return target.path.absolute().parent / FOLDER, f"{target.path.name}."
    whole = str(target.path.absolute()) if target.path is not None else hide_password(target.url)
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return Path(config.backup_dir or of_servers()), f"{_title(target)}.{digest}."


def of_servers() -> Path:
    """Return the folder for a server's dumps, the same one in whatever folder one stands: the user's data folder.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "framework-schema" / FOLDER


def _title(target: Target) -> str:
    return target.path.name if target.path is not None else re.sub(r"\W+", "_", str(target.database.database))


def _is_ours(name: str, stem: str, pattern: re.Pattern[str] = NAME) -> bool:
    return name.startswith(stem) and pattern.fullmatch(name.removeprefix(stem)) is not None


def _inside(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.is_symlink()]
    except FileNotFoundError:
        return []


# Making one


def make(
    target: Target,
    config: Config,
    into: str | os.PathLike[str] | None = None,
    *,
    by_hand: bool = False,
    is_attempt: bool = False,
) -> Path:
    """Copy a database, verify the copy, and return its path.

    ``into`` is the file to make, or a folder that is there; a file is never
    overwritten, and nothing is pruned. Without it the copy goes to the backup
    folder, where the newest ``config.backup_keep`` of those made by runs are
    kept; one made ``by_hand`` is never pruned. That of an ``is_attempt`` pushes
    none out yet: see ``settle``.

    Raises ``BackupFailed``; then no copy is left, and no older one is gone.
    """
    folder, stem = _place(target, config) if into is None else (Path(into), "")
    if into is None:
        _make_folder(target, folder)
    if into is not None and not folder.is_dir():
        file = folder
    else:
        stem = stem or f"{_title(target)}."
        kind = ".manual" if by_hand and into is None else ""
        file = folder / f"{stem}{datetime.now(UTC).strftime(STAMP)}Z{kind}.backup"
    with _failing(target):
        _clean(file.parent, stem or file.name)
        with _written(target, file) as partial:
            _maker(target)(target, partial)
        if is_attempt:
            _bound(target, config)
        elif into is None and not by_hand:
            _prune(target, config)
    logger.info("%s: backup %s", target.name, file)
    return file


def _make_folder(target: Target, folder: Path) -> None:
    with _failing(target):
        if folder == of_servers():
            folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def _maker(target: Target) -> Callable[[Target, Path], None]:
    if target.engine == "sqlite":
        return copy_sqlite
    from framework_schema.server_backup import dump

    return dump


@contextmanager
def _failing(target: Target, what: str = "the backup could not be made") -> Iterator[None]:
    """Say of what goes wrong that it was the backup, or the way back."""
    try:
        yield
    except SchemaError:
        raise
    except (OSError, sqlite3.Error, pw.DatabaseError) as error:
        known = (
            None if isinstance(error, OSError) else translate(target.name, pw.DatabaseError(str(error)), target.path)
        )
        if known is not None:
            raise known from error
        raise BackupFailed(
            target.name,
            f"{what} ({hide_password(str(error))})",
            "Mend that, or name another folder for backups (FRAMEWORK_SCHEMA_BACKUP_DIR).",
        ) from error


@contextmanager
def _written(target: Target, file: Path) -> Iterator[Path]:
    """Give the body an empty file to fill, and that file its name when the body is done."""
    partial = file.with_name(file.name + PARTIAL)
    if file.exists() or file.is_symlink():
        raise BackupFailed(target.name, f"{file} is there already", "Name a file that is not there.")
    with _private(partial) as handle:
        yield partial
        os.fsync(handle)
        partial.rename(file)
        _sync(file.parent)


@contextmanager
def _private(partial: Path) -> Iterator[int]:
    """Make an empty file that only this user may read, show that its maker lives, and remove it under that name."""
    handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        _lock(handle)
        yield handle
    finally:
        partial.unlink(missing_ok=True)
        os.close(handle)


def _lock(handle: int) -> None:
    """Show that the maker lives; the lock dies with it."""
    if fcntl is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync(folder: Path) -> None:
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _clean(folder: Path, stem: str) -> None:
    """Remove what killed runs left: partial copies of this database that nobody holds."""
    for path in _inside(folder):
        ours = path.name.removesuffix("-journal").removesuffix("-wal").removesuffix("-shm")
        name = ours.removesuffix(PARTIAL)
        if (
            ours.endswith(PARTIAL)
            and (name == stem or _is_ours(name, stem, KEPT) or _is_ours(name, stem))
            and _is_dead(folder / ours)
        ):
            path.unlink(missing_ok=True)


def _is_dead(partial: Path) -> bool:
    if fcntl is None:
        return False
    try:
        handle = os.open(partial, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def settle(target: Target, config: Config, made: Path, *, has_changed: bool, has_failed: bool) -> Path | None:
    """Decide what stays once an attempt is over, and return its copy if that does.

    An attempt that changed nothing leaves nothing behind: its copy is of a
    database that is there still. So however often it is repeated, no older
    copy goes. Only one that succeeds prunes, since until then the oldest copy
    may be the only one from before all attempts.
    """
    if not has_changed:
        logger.info("%s: backup %s goes, for nothing was changed", target.name, made)
        made.unlink(missing_ok=True)
        return None
    if not has_failed:
        with suppress(OSError):  # the run is done, whatever becomes of old copies
            _prune(target, config)
    return made


def _prune(target: Target, config: Config) -> None:
    _remove(target, listed(target, config)[max(config.backup_keep, 1) :])


def _bound(target: Target, config: Config) -> None:
    """Keep the copies of attempts that were killed or failed half done from filling the disk: the oldest ones stay."""
    copies = listed(target, config)
    _remove(target, copies[1 : max(len(copies) - max(config.backup_keep, 1) - MORE, 1)])


def _remove(target: Target, copies: Iterable[Path]) -> None:
    for path in copies:
        logger.info("%s: backup %s goes, others are kept", target.name, path)
        path.unlink(missing_ok=True)


# SQLite


def copy_sqlite(target: Target, partial: Path) -> None:
    """Copy what is committed, and check the copy.

    A connection of its own, since the one that holds the write lock cannot be
    read from by the backup API; one read transaction for facts and copy.
    """
    with _sibling(target) as source, _reading(source):
        _require_room(target, source, partial.parent)
        _copy(source, target, partial, check=True)


def _copy(source: pw.SqliteDatabase, target: Target, partial: Path, *, check: bool) -> None:
    facts = _facts(source)
    with _sibling(target, partial) as copy:
        copy.pragma("journal_mode", "off")
        source.connection().backup(copy.connection())
    with _sibling(target, partial) as copy:
        copy.pragma("journal_mode", "delete")  # of a WAL database, so that one file is the whole copy
        if check:
            SqliteDialect().check_health(copy, f"the copy of {target.name}")
        if _facts(copy) != facts:
            raise BackupFailed(target.name, "the copy is not what was copied", "Check disk and file system.")


def _facts(database: pw.SqliteDatabase) -> Facts:
    """Return what tells one file from another, next to its soundness; the copy has the same pages."""
    schema = database.execute_sql("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master ORDER BY rowid")
    return (database.pragma("page_count"), database.pragma("freelist_count"), tuple(schema.fetchall()))


@contextmanager
def _sibling(target: Target, file: Path | None = None) -> Iterator[pw.SqliteDatabase]:
    """Open a second connection like the target's, with all that is registered on it, or to another file so."""
    assert isinstance(target.database, pw.SqliteDatabase)
    timeout = target.database.timeout
    database = _own_copy(target.database, timeout)
    if file is not None:
        database.init(str(file.absolute()), pragmas=(), timeout=timeout, **database.connect_params)
    database.connect()
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _reading(database: pw.SqliteDatabase) -> Iterator[None]:
    """Hold one state of the database for the body."""
    database.execute_sql("BEGIN")
    try:
        database.execute_sql("SELECT 1 FROM sqlite_master").fetchone()
        yield
    finally:
        if database.connection().in_transaction:
            database.execute_sql("ROLLBACK")


def _require_room(target: Target, database: pw.SqliteDatabase, folder: Path) -> None:
    need = database.pragma("page_count") * database.pragma("page_size") + SPARE
    free = shutil.disk_usage(folder).free
    if free < need:
        raise BackupFailed(
            target.name,
            f"a backup needs {size(need)} and {folder} has {size(free)} free",
            "Free some space, name another folder (FRAMEWORK_SCHEMA_BACKUP_DIR), or go on without (--no-backup).",
        )


# The way back


def refuse_backup_as_target(target: Target, config: Config) -> None:
    """Raise ``BackupFailed`` for a target that is a copy itself, as where the two arguments changed places."""
    path = target.path
    if path is None:
        return
    folders = {FOLDER, *([Path(config.backup_dir).name] if config.backup_dir else [])}
    if path.suffix == ".backup" or path.absolute().parent.name in folders:
        raise BackupFailed(
            target.name,
            "this is a backup, or lies among them, and is never replaced",
            "The backup is named first, then the database: restore FILE TARGET.",
        )


def restore(target: Target, file: str | os.PathLike[str], config: Config, record: Record) -> Path | None:
    """Put the content of a backup in the place of the database's, and return a copy of what was there.

    On servers see ``server_backup.restore``. A SQLite backup is checked and
    copied first, and ``record`` is called with that copy, so that the rows and
    their record arrive together. It goes through SQLite into the live file, in
    one transaction: connections that are open see the old database or the new
    one, and a kill leaves one of the two. Nobody writes between the copy that is
    kept and the replacement.

    Raises ``Unreadable`` for a backup that cannot be trusted, ``Locked`` when
    others do not let go within the timeout. Nothing was changed then.
    """
    refuse_backup_as_target(target, config)
    source = Path(file)
    if not source.is_file():
        raise Unreadable(str(source), "there is no such backup", "See the folder of the backups.")
    if target.engine != "sqlite":
        return _restore_server(target, source, config, record)
    if target.path is None:
        raise BackupFailed(target.name, "restore is for files with a path", "Name a file.")
    if target.path.exists() and source.samefile(target.path):
        raise BackupFailed(target.name, "it cannot be restored from itself", "Name a backup.")
    failing = _failing(target, "the backup could not be restored")
    folder, stem = _place(target, config)
    has_content = target.path.exists() and target.path.stat().st_size > 0
    kept = folder / f"{stem}{datetime.now(UTC).strftime(STAMP)}Z.replaced.backup" if has_content else None
    with failing:
        _make_folder(target, folder)
        _clean(folder, stem)
        with _prepared(target, source, folder, stem, lambda copy: record(copy, kept)) as backup:
            _replace(target, backup, kept)
    return kept


def _restore_server(target: Target, source: Path, config: Config, record: Record) -> Path | None:
    from framework_schema.server_backup import dump, restore

    folder, stem = _place(target, config)
    kept = folder / f"{stem}{datetime.now(UTC).strftime(STAMP)}Z.replaced.backup"

    def keep() -> Path:
        _make_folder(target, folder)
        _clean(folder, stem)
        with _written(target, kept) as partial:
            dump(target, partial)
        return kept

    with _failing(target, "the backup could not be restored"):
        return restore(target, source, keep, record)


@contextmanager
def _prepared(
    target: Target, source: Path, folder: Path, stem: str, record: Callable[[pw.Database], None]
) -> Iterator[pw.SqliteDatabase]:
    """Check a backup, copy it, put the restoring on record in the copy, and hold that open."""
    partial = folder / f"{stem}{datetime.now(UTC).strftime(STAMP)}Z.backup{PARTIAL}"
    with _private(partial):
        with _sibling(target, source) as backup, _trusted(source, backup):
            _require_room(target, backup, folder)
            _copy(backup, target, partial, check=False)
        with _sibling(target, partial) as copy:
            record(copy)
            with _reading(copy):
                yield copy


@contextmanager
def _trusted(file: Path, backup: pw.SqliteDatabase) -> Iterator[None]:
    """Check a backup, and hold it as it was checked; of what the body meets nothing is said here."""
    with ExitStack() as held:
        try:
            backup.pragma("query_only", 1)
            held.enter_context(_reading(backup))
            if backup.pragma("page_count") < 2:
                raise Unreadable(str(file), "the backup holds nothing", "Name another one.")
            SqliteDialect().check_health(backup, str(file))
        except pw.DatabaseError as error:
            raise translate(str(file), error) or error from error
        yield


def _replace(target: Target, backup: pw.SqliteDatabase, kept: Path | None) -> None:
    assert target.path is not None
    if not target.path.exists():
        os.close(os.open(target.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with _sibling(target) as live:
        lock = SideLock.of(live)

        def refuse_running() -> None:
            if lock is not None and lock.is_held():
                raise Locked(target.name, "a script with `atomic = False` runs on it", "Try again when it is done.")

        if live.pragma("journal_mode") == "wal" and kept is not None:
            _replace_wal(target, backup, live, kept, refuse_running)
            return
        with _alone(live):
            refuse_running()
            if kept is not None:
                _keep(target, kept, nullcontext(live))
            backup.connection().backup(live.connection(), progress=_patience(target))


@contextmanager
def _alone(live: pw.SqliteDatabase) -> Iterator[None]:
    """Hold the file for the body, in exclusive locking mode, which outlasts the transactions inside.

    https://www.sqlite.org/pragma.html#pragma_locking_mode. It is let go at
    once, and not when the connection is collected.
    """
    live.pragma("locking_mode", "exclusive")
    try:
        live.execute_sql("BEGIN EXCLUSIVE")
        live.execute_sql("COMMIT")
        yield
    finally:
        live.pragma("locking_mode", "normal")
        with suppress(pw.DatabaseError):  # the lock goes with the next access, whatever that finds
            live.execute_sql("SELECT count(*) FROM sqlite_master").fetchall()


def _replace_wal(
    target: Target,
    backup: pw.SqliteDatabase,
    live: pw.SqliteDatabase,
    kept: Path,
    refuse_running: Callable[[], None],
) -> None:
    """Look and keep a copy while the backup API holds the write lock, between its first step and its last.

    Readers go on, of the old state until the last step commits.
    """
    wait = _patience(target)

    def between(status: int, remaining: int, total: int) -> None:
        wait(status, remaining, total)
        if status == sqlite3.SQLITE_OK and remaining:
            refuse_running()
            _keep(target, kept, _sibling(target))

    if backup.pragma("page_size") != live.pragma("page_size"):
        raise BackupFailed(
            target.name,
            "the backup has another page size, which a database in WAL mode cannot take over",
            "Stop the app, run `PRAGMA journal_mode=DELETE` on the database, and restore again.",
        )
    pages = backup.pragma("page_count") - 1
    backup.connection().backup(live.connection(), pages=pages, progress=between)


def _keep(target: Target, file: Path, opened: AbstractContextManager[pw.SqliteDatabase]) -> None:
    """Copy what is about to be replaced, sound or not; no other copy is pruned for it."""
    with opened as live, _reading(live):
        _require_room(target, live, file.parent)
        with _written(target, file) as partial:
            _copy(live, target, partial, check=False)


def _patience(target: Target) -> Callable[[int, int, int], None]:
    """Return what ends the wait for a lock, which the backup API by itself would never do."""
    assert isinstance(target.database, pw.SqliteDatabase)
    until = time.monotonic() + target.database.timeout

    def wait(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
            raise Locked(
                target.name, "another process holds the database and did not let go in time", "Stop it and try again."
            )

    return wait

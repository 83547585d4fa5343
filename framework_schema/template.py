"""A ready schema for a database that is not there yet, built once and copied.

Built in memory by the very scripts, twice, and only used when both times gave
the same bytes of schema and rows. Kept for the process, and in the user's cache
folder under a name that holds everything it depends on. Times in it are the
new database's own: where a row took SQLite's CURRENT_TIMESTAMP, the copy gets
the present one, and so does the history.

A copy never takes the place of anything: it is written under another name and
linked to the right one, which fails where there is a file already.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import socket
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema import marks
from framework_schema.databases import REGISTRIES
from framework_schema.dialects import Dialect, for_database
from framework_schema.expected import call, orm_of
from framework_schema.guard import Guard
from framework_schema.history import Event, History
from framework_schema.migration import Migration
from framework_schema.plan_cache import is_repeatable
from framework_schema.rollback import partly
from framework_schema.snapshot import Snapshot
from framework_schema.sources import FRAMEWORK
from framework_schema.sqlite_snapshot import of_database
from framework_schema.watched import WatchedConnection, WatchedDatabase

if TYPE_CHECKING:
    from framework_schema.migrator import LazyOrm

logger = logging.getLogger(__name__)

MOMENTS = {
    "current_timestamp": ("0001-02-03 04:05:06", "%Y-%m-%d %H:%M:%S"),
    "current_date": ("0001-02-03", "%Y-%m-%d"),
    "current_time": ("03:04:05.678901", "%H:%M:%S"),
}
"""What SQLite's clock says while a template is built, and how the copy writes the real time."""
LATER = {
    "current_timestamp": "9998-11-30 21:58:57",
    "current_date": "9998-11-30",
    "current_time": "21:58:57.123456",
}
"""What it says the second time, so that what is made of a time (its year, an order) is not the same and is noticed."""

CHANCE = ("random", "randomblob", "julianday", "unixepoch", "strftime", "datetime", "date", "time", "timediff")
"""Functions that fail while a template is built: what uses them goes the slow way."""

OWN_PRAGMAS = frozenset({
    "busy_timeout", "cache_size", "foreign_keys", "journal_mode", "journal_size_limit", "mmap_size", "synchronous",
    "temp_store", "wal_autocheckpoint",
})  # fmt: skip
"""PRAGMAs of the app's that a copied file can have all the same: they are the connection's, or set afterwards."""

OWN_PARAMS = frozenset({"cached_statements", "check_same_thread", "detect_types", "uri"})
"""Arguments of ``sqlite3.connect`` that say nothing about the file."""

KEPT = 8
"""Templates in the cache folder; the ones used longest ago go."""
MISSED = 256
"""Keys of which a process remembers that there was no template."""


@dataclass(frozen=True, slots=True)
class Made:
    """What one migration did."""

    key: str
    outcome: str
    made: tuple[str, ...]


@dataclass(frozen=True)
class Template:
    """The bytes of a database, what was made in it, and the cells that hold a time."""

    content: bytes
    steps: tuple[Made, ...]
    times: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def is_of(self, migrations: Sequence[Migration]) -> bool:
        """Tell whether it was made by just these migrations; that they are the same scripts, its key says."""
        return [step.key for step in self.steps] == [migration.key for migration in migrations]

    def snapshot(self, structural: bool) -> Snapshot:
        """Return the schema in it; read once a process."""
        return _snapshot(self.content, structural)

    def stamped(self, history: History) -> bytes:
        """Return the bytes for one new database, with its own times, host and process."""
        now = datetime.now(UTC).replace(microsecond=0)
        tables = (history.table, history.events_table)
        return _stamped(self.content, self.times, tables, now, socket.gethostname(), os.getpid())


@lru_cache(maxsize=4)
def _snapshot(content: bytes, structural: bool) -> Snapshot:
    database: Any = pw.SqliteDatabase(":memory:")
    with database.connection_context():
        database.connection().deserialize(content)
        return of_database(database, structural=structural)


@lru_cache(maxsize=1)
def _stamped(
    content: bytes, times: tuple[tuple[str, str], ...], tables: tuple[str, str], now: datetime, host: str, process: int
) -> bytes:
    """Write times, host and process into the bytes of a database; those made within a second are alike."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(content)
        connection.execute("BEGIN")
        at = now.strftime(MOMENTS["current_timestamp"][1])
        connection.execute(f"UPDATE {_quoted(tables[0])} SET applied_at = ?, execution_time_ms = 0", (at,))
        connection.execute(f"UPDATE {_quoted(tables[1])} SET at = ?, host = ?, process = ?", (at, host, process))
        for table, column in times:
            for mark, form in MOMENTS.values():
                sql = f"UPDATE {_quoted(table)} SET {_quoted(column)} = ? WHERE {_quoted(column)} = ?"
                connection.execute(sql, (now.strftime(form), mark))
        connection.execute("COMMIT")
        return connection.serialize()


class NoTemplate(Exception):
    """The scripts' effect is not the same every time, or cannot be known to be."""


def fits(database: pw.Database) -> bool:
    """Tell whether a connection is a plain one, so that a file made without it is as it would have made it."""
    if not isinstance(database, pw.SqliteDatabase) or not type(database).__module__.startswith(
        ("peewee", "framework_schema", "playhouse.pool", "playhouse.sqlite_ext")
    ):
        return False
    pragmas = {str(name).lower() for name, _ in vars(database).get("_pragmas", ())}
    given = {name for name, value in database.connect_params.items() if value is not WatchedConnection}
    return pragmas <= OWN_PRAGMAS and given <= OWN_PARAMS and _is_bare(database)


def _is_bare(database: Any) -> bool:
    """Tell whether an app gave its connections nothing by which the same statements may make other rows."""
    usual = pw.SqliteDatabase(None)
    return all(getattr(database, registry) == getattr(usual, registry) for registry in REGISTRIES)


def is_vacant(path: Path) -> bool:
    """Tell whether nothing is there, nor anything SQLite would take for a part of it."""
    return not os.path.lexists(path) and not any(
        os.path.lexists(f"{path}{end}") for end in ("-journal", "-wal", "-shm")
    )


def place(content: bytes, path: Path) -> bool:
    """Write a new database file, whole or not at all; False where there is one, or it cannot be done this way."""
    try:
        with _opened(path.parent) as folder, _begun(path) as (number, name):
            with os.fdopen(number, "wb", closefd=False) as file:
                file.write(content)
                file.flush()
                os.fsync(number)
            os.link(name, path, src_dir_fd=folder)  # with a folder, for else Linux would link the symbolic link
            os.fsync(folder)
    except OSError as error:
        logger.debug("%s: not from the template: %s", path, error)
        return False
    return True


@contextmanager
def _begun(path: Path) -> Iterator[tuple[int, str]]:
    """Open a file without a name, of which a crash leaves nothing, or else one with a name that nobody looks for.

    Yields its number and what to link; see ``O_TMPFILE`` in open(2).
    """
    try:
        number = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o644)
        partial = None
    except (AttributeError, OSError):
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        yield number, f"/proc/self/fd/{number}" if partial is None else str(partial.absolute())
    finally:
        os.close(number)
        if partial is not None:
            partial.unlink(missing_ok=True)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    number = os.open(folder, os.O_RDONLY)
    try:
        yield number
    finally:
        os.close(number)


def key_of(fingerprint: str, table: str, plugins: str) -> str:
    """Name everything a template depends on: scripts, settings, and the code that runs them."""
    return hashlib.sha256(repr((fingerprint, table, plugins, _code())).encode()).hexdigest()[:40]


def ready(key: str, build: Callable[[], Template | None]) -> Template | None:
    """Return the template of this key: this process's, the stored one, or a new one; None where there is to be none."""
    with _lock:
        if key not in _ready:
            found = stored(key)
            if found is None and (found := build()) is not None:
                store(key, found)
            _ready[key] = found
            for old in list(_ready)[:-KEPT]:
                del _ready[old]
        return _ready[key]


def at_hand(key: str) -> Template | None:
    """Return the template of this key if there is one already, in this process or stored; builds none."""
    with _lock:
        if key not in _ready and key not in _absent:
            found = stored(key)
            if found is not None:
                _ready[key] = found
            elif len(_absent) < MISSED:
                _absent.add(key)
        return _ready.get(key)


_lock = threading.Lock()
_ready: dict[str, Template | None] = {}
_absent: set[str] = set()
"""Keys that were not stored when first asked for; they are not looked for again."""


def stored(key: str) -> Template | None:
    """Read a template from the cache folder, if it is there and nobody else could have written it."""
    folder = _folder()
    if folder is None:
        return None
    try:
        path = folder / key
        if not _is_private(path):
            return None
        head, _, content = path.read_bytes().partition(b"\n")
        facts = json.loads(head)
        if hashlib.sha256(content).hexdigest() != facts["digest"]:
            return None
        os.utime(path)
    except (OSError, ValueError, KeyError):
        return None
    steps = tuple(Made(step["key"], step["outcome"], tuple(step["made"])) for step in facts["steps"])
    times = tuple((table, column) for table, column in facts["times"])
    return Template(content, steps, times, tuple(facts["notes"]))


def store(key: str, template: Template) -> None:
    """Put a template into the cache folder; where that cannot be done, the next process builds it again."""
    folder = _folder()
    if folder is None:
        return
    head = {
        "digest": hashlib.sha256(template.content).hexdigest(),
        "steps": [asdict(step) for step in template.steps],
        "times": template.times,
        "notes": template.notes,
    }
    with suppress(OSError):
        partial = folder / f".{key}.{os.getpid()}.partial"
        number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as file:
            file.write(json.dumps(head).encode() + b"\n" + template.content)
        partial.replace(folder / key)
        by_use = sorted(folder.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in by_use[KEPT:]:
            old.unlink(missing_ok=True)


def built(migrations: Sequence[Migration], table: str, fingerprint: str, plugins: str) -> Template | None:
    """Build a template from scripts, or None where a copy might not be what a run would make."""
    try:
        clock = {name: mark for name, (mark, _) in MOMENTS.items()}
        first, second = (_build(migrations, table, fingerprint, plugins, of) for of in (clock, LATER))
    except NoTemplate as reason:
        logger.debug("no template: %s", reason)
        return None
    own = {table, marks.events_of(table)}
    if _dump(first.content, clock, own) != _dump(second.content, LATER, own) or first.steps != second.steps:
        logger.debug("no template: the scripts made something else the second time")
        return None
    return first


def _build(
    migrations: Sequence[Migration], table: str, fingerprint: str, plugins: str, clock: Mapping[str, str]
) -> Template:
    with _memory(clock) as database:
        dialect = for_database(database)
        history = History(database, table)
        with dialect.exclusive(database, "template"):
            history.ensure_tables()
            steps = []
            orm = orm_of((), database)
            guard: Guard | None = None
            for migration in migrations:
                if not (migration.atomic and is_repeatable(migration)):
                    raise NoTemplate(f"{migration.key} may look outside of the database")
                if migration.source != FRAMEWORK and guard is None:
                    guard = Guard(dialect.snapshot(database, structural=True))
                steps.append(_run(database, dialect, history, migration, orm))
            made = dialect.snapshot(database, structural=True) if guard is not None else None
            if guard is not None and made is not None and guard.restored(made) != made:
                raise NoTemplate("a script takes out what the framework's scripts define")
            if dialect.violations(database):
                raise NoTemplate("rows without the row they refer to")
            own = {table, history.events_table}
            if any(_has_triggers(database, name) for name in own):
                raise NoTemplate("triggers on the history, which is written anew in each copy")
            times = tuple(_times(database, own, [*clock.values()]))
            mark = marks.made("strict", plugins, fingerprint, marks.state(database.execute_sql, table))
            at = migrations[-1].key if migrations else None
            history.log(Event("verified", key=at, mark=mark))
        connection: sqlite3.Connection = database.connection()
        return Template(connection.serialize(), tuple(steps), times)


def _run(database: WatchedDatabase, dialect: Dialect, history: History, migration: Migration, orm: LazyOrm) -> Made:
    doing = dialect.operations(database)
    try:
        with dialect.step(database, migration.key), database.watching(ours=False) as tape:
            call(migration, database, doing, orm, table=history.table)
    except (Exception, SystemExit) as error:
        raise NoTemplate(f"{migration.key}: {type(error).__name__}: {error}") from error
    if tape.asks_where:
        raise NoTemplate(f"{migration.key} asks which file it is in, or how that is set up")
    outcome = "adopted" if doing.is_adoption else "applied"
    detail = "its whole effect was there already" if doing.is_adoption else partly(doing.already_there)
    history.record_all([Event(outcome, "ok", migration.key, detail, duration_ms=0, checksum=migration.checksum)])
    return Made(migration.key, outcome, tuple(what for what in doing.done if what.startswith(("table ", "column "))))


@contextmanager
def _memory(clock: Mapping[str, str]) -> Iterator[Any]:
    """Open a database in memory whose clock stands still, and where chance is an error."""
    database: Any = WatchedDatabase(":memory:", factory=WatchedConnection)
    database.connect()
    try:
        connection = database.connection()
        for name, mark in clock.items():
            connection.create_function(name, 0, lambda mark=mark: mark)
        for name in CHANCE:
            connection.create_function(name, -1, _refuse)
        yield database
    finally:
        database.close()


def _refuse(*_: Any) -> None:
    raise ValueError("the clock and chance are not to be asked here")


def _times(database: pw.Database, without: set[str], marks: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Find the cells that hold the standing clock's time; raises ``NoTemplate`` where they cannot be set anew."""
    for table in database.get_tables():
        if table in without or database.execute_sql(f"SELECT 1 FROM {_quoted(table)} LIMIT 1").fetchone() is None:
            continue
        for column in database.get_columns(table):
            name = _quoted(column.name)
            like = " OR ".join([f"instr({name}, ?)"] * len(marks))
            values = {
                value for (value,) in database.execute_sql(f"SELECT {name} FROM {_quoted(table)} WHERE {like}", marks)
            }
            if values - set(marks) or (values and _has_triggers(database, table)):
                raise NoTemplate(f"{table}.{column.name} holds a time that cannot be set anew")
            if values:
                yield table, column.name


def _has_triggers(database: pw.Database, table: str) -> bool:
    sql = "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE"
    return database.execute_sql(sql, (table,)).fetchone() is not None


def _dump(content: bytes, clock: Mapping[str, str], own: Collection[str]) -> list[str]:
    """Return schema and rows as text, times by their names, without when the ``own`` tables were written."""
    names_of = {mark: f"<{name}>" for name, mark in clock.items()}
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(content)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        lines = [repr(row) for row in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")]
        for table in tables:
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({_quoted(table)})")]
            if table in own:
                names = [name for name in names if name not in ("at", "applied_at", "execution_time_ms", "mark")]
            rows = connection.execute(f"SELECT {', '.join(map(_quoted, names))} FROM {_quoted(table)}")
            lines += [f"{table} {[names_of.get(value, value) for value in row]!r}" for row in rows]
        return lines


def _folder() -> Path | None:
    """Return our folder in the user's cache, made where need be; None where others could write to it."""
    if not hasattr(os, "geteuid"):
        return None
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = root / "framework-schema"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if _is_private(folder) else None
    except (OSError, RuntimeError):
        return None


def _is_private(path: Path) -> bool:
    stat = path.lstat()
    return stat.st_uid == os.geteuid() and not stat.st_mode & 0o022


@lru_cache(maxsize=1)
def _code() -> str:
    """Name the code that runs the scripts: releases, and our own files, which differ between checkouts."""
    with os.scandir(Path(__file__).parent) as entries:
        files = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith(".py")]
    own = sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in files)
    code = (sqlite3.sqlite_version, platform.python_version(), version("peewee"), version("peewee-migrate"), own)
    return hashlib.sha256(repr(code).encode()).hexdigest()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

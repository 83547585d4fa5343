"""Reading a SQLite file without leaving a trace, and trying a migration on a snapshot of it.

How a migration is tried on a server stands in ``server_rehearsal``.
SQLite writes when it only reads: a WAL database gets ``-wal`` and ``-shm``
files when it is opened, its log is moved into it when it is closed, and a
journal that a crash left behind is rolled back. So how a file is read depends
on what stands beside it, see ``way_to_read``.
"""

from __future__ import annotations

import copy
import enum
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import peewee as pw

from framework_schema.databases import Target, translate
from framework_schema.errors import DatabaseError, Locked, MigrationFailed, NeedsWriting, Unreadable
from framework_schema.report import Report, State
from framework_schema.runner import Runner

Result = TypeVar("Result")

PAUSE = 0.05
"""Seconds between two looks at a file that changed under the first one."""


COPY = """
import os, shutil, sys
for file in sys.argv[2:]:
    shutil.copyfile(file, os.path.join(sys.argv[1], os.path.basename(file)))
"""


class Way(enum.Enum):
    """How to read a database file so that nothing in its folder changes.

    ``LOCKED``: a rollback-journal database, read under SQLite's own shared lock.
    ``SHARED``: a WAL database with its ``-shm``; we join the readers and may not
    write to that file. ``STILL``: a WAL database that nobody has open and whose
    log is empty. SQLite would create ``-wal`` and ``-shm``, so it is told that
    the file does not change; that this was true is proven afterwards.
    ``COPIED``: what cannot be read before it is recovered, a hot journal or a
    log without ``-shm``; the files are copied, and the copy is recovered.
    """

    LOCKED = "mode=ro"
    SHARED = "mode=ro&readonly_shm=1"
    STILL = "mode=ro&immutable=1"
    COPIED = "mode=rw"


def look(runner: Runner, use: Callable[[Runner], Result], *, copies: bool = True) -> Result:
    """Call ``use`` with a runner that reads the same database and cannot change a byte of its folder.

    When the file changes while it is read without a lock, the answer is thrown
    away and ``use`` is called again, until the runner's timeout. ``copies``
    allows ``use`` to be given a copy of what cannot be read as it is; a caller
    that will write when there is need for it does not want that.

    Raises ``Locked`` when the file never stands still, ``NeedsWriting`` when
    ``use`` tries to write, and what else ``use`` raises.
    """
    path = runner.target.path
    if path is None or not path.is_file():
        return use(runner)
    path = path.resolve()
    deadline = time.monotonic() + runner.config.timeout
    while True:
        way = way_to_read(path)
        before = _stamp(path)
        try:
            if way is not Way.COPIED:
                # All connections of a process share a -shm: opened read-only, it would bind a later writer too.
                is_before_writing = way is Way.SHARED and not copies
                result = use(_twin(runner, uri_of(path, Way.LOCKED if is_before_writing else way)))
                if way is not Way.STILL or _stamp(path) == before:
                    return result
        except DatabaseError as error:
            stands_still = way is not Way.STILL or _stamp(path) == before
            if stands_still and "readonly database" not in str(error.__cause__):
                raise
            if stands_still and (way is not Way.SHARED or not copies):
                raise NeedsWriting(error.database, error.problem, error.remedy) from error
            way = Way.COPIED if stands_still else way
        if way is Way.COPIED and copies:
            return _look_at_copy(runner, path, use)
        if way is Way.COPIED:
            raise NeedsWriting(runner.target.name, "it has to be recovered after a crash", "Migrate it.")
        if time.monotonic() > deadline:
            raise Locked(runner.target.name, "it is being written all the time", "Try again when it is at rest.")
        time.sleep(PAUSE)


def way_to_read(path: Path) -> Way:
    """Choose how to read a SQLite file, by what stands beside it and by its own answer.

    ``nolock=1`` asks for the journal mode without a trace: SQLite refuses it for
    a WAL database before it creates anything, and says so of a hot journal.
    Reading the header ourselves would drop the locks of this process's other
    connections to the file when we close it.
    """
    if Path(f"{path}-shm").exists():
        return Way.SHARED
    if _size(f"{path}-wal"):
        return Way.COPIED
    try:
        with closing(sqlite3.connect(uri_of(path, "mode=ro&nolock=1"), uri=True)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()  # reads the header, parses nothing
    except sqlite3.Error as error:
        if "readonly database" in str(error):
            return Way.COPIED
        if "unable to open" in str(error) and os.access(path, os.R_OK):
            return Way.STILL
    return Way.LOCKED


def uri_of(path: Path, way: Way | str) -> str:
    """Write a path as SQLite's URI, whatever bytes are in it."""
    query = way.value if isinstance(way, Way) else way
    return f"file:{quote(os.fsencode(path.absolute()))}?{query}"


def _twin(runner: Runner, uri: str, **params: Any) -> Runner:
    """Return a runner that differs in the connection alone; no PRAGMA of the app's is taken along."""
    database = pw.SqliteDatabase(uri, uri=True, timeout=runner.config.timeout, **params)
    for registry in ("_aggregates", "_collations", "_functions", "_window_functions", "_extensions"):
        own = getattr(runner.target.database, registry, None)
        if own is not None:
            setattr(database, registry, type(own)(own))
    twin = copy.copy(runner)
    twin.target = replace(runner.target, database=database)
    twin.may_write = "mode=rw" in uri
    return twin


def _look_at_copy(runner: Runner, path: Path, use: Callable[[Runner], Result]) -> Result:
    with _folder(path) as folder:
        place = _copied(runner.target, path, folder, runner.config.timeout)
        return use(_twin(runner, uri_of(place, Way.COPIED)))


def _copied(target: Target, path: Path, folder: Path, timeout: float) -> Path:
    """Copy a database with its log and journal while nobody has it open.

    Another process copies, since closing a file drops all locks this one may
    hold on it. When the files changed meanwhile it is done again.
    """
    deadline = time.monotonic() + timeout
    while True:
        before = _stamp(path)
        files = [str(path), *(f"{path}{end}" for end in ("-wal", "-journal") if Path(f"{path}{end}").exists())]
        command = [sys.executable, "-I", "-S", "-c", COPY, str(folder), *files]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise Unreadable(target.name, f"it could not be copied ({last})", "Check permissions and free disk.")
        if _stamp(path) == before:
            return folder / path.name
        if time.monotonic() > deadline:
            raise Locked(target.name, "it is being written all the time", "Try again when it is at rest.")


def _stamp(path: Path) -> tuple[Any, ...]:
    """Return what changes when anyone writes: the file's and its side files' identity, size and time."""
    found: list[tuple[int, int, int] | None] = []
    for end in ("", "-wal", "-shm", "-journal"):
        try:
            stat = Path(f"{path}{end}").stat()
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        except OSError:
            found.append(None)
    return tuple(found)


def _size(path: str | Path) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """Make a private folder for a copy, removed after; refuses when the disk cannot hold one."""
    with tempfile.TemporaryDirectory(prefix="framework-schema-") as name:
        need, free = _size(path) + _size(f"{path}-wal"), shutil.disk_usage(name).free
        if need > free:
            raise Unreadable(
                str(path),
                f"a snapshot needs {need} bytes and {tempfile.gettempdir()} has {free}",
                "Set TMPDIR to a folder with more space.",
            )
        yield Path(name)


# Rehearsing


@dataclass(frozen=True, slots=True)
class Rehearsal(Report):
    """What ``migrate`` would do, tried where it leaves nothing behind; the database itself is as it was.

    ``state`` is ``pending`` where there is something to do and it went well.
    ``rows`` were written by the whole run, history included; ``disk_bytes`` is
    what a SQLite file needs on disk while it runs, journal and growth together.
    """

    rows: int = 0
    disk_bytes: int = 0
    headings: tuple[tuple[int, str], ...] = ()
    """Which migration begins at which statement of ``sql``."""
    counts: tuple[tuple[int, int], ...] = ()
    """How many rows statements concerned, by their place."""

    def as_dict(self) -> dict[str, Any]:
        """Return the database's part of ``--json``, with what only a rehearsal knows."""
        return Report.as_dict(self) | {"dry_run": True, "rows": self.rows, "disk_bytes": self.disk_bytes}


def rehearse(runner: Runner, to: str | None = None, *, repair: bool = False, allow_ahead: bool = False) -> Rehearsal:
    """Run ``migrate`` on a snapshot of the runner's database and tell what reached the connection.

    Not a byte, time or side file of the original changes. What a script does
    outside of its database it does here too. On servers see
    ``server_rehearsal``; the report's ``notes`` say what could not be tried.

    Raises ``DatabaseError`` as ``migrate`` would for a database that cannot be
    worked on.
    """
    return _rehearsed(runner, lambda twin: twin.migrate(to, repair=repair, allow_ahead=allow_ahead))


def rehearse_rollback(
    runner: Runner, steps: int = 1, to: str | None = None, source: str | None = None, *, force: bool = False
) -> Rehearsal:
    """Run ``rollback`` on a snapshot; the report's ``lost`` tells which tables, columns and rows would go."""
    return _rehearsed(runner, lambda twin: twin.rollback(steps, to, source, force=force))


def _rehearsed(runner: Runner, run: Callable[[Runner], Report]) -> Rehearsal:
    if runner.target.engine != "sqlite":
        from framework_schema.server_rehearsal import rehearse_on_server

        tape = Tape()
        return _told(rehearse_on_server(runner, run, tape), tape, 0, None)
    original = runner.target.path
    source = original if original is not None else Path("database")
    with _folder(source) as folder:
        place = folder / source.name
        if original is None or original.exists():
            _snapshot(runner, place)
        tape = Tape()
        size = _size(place)
        twin = _twin(runner, uri_of(place, "mode=rwc"), factory=partial(RecordingConnection, tape))
        twin.target = replace(twin.target, path=place)
        twin.config = replace(twin.config, backup="never")
        twin.announce = tape.head
        try:
            report = run(twin)
        except MigrationFailed as error:
            report = error.report
    return _told(report, tape, max(0, tape.bytes_at_end - size), original)


def _snapshot(runner: Runner, place: Path) -> None:
    """Copy the database with SQLite's backup, log included, from a connection that cannot write.

    A read transaction comes first: it waits as long as the timeout says, where
    Python's ``backup`` would ask a locked database again for ever.
    """

    def backup(reader: Runner) -> None:
        with reader.target.connected() as database:
            database.begin()
            database.execute_sql("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            try:
                with closing(sqlite3.connect(place)) as copied:
                    database.connection().backup(copied)
            except sqlite3.Error as error:
                known = translate(reader.target.name, pw.DatabaseError(str(error)))
                raise known or Unreadable(reader.target.name, str(error), "Look at the file.") from error

    look(runner, backup)


def _told(report: Report, tape: Tape, disk: int, path: Path | None) -> Rehearsal:
    state = State.PENDING if report.state is State.MIGRATED else report.state
    parts = {field.name: getattr(report, field.name) for field in fields(Report)}
    parts |= {"state": state, "sql": tuple(tape.statements) if state is not State.CURRENT else ()}
    if state is State.PENDING:
        parts["pending"] = (*report.applied, *report.adopted, *report.pending)
        parts["notes"] += tuple(_obstacles(path, disk))
    parts |= {"headings": tuple(tape.headings), "counts": tuple(tape.counts.items())}
    return Rehearsal(**parts, rows=tape.rows, disk_bytes=disk)


def _obstacles(path: Path | None, disk: int) -> Iterator[str]:
    """Name what a snapshot cannot show and a real run would meet."""
    if path is None:
        return
    folder = path.absolute().parent
    for place in (path, folder):
        if place.exists() and not os.access(place, os.W_OK):
            yield f"a real run would fail: this user may not write {place}"
    free = shutil.disk_usage(folder).free
    if free < disk:
        yield f"a real run would fail: it needs {disk} bytes of disk and {folder} has {free}"


class Tape:
    """The statements that reached a connection and change something, as they were written.

    Values are left out: of a statement with parameters their number is noted,
    so that no row's content is shown.
    """

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.counts: dict[int, int] = {}
        self.rows = 0
        self.bytes_at_end = 0
        self.is_on = True

    def head(self, title: str) -> None:
        """Say what the statements to come are for."""
        self.headings.append((len(self.statements), title))

    def count(self, sql: str, rows: int) -> None:
        """Note how many rows the last statement concerned."""
        if rows > 0 and self.is_on and self.statements and not only_reads(sql):
            self.counts[len(self.statements) - 1] = rows

    def note(self, sql: str, params: int = 0, times: int | None = None) -> None:
        """Add a statement, unless it only reads."""
        if self.is_on and not only_reads(sql):
            marks = [f"{params} parameter{'s' * (params != 1)}"] if params else []
            marks += [f"{times} times"] if times is not None else []
            self.statements.append(sql.strip() + (f"  -- {', '.join(marks)}" if marks else ""))


def only_reads(sql: str) -> bool:
    """Tell whether a statement cannot change anything, by its first word."""
    word, rest = _first_word(sql)
    if word == "PRAGMA":
        return "=" not in rest
    if word in ("SAVEPOINT", "RELEASE") or (word == "ROLLBACK" and "TO" in rest.upper().split()):
        return True  # their names are random, and what they keep or undo is not on disk before the COMMIT
    if word == "WITH":
        return not any(verb in rest.upper().split() for verb in ("INSERT", "UPDATE", "DELETE", "REPLACE"))
    return word in ("SELECT", "EXPLAIN", "VALUES", "SET", "SHOW", "DESC", "DESCRIBE", "")


def _first_word(sql: str) -> tuple[str, str]:
    text = sql.lstrip("; \t\r\n")
    while text.startswith(("--", "/*")):
        text = text.partition("\n" if text.startswith("--") else "*/")[2].lstrip("; \t\r\n")
    word = text.split(None, 1)[0].rstrip(";(") if text else ""
    return word.upper(), text[len(word) :]


class RecordingConnection(sqlite3.Connection):
    """A connection that puts every statement on tape, those of raw cursors too."""

    def __init__(self, tape: Tape, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tape = tape
        tape.is_on = False
        if self.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
            # The journal then stays after the commit, so that its size can be read.
            self.execute("PRAGMA journal_mode = PERSIST").fetchone()
        tape.is_on = True

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor that tells the tape."""
        return super().cursor(RecordingCursor)

    def commit(self) -> None:
        """Commit; on tape only where there is a transaction, as SQLite sees it."""
        if self.in_transaction:
            self.tape.note("COMMIT")
        super().commit()

    def rollback(self) -> None:
        """Roll back, likewise."""
        if self.in_transaction:
            self.tape.note("ROLLBACK")
        super().rollback()

    def close(self) -> None:
        """Take the measures that are gone with the connection, and close."""
        self.tape.is_on = False
        self.tape.rows += self.total_changes
        place = Path(self.execute("PRAGMA database_list").fetchone()[2])
        self.tape.bytes_at_end = sum(entry.stat().st_size for entry in place.parent.iterdir())
        super().close()


class RecordingCursor(sqlite3.Cursor):
    """A cursor of a recording connection."""

    connection: RecordingConnection

    def execute(self, sql: str, parameters: Any = ()) -> RecordingCursor:
        """Execute one statement."""
        self.connection.tape.note(sql, len(parameters))
        super().execute(sql, parameters)
        self.connection.tape.count(sql, self.rowcount)
        return self

    def executemany(self, sql: str, parameters: Iterable[Any]) -> RecordingCursor:
        """Execute one statement for every row of parameters."""
        rows = list(parameters)
        self.connection.tape.note(sql, len(rows[0]) if rows else 0, len(rows))
        super().executemany(sql, rows)
        self.connection.tape.count(sql, self.rowcount)
        return self

    def executescript(self, sql_script: str) -> RecordingCursor:
        """Execute several statements."""
        self.connection.tape.note(sql_script)
        super().executescript(sql_script)
        return self

"""The schema that migrations define, found by running them where there is nothing."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema import old_style
from framework_schema.dialects import Dialect, Scratch, for_database, memory
from framework_schema.errors import NameTaken, SourceError
from framework_schema.guard import Guard
from framework_schema.history import History
from framework_schema.marks import TABLE
from framework_schema.migration import Migration, Style
from framework_schema.snapshot import Snapshot
from framework_schema.sources import FRAMEWORK
from framework_schema.wording import say

if TYPE_CHECKING:  # brings peewee_migrate, which only a run needs
    from framework_schema.migrator import LazyOrm, type_of_model
    from framework_schema.operations import Operations

SQLITE = Scratch("sqlite", memory)
REMEDY = "If it is no migration, take the number from its name, or begin it with _."


def expected_schema(
    migrations: tuple[Migration, ...], table: str, structural: bool = False, scratch: Scratch = SQLITE
) -> Snapshot:
    """Return the schema these migrations make of an empty database, history included.

    A pure function of its arguments, so the result is kept for the process. A
    script that cannot run where there is no data (it reads rows it counts on)
    is passed over: what it makes is then not expected of anyone. So is one of an
    app or plugin that takes out what the framework's scripts define; see ``guard``.
    """
    if scratch.key == SQLITE.key:
        return _made(migrations, table, (structural,), scratch)[0]
    # A server's scratch takes seconds to make and drop, and a look at it none: so look both ways while it is there.
    return _made(migrations, table, (False, True), scratch)[structural]


@lru_cache(maxsize=16)
def _made(
    migrations: tuple[Migration, ...], table: str, looks: tuple[bool, ...], scratch: Scratch
) -> tuple[Snapshot, ...]:
    """Run the scripts in a scratch, and read it once for each look, structural or not."""
    with scratch.opened() as database, (dialect := for_database(database)).keeping(database):
        History(database, table).ensure_tables()
        if scratch.key != SQLITE.key:
            dialect.snapshot(database)  # all there is, which is little: so what is not known later is not there
        orm = orm_of((), database)
        guard: Guard | None = None
        is_framed = any(migration.source == FRAMEWORK for migration in migrations)
        for migration in migrations:
            if is_framed and migration.source != FRAMEWORK and guard is None:
                with dialect.reading_scratch(database):
                    guard = Guard(dialect.snapshot(database, structural=looks[-1]))
            error = _tried(migration, database, dialect, orm, table, guard)
            if error is not None and dialect.lacks_what_is_outside(error):
                with dialect.seeing_outside(database):
                    _tried(migration, database, dialect, orm, table, guard)
        with dialect.reading_scratch(database):
            whole = dialect.snapshot(database, structural=looks[-1])
        whole = whole if guard is None else guard.restored(whole)
        return tuple(whole if structural == looks[-1] else whole.loose() for structural in looks)


def _tried(
    migration: Migration, database: pw.Database, dialect: Dialect, orm: LazyOrm, table: str, guard: Guard | None
) -> BaseException | None:
    """Run one script in a scratch; return what it failed with."""
    try:
        with dialect.step(database, migration.key):
            call(migration, database, dialect.operations(database), orm, table=table)
            dialect.check_scratch(database)
            if guard is not None:
                guard.refuse_loss(migration.key, guard.framework, dialect.snapshot(database))
    except (Exception, SystemExit) as error:
        return error
    return None


def call(
    migration: Migration,
    database: pw.Database,
    doing: Operations,
    orm: LazyOrm,
    *,
    undo: bool = False,
    table: str = TABLE,
) -> None:
    """Run one script, the way its style wants to be called; raises ``SourceError`` for one that cannot be.

    ``table`` is the history's.
    """
    if migration.unsupported:
        raise SourceError(migration.key, f"it cannot be run: {migration.unsupported}", REMEDY)
    if migration.style is Style.CURSOR:
        old_style.run(migration, database, doing, table)
        return
    from framework_schema.migrator import ConvergingMigrator

    migrator = ConvergingMigrator(database, doing, orm)
    migration.call("rollback" if undo else "migrate", migrator, database, fake=False)
    migrator()


def describe(error: BaseException, step: Migration) -> str:
    """Say what failed and on which line of the script, without the values of any row."""
    frames = [frame for link in (error.__cause__, error) if link for frame in traceback.extract_tb(link.__traceback__)]
    lines = [frame.lineno for frame in frames if frame.filename == str(step.path)]
    where = f" ({step.path.name}, line {lines[-1]})" if lines else ""
    return (str(error) if isinstance(error, NameTaken) else say(error)) + where


def orm_of(applied: tuple[Migration, ...], database: pw.Database) -> LazyOrm:
    """Return the models that the applied scripts define, replayed only when a pending script asks."""
    from framework_schema.migrator import LazyOrm

    def replay() -> Iterator[type_of_model]:
        for model in _replayed(applied, type(database)):
            model._meta.set_database(database)
            yield model

    return LazyOrm(replay, for_database(database).operations(database).model_of)


def _replayed(applied: tuple[Migration, ...], kind: type[pw.Database]) -> list[type_of_model]:
    """Run scripts against a database that answers nothing; one that fails is passed over."""
    from framework_schema.migrator import ConvergingMigrator, LazyOrm
    from framework_schema.operations import NoOperations

    silent = _silent(kind)(None)  # type: ignore[arg-type]  # mypy asks its instances to be hashable, not the class
    orm = LazyOrm(lambda: iter(()), lambda name: None)
    for migration in applied:
        if migration.style is Style.PEEWEE:
            try:
                migrator = ConvergingMigrator(silent, NoOperations(silent), orm)
                migration.call("migrate", migrator, silent, fake=True)
            except (Exception, SystemExit):
                continue
    return list(orm)


@lru_cache(maxsize=16)
def _silent(kind: type[pw.Database]) -> Any:
    """Return the kind of database that answers nothing; a class takes longer to make than to use."""
    return type("Silent", (_Silent, kind), {})


class _Silent:
    """Takes every statement and answers with no rows; holds no connection.

    Patching the real class instead, as peewee_migrate does, would silence
    every database of the process.
    """

    def connect(self, *args: Any, **kwargs: Any) -> None:
        raise pw.InterfaceError("a replayed script has no connection")

    def connection(self) -> None:
        self.connect()

    def execute_sql(self, *args: Any, **kwargs: Any) -> _NoRows:
        return _NoRows()

    def begin(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing, nor in the next two."""

    commit = rollback = begin

    def last_insert_id(self, *args: Any, **kwargs: Any) -> int:
        return 0


class _NoRows:
    description: tuple[Any, ...] = ()
    rowcount = 0
    lastrowid = 0

    def fetchone(self) -> None:
        return None

    def fetchall(self) -> list[Any]:
        return []

    def fetchmany(self, size: int = 1) -> list[Any]:
        return []

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def close(self) -> None:
        """Do nothing."""

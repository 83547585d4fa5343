"""What differs between engines: lock, transaction, checks, and who reads and changes a schema.

``for_database`` is the one place that asks which engine it is; all else goes
through the ``Dialect`` it returns. A dialect keeps no state.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema.errors import ConfigError, PlanRefused

if TYPE_CHECKING:
    from framework_schema.alignment import Alignment
    from framework_schema.drift import Drift
    from framework_schema.left import Kept, Left
    from framework_schema.operations import Operations
    from framework_schema.orphans import Violation
    from framework_schema.shipped import Shipped
    from framework_schema.snapshot import Snapshot

POLL = 0.1
"""Seconds between two looks at the migration lock."""


class Hindrance(enum.Enum):
    """How another connection can stand in the way of a script."""

    CONFLICT = enum.auto()
    """The engine undid our transaction in favour of another one; the same again may succeed."""
    LOCK = enum.auto()
    """A lock was not to be had in time."""


@dataclass(frozen=True)
class Scratch:
    """A place where there is nothing yet, to run scripts in and look what they make.

    Two with equal ``key`` give the same result for the same scripts, so that
    it can be kept: it names the engine and whatever else matters to the schema.
    """

    key: str
    opened: Callable[[], AbstractContextManager[pw.Database]] = field(compare=False, repr=False)


class Dialect(ABC):
    """One engine. ``database`` is always an open connection of the runner's own."""

    name: str
    ddl_rolls_back: bool
    """Whether a transaction undoes DDL; where not, a script's progress is recorded step by step."""
    restores_rows: bool = False
    """Whether ``restore_rows`` is there; where not, rows set aside are brought back by SQL."""

    @abstractmethod
    def exclusive(self, database: pw.Database, name: str) -> AbstractContextManager[None]:
        """Hold the database's migration lock, and a transaction where DDL rolls back, for the body.

        The lock dies with its holder. Raises ``Locked`` when it is not had
        within the connection's timeout.
        """

    @abstractmethod
    def alone(self, database: pw.Database, name: str) -> AbstractContextManager[None]:
        """Hold the same lock without a transaction, for a script that refuses one; see ``exclusive``."""

    @abstractmethod
    def step(self, database: pw.Database, key: str, *, sealed: bool = False) -> AbstractContextManager[None]:
        """Undo the body's effects when it fails; refuse a script that commits by itself.

        ``sealed`` also refuses what writes or removes rows, and raises
        ``RowsTouched``: see ``check_health``.
        """

    def hindrance(self, error: BaseException | None) -> Hindrance | None:
        """Tell whether an error means that another connection was in the way; None for any other."""
        return None

    def waiting(self, database: pw.Database) -> str:
        """Name the connections that may hold a lock and do nothing, as far as we may see them."""
        return ""

    @abstractmethod
    def check_health(self, database: pw.Database, name: str, *, whole: bool = True) -> bool:
        """Refuse a damaged database before the first write; raises ``Unreadable``.

        Without ``whole`` a large file may be checked in part. Returns whether
        all of it was; where not, scripts run ``sealed`` until it is.
        """

    @abstractmethod
    def schema_version(self, database: pw.Database) -> str:
        """Return a text that changes with the schema, whoever changes it; cheap to read."""

    def data_version(self, database: pw.Database) -> int | None:
        """Return a number that another connection's commit changes, seen by this one; None where there is none."""
        return None

    @abstractmethod
    def violations(self, database: pw.Database) -> Counter[Violation]:
        """Count the rows that break each foreign key, where the engine lets rows do that."""

    @abstractmethod
    def snapshot(self, database: pw.Database, *, structural: bool = False, table: str | None = None) -> Snapshot:
        """Read the schema; see ``snapshot.Snapshot``."""

    def keeping(self, database: pw.Database) -> AbstractContextManager[Any]:
        """Keep in the body, in which nobody else changes them, what is read of the tables, where reading takes long."""
        return nullcontext()

    @abstractmethod
    def operations(self, database: pw.Database) -> Operations:
        """Return what runs a script's operations."""

    @abstractmethod
    def aligned(self, database: pw.Database, expected: Snapshot, *, strict: bool, repair: bool) -> Alignment:
        """Make what is missing; with ``strict`` change what differs; with ``repair`` mend rows first."""

    def discard(self, database: pw.Database) -> None:
        """Undo what the open transaction tried in vain, so that it ends without a trace; it stays open."""
        return

    def left(
        self, database: pw.Database, drift: Drift, expected: Snapshot, live: Snapshot, *, strict: bool = False
    ) -> tuple[Left, ...]:
        """Return what cannot be made as things stand, since rows or names forbid it; reads only.

        That is of what is missing, with ``strict`` of all that differs.
        """
        return ()

    def kept_rows(self, database: pw.Database) -> list[Kept]:
        """Return what is set aside in a database; reads only."""
        return []

    def restore_rows(self, database: pw.Database) -> tuple[list[str], list[Kept]]:
        """Bring rows back that fit by now; return what was done and what stays set aside."""
        return [], []

    @abstractmethod
    def scratch(self, database: pw.Database) -> Scratch:
        """Return an empty place of the same engine."""

    def shipped(self, database: pw.Database) -> Shipped | None:
        """Return what the framework's scripts define on this engine, where the package ships that."""
        return None

    def major(self, database: pw.Database) -> int:
        """Return the server's major version, which decides how it prints a schema."""
        return 0

    def is_forbidden(self, error: BaseException) -> bool:
        """Tell whether this user lacks the right to do what failed."""
        return False

    def scratch_right(self, database: pw.Database, scripts: str) -> str:
        """Say in one line which right it takes to try these scripts in a scratch place."""
        return f"{scripts} could not be tried in a scratch place"

    def lacks_what_is_outside(self, error: BaseException) -> bool:
        """Tell whether a script failed in a scratch since it needs what an extension has in the live schema."""
        return False

    def seeing_outside(self, database: pw.Database) -> AbstractContextManager[None]:
        """Let the body's scripts, in a scratch, find what is outside of it."""
        return nullcontext()

    def check_scratch(self, database: pw.Database) -> None:
        """Raise when the script that just ran in a scratch touched a table outside of it."""
        return

    def reading_scratch(self, database: pw.Database) -> AbstractContextManager[None]:
        """Read a scratch in the body, so that names are written as in the live schema."""
        return nullcontext()


def refuse_open_transaction(database: pw.Database, name: str) -> None:
    """Raise ``PlanRefused`` when a transaction is open on this connection."""
    if database.in_transaction():
        raise PlanRefused(f"{name}: a transaction is open on this connection. Nothing was run. Commit it first.")


@contextmanager
def unbound(database: pw.Database) -> Iterator[None]:
    """Run a script without a transaction around it; one that it began and did not end is ended as it ended."""
    try:
        yield
    except BaseException:
        if not database.is_closed():
            database.connection().rollback()
        raise
    database.connection().commit()


def for_database(database: pw.Database) -> Dialect:
    """Return the dialect of a database's engine."""
    if isinstance(database, pw.SqliteDatabase):
        from framework_schema.sqlite import SqliteDialect

        return SqliteDialect()
    if isinstance(database, pw.PostgresqlDatabase):
        from framework_schema.postgres import CockroachDialect, OwnCockroach, PostgresDialect

        return CockroachDialect() if isinstance(database, OwnCockroach) else PostgresDialect()
    if isinstance(database, pw.MySQLDatabase):
        from framework_schema.mysql import MysqlDialect

        return MysqlDialect()
    raise ConfigError(
        f"{type(database).__name__} is not supported; use a SQLite, PostgreSQL, MariaDB or CockroachDB database"
    )


@contextmanager
def memory() -> Iterator[pw.Database]:
    """Open an empty SQLite database in memory, in a transaction, so that no script can close it."""
    database = pw.SqliteDatabase(":memory:")
    with database.connection_context(), database.atomic():
        yield database

"""Every error of this package, as one tree.

    SchemaError
    ├── ConfigError          what was asked for cannot be meant
    ├── SourceError          scripts that cannot be loaded
    ├── DatabaseError        the database cannot be worked on as it is
    │   ├── Unreadable       no database, damaged, or no permission
    │   │   └── NeedsWriting asked of a connection that can only read
    │   ├── Locked           another process holds it
    │   ├── BackupFailed     no copy could be made, so nothing was begun
    │   ├── ForeignHistory   a table of our history's name that is not ours
    │   ├── ForeignDatabase  somebody else's database
    │   └── Ahead            newer than the scripts we know
    ├── NameTaken            an object that is not a table has the name of a table that is to be made
    ├── FailedBefore         a script failed a moment ago; it is too early to try again
    ├── Hindered             another connection stood in a script's way; undone and not recorded
    ├── RowsTouched          a script goes on to rows before the whole file was checked; undone, to be run again
    ├── Refused              an operation that something else in the database forbids
    ├── PlanRefused          the plan contradicts the history or itself
    └── MigrationFailed      a script or the alignment failed; carries the report

A message says which database, which migration, what was found, what state the
database is in now, and what to do next. It never holds a password.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from framework_schema.report import Report


class SchemaError(Exception):
    """Base of every error this package raises on purpose."""


class NameTaken(SchemaError):
    """Something that is not a table has the name of a table that is to be made."""

    def __init__(self, table: str, holder: str) -> None:
        self.table, self.holder = table, holder
        super().__init__(f"{holder} stands where the table {table} is to be made; rename or drop it")

    def __reduce__(self) -> tuple[type[NameTaken], tuple[str, str]]:
        """Travel between the processes of a fleet."""
        return type(self), (self.table, self.holder)


class ConfigError(SchemaError):
    """What was asked for cannot be meant; nothing was opened."""


class SourceError(SchemaError):
    """A script, or a set of scripts, that cannot be loaded."""

    def __init__(self, source: str, problem: str, remedy: str) -> None:
        self.source, self.problem, self.remedy = source, problem, remedy
        super().__init__(f"{source}: {problem}. {remedy}")


class DatabaseError(SchemaError):
    """A database that cannot be worked on as it is. Nothing was changed."""

    state = "unreadable"

    def __init__(self, database: str, problem: str, remedy: str) -> None:
        self.database, self.problem, self.remedy = database, problem, remedy
        super().__init__(f"{database}: {problem}. Nothing was changed. {remedy}")


class Unreadable(DatabaseError):
    """No database, a damaged one, or one we may not open."""


class NeedsWriting(Unreadable):
    """What was asked for cannot be done by reading alone."""


class Locked(DatabaseError):
    """Another process holds the database and did not let go in time."""

    state = "locked"


class BackupFailed(DatabaseError):
    """No copy could be made or put back, so that nothing was begun."""

    state = "failed"


class ForeignHistory(DatabaseError):
    """The history's table name belongs to another tool here."""

    state = "failed"


class ForeignDatabase(DatabaseError):
    """A database with tables of its own, none of them the framework's."""

    state = "foreign"


class Ahead(DatabaseError):
    """The history names scripts newer than all we know."""

    state = "ahead"


class PlanRefused(SchemaError):
    """A plan that contradicts the history or itself; nothing was run."""


class FailedBefore(SchemaError):
    """A script that failed a moment ago, here or in another process, and is the same still; it was not run again.

    ``seconds`` is how long to leave it alone yet.
    """

    def __init__(self, database: str, key: str, age: float, seconds: float, error: str) -> None:
        self.database, self.key, self.seconds, self.error = database, key, seconds, error
        super().__init__(
            f"{database}: {key} failed {math.ceil(age)} s ago and was not changed since: {error}. It was not run again."
        )


class Hindered(SchemaError):
    """Another connection stood in a script's way; what it did is undone, and it is not recorded as failed."""

    def __init__(self, key: str, reason: str) -> None:
        self.key, self.reason = key, reason
        super().__init__(f"{key}: {reason}")


class RowsTouched(SchemaError):
    """A script goes on to rows before all of a large file was checked; what it did is undone, and it is run again."""


class Refused(SchemaError):
    """An operation that something else in the database forbids; nothing of it was done."""


class CommitRefused(SchemaError):
    """A script tried to end the transaction its history row belongs to."""


class TransactionLost(SchemaError):
    """The engine ended the transaction by itself, as SQLite does on a full disk: nothing of it stands."""


class MigrationFailed(SchemaError):
    """A run that did not end as wanted. ``report`` tells what stands."""

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(report.error or f"{report.name}: migration failed")

    def __reduce__(self) -> tuple[type[MigrationFailed], tuple[Report]]:
        """Travel between the processes of a fleet."""
        return type(self), (self.report,)

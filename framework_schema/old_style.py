"""Old-style scripts, ``apply_migration(cursor)``: their own tests, and what they find there already."""

from __future__ import annotations

import ast
import re
import sqlite3
from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema.migration import Migration

if TYPE_CHECKING:
    from framework_schema.operations import Operations

SAYS_DONE = (
    "migration_already_applied", "is_migration_applied", "migration_applied", "migration_is_applied",
    "already_applied", "is_already_applied", "is_applied", "was_applied", "has_been_applied", "check_applied",
    "check_if_applied", "check_already_applied", "check_migration_applied", "check_if_already_applied",
    "already_migrated", "is_migrated", "migration_done", "is_done",
)  # fmt: skip
"""What old-style scripts call the function that is true where their work is done."""
SAYS_NEEDED = (
    "needs_migration", "migration_needed", "is_migration_needed", "migration_required", "is_migration_required",
    "needs_to_run", "needs_to_be_applied", "is_needed", "is_required", "should_run", "should_apply", "should_migrate",
    "check_migration_needed", "check_if_needed",
)  # fmt: skip
"""The same, true where it is not."""
CURSORS = ("cursor", "cur", "c")
CONNECTIONS = ("conn", "connection", "con", "db", "database")
COMPLAINT = re.compile(r"duplicate column name: |(table|index|trigger|view) .+ already exists$", re.S)
"""SQLite's words for what is there already; the statement has changed nothing then."""
ADDS = re.compile(r"\s*(ALTER\s+TABLE\b.*\bADD\b|CREATE\b)", re.I | re.S)
WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE|WITH)\b", re.I)


class FoundThere(Exception):
    """A script goes on to rows although what it is to make was there already."""


def names_in_history(migration: Migration) -> tuple[str, str]:
    """Return the names under which older tools recorded a script: its file name, with and without ``.py``."""
    return f"{migration.name}.py", migration.name


def run(migration: Migration, database: pw.Database, doing: Operations, table: str) -> None:
    """Call a script unless its own test says that it is done; ``table`` is the history's.

    A column, table or index that is there already is passed over, as by the
    operations of newer scripts. But rows are not changed after that: they may
    hold what a user has set since, so the script fails instead.
    """
    script = migration.load()
    if _is_done(migration, script, database):
        doing.note("script", there=True)
        return
    cursor = Cursor(database.cursor(), table)
    script["apply_migration"](cursor)
    for what in cursor.found:
        doing.note(what, there=True)
    if not cursor.found or cursor.did:
        doing.note("script")


def _is_done(migration: Migration, script: dict[str, Any], database: pw.Database) -> bool:
    """Ask the script's own test. One that takes no connection would open a database by itself, so it is not asked."""
    for names, is_done in ((SAYS_DONE, True), (SAYS_NEEDED, False)):
        for name in names:
            takes = migration.functions.get(name)
            if takes is None:
                continue
            answers = [script[name](*given) for given in _arguments(takes, migration, database)]
            answers = [answer[0] if isinstance(answer, tuple) and answer else answer for answer in answers]
            if any(answer is not None and bool(answer) is is_done for answer in answers):
                return True
    return False


def _arguments(takes: ast.arguments, migration: Migration, database: pw.Database) -> list[tuple[Any, ...]]:
    """Return what to call a test with: for one that takes a name, once for each name the script may go by."""
    positional = [*takes.posonlyargs, *takes.args]
    wanted = [argument.arg for argument in positional[: max(len(positional) - len(takes.defaults), 1)]]
    if not wanted or wanted[0] not in CURSORS + CONNECTIONS or len(wanted) > 2:
        return []
    given = database.cursor() if wanted[0] in CURSORS else database.connection()
    if len(wanted) == 1:
        return [(given,)]
    return [(given, name) for name in names_in_history(migration)] if "name" in wanted[1] else []


class Cursor:
    """A cursor that passes over what is there already, and lets no row be changed after that."""

    _own = frozenset({"_cursor", "_history", "found", "did", "did_rows"})

    def __init__(self, cursor: Any, history: str) -> None:
        self._cursor, self._history = cursor, history.lower()
        self.found: list[str] = []
        self.did = self.did_rows = False

    def execute(self, sql: str, *params: Any) -> Cursor:
        """Run a statement, unless all it does is there."""
        rows = WRITES.match(sql) is not None and self._history not in sql.lower()
        self._refuse_late(rows)
        try:
            self._cursor.execute(sql, *params)
        except sqlite3.OperationalError as error:
            if self.did_rows or not (COMPLAINT.match(str(error)) and ADDS.match(sql)):
                raise
            self.found.append(str(error))
            return self
        self.did_rows |= rows
        self.did |= rows or ADDS.match(sql) is not None
        return self

    def executemany(self, sql: str, *params: Any) -> Cursor:
        """Run a statement for many rows."""
        rows = self._history not in sql.lower()
        self._refuse_late(rows)
        self._cursor.executemany(sql, *params)
        self.did_rows |= rows
        self.did |= rows
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self if name in self._own else self._cursor, name, value)

    def __iter__(self) -> Any:
        return iter(self._cursor)

    def _refuse_late(self, rows: bool) -> None:
        if rows and self.found:
            raise FoundThere(
                f"{self.found[0]}; it goes on to change rows, which may hold what was set since."
                " If its work is done, take the script away or let its migration_already_applied(cursor) say so"
            )

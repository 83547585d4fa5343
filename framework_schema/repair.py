"""What becomes of rows that stand in the way of a rule: nothing is invented, and no row is lost.

What is done, only with ``--repair``, and nothing else:

- NULL where NOT NULL belongs becomes the column's own constant default.
- A reference to a row that is not there is cleared where it may be NULL.
- All other rows that break a rule are set aside; see ``set_aside``. Of rows that
  share a value under a unique, one stays: the oldest of those that others refer to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import peewee as pw

from framework_schema import ddl
from framework_schema.align import ANY, is_constant, is_refusal
from framework_schema.ddl import fold, quote
from framework_schema.left import Left
from framework_schema.set_aside import Reference, clear_references, references_to, set_aside, without_triggers
from framework_schema.snapshot import Snapshot, Table
from framework_schema.wording import trace

logger = logging.getLogger(__name__)


def mend_rows(database: pw.SqliteDatabase, obstacles: Iterable[Left], expected: Snapshot, live: Snapshot) -> list[str]:
    """Get the rows of each obstacle out of the way; return what was done, a sentence each."""
    done = []
    for item in obstacles:
        want, have = expected.tables.get(fold(item.table)), live.tables.get(fold(item.table))
        if want is None or have is None or not item.can_be_set_aside:
            continue
        try:
            with database.savepoint():
                done += _mend(database, item, want, have, expected, live)
        except pw.DatabaseError as error:
            if not is_refusal(error):
                raise
            logger.debug("%s: its rows could not be set aside\n%s", item.text, trace(error))
    return done


def _mend(
    database: pw.SqliteDatabase, item: Left, want: Table, have: Table, expected: Snapshot, live: Snapshot
) -> list[str]:
    if item.kind == "null" and (default := _constant_default(want, item.name)) is not None:
        return _fill(database, have, item.name, default)
    if item.kind == "foreign key":
        key = next(key for key in want.foreign_keys if ", ".join(key.columns) == item.name)
        reference = Reference(have, key)
        if reference.may_be_null(expected):
            return clear_references(database, reference, item.condition, f"{item.name} refers to no row")
    return set_aside(database, have, _preferring(item, have, expected, live), item.text, expected, live)


def _preferring(item: Left, have: Table, expected: Snapshot, live: Snapshot) -> str:
    """Return the condition for the rows that go: of equal ones those that nobody refers to go first."""
    if item.kind not in ("unique", "key", "index", "primary key"):
        return item.condition
    referred = [
        f"EXISTS (SELECT 1 FROM {quote(r.table.name)} AS other WHERE {r.matches('other', 'alike', have)})"
        for r in references_to(have, expected, live)
    ]
    return item.condition.replace(ANY, f"ORDER BY ({' OR '.join(referred)}) DESC") if referred else item.condition


def _constant_default(want: Table, name: str) -> str | None:
    column = ddl.parse_table(want.sql).column(name)
    default = None if column is None else column.default
    return default if default is not None and is_constant(default) else None


def _fill(database: pw.SqliteDatabase, have: Table, name: str, default: str) -> list[str]:
    table, column = quote(have.name), quote(name)
    with without_triggers(database, have.name):
        rows = database.execute_sql(f"UPDATE {table} SET {column} = {default} WHERE {column} IS NULL").rowcount
    return [f"{have.name}: {rows} NULL in {name} filled with the default"] if rows else []

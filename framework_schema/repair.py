"""Repairs of rows that stand in the way of a rule, as far as nothing has to be invented.

What is done, only with ``--repair``, and nothing else:

- NULL where NOT NULL belongs becomes the column's own constant default.
- An orphan gets what its foreign key says of a parent that goes: under CASCADE
  it goes, unless other rows refer to it; under SET NULL its column becomes NULL.
- Of rows that are equal in all but their primary key, under a unique, the oldest
  stays; the others go, unless other rows refer to them.

Every row that goes or loses a value is first copied to ``TABLE_repaired``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import peewee as pw

from framework_schema import ddl
from framework_schema.align import Left, is_constant
from framework_schema.ddl import fold, quote
from framework_schema.snapshot import ForeignKey, Snapshot, Table


@dataclass(frozen=True, slots=True)
class Repair:
    """One repair: the rows it is about, as a condition on the table ``child``, and what becomes of them."""

    table: str
    what: str
    condition: str
    statement: str
    keeps: bool
    """Whether the rows are copied first; filling a NULL loses nothing."""


def repairs(left: Iterable[Left], expected: Snapshot, live: Snapshot) -> Iterator[Repair]:
    """Return what can be repaired of what was left."""
    for item in left:
        want, have = expected.tables.get(fold(item.table)), live.tables.get(fold(item.table))
        if want is None or have is None:
            continue
        if item.kind == "null":
            yield from _fill(want, have, item.name)
        elif item.kind == "foreign key":
            for key in want.foreign_keys:
                if ", ".join(key.columns) == item.name:
                    yield from _orphans(want, have, key, live)
        elif item.kind == "unique":
            yield from _duplicates(have, item.query, live)


def run_repair(database: pw.SqliteDatabase, repair: Repair) -> int:
    """Copy the rows that are to go or to change, then repair; return how many there were."""
    table = quote(repair.table)
    rows: int = database.execute_sql(f"SELECT count(*) FROM {table} AS child WHERE {repair.condition}").fetchone()[0]
    if rows and repair.keeps:
        copy = _free_name(database, f"{repair.table}_repaired")
        database.execute_sql(
            f"CREATE TABLE {quote(copy)} AS SELECT child.*, CURRENT_TIMESTAMP AS repaired_at FROM {table} AS child "
            f"WHERE {repair.condition}"
        )
    if rows:
        database.execute_sql(repair.statement)
    return rows


def _fill(want: Table, have: Table, name: str) -> Iterator[Repair]:
    column = ddl.parse_table(want.sql).column(name)
    if column is None or column.default is None or not is_constant(column.default):
        return
    condition = f"{quote(name)} IS NULL"
    statement = f"UPDATE {quote(have.name)} SET {quote(name)} = {column.default} WHERE {condition}"
    yield Repair(have.name, f"NULL in {name} filled with the default", condition, statement, keeps=False)


def _orphans(want: Table, have: Table, key: ForeignKey, live: Snapshot) -> Iterator[Repair]:
    if fold(key.table) not in live.tables:
        return
    to = key.to_columns or live.tables[fold(key.table)].primary_key
    match = " AND ".join(
        f"parent.{quote(there)} = child.{quote(here)}" for here, there in zip(key.columns, to, strict=True)
    )
    given = " AND ".join(f"child.{quote(column)} IS NOT NULL" for column in key.columns)
    orphan = f"{given} AND NOT EXISTS (SELECT 1 FROM {quote(key.table)} AS parent WHERE {match})"
    names = ", ".join(key.columns)
    if key.on_delete == "CASCADE":
        condition = f"{orphan} AND {_is_free(have, live)}"
        yield Repair(have.name, f"orphans under {names} removed", condition, _delete(have, condition), keeps=True)
    elif key.on_delete == "SET NULL" and all(want.columns[column].null for column in key.columns):
        update = ", ".join(f"{quote(column)} = NULL" for column in key.columns)
        statement = f"UPDATE {quote(have.name)} AS child SET {update} WHERE {orphan}"
        yield Repair(have.name, f"{names} of orphans set to NULL", orphan, statement, keeps=True)


def _duplicates(have: Table, query: str, live: Snapshot) -> Iterator[Repair]:
    """Find rows that an older row equals in everything but the primary key."""
    if have.without_rowid:
        return
    others = [column.name for column in have.columns.values() if fold(column.name) not in have.primary_key]
    same = " AND ".join(f"older.{quote(name)} IS child.{quote(name)}" for name in others)
    double = f"EXISTS (SELECT 1 FROM {quote(have.name)} AS older WHERE older.rowid < child.rowid AND {same})"
    condition = f"{double} AND {_is_free(have, live)}"
    yield Repair(have.name, "rows equal to an older one removed", condition, _delete(have, condition), keeps=True)


def _delete(have: Table, condition: str) -> str:
    table = quote(have.name)
    if have.without_rowid:
        key = ", ".join(map(quote, have.primary_key))
        return f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} AS child WHERE {condition})"
    return f"DELETE FROM {table} WHERE rowid IN (SELECT child.rowid FROM {table} AS child WHERE {condition})"


def _is_free(have: Table, live: Snapshot) -> str:
    """Write the condition that no row refers to the child."""
    parts = []
    for table in live.tables.values():
        for key in table.foreign_keys:
            if fold(key.table) == fold(have.name):
                to = key.to_columns or have.primary_key
                match = " AND ".join(
                    f"grandchild.{quote(a)} = child.{quote(b)}" for a, b in zip(key.columns, to, strict=True)
                )
                parts.append(f"NOT EXISTS (SELECT 1 FROM {quote(table.name)} AS grandchild WHERE {match})")
    return " AND ".join(parts) or "1"


def _free_name(database: pw.SqliteDatabase, wanted: str) -> str:
    taken = {fold(name) for name in database.get_tables()}
    name, number = wanted, 1
    while fold(name) in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name

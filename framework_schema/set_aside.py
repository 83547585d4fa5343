"""Rows set aside: they stand in the way of a rule, and are kept whole until somebody has mended them.

A row moves from ``Entry`` to ``Entry_set_aside``, which has the same columns,
without types so that every value stays as it is, and four more: why, when, its
rowid, and which columns were cleared, for a row that stays and only lost a
reference. Rows that refer to one that moved have their reference cleared where
it may be NULL, else they move too. ``restore_rows`` brings rows back that fit.

No trigger fires meanwhile, for it could change or remove other rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import peewee as pw

from framework_schema import ddl
from framework_schema.align import child_identity, has_integer_key, has_no_rowid, is_refusal, row_identity
from framework_schema.ddl import fold, quote
from framework_schema.left import Kept
from framework_schema.reshape import orphan
from framework_schema.snapshot import ForeignKey, Snapshot, Table
from framework_schema.sqlite_snapshot import of_database

SUFFIX = "_set_aside"
REASON, TIME, ROWID, CLEARED = "set_aside_reason", "set_aside_at", "set_aside_rowid", "set_aside_cleared"
OWN = (REASON, TIME, ROWID, CLEARED)


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key of a live table."""

    table: Table
    key: ForeignKey

    def may_be_null(self, expected: Snapshot) -> bool:
        """Tell whether every column of it may hold NULL, in the live table and in the expected one."""
        want = expected.tables.get(fold(self.table.name))
        sides = [self.table] if want is None else [self.table, want]
        return all(side.columns[name].null for side in sides for name in self.key.columns if name in side.columns)

    def matches(self, child: str, parent: str, to: Table) -> str:
        """Write the condition that a row of ``child`` refers to one of ``parent``; both are names in a query."""
        there = self.key.to_columns or to.primary_key
        pairs = zip(self.key.columns, there, strict=True)
        return " AND ".join(f"{child}.{quote(a)} = {parent}.{quote(b)}" for a, b in pairs)


def references_to(parent: Table, expected: Snapshot, live: Snapshot) -> Iterator[Reference]:
    """Yield every foreign key to a table, those that live tables have and those that they are to have."""
    for name, table in live.tables.items():
        wanted = expected.tables[name].foreign_keys if name in expected.tables else frozenset()
        for key in sorted(table.foreign_keys | wanted, key=repr):
            is_there = set(key.columns) <= table.columns.keys()
            to = key.to_columns or parent.primary_key
            fits = len(to) == len(key.columns) and set(to) <= parent.columns.keys()
            if key.table == fold(parent.name) and is_there and fits:
                yield Reference(table, key)


def set_aside(
    database: pw.SqliteDatabase, table: Table, condition: str, reason: str, expected: Snapshot, live: Snapshot
) -> list[str]:
    """Move the rows of ``table``, called ``child`` in the condition, and see to those that refer to them."""
    place = _place(database, table)
    before = _last(database, place)
    rows = _copy(database, table, condition, reason, None, place)
    if not rows:
        return []
    identity, copied = (
        row_identity(table),
        f"SELECT {_copied_identity(table)} FROM {quote(place)} WHERE rowid > {before}",
    )
    with without_triggers(database, table.name):
        gone = database.execute_sql(f"DELETE FROM {quote(table.name)} WHERE ({identity}) IN ({copied})").rowcount
    if gone != rows:
        raise pw.IntegrityError(f"{rows} rows of {table.name} were copied and {gone} removed")
    done = [f"{table.name}: {rows} rows set aside in {place}: {reason}"]
    for reference in references_to(table, expected, live):
        moved = f"SELECT 1 FROM {quote(place)} AS moved WHERE moved.rowid > {before} AND "
        dangling = (
            f"{orphan(reference.key, live, expected)} AND EXISTS ({moved}{reference.matches('child', 'moved', table)})"
        )
        columns = ", ".join(reference.key.columns)
        why = f"the row of {table.name} that {columns} refers to was set aside"
        if reference.may_be_null(expected):
            done += clear_references(database, reference, dangling, why)
        else:
            done += set_aside(database, reference.table, dangling, why, expected, live)
    return done


def clear_references(database: pw.SqliteDatabase, reference: Reference, condition: str, reason: str) -> list[str]:
    """Set a reference to NULL in the rows of its table, called ``child`` in the condition, and keep what it was."""
    table, columns = reference.table, reference.key.columns
    place = _place(database, table)
    before = _last(database, place)
    rows = _copy(database, table, condition, reason, json.dumps(columns), place)
    if not rows:
        return []
    changed = ", ".join(f"{quote(column)} = NULL" for column in columns)
    copied = f"SELECT {_copied_identity(table)} FROM {quote(place)} WHERE rowid > {before}"
    with without_triggers(database, table.name):
        database.execute_sql(f"UPDATE {quote(table.name)} SET {changed} WHERE ({row_identity(table)}) IN ({copied})")
    return [f"{table.name}: {', '.join(columns)} cleared in {rows} rows, kept in {place}: {reason}"]


def kept_rows(database: pw.SqliteDatabase) -> list[Kept]:
    """Return what is set aside in a database, by table and reason."""
    found = []
    for place in places(of_database(database)):
        sql = f"SELECT {REASON}, count(*) FROM {quote(place.name)} GROUP BY 1 ORDER BY 1"
        found += [Kept(base(place), place.name, reason, rows) for reason, rows in database.execute_sql(sql).fetchall()]
    return found


def places(live: Snapshot) -> list[Table]:
    """Return the tables that hold rows set aside: those with the columns that we add."""
    return [table for table in live.tables.values() if set(OWN) <= table.columns.keys() and SUFFIX in table.name]


def base(place: Table) -> str:
    """Return the name of the table that rows set aside come from."""
    return place.name[: place.name.rindex(SUFFIX)]


def restore_rows(database: pw.SqliteDatabase) -> tuple[list[str], list[Kept]]:
    """Bring rows back that fit by now, parents before children, and drop what is empty then.

    Returns what was done, and what stays set aside. A row fits when its table
    takes it and the rows are there that it refers to.
    """
    done: dict[str, int] = {}
    while moved := [name for place in places(of_database(database)) for name in _restored(database, place)]:
        for name in moved:
            done[name] = done.get(name, 0) + 1
    for place in places(of_database(database)):
        if database.execute_sql(f"SELECT 1 FROM {quote(place.name)} LIMIT 1").fetchone() is None:
            database.execute_sql(f"DROP TABLE {quote(place.name)}")
    return [f"{name}: {rows} rows brought back" for name, rows in done.items()], kept_rows(database)


def _restored(database: pw.SqliteDatabase, place: Table) -> list[str]:
    """Bring back what fits of one table, row by row; return its name once for each."""
    live = of_database(database, structural=True)
    table = live.tables.get(fold(base(place)))
    if table is None or table.unreadable:
        return []
    rows = database.execute_sql(f"SELECT rowid, {CLEARED} FROM {quote(place.name)} ORDER BY rowid").fetchall()
    done = []
    with without_triggers(database, table.name):
        for number, cleared in rows:
            try:
                with database.savepoint():
                    if not _bring_back(database, live, table, place, number, cleared):
                        raise pw.IntegrityError("it does not fit")
                    database.execute_sql(f"DELETE FROM {quote(place.name)} WHERE rowid = ?", (number,))
                    done.append(table.name)
            except pw.DatabaseError as error:
                if not is_refusal(error):
                    raise
    return done


def _bring_back(
    database: pw.SqliteDatabase, live: Snapshot, table: Table, place: Table, number: int, cleared: str | None
) -> bool:
    """Insert a row, or write what was cleared of one; False where it is not taken or refers to nothing."""
    row = row_identity(table)
    kept = f"FROM {quote(place.name)} AS kept WHERE kept.rowid = {int(number)}"
    mine = f"({row}) IN (SELECT {_copied_identity(table)} {kept})"
    if cleared is None:
        names = [name for name in _written(table) if fold(name) in place.columns]
        if _holds_more(database, table, place, kept):
            return False
        sources = [f"kept.{quote(name)}" for name in names]
        columns = [quote(name) for name in names]
        if row in ddl.ROWID_NAMES and not has_integer_key(table):
            columns, sources = [row, *columns], [f"kept.{ROWID}", *sources]
        sql = f"INSERT OR ABORT INTO {quote(table.name)} ({', '.join(columns)}) SELECT {', '.join(sources)} {kept}"
    else:
        names = json.loads(cleared)
        if not set(names) <= table.columns.keys():
            return False
        values = ", ".join(f"{quote(name)} = (SELECT kept.{quote(name)} {kept})" for name in names)
        same = " AND ".join(_is_the_row(table, place, names, kept))
        sql = f"UPDATE {quote(table.name)} SET {values} WHERE {mine} AND {same}"
    if database.execute_sql(sql).rowcount != 1:
        return False
    broken = " OR ".join(f"({orphan(key, live)})" for key in table.foreign_keys) or "0"
    child = mine.replace(f"({row})", f"({child_identity(table)})", 1)
    return not database.execute_sql(
        f"SELECT 1 FROM {quote(table.name)} AS child WHERE {child} AND ({broken})"
    ).fetchone()


def _holds_more(database: pw.SqliteDatabase, table: Table, place: Table, kept: str) -> bool:
    """Tell whether a kept row has a value for which its table has no column any more."""
    gone = [c.name for n, c in place.columns.items() if n not in table.columns and n not in OWN]
    query = f"SELECT 1 {kept} AND ({' OR '.join(f'kept.{quote(name)} IS NOT NULL' for name in gone)})"
    return bool(gone) and database.execute_sql(query).fetchone() is not None


def _is_the_row(table: Table, place: Table, cleared: Sequence[str], kept: str) -> Iterator[str]:
    """Yield what tells the row that a reference was cleared of from a later one with its number.

    Numbers of an AUTOINCREMENT key are never used twice, so such a row may have been changed meanwhile.
    """
    for name, column in table.columns.items():
        if name in cleared:
            yield f"{quote(column.name)} IS NULL"
        elif name in place.columns and not table.autoincrement:
            yield f"{quote(column.name)} IS (SELECT kept.{quote(column.name)} {kept})"


# Copies


def _place(database: pw.SqliteDatabase, table: Table) -> str:
    """Make the table for the rows of another, or add to it the columns it lacks; return its name."""
    live = of_database(database)
    number, name = 1, f"{table.name}{SUFFIX}"
    while (found := live.tables.get(fold(name))) is not None and not set(OWN) <= found.columns.keys():
        number += 1
        name = f"{table.name}{SUFFIX}_{number}"
    columns = [quote(column.name) for column in table.columns.values()]
    if found is None:
        database.execute_sql(f"CREATE TABLE {quote(name)} ({', '.join([*columns, *OWN])})")
        return name
    for column in table.columns.values():
        if fold(column.name) not in found.columns:
            database.execute_sql(f"ALTER TABLE {quote(name)} ADD COLUMN {quote(column.name)}")
    return found.name


def _last(database: pw.SqliteDatabase, place: str) -> int:
    last: int = database.execute_sql(f"SELECT coalesce(max(rowid), 0) FROM {quote(place)}").fetchone()[0]
    return last


def _copy(
    database: pw.SqliteDatabase, table: Table, condition: str, reason: str, cleared: str | None, place: str
) -> int:
    columns: Sequence[str] = [quote(column.name) for column in table.columns.values()]
    row = "NULL" if has_no_rowid(table) else f"child.{row_identity(table).split(', ')[0]}"
    sources = [f"child.{column}" for column in columns]
    rows: int = database.execute_sql(
        f"INSERT INTO {quote(place)} ({', '.join([*columns, *OWN])}) "
        f"SELECT {', '.join(sources)}, ?, CURRENT_TIMESTAMP, {row}, ? "
        f"FROM {quote(table.name)} AS child WHERE {condition}",
        (reason, cleared),
    ).rowcount
    return rows


def _copied_identity(table: Table) -> str:
    """Return the columns of a copy that tell which row it is of."""
    return ROWID if row_identity(table) in ddl.ROWID_NAMES else row_identity(table)


def _written(table: Table) -> list[str]:
    """Return the columns that can be written."""
    return [column.name for column in ddl.parse_table(table.sql).columns if column.generated is None]


@contextmanager
def without_triggers(database: pw.SqliteDatabase, table: str) -> Iterator[None]:
    """Take a table's triggers down for the body, and put them back word for word."""
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE ORDER BY rowid"
    triggers = [tuple(row) for row in database.execute_sql(sql, (table,)).fetchall()]
    for name, _ in triggers:
        database.execute_sql(f"DROP TRIGGER {quote(name)}")
    yield
    for _, text in triggers:
        database.execute_sql(text)

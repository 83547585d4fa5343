"""Rows of a SQLite file that refer to none: counted per foreign key, and known again under new names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import peewee as pw

from framework_schema.ddl import fold, quote

Rename = tuple[str, str | None, str]
"""A table, one of its columns or None for the table itself, and the new name."""
Places = Mapping[int, tuple[str, tuple[str, ...]]]
"""Each table's name and columns by where it begins in the file, which no rename changes."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A foreign key that rows break; ``columns`` and ``parent`` outlive a rebuild, its number does not.

    A key that cannot be checked at all has SQLite's complaint as ``parent``.
    """

    table: str
    columns: tuple[str, ...]
    parent: str


def violations(database: pw.SqliteDatabase) -> Counter[Violation]:
    """Count the rows that break each foreign key; see ``new``.

    Each table is checked for itself: one whose key SQLite cannot check, since
    the parent's columns are not unique, hides no other's violations. That is
    asked only when one question about all of them is not answered with none.
    """
    with suppress(pw.OperationalError):
        if not _rows(database, "SELECT 1 FROM pragma_foreign_key_check LIMIT 1"):
            return Counter()
    names = [name for (name,) in _rows(database, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return Counter(dict(pair for table in names for pair in _violations_of(database, table)))


def new(before: Counter[Violation], after: Counter[Violation]) -> dict[Violation, int]:
    """Return what is broken that was not, whatever the case of a name; a key that cannot be checked names no row."""
    known = _folded(before)
    found = {violation: rows - known[_fold(violation)] for violation, rows in after.items() if violation.columns}
    return {violation: rows for violation, rows in found.items() if rows > 0}


def renamed(before: Counter[Violation], renames: Iterable[Rename]) -> Counter[Violation]:
    """Return the violations under the names that tables and columns have now."""
    now = Counter(before)
    for table, column, name in renames:
        now = Counter({_renamed(violation, table, column, name): rows for violation, rows in now.items()})
    return now


def places(database: pw.Database) -> Places:
    """Read where each table is, so that ``moves`` can tell which has another name later."""
    rows = _rows(
        database,
        "SELECT m.rootpage, m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c"
        " WHERE m.type = 'table' AND m.rootpage > 0 ORDER BY m.rootpage, c.cid",
    )
    found: dict[int, tuple[str, tuple[str, ...]]] = {}
    for place, table, column in rows:
        found[place] = table, (*found.get(place, ("", ()))[1], column)
    return found


def moves(before: Places, after: Places) -> Iterator[Rename]:
    """Yield what was renamed, columns before their table; a table that was built anew is another one."""
    tables: list[Rename] = []
    for place, (table, columns) in before.items():
        name, now = after.get(place, (table, columns))
        if len(now) >= len(columns):
            pairs = zip(columns, now, strict=False)
            yield from ((table, old, column) for old, column in pairs if old != column and old not in now)
        if name != table:
            tables.append((table, None, name))
    yield from tables


def follow(before: Counter[Violation], database: pw.Database, was: Places, renames: Sequence[Rename]) -> None:
    """Give the violations the names that a script gave, by its operations or else by SQL of its own."""
    now = renamed(before, renames or moves(was, places(database)))
    before.clear()
    before.update(now)


def _renamed(violation: Violation, table: str, column: str | None, name: str) -> Violation:
    is_it = fold(violation.table) == fold(table)
    if column is not None:
        columns = tuple(name if is_it and fold(own) == fold(column) else own for own in violation.columns)
        return replace(violation, columns=columns)
    is_parent = fold(violation.parent) == fold(table)
    return replace(violation, table=name if is_it else violation.table, parent=name if is_parent else violation.parent)


def _violations_of(database: pw.SqliteDatabase, table: str) -> Iterator[tuple[Violation, int]]:
    keys: dict[int, list[Any]] = {}
    listed = 'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq'
    for number, *parts in _rows(database, listed, table):
        keys.setdefault(number, []).append(parts)
    try:
        found = _rows(database, "SELECT fkid, count(*) FROM pragma_foreign_key_check(?) GROUP BY 1", table)
    except pw.OperationalError as error:  # one of the keys is at fault, and hides the others' rows
        yield Violation(table, (), str(error)), 1
        found = [(number, _counted(database, table, parts)) for number, parts in keys.items()]
    for number, rows in found:
        if rows:
            yield Violation(table, tuple(column for _, column, _ in keys[number]), keys[number][0][0]), rows


def _counted(database: pw.SqliteDatabase, table: str, parts: Sequence[Any]) -> int:
    """Count the orphans of one key by a query of our own; none where the key names columns that are not there."""
    parent = parts[0][0]
    to = [name for _, _, name in parts]
    if None in to:
        to = [name for (name,) in _rows(database, "SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", parent)]
    is_there = bool(_rows(database, "SELECT 1 FROM pragma_table_info(?)", parent))
    if is_there and len(to) != len(parts):
        return 0
    given = " AND ".join(f"child.{quote(column)} IS NOT NULL" for _, column, _ in parts)
    pairs = zip(to, (column for _, column, _ in parts), strict=False)
    match = " AND ".join(f"parent.{quote(there)} = child.{quote(here)}" for there, here in pairs)
    query = (
        f"SELECT count(*) FROM {quote(table)} AS child WHERE {given}"
        f" AND NOT EXISTS (SELECT 1 FROM {quote(parent)} AS parent WHERE {match})"
    )
    if not is_there:  # then nothing is there to refer to
        query = f"SELECT count(*) FROM {quote(table)} AS child WHERE {given}"
    try:
        return int(_rows(database, query)[0][0])
    except pw.OperationalError:
        return 0


def _folded(counted: Counter[Violation]) -> Counter[Violation]:
    folded: Counter[Violation] = Counter()
    for violation, rows in counted.items():
        folded[_fold(violation)] += rows
    return folded


def _fold(violation: Violation) -> Violation:
    return Violation(fold(violation.table), tuple(map(fold, violation.columns)), fold(violation.parent))


def _rows(database: pw.Database, sql: str, *values: object) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in database.execute_sql(sql, values).fetchall()]

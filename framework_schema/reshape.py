"""Structural drift in, the definition a table is to be rebuilt with out.

A table becomes the expected one as far as its rows allow. What they forbid, an
obstacle, is named with the rows that stand against it, and relaxed in the
definition; all else is tightened. What the framework does not know stays:
columns, and the rules that speak of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Collection as AnyOf
from dataclasses import dataclass, field

import peewee as pw

from framework_schema import ddl
from framework_schema.align import collated_parts, has_integer_key, has_no_rowid, repeated, row_identity
from framework_schema.conversion import lossy_rows
from framework_schema.ddl import fold, quote
from framework_schema.drift import Difference, Drift, find_drift
from framework_schema.left import Left
from framework_schema.snapshot import ForeignKey, Snapshot, Table, columns_of
from framework_schema.sqlite_snapshot import of_database

Edit = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A rule that rows may forbid.

    ``condition`` finds those rows of a table called ``child``, ``query`` shows
    them to a person, and ``relax`` does without the rule.
    """

    difference: Difference
    condition: str
    query: str
    relax: Edit

    def left(self, rows: int) -> Left:
        """Name it, with the number of rows."""
        d = self.difference
        what = f"{d.kind} {d.name}: {d.expected}"
        return Left(d.table, what, rows, self.query, d.kind, d.name, condition=self.condition)


@dataclass(frozen=True, slots=True)
class Reshaping:
    """One table's way to the expected definition.

    ``drops`` are indexes and triggers that go, by kind and name, since others
    of their name, or none, are expected; ``new_sql`` is the definition to
    rebuild with, None when the present one will do.
    """

    table: str
    drops: tuple[tuple[str, str], ...]
    new_sql: str | None
    converts: frozenset[str]
    left: tuple[Left, ...]
    copy: Mapping[str, str] = field(default_factory=dict)
    """SQL for the columns that do not just keep their values."""


def reshapings(database: pw.SqliteDatabase, drift: Drift, expected: Snapshot, live: Snapshot) -> Iterator[Reshaping]:
    """Decide for every table with structural drift; reads rows, writes nothing but temporary tables."""
    for name in sorted({fold(d.table) for d in drift.structural}):
        yield reshaping_of(database, name, drift, expected, live)


def reshaping_of(database: pw.SqliteDatabase, name: str, drift: Drift, expected: Snapshot, live: Snapshot) -> Reshaping:
    """Decide for one table, by its case-folded name."""
    want, have = expected.tables[name], live.tables[name]
    differences = [d for d in drift.structural if fold(d.table) == name]
    for difference in differences:
        if difference.kind in ("definition", "primary key"):
            obstacle = _without_key(database, want, have, difference)
            if obstacle is not None:
                return Reshaping(have.name, (), None, frozenset(), (obstacle,))
    return _of_table(database, want, have, differences, live, expected)


def _without_key(database: pw.SqliteDatabase, want: Table, have: Table, difference: Difference) -> Left | None:
    """Leave a table as it is: without its key, or a text we can read, nothing can be shown to be kept."""
    what = f"{difference.kind} {difference.name}: {difference.expected}"
    if have.unreadable:
        reason = f"its definition cannot be read ({have.unreadable})"
    elif not set(want.primary_key) <= have.columns.keys():
        reason = "a column of its primary key is not there"
    else:
        condition, query = _keyless(want, have), ""
        rows = _count(database, have, condition) if want.primary_key != have.primary_key else 0
        query = f"SELECT * FROM {quote(have.name)} AS child WHERE {condition}"
        kind, name = difference.kind, difference.name
        return Left(have.name, what, rows, query, kind, name, condition=condition) if rows else None
    return Left(have.name, what, 0, f"SELECT * FROM {quote(have.name)}", difference.kind, difference.name, reason)


def _keyless(want: Table, have: Table) -> str:
    """Write the condition for the rows that repeat a key, or have none where it is to be the rowid.

    A NULL in any other key is a matter of its NOT NULL.
    """
    if number := _numbered(want, have):
        (key,) = number.values()
        return f"({repeated(have, [key])} OR typeof({key}) <> 'integer')"
    return f"({repeated(have, [quote(column) for column in want.primary_key])})"


def _numbered(want: Table, have: Table) -> dict[str, str]:
    """Return what an integer key is copied from when the table gets it: a row without a number has its rowid."""
    row = row_identity(have)
    is_new = want.primary_key != have.primary_key
    if is_new and row in ddl.ROWID_NAMES and has_integer_key(want) and not has_no_rowid(want):
        return {want.primary_key[0]: f"coalesce({quote(want.primary_key[0])}, {row})"}
    return {}


def _of_table(
    database: pw.SqliteDatabase,
    want: Table,
    have: Table,
    differences: list[Difference],
    live: Snapshot,
    expected: Snapshot,
) -> Reshaping:
    left: list[Left] = []
    new_sql = ddl.rename_table(want.sql, have.name) if want.name != have.name else want.sql
    converts = {difference.name for difference in differences if difference.kind == "type"}
    for difference in differences:
        for obstacle, rows in _obstacles(database, want, have, difference, live, expected):
            left.append(obstacle.left(rows))
            new_sql = obstacle.relax(new_sql)
            converts -= {difference.name} if difference.kind == "type" else set()
    for unique in want.uniques - have.uniques:
        is_inline = want.unique_names[unique] not in want.texts
        is_there = columns_of(unique) <= have.columns.keys()
        parts = collated_parts(want, have, unique)
        if is_inline and is_there and _count(database, have, repeated(have, parts)):
            new_sql = ddl.without_unique(new_sql, columns_of(unique))
    new_sql = _with_extras(new_sql, want, have, expected.tables.keys())
    inline = any(d.kind in ("unique", "index") and _index_of(have, d) not in have.texts for d in differences)
    loses_key = any(d.expected == "no such rule" and _is_of_extra(d, want) for d in differences)
    same = not inline and not loses_key and not _differs(new_sql, want, have)
    return Reshaping(
        have.name,
        tuple(dict.fromkeys(_drops(want, have, differences))),
        None if same else new_sql,
        frozenset(converts),
        tuple(left),
        _numbered(want, have),
    )


def _obstacles(
    database: pw.SqliteDatabase,
    want: Table,
    have: Table,
    difference: Difference,
    live: Snapshot,
    expected: Snapshot,
) -> Iterator[tuple[Obstacle, int]]:
    """Yield what rows have to say against a difference, with their number."""
    if difference.kind == "type":
        rows, condition, query = lossy_rows(database, want, have, difference.name)
        keep = Obstacle(difference, condition, query, lambda sql: _with_type_of(have, sql, difference.name))
        if rows:
            yield keep, rows
    for obstacle in _rules(want, have, difference, live, expected):
        if rows := _count(database, have, obstacle.condition):
            yield obstacle, rows


def _rules(want: Table, have: Table, difference: Difference, live: Snapshot, expected: Snapshot) -> Iterator[Obstacle]:
    """Yield what a difference asks of the rows; nothing for one in which they have no say."""
    name, table = difference.name, quote(have.name)
    is_numbered = fold(name) in _numbered(want, have)
    if difference.kind == "null" and not want.columns[fold(name)].null and not is_numbered:
        condition = f"child.{quote(name)} IS NULL"
        query = f"SELECT * FROM {table} WHERE {quote(name)} IS NULL"
        yield Obstacle(
            difference,
            condition,
            query,
            lambda sql: _edit_column(sql, name, lambda text: ddl.with_not_null(text, False)),
        )
    elif difference.kind == "check" and difference.found == "not there":
        condition = f"NOT ({name})"
        query = f"SELECT * FROM {table} WHERE {condition}"
        yield Obstacle(difference, condition, query, lambda sql: _without_check(sql, name))
    elif difference.kind == "foreign key" and difference.found == "not there":
        key = next(k for k in want.foreign_keys if ", ".join(k.columns) == name)
        condition = orphan(key, live, expected)
        query = f"SELECT child.* FROM {table} AS child WHERE {condition}"
        yield Obstacle(difference, condition, query, lambda sql: _with_reference_of(have, sql, key))


def orphans(table: str, key: ForeignKey, live: Snapshot) -> str:
    """Write the query for the rows that refer to none."""
    return f"SELECT child.* FROM {quote(table)} AS child WHERE {orphan(key, live)}"


def orphan(key: ForeignKey, live: Snapshot, expected: Snapshot | None = None) -> str:
    """Write the condition for a row of a table called ``child`` that refers to none.

    A key that names no columns is to those of the parent's primary key, which it may get in this very run.
    """
    given = " AND ".join(f"child.{quote(column)} IS NOT NULL" for column in key.columns)
    parent = live.tables.get(key.table)
    if parent is None:
        return given
    wanted = expected.tables.get(key.table) if expected else None
    to = key.to_columns or (wanted or parent).primary_key
    if len(to) != len(key.columns) or not set(to) <= parent.columns.keys():
        return "0"  # SQLite cannot check it either
    pairs = zip(key.columns, to, strict=True)
    match = " AND ".join(f"parent.{quote(there)} = child.{quote(here)}" for here, there in pairs)
    return f"{given} AND NOT EXISTS (SELECT 1 FROM {quote(parent.name)} AS parent WHERE {match})"


def _with_extras(sql: str, want: Table, have: Table, ours: AnyOf[str]) -> str:
    """Add the columns that only the live table has, and the rules that speak of them.

    A NOT NULL without a default would stop every insert of the framework's, so
    it goes; so do a key of the old table that the expected one has elsewhere,
    and a foreign key to one of ``ours``, which would have a say when that loses a row.
    """
    parsed = ddl.parse_table(have.sql)
    extra = [column for column in parsed.columns if fold(column.name) not in want.columns]
    names = [column.name for column in extra]
    kept = [c for c in parsed.constraints if c.kind != "primary key" and _speaks_of(c, names)]
    rules = [c.text for c in kept if c.foreign_key is None or fold(c.foreign_key.table) not in ours]
    return ddl.extended(sql, [_as_extra(_unbound(column, ours)) for column in extra], rules)


def _unbound(column: ddl.ColumnDef, ours: AnyOf[str]) -> ddl.ColumnDef:
    is_bound = any(fold(key.table) in ours for key in column.foreign_keys)
    return ddl.parse_column(ddl.with_references(column.text, None)) if is_bound else column


def _as_extra(column: ddl.ColumnDef) -> str:
    if column.primary_key:
        parts = [quote(column.name), column.type]
        parts += [f"DEFAULT {column.default}"] if column.default else []
        parts += [f"COLLATE {quote(column.collation)}"] if column.collation else []
        parts += [f"CHECK ({check})" for check in column.checks]
        parts += [key.text for key in column.foreign_keys]
        return " ".join(part for part in parts if part)
    if column.not_null and column.default is None and column.generated is None:
        return ddl.with_not_null(column.text, False)
    return column.text


def _speaks_of(constraint: ddl.Constraint, columns: list[str]) -> bool:
    spoken_of = any(ddl.name_in(columns, column) for column in constraint.columns)
    return spoken_of or ddl.mentions(constraint.expression, *columns)


def _differs(new_sql: str, want: Table, have: Table) -> bool:
    """Tell whether a table made with this statement would be another than the live one."""
    scratch = pw.SqliteDatabase(":memory:")
    try:
        scratch.execute_sql(new_sql)
        made = of_database(scratch, structural=True)
    finally:
        scratch.close()
    name = fold(have.name)
    drift = find_drift(made, Snapshot({name: have}))
    return any(d.kind not in ("index", "unique", "trigger") for d in drift.structural)


def _drops(want: Table, have: Table, differences: list[Difference]) -> Iterator[tuple[str, str]]:
    """Yield the indexes and triggers that differ from those expected under their name, and unwanted uniques."""
    for difference in differences:
        if difference.kind == "trigger":
            yield difference.kind, difference.name
        elif difference.kind in ("index", "unique"):
            index = _index_of(have, difference)
            if index in have.texts:
                yield "index", index
        elif difference.kind == "primary key":
            for unique, name in have.unique_names.items():
                if columns_of(unique) == frozenset(want.primary_key) and name in have.texts:
                    yield "index", name


def _index_of(have: Table, difference: Difference) -> str:
    """Return the name, as it is written, of the index that a difference is about."""
    if difference.kind == "unique":
        return have.unique_names[frozenset(difference.name.split(", "))]
    wanted = fold(difference.name)
    names = [*(index.name for index in have.indexes.values()), *have.unique_names.values()]
    return next(name for name in names if fold(name) == wanted)


def _edit_column(sql: str, name: str, edit: Edit) -> str:
    column = ddl.parse_table(sql).column(name)
    assert column is not None
    return ddl.replace_column(sql, name, edit(column.text))


def _with_type_of(have: Table, sql: str, name: str) -> str:
    return _edit_column(sql, name, lambda text: ddl.with_type(text, have.columns[fold(name)].type))


def _without_check(sql: str, check: str) -> str:
    parsed = ddl.parse_table(sql)
    for constraint in parsed.constraints:
        if constraint.expression == check:
            return ddl.drop_constraint(sql, constraint)
    column = next(column for column in parsed.columns if check in column.checks)
    return ddl.replace_column(sql, column.name, ddl.without_check(column.text, check))


def _is_of_extra(difference: Difference, want: Table) -> bool:
    """Tell whether it is about a foreign key of a column that is not expected."""
    return difference.kind == "foreign key" and not set(difference.name.split(", ")) <= want.columns.keys()


def _with_reference_of(have: Table, sql: str, key: ForeignKey) -> str:
    """Put the live table's own foreign key in the place of the expected one, or nothing where it has none."""
    sql = _without_reference(sql, key)
    parsed = ddl.parse_table(have.sql)
    for constraint in parsed.constraints:
        if constraint.foreign_key and tuple(map(fold, constraint.columns)) == key.columns:
            return ddl.append_constraint(sql, constraint.text)
    column = parsed.column(key.columns[0])
    own = None if column is None or len(key.columns) > 1 else column.references
    return sql if own is None else _edit_column(sql, key.columns[0], lambda text: ddl.with_references(text, own.text))


def _without_reference(sql: str, key: ForeignKey) -> str:
    parsed = ddl.parse_table(sql)
    for constraint in parsed.constraints:
        if constraint.foreign_key and tuple(map(fold, constraint.foreign_key.columns)) == key.columns:
            return ddl.drop_constraint(sql, constraint)
    return _edit_column(sql, key.columns[0], lambda text: ddl.with_references(text, None))


def _count(database: pw.SqliteDatabase, table: Table, condition: str) -> int:
    query = f"SELECT count(*) FROM {quote(table.name)} AS child WHERE {condition}"
    rows: int = database.execute_sql(query).fetchone()[0]
    return rows

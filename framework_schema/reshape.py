"""Structural drift in, the definition a table is to be rebuilt with out.

A table becomes the expected one as far as its rows allow. What they forbid, an
obstacle, is named with the rows that stand against it, and relaxed in the
definition; all else is tightened. What the framework does not know stays:
columns, and the rules that speak of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import peewee as pw

from framework_schema import ddl
from framework_schema.align import Left, duplicates
from framework_schema.ddl import fold, quote
from framework_schema.drift import Difference, Drift, find_drift
from framework_schema.snapshot import ForeignKey, Snapshot, Table
from framework_schema.sqlite_snapshot import of_database

Edit = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A rule that rows may forbid: the query that finds those rows, and how to do without the rule."""

    difference: Difference
    query: str
    relax: Edit

    def left(self, rows: int) -> Left:
        """Name it, with the number of rows."""
        d = self.difference
        return Left(d.table, f"{d.kind} {d.name}: {d.expected}", rows, self.query, d.kind, d.name)


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


def reshapings(database: pw.SqliteDatabase, drift: Drift, expected: Snapshot, live: Snapshot) -> Iterator[Reshaping]:
    """Decide for every table with structural drift; reads rows, writes nothing but a temporary table."""
    for name in sorted({fold(d.table) for d in drift.structural}):
        differences = [d for d in drift.structural if fold(d.table) == name]
        yield _of_table(database, expected.tables[name], live.tables[name], differences)


def _of_table(database: pw.SqliteDatabase, want: Table, have: Table, differences: list[Difference]) -> Reshaping:
    left: list[Left] = []
    new_sql = ddl.rename_table(want.sql, have.name) if want.name != have.name else want.sql
    converts = set()
    for difference in differences:
        if difference.kind in ("definition", "primary key") and not _can_be_key(database, want, have):
            return Reshaping(have.name, (), None, frozenset(), (_whole(database, want, have, difference),))
        if difference.kind == "type":
            rows = _lossy_rows(database, want, have, difference.name)
            if rows:
                new_sql = _with_type_of(have, new_sql, difference.name)
                query = f"SELECT {quote(difference.name)} FROM {quote(have.name)}"
                left.append(Obstacle(difference, query, lambda sql: sql).left(rows))
            else:
                converts.add(difference.name)
        obstacle = _obstacle(want, have, difference)
        if obstacle is not None and (rows := _count(database, obstacle.query)):
            left.append(obstacle.left(rows))
            new_sql = obstacle.relax(new_sql)
    for unique in want.uniques - have.uniques:
        is_inline = want.unique_names[unique] not in want.texts
        if is_inline and _count(database, duplicates(have.name, sorted(unique))):
            new_sql = ddl.without_unique(new_sql, unique)
    new_sql = _with_extras(new_sql, want, have)
    inline = any(d.kind == "unique" and _unique_index(have, d) not in have.texts for d in differences)
    same = not inline and not _differs(new_sql, want, have)
    return Reshaping(
        have.name, tuple(_drops(want, have, differences)), None if same else new_sql, frozenset(converts), tuple(left)
    )


def _obstacle(want: Table, have: Table, difference: Difference) -> Obstacle | None:
    """Return what rows might say against a difference, or None where they have no say."""
    name, table = difference.name, quote(have.name)
    if difference.kind == "null" and not want.columns[fold(name)].null:
        query = f"SELECT * FROM {table} WHERE {quote(name)} IS NULL"
        return Obstacle(
            difference, query, lambda sql: _edit_column(sql, name, lambda text: ddl.with_not_null(text, False))
        )
    if difference.kind == "check" and difference.found == "not there":
        query = f"SELECT * FROM {table} WHERE NOT ({name})"
        return Obstacle(difference, query, lambda sql: _without_check(sql, name))
    if difference.kind == "foreign key" and difference.found == "not there":
        key = next(k for k in want.foreign_keys if ", ".join(k.columns) == name)
        if any((k.columns, k.table) == (key.columns, key.table) for k in have.foreign_keys):
            return None
        return Obstacle(difference, orphans(have.name, key), lambda sql: _without_reference(sql, key))
    return None


def orphans(table: str, key: ForeignKey) -> str:
    """Write the query for the rows that refer to none."""
    to = key.to_columns or key.columns
    pairs = zip(key.columns, to, strict=True)
    match = " AND ".join(f"parent.{quote(there)} = child.{quote(here)}" for here, there in pairs)
    given = " AND ".join(f"child.{quote(column)} IS NOT NULL" for column in key.columns)
    return (
        f"SELECT child.* FROM {quote(table)} AS child WHERE {given} "
        f"AND NOT EXISTS (SELECT 1 FROM {quote(key.table)} AS parent WHERE {match})"
    )


def _can_be_key(database: pw.SqliteDatabase, want: Table, have: Table) -> bool:
    """Tell whether the table is readable and its rows could have the expected primary key."""
    if have.unreadable or not set(want.primary_key) <= have.columns.keys():
        return False
    return want.primary_key == have.primary_key or not _count(database, _keyless(want, have))


def _keyless(want: Table, have: Table) -> str:
    """Write the query for the rows that share a key, or have none where it is to be the rowid.

    A NULL in any other key is a matter of its NOT NULL.
    """
    names = [quote(column) for column in want.primary_key]
    double = f"SELECT {', '.join(names)} FROM {quote(have.name)} GROUP BY {', '.join(names)} HAVING count(*) > 1"
    query = f"SELECT * FROM {quote(have.name)} WHERE ({', '.join(names)}) IN ({double})"
    if len(names) == 1 and want.columns[want.primary_key[0]].type == "INTEGER":
        query += f" OR typeof({names[0]}) <> 'integer'"
    return query


def _whole(database: pw.SqliteDatabase, want: Table, have: Table, difference: Difference) -> Left:
    """Leave a table as it is: without its key, or a text we can read, nothing can be shown to be kept."""
    is_key = difference.kind == "primary key" and set(want.primary_key) <= have.columns.keys()
    query = _keyless(want, have) if is_key else f"SELECT * FROM {quote(have.name)}"
    what = f"{difference.kind} {difference.name}: {difference.expected}"
    return Left(have.name, what, _count(database, query), query, difference.kind, difference.name)


def _lossy_rows(database: pw.SqliteDatabase, want: Table, have: Table, column: str) -> int:
    """Count the values that the expected type would turn into something that cannot be turned back.

    SQLite's affinity makes '00123' in an INTEGER column 123
    (https://www.sqlite.org/datatype3.html#type_affinity); a temporary column
    of the type tells, since nothing else applies affinity as a column does.
    """
    target = want.columns[fold(column)].type
    source = f"SELECT {quote(column)} FROM {quote(have.name)}"
    database.execute_sql(f"CREATE TEMP TABLE framework_schema_probe (was, becomes {target})")
    try:
        database.execute_sql(
            f"INSERT INTO framework_schema_probe SELECT c, c FROM ({source.replace('FROM', 'AS c FROM', 1)})"
        )
        return _count(
            database,
            "SELECT 1 FROM framework_schema_probe WHERE typeof(was) <> typeof(becomes)"
            " AND CAST(was AS TEXT) <> CAST(becomes AS TEXT) AND CAST(was AS REAL) || '' <> becomes || ''",
        )
    finally:
        database.execute_sql("DROP TABLE framework_schema_probe")


def _with_extras(sql: str, want: Table, have: Table) -> str:
    """Add the columns that only the live table has, and the rules that speak of them.

    A NOT NULL without a default would stop every insert of the framework's, so
    it goes; so does a key of the old table that the expected one has elsewhere.
    """
    parsed = ddl.parse_table(have.sql)
    extra = [column for column in parsed.columns if fold(column.name) not in want.columns]
    names = [column.name for column in extra]
    rules = [c.text for c in parsed.constraints if c.kind != "primary key" and _speaks_of(c, names)]
    return ddl.extended(sql, map(_as_extra, extra), rules)


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
        if difference.kind in ("index", "trigger"):
            yield difference.kind, difference.name
        elif difference.kind == "unique":
            index = _unique_index(have, difference)
            if index in have.texts:
                yield "index", index


def _unique_index(have: Table, difference: Difference) -> str:
    return have.unique_names[frozenset(difference.name.split(", "))]


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


def _without_reference(sql: str, key: ForeignKey) -> str:
    parsed = ddl.parse_table(sql)
    for constraint in parsed.constraints:
        if constraint.foreign_key and tuple(map(fold, constraint.foreign_key.columns)) == key.columns:
            return ddl.drop_constraint(sql, constraint)
    return _edit_column(sql, key.columns[0], lambda text: ddl.with_references(text, None))


def _count(database: pw.SqliteDatabase, query: str) -> int:
    rows: int = database.execute_sql(f"SELECT count(*) FROM ({query})").fetchone()[0]
    return rows

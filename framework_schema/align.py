"""Drift in, changes out: what to run so that a table becomes the expected one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import peewee as pw

from framework_schema import ddl
from framework_schema.drift import Drift
from framework_schema.snapshot import Snapshot, Table


@dataclass(frozen=True, slots=True)
class Change:
    """One statement that takes a table nearer to the expected one.

    ``rule`` is the query that finds the rows which forbid the change, for the
    changes that rows can forbid.
    """

    table: str
    what: str
    sql: str
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """Something that could not be tightened, with the rows that stand against it."""

    table: str
    what: str
    rows: int
    query: str
    kind: str = ""
    name: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return it for ``--json``."""
        return asdict(self)


def additions(drift: Drift, expected: Snapshot, live: Snapshot, is_empty: frozenset[str]) -> Iterator[Change]:
    """Turn additive drift into statements, tables first, then columns, then what names them.

    ``is_empty`` holds the case-folded names of the tables without rows: SQLite
    adds a column with a default like CURRENT_TIMESTAMP to those only.
    """
    of_kind = {
        "table": _whole_table,
        "column": _column,
        "unique": _unique,
        "index": _index,
        "trigger": _trigger,
    }
    order = list(of_kind)
    for difference in sorted(drift.additive, key=lambda d: order.index(d.kind)):
        folded = ddl.fold(difference.table)
        want, have = expected.tables[folded], live.tables.get(folded)
        yield from of_kind[difference.kind](want, have, difference.name, folded in is_empty)


def apply(database: pw.Database, changes: Iterable[Change]) -> tuple[list[Change], list[Left]]:
    """Run the changes, but those that rows forbid: these are returned with the rows' number."""
    done: list[Change] = []
    left: list[Left] = []
    for change in changes:
        if change.rule is not None:
            rows = database.execute_sql(f"SELECT count(*) FROM ({change.rule})").fetchone()[0]
            if rows:
                left.append(Left(change.table, change.what, rows, change.rule, "unique", change.what))
                continue
        database.execute_sql(change.sql)
        done.append(change)
    return done, left


def empty_tables(database: pw.Database, names: Iterable[str]) -> frozenset[str]:
    """Return which of the tables hold no row, case-folded."""
    return frozenset(
        ddl.fold(name)
        for name in names
        if database.execute_sql(f"SELECT 1 FROM {ddl.quote(name)} LIMIT 1").fetchone() is None
    )


def _whole_table(want: Table, have: Table | None, name: str, is_empty: bool) -> Iterator[Change]:
    yield Change(want.name, f"table {want.name}", want.sql)
    for text in want.texts.values():
        yield Change(want.name, f"table {want.name}", text)


def _column(want: Table, have: Table | None, name: str, is_empty: bool) -> Iterator[Change]:
    definition = column_definition(want, name, is_empty)
    table = have.name if have else want.name
    yield Change(table, f"column {table}.{name}", f"ALTER TABLE {ddl.quote(table)} ADD COLUMN {definition}")


def column_definition(want: Table, name: str, is_empty: bool) -> str:
    """Write a column of the expected table so that SQLite can add it to a table with rows.

    What cannot be had in ADD COLUMN is left to ``--strict``: a NOT NULL without
    a default, a default that is no constant while there are rows, a key. See
    https://www.sqlite.org/lang_altertable.html#alter_table_add_column
    """
    parsed = ddl.parse_table(want.sql)
    column = parsed.column(name)
    assert column is not None
    parts = [ddl.quote(column.name), column.type]
    default = column.default
    if default is not None and (is_empty or is_constant(default)):
        parts.append(f"DEFAULT {default}")
        parts += ["NOT NULL"] if column.not_null and default.upper() != "NULL" else []
    parts += [f"COLLATE {column.collation}"] if column.collation else []
    parts += [f"CHECK ({check})" for check in column.checks]
    parts += [f"GENERATED ALWAYS AS {column.generated}"] if column.generated else []
    parts += [key.text for key in parsed.foreign_keys if tuple(map(ddl.fold, key.columns)) == (ddl.fold(name),)]
    return " ".join(part for part in parts if part)


def is_constant(default: str) -> bool:
    """Tell whether SQLite takes this default in ADD COLUMN for a table with rows."""
    text = default.strip()
    return not text.startswith("(") and text.upper() not in (
        "CURRENT_TIMESTAMP",
        "CURRENT_DATE",
        "CURRENT_TIME",
    )


def _unique(want: Table, have: Table | None, name: str, is_empty: bool) -> Iterator[Change]:
    columns = frozenset(name.split(", "))
    index = want.unique_names[columns]
    text = want.texts.get(index) or _unique_index(want, index, columns)
    table = have.name if have else want.name
    yield Change(table, f"unique {table}({name})", text, duplicates(table, sorted(columns)))


def _unique_index(want: Table, index: str, columns: frozenset[str]) -> str:
    """Write the index for a unique that the expected table has inline."""
    names = sorted(want.columns[column].name for column in columns)
    title = "_".join([want.name, *names, "unique"]).lower()
    return f"CREATE UNIQUE INDEX {ddl.quote(title)} ON {ddl.quote(want.name)} ({', '.join(map(ddl.quote, names))})"


def _index(want: Table, have: Table | None, name: str, is_empty: bool) -> Iterator[Change]:
    index = want.indexes[ddl.fold(name)]
    rule = duplicates(want.name, index.columns, index.where) if index.unique else None
    yield Change(want.name, f"index {index.name}", want.texts[index.name], rule)


def _trigger(want: Table, have: Table | None, name: str, is_empty: bool) -> Iterator[Change]:
    yield Change(want.name, f"trigger {name}", want.texts[name])


def duplicates(table: str, columns: Iterable[str], where: str | None = None) -> str:
    """Write the query for the values that several rows share."""
    names = ", ".join(map(ddl.quote, columns))
    condition = f" WHERE {where}" if where else ""
    return f"SELECT {names}, count(*) FROM {ddl.quote(table)}{condition} GROUP BY {names} HAVING count(*) > 1"

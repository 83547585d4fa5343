"""The workload, told once in neutral words: every contender writes its own scripts from it, and is held to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TYPES = {"text": "TEXT", "int": "INTEGER", "real": "REAL", "moment": "DATETIME"}
TABLES, STEPS = 40, 30
ROWS = 20
"""Rows that each table of a database with a past holds."""


@dataclass(frozen=True)
class Column:
    """One column; ``to`` is the table it refers to."""

    name: str
    type: str
    null: bool = True
    default: Any = None
    to: str | None = None

    @property
    def sql(self) -> str:
        default = "" if self.default is None else f" DEFAULT {self.default!r}"
        refers = "" if self.to is None else f' REFERENCES "{self.to}" ("id")'
        return f'"{self.name}" {TYPES[self.type]}{"" if self.null else " NOT NULL"}{default}{refers}'


@dataclass(frozen=True)
class Create:
    table: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Add:
    table: str
    column: Column


@dataclass(frozen=True)
class Index:
    table: str
    column: str


@dataclass(frozen=True)
class RenameColumn:
    table: str
    column: str
    new_name: str


@dataclass(frozen=True)
class RenameTable:
    table: str
    new_name: str


@dataclass(frozen=True)
class Drop:
    table: str
    column: str


Operation = Create | Add | Index | RenameColumn | RenameTable | Drop


@dataclass(frozen=True)
class Step:
    """One migration."""

    name: str
    operations: tuple[Operation, ...]


Plan = tuple[Step, ...]


def main_plan() -> Plan:
    """Forty tables in thirty migrations: twenty that create two each, ten that alter."""
    steps = [Step(f"{n:03d}_tables", (*_table(2 * n - 1), *_table(2 * n))) for n in range(1, TABLES // 2 + 1)]
    for n in range(8):
        adds = [Add(_name(4 * n + k), Column(f"extra{n}", "text")) for k in (1, 2)]
        steps.append(Step(f"{len(steps) + 1:03d}_columns", (*adds, Index(adds[0].table, adds[0].column.name))))
    steps.append(Step("029_names", (RenameColumn("t03", "kind", "sort"), RenameTable("t39", "u39"))))
    steps.append(Step("030_rest", (Drop("t05", "ratio"), RenameTable("t40", "u40"))))
    assert len(steps) == STEPS
    return tuple(steps)


def large_plans() -> dict[str, Plan]:
    """Return one table, and for each name one change to it."""
    columns = tuple(Column(name, "text" if name < "d" else "int") for name in "abcdef")
    first = Step("001_big", (Create("big", columns),))
    changes: dict[str, Operation] = {
        "add column": Add("big", Column("extra", "text")),
        "add index": Index("big", "b"),
        "rename column": RenameColumn("big", "c", "renamed"),
        "drop column": Drop("big", "f"),
        "add NOT NULL column": Add("big", Column("state", "text", null=False, default="new")),
    }
    return {name: (first, Step("002_change", (change,))) for name, change in changes.items()}


def statements(operation: Operation) -> Iterator[str]:
    """Write an operation as SQLite's own SQL."""
    match operation:
        case Create(table, columns):
            yield f'CREATE TABLE "{table}" ("id" INTEGER NOT NULL PRIMARY KEY, {", ".join(c.sql for c in columns)})'
        case Add(table, column):
            yield f'ALTER TABLE "{table}" ADD COLUMN {column.sql}'
        case Index(table, column):
            yield f'CREATE INDEX "{table}_{column}" ON "{table}" ("{column}")'
        case RenameColumn(table, column, new_name):
            yield f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO "{new_name}"'
        case RenameTable(table, new_name):
            yield f'ALTER TABLE "{table}" RENAME TO "{new_name}"'
        case Drop(table, column):
            yield f'ALTER TABLE "{table}" DROP COLUMN "{column}"'


def sql_of(step: Step) -> list[str]:
    """Write a step as SQL."""
    return [sql for operation in step.operations for sql in statements(operation)]


@dataclass(frozen=True)
class Shape:
    """What of a schema counts here: names, NULL, references, indexes; not how a tool words a type."""

    tables: dict[str, tuple[Any, ...]]

    def differences(self, wanted: Shape) -> list[str]:
        """Name the tables that are not as wanted; a tool's own tables are none of our business."""
        return [name for name, table in wanted.tables.items() if self.tables.get(name) != table]


def shape_of(path: str | Path) -> Shape:
    """Read a database."""
    with closing(sqlite3.connect(path)) as connection:
        return _shape(connection)


def wanted_shape(plan: Iterable[Step]) -> Shape:
    """Return the shape the plan makes."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for step in plan:
            for sql in sql_of(step):
                connection.execute(sql)
        return _shape(connection)


def fill(path: str | Path, plan: Sequence[Step], rows: int = ROWS) -> None:
    """Put rows into every table that the plan creates."""
    with closing(sqlite3.connect(path)) as connection:
        for step in plan:
            for operation in step.operations:
                if isinstance(operation, Create):
                    _fill(connection, operation, rows)
        connection.commit()


def rows_of(path: str | Path, plan: Sequence[Step]) -> int:
    """Count the rows of the plan's tables."""
    with closing(sqlite3.connect(path)) as connection:
        names = wanted_shape(plan).tables
        return sum(connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names)


def _fill(connection: sqlite3.Connection, table: Create, rows: int) -> None:
    columns = [column for column in table.columns if column.to is None]
    names = ", ".join(f'"{column.name}"' for column in columns)
    values = [[f"{column.name} {n}" if column.type != "int" else n for column in columns] for n in range(rows)]
    marks = ", ".join("?" * len(columns))
    connection.executemany(f'INSERT INTO "{table.table}" ({names}) VALUES ({marks})', values)


def _name(number: int) -> str:
    return f"t{number:02d}"


def _table(number: int) -> Iterator[Operation]:
    refers = [Column("parent_id", "int", to=_name(number // 2))] if number > 2 else []
    yield Create(
        _name(number),
        (
            Column("name", "text", null=False),
            Column("kind", "text"),
            Column("amount", "int", null=False),
            Column("ratio", "real"),
            Column("created", "moment"),
            *refers,
        ),
    )
    if number <= TABLES - 4:
        yield Index(_name(number), "name")


def _shape(connection: sqlite3.Connection) -> Shape:
    names = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not name.startswith("sqlite_")
    ]
    return Shape({name: _table_shape(connection, name) for name in names})


def _table_shape(connection: sqlite3.Connection, table: str) -> tuple[Any, ...]:
    columns = connection.execute('SELECT name, "notnull", pk FROM pragma_table_info(?)', (table,)).fetchall()
    keys = connection.execute("SELECT * FROM pragma_foreign_key_list(?)", (table,)).fetchall()
    indexes = connection.execute("SELECT name FROM pragma_index_list(?) WHERE origin = 'c'", (table,)).fetchall()
    indexed = [
        tuple(name for (name,) in connection.execute("SELECT name FROM pragma_index_info(?)", index))
        for index in indexes
    ]
    return (
        tuple(sorted((name, bool(not_null or pk), pk) for name, not_null, pk in columns)),
        tuple(sorted((column, to, to_column or "id") for _, _, to, column, to_column, *_ in keys)),
        tuple(sorted(indexed)),
    )

"""What a database holds, counted before and after, so that what goes can be told: rows by table, values by column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import peewee as pw

from framework_schema.dialects import Dialect
from framework_schema.snapshot import Snapshot

AT_ONCE = 100
"""Columns a statement counts: SQLite takes no more than 2000 results of one."""

Values = tuple[Any, ...]
"""How many values a column has, with the least, the greatest and the length of all: as good as equal for a rename."""


@dataclass(frozen=True)
class Contents:
    """Which tables and columns there are, how many rows each table has, and how many values each column."""

    schema: Snapshot
    rows: Mapping[str, int]
    values: Mapping[tuple[str, str], Values]

    def lost(self, after: Contents) -> tuple[dict[str, object], ...]:
        """Name what is no longer there: tables with their rows, rows, and columns with the values they had.

        What was renamed, or copied before it was dropped, is there.
        """
        lost: list[dict[str, object]] = []
        for name, rows in self.rows.items():
            table, left = self.schema.tables[name], after.schema.tables.get(name)
            gone = rows - after.rows.get(name, 0)
            if (left is None and not self._is_elsewhere(name, after)) or (left is not None and gone > 0):
                lost.append({"table": table.name, "rows": gone, "dropped": left is None})
            if left is not None:
                for key, column in table.columns.items():
                    values = self._values_gone(name, key, max(gone, 0), after)
                    if values > 0:
                        dropped = key not in left.columns
                        lost.append({"table": table.name, "column": column.name, "rows": values, "dropped": dropped})
        return tuple(lost)

    def kept_in(self, schema: Snapshot) -> Contents:
        """Return what is left of this where the schema is another one, and no row was tried."""
        tables = schema.tables
        rows = {name: rows for name, rows in self.rows.items() if name in tables}
        values = {
            key: found for key, found in self.values.items() if key[0] in rows and key[1] in tables[key[0]].columns
        }
        return Contents(schema, rows, values)

    def _is_elsewhere(self, name: str, after: Contents) -> bool:
        """Tell whether a new table has the columns and as many rows."""
        columns = set(self.schema.tables[name].columns)
        new = after.rows.keys() - self.rows.keys()
        return any(
            after.rows[other] == self.rows[name] and set(after.schema.tables[other].columns) == columns for other in new
        )

    def _values_gone(self, table: str, column: str, rows_gone: int, after: Contents) -> int:
        before = self.values[table, column]
        if column in after.schema.tables[table].columns:
            return int(before[0] - after.values[table, column][0] - rows_gone)
        added = after.schema.tables[table].columns.keys() - self.schema.tables[table].columns.keys()
        return 0 if any(after.values.get((table, other)) == before for other in added) else int(before[0])


def contents(database: pw.Database, dialect: Dialect, *, without: Iterable[str] = ()) -> Contents:
    """Count every table's rows and every column's values; ``without`` names the tables of the history."""
    schema = dialect.snapshot(database)
    ours = {name.lower() for name in without}
    rows: dict[str, int] = {}
    values: dict[tuple[str, str], Values] = {}
    for name, table in schema.tables.items():
        if name not in ours and table.columns:
            columns = [(key, column.name) for key, column in table.columns.items()]
            rows[name] = 0
            for start in range(0, len(columns), AT_ONCE):
                part = columns[start : start + AT_ONCE]
                rows[name], found = _counted(database, table.name, [written for _, written in part])
                values |= {(name, key): one for (key, _), one in zip(part, found, strict=True)}
    return Contents(schema, rows, values)


def _counted(database: pw.Database, table: str, columns: list[str]) -> tuple[int, list[Values]]:
    counts = ", ".join(_count(database, column) for column in columns)
    row = database.execute_sql(f"SELECT count(*), {counts} FROM {_quoted(database, table)}").fetchone()
    return int(row[0]), list(_fours(row[1:]))


def _count(database: pw.Database, column: str) -> str:
    name = _quoted(database, column)
    kind = "BLOB" if isinstance(database, pw.SqliteDatabase) else "CHAR" if database.quote[0] == "`" else "TEXT"
    text = f"CAST({name} AS {kind})"
    return f"count({name}), min({text}), max({text}), sum(length({text}))"


def _fours(row: Iterable[Any]) -> Iterator[Values]:
    return zip(*[iter(row)] * 4, strict=True)


def _quoted(database: pw.Database, name: str) -> str:
    start, end = database.quote[0], database.quote[1]
    return f"{start}{name.replace(end, end * 2)}{end}"

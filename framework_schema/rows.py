"""Rows, written and read by migration scripts; frozen like ``fields``.

Plain SQL, the same on every engine, so that no script needs the models of a later release.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

import peewee as pw

Row = Mapping[str, Any]

CHUNK = 100
"""Rows in one statement; SQLite joins at most 500 by UNION."""

BATCH = 500
"""Rows in memory at a time."""


def insert_missing(database: pw.Database, table: str, key_columns: Sequence[str], rows: Sequence[Row]) -> int:
    """Insert the rows whose key the table does not hold; return their number.

    All rows have the same columns, and no two the same key. A row whose key is
    there stays as it is, whatever else it holds.
    """
    inserted = 0
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        columns = tuple(chunk[0])
        sql = _insert(table, tuple(key_columns), columns, len(chunk), database.quote, database.param)
        cursor = database.execute_sql(sql, [row[column] for row in chunk for column in columns])
        inserted += int(database.rows_affected(cursor))
    return inserted


def delete_unchanged(database: pw.Database, table: str, rows: Sequence[Row]) -> int:
    """Delete the rows that still hold exactly these values; return their number."""
    return sum(_execute(database, _delete(table, row)) for row in rows)


def column_names(database: pw.Database, table: str) -> set[str]:
    """Return the names of the columns the table has."""
    return {column.name for column in database.get_columns(table)}


def has_columns(database: pw.Database, table: str, *columns: str) -> bool:
    """Tell whether there is such a table, with at least these columns."""
    found = {name.lower() for name in column_names(database, table)}
    return bool(found) and found >= {column.lower() for column in columns}


def takes(database: pw.Database, table: str, *columns: str) -> bool:
    """Tell whether a row with just these columns can be inserted.

    A table with another past may have a further column that forbids NULL and
    has no default: what to put there is not for a script to invent.
    """
    given = {column.lower() for column in columns}
    needed = {
        column.name.lower()
        for column in database.get_columns(table)
        if not column.null and column.default is None and not column.primary_key
    }
    return needed <= given and has_columns(database, table, *columns)


def batches(database: pw.Database, query: Any, key: Any, size: int = BATCH) -> Iterator[list[tuple[Any, ...]]]:
    """Read a query in the order of ``key``, its first column, ``size`` rows at a time.

    Each batch is read to its end before it is handed out, so the caller may
    write to the very table; ``key`` must tell the rows apart.
    """
    rows = list(query.order_by(key).limit(size).tuples().execute(database))
    while rows:
        yield rows
        rows = list(query.where(key > rows[-1][0]).order_by(key).limit(size).tuples().execute(database))


def undecoded(database: pw.Database, column: Any) -> Any:
    """Select a text column so that no content of it can fail to be read: SQLite's files hold any bytes as text."""
    return column.cast("BLOB") if isinstance(database, pw.SqliteDatabase) else column


def read_json(value: Any) -> Any:
    """Return what a JSON text says; None for what is none, and for ``null``."""
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return None


def write_json(value: Any) -> str:
    """Return a value as JSON text, in ASCII."""
    return json.dumps(value)


def day_of(value: Any) -> date | None:
    """Return the day a date or a moment is on, as it is written there; None for what is neither."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    try:
        return date.fromisoformat(text.strip()[:10])
    except ValueError:
        return None


def moment(database: Any) -> Any:
    """Return the database's present time, as its CURRENT_TIMESTAMP writes it."""
    return database.execute_sql("SELECT CURRENT_TIMESTAMP").fetchone()[0]


@lru_cache(maxsize=64)
def _insert(
    table: str, key_columns: tuple[str, ...], columns: tuple[str, ...], count: int, quotes: str, param: str
) -> str:
    """Write the statement that inserts ``count`` rows; to have Peewee build it takes ten times as long as to run it."""
    left, right = quotes[0], quotes[1]

    def name(*parts: str) -> str:
        return ".".join(f"{left}{part.replace(right, right * 2)}{right}" for part in parts)

    first = "SELECT " + ", ".join(f"{param} AS {name(column)}" for column in columns)
    other = "SELECT " + ", ".join([param] * len(columns))
    rows = " UNION ALL ".join([first, *[other] * (count - 1)])
    same_key = " AND ".join(f"{name(table, column)} = {name('new', column)}" for column in key_columns)
    return (
        f"INSERT INTO {name(table)} ({', '.join(map(name, columns))})"
        f" SELECT {', '.join(name('new', column) for column in columns)} FROM ({rows}) AS {name('new')}"
        f" WHERE NOT EXISTS (SELECT 1 FROM {name(table)} WHERE {same_key})"
    )


def _delete(table: str, row: Row) -> pw.NodeList:
    same = [pw.NodeList((pw.Entity(column), pw.SQL("="), pw.Value(value))) for column, value in row.items()]
    return pw.NodeList((pw.SQL("DELETE FROM"), pw.Entity(table), pw.SQL("WHERE"), pw.NodeList(same, " AND ")))


def _execute(database: Any, statement: pw.NodeList) -> int:
    return int(database.rows_affected(database.execute(statement)))

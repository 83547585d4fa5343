"""Rows, written and read by migration scripts; frozen like ``fields``.

Plain SQL, the same on every engine, so that no script needs the models of a later release.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import peewee as pw

from framework_schema.catalog import looking

Row = Mapping[str, Any]

CHUNK = 100
"""Rows in one statement; SQLite joins at most 500 by UNION."""

ILLEGAL_MIX, INCORRECT_STRING = 1267, 1366
"""What MariaDB says when a column's charset lacks a character: https://mariadb.com/kb/en/mariadb-error-code-reference/."""

BATCH = 500
"""Rows in memory at a time."""

TYPES = (
    "SELECT a.attname, format_type(a.atttypid, NULL) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND c.relname = %s "
    "AND a.attnum > 0 AND NOT a.attisdropped"
)
FORMS = {
    "timestamp": r"^\d{4}-\d\d-\d\d([ t]\d\d:\d\d(:\d\d([.]\d+)?)?)?",
    "date": r"^\d{4}-\d\d-\d\d",
    "boolean": r"^(0|1|t|f|true|false)$",
    "numeric": r"^[-+]?\d+([.]\d+)?$",
    "double": r"^[-+]?\d+([.]\d+)?(e[-+]?\d+)?$",
    "real": r"^[-+]?\d+([.]\d+)?(e[-+]?\d+)?$",
    "bigint": r"^[-+]?\d{1,18}$",
    "integer": r"^[-+]?\d{1,9}$",
    "smallint": r"^[-+]?\d{1,4}$",
}
"""How text looks that can be read as one of these types."""


def insert_missing(database: pw.Database, table: str, key_columns: Sequence[str], rows: Sequence[Row]) -> int:
    """Insert the rows whose key the table does not hold; return their number.

    All rows have the same columns, and no two the same key. A row whose key is
    there stays as it is, whatever else it holds.
    """
    inserted = 0
    types = column_types(database, table)

    def casts(columns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(types.get(column, "") for column in columns)

    def sent(value: Any) -> Any:
        return written(value) if types else value

    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        columns = tuple(chunk[0])
        sql = _insert(table, tuple(key_columns), columns, len(chunk), database.quote, database.param, casts(columns))
        values = [sent(row[column]) for row in chunk for column in columns]
        try:
            cursor = database.execute_sql(sql, values)
        except pw.DatabaseError as error:
            if error.args[:1] not in ((ILLEGAL_MIX,), (INCORRECT_STRING,)):
                raise
            _widen(database, table)
            cursor = database.execute_sql(sql, values)
        inserted += int(database.rows_affected(cursor))
    return inserted


def _widen(database: pw.Database, table: str) -> None:
    """Let the text columns of a table on MariaDB hold any character: those of latin1 or utf8mb3 become utf8mb4.

    No value changes, and without it a unit such as Ω can neither be stored nor compared.
    """
    from framework_schema.mysql_text import ColumnText, Definition

    printed = Definition.of(database.execute_sql(f"SHOW CREATE TABLE `{table}`").fetchone()[1])
    narrow = database.execute_sql(
        "SELECT column_name, column_type FROM information_schema.columns WHERE table_schema = DATABASE() "
        "AND table_name = %s AND character_set_name <> 'utf8mb4' AND generation_expression IS NULL",
        (table,),
    ).fetchall()
    lines = [(printed.line(str(name).lower()), kind) for name, kind in narrow] if printed else []
    changes = [
        f"MODIFY COLUMN {ColumnText.of(line).typed(str(kind), 'utf8mb4_general_ci').text}"
        for line, kind in lines
        if line
    ]
    if changes:
        database.execute_sql(f"ALTER TABLE `{table}` {', '.join(changes)}")


def delete_unchanged(database: pw.Database, table: str, rows: Sequence[Row]) -> int:
    """Delete the rows that still hold exactly these values; return their number."""
    types = column_types(database, table)
    return sum(_execute(database, _delete(table, row, types)) for row in rows)


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


def column_types(database: pw.Database, table: str) -> dict[str, str]:
    """Return the type of each column as PostgreSQL names it, without a length; nothing on the other engines.

    SQLite takes any value, and MariaDB brings values to a column's type by
    itself. PostgreSQL compares and stores only what was cast.
    """
    if not isinstance(database, pw.PostgresqlDatabase):
        return {}
    with looking(database):
        return dict(database.execute_sql(TYPES, (table,)).fetchall())


def typed(database: pw.Database, table: str, column: str, value: Any) -> Any:
    """Return a value to be stored in a column, or compared with it, whatever the column's type."""
    kind = column_types(database, table).get(column)
    return value if kind is None else pw.SQL(f"CAST(%s AS {kind})", (written(value),))


def text_of(database: pw.Database, expression: Any) -> Any:
    """Write an expression as text, so that it can be compared with text whatever its type."""
    return expression.cast("text") if isinstance(database, pw.PostgresqlDatabase) else expression


def brought(database: pw.Database, expression: Any, table: str, column: str) -> Any:
    """Bring an expression to the type of a column; what cannot be read as a moment, number or truth becomes NULL."""
    kind = column_types(database, table).get(column)
    if kind is None:
        return expression
    text = pw.fn.TRIM(expression.cast("text"))
    form = next((form for word, form in FORMS.items() if kind.startswith(word)), None)
    if form is None:
        return expression.cast("text").cast(kind)
    return pw.Case(
        None, [(pw.fn.LOWER(text).regexp(form), pw.NodeList((pw.SQL("CAST("), text, pw.SQL(f"AS {kind})"))))]
    )


def written(value: Any) -> Any:
    """Return a value as text that a server reads as whatever a column holds; None stays None."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, datetime):
        moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return moment.isoformat(" ")
    return str(value)


def whole(value: Any) -> Any:
    """Return a number without a fraction as an int, as a server may hold it in a NUMERIC; anything else as it is."""
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value


def is_true(value: Any) -> bool:
    """Tell whether a flag is set, be it a truth value, a number or the text of one."""
    return value == 1 or (isinstance(value, str) and value.strip().lower() in ("1", "t", "true"))


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
    table: str,
    key_columns: tuple[str, ...],
    columns: tuple[str, ...],
    count: int,
    quotes: str,
    param: str,
    types: tuple[str, ...],
) -> str:
    """Write the statement that inserts ``count`` rows; to have Peewee build it takes ten times as long as to run it."""
    left, right = quotes[0], quotes[1]

    def name(*parts: str) -> str:
        return ".".join(f"{left}{part.replace(right, right * 2)}{right}" for part in parts)

    marks = [f"CAST({param} AS {kind})" if kind else param for kind in types]
    first = "SELECT " + ", ".join(f"{mark} AS {name(column)}" for mark, column in zip(marks, columns, strict=True))
    other = "SELECT " + ", ".join(marks)
    rows = " UNION ALL ".join([first, *[other] * (count - 1)])
    same_key = " AND ".join(f"{name(table, column)} = {name('new', column)}" for column in key_columns)
    return (
        f"INSERT INTO {name(table)} ({', '.join(map(name, columns))})"
        f" SELECT {', '.join(name('new', column) for column in columns)} FROM ({rows}) AS {name('new')}"
        f" WHERE NOT EXISTS (SELECT 1 FROM {name(table)} WHERE {same_key})"
    )


def _delete(table: str, row: Row, types: Mapping[str, str]) -> pw.NodeList:
    same = [pw.NodeList((pw.Entity(column), pw.SQL("="), _value(types.get(column), v))) for column, v in row.items()]
    return pw.NodeList((pw.SQL("DELETE FROM"), pw.Entity(table), pw.SQL("WHERE"), pw.NodeList(same, " AND ")))


def _value(kind: str | None, value: Any) -> Any:
    return pw.Value(value) if kind is None else pw.SQL(f"CAST(%s AS {kind})", (written(value),))


def _execute(database: Any, statement: pw.NodeList) -> int:
    return int(database.rows_affected(database.execute(statement)))

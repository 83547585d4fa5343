"""Which values a column's new type would change for good."""

from __future__ import annotations

import zlib

import peewee as pw

from framework_schema.align import child_identity, row_identity
from framework_schema.ddl import fold, quote
from framework_schema.snapshot import Table

PREFIX = "framework_schema_lossy_"
"""How the temporary tables begin that hold the rows found."""
SHOWN = 20
"""So many rows are named in the query that shows them."""


def lossy_rows(database: pw.SqliteDatabase, want: Table, have: Table, column: str) -> tuple[int, str, str]:
    """Find the values that the expected type would turn into something that cannot be turned back.

    SQLite's affinity makes '00710' in a REAL column 710.0
    (https://www.sqlite.org/datatype3.html#type_affinity). A value is kept when
    it is not changed at all, comes back as it was under the old type, or reads
    the same as a text. Columns of both types in a temporary table tell, since
    nothing else applies affinity as a column does.

    Returns the number of rows, their condition on a table called ``child``, and
    a query that shows them. The temporary table stays while there are such rows,
    for the condition needs it; ``forget`` drops it.
    """
    probe = f"temp.{PREFIX}{zlib.crc32(f'{fold(have.name)}.{fold(column)}'.encode())}"
    identity, name = row_identity(have), quote(column)
    ids = [f"id{n}" for n in range(len(identity.split(", ")))]
    old, new = have.columns[fold(column)].type, want.columns[fold(column)].type
    database.execute_sql(f"DROP TABLE IF EXISTS {probe}")
    database.execute_sql(f"CREATE TABLE {probe} ({', '.join(ids)}, was, becomes {new}, back {old})")
    values = f"SELECT {identity}, {name}, {name} FROM {quote(have.name)}"
    database.execute_sql(f"INSERT INTO {probe} ({', '.join(ids)}, was, becomes) {values}")
    database.execute_sql(f"UPDATE {probe} SET back = becomes")
    kept = (  # the plus signs take affinity away, so that nothing is converted for the comparison
        "(typeof(was) = typeof(becomes) AND +was IS +becomes)"
        " OR (typeof(was) = typeof(back) AND +was IS +back)"
        " OR (typeof(was) = 'text' AND was = CAST(becomes AS TEXT))"
    )
    database.execute_sql(f"DELETE FROM {probe} WHERE {kept}")
    found = [tuple(row) for row in database.execute_sql(f"SELECT {', '.join(ids)} FROM {probe}").fetchall()]
    if not found:
        database.execute_sql(f"DROP TABLE {probe}")
        return 0, "", ""
    condition = f"({child_identity(have)}) IN (SELECT {', '.join(ids)} FROM {probe})"
    shown = f" WHERE {identity} IN ({', '.join(str(key) for (key,) in found)})"
    is_plain = len(found) <= SHOWN and len(ids) == 1 and all(isinstance(key, int) for (key,) in found)
    return len(found), condition, f"SELECT {name} FROM {quote(have.name)}" + (shown if is_plain else "")


def forget(database: pw.SqliteDatabase) -> None:
    """Drop the temporary tables of ``lossy_rows``."""
    sql = f"SELECT name FROM sqlite_temp_master WHERE type = 'table' AND name LIKE '{PREFIX}%'"
    for (name,) in database.execute_sql(sql).fetchall():
        database.execute_sql(f"DROP TABLE temp.{quote(name)}")

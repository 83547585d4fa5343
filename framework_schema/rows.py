"""Default rows, written by migration scripts; frozen like ``fields``.

Plain SQL, the same on every engine, so that no script needs the models of a later release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import peewee as pw

Row = Mapping[str, Any]

CHUNK = 100
"""Rows in one statement; SQLite joins at most 500 by UNION."""


def insert_missing(database: pw.Database, table: str, key_columns: Sequence[str], rows: Sequence[Row]) -> int:
    """Insert the rows whose key the table does not hold; return their number.

    All rows have the same columns, and no two the same key. A row whose key is
    there stays as it is, whatever else it holds.
    """
    inserted = 0
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        inserted += _execute(database, _insert(table, key_columns, chunk))
    return inserted


def delete_unchanged(database: pw.Database, table: str, rows: Sequence[Row]) -> int:
    """Delete the rows that still hold exactly these values; return their number."""
    return sum(_execute(database, _delete(table, row)) for row in rows)


def column_names(database: pw.Database, table: str) -> set[str]:
    """Return the names of the columns the table has."""
    return {column.name for column in database.get_columns(table)}


def _insert(table: str, key_columns: Sequence[str], rows: Sequence[Row]) -> pw.NodeList:
    columns = list(rows[0])
    same_key = [pw.Entity(table, column) == pw.Entity("new", column) for column in key_columns]
    return pw.NodeList(
        (
            pw.SQL("INSERT INTO"),
            pw.Entity(table),
            pw.EnclosedNodeList([pw.Entity(column) for column in columns]),
            pw.SQL("SELECT"),
            pw.CommaNodeList([pw.Entity("new", column) for column in columns]),
            pw.SQL("FROM"),
            pw.NodeList([_select(row, columns) for row in rows], glue=" UNION ALL ", parens=True),
            pw.SQL("AS"),
            pw.Entity("new"),
            pw.SQL("WHERE NOT EXISTS (SELECT 1 FROM"),
            pw.Entity(table),
            pw.SQL("WHERE"),
            pw.NodeList(same_key, glue=" AND "),
            pw.SQL(")"),
        )
    )


def _select(row: Row, columns: Sequence[str]) -> pw.NodeList:
    values = [pw.NodeList((pw.Value(row[column]), pw.SQL("AS"), pw.Entity(column))) for column in columns]
    return pw.NodeList((pw.SQL("SELECT"), pw.CommaNodeList(values)))


def _delete(table: str, row: Row) -> pw.NodeList:
    same = [pw.NodeList((pw.Entity(column), pw.SQL("="), pw.Value(value))) for column, value in row.items()]
    return pw.NodeList((pw.SQL("DELETE FROM"), pw.Entity(table), pw.SQL("WHERE"), pw.NodeList(same, " AND ")))


def _execute(database: Any, statement: pw.NodeList) -> int:
    return int(database.rows_affected(database.execute(statement)))

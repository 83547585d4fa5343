"""Running a statement that we wrote ourselves, with every value in its text."""

from __future__ import annotations

from typing import Any

import peewee as pw


def execute(database: pw.Database, sql: str) -> Any:
    """Run a statement without parameters; return the driver's cursor.

    Peewee hands the drivers an empty tuple where there are none, so they look
    for placeholders all the same: a ``%`` of a comment, CHECK or name has to be doubled.
    """
    return database.execute_sql(sql.replace("%", "%%"))

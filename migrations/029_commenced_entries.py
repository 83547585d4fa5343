"""Entries from before ``commenced_at`` commenced when they were created."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import brought, has_columns, text_of

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["Entry.commenced_at"]

depends_on = ["framework/001_entries"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Fill the column once, while it is new.

    As soon as one entry has a value the column is in use, and NULL says that
    an entry has not commenced yet.
    """
    if fake or not has_columns(database, "Entry", "created_at", "commenced_at"):
        return
    entries = pw.Table("Entry")
    in_use = entries.select(pw.SQL("1")).where(entries.c.commenced_at.is_null(False)).limit(1)
    if list(in_use.tuples().execute(database)):
        return
    created = brought(database, entries.c.created_at, "Entry", "commenced_at")
    change = entries.update({entries.c.commenced_at: created})
    change.where(text_of(database, entries.c.created_at) != "").execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the times: a user may have seen and kept them."""

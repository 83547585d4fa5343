"""Entries as files of July 2025 have them: the name of a type, for the type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import has_columns, text_of

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["Entry.entry_type_id"]

depends_on = ["framework/001_entries"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Give an entry without a type the one of that very name; the old column stays.

    No type is made up for a name that none has: labels, states and layout would
    have to be invented with it.
    """
    if fake or not has_columns(database, "Entry", "type", "entry_type_id"):
        return
    if not has_columns(database, "EntryType", "id", "name"):
        return
    entries, types = pw.Table("Entry"), pw.Table("EntryType")
    named = text_of(database, types.c.name) == text_of(database, entries.c.type)
    found = types.select(pw.fn.MIN(types.c.id)).where(named)
    change = entries.update({entries.c.entry_type_id: found})
    some = types.select(pw.SQL("1")).where(named)
    change.where(entries.c.entry_type_id.is_null(), pw.fn.EXISTS(some)).execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the types: they say what the old column says."""

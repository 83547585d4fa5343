"""Notes as files of July 2025 have them: a content and a parent, for a text and an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import brought, has_columns, text_of

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["Note.note_text", "Note.entry_id"]

depends_on = ["framework/001_entries", "framework/003_notes"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Fill the text and the entry where they are NULL; the old columns stay.

    A parent is an entry when the note says so, or when the entry of that id is
    of the very type that the note names. All other notes have no entry, and get
    none: which one it should be is not known.
    """
    if fake:
        return
    notes, entries = pw.Table("Note"), pw.Table("Entry")
    if has_columns(database, "Note", "content", "note_text"):
        change = notes.update({notes.c.note_text: brought(database, notes.c.content, "Note", "note_text")})
        change.where(notes.c.note_text.is_null(), notes.c.content.is_null(False)).execute(database)
    if has_columns(database, "Note", "parent_id", "parent_type", "entry_id") and has_columns(database, "Entry", "id"):
        is_entry = pw.fn.LOWER(text_of(database, notes.c.parent_type)) == "entry"
        if has_columns(database, "Entry", "type"):
            is_entry |= text_of(database, entries.c.type) == text_of(database, notes.c.parent_type)
        parent_id = brought(database, notes.c.parent_id, "Note", "entry_id")
        parent = entries.select(pw.SQL("1")).where(entries.c.id == parent_id, is_entry)
        change = notes.update({notes.c.entry_id: parent_id})
        change.where(notes.c.entry_id.is_null(), pw.fn.EXISTS(parent)).execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave text and entry: they say what the old columns say."""

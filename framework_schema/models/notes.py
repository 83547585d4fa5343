"""Notes and the entries they belong to."""

from __future__ import annotations

import peewee as pw

from framework_schema.fields import AutoIncrementField, BooleanField, TextField, TimestampField, default, now
from framework_schema.models.base import FrameworkModel
from framework_schema.models.entries import Entry


class Note(FrameworkModel):
    """A note on an entry."""

    id = AutoIncrementField()
    entry = pw.ForeignKeyField(Entry, column_name="entry_id", on_delete="CASCADE", index=False, backref="notes")
    note_title = TextField(null=True)
    note_text = TextField()
    type = TextField(null=True, **default("General"))
    created_at = TextField()
    file_paths = TextField(null=True, **default("[]"))
    associated_entry_ids = TextField(null=True, **default("[]"))
    url_bookmarks = TextField(null=True, **default("[]"))

    class Meta:
        table_name = "Note"


class NoteEntry(FrameworkModel):
    """A further entry that a note belongs to."""

    id = AutoIncrementField()
    note = pw.ForeignKeyField(Note, column_name="note_id", on_delete="CASCADE", index=False, backref="entry_links")
    entry = pw.ForeignKeyField(Entry, column_name="entry_id", on_delete="CASCADE", index=False, backref="note_links")
    relationship_type = TextField(null=True, **default("primary"))
    created_at = TextField(null=True, **now())

    class Meta:
        table_name = "NoteEntry"
        indexes = [
            (("note", "entry"), True),
        ]


class NoteEntryRelationship(FrameworkModel):
    """A further entry that a note is shown on."""

    id = AutoIncrementField()
    note = pw.ForeignKeyField(
        Note, column_name="note_id", on_delete="CASCADE", index=False, backref="entry_relationships"
    )
    entry = pw.ForeignKeyField(
        Entry, column_name="entry_id", on_delete="CASCADE", index=False, backref="note_relationships"
    )
    is_primary = pw.IntegerField(null=True, **default(0))
    created_at = TextField(null=True, **now())

    class Meta:
        table_name = "NoteEntryRelationship"
        indexes = [
            (("note", "entry"), True),
        ]


class NoteBinding(FrameworkModel):
    """Two entries of which the second shows the notes of the first."""

    id = AutoIncrementField()
    source_entry = pw.ForeignKeyField(
        Entry, column_name="source_entry_id", on_delete="CASCADE", index=False, backref="note_bindings_from"
    )
    target_entry = pw.ForeignKeyField(
        Entry, column_name="target_entry_id", on_delete="CASCADE", index=False, backref="note_bindings_to"
    )
    enabled = BooleanField(null=True, **default(1))
    created_at = TimestampField(null=True, **now())
    updated_at = TimestampField(null=True, **now())

    class Meta:
        table_name = "NoteBinding"
        indexes = [
            (("source_entry", "target_entry"), True),
        ]

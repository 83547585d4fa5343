"""Notes and their further entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import AutoIncrementField, BooleanField, TextField, TimestampField, default, now

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/001_entries"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class Note(pw.Model):
        id = AutoIncrementField()
        entry = pw.ForeignKeyField(migrator.orm["Entry"], column_name="entry_id", on_delete="CASCADE", index=False)
        note_title = TextField(null=True)
        note_text = TextField()
        type = TextField(null=True, **default("General"))
        created_at = TextField()
        file_paths = TextField(null=True, **default("[]"))
        associated_entry_ids = TextField(null=True, **default("[]"))
        url_bookmarks = TextField(null=True, **default("[]"))

        class Meta:
            table_name = "Note"

    @migrator.create_model
    class NoteEntry(pw.Model):
        id = AutoIncrementField()
        note = pw.ForeignKeyField(Note, column_name="note_id", on_delete="CASCADE", index=False)
        entry = pw.ForeignKeyField(migrator.orm["Entry"], column_name="entry_id", on_delete="CASCADE", index=False)
        relationship_type = TextField(null=True, **default("primary"))
        created_at = TextField(null=True, **now())

        class Meta:
            table_name = "NoteEntry"
            indexes = [
                (("note", "entry"), True),
            ]

    @migrator.create_model
    class NoteEntryRelationship(pw.Model):
        id = AutoIncrementField()
        note = pw.ForeignKeyField(Note, column_name="note_id", on_delete="CASCADE", index=False)
        entry = pw.ForeignKeyField(migrator.orm["Entry"], column_name="entry_id", on_delete="CASCADE", index=False)
        is_primary = pw.IntegerField(null=True, **default(0))
        created_at = TextField(null=True, **now())

        class Meta:
            table_name = "NoteEntryRelationship"
            indexes = [
                (("note", "entry"), True),
            ]

    @migrator.create_model
    class NoteBinding(pw.Model):
        id = AutoIncrementField()
        source_entry = pw.ForeignKeyField(
            migrator.orm["Entry"], column_name="source_entry_id", on_delete="CASCADE", index=False
        )
        target_entry = pw.ForeignKeyField(
            migrator.orm["Entry"], column_name="target_entry_id", on_delete="CASCADE", index=False
        )
        enabled = BooleanField(null=True, **default(1))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "NoteBinding"
            indexes = [
                (("source_entry", "target_entry"), True),
            ]


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("NoteBinding")
    migrator.remove_model("NoteEntryRelationship")
    migrator.remove_model("NoteEntry")
    migrator.remove_model("Note")

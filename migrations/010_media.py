"""Photo galleries and diagrams of an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, TimestampField, default, now

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/001_entries", "framework/009_layouts"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class EntryPhotoGalleryConfig(pw.Model):
        id = AutoIncrementField()
        entry = pw.ForeignKeyField(migrator.orm["Entry"], column_name="entry_id", on_delete="CASCADE", index=False)
        section = pw.ForeignKeyField(
            migrator.orm["EntryLayoutSection"], column_name="section_id", on_delete="CASCADE", index=False
        )
        image_urls = TextField(null=True, **default("[]"))
        created_at = TextField(null=True, **now())
        updated_at = TextField(null=True, **now())

        class Meta:
            table_name = "EntryPhotoGalleryConfig"
            indexes = [
                (("entry", "section"), True),
            ]

    @migrator.create_model
    class EntryDrawioDiagram(pw.Model):
        entry = pw.ForeignKeyField(
            migrator.orm["Entry"], column_name="entry_id", primary_key=True, on_delete="CASCADE", index=False
        )
        diagram_data = TextField(null=True)
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "EntryDrawioDiagram"


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("EntryDrawioDiagram")
    migrator.remove_model("EntryPhotoGalleryConfig")

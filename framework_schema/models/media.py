"""Pictures and diagrams of an entry."""

from __future__ import annotations

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, TimestampField, default, now
from framework_schema.models.base import FrameworkModel
from framework_schema.models.entries import Entry
from framework_schema.models.layouts import EntryLayoutSection


class EntryPhotoGalleryConfig(FrameworkModel):
    """The pictures that a gallery section of an entry shows."""

    id = AutoIncrementField()
    entry = pw.ForeignKeyField(Entry, column_name="entry_id", on_delete="CASCADE", index=False, backref="galleries")
    section = pw.ForeignKeyField(
        EntryLayoutSection, column_name="section_id", on_delete="CASCADE", index=False, backref="galleries"
    )
    image_urls = TextField(null=True, **default("[]"))
    created_at = TextField(null=True, **now())
    updated_at = TextField(null=True, **now())

    class Meta:
        table_name = "EntryPhotoGalleryConfig"
        indexes = [
            (("entry", "section"), True),
        ]


class EntryDrawioDiagram(FrameworkModel):
    """The draw.io diagram of an entry."""

    entry = pw.ForeignKeyField(
        Entry,
        column_name="entry_id",
        primary_key=True,
        on_delete="CASCADE",
        index=False,
        backref="drawio_diagrams",
    )
    diagram_data = TextField(null=True)
    created_at = TimestampField(null=True, **now())
    updated_at = TimestampField(null=True, **now())

    class Meta:
        table_name = "EntryDrawioDiagram"

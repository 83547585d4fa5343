"""Fields of an entry type's form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, TextKeyField, TimestampField, default, now

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/001_entries"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class EntryTypeFormField(pw.Model):
        id = AutoIncrementField()
        entry_type = pw.ForeignKeyField(
            migrator.orm["EntryType"], column_name="entry_type_id", on_delete="CASCADE", index=False
        )
        field_name = TextKeyField()
        field_type = TextField(
            constraints=[
                pw.Check(
                    "field_type IN ('text', 'textarea', 'select', 'date', 'checkbox', 'number', "
                    "'email', 'url', 'custom')"
                )
            ],
        )
        field_label = TextField()
        display_order = pw.IntegerField(null=True, **default(0))
        row_position = pw.IntegerField(null=True, **default(0))
        column_width = pw.IntegerField(null=True, **default(12, check="column_width BETWEEN 1 AND 12"))
        is_visible = pw.IntegerField(null=True, **default(1))
        is_required = pw.IntegerField(null=True, **default(0))
        is_editable = pw.IntegerField(null=True, **default(1))
        placeholder = TextField(null=True)
        help_text = TextField(null=True)
        default_value = TextField(null=True)
        field_options = TextField(null=True)
        validation_rules = TextField(null=True)
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "EntryTypeFormField"
            indexes = [
                (("entry_type", "field_name"), True),
            ]


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("EntryTypeFormField")

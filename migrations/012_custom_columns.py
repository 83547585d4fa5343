"""Columns that users add to entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import AutoIncrementField, CharKeyField, TextField, TimestampField, default, index, now

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/001_entries"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class CustomColumn(pw.Model):
        id = AutoIncrementField()
        name = CharKeyField(unique=True)
        label = TextField()
        description = TextField(null=True)
        column_type = TextField(**default("text"))
        options = TextField(null=True)
        default_value = TextField(null=True)
        is_required = pw.IntegerField(**default(0))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())
        unit = TextField(null=True, **default(""))

        class Meta:
            table_name = "CustomColumn"

    @migrator.create_model
    class CustomColumnAssignment(pw.Model):
        id = AutoIncrementField()
        custom_column = pw.ForeignKeyField(
            CustomColumn, column_name="custom_column_id", on_delete="CASCADE", index=False
        )
        entry_type = pw.ForeignKeyField(
            migrator.orm["EntryType"], column_name="entry_type_id", on_delete="CASCADE", index=False
        )
        section_placement = TextField(**default("custom_columns"))
        display_order = pw.IntegerField(**default(0))
        is_visible = pw.IntegerField(**default(1))
        created_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "CustomColumnAssignment"
            indexes = [
                index(
                    "uq_col_entry_type",
                    "CustomColumnAssignment",
                    "custom_column_id",
                    "entry_type_id",
                    unique=True,
                ),
            ]

    @migrator.create_model
    class CustomColumnValue(pw.Model):
        id = AutoIncrementField()
        entry = pw.ForeignKeyField(migrator.orm["Entry"], column_name="entry_id", on_delete="CASCADE", index=False)
        custom_column = pw.ForeignKeyField(
            CustomColumn, column_name="custom_column_id", on_delete="CASCADE", index=False
        )
        value = TextField(null=True)
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "CustomColumnValue"
            indexes = [
                index("uq_entry_col", "CustomColumnValue", "entry_id", "custom_column_id", unique=True),
            ]


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("CustomColumnValue")
    migrator.remove_model("CustomColumnAssignment")
    migrator.remove_model("CustomColumn")

"""Columns that users add to entries."""

from __future__ import annotations

import peewee as pw

from framework_schema.fields import AutoIncrementField, CharKeyField, TextField, TimestampField, default, index, now
from framework_schema.models.base import FrameworkModel
from framework_schema.models.entries import Entry, EntryType


class CustomColumn(FrameworkModel):
    """A column that a user defined."""

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


class CustomColumnAssignment(FrameworkModel):
    """An entry type that has a custom column."""

    id = AutoIncrementField()
    custom_column = pw.ForeignKeyField(
        CustomColumn, column_name="custom_column_id", on_delete="CASCADE", index=False, backref="assignments"
    )
    entry_type = pw.ForeignKeyField(
        EntryType,
        column_name="entry_type_id",
        on_delete="CASCADE",
        index=False,
        backref="custom_column_assignments",
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


class CustomColumnValue(FrameworkModel):
    """What an entry holds in a custom column."""

    id = AutoIncrementField()
    entry = pw.ForeignKeyField(
        Entry, column_name="entry_id", on_delete="CASCADE", index=False, backref="custom_column_values"
    )
    custom_column = pw.ForeignKeyField(
        CustomColumn, column_name="custom_column_id", on_delete="CASCADE", index=False, backref="values"
    )
    value = TextField(null=True)
    created_at = TimestampField(null=True, **now())
    updated_at = TimestampField(null=True, **now())

    class Meta:
        table_name = "CustomColumnValue"
        indexes = [
            index("uq_entry_col", "CustomColumnValue", "entry_id", "custom_column_id", unique=True),
        ]

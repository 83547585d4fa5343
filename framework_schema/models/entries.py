"""Entries, the types they have and the states they are in."""

from __future__ import annotations

import peewee as pw

from framework_schema.fields import AutoIncrementField, BooleanField, TextField, TextKeyField, default, index, now
from framework_schema.models.base import FrameworkModel


class EntryType(FrameworkModel):
    """A kind of entry, with the words for it and the sections it shows."""

    id = AutoIncrementField()
    name = TextKeyField(unique=True)
    singular_label = TextField()
    plural_label = TextField()
    description = TextField(null=True)
    note_types = TextField(null=True, **default("General"))
    is_primary = pw.IntegerField(null=True, **default(0))
    has_sensors = BooleanField(**default(0))
    enabled_sensor_types = TextField(null=True, **default(""))
    show_labels_section = BooleanField(**default(1))
    show_end_dates = BooleanField(**default(0))
    custom_chat_prompt = TextField(null=True, **default(""))
    diagram_examples = TextField(null=True, **default(""))

    class Meta:
        table_name = "EntryType"


class EntryState(FrameworkModel):
    """A state that entries of one type can be in."""

    id = AutoIncrementField()
    entry_type = pw.ForeignKeyField(
        EntryType, column_name="entry_type_id", on_delete="CASCADE", index=False, backref="states"
    )
    name = TextKeyField()
    category = TextField(constraints=[pw.Check("category IN ('active', 'inactive')")])
    color = TextField(null=True, **default("#6c757d"))
    display_order = pw.IntegerField(null=True, **default(0))
    is_default = pw.IntegerField(null=True, **default(0))
    created_at = TextField(null=True, **now())
    sets_commenced = pw.IntegerField(null=True, **default(0))
    sets_ended = pw.IntegerField(null=True, **default(0))

    class Meta:
        table_name = "EntryState"
        indexes = [
            (("entry_type", "name"), True),
            index("idx_entry_state_sets_commenced", "EntryState", "sets_commenced", where="sets_commenced = 1"),
            index("idx_entry_state_sets_ended", "EntryState", "sets_ended", where="sets_ended = 1"),
        ]


class Entry(FrameworkModel):
    """A thing that is tracked, or a template for such things."""

    id = AutoIncrementField()
    title = TextField()
    description = TextField(null=True)
    entry_type = pw.ForeignKeyField(
        EntryType, column_name="entry_type_id", on_delete="RESTRICT", index=False, backref="entries"
    )
    created_at = TextField()
    intended_end_date = TextField(null=True)
    actual_end_date = TextField(null=True)
    status = TextField(null=True, **default("active"))
    is_archived = pw.IntegerField(null=True, **default(0))
    archived_at = TextField(null=True)
    is_milestone_template = BooleanField(null=True, **default(0))
    template_name = TextField(null=True)
    template_description = TextField(null=True)
    template_distribution_status = TextKeyField(null=True, **default("private"))
    commenced_at = TextKeyField(null=True)

    class Meta:
        table_name = "Entry"
        indexes = [
            index("idx_entry_commenced_at", "Entry", "commenced_at"),
            index("idx_entry_is_template", "Entry", "is_milestone_template", "template_distribution_status"),
        ]

"""The states an entry is planned to reach."""

from __future__ import annotations

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, default, index, now
from framework_schema.models.base import FrameworkModel
from framework_schema.models.entries import Entry, EntryState


class EntryStateMilestone(FrameworkModel):
    """A state that an entry is planned to reach, counted in days from its start."""

    id = AutoIncrementField()
    entry = pw.ForeignKeyField(Entry, column_name="entry_id", on_delete="CASCADE", index=False, backref="milestones")
    target_state = pw.ForeignKeyField(
        EntryState, column_name="target_state_id", on_delete="CASCADE", index=False, backref="milestones"
    )
    days_from_start = pw.IntegerField(**default(0, check="days_from_start >= 0"))
    notes = TextField(null=True)
    is_completed = pw.IntegerField(null=True, **default(0))
    completed_at = TextField(null=True)
    created_at = TextField(null=True, **now())
    updated_at = TextField(null=True, **now())
    order_position = pw.IntegerField(null=True, **default(0))
    duration_days = pw.IntegerField(null=True, **default(7))

    # The application reads and writes these; no migration of its own ever made them.
    target_state_name = TextField(null=True)
    target_state_color = TextField(null=True)

    class Meta:
        table_name = "EntryStateMilestone"
        indexes = [
            index("idx_milestone_completed", "EntryStateMilestone", "is_completed"),
            index("idx_milestone_days", "EntryStateMilestone", "days_from_start"),
            index("idx_milestone_entry", "EntryStateMilestone", "entry_id"),
        ]

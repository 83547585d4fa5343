"""Planned states of an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, default, index, now

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/001_entries"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class EntryStateMilestone(pw.Model):
        id = AutoIncrementField()
        entry = pw.ForeignKeyField(migrator.orm["Entry"], column_name="entry_id", on_delete="CASCADE", index=False)
        target_state = pw.ForeignKeyField(
            migrator.orm["EntryState"], column_name="target_state_id", on_delete="CASCADE", index=False
        )
        days_from_start = pw.IntegerField(constraints=[pw.Check("days_from_start >= 0")])
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


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("EntryStateMilestone")

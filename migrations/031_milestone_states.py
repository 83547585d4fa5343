"""Milestones name the state they lead to, and its colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import brought, has_columns, text_of

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["EntryStateMilestone.target_state_name", "EntryStateMilestone.target_state_color"]

depends_on = ["framework/001_entries", "framework/013_milestones"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Copy name and colour of the state to where there is none."""
    if fake or not has_columns(database, "EntryState", "id", "name", "color"):
        return
    milestones, states = pw.Table("EntryStateMilestone"), pw.Table("EntryState")
    for column, source in {"target_state_name": "name", "target_state_color": "color"}.items():
        if not has_columns(database, "EntryStateMilestone", "target_state_id", column):
            continue
        target, value = milestones.c[column], states.c[source]
        is_target = states.c.id == milestones.c.target_state_id
        wanted = brought(database, value, "EntryStateMilestone", column)
        change = milestones.update({target: states.select(wanted).where(is_target)})
        some = states.select(pw.SQL("1")).where(is_target, value.is_null(False))
        change.where(target.is_null() | (text_of(database, target) == ""), pw.fn.EXISTS(some)).execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave names and colours: the application writes the same."""

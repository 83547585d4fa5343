"""Two states for every entry type that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import insert_missing, typed

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["EntryState"]

depends_on = ["framework/001_entries"]

STATES = [
    {"name": "Active", "category": "active", "color": "#28a745", "display_order": 0, "is_default": 1},
    {"name": "Inactive", "category": "inactive", "color": "#6c757d", "display_order": 1, "is_default": 0},
]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    if fake:
        return
    types, states = pw.Table("EntryType"), pw.Table("EntryState")
    some = states.select(pw.SQL("1")).where(states.c.entry_type_id == types.c.id)
    without = types.select(types.c.id).where(~pw.fn.EXISTS(some)).execute(database)
    rows = [{"entry_type_id": row["id"], **state} for row in without for state in STATES]
    insert_missing(database, "EntryState", ["entry_type_id", "name"], rows)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    if fake:
        return
    states, milestones = pw.Table("EntryState"), pw.Table("EntryStateMilestone")
    for state in STATES:
        same = [
            getattr(states.c, column) == typed(database, "EntryState", column, value) for column, value in state.items()
        ]
        # A milestone would be deleted along with the state it names.
        named = milestones.select(pw.SQL("1")).where(milestones.c.target_state_id == states.c.id)
        states.delete().where(*same, ~pw.fn.EXISTS(named)).execute(database)

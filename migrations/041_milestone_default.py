"""Milestones can be created without a day: the application knows their order and duration only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import default

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/013_milestones"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Give ``days_from_start`` a default where it needs one; where it may be NULL, no milestone is refused."""
    if fake or _is_needed(database):
        days = pw.IntegerField(**default(0, check="days_from_start >= 0"))
        migrator.change_fields("EntryStateMilestone", days_from_start=days)


def _is_needed(database: pw.Database) -> bool:
    columns = database.get_columns("EntryStateMilestone")
    return "days_from_start" in [c.name.lower() for c in columns if not c.null and c.default is None]


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.add_default("EntryStateMilestone", "days_from_start", None)

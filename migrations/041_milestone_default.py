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
    columns = database.get_columns("EntryStateMilestone")
    needed = [column.name.lower() for column in columns if not column.null and column.default is None]
    if fake or "days_from_start" in needed:
        days = pw.IntegerField(**default(0, check="days_from_start >= 0"))
        migrator.change_fields("EntryStateMilestone", days_from_start=days)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.add_default("EntryStateMilestone", "days_from_start", None)

"""The script that a sensor is to run next, beside the one it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import has_columns

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/015_sensors"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Add the column, which the application reads; no migration of its own ever made it."""
    converges = hasattr(migrator, "operations")  # ours notes a column that is there, pw_migrate's own fails on it
    if fake or converges or not has_columns(database, "SensorRegistration", "assigned_script_id"):
        migrator.add_fields("SensorRegistration", assigned_script_id=pw.IntegerField(null=True))


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_fields("SensorRegistration", "assigned_script_id")

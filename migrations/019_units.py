"""Units of measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import (
    AutoIncrementField,
    BooleanField,
    TextField,
    TextKeyField,
    TimestampField,
    default,
    now,
)

if TYPE_CHECKING:
    from peewee_migrate import Migrator


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class Unit(pw.Model):
        id = AutoIncrementField()
        name = TextKeyField(unique=True)
        category = TextField()
        display_order = pw.IntegerField(null=True, **default(0))
        is_active = BooleanField(null=True, **default(1))
        created_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "units"


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("Unit")

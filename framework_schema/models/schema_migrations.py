"""The history of migrations, which the runner keeps."""

from __future__ import annotations

import peewee as pw

from framework_schema.fields import (
    AutoIncrementField,
    BooleanField,
    TextField,
    TextKeyField,
    TimestampField,
    default,
    index,
    now,
)
from framework_schema.models.base import FrameworkModel


class SchemaMigration(FrameworkModel):
    """A migration that was tried, under its key, and how it ended."""

    id = AutoIncrementField()
    migration_name = TextKeyField(unique=True)
    applied_at = TimestampField(null=True, **now())
    success = BooleanField(null=True, **default(True))
    error_message = TextField(null=True)
    execution_time_ms = pw.IntegerField(null=True)

    class Meta:
        table_name = "schema_migrations"
        indexes = [
            index("idx_migration_name", "schema_migrations", "migration_name"),
        ]

"""Metrics and their data points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import (
    AutoIncrementField,
    RealField,
    TextField,
    TextKeyField,
    TimestampField,
    default,
    index,
    now,
)

if TYPE_CHECKING:
    from peewee_migrate import Migrator


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class EntryMetric(pw.Model):
        id = AutoIncrementField()
        entry_type_id = pw.IntegerField(null=True)
        name = TextKeyField()
        label = TextField()
        unit = TextField(**default(""))
        color = TextField(**default("#4bc0c0"))
        display_order = pw.IntegerField(**default(0))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "EntryMetric"
            indexes = [
                index("uq_metric_name", "EntryMetric", "name", unique=True),
            ]

    @migrator.create_model
    class EntryDataPoint(pw.Model):
        id = AutoIncrementField()
        entry_id = pw.IntegerField()
        metric_id = pw.IntegerField()
        value = RealField()
        recorded_at = TimestampField(**now())
        notes = TextField(null=True)
        created_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "EntryDataPoint"
            indexes = [
                index("idx_edp_entry_metric", "EntryDataPoint", "entry_id", "metric_id"),
                index("idx_edp_recorded", "EntryDataPoint", "recorded_at"),
            ]


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("EntryDataPoint")
    migrator.remove_model("EntryMetric")

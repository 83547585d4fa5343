"""Numbers that users follow over time."""

from __future__ import annotations

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
from framework_schema.models.base import FrameworkModel


class EntryMetric(FrameworkModel):
    """A number to follow; without ``entry_type_id``, for entries of every type."""

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


class EntryDataPoint(FrameworkModel):
    """The value of a metric for an entry at one time. Its ids are no foreign keys."""

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

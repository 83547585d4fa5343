"""Readings, and the entries they belong to."""

from __future__ import annotations

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, TextKeyField, default, index, now
from framework_schema.models.base import FrameworkModel
from framework_schema.models.entries import Entry


class SensorData(FrameworkModel):
    """A reading of one entry, as it was stored before readings were shared."""

    id = AutoIncrementField()
    entry = pw.ForeignKeyField(Entry, column_name="entry_id", on_delete="CASCADE", index=False, backref="sensor_data")
    sensor_type = TextField()
    value = TextField()
    recorded_at = TextField(null=True, **now())

    class Meta:
        table_name = "SensorData"


class SharedSensorData(FrameworkModel):
    """A reading that any number of entries may refer to."""

    id = AutoIncrementField()
    sensor_type = TextKeyField()
    value = TextField()
    recorded_at = TextKeyField(null=True, **now())
    source_type = TextField(null=True, **default("manual"))
    source_id = TextField(null=True)
    metadata = TextField(null=True, **default("{}"))
    created_at = TextField(null=True, **now())

    class Meta:
        table_name = "SharedSensorData"
        indexes = [
            index("idx_shared_sensor_data_type_time", "SharedSensorData", "sensor_type", "recorded_at"),
        ]


class SensorDataEntryRanges(FrameworkModel):
    """A run of shared readings that belongs to an entry."""

    id = AutoIncrementField()
    entry = pw.ForeignKeyField(Entry, column_name="entry_id", on_delete="CASCADE", index=False, backref="sensor_ranges")
    sensor_type = TextKeyField()
    start_sensor = pw.ForeignKeyField(
        SharedSensorData,
        column_name="start_sensor_id",
        on_delete="CASCADE",
        index=False,
        backref="ranges_starting",
    )
    end_sensor = pw.ForeignKeyField(
        SharedSensorData,
        column_name="end_sensor_id",
        on_delete="CASCADE",
        index=False,
        backref="ranges_ending",
    )
    link_type = TextField(null=True, **default("primary"))
    created_at = TextField(null=True, **now())
    updated_at = TextField(null=True, **now())
    metadata = TextField(null=True, **default("{}"))

    class Meta:
        table_name = "SensorDataEntryRanges"
        indexes = [
            index("idx_sensor_ranges_end", "SensorDataEntryRanges", "end_sensor_id"),
            index("idx_sensor_ranges_entry", "SensorDataEntryRanges", "entry_id"),
            index("idx_sensor_ranges_entry_type", "SensorDataEntryRanges", "entry_id", "sensor_type"),
            index("idx_sensor_ranges_start", "SensorDataEntryRanges", "start_sensor_id"),
            index("idx_sensor_ranges_type", "SensorDataEntryRanges", "sensor_type"),
        ]
        constraints = [pw.Check("end_sensor_id >= start_sensor_id")]


class SensorDataEntryLinks(FrameworkModel):
    """A single shared reading that belongs to an entry."""

    id = AutoIncrementField()
    shared_sensor_data = pw.ForeignKeyField(
        SharedSensorData,
        column_name="shared_sensor_data_id",
        on_delete="CASCADE",
        index=False,
        backref="entry_links",
    )
    entry = pw.ForeignKeyField(Entry, column_name="entry_id", on_delete="CASCADE", index=False, backref="sensor_links")
    link_type = TextField(null=True, **default("primary"))
    created_at = TextField(null=True, **now())

    class Meta:
        table_name = "SensorDataEntryLinks"
        indexes = [
            (("shared_sensor_data", "entry"), True),
            index("idx_sensor_entry_links_entry", "SensorDataEntryLinks", "entry_id"),
            index("idx_sensor_entry_links_sensor", "SensorDataEntryLinks", "shared_sensor_data_id"),
        ]


class SensorDataRangeFunctions(FrameworkModel):
    """A named query over ranges of readings."""

    id = AutoIncrementField()
    function_name = TextKeyField(unique=True)
    description = TextField(null=True)
    sql_template = TextField()
    created_at = TextField(null=True, **now())

    class Meta:
        table_name = "SensorDataRangeFunctions"

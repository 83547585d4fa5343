"""Sensor readings and the entries they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, TextKeyField, default, index, now

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/001_entries"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class SensorData(pw.Model):
        id = AutoIncrementField()
        entry = pw.ForeignKeyField(migrator.orm["Entry"], column_name="entry_id", on_delete="CASCADE", index=False)
        sensor_type = TextField()
        value = TextField()
        recorded_at = TextField(null=True, **now())

        class Meta:
            table_name = "SensorData"

    @migrator.create_model
    class SharedSensorData(pw.Model):
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

    @migrator.create_model
    class SensorDataEntryRanges(pw.Model):
        id = AutoIncrementField()
        entry = pw.ForeignKeyField(migrator.orm["Entry"], column_name="entry_id", on_delete="CASCADE", index=False)
        sensor_type = TextKeyField()
        start_sensor = pw.ForeignKeyField(
            SharedSensorData, column_name="start_sensor_id", on_delete="CASCADE", index=False
        )
        end_sensor = pw.ForeignKeyField(SharedSensorData, column_name="end_sensor_id", on_delete="CASCADE", index=False)
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

    @migrator.create_model
    class SensorDataEntryLinks(pw.Model):
        id = AutoIncrementField()
        shared_sensor_data = pw.ForeignKeyField(
            SharedSensorData, column_name="shared_sensor_data_id", on_delete="CASCADE", index=False
        )
        entry = pw.ForeignKeyField(migrator.orm["Entry"], column_name="entry_id", on_delete="CASCADE", index=False)
        link_type = TextField(null=True, **default("primary"))
        created_at = TextField(null=True, **now())

        class Meta:
            table_name = "SensorDataEntryLinks"
            indexes = [
                (("shared_sensor_data", "entry"), True),
                index("idx_sensor_entry_links_entry", "SensorDataEntryLinks", "entry_id"),
                index("idx_sensor_entry_links_sensor", "SensorDataEntryLinks", "shared_sensor_data_id"),
            ]

    @migrator.create_model
    class SensorDataRangeFunctions(pw.Model):
        id = AutoIncrementField()
        function_name = TextKeyField(unique=True)
        description = TextField(null=True)
        sql_template = TextField()
        created_at = TextField(null=True, **now())

        class Meta:
            table_name = "SensorDataRangeFunctions"


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("SensorDataRangeFunctions")
    migrator.remove_model("SensorDataEntryLinks")
    migrator.remove_model("SensorDataEntryRanges")
    migrator.remove_model("SharedSensorData")
    migrator.remove_model("SensorData")

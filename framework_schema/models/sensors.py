"""Sensors that report in, and what they are told to do."""

from __future__ import annotations

from typing import Any

import peewee as pw

from framework_schema.fields import (
    AutoIncrementField,
    RealField,
    TextField,
    TextForeignKeyField,
    TextKeyField,
    TimestampField,
    default,
    index,
    now,
    stamp_on_update,
)
from framework_schema.models.base import FrameworkModel

TIMESTAMP_TRIGGER = """\
CREATE TRIGGER IF NOT EXISTS update_sensor_scripts_timestamp AFTER UPDATE ON "SensorScripts"
BEGIN
    UPDATE "SensorScripts" SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id;
END"""


class SensorRegistration(FrameworkModel):
    """A sensor that has reported in."""

    id = AutoIncrementField()
    sensor_id = TextKeyField(unique=True)
    sensor_name = TextField(null=True)
    sensor_type = TextField()
    hardware_info = TextField(null=True)
    firmware_version = TextField(null=True)
    config_hash = TextField(null=True)
    current_script_id = pw.IntegerField(null=True)
    current_script_version = TextField(null=True)
    last_check_in = TimestampField(null=True)
    last_config_update = TimestampField(null=True)
    status = TextKeyField(null=True, **default("pending"))
    ip_address = TextField(null=True)
    mac_address = TextField(null=True)
    capabilities = TextField(null=True)
    registration_source = TextField(null=True, **default("auto"))
    created_at = TimestampField(null=True, **now())
    updated_at = TimestampField(null=True, **now())
    check_in_interval = pw.IntegerField(null=True, **default(60))
    last_battery_update_source = TextField(null=True)
    board_type = TextField(null=True)
    battery_r1 = RealField(null=True, **default(100000.0))
    battery_r2 = RealField(null=True, **default(100000.0))
    battery_calibrated_voltage = RealField(null=True)
    battery_calibration_date = TimestampField(null=True)

    # The application reads and writes these; no migration of its own ever made them.
    last_temperature = RealField(null=True)
    last_relay_state = pw.IntegerField(null=True)
    last_battery_pct = RealField(null=True)
    last_battery_voltage = RealField(null=True)
    assigned_script_id = pw.IntegerField(null=True)

    class Meta:
        table_name = "SensorRegistration"
        indexes = [
            index("idx_sensor_registration_sensor_id", "SensorRegistration", "sensor_id"),
            index("idx_sensor_registration_status", "SensorRegistration", "status"),
        ]


class SensorScripts(FrameworkModel):
    """A script for one sensor."""

    id = AutoIncrementField()
    sensor = TextForeignKeyField(
        SensorRegistration,
        field="sensor_id",
        column_name="sensor_id",
        on_delete="CASCADE",
        index=False,
        backref="scripts",
    )
    script_content = TextField()
    script_version = TextField(null=True, **default("1.0.0"))
    script_type = TextField(null=True, **default("arduino"))
    description = TextField(null=True)
    is_active = pw.IntegerField(null=True, **default(1))
    created_at = TimestampField(null=True, **now())
    updated_at = TimestampField(null=True, **now())
    last_executed = TextField(null=True)

    class Meta:
        table_name = "SensorScripts"
        indexes = [
            index("idx_sensor_scripts_active", "SensorScripts", "is_active"),
            index("idx_sensor_scripts_sensor_active", "SensorScripts", "sensor_id", "is_active"),
            index("idx_sensor_scripts_sensor_id", "SensorScripts", "sensor_id"),
        ]

    @classmethod
    def create_table(cls, safe: bool = True, **options: Any) -> None:
        """Create the table, and the trigger that keeps ``updated_at``."""
        super().create_table(safe, **options)
        database = cls._meta.database
        engine: Any = cls._meta.get_database_instance()
        if isinstance(engine, pw.SqliteDatabase):
            database.execute_sql(TIMESTAMP_TRIGGER)
        for statement in stamp_on_update(engine, "update_sensor_scripts_timestamp", "SensorScripts", "updated_at"):
            database.execute_sql(statement)


class ScriptLibrary(FrameworkModel):
    """A script to be used with any sensor."""

    id = AutoIncrementField()
    name = TextField()
    script_content = TextField()
    script_version = TextField(null=True, **default("1.0.0"))
    script_type = TextField(null=True, **default("arduino"))
    description = TextField(null=True)
    target_sensor_type = TextField(null=True)
    created_at = TimestampField(null=True, **now())
    updated_at = TimestampField(null=True, **now())

    class Meta:
        table_name = "ScriptLibrary"


class SensorCommandQueue(FrameworkModel):
    """A command that waits for a sensor to fetch it."""

    id = AutoIncrementField()
    sensor = TextForeignKeyField(
        SensorRegistration,
        field="sensor_id",
        column_name="sensor_id",
        on_delete="CASCADE",
        index=False,
        backref="commands",
    )
    command_type = TextField()
    command_data = TextField(null=True)
    priority = pw.IntegerField(null=True, **default(100))
    status = TextKeyField(null=True, **default("pending"))
    attempts = pw.IntegerField(null=True, **default(0))
    max_attempts = pw.IntegerField(null=True, **default(3))
    result = TextField(null=True)
    created_at = TimestampField(null=True, **now())
    executed_at = TimestampField(null=True)
    expires_at = TimestampField(null=True)

    class Meta:
        table_name = "SensorCommandQueue"
        indexes = [
            index("idx_sensor_command_queue_sensor", "SensorCommandQueue", "sensor_id"),
            index("idx_sensor_command_queue_status", "SensorCommandQueue", "status"),
        ]


class SensorLogs(FrameworkModel):
    """A line that a sensor logged; it need not be registered."""

    id = AutoIncrementField()
    sensor_id = TextKeyField()
    message = TextField()
    log_level = TextField(null=True, **default("info"))
    created_at = TimestampField(null=True, **now())

    class Meta:
        table_name = "SensorLogs"
        indexes = [
            index("idx_sensor_logs_sensor_id_created_at", "SensorLogs", "sensor_id", "-created_at"),
            index("idx_sensor_logs_sensor_time", "SensorLogs", "sensor_id", "created_at"),
        ]


class SensorTelemetry(FrameworkModel):
    """Measurements that a sensor sent at one time."""

    id = AutoIncrementField()
    sensor = TextForeignKeyField(
        SensorRegistration,
        field="sensor_id",
        column_name="sensor_id",
        on_delete="CASCADE",
        index=False,
        backref="telemetry",
    )
    data = TextField()
    timestamp = TextKeyField(null=True, **now())

    class Meta:
        table_name = "SensorTelemetry"
        indexes = [
            index("idx_telemetry_sensor_time", "SensorTelemetry", "sensor_id", "-timestamp"),
        ]


class SensorVariables(FrameworkModel):
    """The variables that a sensor keeps while it sleeps."""

    id = AutoIncrementField()
    sensor = TextForeignKeyField(
        SensorRegistration,
        field="sensor_id",
        column_name="sensor_id",
        unique=True,
        on_delete="CASCADE",
        index=False,
        backref="variables",
    )
    variables = TextField()
    updated_at = TextField()

    class Meta:
        table_name = "SensorVariables"
        indexes = [
            index("idx_sensor_variables_sensor_id", "SensorVariables", "sensor_id"),
        ]

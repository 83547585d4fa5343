"""Registered devices."""

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

depends_on = ["framework/001_entries"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class RegisteredDevices(pw.Model):
        id = AutoIncrementField()
        device_id = TextKeyField(unique=True)
        device_name = TextField()
        ip = TextField()
        device_type = TextField()
        capabilities = TextField(null=True)
        status = TextField(null=True, **default("unknown"))
        last_seen = TimestampField(null=True)
        polling_enabled = BooleanField(null=True, **default(1))
        polling_interval = pw.IntegerField(null=True, **default(30))
        last_poll_success = TimestampField(null=True)
        last_poll_error = TextField(null=True)
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())
        last_data_stored = TimestampField(null=True)

        class Meta:
            table_name = "RegisteredDevices"

    @migrator.create_model
    class DeviceEntryLinks(pw.Model):
        id = AutoIncrementField()
        device = pw.ForeignKeyField(RegisteredDevices, column_name="device_id", on_delete="CASCADE", index=False)
        entry = pw.ForeignKeyField(migrator.orm["Entry"], column_name="entry_id", on_delete="CASCADE", index=False)
        auto_record = BooleanField(null=True, **default(1))
        created_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "DeviceEntryLinks"
            indexes = [
                (("device", "entry"), True),
            ]

    @migrator.create_model
    class DeviceSensorMapping(pw.Model):
        id = AutoIncrementField()
        device = pw.ForeignKeyField(RegisteredDevices, column_name="device_id", on_delete="CASCADE", index=False)
        sensor_name = TextKeyField()
        entry_field = TextField()
        data_type = TextField(null=True, **default("text"))
        unit = TextField(null=True)
        enabled = BooleanField(null=True, **default(1))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "DeviceSensorMapping"
            indexes = [
                (("device", "sensor_name"), True),
            ]


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("DeviceSensorMapping")
    migrator.remove_model("DeviceEntryLinks")
    migrator.remove_model("RegisteredDevices")

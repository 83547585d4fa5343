"""Devices that are polled over the network."""

from __future__ import annotations

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
from framework_schema.models.base import FrameworkModel
from framework_schema.models.entries import Entry


class RegisteredDevices(FrameworkModel):
    """A device on the network."""

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


class DeviceEntryLinks(FrameworkModel):
    """An entry that a device records for."""

    id = AutoIncrementField()
    device = pw.ForeignKeyField(
        RegisteredDevices, column_name="device_id", on_delete="CASCADE", index=False, backref="entry_links"
    )
    entry = pw.ForeignKeyField(Entry, column_name="entry_id", on_delete="CASCADE", index=False, backref="device_links")
    auto_record = BooleanField(null=True, **default(1))
    created_at = TimestampField(null=True, **now())

    class Meta:
        table_name = "DeviceEntryLinks"
        indexes = [
            (("device", "entry"), True),
        ]


class DeviceSensorMapping(FrameworkModel):
    """Where the value of a device's sensor goes."""

    id = AutoIncrementField()
    device = pw.ForeignKeyField(
        RegisteredDevices,
        column_name="device_id",
        on_delete="CASCADE",
        index=False,
        backref="sensor_mappings",
    )
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

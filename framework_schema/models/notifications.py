"""Notifications and the rules that raise them."""

from __future__ import annotations

import peewee as pw

from framework_schema.fields import AutoIncrementField, RealField, TextField, default, now
from framework_schema.models.base import FrameworkModel
from framework_schema.models.entries import Entry, EntryType
from framework_schema.models.notes import Note


class Notification(FrameworkModel):
    """A message to the user, now or at a set time."""

    id = AutoIncrementField()
    title = TextField()
    message = TextField()
    notification_type = TextField()
    priority = TextField(null=True, **default("medium"))
    entry = pw.ForeignKeyField(
        Entry, column_name="entry_id", null=True, on_delete="CASCADE", index=False, backref="notifications"
    )
    note = pw.ForeignKeyField(
        Note, column_name="note_id", null=True, on_delete="CASCADE", index=False, backref="notifications"
    )
    scheduled_for = TextField(null=True)
    is_read = pw.IntegerField(null=True, **default(0))
    is_dismissed = pw.IntegerField(null=True, **default(0))
    created_at = TextField(null=True, **now())
    read_at = TextField(null=True)
    dismissed_at = TextField(null=True)
    ntfy_sent = pw.IntegerField(null=True, **default(0))

    class Meta:
        table_name = "Notification"


class NotificationRule(FrameworkModel):
    """A condition on sensor readings under which a notification is raised."""

    id = AutoIncrementField()
    name = TextField()
    description = TextField(null=True)
    entry_type = pw.ForeignKeyField(
        EntryType,
        column_name="entry_type_id",
        null=True,
        on_delete="CASCADE",
        index=False,
        backref="notification_rules",
    )
    entry = pw.ForeignKeyField(
        Entry,
        column_name="entry_id",
        null=True,
        on_delete="CASCADE",
        index=False,
        backref="notification_rules",
    )
    sensor_type = TextField()
    condition_type = TextField()
    threshold_value = RealField(null=True)
    threshold_value_secondary = RealField(null=True)
    threshold_unit = TextField(null=True)
    is_active = pw.IntegerField(null=True, **default(1))
    notification_title = TextField()
    notification_message = TextField()
    priority = TextField(null=True, **default("medium"))
    cooldown_minutes = pw.IntegerField(null=True, **default(60))
    created_at = TextField(null=True, **now())

    class Meta:
        table_name = "NotificationRule"

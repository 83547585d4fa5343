"""Notifications and their rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import AutoIncrementField, RealField, TextField, default, now

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/001_entries", "framework/003_notes"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class Notification(pw.Model):
        id = AutoIncrementField()
        title = TextField()
        message = TextField()
        notification_type = TextField()
        priority = TextField(null=True, **default("medium"))
        entry = pw.ForeignKeyField(
            migrator.orm["Entry"], column_name="entry_id", null=True, on_delete="CASCADE", index=False
        )
        note = pw.ForeignKeyField(
            migrator.orm["Note"], column_name="note_id", null=True, on_delete="CASCADE", index=False
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

    @migrator.create_model
    class NotificationRule(pw.Model):
        id = AutoIncrementField()
        name = TextField()
        description = TextField(null=True)
        entry_type = pw.ForeignKeyField(
            migrator.orm["EntryType"],
            column_name="entry_type_id",
            null=True,
            on_delete="CASCADE",
            index=False,
        )
        entry = pw.ForeignKeyField(
            migrator.orm["Entry"], column_name="entry_id", null=True, on_delete="CASCADE", index=False
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


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("NotificationRule")
    migrator.remove_model("Notification")

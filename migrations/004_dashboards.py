"""Dashboards, their widgets, and the summaries that widgets keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, TextKeyField, TimestampField, default, now

if TYPE_CHECKING:
    from peewee_migrate import Migrator


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class Dashboard(pw.Model):
        id = AutoIncrementField()
        name = TextKeyField(unique=True)
        description = TextField(null=True)
        is_default = pw.IntegerField(null=True, **default(0))
        layout_config = TextField(null=True, **default('{"cols": 12, "rowHeight": 100}'))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "Dashboard"

    @migrator.create_model
    class DashboardWidget(pw.Model):
        id = AutoIncrementField()
        dashboard = pw.ForeignKeyField(Dashboard, column_name="dashboard_id", on_delete="CASCADE", index=False)
        widget_type = TextField()
        title = TextField()
        position_x = pw.IntegerField(null=True, **default(0))
        position_y = pw.IntegerField(null=True, **default(0))
        width = pw.IntegerField(null=True, **default(4))
        height = pw.IntegerField(null=True, **default(2))
        config = TextField(null=True, **default("{}"))
        data_source_type = TextField(null=True)
        data_source_id = pw.IntegerField(null=True)
        refresh_interval = pw.IntegerField(null=True, **default(300))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "DashboardWidget"

    @migrator.create_model
    class AISummaryCache(pw.Model):
        id = AutoIncrementField()
        widget = pw.ForeignKeyField(DashboardWidget, column_name="widget_id", on_delete="CASCADE", index=False)
        search_id = pw.IntegerField()
        summary_text = TextField()
        generated_date = TextKeyField()
        config_hash = TextField(null=True)
        created_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "AISummaryCache"
            indexes = [
                (("widget", "generated_date"), True),
            ]


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("AISummaryCache")
    migrator.remove_model("DashboardWidget")
    migrator.remove_model("Dashboard")

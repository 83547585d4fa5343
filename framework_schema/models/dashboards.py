"""Dashboards, their widgets, and the summaries that widgets keep."""

from __future__ import annotations

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, TextKeyField, TimestampField, default, now
from framework_schema.models.base import FrameworkModel


class Dashboard(FrameworkModel):
    """A page of widgets."""

    id = AutoIncrementField()
    name = TextKeyField(unique=True)
    description = TextField(null=True)
    is_default = pw.IntegerField(null=True, **default(0))
    layout_config = TextField(null=True, **default('{"cols": 12, "rowHeight": 100}'))
    created_at = TimestampField(null=True, **now())
    updated_at = TimestampField(null=True, **now())

    class Meta:
        table_name = "Dashboard"


class DashboardWidget(FrameworkModel):
    """A widget, its place on the dashboard, and the data it shows."""

    id = AutoIncrementField()
    dashboard = pw.ForeignKeyField(
        Dashboard, column_name="dashboard_id", on_delete="CASCADE", index=False, backref="widgets"
    )
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


class AISummaryCache(FrameworkModel):
    """A widget's generated summary of one day."""

    id = AutoIncrementField()
    widget = pw.ForeignKeyField(
        DashboardWidget, column_name="widget_id", on_delete="CASCADE", index=False, backref="summaries"
    )
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

"""Searches that users keep."""

from __future__ import annotations

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, TextKeyField, TimestampField, default, now
from framework_schema.models.base import FrameworkModel


class SavedSearch(FrameworkModel):
    """A search with its filters, or an SQL query in its place."""

    id = AutoIncrementField()
    name = TextKeyField(unique=True)
    search_term = TextField(null=True, **default(""))
    type_filter = TextField(null=True, **default(""))
    status_filter = TextField(null=True, **default(""))
    specific_states = TextField(null=True, **default(""))
    date_range = TextField(null=True, **default(""))
    sort_by = TextField(null=True, **default("created_desc"))
    content_display = TextField(null=True, **default(""))
    result_limit = TextField(null=True, **default("10000"))
    is_default = pw.IntegerField(null=True, **default(0))
    created_at = TimestampField(null=True, **now())
    updated_at = TimestampField(null=True, **now())
    custom_sql_query = TextField(null=True, **default(""))
    use_sql_mode = pw.IntegerField(null=True, **default(0))
    relationship_filters = TextField(null=True, **default(None))
    relationship_logic = TextField(null=True, **default("AND"))

    class Meta:
        table_name = "SavedSearch"

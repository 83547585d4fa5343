"""Units of measurement."""

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


class Unit(FrameworkModel):
    """A unit that quantities can be given in."""

    id = AutoIncrementField()
    name = TextKeyField(unique=True)
    category = TextField()
    display_order = pw.IntegerField(null=True, **default(0))
    is_active = BooleanField(null=True, **default(1))
    created_at = TimestampField(null=True, **now())

    class Meta:
        table_name = "units"

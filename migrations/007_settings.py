"""System parameters, user preferences, and themes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, TextKeyField, TimestampField, default, now

if TYPE_CHECKING:
    from peewee_migrate import Migrator


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class SystemParameters(pw.Model):
        parameter_name = TextKeyField(primary_key=True)
        parameter_value = TextField(null=True)

        class Meta:
            table_name = "SystemParameters"

    @migrator.create_model
    class UserPreferences(pw.Model):
        id = AutoIncrementField()
        preference_name = TextKeyField(unique=True)
        preference_value = TextField(null=True)
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "UserPreferences"

    @migrator.create_model
    class ThemeSettings(pw.Model):
        id = AutoIncrementField()
        theme_name = TextField(null=True)
        primary_color = TextField(null=True, **default("#007bff"))
        secondary_color = TextField(null=True, **default("#6c757d"))
        success_color = TextField(null=True, **default("#28a745"))
        danger_color = TextField(null=True, **default("#dc3545"))
        warning_color = TextField(null=True, **default("#ffc107"))
        info_color = TextField(null=True, **default("#17a2b8"))
        light_color = TextField(null=True, **default("#f8f9fa"))
        dark_color = TextField(null=True, **default("#343a40"))
        background_color = TextField(null=True, **default("#ffffff"))
        text_color = TextField(null=True, **default("#212529"))
        link_color = TextField(null=True, **default("#007bff"))
        border_color = TextField(null=True, **default("#dee2e6"))
        font_family = TextField(
            null=True,
            **default(
                '-apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
            ),
        )
        font_size = TextField(null=True, **default("16px"))
        border_radius = TextField(null=True, **default("0.25rem"))
        card_shadow = TextField(null=True, **default("0 0.125rem 0.25rem rgba(0,0,0,0.075)"))
        button_style = TextField(null=True, **default("rounded"))
        border_style = TextField(null=True, **default("thin"))
        entry_card_icon = TextField(null=True, **default("none"))
        use_gradients = pw.IntegerField(null=True, **default(0))
        enable_animations = pw.IntegerField(null=True, **default(1))
        high_contrast = pw.IntegerField(null=True, **default(0))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "ThemeSettings"


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("ThemeSettings")
    migrator.remove_model("UserPreferences")
    migrator.remove_model("SystemParameters")

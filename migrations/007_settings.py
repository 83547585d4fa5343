"""System parameters, user preferences, and themes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextKeyField, TimestampField, default, now

if TYPE_CHECKING:
    from peewee_migrate import Migrator


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class SystemParameters(pw.Model):
        parameter_name = TextKeyField(primary_key=True)
        parameter_value = pw.TextField(null=True)

        class Meta:
            table_name = "SystemParameters"

    @migrator.create_model
    class UserPreferences(pw.Model):
        id = AutoIncrementField()
        preference_name = TextKeyField(unique=True)
        preference_value = pw.TextField(null=True)
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "UserPreferences"

    @migrator.create_model
    class ThemeSettings(pw.Model):
        id = AutoIncrementField()
        theme_name = pw.TextField(null=True)
        primary_color = pw.TextField(null=True, **default("#007bff"))
        secondary_color = pw.TextField(null=True, **default("#6c757d"))
        success_color = pw.TextField(null=True, **default("#28a745"))
        danger_color = pw.TextField(null=True, **default("#dc3545"))
        warning_color = pw.TextField(null=True, **default("#ffc107"))
        info_color = pw.TextField(null=True, **default("#17a2b8"))
        light_color = pw.TextField(null=True, **default("#f8f9fa"))
        dark_color = pw.TextField(null=True, **default("#343a40"))
        background_color = pw.TextField(null=True, **default("#ffffff"))
        text_color = pw.TextField(null=True, **default("#212529"))
        link_color = pw.TextField(null=True, **default("#007bff"))
        border_color = pw.TextField(null=True, **default("#dee2e6"))
        font_family = pw.TextField(
            null=True,
            **default(
                '-apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
            ),
        )
        font_size = pw.TextField(null=True, **default("16px"))
        border_radius = pw.TextField(null=True, **default("0.25rem"))
        card_shadow = pw.TextField(null=True, **default("0 0.125rem 0.25rem rgba(0,0,0,0.075)"))
        button_style = pw.TextField(null=True, **default("rounded"))
        border_style = pw.TextField(null=True, **default("thin"))
        entry_card_icon = pw.TextField(null=True, **default("none"))
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

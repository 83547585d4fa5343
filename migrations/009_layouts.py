"""Layouts of the entry page, and how its sections show relationships."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import (
    AutoIncrementField,
    BooleanField,
    Reference,
    TextField,
    TextKeyField,
    TimestampField,
    default,
    index,
    now,
)

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/001_entries", "framework/002_relationships"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class EntryTypeLayout(pw.Model):
        id = AutoIncrementField()
        entry_type = pw.ForeignKeyField(
            migrator.orm["EntryType"],
            column_name="entry_type_id",
            unique=True,
            on_delete="CASCADE",
            index=False,
        )
        layout_config = TextField(null=True, **default('{"cols": 12, "rowHeight": 80}'))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "EntryTypeLayout"
            indexes = [
                index("idx_entry_type_layout_entry_type", "EntryTypeLayout", "entry_type_id"),
            ]

    @migrator.create_model
    class EntryLayoutTab(pw.Model):
        id = AutoIncrementField()
        layout = pw.ForeignKeyField(EntryTypeLayout, column_name="layout_id", on_delete="CASCADE", index=False)
        tab_id = TextKeyField()
        tab_label = TextField()
        tab_icon = TextField(null=True, **default("fa-folder"))
        display_order = pw.IntegerField(null=True, **default(0))
        is_visible = pw.IntegerField(null=True, **default(1))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "EntryLayoutTab"
            indexes = [
                (("layout", "tab_id"), True),
                index("idx_entry_layout_tab_layout", "EntryLayoutTab", "layout_id"),
            ]

    @migrator.create_model
    class EntryLayoutSection(pw.Model):
        id = AutoIncrementField()
        layout = pw.ForeignKeyField(EntryTypeLayout, column_name="layout_id", on_delete="CASCADE", index=False)
        section_type = TextKeyField()
        title = TextField(null=True)
        position_x = pw.IntegerField(null=True, **default(0))
        position_y = pw.IntegerField(null=True, **default(0))
        width = pw.IntegerField(null=True, **default(12))
        height = pw.IntegerField(null=True, **default(2))
        is_visible = pw.IntegerField(null=True, **default(1))
        is_collapsible = pw.IntegerField(null=True, **default(1))
        default_collapsed = pw.IntegerField(null=True, **default(0))
        config = TextField(null=True, **default("{}"))
        display_order = pw.IntegerField(null=True, **default(0))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())
        tab_id = TextKeyField(null=True, **default("main"))
        tab_order = pw.IntegerField(null=True, **default(0))

        class Meta:
            table_name = "EntryLayoutSection"
            indexes = [
                index("idx_entry_layout_section_layout", "EntryLayoutSection", "layout_id"),
                index("idx_entry_layout_section_tab", "EntryLayoutSection", "tab_id"),
                index("idx_entry_layout_section_type", "EntryLayoutSection", "section_type"),
            ]

    @migrator.create_model
    class RelationshipGridOrder(pw.Model):
        id = AutoIncrementField()
        entry_type = pw.ForeignKeyField(
            migrator.orm["EntryType"], column_name="entry_type_id", on_delete="CASCADE", index=False
        )
        section = pw.ForeignKeyField(
            EntryLayoutSection, column_name="section_id", null=True, on_delete="CASCADE", index=False
        )
        relationship_definition = pw.ForeignKeyField(
            migrator.orm["RelationshipDefinition"],
            column_name="relationship_definition_id",
            on_delete="CASCADE",
            index=False,
        )
        display_order = pw.IntegerField(**default(0))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "RelationshipGridOrder"
            indexes = [
                (("entry_type", "section", "relationship_definition"), True),
                index("idx_grid_order_display", "RelationshipGridOrder", "entry_type_id", "display_order"),
                index("idx_grid_order_entry_type", "RelationshipGridOrder", "entry_type_id"),
            ]

    @migrator.create_model
    class SectionRelationshipPreference(pw.Model):
        id = AutoIncrementField()
        entry_type_id = pw.IntegerField()
        section_id = pw.IntegerField()
        relationship_definition_id = pw.IntegerField()
        is_hidden = BooleanField(null=True, **default(0))
        filter_status_category = TextField(null=True)
        filter_specific_states = TextField(null=True)
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "section_relationship_preferences"
            indexes = [
                (("entry_type_id", "section_id", "relationship_definition_id"), True),
                index(
                    "idx_section_rel_prefs_lookup",
                    "section_relationship_preferences",
                    "entry_type_id",
                    "section_id",
                ),
                index(
                    "idx_section_rel_prefs_relationship",
                    "section_relationship_preferences",
                    "relationship_definition_id",
                ),
            ]
            # The framework's SQLite files refer to three tables that no version of it ever made, and it runs
            # with foreign keys off. What the columns hold are ids of the tables named first.
            constraints = [
                Reference("entry_type_id", "EntryType", on_delete="CASCADE", on_sqlite="entry_types"),
                Reference("section_id", "EntryLayoutSection", on_delete="CASCADE", on_sqlite="section_order"),
                Reference(
                    "relationship_definition_id",
                    "RelationshipDefinition",
                    on_delete="CASCADE",
                    on_sqlite="relationship_definitions",
                ),
            ]


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("SectionRelationshipPreference")
    migrator.remove_model("RelationshipGridOrder")
    migrator.remove_model("EntryLayoutSection")
    migrator.remove_model("EntryLayoutTab")
    migrator.remove_model("EntryTypeLayout")

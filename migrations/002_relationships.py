"""Relationships between entries and between entry types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import (
    AutoIncrementField,
    BooleanField,
    RealField,
    TextField,
    TextKeyField,
    TimestampField,
    default,
    index,
    now,
)

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/001_entries"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class RelationshipDefinition(pw.Model):
        id = AutoIncrementField()
        name = TextKeyField(unique=True)
        description = TextField(null=True)
        entry_type_from = pw.ForeignKeyField(
            migrator.orm["EntryType"], column_name="entry_type_id_from", on_delete="RESTRICT", index=False
        )
        entry_type_to = pw.ForeignKeyField(
            migrator.orm["EntryType"], column_name="entry_type_id_to", on_delete="RESTRICT", index=False
        )
        cardinality_from = TextField()
        cardinality_to = TextField()
        label_from_side = TextField()
        label_to_side = TextField()
        allow_quantity_unit = pw.IntegerField(null=True, **default(0))
        is_hierarchical = pw.IntegerField(null=True, **default(0))
        hierarchy_direction = TextField(null=True, **default("from_to_child"))
        is_active = pw.IntegerField(null=True, **default(1))
        allows_template_inheritance = BooleanField(null=True, **default(0))
        template_inheritance_direction = TextField(
            null=True,
            **default(
                "source_to_target",
                check=("template_inheritance_direction IN ('source_to_target', 'target_to_source', 'bidirectional')"),
            ),
        )

        class Meta:
            table_name = "RelationshipDefinition"

    @migrator.create_model
    class EntryRelationship(pw.Model):
        id = AutoIncrementField()
        source_entry = pw.ForeignKeyField(
            migrator.orm["Entry"], column_name="source_entry_id", on_delete="CASCADE", index=False
        )
        target_entry = pw.ForeignKeyField(
            migrator.orm["Entry"], column_name="target_entry_id", on_delete="CASCADE", index=False
        )
        relationship_type = pw.ForeignKeyField(
            RelationshipDefinition,
            column_name="relationship_type",
            object_id_name="relationship_type_id",
            on_delete="RESTRICT",
            index=False,
        )
        quantity = RealField(null=True)
        unit = TextField(null=True)
        created_at = TextField(null=True, **now())

        class Meta:
            table_name = "EntryRelationship"
            indexes = [
                (("source_entry", "target_entry", "relationship_type"), True),
            ]

    @migrator.create_model
    class EntryTypeRelationship(pw.Model):
        id = AutoIncrementField()
        from_entry_type = pw.ForeignKeyField(
            migrator.orm["EntryType"], column_name="from_entry_type_id", on_delete="CASCADE", index=False
        )
        to_entry_type = pw.ForeignKeyField(
            migrator.orm["EntryType"], column_name="to_entry_type_id", on_delete="CASCADE", index=False
        )
        relationship_type = TextField(
            constraints=[
                pw.Check("relationship_type IN ('template_source', 'template_target', 'bidirectional')"),
            ],
        )
        can_share_templates = BooleanField(null=True, **default(1))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "EntryTypeRelationship"
            indexes = [
                (("from_entry_type", "to_entry_type"), True),
                index("idx_entry_type_rel_can_share", "EntryTypeRelationship", "can_share_templates"),
                index("idx_entry_type_rel_from", "EntryTypeRelationship", "from_entry_type_id"),
                index("idx_entry_type_rel_to", "EntryTypeRelationship", "to_entry_type_id"),
            ]

    @migrator.create_model
    class TemplateRelationshipSharing(pw.Model):
        id = AutoIncrementField()
        template_entry = pw.ForeignKeyField(
            migrator.orm["Entry"], column_name="template_entry_id", on_delete="CASCADE", index=False
        )
        relationship_definition = pw.ForeignKeyField(
            RelationshipDefinition, column_name="relationship_definition_id", on_delete="CASCADE", index=False
        )
        source_entry = pw.ForeignKeyField(
            migrator.orm["Entry"], column_name="source_entry_id", null=True, on_delete="CASCADE", index=False
        )
        created_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "TemplateRelationshipSharing"
            indexes = [
                (("template_entry", "relationship_definition", "source_entry"), True),
            ]


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("TemplateRelationshipSharing")
    migrator.remove_model("EntryTypeRelationship")
    migrator.remove_model("EntryRelationship")
    migrator.remove_model("RelationshipDefinition")

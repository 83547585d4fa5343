"""Kanban boards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, TextKeyField, TimestampField, default, index, now

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/001_entries"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class KanbanBoard(pw.Model):
        id = AutoIncrementField()
        name = TextKeyField(unique=True)
        description = TextField(null=True)
        entry_type = pw.ForeignKeyField(
            migrator.orm["EntryType"], column_name="entry_type_id", on_delete="CASCADE", index=False
        )
        is_default = pw.IntegerField(null=True, **default(0))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "KanbanBoard"
            indexes = [
                index(
                    "idx_kanban_board_single_default",
                    "KanbanBoard",
                    "is_default",
                    unique=True,
                    where="is_default = 1",
                ),
            ]

    @migrator.create_model
    class KanbanColumn(pw.Model):
        id = AutoIncrementField()
        board = pw.ForeignKeyField(KanbanBoard, column_name="board_id", on_delete="CASCADE", index=False)
        state_name = TextKeyField()
        display_order = pw.IntegerField(null=True, **default(0))
        wip_limit = pw.IntegerField(null=True)
        created_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "KanbanColumn"
            indexes = [
                (("board", "state_name"), True),
            ]


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("KanbanColumn")
    migrator.remove_model("KanbanBoard")

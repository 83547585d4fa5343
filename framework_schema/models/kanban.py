"""Kanban boards."""

from __future__ import annotations

import peewee as pw

from framework_schema.fields import AutoIncrementField, TextField, TextKeyField, TimestampField, default, index, now
from framework_schema.models.base import FrameworkModel
from framework_schema.models.entries import EntryType


class KanbanBoard(FrameworkModel):
    """A board for entries of one type; at most one board is the default."""

    id = AutoIncrementField()
    name = TextKeyField(unique=True)
    description = TextField(null=True)
    entry_type = pw.ForeignKeyField(
        EntryType, column_name="entry_type_id", on_delete="CASCADE", index=False, backref="kanban_boards"
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


class KanbanColumn(FrameworkModel):
    """A column of a board: the entries in one state."""

    id = AutoIncrementField()
    board = pw.ForeignKeyField(KanbanBoard, column_name="board_id", on_delete="CASCADE", index=False, backref="columns")
    state_name = TextKeyField()
    display_order = pw.IntegerField(null=True, **default(0))
    wip_limit = pw.IntegerField(null=True)
    created_at = TimestampField(null=True, **now())

    class Meta:
        table_name = "KanbanColumn"
        indexes = [
            (("board", "state_name"), True),
        ]

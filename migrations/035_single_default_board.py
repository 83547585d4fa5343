"""One default board at most: the newest of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema.rows import has_columns, typed, undecoded

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/006_kanban"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Clear the older ones; the unique index on defaults, which they forbid, comes with the alignment of this run."""
    if fake or not has_columns(database, "KanbanBoard", "id", "is_default", "created_at"):
        return
    boards = pw.Table("KanbanBoard")
    on, off = (typed(database, "KanbanBoard", "is_default", value) for value in (1, 0))
    query = boards.select(boards.c.id, undecoded(database, boards.c.created_at)).where(boards.c.is_default == on)
    defaults = sorted(query.tuples().execute(database), key=_age)
    if len(defaults) > 1:
        change = boards.update({boards.c.is_default: off})
        change.where(boards.c.is_default == on, boards.c.id != defaults[-1][0]).execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the one default: the index allows no other."""


def _age(board: tuple[Any, Any]) -> tuple[Any, ...]:
    number, created_at = board
    return (True, created_at, number) if created_at else (False, number)

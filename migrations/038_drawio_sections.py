"""A hidden section for a diagram in every layout, below the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema.rows import batches, has_columns, insert_missing, moment, takes, whole

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["EntryLayoutSection", "EntryTypeLayout"]

depends_on = ["framework/009_layouts"]

ROW = {
    "section_type": "drawio",
    "title": "Draw.io Diagram",
    "position_x": 0,
    "width": 12,
    "height": 6,
    "is_visible": 0,
    "is_collapsible": 1,
    "default_collapsed": 0,
    "config": "{}",
    "tab_id": "main",
    "tab_order": 0,
}
COMPUTED = ("layout_id", "position_y", "display_order", "created_at", "updated_at")


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Add the section to layouts that have none of its type."""
    if fake or not has_columns(database, "EntryTypeLayout", "id"):
        return
    if not takes(database, "EntryLayoutSection", *ROW, *COMPUTED):
        return
    layouts, sections, now = pw.Table("EntryTypeLayout"), pw.Table("EntryLayoutSection"), moment(database)
    lowest, last = pw.fn.MAX(sections.c.position_y), pw.fn.MAX(sections.c.display_order)
    query = (
        layouts.select(layouts.c.id, lowest, last)
        .join(sections, pw.JOIN.LEFT_OUTER, on=(sections.c.layout_id == layouts.c.id))
        .group_by(layouts.c.id)
    )
    for batch in batches(database, query, layouts.c.id):
        rows = [
            ROW
            | {"layout_id": layout, "position_y": _number(y) + 4, "display_order": _number(order) + 1}
            | {"created_at": now, "updated_at": now}
            for layout, y, order in batch
        ]
        insert_missing(database, "EntryLayoutSection", ["layout_id", "section_type"], rows)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the sections: they are hidden until a user shows them."""


def _number(value: Any) -> int:
    number = whole(value)
    return number if isinstance(number, int) else 0

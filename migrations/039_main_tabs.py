"""A main tab for every layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import batches, has_columns, insert_missing, moment, takes

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["EntryLayoutTab", "EntryTypeLayout"]

depends_on = ["framework/009_layouts"]

ROW = {"tab_id": "main", "tab_label": "Overview", "tab_icon": "fa-home", "display_order": 0, "is_visible": 1}


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Add the tab, which sections are in by default, where there is none of its id."""
    if fake or not has_columns(database, "EntryTypeLayout", "id"):
        return
    if not takes(database, "EntryLayoutTab", "layout_id", *ROW, "created_at", "updated_at"):
        return
    layouts, now = pw.Table("EntryTypeLayout"), moment(database)
    for batch in batches(database, layouts.select(layouts.c.id), layouts.c.id):
        rows = [{"layout_id": layout, **ROW, "created_at": now, "updated_at": now} for (layout,) in batch]
        insert_missing(database, "EntryLayoutTab", ["layout_id", "tab_id"], rows)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the tabs: sections are in them."""

"""A layout for every entry type that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import batches, has_columns, insert_missing, is_true, moment, takes

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["EntryTypeLayout"]

depends_on = ["framework/001_entries", "framework/009_layouts"]

PLACE = ("section_type", "title", "position_x", "position_y", "width", "height")
LOOK = ("is_visible", "is_collapsible", "default_collapsed", "display_order")
COLUMNS = ("layout_id", *PLACE, *LOOK, "config", "created_at", "updated_at", "tab_id", "tab_order")
SECTIONS = [
    ("header", "Entry Details", 0, 0, 12, 3, 1, 0, 0, 1),
    ("notes", "Notes", 0, 3, 6, 4, 1, 1, 0, 2),
    ("relationships", "Relationships", 6, 3, 6, 4, 1, 1, 0, 3),
    ("labels", "Labels", 0, 7, 12, 2, 1, 1, 0, 4),
    ("sensors", "Sensor Data", 0, 9, 12, 5, 1, 1, 0, 5),
    ("reminders", "Reminders", 0, 14, 12, 3, 1, 1, 0, 6),
    ("ai_assistant", "AI Assistant", 0, 17, 12, 4, 1, 1, 1, 7),
    ("attachments", "Attachments", 0, 21, 6, 3, 1, 1, 0, 8),
    ("form_fields", "Custom Fields", 6, 21, 6, 3, 1, 1, 0, 9),
    ("qr_code", "QR Code", 0, 24, 4, 3, 1, 1, 1, 10),
    ("label_printing", "Label Printing", 4, 24, 8, 3, 1, 1, 1, 11),
    ("relationship_opportunities", "Shared Relationships", 0, 27, 12, 3, 1, 1, 1, 12),
    ("timeline", "Progress Timeline", 0, 30, 12, 3, 1, 1, 0, 13),
]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Add the layout and its sections, labels and sensors only where the type shows them."""
    if fake or not has_columns(database, "EntryType", "id", "show_labels_section", "has_sensors"):
        return
    if not takes(database, "EntryTypeLayout", "entry_type_id", "layout_config", "created_at", "updated_at"):
        return
    if not takes(database, "EntryLayoutSection", *COLUMNS):
        return
    types, layouts, now = pw.Table("EntryType"), pw.Table("EntryTypeLayout"), moment(database)
    some = layouts.select(pw.SQL("1")).where(layouts.c.entry_type_id == types.c.id)
    without = types.select(types.c.id, types.c.show_labels_section, types.c.has_sensors).where(~pw.fn.EXISTS(some))
    for batch in batches(database, without, types.c.id):
        shown = {
            entry_type: {"labels": is_true(labels), "sensors": is_true(sensors)}
            for entry_type, labels, sensors in batch
        }
        common = {"layout_config": '{"cols": 12, "rowHeight": 80}', "created_at": now, "updated_at": now}
        rows = [{"entry_type_id": entry_type, **common} for entry_type in shown]
        insert_missing(database, "EntryTypeLayout", ["entry_type_id"], rows)
        made = layouts.select(layouts.c.id, layouts.c.entry_type_id).where(layouts.c.entry_type_id << list(shown))
        common = {"config": "{}", "created_at": now, "updated_at": now, "tab_id": "main", "tab_order": 0}
        sections = [
            {"layout_id": layout, **dict(zip(PLACE + LOOK, section, strict=True)), **common}
            for layout, entry_type in made.order_by(layouts.c.id).tuples().execute(database)
            for section in SECTIONS
            if shown[entry_type].get(section[0], True)
        ]
        insert_missing(database, "EntryLayoutSection", ["layout_id", "section_type"], sections)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the layouts: a user may have arranged them."""

"""Sections of the type ``labels``, which is called ``label_printing`` now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import batches, has_columns, text_of, typed

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/009_layouts"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Rename the first one of a layout, unless the layout has such a section already."""
    if fake or not has_columns(database, "EntryLayoutSection", "id", "layout_id", "section_type"):
        return
    sections, other = pw.Table("EntryLayoutSection"), pw.Table("EntryLayoutSection").alias("other")
    renamed = other.select(pw.SQL("1")).where(
        other.c.layout_id == sections.c.layout_id, text_of(database, other.c.section_type) == "label_printing"
    )
    first = (
        sections.select(sections.c.layout_id, pw.fn.MIN(sections.c.id))
        .where(text_of(database, sections.c.section_type) == "labels", ~pw.fn.EXISTS(renamed))
        .group_by(sections.c.layout_id)
    )
    for batch in batches(database, first, sections.c.layout_id):
        change = sections.update(
            {sections.c.section_type: typed(database, "EntryLayoutSection", "section_type", "label_printing")}
        )
        change.where(sections.c.id << [section for _, section in batch]).execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the names: the application knows no other."""

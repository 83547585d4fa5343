"""Paths of images, which notes had before 2025-08-02, as the paths of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import batches, brought, has_columns, read_json, text_of, undecoded

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["Note.file_paths"]

depends_on = ["framework/003_notes"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Copy the list, where there is one, to notes that have no file yet; the old column stays."""
    if fake or not has_columns(database, "Note", "id", "image_paths", "file_paths"):
        return
    notes = pw.Table("Note")
    has_no_file = notes.c.file_paths.is_null() | (text_of(database, notes.c.file_paths) << ["", "[]"])
    query = notes.select(notes.c.id, text_of(database, undecoded(database, notes.c.image_paths))).where(
        notes.c.image_paths.is_null(False), has_no_file
    )
    files = brought(database, notes.c.image_paths, "Note", "file_paths")
    for batch in batches(database, query, notes.c.id):
        ids = [note for note, paths in batch if _are_paths(read_json(paths))]
        if ids:
            notes.update({notes.c.file_paths: files}).where(notes.c.id << ids).execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the copies: what a note had of its own from the beginning cannot be told from them."""


def _are_paths(paths: object) -> bool:
    return isinstance(paths, list) and bool(paths) and all(isinstance(path, str) and path for path in paths)

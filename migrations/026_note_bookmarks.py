"""Addresses in ``Note.urls``, which some files of 2025 have, as bookmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema.rows import batches, has_columns, read_json, text_of, typed, undecoded, write_json

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["Note.url_bookmarks"]

depends_on = ["framework/003_notes"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Give notes without a bookmark those that ``urls`` lists; the old column stays."""
    if fake or not has_columns(database, "Note", "id", "urls", "url_bookmarks"):
        return
    notes = pw.Table("Note")
    has_no_bookmark = notes.c.url_bookmarks.is_null() | (text_of(database, notes.c.url_bookmarks) << ["", "[]"])
    query = notes.select(notes.c.id, text_of(database, undecoded(database, notes.c.urls))).where(
        notes.c.urls.is_null(False), has_no_bookmark
    )
    for batch in batches(database, query, notes.c.id):
        for note, urls in batch:
            bookmarks = _bookmarks(read_json(urls))
            if bookmarks:
                change = notes.update(
                    {notes.c.url_bookmarks: typed(database, "Note", "url_bookmarks", write_json(bookmarks))}
                )
                change.where(notes.c.id == note).execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the bookmarks: a user may have added to them."""


def _bookmarks(urls: Any) -> list[dict[str, str]]:
    """Return the items of a list that have an address, be they a text or an object."""
    items = urls if isinstance(urls, list) else []
    objects = [item if isinstance(item, dict) else {"url": item} for item in items]
    return [
        {"url": item["url"], "friendly_name": _text(item.get("friendly_name")) or _host(item["url"])}
        for item in objects
        if _text(item.get("url"))
    ]


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _host(url: str) -> str:
    """Return the host of an address; of one without a host, the address."""
    rest = url.partition("://")[2] or url
    for mark in "/?#":
        rest = rest.partition(mark)[0]
    return rest.rpartition("@")[2] or url

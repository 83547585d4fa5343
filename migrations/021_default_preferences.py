"""The user preferences every installation starts with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from framework_schema.rows import delete_unchanged, insert_missing

if TYPE_CHECKING:
    import peewee as pw
    from peewee_migrate import Migrator

fills = ["UserPreferences"]

depends_on = ["framework/007_settings"]

ROWS = [
    {"preference_name": name, "preference_value": value}
    for name, value in {
        "default_view_type": "all",
        "default_entry_type_filter": "",
        "default_status_filter": "all",
        "default_result_limit": "10000",
    }.items()
]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    if not fake:
        insert_missing(database, "UserPreferences", ["preference_name"], ROWS)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    if not fake:
        delete_unchanged(database, "UserPreferences", ROWS)

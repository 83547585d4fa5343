"""A new migration script, as ``pw_migrate create`` writes it."""

from __future__ import annotations

from pathlib import Path

import peewee as pw
from peewee_migrate.router import Router

from framework_schema.errors import ConfigError

IGNORED = ["frameworkmodel", "schemamigration"]
"""The abstract base and the history: no script makes them."""


def create_script(name: str, directory: str, models: str | None = None) -> Path | None:
    """Write ``NNN_name.py`` and return its path, or None when ``models`` hold nothing that the scripts lack.

    ``models`` is a dotted module; the scripts there are replayed to compare
    with them, in a database in memory.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}. Nothing was written. Create it, or give --directory.")
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ConfigError(f"{name!r} is no name for a script. Nothing was written. Use letters, digits and _.")
    database = pw.SqliteDatabase(":memory:")
    with database.connection_context():
        made = Router(database, migrate_dir=folder, ignore=IGNORED).create(name, auto=models or False)
    return None if made is None else folder / f"{made}.py"

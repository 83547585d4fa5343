"""Scripts of single sensors, in the library that all sensors share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import brought, has_columns, takes, text_of

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["ScriptLibrary"]

depends_on = ["framework/015_sensors"]

COPIED = ("script_content", "script_version", "script_type", "description")
COLUMNS = ("name", *COPIED, "created_at", "updated_at")


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Copy each content once, of several the oldest, unless the library has it."""
    if fake or not has_columns(database, "SensorScripts", "id", *COPIED):
        return
    if not takes(database, "ScriptLibrary", *COLUMNS):
        return
    scripts, library, now = pw.Table("SensorScripts"), pw.Table("ScriptLibrary"), pw.SQL("CURRENT_TIMESTAMP")
    every = pw.Table("SensorScripts").alias("every")
    oldest = every.select(pw.fn.MIN(every.c.id)).group_by(every.c.script_content, every.c.script_type)
    is_same_type = (text_of(database, library.c.script_type) == text_of(database, scripts.c.script_type)) | (
        library.c.script_type.is_null() & scripts.c.script_type.is_null()
    )
    same = library.select(pw.SQL("1")).where(library.c.script_content == scripts.c.script_content, is_same_type)
    name = pw.Case(
        None,
        [
            (
                pw.fn.TRIM(text_of(database, scripts.c.description)) != "",
                pw.fn.SUBSTR(text_of(database, scripts.c.description), 1, 50),
            )
        ],
        pw.Value("Imported Script ").concat(scripts.c.id),
    )
    copied = (brought(database, scripts.c[column], "ScriptLibrary", column) for column in COPIED)
    copies = (
        scripts.select(name, *copied, now, now)
        .where(scripts.c.id << oldest, scripts.c.script_content != "", ~pw.fn.EXISTS(same))
        .order_by(scripts.c.id)
    )
    library.insert(copies, columns=[library.c[column] for column in COLUMNS]).execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the copies: other sensors may run them since."""

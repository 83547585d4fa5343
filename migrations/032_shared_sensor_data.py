"""Readings in ``SensorData``, which belong to one entry, as readings that several can share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import brought, has_columns, takes, text_of

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["SharedSensorData"]

depends_on = ["framework/001_entries", "framework/016_sensor_data"]

READING = ("sensor_type", "value", "recorded_at", "source_type", "metadata", "created_at")
NAMED_IN = (("SensorDataEntryLinks", "shared_sensor_data_id"), ("SensorDataEntryRanges", "end_sensor_id"))
LINK = ("shared_sensor_data_id", "entry_id", "link_type", "created_at")


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Copy each reading of an entry that is there, and link the copy; ``SensorData`` stays.

    A copy is known by its old id and by what it says, since the framework's own
    script left a ``SensorData`` behind that counts from 1 again. So a reading is
    copied once, whoever copied it, and a link removed since stays away. Where
    links outlived the readings they name, copies are numbered beyond them.
    """
    if fake or not has_columns(database, "SensorData", "id", "entry_id", "sensor_type", "value", "recorded_at"):
        return
    if not (takes(database, "SharedSensorData", *READING) and takes(database, "SensorDataEntryLinks", *LINK)):
        return
    old, entry, new = pw.Table("SensorData"), pw.Table("Entry"), pw.Table("SharedSensorData")
    now = pw.SQL("CURRENT_TIMESTAMP")
    newest = _newest(database, "SharedSensorData", "id")
    named = max(_newest(database, *place) for place in NAMED_IN)
    note = pw.Value('{"migrated_from_sensor_data_id": ').concat(old.c.id).concat("}")
    said = {"sensor_type": old.c.sensor_type, "value": old.c.value, "recorded_at": old.c.recorded_at, "metadata": note}
    kind, value, at, mark = (brought(database, given, "SharedSensorData", name) for name, given in said.items())
    is_marked = (text_of(database, new.c.metadata) == text_of(database, mark)) & (
        text_of(database, new.c.source_type) == "migrated"
    )
    is_same_time = (new.c.recorded_at == at) | (new.c.recorded_at.is_null() & at.is_null())
    is_copy = is_marked & (new.c.sensor_type.concat("") == kind) & (new.c.value == value) & is_same_time
    numbers = [pw.fn.ROW_NUMBER().over(order_by=[old.c.id]) + named] if named > newest else []
    readings = (
        old.select(kind, value, at, pw.Value("migrated"), mark, now, *numbers)
        .join(entry, on=(entry.c.id == old.c.entry_id))
        .join(new, pw.JOIN.LEFT_OUTER, on=is_copy)
        .where(new.c.id.is_null(), old.c.sensor_type.is_null(False), old.c.value.is_null(False))
        .order_by(old.c.id)
    )
    links = (
        old.select(new.c.id, old.c.entry_id, pw.Value("primary"), now)
        .join(new, on=is_marked)
        .where(new.c.id > newest)
        .order_by(new.c.id)
    )
    columns = [new.c[name] for name in (*READING, "id")[: len(READING) + len(numbers)]]
    new.insert(readings, columns=columns).execute(database)
    table = pw.Table("SensorDataEntryLinks")
    table.insert(links, columns=[table.c[name] for name in LINK]).execute(database)


def _newest(database: pw.Database, name: str, column: str) -> int:
    """Return the highest number in a column; 0 where there is none."""
    if not has_columns(database, name, column):
        return 0
    table = pw.Table(name)
    ((highest,),) = table.select(pw.fn.COALESCE(pw.fn.MAX(table.c[column]), 0)).tuples().execute(database)
    return int(highest)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the copies: they may be linked to other entries since."""

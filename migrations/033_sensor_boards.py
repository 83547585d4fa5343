"""The board of a sensor that registered before boards were asked for, told from its type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import has_columns, text_of, typed

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["SensorRegistration.board_type"]

depends_on = ["framework/015_sensors"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Name the board where there is none: the C6 for a type that says so, else the one all others had."""
    if fake or not has_columns(database, "SensorRegistration", "sensor_type", "board_type"):
        return
    sensors = pw.Table("SensorRegistration")
    kind = pw.fn.LOWER(text_of(database, sensors.c.sensor_type))
    is_c6 = (kind ** "%c6%") | (kind ** "%firebeetle%")
    for board, which in (("firebeetle2_esp32c6", is_c6), ("esp32_wroom32", sensors.c.sensor_type.is_null(False))):
        change = sensors.update({sensors.c.board_type: typed(database, "SensorRegistration", "board_type", board)})
        change.where(sensors.c.board_type.is_null(), which).execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the boards: a sensor may have reported the same since."""

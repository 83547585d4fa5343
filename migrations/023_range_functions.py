"""The named queries over ranges of sensor readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from framework_schema.rows import delete_unchanged, insert_missing

if TYPE_CHECKING:
    import peewee as pw
    from peewee_migrate import Migrator

fills = ["SensorDataRangeFunctions"]

depends_on = ["framework/016_sensor_data"]

ROWS = [
    {
        "function_name": "get_sensor_data_for_entry_range",
        "description": "The readings of one sensor type that belong to an entry, oldest first.",
        "sql_template": """\
SELECT data.id, data.sensor_type, data.value, data.recorded_at, data.source_type, data.source_id,
       data.metadata, run.link_type
FROM SensorDataEntryRanges AS run
JOIN SharedSensorData AS data
    ON data.id BETWEEN run.start_sensor_id AND run.end_sensor_id
    AND data.sensor_type = run.sensor_type
WHERE run.entry_id = :entry_id AND run.sensor_type = :sensor_type
ORDER BY data.recorded_at, data.id""",
    },
    {
        "function_name": "get_range_summary_for_entry",
        "description": "How many readings of one sensor type an entry has, by range, and from when to when.",
        "sql_template": """\
SELECT run.id, run.sensor_type, run.link_type, run.start_sensor_id, run.end_sensor_id,
       COUNT(data.id) AS readings, MIN(data.recorded_at) AS first_recorded_at,
       MAX(data.recorded_at) AS last_recorded_at
FROM SensorDataEntryRanges AS run
LEFT JOIN SharedSensorData AS data
    ON data.id BETWEEN run.start_sensor_id AND run.end_sensor_id
    AND data.sensor_type = run.sensor_type
WHERE run.entry_id = :entry_id AND run.sensor_type = :sensor_type
GROUP BY run.id, run.sensor_type, run.link_type, run.start_sensor_id, run.end_sensor_id
ORDER BY run.start_sensor_id""",
    },
]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    if not fake:
        insert_missing(database, "SensorDataRangeFunctions", ["function_name"], ROWS)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    if not fake:
        delete_unchanged(database, "SensorDataRangeFunctions", ROWS)

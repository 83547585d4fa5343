"""Seconds between two reports of a sensor; knows by the column whether it is done."""

import os
import sqlite3

MIGRATION_NAME = "add_check_in_interval.py"


def migration_already_applied(cursor):
    cursor.execute("PRAGMA table_info(SensorRegistration)")
    columns = [row[1] for row in cursor.fetchall()]
    return not columns or "check_in_interval" in columns


def apply_migration(cursor):
    cursor.execute("ALTER TABLE SensorRegistration ADD COLUMN check_in_interval INTEGER DEFAULT 60")


def main():
    connection = sqlite3.connect(os.environ["DATABASE_PATH"])
    cursor = connection.cursor()
    if not migration_already_applied(cursor):
        apply_migration(cursor)
    connection.commit()
    connection.close()


if __name__ == "__main__":
    main()

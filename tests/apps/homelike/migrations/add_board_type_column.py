"""Board of a sensor; knows by its row in schema_migrations whether it is done, and would fail where it is."""

import os
import sqlite3

MIGRATION_NAME = "add_board_type_column.py"


def migration_already_applied(cursor):
    cursor.execute("SELECT name FROM sqlite_master WHERE name = 'schema_migrations'")
    if cursor.fetchone() is None:
        return False
    cursor.execute("SELECT 1 FROM schema_migrations WHERE migration_name = ? AND success = 1", (MIGRATION_NAME,))
    return cursor.fetchone() is not None


def apply_migration(cursor):
    cursor.execute("ALTER TABLE SensorRegistration ADD COLUMN board_type TEXT")


def main():
    connection = sqlite3.connect(os.environ["DATABASE_PATH"])
    cursor = connection.cursor()
    try:
        if not migration_already_applied(cursor):
            apply_migration(cursor)
            cursor.execute("INSERT INTO schema_migrations (migration_name) VALUES (?)", (MIGRATION_NAME,))
        connection.commit()
    except sqlite3.OperationalError as error:
        print("add_board_type_column:", error)
    connection.close()


if __name__ == "__main__":
    main()

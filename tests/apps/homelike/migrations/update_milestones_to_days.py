"""Run at each start of the container, and not made to be: drops the name and colour of a milestone's state."""

import os
import sqlite3


def migrate():
    connection = sqlite3.connect(os.environ["DATABASE_PATH"])
    columns = [row[1] for row in connection.execute("PRAGMA table_info(EntryStateMilestone)")]
    for column in ("target_state_name", "target_state_color"):
        if column in columns:
            connection.execute(f"ALTER TABLE EntryStateMilestone DROP COLUMN {column}")
    connection.commit()
    connection.close()


if __name__ == "__main__":
    migrate()

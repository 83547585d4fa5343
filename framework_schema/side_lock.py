"""A lock beside a SQLite file, for a script that refuses the transaction which is the lock otherwise.

It is a second, empty SQLite database, held with BEGIN EXCLUSIVE, so that the
lock is the kind SQLite takes of the database itself: it keeps out threads as
well as processes, works wherever SQLite does, and dies with its holder.

The file is looked for, made and removed only by who has the database's write
lock. So no two can hold two files of one name, and one that a killed process
left is removed by the next run that writes.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

import peewee as pw

from framework_schema.errors import Unreadable

SUFFIX = "-alone"


class SideLock:
    """The lock beside one file. Without the write lock only ``release`` may be called."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._held: sqlite3.Connection | None = None

    @classmethod
    def of(cls, database: pw.Database) -> SideLock | None:
        """Return the lock of an open database; None for one in memory, which has no other process to keep out."""
        rows = database.execute_sql("PRAGMA database_list").fetchall()
        place = next((file for _, name, file in rows if name == "main"), "")
        return cls(Path(place + SUFFIX)) if place else None

    def is_held(self) -> bool:
        """Tell whether somebody holds it, and remove what a killed process left.

        Raises ``Unreadable`` when this user may not even look.
        """
        if not self.file.exists():
            return False
        try:
            self._opened().close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                return True
            raise Unreadable(
                str(self.file), f"this lock file cannot be opened ({error})", "Remove it when no migration runs."
            ) from error
        self.file.unlink(missing_ok=True)
        return False

    def take(self) -> None:
        """Take it, when ``is_held`` said that nobody has it."""
        self._held = self._opened()

    def release(self, *, remove: bool) -> None:
        """Let go; remove the file only with the write lock in hand."""
        if self._held is not None:
            self._held.close()
            self._held = None
            if remove:
                with contextlib.suppress(OSError):
                    self.file.unlink()

    def _opened(self) -> sqlite3.Connection:
        uri = f"file:{quote(os.fsencode(self.file))}?mode=rwc"
        connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

"""F: plain sqlite3, the same SQL, one transaction a database. Nothing in Python is faster without tricks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from benchmarks.contenders.base import Contender, python
from benchmarks.plan import sql_of

HISTORY = "CREATE TABLE IF NOT EXISTS history (name TEXT PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP)"
LOOK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
applied = {name for (name,) in connection.execute("SELECT name FROM history")}
connection.close()
sys.exit(len(applied) != int(sys.argv[2]))
"""


class Floor(Contender):
    module = "sqlite3"

    def write(self) -> None:
        self.scripts = {step.name: sql_of(step) for step in self.plan}

    def migrate(self, path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(HISTORY)
            applied = _applied(connection)
            for name, script in self.scripts.items():
                if name not in applied:
                    for sql in script:
                        connection.execute(sql)
                    connection.execute("INSERT INTO history (name) VALUES (?)", (name,))
            connection.execute("COMMIT")

    def migrate_all(self, paths: list[Path]) -> None:  # type: ignore[override]
        for path in paths:
            if not path.exists() or self._is_pending(path):
                self.migrate(path)

    def look(self, path: Path) -> None:
        assert not self._is_pending(path)

    def command(self, path: Path) -> list[str]:
        return python("-c", LOOK, path, len(self.plan))

    def _is_pending(self, path: Path) -> bool:
        with closing(sqlite3.connect(path)) as connection:
            return bool(self.scripts.keys() - _applied(connection))


def _applied(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM history")}

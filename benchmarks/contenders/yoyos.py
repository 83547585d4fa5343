"""yoyo-migrations, with SQL scripts."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.contenders.base import Contender, python
from benchmarks.plan import sql_of

COMMAND = """
import sys
from yoyo import get_backend, read_migrations
backend = get_backend("sqlite:///" + sys.argv[1])
migrations = read_migrations(sys.argv[2])
with backend.lock():
    backend.apply_migrations(backend.to_apply(migrations))
"""


class Yoyo(Contender):
    module = "yoyo"

    def write(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for step in self.plan:
            (self.folder / f"{step.name}.sql").write_text(";\n".join(sql_of(step)) + ";\n", encoding="utf-8")

    def migrate(self, path: Path) -> None:
        from yoyo import get_backend, read_migrations

        backend = get_backend(f"sqlite:///{path}")
        migrations = read_migrations(str(self.folder))
        with backend.lock():
            backend.apply_migrations(backend.to_apply(migrations))
        backend.connection.close()

    def command(self, path: Path) -> list[str]:
        return python("-c", COMMAND, path, self.folder)

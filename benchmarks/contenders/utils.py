"""sqlite-utils and its migrations."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.contenders.base import Contender, python
from benchmarks.plan import Add, Create, Drop, Index, Operation, RenameColumn, RenameTable

TYPES = {"text": "str", "int": "int", "real": "float", "moment": "str"}
COMMAND = """
import runpy, sys, sqlite_utils
runpy.run_path(sys.argv[2])["migrations"].apply(sqlite_utils.Database(sys.argv[1]))
"""


class SqliteUtils(Contender):
    module = "sqlite_utils"

    def write(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        text = "from sqlite_utils import Migrations\n\nmigrations = Migrations('bench')\n"
        for step in self.plan:
            lines = "\n".join(f"    {_call(operation)}" for operation in step.operations)
            text += f"\n\n@migrations(name={step.name!r})\ndef step_{step.name}(db):\n{lines}\n"
        self.file = self.folder / "migrations.py"
        self.file.write_text(text, encoding="utf-8")
        namespace: dict[str, object] = {}
        exec(compile(text, str(self.file), "exec"), namespace)
        self.migrations = namespace["migrations"]

    def migrate(self, path: Path) -> None:
        import sqlite_utils

        database = sqlite_utils.Database(path)
        self.migrations.apply(database)  # type: ignore[attr-defined]
        database.close()

    def command(self, path: Path) -> list[str]:
        return python("-c", COMMAND, path, self.file)


def _call(operation: Operation) -> str:
    match operation:
        case Create(table, columns):
            types = ", ".join(f"{c.name!r}: {TYPES[c.type]}" for c in columns)
            not_null = {c.name for c in columns if not c.null}
            keys = [(c.name, c.to, "id") for c in columns if c.to]
            extra = f", not_null={not_null!r}" if not_null else ""
            extra += f", foreign_keys={keys!r}" if keys else ""
            return f"db[{table!r}].create({{'id': int, {types}}}, pk='id'{extra})"
        case Add(table, column):
            default = "" if column.default is None else f", not_null_default={column.default!r}"
            return f"db[{table!r}].add_column({column.name!r}, {TYPES[column.type]}{default})"
        case Index(table, column):
            return f"db[{table!r}].create_index([{column!r}])"
        case RenameColumn(table, column, new_name):
            return f"db[{table!r}].transform(rename={{{column!r}: {new_name!r}}})"
        case RenameTable(table, new_name):
            return f"db.rename_table({table!r}, {new_name!r})"
        case Drop(table, column):
            return f"db[{table!r}].transform(drop=[{column!r}])"

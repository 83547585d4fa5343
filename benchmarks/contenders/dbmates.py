"""dbmate, a single binary written in Go (`npm install dbmate`); a process each time. ``DBMATE`` names it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.contenders.base import Contender
from benchmarks.plan import sql_of

BINARY = os.environ.get("DBMATE") or shutil.which("dbmate")
if BINARY is None:
    raise ImportError("dbmate is not installed (npm install dbmate, then DBMATE=node_modules/@dbmate/.../dbmate)")


class Dbmate(Contender):
    def write(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for step in self.plan:
            text = "-- migrate:up\n" + ";\n".join(sql_of(step)) + ";\n\n-- migrate:down\n"
            (self.folder / f"{step.name}.sql").write_text(text, encoding="utf-8")

    def migrate(self, path: Path) -> None:
        subprocess.run(self.command(path), check=True, capture_output=True)

    def command(self, path: Path) -> list[str]:
        assert BINARY is not None
        return [
            BINARY, "--url", f"sqlite:{path}", "--migrations-dir", str(self.folder), "--no-dump-schema", "up",
        ]  # fmt: skip

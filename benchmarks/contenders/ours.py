"""framework-schema, with all it does by default, and with plan cache and template switched off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.contenders.base import Contender, python
from benchmarks.contenders.peewees import write_scripts
from framework_schema import Config, Folder, Runner, installed, migrate_fleet


class FrameworkSchema(Contender):
    module = "framework_schema"
    settings: ClassVar[dict[str, Any]] = {}

    def write(self) -> None:
        write_scripts(self.folder, self.plan)
        self.source = Folder(self.folder, "app")
        self.config = Config(backup="never", **self.settings)
        self.runners: dict[Path, Runner] = {}

    def migrate(self, path: Path) -> None:
        Runner(path, [self.source], config=self.config).migrate()

    def migrate_all(self, paths: Sequence[Path]) -> None:
        report = migrate_fleet([f"sqlite:///{path}" for path in paths], [self.source], jobs=1, config=self.config)
        assert not report.failed, [failed.error for failed in report.failed]

    def look(self, path: Path) -> None:
        if path not in self.runners:
            self.runners[path] = Runner(path, [self.source], config=self.config)
        self.runners[path].migrate()

    def command(self, path: Path) -> list[str]:
        """Look at a database of the framework's own schema, which is what the command does without options."""
        own = self.folder.parent / "own.db"
        Runner(own, [installed()[0]]).migrate()
        return python("-m", "framework_schema", "migrate", own)


class Uncached(FrameworkSchema):
    settings: ClassVar[dict[str, Any]] = {"plan_cache": False, "template": False}

"""What the harness asks of a contender."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.plan import Plan


class Contender(ABC):
    """One tool. ``folder`` holds its scripts; a process has one contender, and a contender one plan at a time."""

    module: ClassVar[str] = ""
    """What `import` brings the tool in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan: Plan = ()

    def prepare(self, plan: Plan) -> None:
        """Write the plan as scripts; called again with a longer or another plan."""
        self.plan = plan
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write()

    @abstractmethod
    def write(self) -> None:
        """Write the scripts of ``plan``."""

    @abstractmethod
    def migrate(self, path: Path) -> None:
        """Bring one database to the newest script; the file need not be there."""

    def migrate_all(self, paths: Sequence[Path]) -> None:
        """Bring a fleet up, in this process."""
        for path in paths:
            self.migrate(path)

    def look(self, path: Path) -> None:
        """Find out that there is nothing to do."""
        self.migrate(path)

    def command(self, path: Path) -> list[str] | None:
        """Return the command that does the same in a process of its own, if the tool has one."""
        return None


def python(*arguments: object) -> list[str]:
    """Return a command of this Python."""
    return [sys.executable, *map(str, arguments)]

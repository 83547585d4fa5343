"""What ``copy`` would do, told beforehand: the rows of each table, what is left out, what the target holds now."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from framework_schema.config import Config
from framework_schema.contents import contents
from framework_schema.ddl import fold
from framework_schema.history import History
from framework_schema.rehearsal import look
from framework_schema.runner import Runner
from framework_schema.sources import Source


@dataclass(frozen=True, slots=True)
class CopyPreview:
    """The rows of the source by table, those tables that no migration makes, and the rows that the target has."""

    source: str
    target: str
    rows: tuple[tuple[str, int], ...]
    left_out: tuple[str, ...]
    held: int
    pending: int

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        tables = [{"name": name, "rows": rows} for name, rows in self.rows]
        return {
            "source": self.source,
            "target": self.target,
            "tables": tables,
            "left_out": list(self.left_out),
            "rows_in_target": self.held,
            "pending": self.pending,
        }

    def lines(self, replace_rows: bool) -> Iterator[str]:
        """Say it."""
        if self.pending:
            yield f"{self.source}: {self.pending} migrations are pending; they are run on a copy of it first"
        for name, rows in self.rows:
            yield f"would copy {rows} row{'s' * (rows != 1)} of {name}"
        for name in self.left_out:
            yield f"left out: {name} (no migration makes it; --extras takes it along)"
        if self.held:
            fate = "they would go (--replace)" if replace_rows else "so it would be refused; --replace lets them go"
            yield f"{self.target} holds {self.held} rows: {fate}"


def preview(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    sources: Sequence[Source],
    config: Config,
) -> CopyPreview:
    """Count both sides and write nothing; the rows that migrations add to a new target by themselves count too.

    Raises ``DatabaseError`` for a source that cannot be read.
    """
    reading = Runner(source, sources, config=config, create=False)
    found = look(reading, _counted)
    expected = {fold(name) for name in reading.expected(reading.known.migrations).tables}
    rows = tuple((name, number) for name, number in found if number and fold(name) in expected)
    left_out = tuple(name for name, number in found if number and fold(name) not in expected)
    writing = Runner(target, sources, config=config)
    is_there = writing.target.path is None or writing.target.path.is_file()
    held = sum(number for _, number in look(writing, _counted)) if is_there else 0
    pending = len(look(reading, Runner.status).pending)
    return CopyPreview(reading.target.name, writing.target.name, rows, left_out, held, pending)


def _counted(runner: Runner) -> list[tuple[str, int]]:
    history = History(runner.target.database, runner.config.table)
    with runner.looking() as database:
        found = contents(database, runner.dialect, without=(history.table, history.events_table))
    return [(found.schema.tables[name].name, rows) for name, rows in found.rows.items()]

"""Which data steps run again: those that fill a column or a table that this run makes anew; values only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from framework_schema.migration import Migration
from framework_schema.report import StepResult
from framework_schema.snapshot import Snapshot

Fold = Callable[[str], str]
"""What names have in common that the engine takes for one."""


@dataclass(frozen=True, slots=True)
class Refill:
    """A data step that has to run again, and what it fills that was not there."""

    migration: Migration
    lost: tuple[str, ...]

    @property
    def text(self) -> str:
        """Say why it runs again."""
        return f"{', '.join(self.lost)} made anew, so that its data step has to run again"


def refills(
    applied: Sequence[Migration], steps: Sequence[StepResult], before: Snapshot, now: Snapshot, fold: Fold
) -> Iterator[Refill]:
    """Yield the applied data steps that ran when what they fill was not there, in their order.

    ``before`` is the schema that the run found and ``steps`` what it did to it,
    ``now`` the schema that the alignment is about to complete. A step of this
    run that came after the making of what it fills has filled it already.
    """
    place = {step.key: number for number, step in enumerate(steps)}
    made: dict[str, int] = {}
    for number, step in enumerate(steps):
        for what in step.made:
            made.setdefault(fold(what), number)
    for migration in applied:
        lost = tuple(
            what
            for what in migration.fills
            if not _is_there(now, what, fold)
            or (not _is_there(before, what, fold) and place.get(migration.key, -1) < _made_at(made, what, fold))
        )
        if lost:
            yield Refill(migration, lost)


def _is_there(snapshot: Snapshot, what: str, fold: Fold) -> bool:
    name, _, column = what.partition(".")
    # On some engines names of tables differ in case where those of columns do not: so by its very name first.
    table = next((t for t in snapshot.tables.values() if t.name == name), snapshot.tables.get(fold(name)))
    return table is not None and (not column or fold(column) in table.columns)


def _made_at(made: dict[str, int], what: str, fold: Fold) -> int:
    """Return the place of the step that made a column or its table."""
    table, _, column = what.partition(".")
    of_column = made.get(fold(f"column {table}.{column}"), -1) if column else -1
    return max(of_column, made.get(fold(f"table {table}"), -1))

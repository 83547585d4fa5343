"""Which steps, in which order; values only."""

from __future__ import annotations

from collections.abc import Collection as AnyOf
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from framework_schema.errors import PlanRefused
from framework_schema.migration import Migration
from framework_schema.sources import Collection
from framework_schema.status import Status


@dataclass(frozen=True, slots=True)
class Plan:
    """The migrations to run, in order."""

    steps: tuple[Migration, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything to run."""
        return bool(self.steps)

    @property
    def together(self) -> tuple[Migration, ...]:
        """The steps that share the first transaction: all before one that refuses it."""
        return tuple(takewhile(lambda step: step.atomic, self.steps))

    @property
    def alone(self) -> Migration | None:
        """The first step that refuses a transaction."""
        return next((step for step in self.steps if not step.atomic), None)

    def without(self, keys: Iterable[str]) -> Plan:
        """Return the plan less the steps with these keys."""
        done = set(keys)
        return Plan(tuple(step for step in self.steps if step.key not in done))


def plan_up(status: Status, known: Collection, to: str | None = None, database: str = "") -> Plan:
    """Return what is pending, up to and including ``to`` when that is given.

    Raises ``PlanRefused`` for an unknown ``to``. A target that is applied
    already leaves nothing to do.
    """
    if to is None:
        return Plan(status.pending)
    if to not in known.by_key:
        close = ", ".join(key for key in known.by_key if to.lower() in key.lower()) or "see `history`"
        raise PlanRefused(f"{database}: there is no migration {to}. Nothing was run. Did you mean: {close}?")
    wanted = _with_needs(to, known)
    return Plan(tuple(step for step in status.pending if step.key in wanted))


def is_blocked(step: Migration, known: Collection, failed: AnyOf[str]) -> bool:
    """Tell whether a step may not run since something it needs has failed.

    A script needs those it or its source names, and the earlier ones of its
    own source; independent sources go on.
    """
    return any(key in failed for key in _with_needs(step.key, known) - {step.key})


def _with_needs(key: str, known: Collection) -> set[str]:
    wanted, queue = set(), [key]
    while queue:
        current = queue.pop()
        if current not in wanted:
            wanted.add(current)
            queue += known.depends_on.get(current, ())
    return wanted

"""Which steps, in which order; values only."""

from __future__ import annotations

from collections.abc import Collection as AnyOf
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import takewhile

from framework_schema.errors import PlanRefused
from framework_schema.migration import NAME, Migration, Style, order_of
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


def plan_up(
    status: Status, known: Collection, to: str | None = None, database: str = "", *, refuse_late: bool = False
) -> Plan:
    """Return what is pending, up to and including ``to`` when that is given.

    Raises ``PlanRefused`` for an unknown ``to``, and with ``refuse_late`` for a
    step that is older than one applied. A target that is applied already
    leaves nothing to do.
    """
    plan = Plan(status.pending)
    if to is not None:
        wanted = _up_to(_known_key(to, known, database), known)
        plan = Plan(tuple(step for step in status.pending if step.key in wanted))
    late = [step.key for step in plan.steps if step in status.out_of_order]
    if late and refuse_late:
        raise PlanRefused(
            f"{database}: {', '.join(late)} came late: a newer one of the same source is applied. Nothing was run. "
            "Give it a higher number, or allow it (--out-of-order apply)."
        )
    return plan


def without_cursors(plan: Plan, database: str) -> Plan:
    """Return the plan of a server's database, in which no script wants SQLite's cursor.

    Raises ``PlanRefused`` for one that does: it would run past what makes a
    server's run safe, and its SQL is SQLite's.
    """
    old = ", ".join(step.key for step in plan.steps if step.style is Style.CURSOR)
    if old:
        raise PlanRefused(
            f"{database}: {old} is an old-style script, apply_migration(cursor), which runs on SQLite only. Nothing was"
            " run. Write it as migrate(migrator, database), or keep it out of this database's folders."
        )
    return plan


def plan_down(
    status: Status,
    known: Collection,
    steps: int = 1,
    to: str | None = None,
    source: str | None = None,
    *,
    kept: AnyOf[str] = (),
    force: bool = False,
    database: str = "",
) -> Plan:
    """Return what is to be undone, newest first, by the order in which migrations run.

    Either the last ``steps``, or all down to and including ``to``: those that
    need it, none of an independent source. ``source`` keeps to one source.
    ``kept`` are migrations that found a part of their effect there, so that
    to undo them would take what was there before us.

    Raises ``PlanRefused``, all at once and before anything is run, for a step
    without a rollback, one that something applied needs that is not undone
    too, and, unless ``force``, for one of ``kept`` or older than a recorded
    one whose script is gone.
    """
    if source is not None and source not in known.sources:
        names = ", ".join(known.sources)
        raise PlanRefused(f"{database}: there is no source {source}. Nothing was undone. There are: {names}.")
    newest = [m for m in reversed(status.applied) if source in (None, m.source)]
    if to is None:
        plan = Plan(tuple(newest[: max(steps, 0)]))
    else:
        to = _known_key(to, known, database)
        if to not in {m.key for m in newest}:
            raise PlanRefused(f"{database}: {to} is not applied{f' in {source}' * bool(source)}. Nothing was undone.")
        later = {key for key in known.by_key if to in _up_to(key, known)}
        plan = Plan(tuple(m for m in newest if later & _with_needs(m.key, known)))
    problems = list(_obstacles(plan, status, known, frozenset() if force else frozenset(kept), force))
    if problems:
        raise PlanRefused(f"{database}: {'; '.join(problems)}. Nothing was undone.")
    return plan


def _obstacles(plan: Plan, status: Status, known: Collection, kept: AnyOf[str], force: bool) -> Iterator[str]:
    undone = {step.key for step in plan.steps}
    gone = [] if force else [row for row in (*status.missing, *status.ahead) if row.success]
    for step in plan.steps:
        needed = [m.key for m in status.applied if m.key not in undone and step.key in _with_needs(m.key, known)]
        later = [r.key for r in gone if r.source == step.source and order_of(_name(r.key)) > order_of(step.name)]
        if not step.has_rollback:
            yield f"{step.key} has no rollback; restore a backup instead"
        if needed:
            yield f"{step.key} is needed by {', '.join(needed)}; undo that first"
        if step.key in kept:
            yield f"{step.key} found a part of its effect there, which was not its own; --force undoes it all the same"
        if later:
            yield f"{step.key} may be needed by {', '.join(later)}, whose script is gone; --force undoes it anyway"


def _name(key: str) -> str:
    return key.split("/", 1)[-1]


def meant(key: str, keys: Iterable[str]) -> str | None:
    """Return the one migration that a key, or the beginning of one or of its name, stands for."""
    found = list(keys)
    if key in found:
        return key
    starts = [other for other in found if other.startswith(key) or other.partition("/")[2].startswith(key)]
    return starts[0] if key and len(starts) == 1 else None


def _known_key(key: str, known: Collection, database: str) -> str:
    one = meant(key, known.by_key)
    if one is not None:
        return one
    if key not in known.by_key:
        alike = [other for other in known.by_key if key.lower() in other.lower()]
        alike = alike or get_close_matches(key, known.by_key, 3, 0.4) or list(known.by_key)[-1:]
        close = ", ".join(alike) or "nothing, for there is no script"
        raise PlanRefused(f"{database}: there is no migration {key}. Nothing was run. Did you mean: {close}?")
    return key


def duplicate_numbers(migrations: Iterable[Migration]) -> list[list[str]]:
    """Return the keys of scripts that share source and number; two branches often make such a pair."""
    found: dict[tuple[str, int], list[str]] = {}
    for migration in migrations:
        if NAME.fullmatch(migration.name):
            found.setdefault((migration.source, order_of(migration.name)[0]), []).append(migration.key)
    return [sorted(keys) for keys in found.values() if len(keys) > 1]


def is_blocked(step: Migration, known: Collection, failed: AnyOf[str]) -> bool:
    """Tell whether a step may not run since something it needs has failed.

    A script needs those it or its source names; where the scripts of a source
    name none of their own source, also the one before it. All others go on.
    """
    return bool(failed) and any(key in failed for key in _with_needs(step.key, known) - {step.key})


def _up_to(key: str, known: Collection) -> set[str]:
    """Return a migration, the earlier ones of its source, and all that these need."""
    source = known.by_key[key].source
    own = [migration.key for migration in known.migrations if migration.source == source]
    return {needed for earlier in own[: own.index(key) + 1] for needed in _with_needs(earlier, known)}


def _with_needs(key: str, known: Collection) -> set[str]:
    wanted, queue = set(), [key]
    while queue:
        current = queue.pop()
        if current not in wanted:
            wanted.add(current)
            queue += known.depends_on.get(current, ())
    return wanted

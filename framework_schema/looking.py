"""One database, looked at: its history, its schema, and what is expected of both. Writes nothing."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import peewee as pw

from framework_schema import marks, orphans
from framework_schema.config import Config
from framework_schema.contents import Contents
from framework_schema.databases import Target, hide_password, open_target
from framework_schema.dialects import Dialect, for_database
from framework_schema.drift import Drift, find_drift
from framework_schema.errors import Ahead, ForeignDatabase, SchemaError, Unreadable
from framework_schema.expected import expected_schema
from framework_schema.history import AppliedMigration, History
from framework_schema.left import Left
from framework_schema.migration import Migration
from framework_schema.order import Order
from framework_schema.orphans import Violation
from framework_schema.plan import Plan, duplicate_numbers, plan_up, without_cursors
from framework_schema.plan_cache import PlanCache, Recording
from framework_schema.report import Outcome, Report, State, StepResult
from framework_schema.retry import refuse_early_retry
from framework_schema.shipped import Shipped
from framework_schema.snapshot import Snapshot
from framework_schema.sources import (
    APP,
    FRAMEWORK,
    Collection,
    Folder,
    Source,
    chosen,
    collect,
    fingerprint,
    read_once,
    restrict,
)
from framework_schema.status import Status, compare


@dataclass(frozen=True)
class Found:
    """What one look at a database saw."""

    known: Collection
    rows: tuple[AppliedMigration, ...]
    status: Status
    live: Snapshot
    expected: Snapshot
    is_foreign: bool
    version: int | None = None
    """What ``Dialect.data_version`` said before."""

    @cached_property
    def drift(self) -> Drift:
        """How the live schema differs from the expected one; where scripts are pending, nobody asks."""
        return find_drift(self.expected, self.live)

    def leaves_nothing(self, order: Order) -> bool:
        """True when neither a script nor the schema needs anything."""
        if order.to is not None or not self.status.is_current or self.status.failed:
            return False
        return not (self.drift.additive or (order.strict and self.drift.structural))


class Looker:
    """Reads one database; see ``Runner``."""

    def __init__(
        self,
        database: str | os.PathLike[str] | pw.Database | pw.Proxy,
        sources: Sequence[Source] | None = None,
        *,
        config: Config | None = None,
        create: bool = True,
        adopt_foreign: bool = True,
        all_plugins: bool = True,
    ) -> None:
        self.config = config or Config()
        self.target: Target = open_target(database, create=create, timeout=self.config.timeout)
        self.dialect: Dialect = for_database(self.target.database)
        self.adopt_foreign, self.all_plugins = adopt_foreign, all_plugins
        self._sources = sources
        self._place = None if self.target.path is None else self.target.path.absolute()
        self.may_create, self.may_write = create, True
        """False for one that only looks: what needs writing is then refused before any script runs."""
        self.plans: PlanCache | None = None
        """What a fleet run has proven so far; given by the fleet."""
        self._recording: Recording | None = None
        self._repeated_steps: list[StepResult] = []
        """What stands of a plan that was repeated in part, where the scripts go on from there."""
        self._check_each = False
        self._untried: str | None = None
        """Which scripts' schema was not compared, and which right that takes."""
        self._examined = True
        """False while a large file was checked in part only; scripts that touch rows wait for the rest."""
        self.program: str | None = None
        """How commands begin that name no database, in an app; else they are ``framework-schema``'s."""
        self.announce: Callable[[str], None] | None = None
        """Told what is about to be done; given by a rehearsal."""
        self._backup: Path | None = None
        self._held: Contents | None = None
        """What was there before a run that may take something away."""

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Where the scripts come from."""
        return chosen(self._sources, self.config.sources)

    @cached_property
    def known(self) -> Collection:
        """All scripts of all sources; read and parsed once."""
        return collect(self._readings)

    @cached_property
    def fingerprint(self) -> str | None:
        """What all scripts hash to, byte for byte, as they were read for ``known``."""
        return fingerprint(self._readings)

    @cached_property
    def _readings(self) -> tuple[Source, ...]:
        return tuple(map(read_once, self.sources))

    def status(self) -> Report:
        """Return how the database stands, as a report in which nothing was done."""
        started = time.perf_counter()
        with self.looking() as database:
            found = self.read(database)
            report = self._current(found, database)
        return replace(report, duration_ms=since(started))

    def plan(self, to: str | None = None) -> Plan:
        """Return what ``migrate`` would run as things stand: a preview, since it plans again under the lock."""
        with self.looking() as database:
            found = self.read(database)
            return self._plan(found, to)

    def drift(self, *, strict: bool = False) -> Drift:
        """Return how the live schema differs from what its applied and pending scripts define."""
        with self.looking() as database:
            return self.read(database, structural=strict).drift

    def blocked(self, *, strict: bool = False) -> tuple[Left, ...]:
        """Return what of the drift cannot be mended as things stand, and what stands against it."""
        with self.looking() as database:
            found = self.read(database, structural=strict)
            return self.dialect.left(database, found.drift, found.expected, found.live, strict=strict)

    def history(self, limit: int | None = None, *, failed: bool = False, events: bool = False) -> list[dict[str, Any]]:
        """Return the rows of the history, or all events, newest first."""
        with self.looking() as database:
            history = self._history(database)
            if events:
                return history.events(limit)
            return history.rows(limit, failed=failed) if history.exists(self.target.name) else []

    # Looking

    @property
    def has_counted(self) -> bool:
        """Tell whether the last run counted what there was, since a script might take something away."""
        return self._held is not None

    @contextmanager
    def looking(self) -> Iterator[pw.Database]:
        """Open a database that is there for the body, and close it again."""
        if self.target.path is not None and not self.target.path.exists():
            raise Unreadable(self.target.name, "there is no such file", "Check the name; the first `migrate` makes it.")
        with self.target.connected() as database:
            yield database

    def _history(self, database: pw.Database, live: Snapshot | None = None) -> History:
        return History(database, self.config.table, live)

    def _seen(self, database: pw.Database) -> marks.Seen:
        """Read what a mark is compared with: see ``marks.see``.

        A server is asked for the rest only where the mark is of these scripts:
        its schema's version takes longer than all else.
        """
        if self.target.engine == "sqlite":
            return marks.see(database.connection().execute, self.config.table)
        history = self._history(database)
        mark, at = history.mark()
        if f":{self.fingerprint}:" not in (mark or ""):
            return None, None, ((), "")
        return mark, at, self._state(database)

    def _state(self, database: pw.Database) -> marks.State:
        """Read, in a transaction, what a mark ties the scripts to."""
        if self.target.engine == "sqlite":
            return marks.state(database.execute_sql, self.config.table)
        return self._history(database).outcomes(), self.dialect.schema_version(database)

    def _glanced(self, order: Order, started: float) -> Report | sqlite3.Connection | None:
        """Answer for a file from its mark alone; else return the connection, so that its schema is not parsed again."""
        if self.fingerprint is None:  # asked before anything is open: a source of an author's own kind may raise
            return None
        connection = self.target.opened_plainly()
        if connection is None:
            return None
        report = self._marked_current(lambda: marks.see(connection.execute, self.config.table), order, started)
        if report is None:
            return connection
        connection.close()
        return report

    def _marked_current(self, see: Callable[[], marks.Seen], order: Order, started: float) -> Report | None:
        """Answer from small reads that all is well, or return None and let ``read`` look closely."""
        if order.to is not None:
            return None
        try:
            seen = see()
        except Exception:  # whatever the driver calls it: most often that there is no table yet
            return None
        if not marks.holds(order.level, self._plugins, self.fingerprint, seen):
            return None
        return self._report(State.CURRENT, at=seen[1], duration_ms=since(started))

    @property
    def _plugins(self) -> str:
        return "all" if self.all_plugins else "carried"

    def read(self, database: pw.Database, *, structural: bool = False) -> Found:
        """Look at history and schema; with ``structural`` at every rule of a table. Writes nothing."""
        version = self.dialect.data_version(database)
        live = self.dialect.snapshot(database, structural=structural)
        history = self._history(database, live)
        rows = history.applied() if history.exists(self.target.name) else ()
        known = self._known_here(rows, is_new=not live.tables)
        status = compare(known.migrations, rows, known.sources)
        expected = self.expected(known.migrations, structural)
        ours = expected.tables.keys()
        is_foreign = bool(live.tables) and not rows and not (live.tables.keys() & ours) and FRAMEWORK in known.sources
        return Found(known, rows, status, live, expected, is_foreign, version)

    def _known_here(self, rows: Iterable[AppliedMigration], *, is_new: bool) -> Collection:
        """Leave out plugins whose rows the database does not carry, unless it is new, or all were asked for."""
        if self.all_plugins or is_new:
            return self.known
        carried = {row.source for row in rows if row.source is not None}
        return restrict(self.known, carried | {FRAMEWORK, APP})

    def expected(self, migrations: Sequence[Migration], structural: bool = False) -> Snapshot:
        """Return the schema that these migrations make where there is nothing."""
        ready = self.dialect.shipped(self.target.database)
        ours = None if ready is None else ready.snapshot(migrations, self.config.table)
        if ready is not None and ours is not None and ready.version == self.dialect.major(self.target.database):
            return ours if structural else ours.loose()
        scratch = self.dialect.scratch(self.target.database)
        try:
            return expected_schema(tuple(migrations), self.config.table, structural, scratch)
        except pw.DatabaseError as error:
            if ready is None or not self.dialect.is_forbidden(error):
                raise
        return self._expected_of_ours(ready, migrations, ours, structural)

    def _expected_of_ours(
        self, ready: Shipped, migrations: Sequence[Migration], ours: Snapshot | None, structural: bool
    ) -> Snapshot:
        """Make do with what ships, where this user may make no scratch place; scripts of others are not compared."""
        if ours is None:
            framework = [migration for migration in migrations if migration.source == FRAMEWORK]
            ours = ready.snapshot(framework, self.config.table) or Snapshot({})
            others = sorted({migration.source for migration in migrations if migration.source != FRAMEWORK})
            untried = f"the scripts of {', '.join(others)}" if others else "edited scripts"
            self._untried = self.dialect.scratch_right(self.target.database, untried)
        return ours if structural else ours.loose()

    def unseen(self, rows: Sequence[AppliedMigration], known: Collection) -> str | None:
        """Return the newest migration on record when its source is not at hand: what else is pending cannot be told.

        Where sources were chosen, by name or as values, the others are not asked for.
        """
        done = [row for row in rows if row.success and row.source is not None]
        here = {*known.sources, *(problem.source for problem in known.problems)}
        return done[-1].key if done and done[-1].source not in here and not self.has_chosen else None

    @property
    def has_chosen(self) -> bool:
        """Tell whether sources were chosen, by name or as values: then nobody asks for the others."""
        return self.all_plugins and self._sources is not None

    def _refuse(self, found: Found, *, allow_ahead: bool = False) -> None:
        if found.is_foreign and not self.adopt_foreign:
            raise ForeignDatabase(
                self.target.name,
                f"none of its {len(found.live.tables)} tables is the framework's",
                "If it is one of yours, name the file itself or give --adopt-foreign.",
            )
        if found.status.ahead and not allow_ahead:
            newer = ", ".join(row.key for row in found.status.ahead)
            raise Ahead(
                self.target.name,
                f"it has migrations newer than this release knows ({newer})",
                "Install the newer release of the package they come from, or give --allow-ahead.",
            )

    def _refuse_early(self, found: Found, order: Order, only: Container[str] | None = None) -> None:
        failed = [row for row in found.status.failed if only is None or row.key in only]
        known = found.known.by_key
        refuse_early_retry(self.target.name, failed, known, order.retry_after, datetime.now(UTC))

    def _refuse_orphans(self, database: pw.Database, what: str, before: Counter[Violation]) -> None:
        """Compare with the violations there were."""
        found = orphans.new(before, self.dialect.violations(database))
        if found:
            each = (f"{rows} in {v.table} ({', '.join(v.columns)}) of {v.parent}" for v, rows in found.items())
            raise Orphaned(f"{what} would leave rows without the row they refer to: {', '.join(each)}")

    def _plan(self, found: Found, to: str | None) -> Plan:
        refuse_late = self.config.out_of_order == "refuse"
        plan = plan_up(found.status, found.known, to, self.target.name, refuse_late=refuse_late)
        return plan if self.target.engine == "sqlite" else without_cursors(plan, self.target.name)

    # Telling

    def _current(self, found: Found, database: pw.Database) -> Report:
        """Return how a database stands that nothing was done to."""
        status, drift = found.status, found.drift
        left = self.dialect.left(database, drift, found.expected, found.live) if drift.additive else ()
        can_be_made = len(drift.additive) > len(left)
        failed = tuple(StepResult(row.key, Outcome.FAILED, 0, row.error) for row in status.failed)
        failed += unreadable(found.known)
        if found.is_foreign and not self.adopt_foreign:
            state = State.FOREIGN
        elif status.ahead:
            state = State.AHEAD
        elif failed:
            state = State.FAILED
        else:
            is_pending = status.pending or can_be_made or self.unseen(found.rows, found.known)
            state = State.PENDING if is_pending else State.CURRENT
        why = " ".join(problem.error for problem in found.known.problems)
        return self._report(
            state,
            status,
            steps=failed,
            drift=tuple(d.as_dict() for d in drift.additive),
            left=tuple(item.as_dict() for item in left),
            sources=tuple(sources_told(self.sources, found.known)),
            remarks=self._unseen_told(database, found.rows, found.known),
            error=f"{self.target.name}: {why}" if why and state is State.FAILED else None,
        )

    def _unseen_told(
        self, database: pw.Database, rows: Sequence[AppliedMigration], known: Collection
    ) -> tuple[str, ...]:
        key = self.unseen(rows, known)
        if key is None:
            return ()
        recorded = self._history(database).recorded_sources()
        place = f" (on record: {recorded})" if recorded else ""
        return (
            f"{key} is on record, and the scripts of its source are not at hand{place}: what else is pending cannot"
            " be told. Name their folder (--folder DIR) or install their package.",
        )

    def _report(
        self, state: State, status: Status | None = None, remarks: tuple[str, ...] = (), **parts: Any
    ) -> Report:
        """Fill in what every report says; with a status, also what the history and the sources leave to say."""
        if status is not None:
            notes = [problem.error for problem in self.known.problems] + [
                *self.known.notes,
                *_remarks(status, self.known),
                *remarks,
            ]
            pending = tuple(migration.key for migration in status.pending)
            notes += [self._untried] if self._untried else []
            parts |= {"at": status.at, "pending": pending, "notes": tuple(notes)}
        return Report(self.target.name, hide_password(self.target.url), self.target.engine, state, **parts)


def sources_told(sources: Iterable[Source], known: Collection) -> Iterator[str]:
    """Say where the scripts of a database come from, and which are at hand and not applied to it."""
    for source in sources:
        if source.name in known.sources:
            place = ", ".join(map(str, source.paths)) if isinstance(source, Folder) else ""
            yield f"{source.name} from {place}" if place else source.name
        elif source.name not in {problem.source for problem in known.problems}:
            yield f"not applied here: {source.name} (to apply it: --source {source.name})"


class Orphaned(SchemaError):
    """Rows lost the row they refer to; the run is undone."""


def unreadable(known: Collection) -> tuple[StepResult, ...]:
    """Return what was not run since it, or its whole source, cannot be read: failures like any other."""
    return tuple(StepResult(problem.key, Outcome.FAILED, 0, problem.error) for problem in known.problems)


def _remarks(status: Status, known: Collection) -> list[str]:
    unread = {problem.source for problem in known.problems}
    remarks = [f"{m.key} was edited after it was applied; put the change in a new migration" for m in status.changed]
    remarks += [f"{row.key} is recorded and its script is gone" for row in status.missing]
    remarks += [
        f"{row.key} belongs to a source that is not installed" for row in status.orphaned if row.source not in unread
    ]
    remarks += [f"{m.key} is older than one already applied" for m in status.out_of_order]
    doubles = duplicate_numbers((*status.applied, *status.pending))
    remarks += [f"{', '.join(keys)} have the same number and run in the order of their names" for keys in doubles]
    return remarks


def since(started: float) -> int:
    """Return the milliseconds since a reading of ``perf_counter``."""
    return round((time.perf_counter() - started) * 1000)

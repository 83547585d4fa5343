"""One database: look, lock, read, plan, run, align, verify, record."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import peewee as pw

from framework_schema.alignment import Alignment
from framework_schema.backup import is_due, make, restore, would_rebuild
from framework_schema.config import Config
from framework_schema.databases import Target, hide_password, open_target
from framework_schema.dialects import Dialect, for_database
from framework_schema.drift import Drift, find_drift
from framework_schema.errors import (
    Ahead,
    BackupFailed,
    ForeignDatabase,
    MigrationFailed,
    SchemaError,
    TransactionLost,
    Unreadable,
)
from framework_schema.expected import call, describe, expected_schema, orm_of
from framework_schema.history import AppliedMigration, Event, History
from framework_schema.migration import Migration
from framework_schema.migrator import LazyOrm
from framework_schema.plan import Plan, duplicate_numbers, is_blocked, plan_down, plan_up
from framework_schema.rebuild import Violation
from framework_schema.report import Outcome, Report, State, StepResult
from framework_schema.rollback import contents, found_there, partly, undo
from framework_schema.snapshot import Snapshot
from framework_schema.sources import APP, FRAMEWORK, Collection, Source, collect, fingerprint, installed, restrict
from framework_schema.status import Status, compare

logger = logging.getLogger(__name__)

PEEWEE_MIGRATE_TABLE = "migratehistory"


@dataclass(frozen=True, slots=True)
class Order:
    """What ``migrate`` was asked for."""

    to: str | None = None
    strict: bool = False
    repair: bool = False
    backup: str = "auto"
    allow_ahead: bool = False

    @property
    def level(self) -> str:
        """Name how far the schema is aligned; a mark holds for its level only."""
        return "strict" if self.strict else "additive"


@dataclass(frozen=True)
class Found:
    """What one look at a database saw."""

    known: Collection
    rows: tuple[AppliedMigration, ...]
    status: Status
    live: Snapshot
    drift: Drift
    is_foreign: bool

    def leaves_nothing(self, order: Order) -> bool:
        """True when neither a script nor the schema needs anything."""
        drift = self.drift.additive or (order.strict and self.drift.structural)
        return order.to is None and self.status.is_current and not self.status.failed and not drift


class Runner:
    """Migrates one database, and tells about it.

    ``database`` is a path, a URL or a Peewee database; ``sources`` are by
    default all installed ones. Nothing is opened here, and each method opens a
    connection of its own and closes it. ``status``, ``plan``, ``drift`` and
    ``history`` write nothing.
    """

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
        self._check_each = False
        self._backup: Path | None = None

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Where the scripts come from."""
        sources = installed() if self._sources is None else tuple(self._sources)
        wanted = self.config.sources
        return sources if wanted is None else tuple(s for s in sources if s.name in (*wanted, APP))

    @cached_property
    def known(self) -> Collection:
        """All scripts of all sources; read and parsed once."""
        return collect(self.sources)

    def migrate(
        self,
        to: str | None = None,
        *,
        strict: bool | None = None,
        repair: bool = False,
        backup: bool | None = None,
        allow_ahead: bool = False,
    ) -> Report:
        """Apply what is pending, make what is missing, and record both.

        ``to`` is the last migration to apply, by its key. ``strict`` also
        brings what is there to the expected definition, by default as the
        config says; ``repair`` mends rows that stand in its way (see
        ``repair``). A database that is as it should be is not written to.
        ``backup`` asks for a copy first, or forbids it, by default as the
        config says. ``allow_ahead`` goes on where the history names newer
        scripts than we know.

        Raises ``DatabaseError`` for a database that cannot be worked on, then
        nothing was changed, and ``MigrationFailed`` when a script or the
        alignment failed: its report tells what stands.
        """
        started = time.perf_counter()
        is_strict = self.config.align == "strict" if strict is None else strict
        order = Order(to, is_strict, repair, self._backup_policy(backup), allow_ahead)
        self._backup = None
        with self.target.connected() as database:
            marked = self._marked_current(database, order)
            if marked is not None:
                report = marked
            else:
                found = self.read(database, structural=order.strict)
                self._refuse(found, allow_ahead=allow_ahead)
                report = self._current(found) if found.leaves_nothing(order) else self._attempt(database, order)
        return self._ended(report, started)

    def rollback(
        self,
        steps: int = 1,
        to: str | None = None,
        source: str | None = None,
        *,
        force: bool = False,
        backup: bool | None = None,
    ) -> Report:
        """Undo migrations, newest first: the last ``steps``, or all down to and including ``to``.

        See ``plan_down`` for what is refused. A copy is made first, unless
        ``backup`` or the config forbids it. The report's ``lost`` tells what
        went; ``rehearsal.rehearse_rollback`` tells it beforehand. The next
        ``migrate`` applies again what was undone.

        Raises ``PlanRefused`` and ``DatabaseError``, then nothing was changed,
        and ``MigrationFailed`` when a script's rollback failed: it is undone,
        those before it stand.
        """
        started = time.perf_counter()
        self._backup = None
        with self.looking() as database:
            report = self._take_back(database, steps, to, source, force, self._backup_policy(backup))
        return self._ended(report, started)

    def backup(self, into: str | os.PathLike[str] | None = None) -> Path:
        """Copy the database, verify the copy and return its path; see ``backup.make``."""
        with self.looking():
            pass
        return make(self.target, self.config, into)

    def restore(self, file: str | os.PathLike[str]) -> Report:
        """Put a backup in the place of the database and tell how it stands; see ``backup.restore``.

        The report's ``backup`` is the copy of what was replaced.
        """

        def record(database: pw.Database, kept: Path | None) -> None:
            history = self._history(database)
            with database.atomic("IMMEDIATE"):
                history.exists(self.target.name)
                history.ensure_tables()
                history.log(Event("restored", detail=f"from {file}" + (f"; it replaced {kept}" if kept else "")))

        kept = restore(self.target, file, self.config, record)
        return replace(self.status(), backup=None if kept is None else str(kept))

    def status(self) -> Report:
        """Return how the database stands, as a report in which nothing was done."""
        started = time.perf_counter()
        with self.looking() as database:
            found = self.read(database)
            report = self._current(found)
        return replace(report, duration_ms=_since(started))

    def plan(self, to: str | None = None) -> Plan:
        """Return what ``migrate`` would run as things stand: a preview, since it plans again under the lock."""
        with self.looking() as database:
            found = self.read(database)
            return self._plan(found, to)

    def drift(self, *, strict: bool = False) -> Drift:
        """Return how the live schema differs from what its applied and pending scripts define."""
        with self.looking() as database:
            return self.read(database, structural=strict).drift

    def history(self, limit: int | None = None, *, failed: bool = False, events: bool = False) -> list[dict[str, Any]]:
        """Return the rows of the history, or all events, newest first."""
        with self.looking() as database:
            history = self._history(database)
            if events:
                return history.events(limit)
            return history.rows(limit, failed=failed) if history.exists(self.target.name) else []

    # Looking

    @contextmanager
    def looking(self) -> Iterator[pw.Database]:
        """Open a database that is there for the body, and close it again."""
        if self.target.path is not None and not self.target.path.exists():
            raise Unreadable(self.target.name, "there is no such file", "Check the name; the first `migrate` makes it.")
        with self.target.connected() as database:
            yield database

    def _history(self, database: pw.Database) -> History:
        return History(database, self.config.table)

    def _proof(self, database: pw.Database) -> str:
        """Tie what was proven to the scripts, byte for byte, the history's rows and the schema's version."""
        version = self.dialect.schema_version(database)
        return f"{fingerprint(self.sources)}:{self._history(database).digest()}:{version}"

    def _marked_current(self, database: pw.Database, order: Order) -> Report | None:
        """Answer from small reads that all is well, or return None and let ``_read`` look closely.

        What was proven strictly, or for all plugins, is proven for less too.
        """
        if order.to is not None:
            return None
        try:
            mark, at = self._history(database).mark()
        except (pw.OperationalError, pw.ProgrammingError):
            # No table yet; another process may make it this very moment. What else is wrong, the closer look finds.
            return None
        level, plugins, proof = (mark or "::").split(":", 2)
        fits = level in (order.level, "strict") and plugins in (self._plugins, "all")
        return self._report(State.CURRENT, at=at) if fits and proof == self._proof(database) else None

    @property
    def _plugins(self) -> str:
        return "all" if self.all_plugins else "carried"

    def read(self, database: pw.Database, *, structural: bool = False) -> Found:
        """Look at history and schema; with ``structural`` at every rule of a table. Writes nothing."""
        history = self._history(database)
        rows = history.applied() if history.exists(self.target.name) else ()
        known = self._known_here(rows)
        status = compare(known.migrations, rows, known.sources)
        live = self.dialect.snapshot(database, structural=structural)
        expected = self.expected(known.migrations, structural)
        drift = find_drift(expected, live)
        ours = expected.tables.keys()
        is_foreign = bool(live.tables) and not rows and not (live.tables.keys() & ours) and FRAMEWORK in known.sources
        return Found(known, rows, status, live, drift, is_foreign)

    def _known_here(self, rows: Iterable[AppliedMigration]) -> Collection:
        """Leave out plugins whose rows the database does not carry, when it is one of a fleet."""
        if self.all_plugins:
            return self.known
        carried = {row.source for row in rows if row.source is not None}
        return restrict(self.known, carried | {FRAMEWORK, APP})

    def expected(self, migrations: Sequence[Migration], structural: bool = False) -> Snapshot:
        """Return the schema that these migrations make where there is nothing."""
        scratch = self.dialect.scratch(self.target.database)
        return expected_schema(tuple(migrations), self.config.table, structural, scratch)

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

    # Applying

    def _attempt(self, database: pw.Database, order: Order) -> Report:
        """Check foreign keys once for the whole run; only when it fails, find the script that is to blame."""
        try:
            return self._apply(database, order)
        except Orphaned:
            self._check_each = True
            return self._apply(database, order)

    def _apply(self, database: pw.Database, order: Order, done: tuple[StepResult, ...] = ()) -> Report:
        """Under the lock: read again, run what is pending, align, verify, record; one transaction.

        A script that refuses a transaction cuts it in two: what ran before is
        committed, the script runs alone, and the rest begins anew.
        """
        with self.dialect.exclusive(database, self.target.name):
            found = self.read(database, structural=order.strict)
            self._refuse(found, allow_ahead=order.allow_ahead)
            if not done and found.leaves_nothing(order):
                return self._current(found)
            self.dialect.check_health(database, self.target.name)
            self._back_up(database, found, order)
            found = self._prepare(database, found)
            steps = self._plan(found, order.to).without(step.key for step in done)
            before = self.dialect.violations(database)
            done += self._run_all(database, found, steps.together, done, before)
            if steps.alone is None:
                return self._finish(database, found, order, done, before)
        done += self._run_all(database, found, (steps.alone,), done)
        return self._apply(database, order, done)

    def _prepare(self, database: pw.Database, found: Found) -> Found:
        """Make the history's tables, take over peewee_migrate's record."""
        history = self._history(database)
        history.ensure_tables()
        names = history.names_in(PEEWEE_MIGRATE_TABLE)
        taken = [m for m in found.status.pending if m.source == APP and m.name in names]
        for migration in taken:
            history.record(migration.key)
            history.log(Event("imported", key=migration.key, detail=f"from {PEEWEE_MIGRATE_TABLE}"))
        return self.read(database)

    def _run_all(
        self,
        database: pw.Database,
        found: Found,
        steps: Iterable[Migration],
        done: Iterable[StepResult],
        before: Counter[Violation] | None = None,
    ) -> tuple[StepResult, ...]:
        """Run steps in order; what needs a failed one is blocked, independent sources go on."""
        applied = list(found.status.applied)
        failed = {step.key for step in done if step.outcome in (Outcome.FAILED, Outcome.BLOCKED)}
        orm = orm_of(tuple(applied), database)
        results = []
        for step in steps:
            if is_blocked(step, found.known, failed):
                result = StepResult(step.key, Outcome.BLOCKED)
            else:
                result = self._run(database, step, orm, before)
            results.append(result)
            if result.outcome in (Outcome.APPLIED, Outcome.ADOPTED):
                applied.append(step)
            else:
                failed.add(step.key)
                orm = orm_of(tuple(applied), database)
        return tuple(results)

    def _run(
        self, database: pw.Database, step: Migration, orm: LazyOrm, before: Counter[Violation] | None
    ) -> StepResult:
        """Run one script and record it, both or neither; a failure is recorded after its effects are undone.

        ``before`` holds the foreign key violations there were, when each script
        is to be checked for new ones.
        """
        started = time.perf_counter()
        history = self._history(database)
        doing = self.dialect.operations(database)
        try:
            with self.dialect.step(database, step.key) if step.atomic else nullcontext():
                call(step, database, doing, orm)
                if before is not None and self._check_each:
                    self._refuse_orphans(database, step.key, before)
        except TransactionLost:
            raise
        except (Exception, SystemExit) as error:
            reason = describe(error, step)
            logger.debug("%s: %s failed", self.target.name, step.key, exc_info=True)
            history.record(step.key, error=reason, duration_ms=_since(started))
            history.log(
                Event(
                    "failed",
                    "failed",
                    step.key,
                    error=reason,
                    duration_ms=_since(started),
                    checksum=step.checksum,
                )
            )
            return StepResult(step.key, Outcome.FAILED, _since(started), reason)
        outcome = Outcome.ADOPTED if doing.is_adoption else Outcome.APPLIED
        detail = "its whole effect was there already" if doing.is_adoption else partly(doing.already_there)
        history.record(step.key, duration_ms=_since(started))
        history.log(Event(str(outcome), "ok", step.key, detail, duration_ms=_since(started), checksum=step.checksum))
        made = tuple(what for what in doing.done if what.startswith(("table ", "column ")))
        return StepResult(step.key, outcome, _since(started), made=made)

    def _finish(
        self,
        database: pw.Database,
        found: Found,
        order: Order,
        steps: tuple[StepResult, ...],
        before: Counter[Violation],
    ) -> Report:
        """Make what is missing all the same, prove that nothing was orphaned, and leave the mark."""
        history = self._history(database)
        status = compare(found.known.migrations, history.applied(), found.known.sources)
        expected = self.expected(status.applied, order.strict)
        alignment = Alignment()
        if self.config.align != "off":
            alignment = self.dialect.aligned(database, expected, strict=order.strict, repair=order.repair)
        self._refuse_orphans(database, "the run", before)
        for event in alignment.events:
            history.log(event)
        error = _why(steps, undone=self.dialect.ddl_rolls_back)
        did = bool(steps or alignment.events)
        if did and status.is_current and not error and not alignment.left and not found.known.problems:
            proof = self._proof(database)
            history.log(Event("verified", key=status.at, mark=f"{order.level}:{self._plugins}:{proof}"))
        at_rest = State.AHEAD if status.ahead else State.CURRENT
        return self._report(
            State.FAILED if error else State.MIGRATED if did else at_rest,
            status,
            steps=steps,
            aligned=tuple(alignment.done),
            left=tuple(item.as_dict() for item in alignment.left),
            error=error and f"{self.target.name}: {error}",
        )

    def _refuse_orphans(self, database: pw.Database, what: str, before: Counter[Violation]) -> None:
        """Compare with the violations there were; a key that cannot be checked at all names no row."""
        new = [(found, rows) for found, rows in (self.dialect.violations(database) - before).items() if found.columns]
        if new:
            orphans = ", ".join(f"{rows} in {v.table} ({', '.join(v.columns)}) of {v.parent}" for v, rows in new)
            raise Orphaned(f"{what} would leave rows without the row they refer to: {orphans}")

    def _plan(self, found: Found, to: str | None) -> Plan:
        refuse_late = self.config.out_of_order == "refuse"
        return plan_up(found.status, found.known, to, self.target.name, refuse_late=refuse_late)

    # Undoing

    def _take_back(
        self, database: pw.Database, steps: int, to: str | None, source: str | None, force: bool, policy: str
    ) -> Report:
        """Under the lock: read, plan, copy, undo, count, record; scripts that refuse a transaction follow singly."""
        with self.dialect.exclusive(database, self.target.name):
            found = self.read(database)
            self._refuse(found)
            kept = found_there(self._history(database))
            plan = plan_down(
                found.status, found.known, steps, to, source, kept=kept, force=force, database=self.target.name
            )
            if not plan:
                return self._current(found)
            self.dialect.check_health(database, self.target.name)
            self._make_backup(policy)
            done, lost = self._undo_all(database, found, plan.together)
        for step in plan.steps[len(plan.together) :]:
            if any(result.outcome is Outcome.FAILED for result in done):
                break
            with self.dialect.exclusive(database, self.target.name) if step.atomic else nullcontext():
                more, went = self._undo_all(database, self.read(database), (step,))
            done, lost = done + more, lost + went
        error = "; ".join(f"{step.key} was not rolled back: {step.error}" for step in done if step.error)
        state = State.FAILED if error else State.MIGRATED
        why = f"{self.target.name}: {error}. All other changes stand." if error else None
        status = self.read(database).status
        return self._report(state, status, steps=done, lost=lost, error=why)

    def _undo_all(
        self, database: pw.Database, found: Found, steps: Iterable[Migration]
    ) -> tuple[tuple[StepResult, ...], tuple[dict[str, Any], ...]]:
        """Undo in order until one fails; one that somebody else has undone meanwhile is passed over."""
        history, applied = self._history(database), found.status.applied
        tables = (history.table, history.events_table)
        violated, held = self.dialect.violations(database), contents(database, self.dialect, without=tables)
        done: list[StepResult] = []
        for step in steps:
            if step in applied:
                done.append(undo(database, self.dialect, history, step, applied))
                if done[-1].outcome is Outcome.FAILED:
                    break
                applied = tuple(migration for migration in applied if migration != step)
        self._refuse_orphans(database, "the rollback", violated)
        return tuple(done), held.lost(contents(database, self.dialect, without=tables))

    # Copying first

    def _backup_policy(self, wanted: bool | None) -> str:
        return self.config.backup if wanted is None else ("always" if wanted else "never")

    def _back_up(self, database: pw.Database, found: Found, order: Order) -> None:
        """Copy the database where the config or what is about to happen asks for it; once a run."""
        steps = self._plan(found, order.to).steps

        def rebuilds() -> bool:
            expected = self.expected(found.known.migrations, True)
            return order.strict and would_rebuild(database, found.drift, expected, found.live, repair=order.repair)

        if found.live.tables and is_due(order.backup, self.target.engine, steps, rebuilds):
            self._make_backup(order.backup)

    def _make_backup(self, policy: str) -> None:
        """Make the copy; on a server, whose operator has dumps, it is not a must unless it was asked for."""
        if policy == "never" or self.target.borrowed or self._backup is not None:
            return
        try:
            self._backup = make(self.target, self.config)
        except BackupFailed as error:
            if self.target.engine == "sqlite" or policy == "always":
                raise
            logger.warning("%s; going on without", error)

    # Telling

    def _ended(self, report: Report, started: float) -> Report:
        made = None if self._backup is None else str(self._backup)
        report = replace(report, duration_ms=_since(started), backup=made)
        if report.state is State.FAILED:
            raise MigrationFailed(report)
        return report

    def _current(self, found: Found) -> Report:
        """Return how a database stands that nothing was done to."""
        status, drift = found.status, found.drift
        failed = tuple(StepResult(row.key, Outcome.FAILED, 0, row.error) for row in status.failed)
        if found.is_foreign:
            state = State.FOREIGN
        elif status.ahead:
            state = State.AHEAD
        elif status.failed:
            state = State.FAILED
        else:
            state = State.PENDING if status.pending or drift.additive else State.CURRENT
        return self._report(
            state, status, steps=failed, drift=tuple(d.as_dict() for d in drift.differences if not d.extra)
        )

    def _report(self, state: State, status: Status | None = None, **parts: Any) -> Report:
        """Fill in what every report says; with a status, also what the history and the sources leave to say."""
        if status is not None:
            notes = [problem.error for problem in self.known.problems] + [*self.known.notes, *_remarks(status)]
            pending = tuple(migration.key for migration in status.pending)
            parts |= {"at": status.at, "pending": pending, "notes": tuple(notes)}
        return Report(self.target.name, hide_password(self.target.url), self.target.engine, state, **parts)


class Orphaned(SchemaError):
    """Rows lost the row they refer to; the run is undone."""


def _why(steps: Iterable[StepResult], *, undone: bool) -> str | None:
    fate = "failed and was undone" if undone else "failed"
    failed = [f"{step.key} {fate}: {step.error}" for step in steps if step.outcome is Outcome.FAILED]
    blocked = [step.key for step in steps if step.outcome is Outcome.BLOCKED]
    if not failed:
        return None
    waiting = f" Not run, since they need it: {', '.join(blocked)}." if blocked else ""
    return f"{'; '.join(failed)}. All other changes stand.{waiting} Mend the script and run migrate again."


def _remarks(status: Status) -> list[str]:
    remarks = [f"{m.key} was edited after it was applied; put the change in a new migration" for m in status.changed]
    remarks += [f"{row.key} is recorded and its script is gone" for row in status.missing]
    remarks += [f"{row.key} belongs to a source that is not installed" for row in status.orphaned]
    remarks += [f"{m.key} is older than one already applied" for m in status.out_of_order]
    doubles = duplicate_numbers((*status.applied, *status.pending))
    remarks += [f"{', '.join(keys)} have the same number and run in the order of their names" for keys in doubles]
    return remarks


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)

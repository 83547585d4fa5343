"""One database: look, lock, read, plan, run, align, verify, record."""

from __future__ import annotations

import itertools
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema import template
from framework_schema.alignment import Alignment
from framework_schema.backup import is_due, make, restore, would_rebuild
from framework_schema.config import Config
from framework_schema.databases import Target, hide_password, open_target
from framework_schema.dialects import Dialect, Hindrance, for_database, unbound
from framework_schema.drift import Drift, find_drift
from framework_schema.errors import (
    Ahead,
    BackupFailed,
    ForeignDatabase,
    Hindered,
    Locked,
    MigrationFailed,
    NeedsWriting,
    SchemaError,
    TransactionLost,
    Unreadable,
)
from framework_schema.expected import call, describe, expected_schema, orm_of
from framework_schema.history import AppliedMigration, Event, History
from framework_schema.migration import Migration
from framework_schema.plan import Plan, duplicate_numbers, is_blocked, plan_down, plan_up, without_cursors
from framework_schema.plan_cache import (
    ALIGN,
    PREPARE,
    Doubt,
    PlanCache,
    Proven,
    Recording,
    key_of,
    run_again,
    version_of,
)
from framework_schema.rebuild import Violation
from framework_schema.report import Outcome, Report, State, StepResult
from framework_schema.retry import refuse_early_retry
from framework_schema.rollback import contents, found_there, partly, undo
from framework_schema.snapshot import Snapshot
from framework_schema.sources import APP, FRAMEWORK, Collection, Source, collect, fingerprint, installed, restrict
from framework_schema.status import Status, compare
from framework_schema.template import Template
from framework_schema.watched import Tape
from framework_schema.wording import trace

if TYPE_CHECKING:
    from framework_schema.migrator import LazyOrm

logger = logging.getLogger(__name__)

TRIES = 6
"""How often a run is begun that has to give way to other transactions."""
PAUSE = 0.05
"""Seconds before the second try, on average a tenth; they double with each."""
PEEWEE_MIGRATE_TABLE = "migratehistory"


@dataclass(frozen=True, slots=True)
class Order:
    """What ``migrate`` was asked for."""

    to: str | None = None
    strict: bool = False
    repair: bool = False
    backup: str = "auto"
    allow_ahead: bool = False
    retry_after: float = 0

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
        self._place = None if self.target.path is None else self.target.path.absolute()
        self.may_create, self.may_write = create, True
        """False for one that only looks: what needs writing is then refused before any script runs."""
        self.plans: PlanCache | None = None
        """What a fleet run has proven so far; given by the fleet."""
        self._recording: Recording | None = None
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

    @cached_property
    def fingerprint(self) -> str | None:
        """What all scripts hash to, byte for byte; read once, as they are."""
        return fingerprint(self.sources)

    def migrate(
        self,
        to: str | None = None,
        *,
        strict: bool | None = None,
        repair: bool = False,
        backup: bool | None = None,
        allow_ahead: bool = False,
        retry_after: float = 0,
    ) -> Report:
        """Apply what is pending, make what is missing, and record both.

        ``to`` is the last migration to apply, by its key. ``strict`` also
        brings what is there to the expected definition, by default as the
        config says; ``repair`` mends rows that stand in its way (see
        ``repair``). A database that is as it should be is not written to.
        ``backup`` asks for a copy first, or forbids it, by default as the
        config says. ``allow_ahead`` goes on where the history names newer
        scripts than we know. A script that failed less than ``retry_after``
        seconds ago, here or in another process, is not run again yet.

        Raises ``DatabaseError`` for a database that cannot be worked on, then
        nothing was changed, ``FailedBefore`` when it is too early to try again,
        and ``MigrationFailed`` when a script or the alignment failed: its report
        tells what stands.
        """
        started = time.perf_counter()
        is_strict = self.config.align == "strict" if strict is None else strict
        order = Order(to, is_strict, repair, self._backup_policy(backup), allow_ahead, retry_after)
        self._backup = self._recording = None
        copied = self._copied(order)
        if copied is not None:
            return replace(copied, duration_ms=_since(started))
        with self.target.connected() as database:
            marked = self._marked_current(database, order)
            report = marked or self._repeated(database, order) or self._migrated(database, order)
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
            with database.atomic(*(("IMMEDIATE",) if self.target.engine == "sqlite" else ())):
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
        return f"{self.fingerprint}:{self._history(database).digest()}:{version}"

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

    def _refuse_early(self, found: Found, order: Order, only: Container[str] | None = None) -> None:
        failed = [row for row in found.status.failed if only is None or row.key in only]
        known = found.known.by_key
        refuse_early_retry(self.target.name, failed, known, order.retry_after, datetime.now(UTC))

    # Applying

    def _migrated(self, database: pw.Database, order: Order) -> Report:
        """Look closely without a lock, and do only what there is to do."""
        found = self.read(database, structural=order.strict)
        self._refuse(found, allow_ahead=order.allow_ahead)
        self._refuse_early(found, order)
        return self._current(found) if found.leaves_nothing(order) else self._attempt(database, order)

    def _attempt(self, database: pw.Database, order: Order) -> Report:
        """Apply; again, a few times, when other transactions got in the way.

        Foreign keys are checked once for the whole run; only when that fails it
        is done again to find the script that is to blame.
        """
        self._require_writing()
        done: list[StepResult] = []
        for number in itertools.count(1):
            try:
                return self._apply(database, order, done)
            except Orphaned:
                if self._check_each:
                    raise
                self._check_each = True
            except (Hindered, Locked, pw.DatabaseError) as error:
                cause = error.__cause__ if isinstance(error, Hindered) else error
                kind = Hindrance.LOCK if isinstance(error, Locked) and done else self.dialect.hindrance(cause)
                if kind is None:
                    raise
                if kind is Hindrance.LOCK or number == TRIES:
                    return self._hindered(database, error, self._standing(database, done))
                logger.info("%s: gave way to another transaction, trying again", self.target.name)
                time.sleep(PAUSE * 2**number * (0.5 + random.random()))
            done = self._standing(database, done)
        raise AssertionError("unreachable")

    def _standing(self, database: pw.Database, done: Iterable[StepResult]) -> list[StepResult]:
        """Leave out what was undone since: results that the history does not know."""
        history = self._history(database)
        rows = {row.key: row.success for row in history.applied()}
        return [step for step in done if rows.get(step.key) is (step.outcome is not Outcome.FAILED)]

    def _hindered(self, database: pw.Database, error: Exception, done: list[StepResult]) -> Report:
        """Report that others did not let go, what stands all the same, and who may be to blame."""
        reason = error.problem if isinstance(error, Locked) else str(error)
        applied = [step.key for step in done if step.outcome is not Outcome.FAILED]
        stands = f" Applied before that: {', '.join(applied)}." if applied else ""
        stands += " Nothing else was changed." if self.dialect.ddl_rolls_back else ""
        idle = self.dialect.waiting(database)
        who = f" Idle in a transaction: {idle}." if idle else ""
        remedy = "Try again when others are done, or wait longer (--timeout)."
        text = f"{self.target.name}: other connections stand in the way ({reason}).{stands}{who} {remedy}"
        return self._report(State.LOCKED, self.read(database).status, steps=tuple(done), error=hide_password(text))

    def _require_writing(self) -> None:
        """Refuse here: SQLite takes BEGIN IMMEDIATE on a connection that can only read for a BEGIN."""
        if not self.may_write:
            raise NeedsWriting(self.target.name, "there is something to do", "Migrate it.")

    def _apply(self, database: pw.Database, order: Order, done: list[StepResult]) -> Report:
        """Under the lock: read again, run what is pending, align, verify, record; one transaction.

        A script that refuses a transaction cuts it in two: what ran before is
        committed, the script runs alone, and the rest begins anew.
        """
        with self.dialect.exclusive(database, self.target.name):
            found = self.read(database, structural=order.strict)
            self._refuse(found, allow_ahead=order.allow_ahead)
            if not done:
                self._refuse_early(found, order)
                if found.leaves_nothing(order):
                    return self._current(found)
            self._recording = None if done else self._begin_recording(database, order, found)
            self.dialect.check_health(database, self.target.name)
            self._back_up(database, found, order)
            found = self._prepare(database, found)
            steps = self._plan(found, order.to).without(step.key for step in done)
            before = self.dialect.violations(database)
            self._run_all(database, found, steps.together, done, before)
            if steps.alone is None:
                return self._finish(database, found, order, tuple(done), before)
        with self.dialect.alone(database, self.target.name):
            found = self.read(database)
            self._refuse_early(found, order, (steps.alone.key,))
            self._run_all(database, found, (steps.alone,), done)
        return self._apply(database, order, done)

    def _prepare(self, database: pw.Database, found: Found) -> Found:
        """Make the history's tables, take over peewee_migrate's record."""
        history = self._history(database)
        with self._watched(database, PREPARE):
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
        done: list[StepResult],
        before: Counter[Violation] | None = None,
    ) -> None:
        """Run steps in order and add to ``done``; what needs a failed one is blocked, independent sources go on.

        One that somebody else has done meanwhile is passed over.
        """
        applied = list(found.status.applied)
        failed = {step.key for step in done if step.outcome in (Outcome.FAILED, Outcome.BLOCKED)}
        orm = orm_of(tuple(applied), database)
        for step in steps:
            if is_blocked(step, found.known, failed):
                result: StepResult | None = StepResult(step.key, Outcome.BLOCKED)
            else:
                result = self._run(database, step, orm, before)
            done += [] if result is None else [result]
            if result is None or result.outcome in (Outcome.APPLIED, Outcome.ADOPTED):
                applied.append(step)
            else:
                failed.add(step.key)
                orm = orm_of(tuple(applied), database)

    def _run(
        self, database: pw.Database, step: Migration, orm: LazyOrm, before: Counter[Violation] | None
    ) -> StepResult | None:
        """Run one script and record it, both or neither; a failure is recorded after its effects are undone.

        Raises ``Hindered`` when others stood in its way; then nothing is recorded.
        None when the history, read under the lock, says that it is done already.
        ``before`` holds the foreign key violations there were, when each script
        is to be checked for new ones.
        """
        started = time.perf_counter()
        history = self._history(database)
        doing = self.dialect.operations(database)
        recording = self._recording
        tape = Tape()
        try:
            with self.dialect.step(database, step.key) if step.atomic else unbound(database):
                if history.has(step.key):
                    return None
                with nullcontext(tape) if recording is None else recording.step(database, step) as tape:
                    call(step, database, doing, orm)
                if before is not None and self._check_each:
                    self._refuse_orphans(database, step.key, before)
        except TransactionLost:
            raise
        except (Exception, SystemExit) as error:
            reason = describe(error, step)
            if step.atomic and self.dialect.hindrance(error) is not None:
                raise Hindered(step.key, reason) from error
            logger.debug("%s: %s failed\n%s", self.target.name, step.key, trace(error))
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
        if recording is not None:
            recording.add(database, step.key, tape, outcome, detail, made)
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
            with self._watched(database, ALIGN):
                alignment = self.dialect.aligned(database, expected, strict=order.strict, repair=order.repair)
        self._refuse_orphans(database, "the run", before)
        for event in alignment.events:
            history.log(event)
        error = _why(steps, undone=self.dialect.ddl_rolls_back)
        did = bool(steps or alignment.events)
        is_proven = status.is_current and not error and not alignment.left and not found.known.problems
        if did and is_proven:
            self._leave_mark(database, order, status.at)
        at_rest = State.AHEAD if status.ahead else State.CURRENT
        report = self._report(
            State.FAILED if error else State.MIGRATED if did else at_rest,
            status,
            steps=steps,
            aligned=tuple(alignment.done),
            left=tuple(item.as_dict() for item in alignment.left),
            error=error and f"{self.target.name}: {error}",
        )
        if self._recording is not None and self.plans is not None and is_proven:
            made = None if self._backup is None else str(self._backup)
            self.plans.add(self._recording, status.applied, replace(report, backup=made))
        return report

    def _leave_mark(self, database: pw.Database, order: Order, at: str | None) -> None:
        mark = f"{order.level}:{self._plugins}:{self._proof(database)}"
        self._history(database).log(Event("verified", key=at, mark=mark))

    # Copying a ready schema, see template

    def _copied(self, order: Order) -> Report | None:
        """Make a database that is not there yet from the template; None where that is not the way."""
        path = self.target.path
        if path is None or not (self.config.template and self.may_create and self.may_write) or order.to is not None:
            return None
        if path.absolute() != self._place:  # a relative name, and another working directory since
            return None
        if self.fingerprint is None or self.config.align == "off" or not template.is_vacant(path):
            return None
        if not template.fits(self.target.database):
            return None
        ready = self._template(self.fingerprint)
        history = self._history(self.target.database)
        if ready is None or not template.place(ready.stamped(history), path):
            return None
        with self.target.connected():  # so that the app's own PRAGMAs, such as WAL, hold for the file
            pass
        steps = tuple(StepResult(step.key, Outcome(step.outcome), made=step.made) for step in ready.steps)
        return self._report(State.MIGRATED, at=steps[-1].key if steps else None, steps=steps, notes=ready.notes)

    def _template(self, print_: str) -> Template | None:
        """Return the ready schema of these scripts, if there can be one."""

        def build() -> Template | None:
            known = self._known_here(())
            if known.problems:
                return None
            made = template.built(known.migrations, self.config.table, print_, self._plugins)
            return None if made is None else replace(made, notes=known.notes)

        return template.ready(template.key_of(print_, self.config.table, self._plugins), build)

    # Repeating what was proven, see plan_cache

    def _repeated(self, database: pw.Database, order: Order) -> Report | None:
        """Migrate by the plan that two such databases agreed on; None when there is none, or on any doubt."""
        if self.plans is None:
            return None
        seen = version_of(database)
        key = self._plan_key(database, order)
        proven = None if key is None else self.plans.proven(key)
        if proven is None:
            return None
        self._require_writing()
        try:
            with self.dialect.exclusive(database, self.target.name):
                if version_of(database) != seen:  # another process was here meanwhile
                    return None
                self.dialect.check_health(database, self.target.name)
                if proven.has_backup:
                    self._make_backup(order.backup)
                before = self.dialect.violations(database)
                steps = self._run_again(database, order, proven)
                self._refuse_orphans(database, "the plan", before)
                self._leave_mark(database, order, proven.report.at)
        except (Doubt, Orphaned, TransactionLost) as doubt:
            self.plans.distrust(key, doubt)
            return None
        self.plans.count()
        return self._report(
            State.MIGRATED,
            at=proven.report.at,
            notes=proven.report.notes,
            pending=proven.report.pending,
            steps=steps,
            aligned=proven.report.aligned,
        )

    def _run_again(self, database: pw.Database, order: Order, proven: Proven) -> tuple[StepResult, ...]:
        history = self._history(database)

        def script(migration: Migration, done: Sequence[Migration]) -> StepResult:
            result = self._run(database, migration, orm_of((*proven.before, *done), database), None)
            if result is None:
                raise Doubt(f"{migration.key} is done already")
            return result

        def align() -> tuple[str, ...]:
            expected = self.expected(proven.after)
            alignment = self.dialect.aligned(database, expected, strict=False, repair=False)
            for event in alignment.events:
                history.log(event)
            return alignment.done if not alignment.left else ("what rows forbid",)

        return run_again(database, history, proven, self.known.by_key, script, align)

    def _plan_key(self, database: pw.Database, order: Order) -> Any:
        """Return what a plan is proven for, or None where no plan is to be proven or used."""
        if (
            self.plans is None
            or order.retry_after
            or order.to is not None
            or order.strict
            or order.repair
            or order.allow_ahead
        ):
            return None
        if self.config.align == "off" or self.fingerprint is None:
            return None
        settings = (self.fingerprint, order, self.config, self.adopt_foreign, self.all_plugins)
        return key_of(database, self._history(database), settings)

    def _begin_recording(self, database: pw.Database, order: Order, found: Found) -> Recording | None:
        key = self._plan_key(database, order)
        if key is None or self.plans is None:
            return None
        return self.plans.record(key, database, self.config.table, found.status.applied)

    @contextmanager
    def _watched(self, database: pw.Database, what: str) -> Iterator[None]:
        """Record what we do ourselves in the body."""
        if self._recording is None:
            yield
            return
        with self._recording.step(database) as tape:
            yield
        self._recording.add(database, what, tape)

    def _refuse_orphans(self, database: pw.Database, what: str, before: Counter[Violation]) -> None:
        """Compare with the violations there were; a key that cannot be checked at all names no row."""
        new = [(found, rows) for found, rows in (self.dialect.violations(database) - before).items() if found.columns]
        if new:
            orphans = ", ".join(f"{rows} in {v.table} ({', '.join(v.columns)}) of {v.parent}" for v, rows in new)
            raise Orphaned(f"{what} would leave rows without the row they refer to: {orphans}")

    def _plan(self, found: Found, to: str | None) -> Plan:
        refuse_late = self.config.out_of_order == "refuse"
        plan = plan_up(found.status, found.known, to, self.target.name, refuse_late=refuse_late)
        return plan if self.target.engine == "sqlite" else without_cursors(plan, self.target.name)

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
            lock = self.dialect.exclusive if step.atomic else self.dialect.alone
            with lock(database, self.target.name):
                found = self.read(database)
                needing = [m.key for m in found.status.applied if is_blocked(m, found.known, {step.key})]
                if needing:
                    why = f"another process has applied {', '.join(needing)} meanwhile, which needs it"
                    done += (StepResult(step.key, Outcome.FAILED, 0, why),)
                    break
                more, went = self._undo_all(database, found, (step,))
            done, lost = done + more, lost + went
        error = "; ".join(f"{step.key} was not rolled back: {step.error}" for step in done if step.error)
        state = State.FAILED if error else State.MIGRATED
        told = f"{self.target.name}: {error}. All other changes stand." if error else None
        status = self.read(database).status
        return self._report(state, status, steps=done, lost=lost, error=told)

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
        if report.state in (State.FAILED, State.LOCKED):
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

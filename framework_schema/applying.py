"""One database, migrated: lock, read, plan, run, align, verify, record."""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema import marks, orphans, registered
from framework_schema.alignment import Alignment
from framework_schema.backup import is_due, make, takes, would_rebuild
from framework_schema.contents import Contents, contents
from framework_schema.databases import hide_password
from framework_schema.dialects import Hindrance, unbound
from framework_schema.errors import Hindered, Locked, NeedsWriting, RowsTouched, TransactionLost
from framework_schema.expected import call, describe, orm_of
from framework_schema.guard import guarded
from framework_schema.history import PEEWEE_MIGRATE_TABLE, Event, History
from framework_schema.looking import Found, Looker, Orphaned, since, sources_told, unreadable
from framework_schema.migration import Migration, Style
from framework_schema.old_style import names_in_history
from framework_schema.order import Order
from framework_schema.orphans import Violation
from framework_schema.plan import Plan, is_blocked
from framework_schema.plan_cache import ALIGN, PREPARE, Recording, key_of
from framework_schema.refilling import refills
from framework_schema.report import Outcome, Report, State, StepResult
from framework_schema.rollback import partly
from framework_schema.sources import APP, FRAMEWORK
from framework_schema.status import compare
from framework_schema.watched import Tape
from framework_schema.wording import trace

if TYPE_CHECKING:
    from framework_schema.migrator import LazyOrm

logger = logging.getLogger(__name__)

TRIES = 6
"""How often a run is begun that has to give way to other transactions."""
PAUSE = 0.05
"""Seconds before the second try, on average a tenth; they double with each."""


class Applier(Looker):
    """Runs what is pending and makes what is missing; see ``Runner.migrate``."""

    def _migrated(self, database: pw.Database, order: Order) -> Report:
        """Look closely without a lock, and do only what there is to do."""
        found = self.read(database, structural=order.strict)
        self._refuse(found, allow_ahead=order.allow_ahead)
        self._refuse_early(found, order)
        is_done = found.leaves_nothing(order) and not self._repeated_steps
        return self._current(found, database) if is_done else self._attempt(database, order, found)

    def _attempt(self, database: pw.Database, order: Order, found: Found) -> Report:
        """Apply what was found to be missing; again, a few times, when other transactions got in the way.

        Foreign keys are checked once for the whole run; only when that fails it
        is done again to find the script that is to blame.
        """
        self._require_writing()
        deadline = time.monotonic() + self.config.timeout
        done = self._standing(database, self._repeated_steps) if self._repeated_steps else []
        known: Found | None = found
        for number in itertools.count(1):
            try:
                report = self._apply(database, order, done, known)
                self._lend_recording()
                return report
            except Orphaned:
                if self._check_each:
                    raise
                self._check_each = True
            except (Hindered, Locked, pw.DatabaseError) as error:
                cause = error.__cause__ if isinstance(error, Hindered) else error
                kind = Hindrance.LOCK if isinstance(error, Locked) and done else self.dialect.hindrance(cause)
                if kind is None:
                    raise
                is_over = time.monotonic() >= deadline if kind is Hindrance.LOCK else number >= TRIES
                if is_over or isinstance(error, Locked):
                    return self._hindered(database, error, self._standing(database, done))
                logger.info("%s: gave way to another transaction, trying again", self.target.name)
                time.sleep(PAUSE * 2 ** min(number, TRIES) * (0.5 + random.random()))
            done, known = self._standing(database, done), None
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

    def _apply(self, database: pw.Database, order: Order, done: list[StepResult], known: Found | None = None) -> Report:
        """Under the lock: read again, run what is pending, align, verify, record; one transaction.

        What is ``known`` need not be read again where the engine can tell that
        nobody has committed since.

        A script that refuses a transaction cuts it in two: what ran before is
        committed, the script runs alone, and the rest begins anew.
        """
        with self.dialect.exclusive(database, self.target.name):
            found = self._still_so(database, known) or self.read(database, structural=order.strict)
            self._refuse(found, allow_ahead=order.allow_ahead)
            if not done:
                self._refuse_early(found, order)
                if found.leaves_nothing(order):
                    return self._current(found, database)
            self._recording = None if done else self._begin_recording(database, order, found)
            self._examine(database, whole=self._needs_all(order, found))
            plan = self._plan(found, order.to)
            self._back_up(database, found, order, plan)
            self._count_first(database, found, plan)
            history = self._history(database, found.live)
            if self._prepare(database, found, history):
                found = self.read(database)
                plan = self._plan(found, order.to)
            steps = plan.without(step.key for step in done)
            before = self.dialect.violations(database)
            self._run_all(database, found, steps.together, done, before)
            if steps.alone is None:
                return self._finish(database, found, order, tuple(done), before, history)
        with self.dialect.alone(database, self.target.name):
            found = self.read(database)
            self._refuse_early(found, order, (steps.alone.key,))
            self._run_all(database, found, (steps.alone,), done)
        return self._apply(database, order, done)

    def _still_so(self, database: pw.Database, known: Found | None) -> Found | None:
        version = self.dialect.data_version(database)
        return known if known is not None and version is not None and version == known.version else None

    def _examine(self, database: pw.Database, *, whole: bool) -> None:
        self._examined = self.dialect.check_health(database, self.target.name, whole=whole)

    def _needs_all(self, order: Order, found: Found) -> bool:
        """Tell whether all of a large file is to be checked, whatever the scripts do; see ``Dialect.check_health``."""
        is_sealable = all(migration.atomic for migration in found.status.pending)
        return order.strict or order.repair or self.config.integrity == "always" or not is_sealable

    def _prepare(self, database: pw.Database, found: Found, history: History) -> bool:
        """Make the history's tables, take over peewee_migrate's record; True when there was something to take over."""
        with self._watched(database, PREPARE):
            history.ensure_tables()
        names = history.names_in(PEEWEE_MIGRATE_TABLE) if PEEWEE_MIGRATE_TABLE in found.live.tables else frozenset()
        taken = [m for m in found.status.pending if m.source == APP and m.name in names]
        for migration in taken:
            history.record(migration.key)
            history.log(Event("imported", key=migration.key, detail=f"from {PEEWEE_MIGRATE_TABLE}"))
        return bool(taken)

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
                result = self._run_checked(database, step, orm, before)
            done += [] if result is None else [result]
            if result is None or result.outcome in (Outcome.APPLIED, Outcome.ADOPTED):
                applied.append(step)
            else:
                failed.add(step.key)
                orm = orm_of(tuple(applied), database)

    def _run_checked(
        self, database: pw.Database, step: Migration, orm: LazyOrm, before: Counter[Violation] | None
    ) -> StepResult | None:
        """Run one script, and once more when it turns out to touch rows of a file that was not checked whole."""
        try:
            return self._run(database, step, orm, before)
        except RowsTouched:
            self._examine(database, whole=True)
            return self._run(database, step, orm, before)

    def _run(
        self, database: pw.Database, step: Migration, orm: LazyOrm, before: Counter[Violation] | None
    ) -> StepResult | None:
        """Run one script and record it, both or neither; a failure is recorded after its effects are undone.

        Raises ``Hindered`` when others stood in its way; then nothing is recorded.
        None when the history, read under the lock, says that it is done already.
        ``before`` holds the foreign key violations there were, under the names
        that scripts have given since; with ``_check_each`` this one may add none.
        """
        started = time.perf_counter()
        self._begin(step.key)
        history = self._history(database)
        doing = self.dialect.operations(database)
        sealed = not self._examined
        recording = self._recording
        violated = Counter(before or ())
        places = orphans.places(database) if violated else {}
        tape = Tape()
        try:
            with self.dialect.step(database, step.key, sealed=sealed) if step.atomic else unbound(database):
                before_us = history.outcome(step.key)
                if before_us:
                    return None
                old_name = history.done_as(names_in_history(step)) if step.style is Style.CURSOR else None
                with (
                    guarded(database, self.dialect, self.known, step, self.config.table) as has_counted,
                    nullcontext(tape) if recording is None else recording.step(database, step) as tape,
                ):
                    if has_counted:
                        tape.distrust("the values it might lose are counted")
                    if old_name is None:
                        call(step, database, doing, orm, table=self.config.table)
                    else:
                        doing.note("script", there=True)
                if violated:
                    orphans.follow(violated, database, places, doing.renamed)
                if before is not None and self._check_each:
                    self._refuse_orphans(database, step.key, violated)
        except (TransactionLost, RowsTouched):
            raise
        except (Exception, SystemExit) as error:
            reason = describe(error, step)
            reason += registered.advice(database, reason)
            if step.atomic and self.dialect.hindrance(error) is not None:
                raise Hindered(step.key, reason) from error
            logger.debug("%s: %s failed\n%s", self.target.name, step.key, trace(error))
            history.record(step.key, error=reason, duration_ms=since(started))
            spent = since(started)
            history.log_failure(
                Event("failed", "failed", step.key, error=reason, duration_ms=spent, checksum=step.checksum)
            )
            return StepResult(step.key, Outcome.FAILED, since(started), reason)
        if before is not None:
            before.clear()
            before.update(violated)
        outcome = Outcome.ADOPTED if doing.is_adoption else Outcome.APPLIED
        detail = "its whole effect was there already" if doing.is_adoption else partly(doing.already_there)
        detail = detail if old_name is None else f"recorded before as {old_name}"
        history.record(step.key, duration_ms=since(started), is_new=before_us is None)
        history.log(Event(str(outcome), "ok", step.key, detail, duration_ms=since(started), checksum=step.checksum))
        made = tuple(what for what in doing.done if what.startswith(("table ", "column ")))
        if recording is not None:
            recording.add(database, step.key, tape, outcome, detail, made)
        return StepResult(step.key, outcome, since(started), made=made)

    def _begin(self, what: str) -> None:
        if self.announce is not None:
            self.announce(what)

    def _finish(
        self,
        database: pw.Database,
        found: Found,
        order: Order,
        steps: tuple[StepResult, ...],
        before: Counter[Violation],
        history: History,
    ) -> Report:
        """Make what is missing all the same, prove that nothing was orphaned, and leave the mark."""
        rows = history.applied()
        status = compare(found.known.migrations, rows, found.known.sources)
        expected = self.expected(status.applied, order.strict)
        alignment = Alignment()
        self._begin("what is missing or differs")
        if self.config.align != "off":
            again = self._open_again(database, found, status.applied, steps, history)
            with self._watched(database, ALIGN):
                alignment = self.dialect.aligned(database, expected, strict=order.strict, repair=order.repair)
            for event in alignment.events:
                history.log(event)
            if again:
                done = [*steps]
                self._run_all(database, found, again, done, before)
                steps, status = tuple(done), compare(found.known.migrations, history.applied(), found.known.sources)
        self._refuse_orphans(database, "the run", before)
        unread = unreadable(found.known)
        if PEEWEE_MIGRATE_TABLE in found.live.tables:
            history.keep_in_step(m.name for m in status.applied if m.source == APP and m.is_numbered)
        error = _why(steps, unread, undone=self.dialect.ddl_rolls_back)
        did = bool(steps or alignment.events)
        if not did and alignment.left and self._has_written_nothing(found, history):
            self.dialect.discard(database)
        unseen = self.unseen(rows, found.known)
        is_proven = status.is_current and not error and not alignment.left and not unseen
        if did and is_proven:
            self._leave_mark(database, order, status.at)
        at_rest = State.AHEAD if status.ahead else State.PENDING if unseen else State.CURRENT
        report = self._report(
            State.FAILED if error else State.MIGRATED if did and not unseen else at_rest,
            status,
            steps=(*steps, *unread),
            aligned=tuple(alignment.done),
            left=tuple(item.as_dict() for item in alignment.left),
            lost=self._lost(database),
            remarks=self._unseen_told(database, rows, found.known),
            error=error and f"{self.target.name}: {error}",
        )
        if self._recording is not None and is_proven:
            made = None if self._backup is None else str(self._backup)
            self._recording.end(status.applied, replace(report, backup=made))
        return report

    def _has_written_nothing(self, found: Found, history: History) -> bool:
        """Tell whether a run without steps took over no record of another tool, and made no table for its own."""
        tables = found.live.tables
        return PEEWEE_MIGRATE_TABLE not in tables and {history.table, history.events_table} <= tables.keys()

    def _open_again(
        self,
        database: pw.Database,
        found: Found,
        applied: Sequence[Migration],
        steps: Sequence[StepResult],
        history: History,
    ) -> tuple[Migration, ...]:
        """Return the data steps whose column or table is about to be made anew, recorded as not done.

        So a run that ends before they are done, where its DDL stands, leaves
        them to the next one. What such a run did is nothing for a plan.
        """
        if not any(migration.fills for migration in applied):
            return ()
        now = self.dialect.snapshot(database) if steps else found.live
        fold = self.dialect.operations(database).fold
        again = tuple(refills(applied, steps, found.live, now, fold))
        for refill in again:
            history.record(refill.migration.key, error=refill.text)
            history.log(Event("refilled", key=refill.migration.key, detail=refill.text))
            self._recording = None
        return tuple(refill.migration for refill in again)

    def _leave_mark(self, database: pw.Database, order: Order, at: str | None) -> None:
        mark = marks.made(order.level, self._plugins, self.fingerprint, self._state(database))
        told = "; ".join(source for source in sources_told(self.sources, self.known) if self._is_here(source))
        self._history(database).log(Event("verified", key=at, mark=mark, detail=told))

    def _is_here(self, told: str) -> bool:
        """Leave plugins out of the record that this database may not carry."""
        return self.all_plugins or told.split(" ")[0] in (FRAMEWORK, APP)

    # Recording for the plan cache

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
        if self.target.engine != "sqlite" and not hasattr(database, "watching"):
            return None
        settings = (self.fingerprint, order, self.config, self.adopt_foreign, self.all_plugins)
        return key_of(database, self._history(database), settings)

    def _begin_recording(self, database: pw.Database, order: Order, found: Found) -> Recording | None:
        key = self._plan_key(database, order)
        if key is None or self.plans is None:
            return None
        return self.plans.record(key, database, self.config.table, found.status.applied)

    def _lend_recording(self) -> None:
        """Give a recording to the plan cache once all of it is committed: else it would be of a run that never was."""
        if self.plans is not None and self._recording is not None and self._recording.report is not None:
            self.plans.add(self._recording)

    @contextmanager
    def _watched(self, database: pw.Database, what: str) -> Iterator[None]:
        """Record what we do ourselves in the body."""
        if self._recording is None:
            yield
            return
        with self._recording.step(database) as tape:
            yield
        self._recording.add(database, what, tape)

    # Copying first

    def _backup_policy(self, wanted: bool | None) -> str:
        return self.config.backup if wanted is None else ("always" if wanted else "never")

    def _back_up(self, database: pw.Database, found: Found, order: Order, plan: Plan) -> None:
        """Copy the database where the config or what is about to happen asks for it; once a run."""

        def rebuilds() -> bool:
            expected = self.expected(found.known.migrations, True)
            return order.strict and would_rebuild(database, found.drift, expected, found.live, repair=order.repair)

        if found.live.tables and is_due(order.backup, self.target.engine, plan.steps, rebuilds, found.live.tables):
            if not self._examined:  # so that it is the database that is called damaged, and not its copy
                self._examine(database, whole=True)
            self._make_backup(order.backup)

    def _count_first(self, database: pw.Database, found: Found, plan: Plan) -> None:
        """Count what there is where a script may take something away; once a run, which is not one to be repeated."""
        if self._held is None and found.live.tables and takes(plan.steps, found.live.tables):
            self._held, self._recording = self._contents(database), None

    def _contents(self, database: pw.Database) -> Contents:
        history = self._history(database)
        return contents(database, self.dialect, without=(history.table, history.events_table))

    def _lost(self, database: pw.Database) -> tuple[dict[str, Any], ...]:
        return () if self._held is None else self._held.lost(self._contents(database))

    def _make_backup(self, policy: str) -> None:
        """Make the copy, on servers as of files: what cannot be copied is not begun, unless that was asked for."""
        if policy == "never" or self.target.borrowed or self._backup is not None:
            return
        self._backup = make(self.target, self.config, is_attempt=True)


def _why(steps: Iterable[StepResult], unread: Iterable[StepResult], *, undone: bool) -> str | None:
    fate = "failed and was undone" if undone else "failed"
    failed = [f"{step.key} {fate}: {step.error}" for step in steps if step.outcome is Outcome.FAILED]
    blocked = [step.key for step in steps if step.outcome is Outcome.BLOCKED]
    not_read = "".join(f" {step.error}" for step in unread)
    if not failed:
        return f"{not_read.strip()} All other changes stand." if not_read else None
    waiting = f" Not run, since they need it: {', '.join(blocked)}." if blocked else ""
    is_in_the_way = all(" stands where " in step.error for step in steps if step.error)
    what = "that" if is_in_the_way else "the script"
    return f"{'; '.join(failed)}. All other changes stand.{waiting} Mend {what} and run migrate again.{not_read}"

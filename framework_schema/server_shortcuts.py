"""The repetition of a proven plan on a server: lock, recognise, repeat; see ``server_plan``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema.applying import Applier
from framework_schema.errors import Locked
from framework_schema.expected import orm_of
from framework_schema.migration import Migration
from framework_schema.order import Order
from framework_schema.plan_cache import Align, Doubt, PlanCache, Proven, Script
from framework_schema.report import Report, State, StepResult

if TYPE_CHECKING:  # brings the servers' modules, which a file has no use for
    from framework_schema.server_plan import Repetition


class ServerShortcuts(Applier):
    """Takes the shortcut where it is safe."""

    def _repeated_on_server(self, database: pw.Database, order: Order, plans: PlanCache) -> Report | None:
        """Migrate by a proven plan; None where there is none, on any doubt, or when the lock is not to be had at once.

        What the database is like is read once, under the lock: another process
        may have been there before.
        """
        if not (plans.is_of_use and hasattr(database, "watching")):
            return None
        self._require_writing()
        repetition: Repetition | None = None
        try:
            with _impatient(database), self.dialect.exclusive(database, self.target.name):
                key = self._plan_key(database, order)
                proven = None if key is None else plans.proven(key)
                if proven is None:
                    return None
                if proven.has_backup:
                    self._make_backup(order.backup)
                repetition = self._repetition(database, proven)
                steps = repetition.run()
                self._leave_mark(database, order, proven.report.at)
        except (Doubt, Locked, pw.DatabaseError, pw.InterfaceError) as doubt:
            if repetition is not None:
                plans.distrust(key, doubt)
                self._repeated_steps = list(repetition.standing)
            return None
        plans.count()
        return self._told(proven, steps)

    def _repetition(self, database: pw.Database, proven: Proven) -> Repetition:
        from framework_schema.server_plan import repetition_for

        make = repetition_for(database)
        return make(database, self._history(database), proven, self.known.by_key, *self._alive(database, proven))

    def _alive(self, database: pw.Database, proven: Proven) -> tuple[Script, Align]:
        """Return what runs a script, and what aligns, where a plan's steps are not repeated; on any engine."""
        history = self._history(database)

        def script(migration: Migration, done: Sequence[Migration]) -> StepResult:
            result = self._run(database, migration, orm_of((*proven.before, *done), database), None)
            if result is None:
                raise Doubt(f"{migration.key} is done already")
            return result

        def align() -> tuple[str, ...]:
            alignment = self.dialect.aligned(database, self.expected(proven.after), strict=False, repair=False)
            for event in alignment.events:
                history.log(event)
            return alignment.done if not alignment.left else ("what rows forbid",)

        return script, align

    def _told(self, proven: Proven, steps: tuple[StepResult, ...]) -> Report:
        """Report a plan that was repeated, on any engine."""
        report = proven.report
        parts: dict[str, Any] = {"at": report.at, "notes": report.notes, "pending": report.pending}
        return self._report(State.MIGRATED, steps=steps, aligned=report.aligned, **parts)


@contextmanager
def _impatient(database: Any) -> Iterator[None]:
    """Do not wait for anybody: the scripts do."""
    was, database.wait = database.wait, 0
    try:
        yield
    finally:
        database.wait = was

"""One database, rolled back: lock, read, plan, copy, undo, count, record."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import Any

import peewee as pw

from framework_schema import orphans
from framework_schema.applying import Applier
from framework_schema.contents import contents
from framework_schema.errors import PlanRefused
from framework_schema.looking import Found
from framework_schema.migration import Migration
from framework_schema.plan import is_blocked, plan_down
from framework_schema.report import Outcome, Report, State, StepResult
from framework_schema.rollback import found_there, undo
from framework_schema.sources import APP


class Undoer(Applier):
    """Undoes migrations; see ``Runner.rollback``."""

    def _take_back(
        self, database: pw.Database, steps: int, to: str | None, source: str | None, force: bool, policy: str
    ) -> Report:
        """Under the lock: read, plan, copy, undo, count, record; scripts that refuse a transaction follow singly."""
        with self.dialect.exclusive(database, self.target.name):
            found = self.read(database)
            self._refuse(found)
            absent = self._absent(found) if source is None and not force else ()
            kept = found_there(self._history(database))
            plan = plan_down(
                found.status, found.known, steps, to, source, kept=kept, force=force, database=self.target.name
            )
            if absent and plan:
                raise PlanRefused(
                    f"{self.target.name}: {', '.join(absent)} came later, and its source's scripts are not at hand."
                    " Nothing was undone. Name their folder (--folder DIR), or say whose migrations to undo"
                    f" (--source {plan.steps[0].source})."
                )
            if not plan and steps > 0 and not any(source in (None, m.source) for m in found.status.applied):
                whose = f" of {source}" if source else ""
                raise PlanRefused(f"{self.target.name}: no migration{whose} is applied, so there is nothing to undo.")
            if not plan:
                return self._current(found, database)
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

    def _absent(self, found: Found) -> tuple[str, ...]:
        """Return what was applied after all that we know, of sources that are not at hand."""
        if self.has_chosen:
            return ()
        done = [row.key for row in found.rows if row.success and row.source is not None]
        here = set(found.known.sources)
        return tuple(reversed(list(takewhile(lambda key: key.split("/")[0] not in here, reversed(done)))))

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
                doing = self.dialect.operations(database)
                places = orphans.places(database) if violated else {}
                done.append(undo(database, self.dialect, history, step, applied, doing))
                if done[-1].outcome is Outcome.FAILED:
                    break
                if violated:
                    orphans.follow(violated, database, places, doing.renamed)
                applied = tuple(migration for migration in applied if migration != step)
        self._refuse_orphans(database, "the rollback", violated)
        undone = {step.key for step in done if step.outcome is Outcome.ROLLED_BACK}
        gone = [step.name for step in found.status.applied if step.key in undone and step.source == APP]
        history.keep_in_step((), gone)
        return tuple(done), held.lost(contents(database, self.dialect, without=tables))

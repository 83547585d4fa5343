"""Two ways to the same end that cost less: the copy of a ready schema, and the repetition of a proven plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import peewee as pw

from framework_schema import template
from framework_schema.errors import TransactionLost
from framework_schema.looking import Orphaned
from framework_schema.migration import Migration
from framework_schema.order import Order
from framework_schema.plan_cache import Doubt, run_again
from framework_schema.report import Outcome, Report, State, StepResult
from framework_schema.server_shortcuts import ServerShortcuts
from framework_schema.snapshot import Snapshot
from framework_schema.template import Template


class Shortcuts(ServerShortcuts):
    """Takes them where they are safe; see ``template`` and ``plan_cache``."""

    def _copied(self, order: Order) -> Report | None:
        """Make a database that is not there yet from the template; None where that is not the way."""
        path = self.target.path
        if path is None or not (self.config.template and self.may_create and self.may_write) or order.to is not None:
            return None
        if not template.is_vacant(path) or path.absolute() != self._place:  # a relative name, another directory since
            return None
        if self.fingerprint is None or self.config.align == "off":
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

    def expected(self, migrations: Sequence[Migration], structural: bool = False) -> Snapshot:
        """Look at the ready schema of these scripts, where there is one; else run them where there is nothing."""
        if self.config.template and self.fingerprint is not None and self.target.engine == "sqlite":
            ready = template.at_hand(template.key_of(self.fingerprint, self.config.table, "all"))
            if ready is not None and ready.is_of(migrations):
                return ready.snapshot(structural)
        return super().expected(migrations, structural)

    def _template(self, print_: str) -> Template | None:
        """Return the ready schema of these scripts, if there can be one."""

        def build() -> Template | None:
            known = self.known
            if known.problems:
                return None
            made = template.built(known.migrations, self.config.table, print_, "all")
            return None if made is None else replace(made, notes=known.notes)

        return template.ready(template.key_of(print_, self.config.table, "all"), build)

    def _repeated(self, database: pw.Database, order: Order) -> Report | None:
        """Migrate by the plan that two such databases agreed on; None when there is none, or on any doubt."""
        if self.plans is None:
            return None
        if self.target.engine != "sqlite":
            return self._repeated_on_server(database, order, self.plans)
        seen = self.dialect.data_version(database)
        key = self._plan_key(database, order)
        proven = None if key is None else self.plans.proven(key)
        if proven is None:
            return None
        self._require_writing()
        try:
            with self.dialect.exclusive(database, self.target.name):
                if self.dialect.data_version(database) != seen:  # another process was here meanwhile
                    return None
                self._examine(database, whole=True)
                if proven.has_backup:
                    self._make_backup(order.backup)
                before = self.dialect.violations(database)
                script, align = self._alive(database, proven)
                history = self._history(database)
                steps = run_again(database, history, proven, self.known.by_key, script, align)
                self._refuse_orphans(database, "the plan", before)
                self._leave_mark(database, order, proven.report.at)
        except (Doubt, Orphaned, TransactionLost) as doubt:
            self.plans.distrust(key, doubt)
            return None
        self.plans.count()
        return self._told(proven, steps)

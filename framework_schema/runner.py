"""One database: what can be done with it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import peewee as pw

from framework_schema.backup import make, restore, settle
from framework_schema.errors import MigrationFailed, PlanRefused
from framework_schema.history import Event
from framework_schema.left import Kept
from framework_schema.looking import since
from framework_schema.order import Order
from framework_schema.report import Outcome, Report, State
from framework_schema.shortcuts import Shortcuts
from framework_schema.undoing import Undoer

BY_SQL = (
    "rows can be brought back by this command in SQLite files only, not on a server yet. Nothing was changed. Set aside"
    " are: {found}. Change them there until they fit, insert them into their table by SQL, and delete them there."
)
"""What to do with rows set aside on a server."""


class Runner(Shortcuts, Undoer):
    """Migrates one database, and tells about it.

    ``database`` is a path, a URL or a Peewee database; ``sources`` are by
    default all installed ones. Nothing is opened here, and each method opens a
    connection of its own and closes it. ``status``, ``plan``, ``drift`` and
    ``history`` write nothing.
    """

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
        self._backup = self._recording = self._held = None
        self._repeated_steps = []
        copied = self._copied(order)
        if copied is not None:
            return replace(copied, duration_ms=since(started))
        glanced = self._glanced(order, started)
        if isinstance(glanced, Report):
            return glanced
        with self.target.connected(glanced) as database:
            marked = None
            if glanced is None:
                marked = self._marked_current(lambda: self._seen(database), order, started)
            if marked is None:
                report = self._repeated(database, order) or self._migrated(database, order)
        return marked or self._ended(report, started)

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
        return make(self.target, self.config, into, by_hand=True)

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

    def restore_rows(self) -> tuple[tuple[str, ...], tuple[Kept, ...]]:
        """Bring back the rows that ``--repair`` set aside and that fit by now, all or nothing of each.

        Returns what was done, a sentence a table, and what stays set aside. To
        make a row fit, change it where it is kept. Raises ``DatabaseError``, and
        ``PlanRefused`` where rows are set aside on a server; then nothing was changed.
        """
        with self.looking() as database:
            kept = self.dialect.kept_rows(database)
            if not kept:
                return (), ()
            if not self.dialect.restores_rows:
                raise PlanRefused(f"{self.target.name}: {BY_SQL.format(found='; '.join(item.text for item in kept))}")
            self._require_writing()
            with self.dialect.exclusive(database, self.target.name):
                history = self._history(database)
                history.exists(self.target.name)
                done, kept = self.dialect.restore_rows(database)
                history.ensure_tables()
                for what in done:
                    history.log(Event("restored", detail=what))
        return tuple(done), tuple(kept)

    def _ended(self, report: Report, started: float) -> Report:
        if self._backup is not None:
            has_failed = report.state in (State.FAILED, State.LOCKED)
            self._backup = settle(
                self.target, self.config, self._backup, has_changed=self._has_changed(report), has_failed=has_failed
            )
        made = None if self._backup is None else str(self._backup)
        report = replace(report, duration_ms=since(started), backup=made)
        if report.state in (State.FAILED, State.LOCKED):
            raise MigrationFailed(report)
        return report

    def _has_changed(self, report: Report) -> bool:
        """Tell whether a run left anything other than it was: not where all that it did was undone."""
        return bool(report.aligned) or any(
            not self._is_undone(step.key) if step.outcome is Outcome.FAILED else step.outcome is not Outcome.BLOCKED
            for step in report.steps
        )

    def _is_undone(self, key: str) -> bool:
        """Tell whether a step that failed left nothing."""
        migration = self.known.by_key.get(key)
        return self.dialect.ddl_rolls_back and (migration is None or migration.atomic)

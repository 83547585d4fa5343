"""Do what was proven on two databases of a server to one more; see ``plan_cache``.

PostgreSQL undoes everything. The statements of all steps up to one that has to
run through its script (a batch) go to the server in one message, then that
script runs, the steps are recorded, and the schema is compared, text for text;
only then is the batch committed. On any doubt it is rolled back, and the
scripts go on from what was committed before, which is what they would have left.

MariaDB undoes no DDL. There a step is repeated in a way in which its script
would have left the same at any moment, so that whatever a ``kill -9`` leaves
is what the next run is made for:

- Statements of operations, which look before they act, are no news to a script
  that runs again. So they are sent as they are, and the step is recorded.
- Steps that do nothing but add (a table, a column, an index) are done together,
  in fewer statements (see ``server_folding``), and recorded behind the last of
  them: each finds all of its effect there when it runs again, whatever those
  behind it added. Before a step that changes or takes away, those before it are
  on record.
- A step with statements of the script's own goes through the journal like the
  script itself: the same statements in the same order, marked as they were.

The schema is compared when all is done. Where it differs, what was recorded
stands, and the scripts and the alignment go on from there.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import peewee as pw

from framework_schema.dialects import for_database
from framework_schema.errors import Hindered
from framework_schema.history import History
from framework_schema.migration import Migration
from framework_schema.mysql import Journal
from framework_schema.plan_cache import (
    ALIGN,
    PREPARE,
    Align,
    AnotherSchema,
    Doubt,
    Proven,
    Recorded,
    Script,
    schema_of,
)
from framework_schema.postgres import RunTransaction
from framework_schema.report import Outcome, StepResult
from framework_schema.server_folding import gathered
from framework_schema.watched import Statement

ADDS = re.compile(
    r"CREATE TABLE |CREATE (UNIQUE )?INDEX |ALTER TABLE `(?:[^`]|``)+` ADD (COLUMN|INDEX|UNIQUE INDEX) ", re.I
)
"""How Peewee and our operations write what takes nothing away."""


class Repetition(ABC):
    """One plan, repeated on one database, whose lock is held; ``standing`` is what stands whatever happens."""

    def __init__(
        self,
        database: pw.Database,
        history: History,
        proven: Proven,
        known: Mapping[str, Migration],
        script: Script,
        align: Align,
    ) -> None:
        self.database, self.history, self.proven, self.known = database, history, proven, known
        self.script, self.align = script, align
        self.done: list[StepResult] = []
        self.standing: list[StepResult] = []

    def run(self) -> tuple[StepResult, ...]:
        """Do all steps and compare; raises ``Doubt`` when anything is not as it was with the first two."""
        try:
            for step in self.proven.steps:
                if step.statements is None:
                    self.live(step)
                else:
                    self.again(step, step.statements)
            self.end(self.proven.steps[-1])
        except (pw.DatabaseError, pw.InterfaceError, Hindered) as error:
            raise Doubt(f"{type(error).__name__}: {error}") from error
        return tuple(self.done)

    @abstractmethod
    def again(self, step: Recorded, statements: tuple[Statement, ...]) -> None:
        """Repeat a step."""

    @abstractmethod
    def live(self, step: Recorded) -> None:
        """Run a step through its script."""

    @abstractmethod
    def end(self, step: Recorded) -> None:
        """Record and compare what is open."""

    def run_script(self, step: Recorded) -> None:
        """Run the script, or the alignment, for real."""
        if step.key == ALIGN:
            self.require(self.align() == self.proven.report.aligned, "another alignment")
            return
        result = self.script(self.known[step.key], [self.known[result.key] for result in self.done])
        self.done.append(result)
        self.require(result.outcome is not Outcome.FAILED, f"{step.key} failed")

    def record(self, steps: Iterable[Recorded]) -> None:
        """Put repeated steps on record."""
        told = [step.told(self.known[step.key].checksum) for step in steps if step.outcome is not None]
        self.history.record_all(event for _, event in told)
        self.done += [result for result, _ in told]

    def compare(self, step: Recorded) -> None:
        """Compare the schema with the one there was after this step."""
        if schema_of(self.database) != step.schema:
            raise AnotherSchema(f"another schema after {step.key}")

    @staticmethod
    def require(is_so: bool, otherwise: str) -> None:
        """Raise ``Doubt``."""
        if not is_so:
            raise Doubt(otherwise)


class OnPostgres(Repetition):
    """In batches, each a transaction."""

    def run(self) -> tuple[StepResult, ...]:
        """Keep the scripts from beginning a transaction of their own."""
        transaction = self.database.top_transaction()
        assert isinstance(transaction, RunTransaction)
        self._batch: list[Recorded] = []
        transaction.joins_scripts = True
        try:
            return super().run()
        finally:
            transaction.joins_scripts = False

    def again(self, step: Recorded, statements: tuple[Statement, ...]) -> None:
        """Wait for the end of the batch."""
        self._batch.append(step)

    def live(self, step: Recorded) -> None:
        """End the batch with this script."""
        self._send()
        self.run_script(step)
        self.compare(step)
        if step.key == ALIGN:  # the last one; its transaction is the run's to end
            return
        before = self.history.outcomes()
        self.database.top_transaction().commit()
        self.standing = list(self.done)
        # A proxy's lock is the transaction's, and another process may have had its turn.
        self.require(self.history.outcomes() == before, "another process was here")

    def end(self, step: Recorded) -> None:
        """Prove the last batch."""
        self._send()
        self.compare(step)

    def _send(self) -> None:
        texts: list[str] = []
        for step in self._batch:
            for statement in step.statements or ():
                if statement.params or statement.rows is not None or "%" in statement.sql:
                    self._run(texts)
                    cursor = self.database.execute_sql(statement.sql, statement.params)
                    same = statement.rows is None or cursor.rowcount == statement.rows
                    self.require(same, f"another number of rows: {statement.sql}")
                else:
                    texts.append(_insisting(statement) if statement.asks else statement.sql)
        self._run(texts)
        self.record(self._batch)
        self._batch = []

    def _run(self, texts: list[str]) -> None:
        """Send statements as one message; a comment at a statement's end must not hide the next."""
        if texts:
            database: Any = self.database
            with database.attended(None):
                database.execute_sql("\n;".join(texts))
            texts.clear()


def _insisting(statement: Statement) -> str:
    """Ask whether a table is empty so that another answer is an error."""
    is_asked = f"EXISTS ({statement.sql})"
    is_other = is_asked if statement.answer is None else f"NOT {is_asked}"
    return f"SELECT 1 / CASE WHEN {is_other} THEN 0 ELSE 1 END"


class OnMariadb(Repetition):
    """Statement by statement, and recorded as the module's text says."""

    def run(self) -> tuple[StepResult, ...]:
        """Keep all that is done: it stands, and is on record even when the next step goes wrong."""
        self.standing = self.done
        self._adding: list[Recorded] = []
        return super().run()

    def again(self, step: Recorded, statements: tuple[Statement, ...]) -> None:
        """Repeat a step in the way that is as safe as its script."""
        converges = all(statement.converges or statement.asks for statement in statements)
        if converges and all(statement.asks or ADDS.match(statement.sql) for statement in statements):
            self._adding.append(step)
            return
        self._add()
        if converges or step.key == PREPARE:
            self._play(statements)
        else:
            with for_database(self.database).step(self.database, step.key):
                self._play(statements)
        self.record([step])

    def live(self, step: Recorded) -> None:
        """Run the script when what was before it is on record."""
        self._add()
        self.run_script(step)
        self.compare(step)

    def end(self, step: Recorded) -> None:
        """Do what is left, then compare."""
        self._add()
        self.compare(step)

    def _play(self, statements: Iterable[Statement]) -> None:
        journal = Journal.of(self.database)
        for statement in statements:
            if journal is not None and statement.converges:
                with journal.converging():
                    self._one(statement)
            else:
                self._one(statement)

    def _one(self, statement: Statement) -> None:
        cursor = self.database.execute_sql(statement.sql, statement.params)
        if statement.asks:
            self.require(cursor.fetchone() == statement.answer, f"another answer to {statement.sql}")
        if statement.rows is not None:
            self.require(cursor.rowcount == statement.rows, f"another number of rows: {statement.sql}")

    def _add(self) -> None:
        """Do the steps that only add; rows and events of those that were done are written in one transaction."""
        steps, self._adding = self._adding, []
        statements = [step.statements or () for step in steps]
        parts = gathered(statements) if self.proven.can_fold else statements
        done: list[Recorded] = []
        try:
            for step, part in zip(steps, parts, strict=True):
                self._play(part)
                done.append(step)
        except (Doubt, pw.DatabaseError, pw.InterfaceError):
            with suppress(pw.DatabaseError, pw.InterfaceError):
                self._record_added(done)
            raise
        self._record_added(done)

    def _record_added(self, steps: list[Recorded]) -> None:
        if any(step.outcome is not None for step in steps):
            with self.database.atomic():
                self.record(steps)


def repetition_for(database: pw.Database) -> type[Repetition]:
    """Return the way of a database's engine."""
    return OnPostgres if isinstance(database, pw.PostgresqlDatabase) else OnMariadb

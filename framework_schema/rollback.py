"""Undo one migration at a time, and tell what goes with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import peewee as pw

from framework_schema.dialects import Dialect, unbound
from framework_schema.errors import TransactionLost
from framework_schema.expected import call, describe, orm_of
from framework_schema.history import Event, History
from framework_schema.migration import Migration
from framework_schema.report import Outcome, StepResult
from framework_schema.snapshot import Snapshot
from framework_schema.wording import trace

logger = logging.getLogger(__name__)

PARTLY = "was there already: "
"""How the record of a migration begins that found a part of its effect there."""


@dataclass(frozen=True)
class Contents:
    """Which tables and columns there are, and how many rows each table has."""

    schema: Snapshot
    rows: Mapping[str, int]

    def lost(self, after: Contents) -> tuple[dict[str, object], ...]:
        """Name what is no longer there: rows by table, and columns with the rows that had them."""
        lost: list[dict[str, object]] = []
        for name, rows in self.rows.items():
            table, left = self.schema.tables[name], after.schema.tables.get(name)
            gone = rows - after.rows.get(name, 0)
            if left is None or gone > 0:
                lost.append({"table": table.name, "rows": gone, "dropped": left is None})
            if left is not None and rows:
                columns = [c.name for key, c in table.columns.items() if key not in left.columns]
                lost += [{"table": table.name, "column": column, "rows": rows, "dropped": True} for column in columns]
        return tuple(lost)


def contents(database: pw.Database, dialect: Dialect, *, without: Iterable[str] = ()) -> Contents:
    """Count every table's rows; ``without`` names the tables of the history."""
    schema = dialect.snapshot(database)
    ours = {name.lower() for name in without}
    quote = database.quote
    rows = {}
    for name, table in schema.tables.items():
        if name not in ours and table.columns:
            quoted = f"{quote[0]}{table.name.replace(quote[1], quote[1] * 2)}{quote[1]}"
            rows[name] = int(database.execute_sql(f"SELECT count(*) FROM {quoted}").fetchone()[0])
    return Contents(schema, rows)


def found_there(history: History) -> frozenset[str]:
    """Return the migrations of which some effect was there before they ran: tables that are not theirs to drop."""
    found: dict[str, bool] = {}
    for event in reversed(history.events()):
        if event["kind"] in ("applied", "adopted") and event["outcome"] == "ok":
            partly = str(event["detail"] or "").startswith(PARTLY)
            found[event["migration_name"]] = event["kind"] == "adopted" or partly
    return frozenset(key for key, is_theirs in found.items() if is_theirs)


def partly(already_there: Iterable[str]) -> str | None:
    """Say, for the record, which tables and columns a migration found; indexes hold nothing."""
    found = [what for what in already_there if what.startswith(("table ", "column "))]
    return PARTLY + ", ".join(found) if found else None


def undo(
    database: pw.Database, dialect: Dialect, history: History, step: Migration, applied: tuple[Migration, ...]
) -> StepResult:
    """Run one script's ``rollback`` and remove its row, both or neither; the events stay.

    A failure is recorded as an event; the row stays, since the migration does.
    """
    started = time.perf_counter()
    doing = dialect.operations(database)
    try:
        with dialect.step(database, step.key) if step.atomic else unbound(database):
            call(step, database, doing, orm_of(applied, database), undo=True)
            history.forget(step.key)
    except TransactionLost:
        raise
    except (Exception, SystemExit) as error:
        logger.debug("rollback of %s failed\n%s", step.key, trace(error))
        reason, spent = describe(error, step), _since(started)
        history.log(Event("rolled back", "failed", step.key, error=reason, duration_ms=spent))
        return StepResult(step.key, Outcome.FAILED, spent, reason)
    spent = _since(started)
    history.log(Event("rolled back", key=step.key, duration_ms=spent, checksum=step.checksum))
    return StepResult(step.key, Outcome.ROLLED_BACK, spent)


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)

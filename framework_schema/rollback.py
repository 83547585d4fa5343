"""Undo one migration at a time, and tell what goes with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import peewee as pw

from framework_schema import registered
from framework_schema.dialects import Dialect, unbound
from framework_schema.errors import TransactionLost
from framework_schema.expected import call, describe, orm_of
from framework_schema.history import Event, History
from framework_schema.migration import Migration
from framework_schema.report import Outcome, StepResult
from framework_schema.wording import trace

if TYPE_CHECKING:
    from framework_schema.operations import Operations

logger = logging.getLogger(__name__)

PARTLY = "was there already: "
"""How the record of a migration begins that found a part of its effect there."""


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
    database: pw.Database,
    dialect: Dialect,
    history: History,
    step: Migration,
    applied: tuple[Migration, ...],
    doing: Operations,
) -> StepResult:
    """Run one script's ``rollback`` and remove its row, both or neither; the events stay.

    A failure is recorded as an event; the row stays, since the migration does.
    """
    started = time.perf_counter()
    try:
        with dialect.step(database, step.key) if step.atomic else unbound(database):
            call(step, database, doing, orm_of(applied, database), undo=True)
            history.forget(step.key)
    except TransactionLost:
        raise
    except (Exception, SystemExit) as error:
        logger.debug("rollback of %s failed\n%s", step.key, trace(error))
        reason, spent = describe(error, step), _since(started)
        reason += registered.advice(database, reason)
        history.log(Event("rolled back", "failed", step.key, error=reason, duration_ms=spent))
        return StepResult(step.key, Outcome.FAILED, spent, reason)
    spent = _since(started)
    history.log(Event("rolled back", key=step.key, duration_ms=spent, checksum=step.checksum))
    return StepResult(step.key, Outcome.ROLLED_BACK, spent)


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)

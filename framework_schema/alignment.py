"""Bring one live database to the expected schema, inside the caller's transaction."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import peewee as pw

from framework_schema import align
from framework_schema.align import Left
from framework_schema.ddl import fold, quote
from framework_schema.drift import find_drift
from framework_schema.history import Event
from framework_schema.rebuild import RebuildFailed, rebuild_table
from framework_schema.repair import repairs, run_repair
from framework_schema.reshape import Reshaping, reshapings
from framework_schema.snapshot import Snapshot
from framework_schema.sqlite_snapshot import of_database
from framework_schema.wording import trace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Alignment:
    """What was made or changed, what goes on record of it, and what rows forbid."""

    done: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    left: tuple[Left, ...] = ()

    def __add__(self, other: Alignment) -> Alignment:
        """Return both, the later word on what is left."""
        return Alignment(self.done + other.done, self.events + other.events, other.left)


def aligned(
    database: pw.SqliteDatabase, expected: Snapshot, *, strict: bool = False, repair: bool = False
) -> Alignment:
    """Make what is missing; with ``strict`` also change what differs; with ``repair`` mend rows first.

    A name in the history proves nothing: only the live schema is looked at.
    """
    result = _add_missing(database, expected)
    if not strict:
        return result
    found = _reshape(database, expected, only_look=repair)
    if repair:
        found = _repair(database, expected, result.left + found.left) + _reshape(database, expected)
    return result + found + _again(found, _add_missing(database, expected))


def _again(found: Alignment, last: Alignment) -> Alignment:
    """Add to what is left after the rebuilds what the uniques made after them could not have."""
    return Alignment(last.done, last.events, found.left + last.left)


def _add_missing(database: pw.SqliteDatabase, expected: Snapshot) -> Alignment:
    live = of_database(database, structural=expected.is_structural)
    drift = find_drift(expected, live)
    touched = {d.table for d in drift.additive if fold(d.table) in live.tables}
    changes = align.additions(drift, expected, live, align.empty_tables(database, touched))
    done, left = align.apply(database, changes)
    events = tuple(Event("aligned", detail=f"{change.what}: {change.sql}") for change in done)
    return Alignment(tuple(change.what for change in done), events, tuple(left))


def _reshape(database: pw.SqliteDatabase, expected: Snapshot, *, only_look: bool = False) -> Alignment:
    live = of_database(database, structural=True)
    result = Alignment()
    for reshaping in reshapings(database, find_drift(expected, live), expected, live):
        table = Alignment(left=result.left + reshaping.left)
        if not only_look and (reshaping.new_sql or reshaping.drops):
            table += _rebuild(database, reshaping, table.left)
        result += table
    return result


def _rebuild(database: pw.SqliteDatabase, reshaping: Reshaping, left: tuple[Left, ...]) -> Alignment:
    """Rebuild one table; what cannot be shown to be whole is undone and left, and the others go on."""
    what = f"rebuilt table {reshaping.table}" if reshaping.new_sql else f"changed indexes of {reshaping.table}"
    try:
        with database.savepoint():
            for kind, name in reshaping.drops:
                database.execute_sql(f"DROP {kind} {quote(name)}")
            if reshaping.new_sql:
                rebuild_table(database, reshaping.table, reshaping.new_sql, allow_conversion=reshaping.converts)
    except RebuildFailed as error:
        logger.debug("rebuild failed\n%s", trace(error))
        failed = Left(reshaping.table, f"rebuild: {error.problem}", 0, "", "rebuild", reshaping.table)
        return Alignment((), (Event("aligned", "failed", detail=what, error=str(error)),), (*left, failed))
    detail = f"{what}: {reshaping.new_sql}" if reshaping.new_sql else what
    return Alignment((what,), (Event("aligned", detail=detail),), left)


def _repair(database: pw.SqliteDatabase, expected: Snapshot, left: tuple[Left, ...]) -> Alignment:
    live = of_database(database, structural=True)
    done = []
    for mend in repairs(left, expected, live):
        rows = run_repair(database, mend)
        if rows:
            done.append(f"repaired {mend.table}: {rows} rows, {mend.what}")
    return Alignment(tuple(done), tuple(Event("repaired", detail=what) for what in done))

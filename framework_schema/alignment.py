"""Bring one live database to the expected schema, inside the caller's transaction.

What cannot be mended is left and named, object by object; all else is mended.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import peewee as pw

from framework_schema import align, registered
from framework_schema.conversion import forget
from framework_schema.ddl import DDLError, fold, quote
from framework_schema.drift import Drift, find_drift
from framework_schema.history import Event
from framework_schema.left import Left
from framework_schema.rebuild import RebuildFailed, rebuild_table
from framework_schema.repair import mend_rows
from framework_schema.reshape import Reshaping, reshaping_of
from framework_schema.snapshot import Snapshot
from framework_schema.sqlite_snapshot import of_database
from framework_schema.wording import say, trace

logger = logging.getLogger(__name__)

PASSES = 20
"""How often rows are mended: what is set aside can show what else stands in the way."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """What was made or changed, what goes on record of it, and what is left as it was."""

    done: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    left: tuple[Left, ...] = ()

    def __add__(self, other: Alignment) -> Alignment:
        """Return both, the later word on what is left."""
        return Alignment(self.done + other.done, self.events + other.events, other.left)


def aligned(
    database: pw.SqliteDatabase, expected: Snapshot, *, strict: bool = False, repair: bool = False
) -> Alignment:
    """Make what is missing; with ``strict`` also change what differs; with ``repair`` first set rows aside.

    A name in the history proves nothing: only the live schema is looked at.
    """
    result = _add_missing(database, expected)
    if not strict:
        return result
    if repair:
        result += _repair(database, expected)
    found = _reshape(database, expected)
    return result + found + _again(found, _add_missing(database, expected))


def left_of(
    database: pw.SqliteDatabase, drift: Drift, expected: Snapshot, live: Snapshot, *, strict: bool = False
) -> tuple[Left, ...]:
    """Return what rows or names forbid, of what is missing and with ``strict`` of all that differs; reads only."""
    changes = _changes(database, drift, expected, live)
    found = [left for _, left in align.stand_in_way(database, changes) if left is not None]
    for reshaping in _reshapings(database, drift, expected, live) if strict else ():
        found += (reshaping,) if isinstance(reshaping, Left) else reshaping.left
    return tuple(found)


def _again(found: Alignment, last: Alignment) -> Alignment:
    """Add to what is left after the rebuilds what could not be made after them either, once each."""
    left = {(item.table, item.kind, item.name): item for item in (*found.left, *last.left)}
    return Alignment(last.done, last.events, tuple(left.values()))


def _changes(database: pw.SqliteDatabase, drift: Drift, expected: Snapshot, live: Snapshot) -> Iterator[align.Change]:
    touched = [t.name for d in drift.additive if (t := live.tables.get(fold(d.table))) and not t.is_virtual]
    return align.additions(drift, expected, live, align.empty_tables(database, dict.fromkeys(touched)))


def _add_missing(database: pw.SqliteDatabase, expected: Snapshot) -> Alignment:
    live = of_database(database, structural=expected.is_structural)
    done, left = align.apply(database, _changes(database, find_drift(expected, live), expected, live))
    events = tuple(Event("aligned", detail=f"{change.what}: {change.sql}") for change in done)
    return Alignment(tuple(change.what for change in done), events, tuple(left))


def _reshape(database: pw.SqliteDatabase, expected: Snapshot) -> Alignment:
    result = Alignment()
    live = of_database(database, structural=True)
    for reshaping in _reshapings(database, find_drift(expected, live), expected, live):
        if isinstance(reshaping, Left):
            result += Alignment(left=(*result.left, reshaping))
            continue
        table = Alignment(left=result.left + reshaping.left)
        if reshaping.new_sql or reshaping.drops:
            table += _rebuild(database, reshaping, table.left)
        result += table
    forget(database)
    return result


def _reshapings(
    database: pw.SqliteDatabase, drift: Drift, expected: Snapshot, live: Snapshot
) -> Iterator[Reshaping | Left]:
    """Decide for each table with structural drift; one that cannot be decided for is left."""
    for name in sorted({fold(d.table) for d in drift.structural}):
        try:
            yield reshaping_of(database, name, drift, expected, live)
        except (DDLError, pw.DatabaseError) as error:
            if not align.is_refusal(error):
                raise
            logger.debug("%s cannot be compared\n%s", name, trace(error))
            yield _not_rebuilt(live.tables[name].name, say(error))


def _rebuild(database: pw.SqliteDatabase, reshaping: Reshaping, left: tuple[Left, ...]) -> Alignment:
    """Rebuild one table; what cannot be shown to be whole is undone and left, and the others go on."""
    what = f"rebuilt table {reshaping.table}" if reshaping.new_sql else f"changed indexes of {reshaping.table}"
    try:
        with database.savepoint():
            for kind, name in reshaping.drops:
                database.execute_sql(f"DROP {kind} {quote(name)}")
            if reshaping.new_sql:
                rebuild_table(
                    database,
                    reshaping.table,
                    reshaping.new_sql,
                    copy=reshaping.copy,
                    allow_conversion=reshaping.converts,
                )
    except (RebuildFailed, pw.DatabaseError) as error:
        if not align.is_refusal(error):
            raise
        logger.debug("rebuild failed\n%s", trace(error))
        problem = error.problem if isinstance(error, RebuildFailed) else say(error)
        problem += registered.advice(database, problem)
        return Alignment(left=(*left, _not_rebuilt(reshaping.table, problem)))
    detail = f"{what}: {reshaping.new_sql}" if reshaping.new_sql else what
    return Alignment((what,), (Event("aligned", detail=detail),), left)


def _not_rebuilt(table: str, problem: str) -> Left:
    return Left(table, "rebuild", 0, "", "rebuild", table, problem)


def _repair(database: pw.SqliteDatabase, expected: Snapshot) -> Alignment:
    """Mend or set aside the rows that forbid something, until no more of them can be."""
    done: list[str] = []
    for _ in range(PASSES):
        live = of_database(database, structural=True)
        obstacles = left_of(database, find_drift(expected, live), expected, live, strict=True)
        mended = mend_rows(database, obstacles, expected, live)
        forget(database)
        if not mended:
            break
        done += mended
    return Alignment(tuple(done), tuple(Event("repaired", detail=what) for what in done))

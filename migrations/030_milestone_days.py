"""Milestones that know only a date, only a day, or only a duration get the rest of the three.

An entry's milestones follow each other in ``order_position``, from 1; each lasts
``duration_days``, at least 1, and ends ``days_from_start`` days after the entry began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema.rows import batches, day_of, has_columns, text_of, undecoded, whole

if TYPE_CHECKING:
    from peewee_migrate import Migrator

# Not the order alone: without it, a duration of 7 that a user gave cannot be told from the default.
fills = ["EntryStateMilestone.duration_days"]

depends_on = ["framework/013_milestones"]

COLUMNS = ("id", "entry_id", "days_from_start", "order_position", "duration_days", "created_at", "updated_at")
DEFAULT_DURATION = 7


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Compute what follows from what is there; ``target_date`` stays, and what is not known stays NULL."""
    if fake or not has_columns(database, "EntryStateMilestone", *COLUMNS):
        return
    milestones = pw.Table("EntryStateMilestone")
    is_open = milestones.c.days_from_start.is_null() | _is_unordered(milestones)
    entries = milestones.select(milestones.c.entry_id).where(is_open).distinct()
    for batch in batches(database, entries, milestones.c.entry_id):
        for rows in _by_entry(database, [entry for (entry,) in batch]).values():
            known = [dict(row) for row in rows]
            _days_from_dates(rows)
            _days_from_durations(rows)
            _durations_from_days(rows)
            for old, new in zip(known, rows, strict=True):
                changes = {milestones.c[name]: value for name, value in new.items() if value != old[name]}
                if changes:
                    milestones.update(changes).where(milestones.c.id == new["id"]).execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the numbers: an entry's milestones may have been moved since."""


def _by_entry(database: pw.Database, entries: list[Any]) -> dict[Any, list[dict[str, Any]]]:
    """Return the milestones of these entries, each with its entry's start and its target as days."""
    milestones, table = pw.Table("EntryStateMilestone"), pw.Table("Entry")
    has_dates = has_columns(database, "EntryStateMilestone", "target_date")
    query = milestones.select(
        *(milestones.c[name] for name in COLUMNS[:5]),
        text_of(database, undecoded(database, milestones.c.created_at)),
        text_of(database, undecoded(database, milestones.c.updated_at)),
        undecoded(database, milestones.c.target_date) if has_dates else pw.Value(None),
    ).where(milestones.c.entry_id << entries)
    begun = [name for name in ("commenced_at", "created_at") if has_columns(database, "Entry", "id", name)]
    times = table.select(table.c.id, *(undecoded(database, table.c[name]) for name in begun))
    starts = {
        entry: next((day for day in map(day_of, moments) if day), None)
        for entry, *moments in times.where(table.c.id << entries).tuples().execute(database)
    }
    found: dict[Any, list[dict[str, Any]]] = {}
    for row in query.order_by(milestones.c.id).tuples().execute(database):
        milestone = dict(zip((*COLUMNS, "target_date"), map(whole, row), strict=True))
        milestone["has_date"] = milestone["target_date"] is not None
        milestone["target"], milestone["start"] = day_of(milestone["target_date"]), starts.get(milestone["entry_id"])
        found.setdefault(milestone["entry_id"], []).append(milestone)
    return found


def _is_unordered(milestones: pw.Table) -> Any:
    return milestones.c.order_position.is_null() | (milestones.c.order_position == 0)


def _days_from_dates(rows: list[dict[str, Any]]) -> None:
    """Count from the entry's start to the target; no milestone is due before the start."""
    dated = [row for row in rows if row["days_from_start"] is None and row["target"] and row["start"]]
    for row in dated:
        row["days_from_start"] = max(0, (row["target"] - row["start"]).days)
    if len(dated) == len(rows) and all(_is_unset(row) for row in rows):
        _follow(sorted(rows, key=lambda row: (row["days_from_start"], row["id"])))


def _days_from_durations(rows: list[dict[str, Any]]) -> None:
    """Add up the durations in their order, when all have one; a milestone with a date waits for that."""
    if any(row["has_date"] or not _is_number(row["duration_days"], 1) for row in rows):
        return
    if not all(_is_number(row["order_position"], 1) for row in rows):
        return
    day = 0
    for row in sorted(rows, key=lambda row: (row["order_position"], row["id"])):
        day += row["duration_days"]
        if row["days_from_start"] is None:
            row["days_from_start"] = day


def _durations_from_days(rows: list[dict[str, Any]]) -> None:
    """Put an entry's milestones in the order of their days, when nobody gave them another one.

    A duration of 7 is the default of its column; it counts as given once its
    row was changed. Several milestones of one day are the work of an old script
    that gave all of them the same day: they have no order.
    """
    if not all(_is_number(row["days_from_start"], 0) and _is_unset(row) and _is_untouched(row) for row in rows):
        return
    if len({row["days_from_start"] for row in rows}) == len(rows):
        _follow(sorted(rows, key=lambda row: row["days_from_start"]))


def _follow(rows: list[dict[str, Any]]) -> None:
    """Let milestones last from one to the next."""
    day = 0
    for place, row in enumerate(rows, start=1):
        row["order_position"], row["duration_days"] = place, max(1, row["days_from_start"] - day)
        day += row["duration_days"]


def _is_unset(row: dict[str, Any]) -> bool:
    return row["order_position"] in (None, 0) and row["duration_days"] in (None, DEFAULT_DURATION)


def _is_untouched(row: dict[str, Any]) -> bool:
    return row["duration_days"] is None or row["created_at"] == row["updated_at"]


def _is_number(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least

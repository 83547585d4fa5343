"""What a dry run found, told to people: each migration's statements under its name, the history's counted."""

from __future__ import annotations

import re
from typing import Any

from framework_schema.console import Screen, seconds
from framework_schema.report import Report, State
from framework_schema.sizes import size
from framework_schema.wording import printable

HISTORY = re.compile(r"schema_migrations?\b|schema_migration_events|_events\b", re.I)


def show_rehearsal(to: Screen, item: Report) -> None:
    """Write the statements, headed by migration; those that keep the history only with -v."""
    if item.state is State.CURRENT:
        return
    rows, disk = getattr(item, "rows", 0), getattr(item, "disk_bytes", 0)
    to.say(
        f"-- {printable(item.name)}: {len(item.sql)} statements, {rows} rows written, {seconds(item.duration_ms)}"
        + (f", {size(disk)} of disk while it runs" if item.engine == "sqlite" else "")
    )
    for key in item.adopted:
        to.say(f"-- adopted, since its whole effect is there: {key}")
    headings: dict[int, list[str]] = {}
    for place, key in getattr(item, "headings", ()):
        headings.setdefault(place, []).append(key)
    counts: dict[int, int] = dict(getattr(item, "counts", ()))
    hidden = 0
    for place, statement in enumerate(item.sql):
        for key in headings.get(place, ())[-1:]:
            to.say(f"-- {printable(key)}")
        if not to.verbose and _keeps_history(statement):
            hidden += 1
            continue
        _say_statement(to, statement, counts.get(place))
    if hidden:
        to.say(f"-- and {hidden} statements that keep the history and the transaction (-v shows them)")


def _say_statement(to: Screen, statement: str, rows: int | None) -> None:
    body, mark, note = statement.partition("  -- ")
    remarks = [note] if mark else []
    remarks += [f"{rows} row{'s' * (rows != 1)}"] if rows else []
    to.say(f"{body.rstrip(';')};{'  -- ' * bool(remarks)}{', '.join(remarks)}")


def _keeps_history(statement: str) -> bool:
    """Tell statements that would be there whatever the scripts do."""
    words: list[Any] = statement.split(None, 3)
    if statement.rstrip("; ").upper().startswith(("BEGIN", "COMMIT", "ROLLBACK")):
        return True
    return len(words) > 2 and HISTORY.search(" ".join(words[:4])) is not None

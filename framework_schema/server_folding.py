"""Make what a plan makes on MariaDB at once as it will be, rather than make it and then alter it.

Each statement that changes a schema is a transaction of its own there, with
waits for the disk. In a stretch of steps that do nothing but add, a column or
an index of a table that the stretch makes goes into its CREATE TABLE. Nobody is
told of a step before all of the stretch stands, and each script finds its
effect when it runs again: so it is no matter that a table never was without them.

Only plain texts are folded, as Peewee and our operations write them; any other
statement about a table leaves all that follows about it as it is, so that
columns and indexes keep their order. Whether the schema is the same in the end
is seen there, text for text; see ``server_plan``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from framework_schema.watched import Statement

NAME = r"`(?:[^`]|``)+`"
PLAIN = rf"(?:[^`'\"()\\#/-]|{NAME}|'[^'\\]*')"
"""What neither opens a bracket nor a comment."""
INNER = rf"(?:{PLAIN}|\((?:{PLAIN}|\({PLAIN}*\))*\))*"

CREATE = re.compile(rf"CREATE TABLE ({NAME}) \({INNER}\)")
COLUMN = re.compile(
    rf"ALTER TABLE ({NAME}) ADD COLUMN ({NAME} \w[\w ]*(?:\([\d, ]+\))?[\w ]*(?: DEFAULT (?:'[^'\\]*'|-?[\w.]+))?)"
)
INDEX = re.compile(rf"CREATE (UNIQUE )?INDEX ({NAME}) ON ({NAME}) (\((?:{NAME}(?:, )?)+\))")
ASKED = re.compile(rf"SELECT 1 FROM ({NAME}) LIMIT 1")
ABOUT = re.compile(NAME)


def gathered(steps: Iterable[Iterable[Statement]]) -> list[list[Statement]]:
    """Return for each step what is left for it to do when those before it make its columns and indexes along.

    All of the statements do nothing but add, or ask whether a table is empty; see ``server_plan.ADDS``.
    """
    found: list[list[Statement]] = []
    made: dict[str, tuple[list[Statement], int]] = {}
    for statements in steps:
        kept: list[Statement] = []
        found.append(kept)
        for statement in statements:
            table, part = _part(statement)
            if table in made and part is not None:
                place, number = made[table]
                if part:
                    place[number] = replace(place[number], sql=f"{place[number].sql[:-1]}, {part})")
                continue
            if table is None:
                for name in ABOUT.findall(statement.sql):
                    made.pop(name, None)
            elif part is None:
                made[table] = (kept, len(kept))
            kept.append(statement)
    return found


def _part(statement: Statement) -> tuple[str | None, str | None]:
    """Return the table that a statement is about, and what it adds there: nothing if it only asks, None if it is made.

    None twice for what is left as it is.
    """
    sql = statement.sql
    if statement.params or "%" in sql:
        return None, None
    if made := CREATE.fullmatch(sql):
        return made[1], None
    if added := COLUMN.fullmatch(sql):
        return (None, None) if added[2].upper().endswith(" FIRST") else (added[1], added[2])
    if indexed := INDEX.fullmatch(sql):
        return indexed[3], f"{indexed[1] or ''}INDEX {indexed[2]} {indexed[4]}"
    if (asked := ASKED.fullmatch(sql)) and statement.asks and statement.answer is None:
        return asked[1], ""
    return None, None

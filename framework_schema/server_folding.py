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
INDEX = re.compile(rf"CREATE (UNIQUE )?INDEX ({NAME}) ON ({NAME}) (\(.*\))", re.S)
COLUMNS = re.compile(rf"\((?:{NAME}(?:, )?)+\)")
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
            match _part(statement):
                case None:
                    for name in ABOUT.findall(statement.sql):
                        made.pop(name, None)
                case table, None:
                    made[table] = (kept, len(kept))
                case table, part if table in made:
                    place, number = made[table]
                    place[number] = _with(place[number], part)
                    continue
            kept.append(statement)
    return found


def _with(made: Statement, part: str | None) -> Statement:
    """Let a CREATE TABLE make one thing more."""
    return replace(made, sql=f"{made.sql[:-1]}, {part})") if part else made


def index_within(statement: str) -> tuple[str, str] | None:
    """Return the table of a CREATE INDEX, and what of CREATE TABLE makes the same; None for another statement."""
    found = INDEX.fullmatch(statement)
    return (found[3], f"{found[1] or ''}INDEX {found[2]} {found[4]}") if found else None


def _part(statement: Statement) -> tuple[str, str | None] | None:
    """Return the table that a statement is about, and what it adds there: None if it makes it, nothing if it only asks.

    None for a statement that is left as it is.
    """
    sql = statement.sql
    if statement.params or "%" in sql:
        return None
    if made := CREATE.fullmatch(sql):
        return made[1], None
    if added := COLUMN.fullmatch(sql):
        return None if added[2].upper().endswith(" FIRST") else (added[1], added[2])
    if (indexed := INDEX.fullmatch(sql)) and COLUMNS.fullmatch(indexed[4]):
        return index_within(sql)
    if (asked := ASKED.fullmatch(sql)) and statement.asks and statement.answer is None:
        return asked[1], ""
    return None

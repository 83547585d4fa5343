"""What else in a SQLite database speaks of one column, so that it can neither go nor come without a look at that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import peewee as pw

from framework_schema import ddl
from framework_schema.ddl import fold
from framework_schema.snapshot import Table

AFTER_DROP = re.compile(r"error in (\w+) (.+) after drop column: ")
"""How SQLite says, in ``ALTER TABLE DROP COLUMN``, that something else is of no use any more."""

NOT_WORKING = re.compile(r"error in (view|trigger|index|table) (.+?)( after rename)?: (.+)", re.S)
"""How SQLite says that something does not work, before a change or because of it; it then changes nothing."""

BY_KEYS = """
    SELECT DISTINCT m.name FROM sqlite_master m, pragma_foreign_key_list(m.name) f
    WHERE m.type = 'table' AND f."table" = ? COLLATE NOCASE AND f."to" = ? COLLATE NOCASE
      AND NOT (m.name = ? COLLATE NOCASE AND f."from" = ? COLLATE NOCASE)
"""


def users_of(database: pw.SqliteDatabase, table: Table, column: str) -> Iterator[str]:
    """Name what needs a column, in words: rules of its table, indexes, triggers, other tables' foreign keys.

    Views and the bodies of triggers are SQLite's to judge: it knows which table a name there belongs to. Indexes
    and rules of the column alone are no users; they go with it.
    """
    definition = ddl.parse_table(table.sql)
    if ddl.name_in(definition.primary_key, column):
        yield "the primary key"
    for constraint in definition.constraints:
        is_own = constraint.kind in ("unique", "foreign key") and is_alone(constraint.columns, column)
        is_user = ddl.name_in(constraint.columns, column) or ddl.names_column(constraint.expression, column)
        if is_user and not is_own and constraint.kind != "primary key":
            yield constraint.text
    for other in definition.columns:
        if fold(other.name) != fold(column):
            yield from (f"CHECK ({check})" for check in other.checks if ddl.names_column(check, column))
            if ddl.names_column(other.generated, column):
                yield f"the generated column {other.name}"
    for name, sql in table.texts.items():
        if is_index(sql):
            if needs_column(sql, column) and not is_index_of(sql, column):
                yield f"the index {name}"
        elif any(ddl.mentions(columns, column) for columns in trigger_columns(sql)):
            yield f"the trigger {name}"
    for (child,) in database.execute_sql(BY_KEYS, (table.name, column, table.name, column)).fetchall():
        yield f"the foreign key of {child}"


def broken_by_drop(error: Exception) -> str | None:
    """Name what SQLite would not do without a column, or None for another complaint."""
    found = AFTER_DROP.match(str(error))
    return f"the {found[1]} {found[2]}" if found else None


def not_working(error: Exception) -> str | None:
    """Say in words what keeps SQLite from a change, or would not survive it; None for another complaint."""
    found = NOT_WORKING.match(str(error))
    if found is None:
        return None
    if found[3]:
        return f"the {found[1]} {found[2]} would not work any more ({found[4]}). Drop or change it first"
    return f"the {found[1]} {found[2]} does not work ({found[4]}), and SQLite renames nothing until it does or is gone"


def is_alone(columns: tuple[str, ...], column: str) -> bool:
    """Tell whether the columns are this one and no more."""
    return [fold(name) for name in columns] == [fold(column)]


def is_index_of(sql: str, column: str) -> bool:
    """Tell whether a CREATE INDEX is on this plain column alone, in whatever order or collation."""
    index = ddl.parse_index(sql)
    names = [part.name for part in index.columns]
    return None not in names and is_alone(tuple(name or "" for name in names), column)


def needs_column(sql: str, column: str) -> bool:
    """Tell whether a CREATE INDEX names a column, in a condition too."""
    index = ddl.parse_index(sql)
    parts = [*(part.expression for part in index.columns), index.where or ""]
    return any(ddl.names_column(part, column) for part in parts)


def trigger_columns(sql: str) -> list[str]:
    """Return the columns of ``CREATE TRIGGER ... UPDATE OF columns ON table``, as written."""
    tokens = ddl.significant(sql)
    words = [token.word for token in tokens]
    end = words.index("ON")
    starts = [tokens[n].end for n in range(end) if words[n - 1 : n + 1] == ["UPDATE", "OF"]]
    return [sql[start : tokens[end].start] for start in starts]


def taking_for_text(table: Table, column: str) -> list[str]:
    """Name the indexes that hold this word in double quotes, which is no column yet and so a text to SQLite.

    Once a column has the name they are about the column, and what stands in them is wrong
    (https://www.sqlite.org/quirks.html, section 8).
    """
    return [name for name, sql in table.texts.items() if is_index(sql) and _in_double_quotes(sql, column)]


def changes_rules(table: Table, grown: str, column: str) -> bool:
    """Tell whether a CHECK or a generated column means something else in ``grown``, which has the new column."""
    if not _in_double_quotes(table.sql, column):
        return False
    before, after = (_rules(sql) for sql in (table.sql, grown))
    return any(after.get(name) != rule for name, rule in before.items())


def _rules(sql: str) -> dict[Any, str]:
    table = ddl.parse_table(sql)
    rules: dict[Any, str] = {n: c.expression for n, c in enumerate(table.constraints) if c.expression is not None}
    for column in table.columns:
        rules |= {(column.name, n): check for n, check in enumerate(column.checks)}
        rules |= {column.name: column.generated} if column.generated else {}
    return rules


def _in_double_quotes(sql: str, name: str) -> bool:
    return any(t.text.startswith('"') and fold(t.name) == fold(name) for t in ddl.significant(sql))


def is_index(sql: str) -> bool:
    """Tell a CREATE INDEX from a CREATE TRIGGER."""
    return next(token.word for token in ddl.significant(sql) if token.word in ("INDEX", "TRIGGER")) == "INDEX"

"""What a SQLite database lacks of the expected schema, and the statements that make it.

A statement that cannot be run, since rows or another object stand in its way,
costs nothing but itself: it is left, with what stands there, and all others run.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import peewee as pw

from framework_schema import ddl
from framework_schema.dependents import taking_for_text
from framework_schema.drift import Difference, Drift
from framework_schema.left import Left
from framework_schema.snapshot import VIRTUAL, Snapshot, Table
from framework_schema.wording import say, trace

logger = logging.getLogger(__name__)

KINDS = ("table", "column", "unique", "key", "index", "trigger")
"""What is made, in this order: what names something comes after it."""
ANY = "ORDER BY 0 DESC"
"""Stands in ``repeated`` for which of equal rows stays."""
REFUSALS = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG})
"""Errors that are about one statement (https://www.sqlite.org/rescode.html); all others are about the whole run."""


@dataclass(frozen=True, slots=True)
class Change:
    """One object that is to be made, and the statements that make it, the first under the name it has in ``text``.

    ``condition`` finds the rows, of a table called ``child``, that forbid it;
    ``query`` shows them to a person. ``blocker`` says what else stands in the way.
    """

    table: str
    what: str
    statements: tuple[str, ...]
    kind: str = ""
    name: str = ""
    condition: str | None = None
    query: str = ""
    blocker: str = ""

    @property
    def sql(self) -> str:
        """All statements as one text."""
        return "; ".join(self.statements)


class Names:
    """The names that are taken in one database, and free ones in their place.

    Tables, views and indexes share one set of names, triggers have their own.
    """

    def __init__(self, live: Snapshot) -> None:
        tables = live.tables.values()
        self._objects = {ddl.fold(view): f"the view {view}" for view in live.views}
        self._objects |= {
            ddl.fold(table.name): f"the {VIRTUAL if table.is_virtual else 'table'} {table.name}" for table in tables
        }
        for table in tables:
            names = [name for name, text in table.texts.items() if not ddl.is_trigger(text)]
            self._objects |= {ddl.fold(n): f"the index {n} of the table {table.name}" for n in names}
        self._triggers = {name for table in tables for name in table.triggers} | live.view_triggers

    def holder(self, name: str) -> str:
        """Say what has a name that a table is to have; empty when it is free."""
        return self._objects.get(ddl.fold(name), "")

    def take(self, text: str) -> str:
        """Return a CREATE INDEX or CREATE TRIGGER under a free name, its own if that is free, and take that name."""
        is_trigger = ddl.is_trigger(text)
        taken = self._triggers if is_trigger else self._objects.keys()
        wanted = ddl.object_name(text)
        name, number = wanted, 1
        while ddl.fold(name) in taken:
            number += 1
            name = f"{wanted}_{number}"
        if is_trigger:
            self._triggers.add(ddl.fold(name))
        else:
            self._objects[ddl.fold(name)] = f"the index {name}"
        return text if name == wanted else ddl.rename_object(text, name)


def additions(drift: Drift, expected: Snapshot, live: Snapshot, is_empty: frozenset[str]) -> Iterator[Change]:
    """Turn additive drift into statements, tables first, then columns, then what names them.

    ``is_empty`` holds the case-folded names of the tables without rows: SQLite
    adds a column with a default like CURRENT_TIMESTAMP to those only.
    """
    names = Names(live)
    for difference in sorted(drift.additive, key=lambda d: KINDS.index(d.kind)):
        folded = ddl.fold(difference.table)
        want, have = expected.tables[folded], live.tables.get(folded)
        if have is None or have.is_virtual:
            yield _whole_table(want, names)
        else:
            yield _addition(want, have, difference, names, folded in is_empty)


def stand_in_way(database: pw.Database, changes: Iterable[Change]) -> Iterator[tuple[Change, Left | None]]:
    """Set beside each change what forbids it, as far as rows and names tell; reads only."""
    for change in changes:
        rows = 0
        if change.condition and not change.blocker:
            query = f"SELECT count(*) FROM {ddl.quote(change.table)} AS child WHERE {change.condition}"
            rows = database.execute_sql(query).fetchone()[0]
        yield change, _left(change, rows=rows) if rows or change.blocker else None


def apply(database: pw.Database, changes: Iterable[Change]) -> tuple[list[Change], list[Left]]:
    """Run the changes, and leave those that something stands against."""
    done: list[Change] = []
    left: list[Left] = []
    for change, obstacle in stand_in_way(database, changes):
        problem = obstacle or _run(database, change)
        if problem is None:
            done.append(change)
        else:
            left.append(problem)
    return done, left


def _run(database: pw.Database, change: Change) -> Left | None:
    try:
        with database.savepoint():
            for statement in change.statements:
                database.execute_sql(statement)
    except pw.DatabaseError as error:
        if not is_refusal(error):
            raise
        logger.debug("%s could not be made\n%s", change.what, trace(error))
        return _left(replace(change, blocker=f"SQLite refuses it ({say(error)})"))
    return None


def is_refusal(error: BaseException) -> bool:
    """Tell an error about one statement from one that ends the run: a lock, a full disk, a damaged file."""
    cause = error if isinstance(error, sqlite3.Error) else error.__cause__ or error.__context__
    code = getattr(cause, "sqlite_errorcode", None)
    return code is None or code & 0xFF in REFUSALS


def _left(change: Change, rows: int = 0) -> Left:
    return Left(
        change.table, change.what, rows, change.query, change.kind, change.name, change.blocker, change.condition or ""
    )


def empty_tables(database: pw.Database, names: Iterable[str]) -> frozenset[str]:
    """Return which of the tables hold no row, case-folded."""
    return frozenset(
        ddl.fold(name)
        for name in names
        if database.execute_sql(f"SELECT 1 FROM {ddl.quote(name)} LIMIT 1").fetchone() is None
    )


def _whole_table(want: Table, names: Names) -> Change:
    holder = names.holder(want.name)
    blocker = f"{holder} has its name" if holder else ""
    texts = () if holder else tuple(names.take(text) for text in want.texts.values())
    return Change(want.name, f"table {want.name}", (want.sql, *texts), "table", want.name, blocker=blocker)


def _addition(want: Table, have: Table, difference: Difference, names: Names, is_empty: bool) -> Change:
    if difference.kind == "column":
        return _column(want, have, difference.name, is_empty)
    if difference.kind in ("unique", "key"):
        return _unique(want, have, difference, names)
    if difference.kind == "index":
        return _index(want, have, difference.name, names)
    return _trigger(want, have, difference.name, names)


def _column(want: Table, have: Table, name: str, is_empty: bool) -> Change:
    definition = column_definition(want, name, is_empty)
    statement = f"ALTER TABLE {ddl.quote(have.name)} ADD COLUMN {definition}"
    again = (f"REINDEX {ddl.quote(index)}" for index in taking_for_text(have, name))
    return Change(have.name, f"column {have.name}.{name}", (statement, *again), "column", name)


def column_definition(want: Table, name: str, is_empty: bool) -> str:
    """Write a column of the expected table so that SQLite can add it to a table with rows.

    What cannot be had in ADD COLUMN is left to ``--strict``: a NOT NULL without
    a default, a default that is no constant while there are rows, a key. See
    https://www.sqlite.org/lang_altertable.html#alter_table_add_column
    """
    parsed = ddl.parse_table(want.sql)
    column = parsed.column(name)
    assert column is not None
    parts = [ddl.quote(column.name), column.type]
    default = column.default
    if default is not None and (is_empty or is_constant(default)):
        parts.append(f"DEFAULT {default}")
        parts += ["NOT NULL"] if column.not_null and default.upper() != "NULL" else []
    parts += [f"COLLATE {column.collation}"] if column.collation else []
    parts += [f"CHECK ({check})" for check in column.checks]
    parts += [f"GENERATED ALWAYS AS {column.generated}"] if column.generated else []
    parts += [key.text for key in parsed.foreign_keys if tuple(map(ddl.fold, key.columns)) == (ddl.fold(name),)]
    return " ".join(part for part in parts if part)


def is_constant(default: str) -> bool:
    """Tell whether SQLite takes this default in ADD COLUMN for a table with rows."""
    text = default.strip()
    return not text.startswith("(") and text.upper() not in (
        "CURRENT_TIMESTAMP",
        "CURRENT_DATE",
        "CURRENT_TIME",
    )


def _unique(want: Table, have: Table, difference: Difference, names: Names) -> Change:
    """Make a unique index, also for a primary key: an INSERT OR REPLACE heeds that as well as the key itself."""
    labels = difference.name.split(", ")
    parts = collated_parts(want, have, labels)
    index = want.unique_names.get(frozenset(labels), "")
    text = want.texts.get(index)
    if text is None or "COLLATE" in " ".join(parts):
        title = ddl.quote(index if text else ddl.unique_title(want.name, labels))
        text = f"CREATE UNIQUE INDEX {title} ON {ddl.quote(want.name)} ({', '.join(parts)})"
    return Change(
        have.name,
        f"unique {have.name}({difference.name})",
        (names.take(text),),
        difference.kind,
        difference.name,
        repeated(have, parts),
        duplicates(have.name, parts),
    )


def collated_parts(want: Table, have: Table, labels: Iterable[str]) -> list[str]:
    """Write the columns of a unique with the collation each is to be compared by, where the live one may be another."""
    collations = {column: collation for column, _, collation in (label.partition(" COLLATE ") for label in labels)}
    other = "BINARY" if "collate" in have.sql.lower() else ""
    found = [(want.columns[name].name, collations[name] or other) for name in ordered(want, collations)]
    return [ddl.quote(name) + (f" COLLATE {collation}" if collation else "") for name, collation in found]


def ordered(want: Table, columns: Iterable[str]) -> list[str]:
    """Return columns in the order the table has them, but those of its key in key order."""
    wanted = frozenset(columns)
    names = want.primary_key if wanted == frozenset(want.primary_key) else want.columns
    return [name for name in names if name in wanted]


def _index(want: Table, have: Table, name: str, names: Names) -> Change:
    index = want.indexes[ddl.fold(name)]
    text = want.texts[index.name]
    change = Change(have.name, f"index {index.name}", (names.take(text),), "index", index.name)
    if not index.unique:
        return change
    definition = ddl.parse_index(text)
    parts = [_part(column) for column in definition.columns]
    return replace(
        change,
        condition=repeated(have, parts, definition.where),
        query=duplicates(have.name, parts, definition.where),
    )


def _part(column: ddl.IndexColumn) -> str:
    """Write what an index sorts by, without its direction."""
    text = ddl.quote(column.name) if column.name is not None else f"({column.expression})"
    return f"{text} COLLATE {column.collation}" if column.collation else text


def _trigger(want: Table, have: Table, name: str, names: Names) -> Change:
    text = next(text for n, text in want.texts.items() if ddl.fold(n) == name and ddl.is_trigger(text))
    return Change(have.name, f"trigger {name}", (names.take(text),), "trigger", name)


def duplicates(table: str, parts: Sequence[str], where: str | None = None) -> str:
    """Write the query for the values that several rows share. NULL is equal to nothing, another NULL either."""
    grouped = ", ".join(parts)
    return (
        f"SELECT {grouped}, count(*) FROM {ddl.quote(table)} WHERE {_given(parts, where)}"
        f" GROUP BY {grouped} HAVING count(*) > 1"
    )


def repeated(table: Table, parts: Sequence[str], where: str | None = None) -> str:
    """Write the condition for all rows but one of those that share a value: the oldest.

    With something else in the place of ``ANY``, it is the oldest of those for which that is highest.
    """
    row = row_identity(table)
    numbered = (
        f"SELECT {row}, row_number() OVER (PARTITION BY {', '.join(parts)} {ANY}, {row})"
        f" AS place FROM {ddl.quote(table.name)} AS alike WHERE {_given(parts, where)}"
    )
    return f"({child_identity(table)}) IN (SELECT {row} FROM ({numbered}) WHERE place > 1)"


def _given(parts: Sequence[str], where: str | None) -> str:
    conditions = [f"({where})"] if where else []
    return " AND ".join([*conditions, *(f"{part} IS NOT NULL" for part in parts)])


def row_identity(table: Table) -> str:
    """Return the columns that tell the rows of a table apart, quoted."""
    free = next((name for name in ddl.ROWID_NAMES if name not in table.columns), None)
    if free is None or has_no_rowid(table):
        return ", ".join(ddl.quote(table.columns[name].name) for name in table.primary_key)
    return free


def has_no_rowid(table: Table) -> bool:
    """Tell whether a table is WITHOUT ROWID; one whose statement we cannot read is taken for an ordinary one."""
    try:
        return ddl.parse_table(table.sql).without_rowid
    except ddl.DDLError:
        return False


def has_integer_key(table: Table) -> bool:
    """Tell whether the key is one column that may be the rowid."""
    return len(table.primary_key) == 1 and table.columns[table.primary_key[0]].type == "INTEGER"


def child_identity(table: Table) -> str:
    """Return the same of a table that is called ``child``."""
    return ", ".join(f"child.{name}" for name in row_identity(table).split(", "))

"""What the framework's scripts define stays, whatever the scripts of apps and plugins do.

An app's script may add to the framework's tables. One that takes a table or a
column out of them (it drops or renames it, or builds the table again with fewer)
is refused, since the values would be gone and the framework's code counts on it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema import ddl
from framework_schema.errors import SchemaError
from framework_schema.migration import Migration
from framework_schema.snapshot import Snapshot, Table
from framework_schema.sources import FRAMEWORK

if TYPE_CHECKING:
    from framework_schema.dialects import Dialect
    from framework_schema.sources import Collection as Known

DROPS_TABLE = re.compile(rb"\bDROP\s+TABLE\b", re.I)
Counts = Mapping[str, tuple[int, ...]]
"""For each table the number of its rows, and of the values in each of its columns."""


class TakenOut(SchemaError):
    """A script takes out what the framework's scripts define."""

    def __init__(self, key: str, what: Sequence[str], *, values: bool = False) -> None:
        self.key, self.what = key, tuple(what)
        taken = "loses the values of" if values else "takes away"
        super().__init__(
            f"it {taken} {', '.join(what)}, which the framework's scripts define. Scripts of apps and plugins may"
            " add to the framework's tables, not take from them; mend the script, or take it out of its folder"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between the processes of a fleet."""
        return _taken_out, (self.key, self.what, str(self))


def _taken_out(key: str, what: tuple[str, ...], text: str) -> TakenOut:
    error = TakenOut(key, what)
    error.args = (text,)
    return error


@dataclass(frozen=True)
class Guard:
    """Knows the schema that the framework's scripts define."""

    framework: Snapshot

    def refuse_loss(self, key: str, before: Snapshot, after: Snapshot) -> None:
        """Raise ``TakenOut`` where something of the framework's was there before a script, and is not after it."""
        lost = tuple(self._lost(before, after))
        if lost:
            raise TakenOut(key, lost)

    def _lost(self, before: Snapshot, after: Snapshot) -> Iterator[str]:
        for name, table in self.framework.tables.items():
            was, now = before.tables.get(name), after.tables.get(name)
            if was is None:
                continue
            if now is None:
                yield f"table {table.name}"
                continue
            gone = table.columns.keys() & was.columns.keys() - now.columns.keys()
            yield from (f"{table.name}.{column.name}" for fold, column in table.columns.items() if fold in gone)

    def restored(self, whole: Snapshot) -> Snapshot:
        """Put back the framework's tables of which a script took a rule: a type, key, CHECK, index or trigger."""
        tables = dict(self.framework.tables) | {
            name: self.framework.tables[name]
            if name in self.framework.tables and not _keeps(table, self.framework.tables[name])
            else table
            for name, table in whole.tables.items()
        }
        return replace(whole, tables=tables)

    def counted(self, database: pw.Database, live: Snapshot, texts: str) -> Counts:
        """Count the values in those of the framework's tables that a script's text names."""
        named = [
            table
            for name, table in self.framework.tables.items()
            if name in live.tables and not live.tables[name].unreadable and ddl.fold(table.name) in ddl.fold(texts)
        ]
        return {ddl.fold(table.name): _count(database, table, live) for table in named}

    def refuse_emptied(self, key: str, before: Counts, after: Counts) -> None:
        """Raise ``TakenOut`` where a table that was built again has lost more values of a column than rows."""
        emptied = []
        for name, counts in before.items():
            table, now = self.framework.tables[name], after.get(name)
            if now is None:
                continue
            gone = counts[0] - now[0]
            columns = zip(table.columns.values(), counts[1:], now[1:], strict=True)
            emptied += [f"{table.name}.{column.name}" for column, had, has in columns if had - has > max(gone, 0)]
        if emptied:
            raise TakenOut(key, emptied, values=True)


@contextmanager
def guarded(database: pw.Database, dialect: Dialect, known: Known, step: Migration, table: str) -> Iterator[bool]:
    """Refuse in the end what a script of an app or plugin took out in the body; tell whether values were counted.

    They are where the script drops a table, so that one it builds again may
    come back with all its columns and without their values.
    """
    if step.source == FRAMEWORK or FRAMEWORK not in known.sources:
        yield False
        return

    def guard() -> Guard:
        from framework_schema.expected import expected_schema

        return Guard(expected_schema(tuple(m for m in known.migrations if m.source == FRAMEWORK), table))

    before = dialect.snapshot(database)
    is_counted = isinstance(database, pw.SqliteDatabase) and DROPS_TABLE.search(step.content) is not None
    counts = guard().counted(database, before, step.content.decode(errors="replace")) if is_counted else {}
    roots = _roots(database) if counts else {}
    yield bool(counts)
    after = dialect.snapshot(database)
    if any(
        name not in after.tables or t.columns.keys() - after.tables[name].columns for name, t in before.tables.items()
    ):
        guard().refuse_loss(step.key, before, after)
    if counts:
        now = _roots(database)
        rebuilt = {name: was for name, was in counts.items() if now.get(name) != roots.get(name)}
        guard().refuse_emptied(step.key, rebuilt, guard().counted(database, after, " ".join(rebuilt)))


def _has_lost(before: Snapshot, after: Snapshot) -> bool:
    """Tell whether any table or column is gone, whoever defined it."""
    return any(
        name not in after.tables or table.columns.keys() - after.tables[name].columns
        for name, table in before.tables.items()
    )


def _roots(database: pw.Database) -> dict[str, int]:
    """Return the first page of each table, another one once it was built again."""
    rows = database.execute_sql("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'").fetchall()
    return {ddl.fold(name): root for name, root in rows}


def _keeps(table: Table, defined: Table) -> bool:
    """Tell whether a table still has all that was defined."""
    return (
        all(table.columns.get(name) == column for name, column in defined.columns.items())
        and (table.primary_key, table.autoincrement, table.strict, table.without_rowid)
        == (defined.primary_key, defined.autoincrement, defined.strict, defined.without_rowid)
        and table.uniques >= defined.uniques
        and table.foreign_keys >= defined.foreign_keys
        and table.checks >= defined.checks
        and _holds(table.indexes, defined.indexes)
        and _holds(table.triggers, defined.triggers)
    )


def _holds(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(found.get(name) == value for name, value in wanted.items())


def _count(database: pw.Database, table: Table, live: Snapshot) -> tuple[int, ...]:
    there: Collection[str] = live.tables[ddl.fold(table.name)].columns
    parts = [f"count({_quoted(column.name)})" if fold in there else "0" for fold, column in table.columns.items()]
    row = database.execute_sql(f"SELECT count(*), {', '.join(parts)} FROM {_quoted(table.name)}").fetchone()
    return tuple(row)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

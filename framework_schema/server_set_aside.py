"""Rows set aside on a server: they stand in the way of a rule, and are kept whole until somebody has mended them.

The same as ``set_aside`` does for SQLite: a row moves from ``Entry`` to
``Entry_set_aside``, which has the same columns and three more: why, when, and
which columns were cleared, for a row that stays and only lost a reference. Rows
that refer to one that moves have their reference cleared where it may be NULL,
else they move too, and before it, so that no ON DELETE reaches them.

All of a rule's rows go, or none: which tables have to do with it is known
before anything is changed. Tables are made and triggers taken away first, since
MariaDB commits with that; the rows then move in one transaction.

A condition is about the row of ``ROW``, which stands for the name that its table has in a query.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import peewee as pw

from framework_schema.left import Kept
from framework_schema.server_ddl import Grammar
from framework_schema.server_snapshot import ServerTable
from framework_schema.server_sql import execute
from framework_schema.set_aside import CLEARED, REASON, SUFFIX, TIME
from framework_schema.snapshot import ForeignKey, Snapshot
from framework_schema.wording import say

logger = logging.getLogger(__name__)

OWN = (REASON, TIME, CLEARED)
ROW = "\0"
"""Stands for a row's table in a condition; no name and no text of a server holds it."""
DEPTH = 12
"""Tables that are followed from one to the next for one rule; a condition doubles with each."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key that a live table has, or is to have."""

    table: ServerTable
    key: ForeignKey
    may_be_null: bool


@dataclass(frozen=True, slots=True)
class Change:
    """Rows of one table that move, or that stay with a reference cleared."""

    table: ServerTable
    condition: str
    reason: str
    clear: ForeignKey | None = None


class SetAside:
    """Sets rows of one database aside, inside the caller's transaction where there is one."""

    def __init__(self, database: pw.Database, grammar: Grammar, expected: Snapshot, live: Snapshot) -> None:
        self.database, self.grammar, self.expected, self.live = database, grammar, expected, live
        self.quote = grammar.quote
        self._names = 0

    def move(self, table: ServerTable, condition: str, reason: str) -> list[str]:
        """Move the rows, and see to those that refer to them; return what was done, a sentence each.

        Raises ``DatabaseError`` when not all of it can be done; then every row is where it was.
        """
        return self._carry_out(list(self._moving(table, condition, reason)))

    def clear(self, table: ServerTable, key: ForeignKey, condition: str, reason: str) -> list[str]:
        """Set a reference to NULL, and keep the rows as they were; see ``move``."""
        return self._carry_out([Change(table, condition, reason, key)] if self._has(table, condition) else [])

    def fill(self, table: ServerTable, statement: str) -> int:
        """Run a statement that gives rows of a table a value, and let nothing else happen to them."""
        with self._without_triggers(table), self.database.atomic():
            return self._run(statement)

    def _moving(self, table: ServerTable, condition: str, reason: str, depth: int = 0) -> Iterator[Change]:
        """Yield what is to be done, those that refer to a row before it."""
        if not self._has(table, condition):
            return
        if depth > DEPTH:
            raise pw.IntegrityError(f"rows that refer to each other in a ring, {table.name} among them")
        references = list(self._references_to(table))
        inner = [r for r in references if r.table.name == table.name and not r.may_be_null]
        if inner:
            condition = self._with_descendants(table, inner, condition)
        for reference in references:
            if reference in inner:
                continue
            dangling = self._dangling(reference, table, condition)
            why = f"the row of {table.name} that {', '.join(reference.key.columns)} refers to was set aside"
            if not reference.may_be_null:
                yield from self._moving(reference.table, dangling, why, depth + 1)
            elif self._has(reference.table, dangling):
                yield Change(reference.table, dangling, why, reference.key)
        yield Change(table, condition, reason)

    def _carry_out(self, changes: Sequence[Change]) -> list[str]:
        tables = {change.table.name: change.table for change in changes}
        places = {name: self._place(table) for name, table in tables.items()}
        done = []
        with ExitStack() as stack:
            for table in tables.values():
                stack.enter_context(self._without_triggers(table))
            stack.enter_context(self.database.atomic())
            for change in changes:
                done += self._done(change, places[change.table.name])
        return done

    def _done(self, change: Change, place: str) -> list[str]:
        """Copy the rows, then change them, and make sure that it was those and no others."""
        table, name = change.table, self.quote(change.table.name)
        where = change.condition.replace(ROW, name)
        self._sql(f"SELECT 1 FROM {name} WHERE {where} FOR UPDATE")
        if change.clear is not None:
            columns = ", ".join(change.clear.columns)
            rows = self._copy(table, place, where, change.reason, self.grammar.literal(columns))
            null = [f"{self.quote(table.columns[c].name)} = NULL" for c in change.clear.columns]
            null += self.grammar.unmoved(table, change.clear.columns)
            cleared = self._run(f"UPDATE {name} SET {', '.join(null)} WHERE {where}")
            if cleared != rows:
                raise pw.IntegrityError(f"{rows} rows of {table.name} were copied and {cleared} changed")
            return [f"{table.name}: {columns} cleared in {rows} rows, kept in {place}: {change.reason}"] if rows else []
        before = self._rows_in({table.name, *(reference.table.name for reference in self._references_to(table))})
        rows = self._copy(table, place, where, change.reason, "NULL")
        self._run(f"DELETE FROM {name} WHERE {where}")
        after = self._rows_in(before)
        gone = before.pop(table.name) - after.pop(table.name)  # MariaDB does not tell of rows that follow another one
        if gone != rows:
            raise pw.IntegrityError(f"{rows} rows of {table.name} were copied and {gone} removed")
        if before != after:
            raise pw.IntegrityError(f"rows that refer to {table.name} would go with it")
        return [f"{table.name}: {rows} rows set aside in {place}: {change.reason}"] if rows else []

    def _with_descendants(self, table: ServerTable, references: Sequence[Reference], condition: str) -> str:
        """Widen a condition to all the rows of the table that cannot be without those it finds."""
        identity = self.grammar.row_identity(table)
        if identity is None:  # one level, and what lies deeper is found by the count
            return " OR ".join([f"({condition})", *(f"({self._dangling(r, table, condition)})" for r in references)])
        self._names += 1
        gone, first, child, parent, stays = (
            f"{word}{self._names}" for word in ("going", "first", "child", "parent", "other")
        )
        keys = [f"key{number}" for number in range(len(identity))]
        source = self.grammar.with_identity(table)

        def listed(alias: str) -> str:
            return ", ".join(f"{alias}.{column}" for column in identity)

        same = " AND ".join(f"{gone}.{k} = {parent}.{c}" for k, c in zip(keys, identity, strict=True))
        follows = " OR ".join(
            f"({self._matches(r, child, parent, table)} AND NOT EXISTS (SELECT 1 FROM ({source}) AS {stays} "
            f"WHERE {self._matches(r, child, stays, table)} AND ({listed(stays)}) <> ({listed(parent)}) "
            f"AND ({condition.replace(ROW, stays)}) IS NOT TRUE))"
            for r in references
        )
        return (
            f"({listed(ROW)}) IN (WITH RECURSIVE {gone} ({', '.join(keys)}) AS ("
            f"SELECT {listed(first)} FROM ({source}) AS {first} WHERE {condition.replace(ROW, first)} UNION "
            f"SELECT {listed(child)} FROM ({source}) AS {child} JOIN ({source}) AS {parent} ON {follows} "
            f"JOIN {gone} ON {same}) SELECT {', '.join(keys)} FROM {gone})"
        )

    def all_but_one(
        self, table: ServerTable, keys: Sequence[str], where: str | None, *, nulls_alike: bool
    ) -> str | None:
        """Write the condition for rows that share the keys with a better one: referred to, or else older."""
        identity = self.grammar.row_identity(table)
        if identity is None:
            return None
        values = [*keys, *([f"({where})"] if where else [])]
        made = [f"framework_schema_key_{number}" for number in range(len(values))]
        listed = "".join(f", ({value}) AS {name}" for value, name in zip(values, made, strict=True))
        source = f"SELECT known.*{listed} FROM ({self.grammar.with_identity(table)}) AS known"
        mine, other = ([f"{alias}.{name}" for name in made] for alias in ("mine", "better"))
        count = len(keys)
        same = [self.grammar.same(a, b) for a, b in zip(mine[:count], other[:count], strict=True)]
        given = [] if nulls_alike else [f"{key} IS NOT NULL" for key in mine[:count]]
        older = f"({', '.join('better.' + c for c in identity)}) < ({', '.join('mine.' + c for c in identity)})"
        named = [self._referred(table, alias) for alias in ("better", "mine")]
        better = older if named[0] is None else (
            f"((({named[0]}) AND NOT ({named[1]})) OR ((({named[0]}) = ({named[1]})) AND {older}))"
        )  # fmt: skip
        inner = " AND ".join([*same, *mine[count:], *other[count:], better])
        found = f"EXISTS (SELECT 1 FROM ({source}) AS better WHERE {inner})"
        return self.found_by(table, f"({source}) AS mine", [*given, found], "mine.")

    def found_by(self, table: ServerTable, source: str, rules: Sequence[str], alias: str = "") -> str:
        """Write the condition for the rows that a query of their own finds, in which columns need no table's name."""
        identity = self.grammar.row_identity(table)
        if identity is None:
            return " AND ".join(rules)
        row, listed = (", ".join(f"{a}{column}" for column in identity) for a in (f"{ROW}.", alias))
        return f"({row}) IN (SELECT {listed} FROM {source} WHERE {' AND '.join(rules)})"

    def _referred(self, table: ServerTable, alias: str) -> str | None:
        parts = []
        for number, reference in enumerate(self._references_to(table)):
            match = self._matches(reference, f"child{number}", alias, table)
            source = f"SELECT * FROM {self.quote(reference.table.name)}"
            parts.append(f"EXISTS (SELECT 1 FROM ({source}) AS child{number} WHERE {match})")
        return " OR ".join(parts) or None

    def _dangling(self, reference: Reference, parent: ServerTable, condition: str) -> str:
        """Write the condition for rows whose only parent goes."""
        self._names += 1  # a condition may hold another one of its kind
        gone, stays = f"gone{self._names}", f"stays{self._names}"
        match, other = (self._matches(reference, ROW, name, parent) for name in (gone, stays))
        source = self.grammar.with_identity(parent)
        return (
            f"EXISTS (SELECT 1 FROM ({source}) AS {gone} WHERE {match} AND {condition.replace(ROW, gone)}) AND NOT "
            f"EXISTS (SELECT 1 FROM ({source}) AS {stays} WHERE {other} "
            f"AND ({condition.replace(ROW, stays)}) IS NOT TRUE)"
        )

    def _matches(self, reference: Reference, child: str, parent: str, to: ServerTable) -> str:
        there = reference.key.to_columns or to.primary_key
        here = [reference.table.columns[c].name for c in reference.key.columns]
        pairs = zip(here, [to.columns[c].name for c in there], strict=True)
        return " AND ".join(f"{child}.{self.quote(a)} = {parent}.{self.quote(b)}" for a, b in pairs)

    def _references_to(self, parent: ServerTable) -> Iterator[Reference]:
        key_of = next(key for key, table in self.live.tables.items() if table.name == parent.name)
        for name, found in self.live.tables.items():
            table, want = cast(ServerTable, found), self.expected.tables.get(name)
            wanted = want.foreign_keys if want else frozenset()
            for key in sorted(table.foreign_keys | table.invalid_keys | wanted, key=repr):
                to = key.to_columns or parent.primary_key
                fits = len(to) == len(key.columns) and set(to) <= parent.columns.keys()
                if key.table == key_of and fits and set(key.columns) <= table.columns.keys():
                    sides = (table, want) if want else (table,)
                    null = all(side.columns[c].null for side in sides for c in key.columns if c in side.columns)
                    yield Reference(table, key, null)

    def _rows_in(self, tables: Iterable[str]) -> dict[str, int]:
        count = "SELECT count(*) FROM {}"
        return {t: self._sql(count.replace("{}", self.quote(t))).fetchone()[0] for t in tables}

    def _has(self, table: ServerTable, condition: str) -> bool:
        name = self.quote(table.name)
        sql = f"SELECT 1 FROM {name} WHERE {condition.replace(ROW, name)} LIMIT 1"
        return self._sql(sql).fetchone() is not None

    def _place(self, table: ServerTable) -> str:
        """Make the table for the rows of another, or return the one that has its columns."""
        taken = {self.grammar.fold(name): name for name in self.database.get_tables()}
        wanted = [column.name for column in table.columns.values()]
        number, name = 1, f"{table.name}{SUFFIX}"
        while self.grammar.fold(name) in taken:
            found = {self.grammar.fold(column.name) for column in self.database.get_columns(name)}
            if found == {self.grammar.fold(column) for column in (*wanted, *OWN)}:
                return name
            number += 1
            name = f"{table.name}{SUFFIX}_{number}"
        listed = ", ".join(map(self.quote, wanted))
        text, moment = self.grammar.kept_types
        own = f"CAST(NULL AS {text}) AS {REASON}, CAST(NULL AS {moment}) AS {TIME}, CAST(NULL AS {text}) AS {CLEARED}"
        self._run(
            f"CREATE TABLE {self.quote(name)} AS SELECT {listed}, {own} FROM {self.quote(table.name)} WHERE 1 = 0"
        )
        return name

    def _copy(self, table: ServerTable, place: str, where: str, reason: str, cleared: str) -> int:
        listed = ", ".join(self.quote(column.name) for column in table.columns.values())
        return self._run(
            f"INSERT INTO {self.quote(place)} ({listed}, {', '.join(OWN)}) SELECT {listed}, "
            f"{self.grammar.literal(reason)}, CURRENT_TIMESTAMP, {cleared} FROM {self.quote(table.name)} WHERE {where}"
        )

    @contextmanager
    def _without_triggers(self, table: ServerTable) -> Iterator[None]:
        """Let no trigger of the table fire meanwhile: it could change or remove other rows.

        They come back whatever happens, here or with the transaction that is undone.
        """
        comes_back = self.database.in_transaction()
        gone: list[str] = []
        try:
            for off, on in self.grammar.quiet(table):
                self._run(off)
                gone += on
            yield
        except BaseException:
            for statement in () if comes_back else gone:
                try:
                    self._run(statement)
                except pw.DatabaseError as error:
                    logger.error("%s: a trigger could not be put back (%s): %s", table.name, say(error), statement)
            raise
        for statement in gone:
            self._run(statement)

    def _run(self, sql: str) -> int:
        return max(0, int(self.database.rows_affected(self._sql(sql))))

    def _sql(self, sql: str) -> Any:
        return execute(self.database, sql)


def kept_rows(database: pw.Database, grammar: Grammar) -> list[Kept]:
    """Return what is set aside in a database, by table and reason; reads only."""
    found = []
    for name in database.get_tables():
        if SUFFIX not in name or not set(OWN) <= {column.name for column in database.get_columns(name)}:
            continue
        sql = f"SELECT {REASON}, count(*) FROM {grammar.quote(name)} GROUP BY {REASON} ORDER BY {REASON}"
        base = name[: name.rindex(SUFFIX)]
        found += [Kept(base, name, str(reason or ""), rows) for reason, rows in execute(database, sql).fetchall()]
    return found

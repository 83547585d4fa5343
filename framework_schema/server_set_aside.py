"""Rows set aside on a server: they stand in the way of a rule, and are kept whole until somebody has mended them.

The same as ``set_aside`` does for SQLite: a row moves from ``Entry`` to
``Entry_set_aside``, which has the same columns and three more: why, when, and
which columns were cleared, for a row that stays and only lost a reference. Rows
that refer to one that moves have their reference cleared where it may be NULL,
else they move too, and before it, so that no ON DELETE reaches them.

A condition is about the row ``{row}``, the name that its table has in a query.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import peewee as pw

from framework_schema.server_ddl import Grammar
from framework_schema.server_snapshot import ServerTable
from framework_schema.set_aside import CLEARED, REASON, SUFFIX, TIME
from framework_schema.snapshot import ForeignKey, Snapshot

OWN = (REASON, TIME, CLEARED)
DEPTH = 200
"""References that are followed for one rule."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key that a live table has, or is to have."""

    table: ServerTable
    key: ForeignKey
    may_be_null: bool


class SetAside:
    """Sets rows of one database aside, inside the caller's transaction where there is one."""

    def __init__(self, database: pw.Database, grammar: Grammar, expected: Snapshot, live: Snapshot) -> None:
        self.database, self.grammar, self.expected, self.live = database, grammar, expected, live
        self.quote = grammar.quote
        self._names = 0

    def move(self, table: ServerTable, condition: str, reason: str) -> list[str]:
        """Move the rows, and see to those that refer to them; return what was done, a sentence each."""
        if not self._has(table, condition):
            return []
        if self._names > DEPTH:
            raise pw.IntegrityError(f"rows that refer to each other in a ring, {table.name} among them")
        done = []
        for reference in self._references_to(table):
            dangling = self._dangling(reference, table, condition)
            columns = ", ".join(reference.key.columns)
            why = f"the row of {table.name} that {columns} refers to was set aside"
            child = reference.table
            if child.name == table.name and not reference.may_be_null:
                condition = f"(({condition}) OR ({dangling}))"
            elif reference.may_be_null:
                done += self.clear(child, reference.key, dangling, why)
            elif child.name != table.name:
                done += self.move(child, dangling, why)
        place = self._place(table)
        rows = self._copy(table, place, condition, reason, "NULL")
        if not rows:
            return done
        name = self.quote(table.name)
        children = {reference.table.name for reference in self._references_to(table)} - {table.name}
        before = self._rows_in(children)
        with self._without_triggers(table):
            gone = self._run(f"DELETE FROM {name} WHERE {condition.replace('{row}', name)}")
        if gone != rows:
            raise pw.IntegrityError(f"{rows} rows of {table.name} were copied and {gone} removed")
        if self._rows_in(children) != before:
            raise pw.IntegrityError(f"rows that refer to {table.name} would go with it")
        return [*done, f"{table.name}: {rows} rows set aside in {place}: {reason}"]

    def clear(self, table: ServerTable, key: ForeignKey, condition: str, reason: str) -> list[str]:
        """Set a reference to NULL, and keep the rows as they were."""
        if not self._has(table, condition):
            return []
        place, columns = self._place(table), ", ".join(key.columns)
        rows = self._copy(table, place, condition, reason, self.grammar.literal(columns))
        if not rows:
            return []
        name = self.quote(table.name)
        changed = ", ".join(f"{self.quote(table.columns[c].name)} = NULL" for c in key.columns)
        with self._without_triggers(table):
            self._run(f"UPDATE {name} SET {changed} WHERE {condition.replace('{row}', name)}")
        return [f"{table.name}: {columns} cleared in {rows} rows, kept in {place}: {reason}"]

    def all_but_one(
        self, table: ServerTable, keys: Sequence[str], where: str | None, *, nulls_alike: bool
    ) -> str | None:
        """Write the condition for rows that share the keys with a better one: referred to, or else older."""
        identity = self.grammar.row_identity(table)
        if identity is None:
            return None
        own = "{row}."
        columns = [self.quote(column.name) for column in table.columns.values()]
        mine, other = (self._on(keys, columns, alias) for alias in (own, "better."))
        same = [self.grammar.same(a, b) for a, b in zip(mine, other, strict=True)]
        given = [] if nulls_alike else [f"{key} IS NOT NULL" for key in mine]
        rules = (
            [*self._on([f"({where})"], columns, own), *self._on([f"({where})"], columns, "better.")] if where else []
        )
        older = f"({', '.join('better.' + c for c in identity)}) < ({', '.join(own + c for c in identity)})"
        named = [self._referred(table, alias) for alias in ("better", "{row}")]
        better = older if named[0] is None else (
            f"((({named[0]}) AND NOT ({named[1]})) OR ((({named[0]}) = ({named[1]})) AND {older}))"
        )  # fmt: skip
        inner = " AND ".join([*same, *rules, better])
        found = f"EXISTS (SELECT 1 FROM ({self.grammar.with_identity(table)}) AS better WHERE {inner})"
        return " AND ".join([*given, found])

    def _on(self, keys: Sequence[str], columns: Sequence[str], alias: str) -> list[str]:
        """Say whose the columns in an expression are; plain names are, expressions name them bare."""
        return [qualified(key, columns, alias) for key in keys]

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
        match, other = (self._matches(reference, "{row}", name, parent) for name in (gone, stays))
        source = self.grammar.with_identity(parent)
        return (
            f"EXISTS (SELECT 1 FROM ({source}) AS {gone} WHERE {match} AND {condition.replace('{row}', gone)}) AND NOT "
            f"EXISTS (SELECT 1 FROM ({source}) AS {stays} WHERE {other} "
            f"AND ({condition.replace('{row}', stays)}) IS NOT TRUE)"
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
        return {t: self.database.execute_sql(count.format(self.quote(t))).fetchone()[0] for t in tables}

    def _has(self, table: ServerTable, condition: str) -> bool:
        name = self.quote(table.name)
        sql = f"SELECT 1 FROM {name} WHERE {condition.replace('{row}', name)} LIMIT 1"
        return self.database.execute_sql(sql).fetchone() is not None

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

    def _copy(self, table: ServerTable, place: str, condition: str, reason: str, cleared: str) -> int:
        listed = ", ".join(self.quote(column.name) for column in table.columns.values())
        name = self.quote(table.name)
        return self._run(
            f"INSERT INTO {self.quote(place)} ({listed}, {', '.join(OWN)}) SELECT {listed}, "
            f"{self.grammar.literal(reason)}, CURRENT_TIMESTAMP, {cleared} FROM {name} "
            f"WHERE {condition.replace('{row}', name)}"
        )

    @contextmanager
    def _without_triggers(self, table: ServerTable) -> Iterator[None]:
        """Let no trigger of the table fire meanwhile: it could change or remove other rows."""
        off, on = self.grammar.quiet(table)
        for statement in off:
            self._run(statement)
        yield
        for statement in on:
            self._run(statement)

    def _run(self, sql: str) -> int:
        cursor = self.database.execute_sql(sql)
        return max(0, int(self.database.rows_affected(cursor)))


def qualified(key: str, columns: Sequence[str], alias: str) -> str:
    """Say whose the columns in an expression are."""
    if key in columns or key.strip('"`') in {column.strip('"`') for column in columns}:
        return f"{alias}{key}"
    for column in sorted(columns, key=len, reverse=True):
        bare = column.strip('"`')
        own = rf'(?<![\w".`]){re.escape(column)}'
        plain = rf'(?<![\w".\'`]){re.escape(bare)}(?![\w"\'`(])'
        key = re.sub(f"{own}|{plain}", f"{alias}{column}", key)
    return key

"""Bring one live server database to the expected schema, by ALTER."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, cast

import peewee as pw

from framework_schema.alignment import Alignment
from framework_schema.ddl import mentions
from framework_schema.drift import stray_uniques
from framework_schema.history import Event
from framework_schema.left import Left
from framework_schema.server_ddl import Grammar
from framework_schema.server_snapshot import ServerTable
from framework_schema.snapshot import Column, ForeignKey, Index, Snapshot
from framework_schema.wording import say, trace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """One change: its statements, and the query for the rows that forbid it, where rows can."""

    table: str
    what: str
    statements: tuple[str, ...]
    kind: str = ""
    name: str = ""
    rule: str | None = None
    repair: str | None = None
    """The statement that mends those rows, where nothing has to be invented, and their condition."""
    condition: str | None = None


class ServerAlignment:
    """One alignment of one database.

    ``live`` reads its schema, ``attempt`` undoes a change that fails, and
    ``is_hindered`` tells errors that end the run, since others were in the way.
    ``now`` returns a table as the steps before this one left it, where a column
    is changed by saying all of it again.
    """

    def __init__(
        self,
        database: pw.Database,
        grammar: Grammar,
        expected: Snapshot,
        live: Callable[[], Snapshot],
        attempt: Callable[[], AbstractContextManager[Any]],
        is_hindered: Callable[[BaseException], bool],
        now: Callable[[ServerTable], ServerTable] = lambda table: table,
    ) -> None:
        self.database, self.grammar, self.expected = database, grammar, expected
        self.live, self.attempt, self.is_hindered, self.now = live, attempt, is_hindered, now
        self.quote = grammar.quote

    def run(self, *, strict: bool, repair: bool) -> Alignment:
        """Make what is missing; with ``strict`` change what differs; with ``repair`` mend rows first."""
        result = self._carry_out(self.additions(self.live()))
        if not strict:
            return result
        if repair:
            result += self._repair([*self.additions(self.live()), *self.tightenings(self.live())])
        result = self._again(result, self._carry_out(self.tightenings(self.live()), careful=True))
        return self._again(result, self._carry_out(self.additions(self.live())))

    def add_references(self) -> Alignment:
        """Make the foreign keys that are missing, and leave those that rows forbid."""
        live = self.live()
        steps = [
            step
            for key, want in sorted(self.expected.tables.items())
            if key in live.tables
            for step in self._references(cast(ServerTable, want), cast(ServerTable, live.tables[key]))
        ]
        return self._carry_out(steps, careful=True)

    @staticmethod
    def _again(found: Alignment, last: Alignment) -> Alignment:
        """Put what is left together, once each."""
        left = {(item.table, item.kind, item.name): item for item in (*found.left, *last.left)}
        return replace(found + last, left=tuple(left.values()))

    def _carry_out(self, steps: Iterable[Step], *, careful: bool = False) -> Alignment:
        """Run each step whose rule no row breaks; ``careful`` leaves one that fails all the same."""
        done: list[str] = []
        events: list[Event] = []
        left: list[Left] = []
        for step in steps:
            try:
                with self.attempt():
                    rows = self._count(step.rule) if step.rule else 0
                    for statement in () if rows else step.statements:
                        self.database.execute_sql(statement)
            except (pw.IntegrityError, pw.DataError, pw.ProgrammingError, pw.OperationalError) as error:
                if not careful or self.is_hindered(error):
                    raise
                logger.debug("%s: %s failed\n%s", step.table, step.what, trace(error))
                left.append(Left(step.table, f"{step.what}: {say(error)}", 0, step.rule or "", step.kind, step.name))
                events.append(Event("aligned", "failed", detail=step.what, error=say(error)))
                continue
            if rows:
                left.append(Left(step.table, step.what, rows, step.rule or "", step.kind, step.name))
                continue
            done.append(step.what)
            events.append(Event("aligned", detail=f"{step.what}: {'; '.join(step.statements)}"))
        return Alignment(tuple(done), tuple(events), tuple(left))

    def _count(self, query: str) -> int:
        rows: int = self.database.execute_sql(f"SELECT count(*) FROM ({query}) AS found").fetchone()[0]
        return rows

    # What is missing

    def additions(self, live: Snapshot) -> Iterator[Step]:
        """Yield tables first, then columns, then what names them."""
        new = [cast(ServerTable, t) for k, t in self.expected.tables.items() if k not in live.tables]
        both = [
            (cast(ServerTable, t), cast(ServerTable, live.tables[k]))
            for k, t in self.expected.tables.items()
            if k in live.tables
        ]
        for want in new:
            yield self._table(want)
        for want, have in both:
            yield from self._columns(want, have)
        for want in new:
            for key in sorted(want.foreign_keys, key=repr):
                yield self._reference(want, want, key)
        for want, have in both:
            yield from self._indexes(want, have)

    def _table(self, want: ServerTable) -> Step:
        return Step(want.name, f"table {want.name}", self.grammar.make_table(want), "table", want.name)

    def _columns(self, want: ServerTable, have: ServerTable) -> Iterator[Step]:
        """Add a column; one that is NOT NULL without a default gets that under ``strict``, when it is filled."""
        lacking = [key for key in want.columns if key not in have.columns]
        is_empty = bool(lacking) and self._is_empty(have.name)
        for key in lacking:
            column = want.columns[key]
            free = not (column.null or column.default is not None or column.generated or is_empty)
            definition = self.grammar.column(replace(want, auto=None), column, null=True if free else None)
            parts = [self.grammar.add_column(have.name, definition)]
            for foreign in want.foreign_keys:
                if foreign.columns == (key,) and foreign.table in self.expected.tables:
                    parts += self.grammar.add_foreign_key(have.name, want, foreign, self.expected)
            yield Step(have.name, f"column {have.name}.{column.name}", tuple(parts), "column", column.name)

    def _indexes(self, want: ServerTable, have: ServerTable) -> Iterator[Step]:
        for unique in sorted(want.uniques - have.uniques, key=sorted):
            if unique != frozenset(have.primary_key):
                yield self._unique(want, have, unique)
        taken = {self.grammar.fold(name) for name in have.unique_names.values()}
        shapes = {index.shape for index in have.indexes.values()}
        for key, index in want.indexes.items():
            if key not in have.indexes and key not in taken and index.shape not in shapes:
                yield self._index(want, have, index)
        for name in want.triggers.keys() - have.triggers.keys():
            yield Step(have.name, f"trigger {name}", self.grammar.make_trigger(want, name), "trigger", name)

    def _unique(self, want: ServerTable, have: ServerTable, unique: frozenset[str]) -> Step:
        columns = self.grammar.ordered(want, unique)
        names = [want.columns[key].name for key in columns]
        label = ", ".join(sorted(unique))
        rule = self.grammar.duplicates(have.name, names)
        statements = (self.grammar.add_unique(have.name, want, unique),)
        condition = self._older_equal(have)
        repair = f"DELETE FROM {self.quote(have.name)} WHERE {condition}" if condition else None
        return Step(
            have.name, f"unique {have.name}({label})", statements, "unique", label, rule, repair, condition
        )  # fmt: skip

    def _index(self, want: ServerTable, have: ServerTable, index: Index) -> Step:
        rule = None
        if index.unique:
            rule = self.grammar.duplicates(have.name, [c.removesuffix(" DESC") for c in index.columns], index.where)
        return Step(have.name, f"index {index.name}", (want.texts[index.name],), "index", index.name, rule)

    def _reference(self, want: ServerTable, have: ServerTable, key: ForeignKey, drop: str | None = None) -> Step:
        statements = [self.grammar.drop_constraint(have.name, drop, "foreign key")] if drop else []
        statements += self.grammar.add_foreign_key(have.name, want, key, self.expected)
        what = f"foreign key {', '.join(key.columns)}: {key.table} on delete {key.on_delete}"
        rule, orphan = None, None
        if want is not have and not any((k.columns, k.table) == (key.columns, key.table) for k in have.foreign_keys):
            orphan = self._orphan(want, have, key)
            rule = f"SELECT child.* FROM {self.quote(have.name)} AS child WHERE {orphan.format(child='child')}"
        return Step(
            have.name, f"{have.name}: {what}", tuple(statements), "foreign key", ", ".join(key.columns), rule,
            self._orphan_repair(want, have, key, orphan), orphan and orphan.format(child=self.quote(have.name)),
        )  # fmt: skip

    def _orphan(self, want: ServerTable, have: ServerTable, key: ForeignKey) -> str:
        """Write the condition for rows that refer to none, on a table that is called ``{child}``."""
        parent = self.expected.tables.get(key.table)
        to = [parent.columns[c].name for c in key.to_columns] if parent else list(key.to_columns)
        pairs = list(zip([have.columns[c].name for c in key.columns], to, strict=True))
        given = " AND ".join(f"{{child}}.{self.quote(here)} IS NOT NULL" for here, _ in pairs)
        match = " AND ".join(f"parent.{self.quote(there)} = {{child}}.{self.quote(here)}" for here, there in pairs)
        table = self.quote(parent.name if parent else key.table)
        inner = f"SELECT * FROM {table}" if table == self.quote(have.name) else table
        source = f"({inner}) AS parent" if inner != table else f"{table} AS parent"
        return f"{given} AND NOT EXISTS (SELECT 1 FROM {source} WHERE {match})"

    # What differs

    def tightenings(self, live: Snapshot) -> Iterator[Step]:
        """Yield what changes a table that is there, table by table: drops first, references last."""
        pairs = [
            (cast(ServerTable, want), cast(ServerTable, live.tables[key]))
            for key, want in sorted(self.expected.tables.items())
            if key in live.tables
        ]
        for want, have in pairs:
            yield from self._drops(want, have)
        for want, have in pairs:
            for name, value in want.options.items():
                if have.options.get(name) != value:
                    how = self.grammar.change_option(self.now(have), want, name)
                    yield Step(have.name, f"{have.name}: {name} {value}", how, "option", name)
        for want, have in pairs:
            yield from self._changed_columns(want, have)
            yield from self._primary_key(want, have)
        for want, have in pairs:
            yield from self._changed_indexes(want, have)
            yield from self._checks(want, have)
        for want, have in pairs:
            yield from self._references(want, have)

    def _drops(self, want: ServerTable, have: ServerTable) -> Iterator[Step]:
        """Drop rules that speak of expected columns and are not expected; what is extra stays."""
        known = want.columns.keys()
        replaced = {(key.columns, key.table) for key in want.foreign_keys}
        for key in sorted(have.foreign_keys - want.foreign_keys, key=repr):
            if set(key.columns) <= known and (key.columns, key.table) not in replaced:
                yield self._drop(have, key, "foreign key", ", ".join(key.columns))
        for check in sorted(have.checks - want.checks):
            extra = any(mentions(check, name) for name in have.columns.keys() - known)
            if not extra and check in have.inline_checks.values():
                yield self._without_inline(want, have, check)
            elif not extra:
                yield self._drop(have, check, "check", check)
        for unique in sorted(have.uniques - want.uniques, key=sorted):
            if unique <= known and unique != frozenset(want.primary_key):
                yield self._drop(have, unique, "unique", ", ".join(sorted(unique)))
        for index in stray_uniques(want, have):
            what = f"{have.name}: dropped index {index.name}"
            yield Step(have.name, what, (self.grammar.drop_index(have.name, index.name),), "index", index.name)

    def _drop(self, have: ServerTable, what: Any, kind: str, label: str) -> Step:
        name = have.constraint_names.get(what)
        if name is None:
            statement = self.grammar.drop_index(have.name, have.unique_names[what])
        else:
            statement = self.grammar.drop_constraint(have.name, name, kind)
        return Step(have.name, f"{have.name}: dropped {kind} {label}", (statement,), kind, label)

    def _without_inline(self, want: ServerTable, have: ServerTable, check: str) -> Step:
        key = next(column for column, text in have.inline_checks.items() if text == check)
        statements = self.grammar.drop_inline_check(self.now(have), have.columns[key])
        return Step(have.name, f"{have.name}: dropped check {check}", statements, "check", check)

    def _changed_columns(self, want: ServerTable, have: ServerTable) -> Iterator[Step]:
        for key, new in want.columns.items():
            old = have.columns.get(key)
            if old is not None and (old != new or (want.auto == key and have.auto != key)):
                yield from self._column(want, have, old, new)
        for key in have.columns.keys() - want.columns.keys():
            column = have.columns[key]
            blocks = not column.null and column.default is None and column.generated is None
            if blocks and key not in have.primary_key:
                statement = self.grammar.set_null(self.now(have), column, True)
                yield Step(have.name, f"{have.name}: NULL allowed in {column.name}", (statement,), "null", column.name)

    def _column(self, want: ServerTable, have: ServerTable, old: Column, new: Column) -> Iterator[Step]:
        """Change type and default together, and forbid NULL in a step of its own, which rows may stand against."""
        name = old.name
        if old.generated != new.generated:
            yield Step(have.name, f"{have.name}: generated {name}", ("SELECT 1/0",), "generated", name)
            return
        loose = replace(new, null=old.null if new.null != old.null and not new.null else new.null, name=old.name)
        if replace(old, name=name) != loose or (want.auto and want.auto != have.auto):
            rule = None
            if old.type != new.type:
                rule = self.grammar.lossy(have.name, old, new)
            statements = tuple(self.grammar.change_column(self.now(have), want, old, loose))
            if statements:
                yield Step(have.name, f"column {have.name}.{name}", statements, "type", name, rule)
        if old.null and not new.null and want.auto != self.grammar.fold(name):
            condition = f"{self.quote(name)} IS NULL"
            rule = f"SELECT * FROM {self.quote(have.name)} WHERE {condition}"
            fill = None
            if new.default is not None:
                fill = f"UPDATE {self.quote(have.name)} SET {self.quote(name)} = {new.default} WHERE {condition}"
            statement = self.grammar.set_null(self.now(have), loose, False)
            what = f"{have.name}: {name} NOT NULL"
            yield Step(have.name, what, (statement,), "null", name, rule, fill, None)

    def _primary_key(self, want: ServerTable, have: ServerTable) -> Iterator[Step]:
        if want.primary_key == have.primary_key or not set(want.primary_key) <= have.columns.keys():
            return
        names = [have.columns[key].name for key in want.primary_key]
        listed = ", ".join(map(self.quote, names))
        given = " OR ".join(f"{self.quote(name)} IS NULL" for name in names)
        double = (
            f"SELECT {listed} FROM {self.quote(have.name)} WHERE {given} UNION ALL SELECT {listed} "
            f"FROM {self.quote(have.name)} GROUP BY {listed} HAVING count(*) > 1"
        )
        drop = []
        if have.primary_key:
            name = have.constraint_names.get("primary key", "PRIMARY")
            drop = [self.grammar.drop_constraint(have.name, name, "primary key")]
        add = f"ALTER TABLE {self.quote(have.name)} ADD PRIMARY KEY ({listed})"
        label = ", ".join(want.primary_key)
        yield Step(have.name, f"{have.name}: primary key {label}", (*drop, add), "primary key", label, double)

    def _changed_indexes(self, want: ServerTable, have: ServerTable) -> Iterator[Step]:
        for key, index in want.indexes.items():
            found = have.indexes.get(key)
            if found is not None and found != index and replace(found, name=index.name) != index:
                yield Step(
                    have.name,
                    f"index {index.name}",
                    (self.grammar.drop_index(have.name, found.name), want.texts[index.name]),
                    "index",
                    index.name,
                )
        for name, text in want.triggers.items():
            if have.triggers.get(name, text) != text:
                made = self.grammar.make_trigger(want, name)
                drop = self.grammar.drop_trigger(have.name, name)
                yield Step(have.name, f"trigger {name}", (drop, *made), "trigger", name)

    def _checks(self, want: ServerTable, have: ServerTable) -> Iterator[Step]:
        for check in sorted(want.checks - have.checks):
            rule = f"SELECT * FROM {self.quote(have.name)} WHERE NOT ({check})"
            unproved = have.constraint_names.get(check)
            if unproved is not None:
                how = f"ALTER TABLE {self.quote(have.name)} VALIDATE CONSTRAINT {self.quote(unproved)}"
                statements: tuple[str, ...] = (how,)
            else:
                statements = tuple(self.grammar.add_check(have.name, check))
            yield Step(have.name, f"{have.name}: check {check}", statements, "check", check, rule)

    def _references(self, want: ServerTable, have: ServerTable) -> Iterator[Step]:
        for key in sorted(want.foreign_keys - have.foreign_keys, key=repr):
            if not set(key.columns) <= have.columns.keys():
                continue
            old = [k for k in have.foreign_keys if (k.columns, k.table) == (key.columns, key.table)]
            drop = have.constraint_names.get(old[0]) if old else have.constraint_names.get(key)
            yield self._reference(want, have, key, drop)

    # Repair

    def _repair(self, steps: Iterable[Step]) -> Alignment:
        """Mend the rows that stand against a rule; what goes is copied first. See ``repair`` for the rules."""
        done = []
        for step in steps:
            rows = self._count(step.rule) if step.rule and step.repair else 0
            if not rows or step.repair is None:
                continue
            if step.condition is not None:
                self._keep(step.table, step.condition)
            cursor = self.database.execute_sql(step.repair)
            mended = self.database.rows_affected(cursor)
            if mended:
                done.append(f"repaired {step.table}: {mended} rows, {step.kind} {step.name}")
        return Alignment(tuple(done), tuple(Event("repaired", detail=what) for what in done))

    def _keep(self, table: str, condition: str) -> None:
        """Copy the rows that are to go or to change to ``TABLE_repaired``."""
        if not self._count(f"SELECT 1 FROM {self.quote(table)} WHERE {condition}"):
            return
        taken = set(self.database.get_tables())
        name, number = f"{table}_repaired", 1
        while name in taken:
            number += 1
            name = f"{table}_repaired_{number}"
        self.database.execute_sql(
            f"CREATE TABLE {self.quote(name)} AS SELECT {self.quote(table)}.*, CURRENT_TIMESTAMP AS repaired_at "
            f"FROM {self.quote(table)} WHERE {condition}"
        )

    def _orphan_repair(self, want: ServerTable, have: ServerTable, key: ForeignKey, orphan: str | None) -> str | None:
        if orphan is None:
            return None
        condition = orphan.format(child=self.quote(have.name))
        if key.on_delete == "CASCADE":
            return f"DELETE FROM {self.quote(have.name)} WHERE {condition}"
        if key.on_delete == "SET NULL" and all(want.columns[c].null for c in key.columns):
            update = ", ".join(f"{self.quote(have.columns[c].name)} = NULL" for c in key.columns)
            return f"UPDATE {self.quote(have.name)} SET {update} WHERE {condition}"
        return None

    def _older_equal(self, have: ServerTable) -> str | None:
        """Write the condition for rows that an older one equals in all but a single-column primary key."""
        if len(have.primary_key) != 1:
            return None
        table, key = self.quote(have.name), self.quote(have.columns[have.primary_key[0]].name)
        others = [c.name for k, c in have.columns.items() if k not in have.primary_key]
        same = " AND ".join(self.grammar.same(f"older.{self.quote(c)}", f"{table}.{self.quote(c)}") for c in others)
        return f"EXISTS (SELECT 1 FROM (SELECT * FROM {table}) AS older WHERE older.{key} < {table}.{key} AND {same})"

    def _is_empty(self, table: str) -> bool:
        return self.database.execute_sql(f"SELECT 1 FROM {self.quote(table)} LIMIT 1").fetchone() is None

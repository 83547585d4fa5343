"""Bring one live server database to the expected schema, by ALTER."""

from __future__ import annotations

import contextlib
import logging
import re
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
from framework_schema.server_set_aside import ROW, SetAside
from framework_schema.server_snapshot import ServerIndex, ServerTable
from framework_schema.server_sql import execute
from framework_schema.snapshot import ADDED, Carried, Column, ForeignKey, Index, Snapshot, refuses
from framework_schema.wording import say, trace

logger = logging.getLogger(__name__)

ROUNDS = 3
"""How often what is left is tried again under ``strict``, as long as something was done."""


@dataclass(frozen=True)
class Step:
    """One change: its statements, and the query for the rows that forbid it, where rows can."""

    table: str
    what: str
    statements: tuple[str, ...]
    kind: str = ""
    name: str = ""
    rule: str | None = None
    fill: str | None = None
    """The statement that mends those rows, where nothing has to be invented."""
    aside: str | None = None
    """The condition for the rows, those of ``server_set_aside.ROW``, that are to be set aside."""
    clear: ForeignKey | None = None
    """The reference that is cleared in those rows instead."""
    then: tuple[Step, ...] = ()
    """What goes with it, each of which may fail by itself; not told of when done."""
    blocked: str | None = None
    """Why it cannot be done, where that is known before."""
    undo: tuple[str, ...] = ()
    """What puts back what it had done when it fails, where no transaction does."""


@dataclass(frozen=True)
class Around:
    """What depends on a column: how it is taken down and put back, or why that is not done."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    blocked: str | None = None
    query: str = ""


def nothing_around(table: str, column: str, repair: bool) -> Around:
    """Know of nothing that depends on a column."""
    return Around()


class ServerAlignment:
    """One alignment of one database.

    ``live`` reads its schema, ``attempt`` undoes a change that fails, and
    ``is_hindered`` tells errors that end the run, since others were in the way.
    ``now`` returns a table as the steps before this one left it, where a column
    is changed by saying all of it again.
    ``around`` tells what depends on a column, ``explain`` says a driver's error
    in our words.
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
        around: Callable[[str, str, bool], Around] = nothing_around,
        explain: Callable[[BaseException], str] = say,
    ) -> None:
        self.database, self.grammar, self.expected = database, grammar, expected
        self.live, self.attempt, self.is_hindered, self.now = live, attempt, is_hindered, now
        self.around, self.explain = around, explain
        self.quote = grammar.quote
        self.repair = False

    def run(self, *, strict: bool, repair: bool) -> Alignment:
        """Make what is missing; with ``strict`` change what differs; with ``repair`` mend rows first."""
        self.repair = repair
        result = self._carry_out(self.additions(self.live()))
        if not strict:
            return result
        result = replace(result, left=())  # all of it is tried once more in the end
        if repair:
            live = self.live()
            result += self._repair([*self.additions(live), *self.tightenings(live)], live)
        for _ in range(ROUNDS):  # a type may make room for an index, which frees another one from serving a key
            changed = self._carry_out(self.tightenings(self.live()))
            found = self._again(changed, self._carry_out(self.additions(self.live())))
            result = replace(result + found, left=found.left)
            if not found.left or not found.done:
                break
        return result

    def add_references(self) -> Alignment:
        """Make the foreign keys that are missing, and leave those that rows forbid."""
        live = self.live()
        steps = [
            step
            for key, want in sorted(self.expected.tables.items())
            if key in live.tables
            for step in self._references(cast(ServerTable, want), cast(ServerTable, live.tables[key]), live)
        ]
        return self._carry_out(steps)

    @staticmethod
    def _again(found: Alignment, last: Alignment) -> Alignment:
        """Put what is left together, once each."""
        left = {(item.table, item.kind, item.name): item for item in (*found.left, *last.left)}
        return replace(found + last, left=tuple(left.values()))

    def _carry_out(self, steps: Iterable[Step]) -> Alignment:
        """Run each step whose rule no row breaks; one that fails is tried once more when others are done, and left."""
        done: list[str] = []
        events: list[Event] = []
        left: list[Left] = []
        failed: list[tuple[Step, pw.DatabaseError]] = []
        for step in steps:  # which may look at the database when it is their turn
            found = self._do(step, done, events, left)
            failed += [(step, found)] if found is not None else []
        for step, error in failed:
            again = self._do(step, done, events, left) if done else error
            if again is not None:
                left.append(self._left(step, again))
                events.append(Event("aligned", "failed", detail=step.what, error=say(again)))
        return Alignment(tuple(done), tuple(events), tuple(left))

    def _do(
        self, step: Step, done: list[str], events: list[Event], left: list[Left], *, is_part: bool = False
    ) -> pw.DatabaseError | None:
        """Do a step and what goes with it, and note what became of them; return the server's error."""
        found = self._try(step)
        if isinstance(found, pw.DatabaseError):
            return found
        if found is not None:
            left.append(found)
            return None
        done += [] if is_part else [step.what]
        events.append(Event("aligned", detail=f"{step.what}: {'; '.join(step.statements)}"))
        for part in step.then:
            error = self._do(part, done, events, left, is_part=True)
            if error is not None:
                left.append(self._left(part, error))
                events.append(Event("aligned", "failed", detail=part.what, error=say(error)))
        return None

    def _try(self, step: Step) -> Left | pw.DatabaseError | None:
        """Do a step in a savepoint of its own; return what rows or objects forbid, or the server's error."""
        if step.blocked is not None:
            return Left(step.table, step.what, 0, step.rule or "", step.kind, step.name, step.blocked)
        try:
            with self.attempt():
                rows = self._count(step.rule) if step.rule else 0
                for statement in () if rows else step.statements:
                    execute(self.database, statement)
        except pw.DatabaseError as error:
            for statement in step.undo:
                with contextlib.suppress(pw.PeeweeException):  # what was not done needs no undoing
                    execute(self.database, statement)
            if self.is_hindered(error) or self._is_lost():
                raise
            logger.debug("%s: %s failed\n%s", step.table, step.what, trace(error))
            return error
        condition = step.aside or step.fill or ""
        return Left(step.table, step.what, rows, step.rule or "", step.kind, step.name, "", condition) if rows else None

    def _left(self, step: Step, error: pw.DatabaseError) -> Left:
        return Left(step.table, step.what, 0, step.rule or "", step.kind, step.name, self.explain(error))

    def _is_lost(self) -> bool:
        """Tell whether the connection is gone, so that nothing more can be done."""
        try:
            execute(self.database, "SELECT 1").fetchone()
        except pw.PeeweeException:
            return True
        return False

    def _count(self, query: str) -> int:
        rows: int = execute(self.database, f"SELECT count(*) FROM ({query}) AS found").fetchone()[0]
        return rows

    # What is missing

    def additions(self, live: Snapshot) -> Iterator[Step]:
        """Yield tables first, then columns, then what names them."""
        wanted = {k: self.grammar.fitted(cast(ServerTable, t), live) for k, t in self.expected.tables.items()}
        new = [table for key, table in wanted.items() if key not in live.tables]
        both = [(table, cast(ServerTable, live.tables[k])) for k, table in wanted.items() if k in live.tables]
        objects = [(k, part) for k, part in self.expected.objects.items() if k not in live.objects]
        for label, part in objects:
            if not label.startswith("view "):
                yield self._object(label, part)
        for want in new:
            yield self._table(want, live)
        for want, have in both:
            yield from self._columns(want, have)
        for want in new:
            for key in sorted(want.foreign_keys, key=repr):
                yield self._reference(want, want, key)
        for want, have in both:
            yield from self._indexes(want, have, live)
        for want, have in both:
            for label, part in want.carried.items():
                if label.partition(" ")[0] in ADDED and label not in have.carried:
                    yield self._carried(have, label, self.grammar.add_carried(part, live.names))
        for label, part in objects:
            if label.startswith("view "):
                yield self._object(label, part)

    @staticmethod
    def _object(label: str, part: Carried) -> Step:
        kind, _, name = label.partition(" ")
        return Step(name, label, part.make, kind, name)

    @staticmethod
    def _carried(have: ServerTable, label: str, statements: tuple[str, ...]) -> Step:
        kind, _, name = label.partition(" ")
        blocked = None if statements else "it cannot be changed on a table that is there"
        return Step(have.name, f"{have.name}: {label}", statements, kind, name, blocked=blocked)

    def _table(self, want: ServerTable, live: Snapshot) -> Step:
        """Make a table that is not there; a part of it that fails costs itself only, where it is made by itself."""
        if not self.grammar.makes_parts:
            return Step(want.name, f"table {want.name}", self.grammar.make_table(want), "table", want.name)
        inner = set(self.grammar.inner_uniques(want))
        then = [self._made_unique(want, unique, live) for unique in sorted(want.uniques - inner, key=sorted)]
        for index in want.indexes.values():
            statement = self.grammar.add_index(want.name, want, index, live.names)
            then.append(Step(want.name, f"index {index.name}", (statement,), "index", index.name))
        for label, part in want.carried.items():
            if part.make and label.partition(" ")[0] != "reference":
                then.append(self._carried(want, label, self.grammar.add_carried(part, live.names)))
        for name in want.triggers:
            made = self.grammar.add_trigger(want, name, live)
            then.append(Step(want.name, f"trigger {name}", made, "trigger", name))
        statements = self.grammar.new_table(want, live.names)
        return Step(want.name, f"table {want.name}", statements, "table", want.name, then=tuple(then))

    def _made_unique(self, want: ServerTable, unique: frozenset[str], live: Snapshot) -> Step:
        label = ", ".join(sorted(unique))
        statement = self.grammar.add_unique(want.name, want, unique, live.names)
        return Step(want.name, f"unique {want.name}({label})", (statement,), "unique", label)

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
                    at_once = "partitions by" in have.carried
                    parts += self.grammar.add_foreign_key(have.name, want, foreign, self.expected, at_once=at_once)
            yield Step(have.name, f"column {have.name}.{column.name}", tuple(parts), "column", column.name)

    def _indexes(self, want: ServerTable, have: ServerTable, live: Snapshot) -> Iterator[Step]:
        for unique in sorted(want.uniques - have.uniques, key=sorted):
            if unique != frozenset(have.primary_key):
                yield self._unique(want, have, unique, live)
        taken = {self.grammar.fold(name) for name in have.unique_names.values()}
        shapes = {index.shape for index in have.indexes.values()}
        for key, index in want.indexes.items():
            if key not in have.indexes and key not in taken and index.shape not in shapes:
                yield self._index(want, have, index, live)
        for name in want.triggers.keys() - have.triggers.keys():
            if want.triggers[name] in have.triggers.values():
                continue
            yield Step(have.name, f"trigger {name}", self.grammar.add_trigger(want, name, live), "trigger", name)

    def _unique(self, want: ServerTable, have: ServerTable, unique: frozenset[str], live: Snapshot) -> Step:
        columns = self.grammar.ordered(want, unique)
        names = [want.columns[key].name for key in columns]
        label = ", ".join(sorted(unique))
        rule = self.grammar.duplicates(have.name, names)
        statements = (self.grammar.add_unique(have.name, want, unique, live.names),)
        aside = self._aside(live).all_but_one(have, list(map(self.quote, names)), None, nulls_alike=False)
        return Step(have.name, f"unique {have.name}({label})", statements, "unique", label, rule, aside=aside)

    def _index(self, want: ServerTable, have: ServerTable, index: Index, live: Snapshot) -> Step:
        rule, aside = None, None
        if index.unique:
            keys = index.keys if isinstance(index, ServerIndex) and index.keys else ()
            nulls_alike = isinstance(index, ServerIndex) and index.nulls_alike
            rule = self.grammar.double_index(have.name, index)
            keys = keys or tuple(self.quote(name.removesuffix(" DESC")) for name in index.columns)
            aside = self._aside(live).all_but_one(have, keys, index.where, nulls_alike=nulls_alike)
        statement = self.grammar.add_index(have.name, want, index, live.names)
        return Step(have.name, f"index {index.name}", (statement,), "index", index.name, rule, aside=aside)

    def _aside(self, live: Snapshot) -> SetAside:
        return SetAside(self.database, self.grammar, self.expected, live)

    def _reference(self, want: ServerTable, have: ServerTable, key: ForeignKey, drop: str | None = None) -> Step:
        statements = [self.grammar.drop_constraint(have.name, drop, "foreign key")] if drop else []
        at_once = "partitions by" in have.carried
        statements += self.grammar.add_foreign_key(have.name, want, key, self.expected, at_once=at_once)
        what = f"foreign key {', '.join(key.columns)}: {key.table} on delete {key.on_delete}"
        rule, orphan = None, None
        if want is not have and not any((k.columns, k.table) == (key.columns, key.table) for k in have.foreign_keys):
            orphan = self._orphan(want, have, key)
            rule = f"SELECT child.* FROM {self.quote(have.name)} AS child WHERE {orphan.replace(ROW, 'child')}"
        may_be_null = all(t.columns[c].null for t in (want, have) for c in key.columns if c in t.columns)
        return Step(
            have.name, f"{have.name}: {what}", tuple(statements), "foreign key", ", ".join(key.columns), rule,
            aside=orphan, clear=key if may_be_null else None,
        )  # fmt: skip

    def _orphan(self, want: ServerTable, have: ServerTable, key: ForeignKey) -> str:
        """Write the condition for rows that refer to none, those of ``ROW``."""
        parent = self.expected.tables.get(key.table)
        to = [parent.columns[c].name for c in key.to_columns] if parent else list(key.to_columns)
        pairs = list(zip([have.columns[c].name for c in key.columns], to, strict=True))
        given = " AND ".join(f"{ROW}.{self.quote(here)} IS NOT NULL" for here, _ in pairs)
        match = " AND ".join(f"parent.{self.quote(there)} = {ROW}.{self.quote(here)}" for here, there in pairs)
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
            yield from self._primary_key(want, have, live)
        for want, have in pairs:
            yield from self._changed_carried(want, have)
            yield from self._changed_indexes(want, have)
            yield from self._checks(want, have, live)
        live = self.live()  # the tables as they are now decide which keys can be
        for key, table in sorted(self.expected.tables.items()):
            if key in live.tables:
                yield from self._references(cast(ServerTable, table), cast(ServerTable, live.tables[key]), live)
        for label, part in self.expected.objects.items():
            if label in live.objects and live.objects[label] != part:
                kind, _, name = label.partition(" ")
                blocked = None if part.drop else "what is there differs, and others may use it; change it by hand"
                yield Step(name, label, part.drop, kind, name, blocked=blocked)

    def _changed_carried(self, want: ServerTable, have: ServerTable) -> Iterator[Step]:
        """Take away what refuses rows, and make the rest what is expected."""
        extra = have.columns.keys() - want.columns.keys()
        for label, part in have.carried.items():
            if label not in want.carried and label.partition(" ")[0] != "key" and refuses(label, part, extra):
                yield self._carried(have, f"{label} dropped", part.drop)
        for label, part in want.carried.items():
            found, kind = have.carried.get(label), label.partition(" ")[0]
            if found == part or kind == "key" or (found is None and kind in ADDED):
                continue
            yield self._carried(have, label, (*(found.drop if found else ()), *part.make))

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
            drop = self.grammar.give_up_index(have, index.name, _columns_of(index))
            yield Step(have.name, what, (drop,), "index", index.name)

    def _drop(self, have: ServerTable, what: Any, kind: str, label: str) -> Step:
        name = have.constraint_names.get(what)
        if name is None:
            statement = self.grammar.give_up_index(have, have.unique_names[what], self.grammar.ordered(have, what))
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
            if old is not None and (old != new or (want.auto != have.auto and key in (want.auto, have.auto))):
                yield from self._column(want, have, old, new)
        for key in have.columns.keys() - want.columns.keys():
            column = have.columns[key]
            blocks = not column.null and column.default is None and column.generated is None and key not in have.counts
            if blocks and key not in have.primary_key:
                statement = self.grammar.set_null(self.now(have), column, True)
                yield Step(have.name, f"{have.name}: NULL allowed in {column.name}", (statement,), "null", column.name)

    def _column(self, want: ServerTable, have: ServerTable, old: Column, new: Column) -> Iterator[Step]:
        """Change type and default together, and forbid NULL in a step of its own, which rows may stand against."""
        name = old.name
        if old.generated != new.generated:
            blocked = (
                f"it is {f'computed as {old.generated}' if old.generated else 'no computed column'}, expected"
                f" {new.generated or 'none'}; drop the column, and migrate makes it again"
            )
            yield Step(have.name, f"{have.name}: generated {name}", (), "generated", name, blocked=blocked)
            return
        loose = replace(new, null=old.null if new.null != old.null and not new.null else new.null, name=old.name)
        counts = want.auto != have.auto and self.grammar.fold(name) in (want.auto, have.auto)
        if replace(old, name=name) != loose or counts:
            rule, around = None, Around()
            if old.type != new.type or old.collation != new.collation:
                rule = self.grammar.lossy(have.name, old, new)
                around = self.around(have.name, name, self.repair)
            statements = tuple(self.grammar.change_column(self.now(have), want, old, loose))
            if statements:
                yield Step(
                    have.name, f"column {have.name}.{name}", (*around.before, *statements, *around.after), "type", name,
                    around.query if around.blocked else rule, blocked=around.blocked, undo=around.undo,
                )  # fmt: skip
        if old.null and not new.null and want.auto != self.grammar.fold(name):
            condition = f"{self.quote(name)} IS NULL"
            rule = f"SELECT * FROM {self.quote(have.name)} WHERE {condition}"
            fill = None
            if new.default is not None:
                kept = self.grammar.unmoved(have, (self.grammar.fold(name),))
                values = ", ".join([f"{self.quote(name)} = {new.default}", *kept])
                fill = f"UPDATE {self.quote(have.name)} SET {values} WHERE {condition}"
            statement = self.grammar.set_null(self.now(have), loose, False)
            what = f"{have.name}: {name} NOT NULL"
            aside = None if fill else f"{ROW}.{condition}"
            yield Step(have.name, what, (statement,), "null", name, rule, fill, aside)

    def _primary_key(self, want: ServerTable, have: ServerTable, live: Snapshot) -> Iterator[Step]:
        keys = [{label: part for label, part in t.carried.items() if label.startswith("key ")} for t in (want, have)]
        if (want.primary_key == have.primary_key and keys[0] == keys[1]) or not (
            set(want.primary_key) <= have.columns.keys()
        ):
            return
        names = [have.columns[key].name for key in want.primary_key]
        listed = ", ".join(map(self.quote, names))
        given = " OR ".join(f"{self.quote(name)} IS NULL" for name in names)
        double = (
            f"SELECT {listed} FROM {self.quote(have.name)} WHERE {given} UNION ALL SELECT {listed} "
            f"FROM {self.quote(have.name)} GROUP BY {listed} HAVING count(*) > 1"
        )
        taken = live.names - {have.constraint_names.get("primary key", "")}
        change = self.grammar.change_primary_key(have, self.grammar.primary_key(want, listed, taken))
        label = ", ".join(want.primary_key)
        twice = self._aside(live).all_but_one(have, list(map(self.quote, names)), None, nulls_alike=False)
        lacking = " OR ".join(f"{ROW}.{self.quote(name)} IS NULL" for name in names)
        aside = f"({lacking} OR ({twice}))" if twice else None
        what = f"{have.name}: primary key {label}"
        yield Step(have.name, what, change, "primary key", label, double, aside=aside)

    def _changed_indexes(self, want: ServerTable, have: ServerTable) -> Iterator[Step]:
        for key, index in want.indexes.items():
            found = have.indexes.get(key)
            if found is not None and found.shape != index.shape:
                rule = self.grammar.double_index(have.name, index) if index.unique else None
                made = self.grammar.add_index(have.name, want, index)
                drop = self.grammar.give_up_index(have, found.name, _columns_of(found))
                yield Step(have.name, f"index {index.name}", (drop, made), "index", index.name, rule)
        for name, text in want.triggers.items():
            if have.triggers.get(name, text) != text:
                changed = self.grammar.change_trigger(want, have, name)
                yield Step(have.name, f"trigger {name}", changed, "trigger", name)

    def _checks(self, want: ServerTable, have: ServerTable, live: Snapshot) -> Iterator[Step]:
        for check in sorted(want.checks - have.checks):
            rule = f"SELECT * FROM {self.quote(have.name)} WHERE NOT ({check})"
            unproved = have.constraint_names.get(check)
            if unproved is not None:
                how = f"ALTER TABLE {self.quote(have.name)} VALIDATE CONSTRAINT {self.quote(unproved)}"
                statements: tuple[str, ...] = (how,)
            else:
                statements = tuple(self.grammar.add_check(have.name, check))
            aside = self._aside(live).found_by(have, self.quote(have.name), [f"NOT ({check})"])
            yield Step(have.name, f"{have.name}: check {check}", statements, "check", check, rule, aside=aside)

    def _references(self, want: ServerTable, have: ServerTable, live: Snapshot) -> Iterator[Step]:
        for key in sorted(want.foreign_keys - have.foreign_keys, key=repr):
            if not set(key.columns) <= have.columns.keys():
                continue
            old = [k for k in have.foreign_keys if (k.columns, k.table) == (key.columns, key.table)]
            drop = have.constraint_names.get(old[0]) if old else have.constraint_names.get(key)
            yield replace(self._reference(want, have, key, drop), blocked=self.grammar.untied(have, key, live))

    # Repair

    def _repair(self, steps: Iterable[Step], live: Snapshot) -> Alignment:
        """Get the rows that stand against a rule out of the way; see ``repair`` for what is done with them."""
        done: list[str] = []
        for step in steps:
            try:
                with self.attempt():
                    if step.rule and (step.fill or step.aside) and self._count(step.rule):
                        done += self._mend(step, live)
            except pw.DatabaseError as error:
                if self.is_hindered(error) or self._is_lost():
                    raise
                logger.debug("%s: rows against %s could not be set aside\n%s", step.table, step.what, trace(error))
        return Alignment(tuple(done), tuple(Event("repaired", detail=what) for what in done))

    def _mend(self, step: Step, live: Snapshot) -> list[str]:
        table = next(cast(ServerTable, table) for table in live.tables.values() if table.name == step.table)
        if step.fill is not None:
            rows = self._aside(live).fill(table, step.fill)
            return [f"{step.table}: {rows} NULL in {step.name} filled with the default"] if rows else []
        assert step.aside is not None
        if step.clear is not None:
            return self._aside(live).clear(table, step.clear, step.aside, f"{step.name} refers to no row")
        return self._aside(live).move(table, step.aside, step.what)

    def _is_empty(self, table: str) -> bool:
        return execute(self.database, f"SELECT 1 FROM {self.quote(table)} LIMIT 1").fetchone() is None


def _columns_of(index: Index) -> list[str]:
    """Return the columns of an index, without what stands behind them."""
    return [re.sub(r"(\(\d+\))?( DESC)?\Z", "", column) for column in index.columns]

"""Run a plan once through its scripts, prove what it does, and repeat the statements on databases of the same kind.

The databases of a fleet fall into few groups: the same schema, text for text,
and the same history. The first two of a group are migrated through the scripts
while what reaches them is recorded, see ``watched``. Steps with equal
recordings are then repeated on the others, what lies between two of them
shortened, see ``folding``; the other steps (they read rows, make values up, or
say ``cacheable = False``) run through their script there too. Everything is in
one transaction, and the schema is compared, text for text and in its order,
with the recorded one after each script and before the commit. On any doubt it
is rolled back and the database goes the slow way. How servers do it is told in
``server_plan``, how they are watched in ``server_watched``.
"""

from __future__ import annotations

import ast
import logging
import sqlite3
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import peewee as pw

from framework_schema import marks
from framework_schema.folding import READ, Schema, folded
from framework_schema.history import PEEWEE_MIGRATE_TABLE, Event, History
from framework_schema.migration import Migration
from framework_schema.report import Outcome, Report, StepResult
from framework_schema.shelf import Shelf
from framework_schema.watched import Statement, Tape

logger = logging.getLogger(__name__)

PREPARE, ALIGN = "<history>", "<alignment>"
"""The two steps of a run that are no script."""

SEQUENCES = "sqlite_sequence"
STATISTICS = "SELECT name FROM sqlite_master WHERE name LIKE 'sqlite\\_stat%' ESCAPE '\\'"
"""What ANALYZE made, which is none of a ``Schema``."""

DOUBTS = 3
"""How often a group may go wrong before it is given up."""

MODULES = frozenset({
    "__future__", "abc", "collections", "contextlib", "decimal", "enum", "framework_schema.fields",
    "framework_schema.rows", "functools", "itertools", "json", "math", "operator", "peewee", "peewee_migrate",
    "playhouse.fields", "playhouse.hybrid", "playhouse.migrate", "playhouse.mysql_ext", "playhouse.postgres_ext",
    "playhouse.reflection", "playhouse.shortcuts", "playhouse.signals", "playhouse.sqlite_ext", "re", "string",
    "textwrap", "typing",
})  # fmt: skip
"""What a script may import and still be repeated: nothing here knows the clock, chance, files or the network."""

OURS = frozenset({"framework_schema.fields", "framework_schema.rows"})

BUILTINS = frozenset({
    "__builtins__", "__import__", "__loader__", "__spec__", "breakpoint", "eval", "exec", "globals", "input",
    "locals", "open", "vars",
})  # fmt: skip
"""Names by which a script would get round ``MODULES``."""

OUTSIDE = frozenset({
    "*", "__builtins__", "__dict__", "__globals__", "datetime", "environ", "getenv", "inspect", "now", "os", "random",
    "sys", "threading", "time", "today", "utcnow", "uuid", "uuid1", "uuid4",
})  # fmt: skip
"""What these modules hold of others (``pw.datetime``, say), and what is asked of those."""

Script = Callable[[Migration, Sequence[Migration]], StepResult]
"""Runs a migration for real, after these of the plan; raises ``Doubt`` when it is done already."""
Align = Callable[[], tuple[str, ...]]
"""Aligns for real, and returns what it made."""


class Doubt(Exception):
    """A database that does not do what its group did; it goes the slow way."""


class AnotherSchema(Doubt):
    """What was repeated led to another schema."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One step of a run: what it did, and the schema after it.

    ``statements`` is None where it cannot be repeated; then ``left`` is the
    schema itself.
    """

    key: str
    outcome: Outcome | None
    detail: str | None
    made: tuple[str, ...]
    statements: tuple[Statement, ...] | None
    schema: int | str | None
    why: str | None = None
    left: Schema | None = None

    def told(self, checksum: str) -> tuple[StepResult, Event]:
        """Return what to report and to put on record of a step that is a script and was repeated."""
        assert self.outcome is not None
        event = Event(str(self.outcome), "ok", self.key, self.detail, duration_ms=0, checksum=checksum)
        return StepResult(self.key, self.outcome, made=self.made), event


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps that are repeated as one, and the step after them that runs through its script; None at the end.

    ``results`` and ``events`` are what they have to tell, and to put on record.
    ``before`` is the schema they begin with, None where it is not known.
    """

    statements: tuple[Statement, ...]
    results: tuple[StepResult, ...]
    events: tuple[Event, ...]
    live: Recorded | None
    before: Schema | None

    @property
    def folded(self) -> Stretch:
        """The same stretch with fewer statements, where that can be shown."""
        return self if self.before is None else replace(self, statements=folded(self.statements, self.before))


@dataclass(frozen=True)
class Proven:
    """A run that two databases agreed on; ``before`` and ``after`` are the migrations applied then.

    ``can_fold`` is False when what was folded led to another schema once.
    """

    steps: tuple[Recorded, ...]
    stretches: tuple[Stretch, ...]
    report: Report
    before: tuple[Migration, ...]
    after: tuple[Migration, ...]
    can_fold: bool = True

    @property
    def has_backup(self) -> bool:
        """True when a copy was made first."""
        return self.report.backup is not None


@dataclass
class Recording:
    """One run through the scripts, step by step, and how it ended."""

    key: Any
    history: str
    before: tuple[Migration, ...]
    schema: Schema | None
    steps: list[Recorded] = field(default_factory=list)
    after: tuple[Migration, ...] = ()
    report: Report | None = None
    _seen: tuple[int, int, Schema] | None = None

    @contextmanager
    def step(self, database: pw.Database, migration: Migration | None = None) -> Iterator[Tape]:
        """Watch the body, which is a script's or our own."""
        watched: Any = database
        with watched.watching(ours=migration is None) as tape:
            if migration is not None and not (is_repeatable(migration) and _is_contained(database, migration)):
                tape.distrust("it may look outside of the database, or says cacheable = False")
            yield tape

    def add(
        self, database: pw.Database, key: str, tape: Tape, outcome: Outcome | None = None, detail: str | None = None,
        made: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Add the step that a tape has seen; its history row is not on the tape."""
        if key not in (PREPARE, ALIGN) and self._touches_history(tape):
            tape.distrust("it works on the history itself")
        if key == ALIGN and tape.statements:
            tape.distrust("what it makes goes on record, too")
        statements = tuple(tape.statements) if tape.is_trusted else None
        stands_for, schema = self._schema_now(database, is_asked=statements is None or key == ALIGN)
        left = schema if statements is None else None
        why = tape.doubt or (None if tape.is_trusted else "it went round its connection")
        logger.debug("%s: %s", key, why or f"{len(tape.statements)} statements to repeat")
        self.steps.append(Recorded(key, outcome, detail, made, statements, stands_for, why, left))

    def _touches_history(self, tape: Tape) -> bool:
        """Tell whether it names the history, whose rows are written later in a repetition, or gets at it by a view."""
        names = _own_tables(self.history)
        return bool(names & tape.tables) or any(name in s.sql.lower() for s in tape.statements for name in names)

    def end(self, after: tuple[Migration, ...], report: Report) -> None:
        """Take down how the run ended, which went well."""
        self.after, self.report = after, report

    def _schema_now(self, database: pw.Database, *, is_asked: bool) -> tuple[int | str | None, Schema | None]:
        """Return what stands for the schema, and the schema; read again when SQLite's own number for it is another.

        A server takes long to tell, and does so only when ``is_asked``.
        """
        if not isinstance(database, pw.SqliteDatabase):
            return schema_of(database) if is_asked else None, None
        version = database.pragma("schema_version")
        if self._seen is None or self._seen[0] != version:
            schema = _sharing(_master(database), self.schema or ())
            self._seen = (version, hash(schema), schema)
        return self._seen[1:]


@dataclass
class _Group:
    first: Recording | None = None
    proven: Proven | None = None
    doubts: int = 0
    is_folded: bool = False

    @property
    def is_hopeless(self) -> bool:
        return self.doubts >= DOUBTS


class PlanCache:
    """The plans of one process and one set of scripts. Safe between threads; holds no connection.

    On the ``shelf``, where there is one, are the recordings of other processes of the same run.
    """

    def __init__(self, shelf: Shelf | None = None) -> None:
        self._groups: dict[Any, _Group] = {}
        self._lock = threading.Lock()
        self._shelf = shelf
        self.repeated = 0

    def proven(self, key: Any) -> Proven | None:
        """Return the plan that was proven for such databases, folded when the first one asks for it."""
        with self._lock:
            self._borrow(key)
            group = self._groups.get(key)
            if group is None or group.proven is None or group.is_hopeless:
                return None
            if group.proven.can_fold and not group.is_folded:
                stretches = tuple(stretch.folded for stretch in group.proven.stretches)
                group.proven, group.is_folded = replace(group.proven, stretches=stretches), True
            return group.proven

    def record(self, key: Any, database: pw.Database, history: str, before: tuple[Migration, ...]) -> Recording | None:
        """Return what to record the next run with, or None where that is of no use."""
        with self._lock:
            group = self._groups.get(key, _Group())
            wanted = group.proven is None and not group.is_hopeless
        if not wanted or not hasattr(database, "watching"):
            return None
        return Recording(key, history, before, _schema_before(database))

    def add(self, recording: Recording) -> None:
        """Take over a run that went well and is committed; the second one of a group proves the first."""
        with self._lock:
            self._take(recording)
            if self._shelf is not None and recording.schema is None:
                self._shelf.put(recording)
                self._borrow(recording.key)

    def _borrow(self, key: Any) -> None:
        """Take what other processes recorded, as long as it is not enough for a proof."""
        group = self._groups.get(key, _Group())
        if self._shelf is not None and group.proven is None and not group.is_hopeless:
            for recording in self._shelf.others(key):
                self._take(recording)

    def _take(self, recording: Recording) -> None:
        group = self._groups.setdefault(recording.key, _Group())
        if group.first is None:
            group.first = recording
        elif group.proven is None:
            group.proven = _agreed(group.first, recording)
            group.doubts += DOUBTS if group.proven is None else 0

    @property
    def is_of_use(self) -> bool:
        """True when anything is proven, or lent by another process."""
        with self._lock:
            return (self._shelf is not None and self._shelf.is_of_use) or any(
                group.proven is not None and not group.is_hopeless for group in self._groups.values()
            )

    def distrust(self, key: Any, doubt: BaseException) -> None:
        """Remember that a database of the group went wrong; where it may be for the folding, go on without it."""
        logger.debug("plan cache: %s", doubt)
        with self._lock:
            group = self._groups[key]
            if isinstance(doubt, AnotherSchema) and group.is_folded and group.proven is not None:
                first = group.proven.stretches[0].before
                stretches = _stretches(group.proven.steps, first, group.proven.after)
                group.proven, group.is_folded = replace(group.proven, stretches=stretches, can_fold=False), False
            else:
                group.doubts += 1

    def count(self) -> None:
        """Count a database that got its plan from here."""
        with self._lock:
            self.repeated += 1


def key_of(database: pw.Database, history: History, settings: Any) -> Any | None:
    """Return what databases have in common that a plan treats alike, or None where that cannot be told.

    The schema text for text, the history's rows but for their times, and the
    ``settings`` of the run. A database with another tool's history is looked
    at closely every time.
    """
    if not isinstance(database, pw.SqliteDatabase):
        from framework_schema.server_fingerprint import server_key

        found = server_key(database, history)
        return None if found is None else (*found, settings)
    master = _master(database)
    names = {name.lower() for kind, name, *_ in master if kind == "table"}
    if PEEWEE_MIGRATE_TABLE in names or any(sql and "VIRTUAL" in sql[:40].upper() for *_, sql in master):
        return None
    if _fires_on_history(master, history.table) or (SEQUENCES in names and _counts_what_is_gone(database, names)):
        return None
    try:
        facts = _facts(history, names) if history.table.lower() in names else ()
    except pw.DatabaseError:  # another tool's table of that name; the closer look says so
        return None
    kept = tuple(database.execute_sql(STATISTICS).fetchall())  # which a script may find in the list of tables
    return (master, kept, facts, settings)


def _own_tables(history: str) -> set[str]:
    return {history.lower(), marks.events_of(history).lower()}


def _fires_on_history(schema: Schema, history: str) -> bool:
    """Tell whether triggers fire on the history, whose rows are written later where a plan is repeated."""
    return any(kind == "trigger" and table.lower() in _own_tables(history) for kind, _, table, _ in schema)


def _counts_what_is_gone(database: pw.SqliteDatabase, tables: Container[str]) -> bool:
    """Tell whether a counter is left of a table that is gone; a rename would take it along, and folding would not."""
    return any(name.lower() not in tables for (name,) in database.execute_sql(f"SELECT name FROM {SEQUENCES}"))


def _facts(history: History, tables: Container[str]) -> tuple[tuple[Any, ...], ...]:
    try:
        return history.facts(has_events=history.events_table.lower() in tables)
    except pw.OperationalError:  # one of those that had fewer columns
        return history.facts_of_old()


def schema_of(database: pw.Database) -> int | str:
    """Return what stands for the schema, text for text; good within one process."""
    if not isinstance(database, pw.SqliteDatabase):
        from framework_schema.server_fingerprint import fingerprint

        return fingerprint(database)
    return hash(_master(database))


def _again(connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    """Run recorded statements; raises ``Doubt`` when one answers otherwise than it did."""
    for statement in statements:
        cursor = connection.execute(statement.sql, statement.params)
        if statement.asks and cursor.fetchone() != statement.answer:
            raise Doubt(f"another answer to {statement.sql}")
        if statement.rows is not None and cursor.rowcount != statement.rows:
            raise Doubt(f"another number of rows: {statement.sql}")


def run_again(
    database: pw.Database,
    history: History,
    proven: Proven,
    known: Mapping[str, Migration],
    script: Script,
    align: Align,
) -> tuple[StepResult, ...]:
    """Do what was proven to one more database, inside the caller's transaction, and record it.

    ``script`` runs a migration for real, ``align`` the alignment. Raises
    ``Doubt`` when anything is not as it was with the first two.
    """
    done: list[StepResult] = []
    try:
        for stretch in proven.stretches:
            _again(database.connection(), stretch.statements)
            if stretch.events:
                history.record_all(stretch.events)
            done += stretch.results
            live = stretch.live
            if live is None:
                break
            if live.key == ALIGN:
                _expect(align() == proven.report.aligned, "alignment")
            else:
                done.append(script(known[live.key], [known[result.key] for result in done]))
                _expect(done[-1].outcome is not Outcome.FAILED, f"{live.key} failed")
            _expect_schema(database, live, f"another schema after {live.key}")
        _expect_schema(database, proven.steps[-1], "another schema in the end")
    except (pw.DatabaseError, sqlite3.Error) as error:
        raise Doubt(f"{type(error).__name__}: {error}") from error
    return tuple(done)


def _expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise Doubt(otherwise)


def _expect_schema(database: pw.Database, step: Recorded, otherwise: str) -> None:
    if schema_of(database) != step.schema:
        raise AnotherSchema(otherwise)


@lru_cache(maxsize=512)
def is_repeatable(migration: Migration) -> bool:
    """Tell, by its text alone, whether a script depends on nothing but the database it is given."""
    if not migration.cacheable:
        return False
    return _is_inward(migration.tree)


def _is_inward(tree: ast.Module) -> bool:
    mentions = {id(node) for node in mere_mentions(tree)}
    for node in ast.walk(tree):
        if id(node) in mentions:
            continue
        match node:
            case ast.Import(names=names):
                is_inward = all(_is_harmless(name.name) for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                is_inward = level == 0 and _is_harmless(module or "")
                is_inward &= module in OURS or not any(_leads_out(name.name) for name in names)
            case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(), asked, *_]):  # a module's, perhaps
                is_inward = isinstance(asked, ast.Constant) and not _leads_out(str(asked.value))
            case ast.Name(id=name):
                is_inward = name not in BUILTINS
            case ast.Attribute(attr=name):
                is_inward = not _leads_out(name)
            case _:
                continue
        if not is_inward:
            return False
    return True


def _is_contained(database: pw.Database, migration: Migration) -> bool:
    if isinstance(database, pw.SqliteDatabase):
        return True
    from framework_schema.server_watched import is_contained

    return is_contained(migration)


def mere_mentions(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield plain names that are annotations or what isinstance asks for: ``pw.Database`` there opens none."""
    for node in ast.walk(tree):
        asked = []
        match node:
            case ast.Call(func=ast.Name(id="isinstance"), args=[_, ast.Tuple(elts=kinds)]):
                asked = kinds
            case ast.Call(func=ast.Name(id="isinstance"), args=[_, kind]):
                asked = [kind]
        for found in (getattr(node, "annotation", None), getattr(node, "returns", None), *asked):
            match found:
                case ast.Name() | ast.Attribute(value=ast.Name()):
                    yield found


def _leads_out(name: str) -> bool:
    """Tell whether a name is something of the outside, or a kind of database, which would be another one."""
    return name in OUTSIDE or name.endswith("Database")


def _is_harmless(module: str) -> bool:
    return module in MODULES or module.split(".")[0] in MODULES


def _master(database: pw.Database) -> Schema:
    return tuple(database.execute_sql(READ).fetchall())


def _schema_before(database: pw.Database) -> Schema | None:
    """Return the schema that what follows can be folded on; None where nothing is folded."""
    return _master(database) if isinstance(database, pw.SqliteDatabase) else None


def _sharing(schema: Schema, other: Schema) -> Schema:
    """Return a schema that keeps what it has in common with another one only once in memory."""
    rows = {row: row for row in other}
    return tuple(rows.get(row, row) for row in schema)


def _stretches(steps: Sequence[Recorded], before: Schema | None, applied: Sequence[Migration]) -> tuple[Stretch, ...]:
    """Put steps that are repeated one after the other together."""
    checksums = {migration.key: migration.checksum for migration in applied}
    found: list[Stretch] = []
    waiting: list[Recorded] = []
    for step in (*steps, None):
        if step is not None and step.statements is not None:
            waiting.append(step)
            continue
        statements = tuple(statement for repeated in waiting for statement in repeated.statements or ())
        told = [repeated.told(checksums[repeated.key]) for repeated in waiting if repeated.outcome is not None]
        results, events = tuple(result for result, _ in told), tuple(event for _, event in told)
        found.append(Stretch(statements, results, events, step, before))
        waiting, before = [], None if step is None else step.left
    return tuple(found)


def _agreed(first: Recording, second: Recording) -> Proven | None:
    """Return what both did alike; None when they did not do the same steps or ended with another schema."""
    report = second.report
    if report is None or [s.key for s in first.steps] != [s.key for s in second.steps]:
        return None
    if (first.before, first.after) != (second.before, second.after):
        return None
    if any(_fires_on_history(step.left or (), first.history) for step in (*first.steps, *second.steps)):
        return None
    pairs = list(zip(first.steps, second.steps, strict=True))
    if any((a.outcome, a.made) != (b.outcome, b.made) for a, b in pairs):
        return None
    if any(None not in (a.schema, b.schema) and a.schema != b.schema for a, b in pairs):
        return None
    steps = tuple(a if a == b else _alive(a, b) for a, b in pairs)
    if not any(step.statements and step.outcome for step in steps):
        return None
    if any(step.statements is None and (step.schema is None or step.key == PREPARE) for step in steps):
        return None
    return Proven(steps, _stretches(steps, second.schema, second.after), report, second.before, second.after)


def _alive(first: Recorded, second: Recorded) -> Recorded:
    """Return the step as one that runs through its script."""
    schema = second.schema if first.schema is None else first.schema
    return replace(first, statements=None, schema=schema, why="it was not the same twice")

"""Move an app from one database to another, engine to engine: ``framework-schema copy SOURCE TARGET``.

The target gets its schema from the migrations, never from the source's
statements. Rows follow table by table, each in one transaction, without the
foreign keys in the way; what is left without its parent is taken out again, and
the keys are made then. A row that does not fit goes to the reject file with the
reason. At the end both sides are counted and summed up.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import peewee as pw

from framework_schema.config import Config
from framework_schema.databases import hide_password
from framework_schema.errors import DatabaseError, PlanRefused
from framework_schema.history import Event, History
from framework_schema.runner import Runner
from framework_schema.snapshot import ForeignKey, Snapshot, Table
from framework_schema.sources import Source
from framework_schema.transfer_ends import Rejected, end_of
from framework_schema.transfer_values import Converter, Unfit, converter, digest, jsonable

PROGRESS_TABLE = "framework_schema_copy"
BATCH = 5000
MASK = 2**64 - 1

Progress = Callable[[str, int, int], None]
"""Called with a table, the rows done and the rows there are."""


class NotEmpty(DatabaseError):
    """A target with rows, and nobody said that they may go."""

    state = "failed"


@dataclass(frozen=True, slots=True)
class TableCopy:
    """One table: rows read, written and rejected, and the sums of both sides."""

    name: str
    read: int
    written: int
    rejected: int
    sum_source: str
    sum_target: str
    rows_target: int
    earlier: bool = False
    """Whether an earlier run had copied it."""

    @property
    def is_equal(self) -> bool:
        """True when the target holds just what was written."""
        return self.written == self.rows_target and self.sum_source == self.sum_target


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did. ``left_out`` names tables and columns the target does not know."""

    source: str
    target: str
    tables: tuple[TableCopy, ...]
    left_out: tuple[str, ...] = ()
    rejects: str | None = None
    left: tuple[dict[str, Any], ...] = ()
    """Rules of the target that could not be made again, as ``Report.left``."""

    @property
    def rejected(self) -> int:
        """Rows in the reject file."""
        return sum(table.rejected for table in self.tables)

    @property
    def is_wanted(self) -> bool:
        """True when every row arrived and both sides are the same."""
        return not self.rejected and not self.left and all(table.is_equal for table in self.tables)

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        tables = [asdict(table) | {"equal": table.is_equal} for table in self.tables]
        return {
            "source": self.source,
            "target": self.target,
            "tables": tables,
            "left_out": list(self.left_out),
            "rejected": self.rejected,
            "rejects": self.rejects,
            "left": list(self.left),
        }


@dataclass
class Rejects:
    """The file of rows that did not fit: one JSON object a line, made with the first of them, for its owner only."""

    path: Path
    file: TextIO | None = field(default=None, repr=False)
    count: int = 0

    def add(self, table: str, reason: str, row: dict[str, Any]) -> None:
        """Write one row."""
        if self.file is None:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self.file = os.fdopen(descriptor, "a", encoding="utf-8")
        line = {"table": table, "reason": hide_password(reason), "row": jsonable(row)}
        self.file.write(json.dumps(line, ensure_ascii=True) + "\n")
        self.count += 1

    def keep(self) -> None:
        """Bring all lines to disk, before the transaction ends that leaves their rows out."""
        if self.file is not None:
            self.file.flush()
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close it, if it was ever made."""
        if self.file is not None:
            self.file.close()
            self.file = None


def copy(
    source: str | os.PathLike[str] | pw.Database,
    target: str | os.PathLike[str] | pw.Database,
    *,
    sources: Sequence[Source] | None = None,
    replace_rows: bool = False,
    extras: bool = False,
    batch: int = BATCH,
    rejects: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    config: Config | None = None,
) -> CopyReport:
    """Copy all rows of one database into another, which gets the schema of the migrations first.

    ``replace_rows`` allows the target's rows to go; without it the target has
    to be empty, or to hold the beginning of this very copy, which is gone on
    with. ``extras`` takes tables and columns along that no migration makes.
    ``rejects`` is where rows go that do not fit. A SQLite source that is not
    up to date is migrated in a copy of its own; it is never written to. The app
    must not write to either side meanwhile.

    Raises ``NotEmpty``, ``PlanRefused`` for a server that is to be migrated
    first, and what ``Runner.migrate`` raises of the target.
    """
    config = config or Config()
    with _current(Runner(source, sources, config=config, create=False)) as reading:
        writing = Runner(target, sources, config=replace(config, backup="never"))
        _refuse_rows(writing, reading, replace_rows)
        with _begun(writing, replace_rows):
            writing.migrate()
        path = Path(rejects or f"{_file_name(writing)}-rejected.jsonl")
        return _Copy(reading, writing, Rejects(path), extras, batch, progress).run()


@contextmanager
def _current(runner: Runner) -> Iterator[Runner]:
    """Return a runner of an up-to-date source: of the given one, or of a migrated copy of the file."""
    status = runner.status()
    if status.state.value == "current":
        yield runner
        return
    if runner.target.path is None or status.state.value not in ("pending", "failed"):
        raise PlanRefused(
            f"{runner.target.name} is {status.state}, and its rows may have an old form. Nothing was copied. "
            f"Run `framework-schema migrate` on it first."
        )
    with tempfile.TemporaryDirectory(prefix="framework-schema-copy-") as folder:
        place = Path(folder, runner.target.path.name)
        with (
            closing(sqlite3.connect(f"file:{runner.target.path.absolute()}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(place)) as snapshot,
        ):
            live.backup(snapshot)
        twin = Runner(place, runner._sources, config=replace(runner.config, backup="never"))
        twin.migrate()
        yield twin


def _refuse_rows(writing: Runner, reading: Runner, replace_rows: bool) -> None:
    """Raise ``NotEmpty`` when the target holds a row that is nobody's leave to remove."""
    path = writing.target.path
    if path is not None and not path.exists():
        return
    if path is not None and reading.target.path is not None and path.resolve() == reading.target.path.resolve():
        raise PlanRefused(f"{path} is source and target. Nothing was copied.")
    with writing.target.connected() as database:
        end = end_of(database)
        tables = writing.dialect.snapshot(database).tables
        if replace_rows or PROGRESS_TABLE in tables:
            return
        full = [table.name for table in tables.values() if end.count(table.name)]
    if full:
        raise NotEmpty(
            writing.target.name,
            f"the target is not empty ({', '.join(sorted(full)[:3])}{' and more' if len(full) > 3 else ''})",
            "Give an empty database, or --replace to have its rows replaced.",
        )


@contextmanager
def _begun(writing: Runner, afresh: bool) -> Iterator[None]:
    """Make the table of progress before the schema, whose default rows would else look like somebody's after a kill."""
    with writing.target.connected() as database:
        name = end_of(database).quote(PROGRESS_TABLE)
        is_new = not database.table_exists(PROGRESS_TABLE)
        if is_new:
            database.execute_sql(f"CREATE TABLE {name} (name VARCHAR(255) NOT NULL PRIMARY KEY, detail VARCHAR(1000))")
        elif afresh:
            database.execute_sql(f"DELETE FROM {name}")
    try:
        yield
    except DatabaseError:
        if is_new:
            with writing.target.connected() as database:
                database.execute_sql(f"DROP TABLE {name}")
        raise


def _file_name(runner: Runner) -> str:
    path = runner.target.path
    return str(path) if path else str(runner.target.database.database).replace(os.sep, "_")


class _Copy:
    """One copy, between two runners' databases."""

    def __init__(
        self, reading: Runner, writing: Runner, rejects: Rejects, extras: bool, batch: int, progress: Progress | None
    ) -> None:
        self.reading, self.writing, self.rejects = reading, writing, rejects
        self.extras, self.batch = extras, batch
        self.progress = progress or (lambda table, done, rows: None)

    def run(self) -> CopyReport:
        """Copy, take out orphans, make keys and sequences, compare."""
        try:
            with (
                self.reading.target.connected() as source,
                self.writing.target.connected() as target,
                self._lock(),
            ):
                self.from_end, self.to_end = end_of(source), end_of(target)
                with self.from_end.reading(), self.to_end.writing():
                    return self._run(source, target)
        finally:
            self.rejects.close()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold a server's migration lock by a connection beside the writing one; SQLite locks by writing."""
        if self.writing.target.path is not None or self.writing.target.borrowed:
            yield
            return
        from framework_schema.databases import clone

        beside = clone(self.writing.target.database)
        with beside.connection_context(), self.writing.dialect.exclusive(beside, self.writing.target.name):
            yield

    def _run(self, source: pw.Database, target: pw.Database) -> CopyReport:
        there = self.reading.dialect.snapshot(source, structural=True)
        here = self.writing.dialect.snapshot(target, structural=True)
        if self.extras:
            self.to_end.add_extras(there, here, self._own_tables())
            here = self.writing.dialect.snapshot(target, structural=True)
        self.there, expected = there, self._expected(there, here)
        order = [name for name in parents_first(expected) if self._pair(there, name) is not None]
        done = self._earlier(target)
        self.to_end.drop_foreign_keys([here.tables[name] for name in order])
        if not done:
            self._clear(target, expected)
        copied = {}
        for name in order:
            table = expected.tables[name]
            if table.name in done:
                copied[name] = done[table.name]
            else:
                copied[name] = self._table(target, self._found(there, name), table)
        self._orphans(target, expected, copied)
        alignment = self.to_end.restore_foreign_keys(self.writing, expected, order)
        if self.extras:
            made = self.writing.expected(self.writing.known.migrations, True)
            now = self.writing.dialect.snapshot(target, structural=True)
            self.to_end.add_extra_indexes(there, now, made)
        for name in order:
            self.to_end.set_counter(expected.tables[name], self.from_end.counter(self._found(there, name)))
        tables = tuple(self._compared(expected.tables[name], copied[name]) for name in order)
        self._end(target, tables)
        return CopyReport(
            hide_password(self.reading.target.url),
            hide_password(self.writing.target.url),
            tables,
            tuple(self._left_out(there, expected)),
            str(self.rejects.path) if self.rejects.count or any(t.rejected for t in tables) else None,
            tuple(item.as_dict() for item in alignment.left),
        )

    def _own_tables(self) -> set[str]:
        """Name what is not the app's: the history, which each side has of its own, and the progress."""
        history = History(self.writing.target.database, self.writing.config.table)
        return {history.table, history.events_table, PROGRESS_TABLE, "sqlite_sequence", "framework_schema_lock"}

    def _expected(self, there: Snapshot, here: Snapshot) -> Snapshot:
        """Return the target's tables with the keys they are to have, which a stopped copy may have taken away."""
        made = self.writing.expected(self.writing.known.migrations, True)
        keys = {key.lower(): key for key in here.tables}
        tables = {}
        for name, table in here.tables.items():
            if table.name in self._own_tables() or table.unreadable:
                continue
            pair = self._pair(there, name)
            if name in made.tables:
                wanted = made.tables[name].foreign_keys
            elif pair is not None:
                wanted = frozenset(self._translated(pair, table, keys))
            else:
                wanted = table.foreign_keys
            tables[name] = replace(table, foreign_keys=wanted)
        return Snapshot(tables)

    @staticmethod
    def _translated(pair: Table, table: Table, keys: dict[str, str]) -> Iterator[ForeignKey]:
        """Yield an extra table's references in the target's names; one to a table that is not there goes."""
        columns = {key.lower(): key for key in table.columns}
        for key in pair.foreign_keys:
            to = keys.get(key.table.lower())
            if to is not None and all(column.lower() in columns for column in key.columns):
                own = tuple(columns[column.lower()] for column in key.columns)
                yield replace(key, columns=own, table=to)

    def _pair(self, there: Snapshot, name: str) -> Table | None:
        """Find the source's table for one of the target's, by name whatever its case."""
        exact = there.tables.get(name)
        if exact is not None:
            return None if exact.unreadable else exact
        return next((t for key, t in there.tables.items() if key.lower() == name.lower()), None)

    def _found(self, there: Snapshot, name: str) -> Table:
        table = self._pair(there, name)
        assert table is not None
        return table

    def _left_out(self, there: Snapshot, expected: Snapshot) -> Iterator[str]:
        known = {name.lower(): table for name, table in expected.tables.items()}
        own = {name.lower() for name in self._own_tables()}
        for name, table in sorted(there.tables.items()):
            if name.lower() in own:
                continue
            want = known.get(name.lower())
            if want is None:
                yield f"table {table.name}"
                continue
            names = {column.lower() for column in want.columns}
            yield from (f"column {table.name}.{c.name}" for c in table.columns.values() if c.name.lower() not in names)

    # Rows

    def _table(self, target: pw.Database, have: Table, want: Table) -> TableCopy:
        """Copy one table in one transaction."""
        names = {column.name.lower(): column.name for column in have.columns.values()}
        columns = [c for c in want.columns.values() if c.name.lower() in names and not c.generated]
        converters = [converter(self.to_end.engine, column) for column in columns]
        fresh = [column.name for column in columns]
        rows = self.from_end.count(have.name)
        tally = _Tally(want.name, fresh, self.rejects)
        with target.atomic():
            query = self.from_end.select(have.name, [names[name.lower()] for name in fresh], have.primary_key)
            for chunk in self.from_end.stream(query, self.batch):
                fitting = tally.converted(chunk, converters)
                for rejected in self.to_end.insert(want.name, fresh, fitting):
                    tally.refuse(rejected)
                self.progress(want.name, tally.read, rows)
            result = tally.result()
            self._note(target, result)
            self.rejects.keep()
        return result

    def _clear(self, target: pw.Database, expected: Snapshot) -> None:
        """Remove what the target held, children first: the migrations' default rows, or what may be replaced."""
        with target.atomic():
            for name in reversed(parents_first(expected)):
                target.execute_sql(f"DELETE FROM {self.to_end.quote(expected.tables[name].name)}")

    def _orphans(self, target: pw.Database, expected: Snapshot, copied: dict[str, TableCopy]) -> None:
        """Take out rows whose parent is not there, until no row goes any more: a child may have children.

        A batch goes, is noted and written to the reject file in one transaction.
        """
        went = True
        while went:
            went = False
            for name in copied:
                table = expected.tables[name]
                for key in sorted(table.foreign_keys, key=repr):
                    reason = f"no row of {key.table} for {', '.join(key.columns)}"
                    for rows in self.to_end.take_orphans(table, key, expected, self.batch):
                        copied[name] = self._without(table, copied[name], rows, reason)
                        self._note(target, copied[name])
                        self.rejects.keep()
                        went = True

    def _without(self, table: Table, before: TableCopy, rows: list[dict[str, Any]], reason: str) -> TableCopy:
        converters = {column.name: converter(self.to_end.engine, column) for column in table.columns.values()}
        total = int(before.sum_source, 16)
        written = set(self._written_columns(table))
        for row in rows:
            self.rejects.add(table.name, reason, row)
            values = [converters[name](value) for name, value in row.items() if name in written]
            total = (total - digest(values)) & MASK
        return replace(
            before,
            written=before.written - len(rows),
            rejected=before.rejected + len(rows),
            sum_source=f"{total:016x}",
        )

    def _written_columns(self, table: Table) -> list[str]:
        """Return the columns that were copied, in order; the others hold the target's defaults."""
        names = {column.name.lower() for column in self._found(self.there, table.name).columns.values()}
        return [c.name for c in table.columns.values() if c.name.lower() in names and not c.generated]

    def _compared(self, table: Table, before: TableCopy) -> TableCopy:
        """Read the target's rows back and sum them up."""
        names = self._written_columns(table)
        columns = {column.name: column for column in table.columns.values()}
        converters = [converter(self.to_end.engine, columns[name]) for name in names]
        total = rows = 0
        for chunk in self.to_end.stream(self.to_end.select(table.name, names, table.primary_key), self.batch):
            parts = list(zip(*chunk, strict=True))
            todo = [n for n, convert in enumerate(converters) if not convert.leaves(parts[n])]
            for n in todo:
                parts[n] = tuple(map(converters[n], parts[n]))
            same = zip(*parts, strict=True) if todo else chunk
            total = (total + sum(map(digest, same))) & MASK
            rows += len(chunk)
        return replace(before, sum_target=f"{total:016x}", rows_target=rows)

    # Progress

    def _earlier(self, target: pw.Database) -> dict[str, TableCopy]:
        """Return what an earlier run of the same copy finished."""
        rows = target.execute_sql(f"SELECT detail FROM {self.to_end.quote(PROGRESS_TABLE)}").fetchall()
        found = [TableCopy(**json.loads(detail)) for (detail,) in rows]
        return {table.name: replace(table, earlier=True) for table in found}

    def _note(self, target: pw.Database, result: TableCopy) -> None:
        """Write, or write again, how one table stands."""
        name, mark = self.to_end.quote(PROGRESS_TABLE), target.param
        target.execute_sql(f"DELETE FROM {name} WHERE name = {mark}", (result.name,))
        target.execute_sql(
            f"INSERT INTO {name} (name, detail) VALUES ({mark}, {mark})", (result.name, json.dumps(asdict(result)))
        )

    def _end(self, target: pw.Database, tables: Iterable[TableCopy]) -> None:
        with target.atomic():
            target.execute_sql(f"DROP TABLE {self.to_end.quote(PROGRESS_TABLE)}")
            rows = sum(table.written for table in tables)
            detail = f"{rows} rows from {hide_password(self.reading.target.url)}"
            History(target, self.writing.config.table).log(Event("copied", detail=detail))


class _Tally:
    """Counts and sums the rows of one table on their way."""

    def __init__(self, table: str, columns: list[str], rejects: Rejects) -> None:
        self.table, self.columns, self.rejects = table, columns, rejects
        self.read = self.rejected = self.total = 0

    def converted(self, chunk: Sequence[Sequence[Any]], converters: Sequence[Converter]) -> list[Sequence[Any]]:
        """Return the rows that fit, converted; columns whose batch needs nothing are left alone."""
        self.read += len(chunk)
        columns = list(zip(*chunk, strict=True))
        todo = [n for n, convert in enumerate(converters) if not convert.leaves(columns[n])]
        if not todo:
            self.total = (self.total + sum(map(digest, chunk))) & MASK
            return list(chunk)
        fitting: list[Sequence[Any]] = []
        for row in chunk:
            values = list(row)
            try:
                for n in todo:
                    values[n] = converters[n](values[n])
            except Unfit:
                self._reject(row, "; ".join(self._reasons(row, converters)))
                continue
            fitting.append(tuple(values))
        self.total = (self.total + sum(map(digest, fitting))) & MASK
        return fitting

    def _reasons(self, row: Sequence[Any], converters: Sequence[Converter]) -> Iterator[str]:
        for name, value, convert in zip(self.columns, row, converters, strict=True):
            try:
                convert(value)
            except Unfit as unfit:
                yield f"{name}: {unfit}"

    def refuse(self, rejected: Rejected) -> None:
        """Count a row out that the database did not take."""
        self.total = (self.total - digest(rejected.row)) & MASK
        self._reject(rejected.row, rejected.reason)

    def _reject(self, row: Sequence[Any], reason: str) -> None:
        self.rejected += 1
        self.rejects.add(self.table, reason, dict(zip(self.columns, row, strict=True)))

    def result(self) -> TableCopy:
        """Return the table's figures; the target's are not known yet."""
        written = self.read - self.rejected
        return TableCopy(self.table, self.read, written, self.rejected, f"{self.total:016x}", "", 0)


def parents_first(schema: Snapshot) -> list[str]:
    """Order tables so that each comes after those it refers to, as far as they go round in no circle."""
    done: list[str] = []
    pending = sorted(schema.tables)
    while pending:
        ready = [
            name
            for name in pending
            if all(
                key.table in done or key.table == name or key.table not in schema.tables
                for key in schema.tables[name].foreign_keys
            )
        ]
        done += ready or pending[:1]
        pending = [name for name in pending if name not in done]
    return done

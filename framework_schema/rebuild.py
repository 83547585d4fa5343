"""Change a SQLite table's definition and lose nothing.

SQLite's own way to change what ALTER TABLE cannot: build the new table beside
the old one, copy, drop, rename, and make the indexes and triggers again
(https://www.sqlite.org/lang_altertable.html#otheralter). Every step can lose
something without an error, so nothing is believed here: rows are compared
before the old table goes, objects when all is done, and the caller rolls back
what cannot be shown to be right.

The caller owns the transaction and the foreign keys: it switches them off
before BEGIN, takes ``orphans.violations`` before and after, and commits.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any
from uuid import uuid4

import peewee as pw

from framework_schema import ddl
from framework_schema.ddl import fold, quote
from framework_schema.dependents import needs_column, trigger_columns
from framework_schema.errors import SchemaError

logger = logging.getLogger(__name__)

# https://www.sqlite.org/fileformat2.html#stat1tab
STATISTICS = "SELECT name FROM sqlite_master WHERE name IN ('sqlite_stat1', 'sqlite_stat3', 'sqlite_stat4')"


class RebuildFailed(SchemaError):
    """A table that could not be rebuilt, or not be shown to be whole. Roll the transaction back."""

    def __init__(self, table: str, problem: str) -> None:
        self.table, self.problem = table, problem
        super().__init__(f"table {table} was not rebuilt: {problem}. The transaction must be rolled back.")

    def __reduce__(self) -> tuple[type[RebuildFailed], tuple[str, str]]:
        """Travel between the processes of a fleet."""
        return type(self), (self.table, self.problem)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild carried over: the number of rows, and which objects were made again."""

    table: str
    rows: int
    indexes: tuple[str, ...]
    triggers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Object:
    """A row of ``sqlite_master`` that has a text."""

    type: str
    name: str
    table: str
    sql: str


@dataclass(frozen=True)
class _Side:
    """The old table or the new one.

    ``alias`` is the column that is the rowid (https://www.sqlite.org/rowidtable.html).
    """

    name: str
    definition: ddl.TableDef
    alias: str | None

    @cached_property
    def rowid(self) -> str | None:
        """How to name the rowid, quoted; None if there is none or columns have taken all its names."""
        if self.alias is not None:
            return quote(self.alias)
        names = [column.name for column in self.definition.columns]
        free = (name for name in ddl.ROWID_NAMES if not ddl.name_in(names, name))
        return None if self.definition.without_rowid else next(free, None)

    @property
    def stored(self) -> tuple[str, ...]:
        """The columns that can be written."""
        return tuple(column.name for column in self.definition.columns if column.generated is None)

    def lacks(self, other: _Side) -> frozenset[str]:
        """Return the folded names of the columns of ``other`` that are not here."""
        mine = {fold(column.name) for column in self.definition.columns}
        return frozenset(fold(column.name) for column in other.definition.columns) - mine


@dataclass(frozen=True)
class _Copy:
    """How rows get from old to new: ``sources`` maps what is written, quoted, to SQL over the old table."""

    old: _Side
    new: _Side
    sources: Mapping[str, str]
    carried: Mapping[str, str]
    converted: frozenset[str]


def rebuild_table(
    database: pw.SqliteDatabase,
    table: str,
    new_sql: str,
    *,
    copy: Mapping[str, str] | None = None,
    allow_conversion: Collection[str] = frozenset(),
) -> Rebuilt:
    """Give ``table`` the definition ``new_sql``, a CREATE TABLE of the same name.

    Columns of the same name keep their values; ``copy`` maps others to SQL
    over the old table. A column that is new and not in ``copy`` gets its
    default. A value whose type or content would change on the way is an error,
    but for columns in ``allow_conversion``, which may change type as long as
    they compare equal. Rowids and ``sqlite_sequence`` are kept.

    A transaction must be open and ``foreign_keys`` off, for DROP TABLE would
    otherwise delete the children's rows, and the pragma does nothing inside a
    transaction. After any ``RebuildFailed`` the caller must roll back.
    """
    try:
        _require_ready(database, table)
        return _rebuild(database, table, new_sql, copy or {}, allow_conversion)
    except (pw.DatabaseError, ddl.DDLError) as error:
        raise RebuildFailed(table, str(error)) from error


# The steps


def _require_ready(database: pw.SqliteDatabase, table: str) -> None:
    if not database.connection().in_transaction:
        raise RebuildFailed(table, "no transaction is open")
    if _rows(database, "PRAGMA foreign_keys")[0][0]:
        raise RebuildFailed(table, "foreign_keys is on; it must be switched off before BEGIN")


def _rebuild(
    database: pw.SqliteDatabase,
    table: str,
    new_sql: str,
    copy: Mapping[str, str],
    allow_conversion: Collection[str],
) -> Rebuilt:
    before = _objects(database)
    old = _old_side(database, table, before)
    own = [item for item in before if fold(item.table) == fold(old.name) and item.type in ("index", "trigger")]
    new = _create(database, old, new_sql)
    gone = new.lacks(old)
    _require_free(old.name, gone, own)
    not_working, sequences = broken(database, gone), _sequences(database)
    plan = _plan(old, new, copy, allow_conversion)
    _copy_rows(database, plan)
    rows = _prove_rows(database, plan)
    _carry_sequence(database, plan, sequences)
    _replace(database, old.name, new.name)
    for item in own:
        _recreate(database, old.name, item)
    _prove_objects(database, old.name, before)
    _prove_sequences(database, plan, sequences)
    _prove_compiles(database, old.name, gone, not_working)
    level = logging.INFO if rows else logging.DEBUG  # as in a scratch, where scripts are tried out
    logger.log(level, "%s: rebuilt table %s, %d rows", _file(database), old.name, rows)
    indexes, triggers = (tuple(i.name for i in own if i.type == kind) for kind in ("index", "trigger"))
    return Rebuilt(old.name, rows, indexes, triggers)


def _old_side(database: pw.SqliteDatabase, table: str, objects: Iterable[_Object]) -> _Side:
    found = next((o for o in objects if o.type == "table" and fold(o.name) == fold(table)), None)
    if found is None or fold(table).startswith("sqlite_"):
        raise RebuildFailed(table, "there is no such table of the user's")
    shadows = "SELECT name FROM sqlite_temp_master WHERE ? COLLATE NOCASE IN (name, tbl_name)"
    if temporary := _rows(database, shadows, table):
        raise RebuildFailed(table, f"the temporary object {temporary[0][0]} stands before it")
    return _side(database, found.name, found.sql)


def _side(database: pw.SqliteDatabase, name: str, sql: str) -> _Side:
    definition = ddl.parse_table(sql)
    return _Side(name, definition, _rowid_alias(database, name, definition))


def _rowid_alias(database: pw.SqliteDatabase, name: str, definition: ddl.TableDef) -> str | None:
    """Return the INTEGER PRIMARY KEY: the one primary key that needs no index of its own.

    Asking SQLite spares its exceptions: INTEGER PRIMARY KEY DESC is none, INT PRIMARY KEY neither.
    """
    key = _rows(database, "SELECT name FROM pragma_table_xinfo(?) WHERE pk", name)
    indexed = _rows(database, "SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'", name)
    return key[0][0] if len(key) == 1 and not indexed and not definition.without_rowid else None


def _create(database: pw.SqliteDatabase, old: _Side, new_sql: str) -> _Side:
    """Create the new table beside the old one, under a name that is free."""
    definition = ddl.parse_table(new_sql)
    if fold(definition.name) != fold(old.name) or definition.temporary or definition.schema not in (None, "main"):
        raise RebuildFailed(old.name, "the new definition is for another table, or a temporary one")
    name = _free_name(database)
    sql = ddl.rename_table(new_sql, name)
    gone = frozenset(fold(c.name) for c in old.definition.columns) - {fold(c.name) for c in definition.columns}
    hardened = _hardened(sql, gone)
    if hardened != sql:
        _run(database, hardened)
        _run(database, f"DROP TABLE {quote(name)}")
    _run(database, sql)
    return _side(database, name, new_sql)


def _free_name(database: pw.SqliteDatabase) -> str:
    sql = "SELECT name FROM sqlite_master UNION SELECT name FROM sqlite_temp_master"
    taken = {fold(name) for (name,) in _rows(database, sql)}
    return next(name for n in count(1) if (name := f"framework_schema_rebuild_{n}") not in taken)


def _hardened(sql: str, names: Collection[str]) -> str:
    """Return ``sql`` with these double-quoted names in other quotes.

    SQLite takes a double-quoted word that names no column for a string
    (https://www.sqlite.org/quirks.html, section 8), so a CHECK, a view or a
    trigger goes on without an error when its column goes. In backticks it is
    a name and nothing else.
    """
    for token in reversed(ddl.significant(sql)):
        if token.text.startswith('"') and fold(token.name) in names:
            sql = sql[: token.start] + "`" + token.name.replace("`", "``") + "`" + sql[token.end :]
    return sql


def _require_free(table: str, gone: Collection[str], own: Iterable[_Object]) -> None:
    """Refuse to lose a column that an index, or the UPDATE OF of a trigger, needs.

    SQLite says nothing of the latter: the trigger would never fire again.
    """
    for item in own:
        for name in gone:
            if item.type == "index":
                is_needed = needs_column(item.sql, name)
            else:
                is_needed = any(ddl.mentions(columns, name) for columns in trigger_columns(item.sql))
            if is_needed:
                raise RebuildFailed(table, f"{item.type} {item.name} needs column {name}, which goes")


# The copy


def _plan(old: _Side, new: _Side, copy: Mapping[str, str], allow_conversion: Collection[str]) -> _Copy:
    wanted = {fold(name): f"({expression})" for name, expression in copy.items()}
    if unknown := set(wanted) - {fold(name) for name in new.stored}:
        raise RebuildFailed(old.name, f"there is no column {', '.join(sorted(unknown))} to copy to")
    names = {fold(column.name): column.name for column in old.definition.columns}
    carried = {n: names[fold(n)] for n in new.stored if fold(n) in names and fold(n) not in wanted}
    sources = {quote(name): quote(source) for name, source in carried.items()}
    sources |= {quote(name): wanted[fold(name)] for name in new.stored if fold(name) in wanted}
    if new.rowid is not None and old.rowid is not None:
        sources.setdefault(new.rowid, old.rowid)
    if not sources:
        raise RebuildFailed(old.name, "the new definition has nothing in common with the old one")
    return _Copy(old, new, sources, carried, frozenset(map(fold, allow_conversion)))


def _copy_rows(database: pw.SqliteDatabase, plan: _Copy) -> None:
    """Copy all rows; what they break is said of the table, not of the passing name."""
    try:
        _run(database, _copy_sql(plan))
    except pw.DatabaseError as error:
        raise RebuildFailed(plan.old.name, str(error).replace(plan.new.name, plan.old.name)) from error


def _copy_sql(plan: _Copy) -> str:
    """Return the INSERT that copies all rows.

    NOT INDEXED reads in the order of the rowids, whatever index covers the
    columns. OR ABORT stands above ON CONFLICT clauses of the table, which
    would otherwise drop or change rows in silence.
    """
    return (
        f"INSERT OR ABORT INTO {quote(plan.new.name)} ({', '.join(plan.sources)})"
        f" SELECT {', '.join(plan.sources.values())} FROM {quote(plan.old.name)} NOT INDEXED"
    )


def _replace(database: pw.SqliteDatabase, table: str, new: str) -> None:
    """Put the new table in the place of the old one.

    Never the other way round: a rename of the old table would take the
    references of its children along. What ANALYZE found stands under the new
    name meanwhile, for DROP TABLE deletes it.
    """
    statistics = [name for (name,) in _rows(database, STATISTICS)]
    for name in statistics:
        _run(database, f"UPDATE {name} SET tbl = ? WHERE tbl = ?", new, table)
    _run(database, f"DROP TABLE {quote(table)}")
    with _legacy_alter_table(database):
        _run(database, f"ALTER TABLE {quote(new)} RENAME TO {quote(table)}")
    for name in statistics:
        _run(database, f"UPDATE {name} SET tbl = ? WHERE tbl = ?", table, new)


@contextmanager
def _legacy_alter_table(database: pw.SqliteDatabase) -> Iterator[None]:
    """Rename without a look at views and triggers, which name a table that is not there just now."""
    was = _rows(database, "PRAGMA legacy_alter_table")[0][0]
    _run(database, "PRAGMA legacy_alter_table = ON")
    try:
        yield
    finally:
        _run(database, f"PRAGMA legacy_alter_table = {int(was)}")


def _recreate(database: pw.SqliteDatabase, table: str, item: _Object) -> None:
    try:
        _run(database, item.sql)
    except pw.DatabaseError as error:
        raise RebuildFailed(table, f"{item.type} {item.name} does not fit any more: {error}") from error


# sqlite_sequence (https://www.sqlite.org/autoinc.html)


def _sequences(database: pw.SqliteDatabase) -> Counter[tuple[str, Any]]:
    if not _rows(database, "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"):
        return Counter()
    return Counter(_rows(database, "SELECT name, seq FROM sqlite_sequence"))


def _carry_sequence(database: pw.SqliteDatabase, plan: _Copy, sequences: Counter[tuple[str, Any]]) -> None:
    """Give the new table the old one's counter, which may be above its highest id.

    The rename takes it along.
    """
    if not (plan.old.definition.autoincrement and plan.new.definition.autoincrement):
        return
    _run(database, "DELETE FROM sqlite_sequence WHERE name = ?", plan.new.name)
    for name, value in sequences.elements():
        if name == plan.old.name:
            _run(database, "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", plan.new.name, value)


def _prove_sequences(database: pw.SqliteDatabase, plan: _Copy, before: Counter[tuple[str, Any]]) -> None:
    both = plan.old.definition.autoincrement and plan.new.definition.autoincrement
    changed = (before - (after := _sequences(database))) + (after - before)
    for name, value in changed:
        if both or name != plan.old.name:
            raise RebuildFailed(plan.old.name, f"sqlite_sequence of {name} is not what it was ({value})")


# The proof of the rows


def _prove_rows(database: pw.SqliteDatabase, plan: _Copy) -> int:
    """Show that every row is there and every carried value is the same; return the number of rows."""
    old, new = (_rows(database, f"SELECT count(*) FROM {quote(side.name)}")[0][0] for side in (plan.old, plan.new))
    if old != new:
        raise RebuildFailed(plan.old.name, f"{old} rows became {new}")
    key = _key(plan)
    found = _rows(database, _unlike_groups_sql(plan) if key is None else _unlike_rows_sql(plan, key))
    if found:
        number = found[0][0]
        what = "a row is missing" if number < 0 else f"column {list(plan.carried)[number]} would change its values"
        raise RebuildFailed(plan.old.name, what)
    return int(new)


def _key(plan: _Copy) -> tuple[str, ...] | None:
    """Return what tells the new rows apart: the rowid, else the primary key, if the old rows give it."""
    if plan.new.rowid is not None and plan.new.rowid in plan.sources:
        return (plan.new.rowid,)
    key = tuple(map(quote, plan.new.definition.primary_key))
    return key if key and all(name in plan.sources for name in key) else None


def _unlike_rows_sql(plan: _Copy, key: tuple[str, ...]) -> str:
    """Return a query for the first old row that is not so in the new table.

    It reads both tables once, side by side, and holds one row of each. Its
    value is the number of the column that differs, -1 for a row that is not
    there. A type is compared too, for 1 and 1.0, or '1' in a column that turns
    it into 1, are equal to SQLite. CASE, since a chain of ORs has a limit.
    """
    sources = {quote(name): f"c{n}" for n, name in enumerate(plan.carried.values())}
    for n, name in enumerate(key):  # once each: 2,000 columns are all that a query may have
        sources.setdefault(plan.sources[name], f"k{n}")
    match = " AND ".join(f"n.{name} IS o.{sources[plan.sources[name]]}" for name in key)
    cases = [f"WHEN n.{key[0]} IS NULL THEN -1"]
    cases += [f"WHEN {_unlike(plan, name, f'o.c{n}')} THEN {n}" for n, name in enumerate(plan.carried)]
    return (
        f"SELECT unlike FROM (SELECT CASE {' '.join(cases)} END AS unlike"
        f" FROM (SELECT {', '.join(f'{source} AS {alias}' for source, alias in sources.items())}"
        f" FROM {quote(plan.old.name)} NOT INDEXED) AS o"
        f" LEFT JOIN {quote(plan.new.name)} AS n ON {match}) WHERE unlike IS NOT NULL LIMIT 1"
    )


def _unlike(plan: _Copy, name: str, old: str) -> str:
    new = f"n.{quote(name)}"
    differs = f"{old} COLLATE BINARY IS NOT {new}"
    return differs if fold(name) in plan.converted else f"({differs} OR typeof({old}) <> typeof({new}))"


def _unlike_groups_sql(plan: _Copy) -> str:
    """Return a query for a kind of row that is not there as often: for rows that nothing tells apart."""
    exact = [(n, o) for n, o in plan.carried.items() if fold(n) not in plan.converted]
    old = _groups_sql(plan.old.name, [quote(o) for _, o in exact])
    new = _groups_sql(plan.new.name, [quote(n) for n, _ in exact])
    return f"SELECT -1 FROM ({old} EXCEPT {new}) LIMIT 1"


def _groups_sql(table: str, columns: list[str]) -> str:
    parts = [part for name in columns for part in (f"{name} COLLATE BINARY", f"typeof({name})")]
    group = f" GROUP BY {', '.join(parts)}" if parts else ""
    return f"SELECT {', '.join([*parts, 'count(*)'])} FROM {quote(table)}{group}"


# The proof of everything else


def _objects(database: pw.SqliteDatabase) -> tuple[_Object, ...]:
    sql = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
    return tuple(_Object(*row) for row in _rows(database, sql))


def _prove_objects(database: pw.SqliteDatabase, table: str, before: tuple[_Object, ...]) -> None:
    """Show that every table, index, trigger and view has the text it had, this table aside."""
    own = [item for item in before if item.type == "table" and item.name == table]
    others = set(before) - set(own)
    found = {item for item in _objects(database) if (item.type, item.name) != ("table", table)}
    for item in others ^ found:
        if not (item.name == "sqlite_sequence" and item in found):
            raise RebuildFailed(table, f"{item.type} {item.name} is not what it was")


def _prove_compiles(database: pw.SqliteDatabase, table: str, gone: Collection[str], before: Mapping[str, str]) -> None:
    """Show that nothing is broken that was not."""
    for what, problem in broken(database, gone).items():
        if what not in before:
            raise RebuildFailed(table, f"{what} does not work any more: {problem}")


def broken(database: pw.SqliteDatabase, gone: Collection[str]) -> dict[str, str]:
    """Return what does not compile, with SQLite's complaint: views, and writes that fire triggers.

    SQLite looks into neither when a table changes; the next reader or writer finds out.
    """
    objects = _objects(database)
    found = _broken_views(database, objects, gone) | _broken_writes(database, objects)
    triggers = [item for item in objects if item.type == "trigger" and _hardened(item.sql, gone) != item.sql]
    if triggers:
        with _rolled_back(database):
            for item in triggers:
                _run(database, f"DROP TRIGGER {quote(item.name)}")
                _run(database, _hardened(item.sql, gone))
            again = _broken_writes(database, objects)
        found |= {f"{what}, by a name in double quotes,": problem for what, problem in again.items()}
    return found


def _broken_views(database: pw.SqliteDatabase, objects: Iterable[_Object], gone: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in objects:
        if item.type == "view":
            queries = [f"SELECT * FROM {quote(item.name)}", _hardened(_view_query(item.sql), gone)]
            problem = _complaint(database, queries)
            found |= {f"view {item.name}": problem} if problem else {}
    return found


def _view_query(sql: str) -> str:
    """Return the SELECT of a CREATE VIEW."""
    query = next(token for token in ddl.significant(sql) if token.word == "AS")
    return sql[query.end :]


def _broken_writes(database: pw.SqliteDatabase, objects: Iterable[_Object]) -> dict[str, str]:
    triggers: dict[str, list[str]] = {}
    for item in objects:
        if item.type == "trigger":
            triggers.setdefault(fold(item.table), []).append(item.name)
    found: dict[str, str] = {}
    for table, names in triggers.items():
        problem = _write_complaint(database, table)
        found |= {f"a write to {table} with trigger {', '.join(names)}": problem} if problem else {}
    return found


def _write_complaint(database: pw.SqliteDatabase, table: str) -> str | None:
    sql = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0"
    try:
        columns = [quote(name) for (name,) in _rows(database, sql, table)]
    except pw.DatabaseError as error:
        return str(error)
    writes = [
        f"INSERT INTO {quote(table)} ({', '.join(columns)}) VALUES ({', '.join(['NULL'] * len(columns))})",
        f"UPDATE {quote(table)} SET {', '.join(f'{name} = {name}' for name in columns)}",
        f"DELETE FROM {quote(table)}",
    ]
    return _complaint(database, writes)


def _complaint(database: pw.SqliteDatabase, statements: Iterable[str]) -> str | None:
    """Return what SQLite says against the first statement that does not compile; nothing is run.

    Each text is used once: Python keeps prepared statements, and an EXPLAIN,
    which is never really run, does not notice that the schema has changed.
    """
    try:
        for statement in statements:
            database.execute_sql(f"EXPLAIN /* {uuid4()} */ {statement}").close()
    except pw.DatabaseError as error:
        return str(error)
    return None


@contextmanager
def _rolled_back(database: pw.SqliteDatabase) -> Iterator[None]:
    """Undo what the body does."""
    _run(database, "SAVEPOINT framework_schema_probe")
    try:
        yield
    finally:
        _run(database, "ROLLBACK TO framework_schema_probe")
        _run(database, "RELEASE framework_schema_probe")


# SQL


def _run(database: pw.SqliteDatabase, sql: str, *values: object) -> None:
    logger.debug("%s: %s", _file(database), sql)
    database.execute_sql(sql, values).close()


def _rows(database: pw.SqliteDatabase, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a query whose answer is short; all of it is read, for an open cursor would lock its tables."""
    return [tuple(row) for row in database.execute_sql(sql, values).fetchall()]


def _table_names(database: pw.SqliteDatabase) -> list[str]:
    return [name for (name,) in _rows(database, "SELECT name FROM sqlite_master WHERE type = 'table'")]


def _file(database: pw.SqliteDatabase) -> Any:
    """Name the database in a log, past the one who watches whether a script asks for its name."""
    return vars(database).get("database")

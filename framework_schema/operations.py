"""What a migration's operations do to a database: each converges, and remembers whether it did anything."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import inf
from typing import Any

import peewee as pw
from playhouse.migrate import make_index_name
from playhouse.reflection import Introspector

from framework_schema import align, ddl
from framework_schema.databases import OwnSqlite
from framework_schema.dependents import (
    broken_by_drop,
    changes_rules,
    is_alone,
    is_index,
    is_index_of,
    not_working,
    taking_for_text,
    users_of,
)
from framework_schema.drift import find_drift
from framework_schema.errors import NameTaken, Refused
from framework_schema.model_statements import Statements, creates_usually, creating, noted
from framework_schema.rebuild import broken, rebuild_table
from framework_schema.snapshot import Snapshot, Table, columns_of
from framework_schema.sqlite_snapshot import of_database


class Operations(ABC):
    """The operations of one script on one database.

    A table, column or index that is there already is left alone and noted in
    ``already_there``; all else goes to ``done``. An implementation runs each
    operation before it returns.
    """

    def __init__(self, database: pw.Database) -> None:
        self.database = database
        self.done: list[str] = []
        self.already_there: list[str] = []
        self.renamed: list[tuple[str, str | None, str]] = []
        """Old table, its column or None, and the new name, in order."""

    @property
    def is_adoption(self) -> bool:
        """True when there were operations and all of their effect was there before."""
        return bool(self.already_there) and not self.done

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Run a statement of the script's own; whether it changed anything is not known."""
        self.database.execute_sql(sql, tuple(params) or None)
        self.done.append("sql")

    def call(self, func: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Run a Python function of the script's own."""
        func(*args, **kwargs)
        self.done.append(f"run {getattr(func, '__name__', 'function')}")

    def fold(self, name: str) -> str:
        """Return what names have in common that the engine takes for one."""
        return ddl.fold(name)

    def model_of(self, name: str) -> type[pw.Model] | None:
        """Read a table of the live database as a model, or None where there is no such table."""
        tables = self.database.get_tables()
        alike = [table for table in tables if self.fold(table) == self.fold(name)]
        table = name if name in tables else next(iter(alike), None)
        if table is None:
            return None
        models = Introspector.from_database(self.database).generate_models(
            table_names=[table], literal_column_names=True
        )
        model: type[pw.Model] = models[table]
        return model

    def note(self, what: str, *, there: bool = False) -> None:
        """Remember one effect."""
        (self.already_there if there else self.done).append(what)

    @abstractmethod
    def create_table(self, model: type[pw.Model]) -> None:
        """Create a model's table with its indexes, or add to it what it lacks."""

    @abstractmethod
    def drop_table(self, table: str, *, cascade: bool) -> None:
        """Drop a table."""

    @abstractmethod
    def rename_table(self, table: str, new_name: str) -> None:
        """Rename a table."""

    @abstractmethod
    def add_column(self, model: type[pw.Model], field: pw.Field[Any], *, allow_not_null: bool) -> None:
        """Add a column with its default, reference and index; fill it where the field has a default."""

    @abstractmethod
    def change_column(self, model: type[pw.Model], field: pw.Field[Any]) -> None:
        """Give a column the field's type, NULL and reference."""

    @abstractmethod
    def drop_column(self, table: str, column: str, *, cascade: bool) -> None:
        """Drop a column and the indexes on it alone."""

    @abstractmethod
    def rename_column(self, table: str, column: str, new_name: str) -> None:
        """Rename a column."""

    @abstractmethod
    def add_index(
        self, table: str, columns: Sequence[str], *, unique: bool, name: str | None = None, **params: Any
    ) -> None:
        """Create an index; without ``name`` it is called as peewee_migrate would."""

    @abstractmethod
    def drop_index(self, table: str, columns: Sequence[str]) -> None:
        """Drop the index on these columns."""

    @abstractmethod
    def drop_unique(self, table: str, columns: Sequence[str]) -> None:
        """Drop a unique, whichever way it was written."""

    @abstractmethod
    def set_null(self, table: str, column: str, *, null: bool) -> None:
        """Allow or forbid NULL."""

    @abstractmethod
    def set_default(self, table: str, column: str, value: Any) -> None:
        """Set a column's default and fill its NULLs with it."""

    @abstractmethod
    def add_constraint(self, table: str, name: str, constraint: Any) -> None:
        """Add a named constraint."""

    @abstractmethod
    def drop_constraint(self, table: str, name: str) -> None:
        """Drop a named constraint."""


class SqliteOperations(Operations):
    """SQLite: native ALTERs where SQLite has them, else a rebuild that loses nothing."""

    database: pw.SqliteDatabase

    def create_table(self, model: type[pw.Model]) -> None:
        """Create a model's table with its indexes, or add to it what it lacks."""
        name = model._meta.table_name
        # Most often it is not there, which SQLite knows without reading through all of sqlite_master.
        is_known = bool(self.database.execute_sql(f"PRAGMA main.table_info({ddl.quote(name)})").fetchall())
        live = self._table(name) if is_known else None
        if live is None:
            self._create(model)
            self.note(f"table {name}")
            return
        expected = _as_created(model)
        if expected.tables.keys() != {ddl.fold(name)}:
            raise ValueError(f"the model of {name} makes other tables")
        snapshot = Snapshot({ddl.fold(name): live})
        drift = find_drift(expected, snapshot)
        if live.is_virtual:
            raise NameTaken(name, f"the virtual table {live.name}")
        changes: tuple[align.Change, ...] = ()
        if drift.additive:
            is_empty = align.empty_tables(self.database, [live.name])
            changes = tuple(align.additions(drift, expected, of_database(self.database), is_empty))
        done, _ = align.apply(self.database, changes)
        self.note(f"table {name}", there=True)
        for change in done:
            self.note(change.what)

    def _create(self, model: type[pw.Model]) -> None:
        """Run what Peewee writes for the model, which it does anew for an app's own kind of database or field."""
        statements = creating(model) if isinstance(self.database, OwnSqlite) else None
        if statements is None:
            try:
                model.create_table(safe=False)
                return
            except pw.OperationalError:
                if not creates_usually(model):
                    raise
                statements = self._unmade(model)
        for sql, params in statements:
            self._make(sql, params, model._meta.table_name)

    def _unmade(self, model: type[pw.Model]) -> Statements:
        """Return the statements that Peewee did not come to, since one of them failed."""
        made = self._table(model._meta.table_name)
        if made is None:
            return noted(model)
        names = {ddl.fold(name) for name in made.texts}
        return tuple((sql, params) for sql, params in noted(model)[1:] if ddl.fold(ddl.object_name(sql)) not in names)

    def _make(self, sql: str, params: Sequence[Any], table: str) -> None:
        """Run a CREATE; an index whose name another object has gets a free one."""
        try:
            self.database.execute_sql(sql, params)
        except pw.OperationalError as error:
            names = align.Names(of_database(self.database))
            is_table = sql.lstrip()[:12].upper() == "CREATE TABLE"
            holder = names.holder(table if is_table else ddl.object_name(sql))
            if not holder:
                raise
            if is_table:
                raise NameTaken(table, holder) from error
            self.database.execute_sql(names.take(sql), params)

    def drop_table(self, table: str, *, cascade: bool) -> None:
        """Drop a table. Nothing cascades on SQLite: foreign keys are off while we run."""
        if self._table(table) is None:
            self.note(f"no table {table}", there=True)
        else:
            self._run(f"DROP TABLE {ddl.quote(table)}", f"dropped table {table}")

    def rename_table(self, table: str, new_name: str) -> None:
        """Rename a table; views, triggers and foreign keys that name it follow."""
        if self._table(table) is None and self._table(new_name) is not None:
            self.note(f"table {new_name}", there=True)
            return
        was = self.database.pragma("legacy_alter_table")
        self.database.pragma("legacy_alter_table", 0)
        try:
            if table != new_name and ddl.fold(table) == ddl.fold(new_name):
                # SQLite takes a name in another case for one that is taken.
                self._run(f"ALTER TABLE {ddl.quote(table)} RENAME TO framework_schema_passing", "")
                self._run(f"ALTER TABLE framework_schema_passing RENAME TO {ddl.quote(new_name)}", f"table {new_name}")
            else:
                self._run(f"ALTER TABLE {ddl.quote(table)} RENAME TO {ddl.quote(new_name)}", f"table {new_name}")
            self.renamed.append((table, None, new_name))
        finally:
            self.database.pragma("legacy_alter_table", was)

    def add_column(self, model: type[pw.Model], field: pw.Field[Any], *, allow_not_null: bool) -> None:
        """Add a column with its default, reference and index; fill it where the field has a default."""
        meta = model._meta
        table, column = meta.table_name, field.column_name
        live = self._require(table)
        if ddl.fold(column) in live.columns:
            self.note(f"column {table}.{column}", there=True)
        else:
            self._add_column(live, field, allow_not_null)
        if field.unique or field.index:
            self.add_index(table, [column], unique=field.unique)

    def _add_column(self, live: Table, field: pw.Field[Any], allow_not_null: bool) -> None:
        """Add a column, and fill the rows there are.

        A default of Python's fills them and does not become one of the
        database: the definition is the same whether there are rows or not.
        SQLite adds only what rows cannot stand against; the rest is a rebuild.
        """
        table, column = live.name, field.column_name
        definition = self._definition(field)
        parsed = ddl.parse_column(definition)
        grown = ddl.append_column(live.sql, definition)
        if changes_rules(live, grown, column):
            raise Refused(
                f"{table} has a CHECK or a generated column in which {column}, in double quotes, is a text: it would be"
                " about the new column. Put the text in single quotes there first, or give the column another name"
            )
        default = None if ddl.normalise_default(parsed.default) is None else parsed.default
        has_rows = not align.empty_tables(self.database, [table])
        value = stored(field, field.default() if callable(field.default) else field.default) if has_rows else None
        if has_rows and value is None and not field.null and not allow_not_null and default is None:
            raise ValueError(f"{table}.{column} is NOT NULL and has no default; give it one, or allow_not_null=True")
        same = value is None or (default is not None and _is_default(default, value))
        is_plain = default is None or align.is_constant(default) or not has_rows
        fits = not parsed.not_null or default is not None or not has_rows
        is_stored = (parsed.generated or "").endswith("STORED")
        if parsed.unique or parsed.primary_key or is_stored or not (is_plain and fits):
            text = default if value is None else _literal(value)
            rebuild_table(self.database, table, grown, copy={column: text} if has_rows and text else None)
        else:
            self._run(f"ALTER TABLE {ddl.quote(table)} ADD COLUMN {definition}", "")
            for index in taking_for_text(live, column):
                self.database.execute_sql(f"REINDEX {ddl.quote(index)}")
            if not same:
                self.database.execute_sql(f"UPDATE {ddl.quote(table)} SET {ddl.quote(column)} = ?", (value,))
        self.note(f"column {table}.{column}")

    def change_column(self, model: type[pw.Model], field: pw.Field[Any]) -> None:
        """Give a column the field's type, NULL and reference, and its default in the place of another one.

        What the field says nothing of stays: a default, where it has none, the
        collation, CHECKs.
        """
        table, column = model._meta.table_name, field.column_name

        def changed(old: str) -> str:
            return _redefined(old, self._definition(field), field)

        self._edit_column(table, column, changed, allow_conversion=True)

    def drop_column(self, table: str, column: str, *, cascade: bool) -> None:
        """Drop a column and the indexes on it alone; what else needs it is named, and forbids it."""
        live = self._require(table)
        if ddl.fold(column) not in live.columns:
            self.note(f"no column {table}.{column}", there=True)
            return
        if user := next(users_of(self.database, live, column), None):
            raise Refused(_is_needed(live, column, user))
        for name, sql in live.texts.items():
            if is_index(sql) and is_index_of(sql, column):
                self.database.execute_sql(f"DROP INDEX {ddl.quote(name)}")
        definition = ddl.parse_table(live.sql)
        inline = definition.column(column)
        in_foreign_key = any(ddl.fold(column) in map(ddl.fold, key.columns) for key in definition.foreign_keys)
        is_unique = any(ddl.name_in(columns, column) for columns in definition.uniques)
        if inline is None or is_unique or in_foreign_key or ddl.has_comments(live.sql):
            self._drop_by_rebuild(live, column)
        else:
            self._drop_natively(live, column)
        self.note(f"dropped column {table}.{column}")

    def _drop_natively(self, live: Table, column: str) -> None:
        before = broken(self.database, [ddl.fold(column)])
        try:
            self.database.execute_sql(f"ALTER TABLE {ddl.quote(live.name)} DROP COLUMN {ddl.quote(column)}")
        except pw.OperationalError as error:
            if user := broken_by_drop(error):
                raise Refused(_is_needed(live, column, user)) from error
            self._drop_by_rebuild(live, column)  # SQLite looks at all there is, and something else may be broken
            return
        # SQLite does not look at what a trigger writes.
        for user in broken(self.database, [ddl.fold(column)]).keys() - before.keys():
            raise Refused(_is_needed(live, column, user))

    def _drop_by_rebuild(self, live: Table, column: str) -> None:
        sql = live.sql
        for constraint in ddl.parse_table(sql).constraints:
            if constraint.kind in ("foreign key", "unique") and is_alone(constraint.columns, column):
                sql = ddl.drop_constraint(sql, constraint)
        rebuild_table(self.database, live.name, ddl.drop_column(sql, column))

    def rename_column(self, table: str, column: str, new_name: str) -> None:
        """Rename a column; indexes, triggers and views that name it follow."""
        columns = self._require(table).columns
        if ddl.fold(column) not in columns and ddl.fold(new_name) in columns:
            self.note(f"column {table}.{new_name}", there=True)
            return
        self._run(
            f"ALTER TABLE {ddl.quote(table)} RENAME COLUMN {ddl.quote(column)} TO {ddl.quote(new_name)}",
            f"column {table}.{new_name}",
        )
        self.renamed.append((table, column, new_name))

    def add_index(
        self, table: str, columns: Sequence[str], *, unique: bool, name: str | None = None, **params: Any
    ) -> None:
        """Create an index; without ``name`` it is called as peewee_migrate would."""
        name = name or make_index_name(table, columns)
        live = self._require(table)
        folded = tuple(map(ddl.fold, columns))
        known = live.indexes.get(ddl.fold(name))
        same = known is not None and known.columns == folded and known.unique == unique
        if same or (unique and _unique_on(live, folded)):
            self.note(f"index {name}", there=True)
            return
        index = pw.Index(name, pw.Table(table), [pw.Entity(column) for column in columns], unique=unique, **params)
        context = self.database.get_sql_context().sql(pw.ValueLiterals(index.safe(False)))
        sql, values = context.query()
        self._make(sql, values or (), table)
        self.note(f"index {name}")

    def drop_index(self, table: str, columns: Sequence[str]) -> None:
        """Drop the index on these columns, by its name or, for a unique, by what it does."""
        name = make_index_name(table, columns)
        found = next((n for n in self._require(table).texts if ddl.fold(n) == ddl.fold(name)), None)
        if found is not None:
            self._run(f"DROP INDEX {ddl.quote(found)}", f"dropped index {found}")
        else:
            self.drop_unique(table, columns)

    def drop_unique(self, table: str, columns: Sequence[str]) -> None:
        """Drop a unique, whichever way it was written."""
        live = self._require(table)
        wanted = frozenset(map(ddl.fold, columns))
        name = _unique_on(live, wanted)
        if name is None:
            self.note(f"no unique on {table}({', '.join(columns)})", there=True)
        elif name in live.texts:
            self._run(f"DROP INDEX {ddl.quote(name)}", f"dropped index {name}")
        else:
            sql = ddl.without_unique(live.sql, wanted)
            self._rebuild(live, sql, f"dropped unique on {table}({', '.join(columns)})")

    def set_null(self, table: str, column: str, *, null: bool) -> None:
        """Allow or forbid NULL."""
        self._edit_column(table, column, lambda text: ddl.with_not_null(text, not null))

    def set_default(self, table: str, column: str, value: Any) -> None:
        """Set a column's default and fill its NULLs with it."""
        self._edit_column(
            table, column, lambda text: ddl.with_default(text, None if value is None else _literal(value))
        )
        if value is not None:
            self._fill(table, column, value)

    def add_constraint(self, table: str, name: str, constraint: Any) -> None:
        """Add a named constraint."""
        live = self._require(table)
        if any(
            c.name is not None and ddl.fold(c.name) == ddl.fold(name) for c in ddl.parse_table(live.sql).constraints
        ):
            self.note(f"constraint {name}", there=True)
            return
        node = constraint if isinstance(constraint, pw.Node) else pw.SQL(str(constraint))
        text, _ = self.database.get_sql_context().sql(pw.ValueLiterals(node)).query()
        self._rebuild(
            live,
            ddl.append_constraint(live.sql, f"CONSTRAINT {ddl.quote(name)} {text}"),
            f"constraint {name}",
        )

    def drop_constraint(self, table: str, name: str) -> None:
        """Drop a named constraint."""
        live = self._require(table)
        for constraint in ddl.parse_table(live.sql).constraints:
            if constraint.name is not None and ddl.fold(constraint.name) == ddl.fold(name):
                self._rebuild(live, ddl.drop_constraint(live.sql, constraint), f"dropped constraint {name}")
                return
        self.note(f"no constraint {name}", there=True)

    def _edit_column(
        self, table: str, column: str, edit: Callable[[str], str], *, allow_conversion: bool = False
    ) -> None:
        live = self._require(table)
        found = ddl.parse_table(live.sql).column(column)
        if found is None:
            raise ValueError(f"{table} has no column {column}")
        new = edit(found.text)
        if new == found.text:
            self.note(f"column {table}.{column}", there=True)
            return
        sql = ddl.replace_column(live.sql, column, new)
        self._rebuild(live, sql, f"column {table}.{column}", frozenset([column]) if allow_conversion else frozenset())

    def _rebuild(self, live: Table, sql: str, what: str, allow_conversion: frozenset[str] = frozenset()) -> None:
        rebuild_table(self.database, live.name, sql, allow_conversion=allow_conversion)
        self.note(what)

    def _fill(self, table: str, column: str, value: Any) -> None:
        self.database.execute_sql(
            f"UPDATE {ddl.quote(table)} SET {ddl.quote(column)} = ? WHERE {ddl.quote(column)} IS NULL",
            (value,),
        )

    def _run(self, sql: str, what: str) -> None:
        try:
            self.database.execute_sql(sql)
        except pw.OperationalError as error:
            reason = not_working(error)
            if reason is None:
                raise
            raise Refused(reason) from error
        if what:
            self.note(what)

    def _definition(self, field: pw.Field[Any]) -> str:
        """Write a field as a column definition, its reference inline."""
        context = self.database.get_sql_context()
        text: str = context.sql(pw.ValueLiterals(field.ddl(context))).query()[0]
        if isinstance(field, pw.ForeignKeyField):
            to = f"{ddl.quote(field.rel_model._meta.table_name)} ({ddl.quote(field.rel_field.column_name)})"
            actions = "".join(
                f" ON {when} {action}"
                for when, action in (("DELETE", field.on_delete), ("UPDATE", field.on_update))
                if action
            )
            text = ddl.with_references(text, f"REFERENCES {to}{actions}")
        return text

    def _table(self, name: str) -> Table | None:
        return of_database(self.database, table=name).tables.get(ddl.fold(name))

    def _require(self, name: str) -> Table:
        table = self._table(name)
        if table is None:
            raise ValueError(f"there is no table {name}")
        return table


class NoOperations(Operations):
    """Does nothing: for the replay of applied scripts, which is only after their models."""

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Do nothing."""

    def call(self, func: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def model_of(self, name: str) -> None:
        """Know no table."""

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    create_table = drop_table = rename_table = add_column = change_column = drop_column = rename_column = _nothing
    add_index = drop_index = drop_unique = set_null = set_default = add_constraint = drop_constraint = _nothing


def _unique_on(table: Table, columns: Iterable[str]) -> str | None:
    """Return the index of the unique over these columns, whatever they are compared by."""
    wanted = frozenset(columns)
    return next((name for unique, name in table.unique_names.items() if columns_of(unique) == wanted), None)


def _as_created(model: type[pw.Model]) -> Snapshot:
    """Return what the model makes where there is nothing, from a scratch database."""
    if creates_usually(model):
        return _made_by(creating(model) or noted(model))
    scratch = pw.SqliteDatabase(":memory:")
    real = model._meta.database
    try:
        model._meta.set_database(scratch)
        model.create_table(safe=False)
        return of_database(scratch)
    finally:
        model._meta.set_database(real)
        scratch.close()


@lru_cache(maxsize=256)
def _made_by(statements: tuple[tuple[str, tuple[Any, ...]], ...]) -> Snapshot:
    """Run statements where there is nothing, once a process: the databases of a fleet ask the same again."""
    scratch = pw.SqliteDatabase(":memory:")
    with scratch.connection_context():
        for sql, params in statements:
            scratch.execute_sql(sql, params)
        return of_database(scratch)


def stored(field: Any, value: Any) -> Any:
    """Return a value as a field stores it; as it is for a key that no field of another kind stands behind.

    Keys that refer to each other in a circle Peewee would follow for ever, and a parent without a key has none.
    """
    met: list[Any] = []
    end = field
    while isinstance(end, pw.ForeignKeyField) and not any(end is other for other in met):
        met.append(end)
        end = end.rel_field
    is_plain = isinstance(end, pw.Field) and not isinstance(end, pw.ForeignKeyField)
    return field.db_value(value) if is_plain else value


def _is_needed(table: Table, column: str, user: str) -> str:
    return f"{table.name}.{column} cannot be dropped: {user} needs it. Drop or change that first"


def _is_default(default: str, value: Any) -> bool:
    return ddl.normalise_default(default) == ddl.normalise_default(_literal(value))


def _redefined(old: str, new: str, field: pw.Field[Any]) -> str:
    """Return a column's definition as a field has it, with what the field says nothing of kept as it was."""
    was, now = ddl.parse_column(old), ddl.parse_column(new)
    if was.primary_key != now.primary_key or was.generated or now.generated:
        return new
    text = old if was.type.upper() == now.type.upper() else ddl.with_type(old, now.type)
    text = ddl.with_not_null(text, now.not_null) if was.not_null != now.not_null else text
    default = now.default
    if default is None and field.default is not None and was.default is not None:
        # The database's is another's than the field's; what only Python can tell is none of a table's.
        default = None if callable(field.default) else _literal(stored(field, field.default))
    elif default is None:
        default = was.default
    if ddl.normalise_default(default) != ddl.normalise_default(was.default):
        text = ddl.with_default(text, default)
    if _target(was) != _target(now):
        text = ddl.with_references(text, now.references.text if now.references else None)
    if now.collation is not None and now.collation != was.collation:
        text = ddl.with_collation(text, now.collation)
    if was.unique and not field.unique:
        text = ddl.with_unique(text, False)
    for check in now.checks:
        text = text if check in was.checks else ddl.with_check(text, check)
    return text


def _target(column: ddl.ColumnDef) -> tuple[str, ...] | None:
    """Return what a column refers to, but for what Peewee has no words for: when it is checked."""
    key = column.references
    return None if key is None else (ddl.fold(key.table), *map(ddl.fold, key.to_columns), key.on_delete, key.on_update)


def _literal(value: Any) -> str:
    """Write a value as a SQLite literal."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value in (inf, -inf):
        return "9e999" if value > 0 else "-9e999"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, bytes | memoryview):
        return f"x'{value.hex()}'"
    return "'" + str(value).replace("'", "''") + "'"

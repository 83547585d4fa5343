"""A script's operations on a server: native ALTERs, each of which looks before it acts."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import peewee as pw
from playhouse.migrate import make_index_name

from framework_schema.catalog import Catalog
from framework_schema.operations import Operations
from framework_schema.postgres_ddl import PostgresGrammar
from framework_schema.server_ddl import Grammar
from framework_schema.server_folding import index_within
from framework_schema.server_snapshot import ServerTable
from framework_schema.snapshot import Column, ForeignKey, Snapshot, Table

logger = logging.getLogger(__name__)

ReadTable = Callable[[str], Table | None]


class ServerOperations(Operations):
    """PostgreSQL and MySQL.

    ``read`` returns one live table. ``own`` surrounds the statements that
    converge by themselves, as against those a script brings. ``kept`` is told
    what a statement changes, where what was read of the tables is kept.
    """

    def __init__(
        self,
        database: pw.Database,
        grammar: Grammar,
        read: ReadTable,
        own: Callable[[], AbstractContextManager[Any]] = nullcontext,
        kept: Catalog | None = None,
    ) -> None:
        super().__init__(database)
        self.grammar, self.read, self.own, self.kept = grammar, read, own, kept

    def fold(self, name: str) -> str:
        """Fold as the grammar does: to PostgreSQL case is a part of a name."""
        return self.grammar.fold(name)

    def create_table(self, model: type[pw.Model]) -> None:
        """Create a model's table with its indexes, or add to it what it lacks."""
        meta = model._meta
        live = self._table(meta.table_name)
        if live is None:
            self._create_table(model)
            self.note(f"table {meta.table_name}")
            return
        self.note(f"table {live.name}", there=True)
        lacking = [field for field in meta.sorted_fields if self.grammar.fold(field.column_name) not in live.columns]
        for field in lacking:
            self._add_column(live, field, allow_not_null=True)
        self._let_key_count(live, meta.primary_key)
        for index in model._meta.fields_to_index():
            self._create_index(model, index)

    def _let_key_count(self, live: ServerTable, key: Any) -> None:
        """Let a key count that a mover brought without: no row could be written that leaves it out."""
        grammar = self.grammar
        name = getattr(key, "column_name", "")
        column = live.columns.get(grammar.fold(name)) if isinstance(key, pw.AutoField) else None
        if not isinstance(grammar, PostgresGrammar) or column is None or column.name in live.counts:
            return
        if column.default is None and not column.null and column.type in ("bigint", "integer", "smallint"):
            for statement in grammar.counted(live.name, column.name):
                self._run(statement, of=live.name)
            self.note(f"column {live.name}.{column.name} counts")

    def _create_table(self, model: type[pw.Model]) -> None:
        """Create a table; on MySQL with its indexes in one statement, which is whole or not at all."""
        is_plain = model.create_table.__func__ is pw.Model.create_table.__func__  # type: ignore[attr-defined]
        if not is_plain:
            with self.own():
                model.create_table(safe=False)
            return
        with self.own(), self._changing(model._meta.table_name):
            if isinstance(self.database, pw.MySQLDatabase):
                self._create_in_one(model)
            else:
                model.create_table(safe=False)

    def _create_in_one(self, model: Any) -> None:
        made: Any = model
        table, params = made._schema._create_table(safe=False).query()
        inner: list[str] = []
        rest: list[str] = []
        for index in model._meta.fields_to_index():
            context = self.database.get_sql_context().sql(pw.ValueLiterals(index.safe(False)))
            text = context.query()[0]
            (inner if _inline(text) and table.endswith(")") else rest).append(text)
        parts = ", ".join([table[:-1], *filter(None, map(_inline, inner))])
        self.database.execute_sql(self._tied(f"{parts})" if inner else table), params or None)
        for text in rest:
            self.database.execute_sql(text)

    def _create_index(self, model: type[pw.Model], index: Any) -> None:
        """Create an index of a model whose table was there; what cannot be yet is left to alignment."""
        live = self._require(model._meta.table_name)
        names = [column_of(part) for part in index._expressions]
        keys = [self.grammar.fold(name) for name in names if name is not None]
        is_there = self.grammar.fold(index._name) in {self.grammar.fold(name) for name in self._index_names(live)}
        if is_there or (index._unique and index._where is None and frozenset(keys) in live.uniques):
            return
        if not live.columns.keys() >= set(keys) or not self._fits(live, index):
            return
        if index._unique and self._is_double(live, index, names):
            return
        try:
            with self.own(), self._changing(live.name):
                self.database.execute(index.safe(False))
        except pw.DatabaseError as error:
            if not self.grammar.is_refusal(error):
                raise
            logger.debug("index %s of %s is left to alignment: %s", index._name, live.name, error)
            return
        self.note(f"index {index._name}")

    def _fits(self, live: ServerTable, index: Any) -> bool:
        """Tell whether the condition of a partial index can be asked; of a column of another type, strictness first."""
        if index._where is None or not isinstance(self.database, pw.PostgresqlDatabase):
            return True
        with nullcontext() if self.kept is None else self.kept.looking():
            try:
                with self.database.atomic():
                    self.database.execute_sql(
                        f"SELECT 1 FROM {self._q(live.name)} WHERE {self._text(index._where)} LIMIT 0"
                    )
            except (pw.ProgrammingError, pw.DataError):
                return False
        return True

    def _is_double(self, live: ServerTable, index: Any, names: Sequence[str | None]) -> bool:
        """Tell whether rows stand against a unique of plain columns."""
        if None in names:
            return False
        where = None if index._where is None else self._text(index._where)
        query = self.grammar.duplicates(live.name, [name for name in names if name is not None], where)
        return self.database.execute_sql(f"{query} LIMIT 1").fetchone() is not None

    def _text(self, node: Any) -> str:
        text: str = self.database.get_sql_context().sql(pw.ValueLiterals(node)).query()[0]
        return text

    @staticmethod
    def _index_names(live: ServerTable) -> list[str]:
        return [*(index.name for index in live.indexes.values()), *live.unique_names.values()]

    def drop_table(self, table: str, *, cascade: bool) -> None:
        """Drop a table; references to it go along on PostgreSQL where asked."""
        live = self._table(table)
        if live is None:
            self.note(f"no table {table}", there=True)
            return
        on_postgres = isinstance(self.database, pw.PostgresqlDatabase)
        self._run(f"DROP TABLE {self._q(live.name)}{' CASCADE' if cascade and on_postgres else ''}")
        self.note(f"dropped table {table}")

    def rename_table(self, table: str, new_name: str) -> None:
        """Rename a table."""
        if self._table(table) is None and self._table(new_name) is not None:
            self.note(f"table {new_name}", there=True)
            return
        live = self._table(table)
        self._run(f"ALTER TABLE {self._q(table)} RENAME TO {self._q(new_name)}")
        if live is not None and isinstance(self.database, pw.PostgresqlDatabase):
            self._rename_sequence(live, new_name)
        self.note(f"table {new_name}")

    def _rename_sequence(self, live: ServerTable, new_name: str) -> None:
        """Let PostgreSQL's counter of ids follow its table's name, as with peewee_migrate, where that is free."""
        for key in live.primary_key if len(live.primary_key) == 1 else ():
            old, new = f"{live.name}_{key}_seq", f"{new_name}_{key}_seq"
            named = (
                "SELECT relname, relkind::text FROM pg_class WHERE relname IN (%s, %s)"
                " AND relnamespace = current_schema()::regnamespace"
            )
            if [tuple(row) for row in self.database.execute_sql(named, (old, new)).fetchall()] == [(old, "S")]:
                self._run(f"ALTER SEQUENCE {self._q(old)} RENAME TO {self._q(new)}", of=None)

    def add_column(self, model: type[pw.Model], field: pw.Field[Any], *, allow_not_null: bool) -> None:
        """Add a column with its default, reference and index; fill it where the field has a default."""
        table, column = model._meta.table_name, field.column_name
        live = self._require(table)
        if self.grammar.fold(column) not in live.columns:
            self._add_column(live, field, allow_not_null)
        elif self._was_begun(self._adding(live, field, late=_is_late(field))):
            self._fill_added(live, field)
        else:
            self.note(f"column {table}.{column}", there=True)
        if field.unique or field.index:
            self.add_index(table, [column], unique=field.unique)

    def _add_column(self, live: ServerTable, field: pw.Field[Any], allow_not_null: bool) -> None:
        """Add it with NULL allowed where rows would stand against it, fill it, and forbid NULL then.

        Where DDL commits, a kill in between leaves a column without its
        values. So the first statement is put on record, see ``_was_begun``.
        """
        is_late, is_filled = _is_late(field), _value(field) is not None
        is_empty = (is_late or is_filled) and self._is_empty(live.name)
        if is_late and not (is_empty or allow_not_null or is_filled):
            raise ValueError(
                f"{live.name}.{field.column_name} is NOT NULL and has no default; give it one, or allow_not_null=True"
            )
        statement = self._adding(live, field, late=is_late and not is_empty)
        changed = None if field.constraints else live.name  # a function in them may change another one
        fills_rows = is_filled and not is_empty
        if fills_rows and isinstance(self.database, pw.MySQLDatabase):
            with self._changing(changed):
                self.database.execute_sql(statement)
        else:
            self._run(statement, of=changed)
        if fills_rows:
            self._fill_added(live, field)
        else:
            self.note(f"column {live.name}.{field.column_name}")

    def _adding(self, live: ServerTable, field: pw.Field[Any], *, late: bool) -> str:
        made = self._definition(field, null=late)
        if live.primary_key:  # a second one cannot be; which of the two is right is for strictness to say
            made = made.replace(" PRIMARY KEY", "")
        if field.primary_key and live.primary_key:
            made = self._bare(field, null=True)
        parts = [f"ADD COLUMN {made}", *self._reference(field)]
        return self._tied(f"ALTER TABLE {self._q(live.name)} {', '.join(parts)}")

    def _tied(self, sql: str) -> str:
        """Let a statement make the foreign keys that the engine can make beside the tables that are there."""
        made, why = self.grammar.tied(sql, self._table)
        for reason in why:
            logger.warning("%s: %s", self.database.database, reason)
        return made

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Run a statement of the script's own."""
        super().execute(sql if params else self._tied(sql), params)

    def _was_begun(self, statement: str) -> bool:
        """Tell whether an earlier attempt at this script, which was killed, came as far as this statement."""
        with self.own() as journal:
            return journal is not None and journal.began(statement)

    def _fill_added(self, live: ServerTable, field: pw.Field[Any]) -> None:
        self.note(f"column {live.name}.{field.column_name}")
        self._fill(live.name, field.column_name, _value(field))
        if _is_late(field):
            self.set_null(live.name, field.column_name, null=False)

    def change_column(self, model: type[pw.Model], field: pw.Field[Any]) -> None:
        """Give a column the field's type, NULL and reference; its default stays unless the field has one."""
        table = model._meta.table_name
        live = self._require(table)
        old = self._column(live, field.column_name)
        new = self._as_made(field)
        new = Column(old.name, new.type, new.null, old.default if new.default is None else new.default, new.collation)
        statements = list(self.grammar.change_column(live, live, old, new)) if new != old else []
        for statement in statements:
            self._run(statement)
        added = self._add_reference(live, field)
        self.note(f"column {table}.{field.column_name}", there=not statements and not added)

    def _add_reference(self, live: ServerTable, field: pw.Field[Any]) -> bool:
        """Add the reference of a field that has one, unless the column refers there already."""
        key = (self.grammar.fold(field.column_name),)
        if not isinstance(field, pw.ForeignKeyField) or any(k.columns == key for k in live.foreign_keys):
            return False
        for clause in self._reference(field):
            parent = self._table(field.rel_model._meta.table_name)
            why = parent and self.grammar.untied(live, _key_of(self.grammar, field), Snapshot({parent.name: parent}))
            if why:
                logger.warning("%s: %s", self.database.database, why)
                return False
            self._run(f"ALTER TABLE {self._q(live.name)} {clause}")
        return True

    def drop_column(self, table: str, column: str, *, cascade: bool) -> None:
        """Drop a column; on MySQL first what stands on it alone, which PostgreSQL drops by itself."""
        live = self._require(table)
        key = self.grammar.fold(column)
        if key not in live.columns:
            self.note(f"no column {table}.{column}", there=True)
            return
        for what, name in live.constraint_names.items():
            if getattr(what, "columns", None) == (key,):
                self._run(self.grammar.drop_constraint(live.name, name, "foreign key"))
        self._run(f"ALTER TABLE {self._q(live.name)} DROP COLUMN {self._q(live.columns[key].name)}")
        self.note(f"dropped column {table}.{column}")

    def rename_column(self, table: str, column: str, new_name: str) -> None:
        """Rename a column."""
        live = self._require(table)
        old, new = self.grammar.fold(column), self.grammar.fold(new_name)
        if old not in live.columns and new in live.columns:
            self.note(f"column {table}.{new_name}", there=True)
            return
        self._run(f"ALTER TABLE {self._q(live.name)} RENAME COLUMN {self._q(column)} TO {self._q(new_name)}")
        self.note(f"column {table}.{new_name}")

    def add_index(
        self, table: str, columns: Sequence[str], *, unique: bool, name: str | None = None, **params: Any
    ) -> None:
        """Create an index; without ``name`` it is called as peewee_migrate would."""
        name = name or make_index_name(table, columns)
        live = self._require(table)
        keys = tuple(map(self.grammar.fold, columns))
        known = live.indexes.get(self.grammar.fold(name))
        same = known is not None and known.columns == keys and known.unique == unique
        if same or (unique and frozenset(keys) in live.uniques):
            self.note(f"index {name}", there=True)
            return
        index = pw.Index(name, pw.Table(live.name), [pw.Entity(column) for column in columns], unique=unique, **params)
        sql, values = self.database.get_sql_context().sql(pw.ValueLiterals(index.safe(False))).query()
        self._run(sql, values, of=live.name)
        self.note(f"index {name}")

    def drop_index(self, table: str, columns: Sequence[str]) -> None:
        """Drop the index on these columns, by its name or, for a unique, by what it does."""
        live = self._require(table)
        wanted = self.grammar.fold(make_index_name(table, columns))
        found = next((index.name for key, index in live.indexes.items() if key == wanted), None)
        if found is None:
            self.drop_unique(table, columns)
            return
        self._run(self.grammar.drop_index(live.name, found))
        self.note(f"dropped index {found}")

    def drop_unique(self, table: str, columns: Sequence[str]) -> None:
        """Drop a unique, whichever way it was written."""
        live = self._require(table)
        wanted = frozenset(map(self.grammar.fold, columns))
        name = live.unique_names.get(wanted)
        if name is None:
            self.note(f"no unique on {table}({', '.join(columns)})", there=True)
            return
        if wanted in live.constraint_names:
            self._run(self.grammar.drop_constraint(live.name, name, "unique"))
        else:
            self._run(self.grammar.drop_index(live.name, name))
        self.note(f"dropped unique on {table}({', '.join(columns)})")

    def set_null(self, table: str, column: str, *, null: bool) -> None:
        """Allow or forbid NULL."""
        live = self._require(table)
        found = self._column(live, column)
        if found.null == null:
            self.note(f"column {table}.{column}", there=True)
            return
        self._run(self.grammar.set_null(live, found, null), of=live.name)
        self.note(f"column {table}.{column}")

    def set_default(self, table: str, column: str, value: Any) -> None:
        """Set a column's default and fill its NULLs with it."""
        live = self._require(table)
        found = self._column(live, column)
        default = None if value is None else self.grammar.literal(value)
        if found.default == default:
            self.note(f"column {table}.{column}", there=True)
        else:
            self._run(self.grammar.set_default(live, found, default), of=live.name)
            self.note(f"column {table}.{column}")
        if value is not None:
            self._fill(table, column, value)

    def add_constraint(self, table: str, name: str, constraint: Any) -> None:
        """Add a named constraint."""
        live = self._require(table)
        if name in {*live.constraint_names.values(), *live.unique_names.values()}:
            self.note(f"constraint {name}", there=True)
            return
        node = constraint if isinstance(constraint, pw.Node) else pw.SQL(str(constraint))
        text, _ = self.database.get_sql_context().sql(pw.ValueLiterals(node)).query()
        self._run(f"ALTER TABLE {self._q(live.name)} ADD CONSTRAINT {self._q(name)} {text}")
        self.note(f"constraint {name}")

    def drop_constraint(self, table: str, name: str) -> None:
        """Drop a named constraint."""
        live = self._require(table)
        for what, found in [*live.constraint_names.items(), *live.unique_names.items()]:
            if found == name:
                self._run(self.grammar.drop_constraint(live.name, name, kind_of(what)))
                self.note(f"dropped constraint {name}")
                return
        self.note(f"no constraint {name}", there=True)

    def _definition(self, field: pw.Field[Any], *, null: bool = False) -> str:
        """Write a field as a column definition; ``null`` allows NULL whatever the field says."""
        was, field.null = field.null, field.null or null
        try:
            context = self.database.get_sql_context()
            text: str = context.sql(pw.ValueLiterals(field.ddl(context))).query()[0]
        finally:
            field.null = was
        return text

    def _reference(self, field: pw.Field[Any]) -> list[str]:
        if not isinstance(field, pw.ForeignKeyField):
            return []
        to = f"{self._q(field.rel_model._meta.table_name)} ({self._q(field.rel_field.column_name)})"
        actions = "".join(
            f" ON {when} {action}"
            for when, action in (("DELETE", field.on_delete), ("UPDATE", field.on_update))
            if action
        )
        return [f"ADD FOREIGN KEY ({self._q(field.column_name)}) REFERENCES {to}{actions}"]

    def _as_made(self, field: pw.Field[Any]) -> Column:
        """Return the column a field makes, by making it in a table of the session's own."""
        probe = "framework_schema_probe"
        with self.own():
            if isinstance(self.database, pw.PostgresqlDatabase):
                return self._probed_on_postgres(field, probe)
            self._run(f"CREATE TABLE {self._q(probe)} ({self._bare(field)})")
            try:
                return next(iter(self._require(probe).columns.values()))
            finally:
                self._run(f"DROP TABLE {self._q(probe)}")

    def _probed_on_postgres(self, field: pw.Field[Any], probe: str) -> Column:
        with self._changing(None), self.database.atomic() as undone:
            self._run(f"CREATE TABLE {self._q(probe)} ({self._bare(field)})")
            made = next(iter(self._require(probe).columns.values()))
            undone.rollback()
            return made

    def _bare(self, field: pw.Field[Any], *, null: bool = False) -> str:
        """Write the definition without a key, which a probe cannot have, nor a table twice."""
        return self._definition(field, null=null).replace(" PRIMARY KEY", "").replace(" AUTO_INCREMENT", "")

    def _fill(self, table: str, column: str, value: Any) -> None:
        mark = self.database.param
        sql = f"UPDATE {self._q(table)} SET {self._q(column)} = {mark} WHERE {self._q(column)} IS NULL"
        with self.own():  # its rows' triggers are not ours, and may change whatever they like
            self.database.execute_sql(sql, (value,))

    def _is_empty(self, table: str) -> bool:
        with nullcontext() if self.kept is None else self.kept.looking():
            return self.database.execute_sql(f"SELECT 1 FROM {self._q(table)} LIMIT 1").fetchone() is None

    def _run(self, sql: str, params: Sequence[Any] = (), *, of: str | None = None) -> None:
        """Run a statement; ``of`` is the table that it changes, where it can change no other."""
        with self.own(), self._changing(of):
            self.database.execute_sql(sql, tuple(params) or None)

    def _changing(self, table: str | None) -> AbstractContextManager[None]:
        return nullcontext() if self.kept is None else self.kept.changing(table)

    def _q(self, name: str) -> str:
        return self.grammar.quote(name)

    def _column(self, live: ServerTable, name: str) -> Column:
        found = live.columns.get(self.grammar.fold(name))
        if found is None:
            raise ValueError(f"{live.name} has no column {name}")
        return found

    def _table(self, name: str) -> ServerTable | None:
        return cast(ServerTable | None, self.read(name))

    def _require(self, name: str) -> ServerTable:
        table = self._table(name)
        if table is None:
            raise ValueError(f"there is no table {name}")
        return table


def _inline(statement: str) -> str | None:
    """Return the part of CREATE TABLE that makes the same index, None for one that has none."""
    plain = index_within(statement)
    if plain is not None:
        return plain[1]
    partial = re.fullmatch(r"ALTER TABLE `(?:[^`]|``)+` ADD COLUMN (.*), ADD (UNIQUE INDEX .*)", statement, re.S)
    return f"{partial[1]}, {partial[2]}" if partial else None


def kind_of(what: Any) -> str:
    """Name the kind of constraint that a key of ``constraint_names`` stands for."""
    if what == "primary key":
        return "primary key"
    if isinstance(what, frozenset):
        return "unique"
    return "check" if isinstance(what, str) else "foreign key"


def column_of(part: Any) -> str | None:
    """Return the column that a part of an index names, None for an expression."""
    if isinstance(part, pw.Ordering):
        part = part.node
    if isinstance(part, pw.Entity):  # which has every attribute that it is asked for
        return str(part._path[-1])
    name = getattr(part, "column_name", None)
    return name if isinstance(name, str) else None


def _key_of(grammar: Grammar, field: pw.ForeignKeyField) -> ForeignKey:
    to = field.rel_model._meta.table_name, (grammar.fold(field.rel_field.column_name),)
    return ForeignKey((grammar.fold(field.column_name),), *to)


def _value(field: pw.Field[Any]) -> Any:
    """Return what a new column is filled with, as the driver takes it; None for nothing."""
    return field.db_value(field.default() if callable(field.default) else field.default)


def _is_late(field: pw.Field[Any]) -> bool:
    """Tell whether NULL can be forbidden only when the column is filled: the database has no default for it."""
    return not field.null and not any("DEFAULT" in str(getattr(c, "sql", "")).upper() for c in field.constraints or ())

"""What the models and the migration scripts are written with.

Peewee's fields, declared on SQLite as the framework always declared them, and on
PostgreSQL and MySQL as those engines like it. Scripts are frozen, so every name
here keeps its meaning: add to this file, change nothing in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import peewee as pw

UTC_NOW = {"postgresql": "(CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC')", "mysql": "UTC_TIMESTAMP()"}
"""What SQLite's CURRENT_TIMESTAMP is: UTC, whole seconds. As text too it has SQLite's form on all engines."""

KEY_TEXT = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
"""MySQL's usual collations take 'Kg' and 'kg' for one; SQLite and PostgreSQL do not, and a unique must not."""


def is_sqlite(ctx: Any) -> bool:
    """Tell whether the statement being written is for SQLite, whose row id is a plain INTEGER."""
    return _auto_type(ctx) == "INTEGER"


def is_mysql(ctx: Any) -> bool:
    """Tell whether the statement being written is for MySQL or MariaDB."""
    return _auto_type(ctx).endswith("AUTO_INCREMENT")


def is_postgresql(ctx: Any) -> bool:
    """Tell whether the statement being written is for PostgreSQL or CockroachDB."""
    return _auto_type(ctx) == "SERIAL"


def _auto_type(ctx: Any) -> str:
    types = ctx.state.field_types if ctx else None
    return str((types or {}).get("AUTO", ""))


class AutoIncrementField(pw.AutoField):
    """A row id that is never given out twice, not even after its row is deleted."""

    def ddl(self, ctx: Any) -> Any:
        """Add AUTOINCREMENT on SQLite; the other engines count that way by themselves."""
        column = super().ddl(ctx)
        if is_sqlite(ctx):
            column.nodes.append(pw.SQL("AUTOINCREMENT"))
        return column


class BooleanField(pw.BooleanField):
    """A truth value: BOOLEAN on every engine."""

    def ddl_datatype(self, ctx: Any) -> Any:
        """Say BOOLEAN on SQLite too, where Peewee would say INTEGER."""
        return pw.SQL("BOOLEAN") if is_sqlite(ctx) else super().ddl_datatype(ctx)

    def ddl(self, ctx: Any) -> Any:
        """Turn a default of 0 or 1 into FALSE or TRUE for PostgreSQL, which takes no number here."""
        column = super().ddl(ctx)
        if not is_sqlite(ctx):
            column.nodes = [node.as_boolean() if isinstance(node, Default) else node for node in column.nodes]
        return column


class TimestampField(pw.DateTimeField):
    """A moment: TIMESTAMP on SQLite and PostgreSQL, DATETIME on MySQL, whose TIMESTAMP ends in 2038."""

    def ddl_datatype(self, ctx: Any) -> Any:
        """Say TIMESTAMP on SQLite, where Peewee would say DATETIME; on MySQL, keep microseconds."""
        if is_sqlite(ctx):
            return pw.SQL("TIMESTAMP")
        return pw.SQL("DATETIME(6)") if is_mysql(ctx) else super().ddl_datatype(ctx)


class RealField(pw.DoubleField):
    """A number with a fraction: REAL on SQLite, DOUBLE PRECISION elsewhere."""


class TextField(pw.TextField):
    """Text of any length: TEXT, but LONGTEXT on MySQL, whose TEXT ends at 64 KB."""

    def ddl_datatype(self, ctx: Any) -> Any:
        """Say LONGTEXT on MySQL, in the one character set that holds all of Unicode."""
        return pw.SQL("LONGTEXT CHARACTER SET utf8mb4") if is_mysql(ctx) else super().ddl_datatype(ctx)


class TextKeyField(pw.TextField):
    """Text that belongs to a key or an index: TEXT, but VARCHAR(255) on MySQL, which indexes no TEXT."""

    def ddl_datatype(self, ctx: Any) -> Any:
        """Say VARCHAR(255) on MySQL, in a collation that keeps 'Kg' and 'kg' apart."""
        return pw.SQL(f"VARCHAR(255) {KEY_TEXT}") if is_mysql(ctx) else super().ddl_datatype(ctx)


class CharKeyField(pw.CharField):
    """Bounded text that belongs to a key: VARCHAR(255) on every engine."""

    def ddl_datatype(self, ctx: Any) -> Any:
        """Add the collation that keeps 'Kg' and 'kg' apart on MySQL."""
        return pw.SQL(f"VARCHAR(255) {KEY_TEXT}") if is_mysql(ctx) else super().ddl_datatype(ctx)


class TextForeignKeyField(pw.ForeignKeyField):
    """A foreign key to a ``TextKeyField``, declared with the type of what it points to."""

    def ddl_datatype(self, ctx: Any) -> Any:
        """Say what the field at the other end says."""
        return self.rel_field.ddl_datatype(ctx)


class Default(pw.SQL):
    """The DEFAULT of a column, from the text of its literal."""

    def __init__(self, literal: str) -> None:
        self.literal = literal
        super().__init__(f"DEFAULT {literal}")

    def as_boolean(self) -> Default:
        """Return the same default as a truth value."""
        return Default({"0": "FALSE", "1": "TRUE"}.get(self.literal, self.literal))

    def __sql__(self, ctx: Any) -> Any:
        """Write it; in parentheses on MySQL, where a TEXT column takes an expression only."""
        is_now = self.literal == "CURRENT_TIMESTAMP"
        if is_mysql(ctx):
            return ctx.literal(f"DEFAULT ({UTC_NOW['mysql'] if is_now else self.literal})")
        if is_now and is_postgresql(ctx):
            return ctx.literal(f"DEFAULT {UTC_NOW['postgresql']}")
        return ctx.literal(self.sql)


def default(value: str | float | bool | None, *, check: str | None = None) -> dict[str, Any]:
    """Return the arguments that give a field its default, in Python and in the database alike.

    ``None`` declares ``DEFAULT NULL``. Text is quoted and numbers are not, so ``"7"``
    and ``7`` are two different defaults. ``check`` is the SQL of a CHECK to go with it::

        column_width = pw.IntegerField(null=True, **default(12, check="column_width BETWEEN 1 AND 12"))
    """
    constraints: list[Any] = [Default(_literal(value))]
    if check:
        constraints.append(pw.Check(check))
    return {"default": value, "constraints": constraints}


def now() -> dict[str, Any]:
    """Return the arguments of a field that the database fills with the time of the insert, in UTC."""
    return {"constraints": [Default("CURRENT_TIMESTAMP")]}


def _literal(value: str | float | bool | None) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(value).upper()


class NamedIndex(pw.Index):
    """An index with a name of its own, for ``Meta.indexes``; made by ``index``."""

    _where: Any
    _unique: bool
    _name: str
    _table: Any
    _expressions: list[Any]
    code: str

    def __sql__(self, ctx: Any) -> Any:
        """Write it. MySQL has no partial index: a plain one serves as well, but for the rule of a unique."""
        if self._where is None or not is_mysql(ctx):
            return super().__sql__(ctx)  # type: ignore[no-untyped-call]
        if self._unique:
            return self._partial_unique(ctx)
        plain = self.clone()
        plain._where = None
        return ctx.sql(plain)

    def _partial_unique(self, ctx: Any) -> Any:
        """Make a unique index of the columns and a flag, NULL in the rows that the rule does not speak of.

        Two NULLs are never equal in a unique index, so those rows are free:
        https://mariadb.com/kb/en/getting-started-with-indexes/#unique-index.
        The flag is a generated column that no ``SELECT *`` shows.
        """
        flag = pw.Entity(flag_of(self._name))
        ctx.literal("ALTER TABLE ").sql(self._table).literal(" ADD COLUMN ").sql(flag)
        ctx.literal(" TINYINT GENERATED ALWAYS AS (CASE WHEN ").sql(self._where)
        ctx.literal(" THEN 1 END) VIRTUAL INVISIBLE, ADD UNIQUE INDEX ").sql(pw.Entity(self._name)).literal(" ")
        return ctx.sql(pw.EnclosedNodeList([*self._expressions, flag]))

    def __repr__(self) -> str:
        """Return the call that makes it, for ``pw_migrate create --auto`` to put in a script."""
        return self.code


def flag_of(index_name: str) -> str:
    """Name the generated column that a partial unique index has on MySQL, in its 64 characters."""
    if len(index_name) <= 56:
        return f"{index_name}_applies"
    return f"{index_name[:47]}_{hashlib.sha256(index_name.encode()).hexdigest()[:8]}_applies"


def index(name: str, table: str, *columns: str, unique: bool = False, where: str | None = None) -> NamedIndex:
    """Describe an index by its name and the names of its columns; ``-column`` counts downwards.

    ``where`` is the SQL of a partial index.
    """
    parts = [pw.Entity(column[1:]).desc() if column.startswith("-") else pw.Entity(column) for column in columns]
    described = NamedIndex(name, table, parts, unique=unique, where=pw.SQL(where) if where else None)
    arguments = [repr(text) for text in (name, table, *columns)]
    arguments += ["unique=True"] if unique else []
    arguments += [f"where={where!r}"] if where else []
    described.code = f"index({', '.join(arguments)})"
    return described


class Reference(pw.Node):
    """A foreign key to a table by its name, for ``Meta.constraints``: there need be no model of it.

    ``on_sqlite`` names another table that SQLite's declaration refers to instead.
    """

    def __init__(self, column: str, table: str, *, on_delete: str, on_sqlite: str | None = None) -> None:
        self.column, self.table, self.on_delete = column, table, on_delete
        self.on_sqlite = on_sqlite or table

    def __sql__(self, ctx: Any) -> Any:
        """Write the constraint."""
        table = self.on_sqlite if is_sqlite(ctx) else self.table
        ctx.literal("FOREIGN KEY (").sql(pw.Entity(self.column)).literal(") REFERENCES ")
        ctx.sql(pw.Entity(table)).literal(" (").sql(pw.Entity("id"))
        return ctx.literal(f") ON DELETE {self.on_delete}")


def stamp_on_update(database: pw.Database, name: str, table: str, column: str) -> Iterator[str]:
    """Yield what makes the database set a column to the time of an update, on PostgreSQL and MySQL.

    SQLite's trigger is its own matter; see migrations/015_sensors.py.
    """
    if isinstance(database, pw.PostgresqlDatabase):
        now = UTC_NOW["postgresql"]
        yield f'''CREATE OR REPLACE FUNCTION "{name}"() RETURNS trigger LANGUAGE plpgsql AS ''' + (
            f"$$BEGIN NEW.{column} := {now}; RETURN NEW; END$$"
        )
        yield f'''DROP TRIGGER IF EXISTS "{name}" ON "{table}"'''
        yield f'''CREATE TRIGGER "{name}" BEFORE UPDATE ON "{table}" FOR EACH ROW EXECUTE FUNCTION "{name}"()'''
    elif isinstance(database, pw.MySQLDatabase):
        yield f"DROP TRIGGER IF EXISTS `{name}`"
        yield (f"CREATE TRIGGER `{name}` BEFORE UPDATE ON `{table}` FOR EACH ROW SET NEW.{column} = {UTC_NOW['mysql']}")

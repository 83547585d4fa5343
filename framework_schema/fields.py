"""What the models and the migration scripts are written with.

Peewee's fields, declared on SQLite as the framework always declared them, and on
PostgreSQL and MySQL as those engines like it. Scripts are frozen, so every name
here keeps its meaning: add to this file, change nothing in it.
"""

from __future__ import annotations

from typing import Any

import peewee as pw


def is_sqlite(ctx: Any) -> bool:
    """Tell whether the statement being written is for SQLite, whose row id is a plain INTEGER."""
    return _auto_type(ctx) == "INTEGER"


def is_mysql(ctx: Any) -> bool:
    """Tell whether the statement being written is for MySQL or MariaDB."""
    return _auto_type(ctx).endswith("AUTO_INCREMENT")


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
        """Say TIMESTAMP on SQLite, where Peewee would say DATETIME."""
        return pw.SQL("TIMESTAMP") if is_sqlite(ctx) else super().ddl_datatype(ctx)


class RealField(pw.DoubleField):
    """A number with a fraction: REAL on SQLite, DOUBLE PRECISION elsewhere."""


class TextKeyField(pw.TextField):
    """Text that belongs to a key or an index: TEXT, but VARCHAR(255) on MySQL, which indexes no TEXT."""

    def ddl_datatype(self, ctx: Any) -> Any:
        """Say VARCHAR(255) on MySQL."""
        return pw.SQL("VARCHAR(255)") if is_mysql(ctx) else super().ddl_datatype(ctx)


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
        return ctx.literal(f"DEFAULT ({self.literal})" if is_mysql(ctx) else self.sql)


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
    """Return the arguments of a field that the database fills with the time of the insert."""
    return {"constraints": [Default("CURRENT_TIMESTAMP")]}


def _literal(value: str | float | bool | None) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(value).upper()


class NamedIndex(pw.Index):
    """An index with a name of its own, for ``Meta.indexes``; made by ``index``."""

    _where: Any
    _unique: bool
    code: str

    def __sql__(self, ctx: Any) -> Any:
        """Write it; MySQL has no partial index and gets a plain one, which is never unique."""
        if self._where is None or not is_mysql(ctx):
            return super().__sql__(ctx)  # type: ignore[no-untyped-call]
        plain = self.clone()
        plain._where, plain._unique = None, False
        return ctx.sql(plain)

    def __repr__(self) -> str:
        """Return the call that makes it, for ``pw_migrate create --auto`` to put in a script."""
        return self.code


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

"""The schema of a PostgreSQL, CockroachDB or MySQL database, read from its catalogs.

Names are keys as the engine compares them: PostgreSQL's as they are, MySQL's
columns and indexes folded. Expressions are the engine's own text, so they are
comparable between databases of one server.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import peewee as pw

from framework_schema.server_sql import execute
from framework_schema.snapshot import Carried, Column, ForeignKey, Index, Snapshot, Table


@dataclass(frozen=True)
class ServerTable(Table):
    """A table of a server.

    ``auto`` is the column that counts by itself. ``constraint_names`` tells what
    a foreign key (its ``ForeignKey``), a CHECK (its text) or a unique (its set
    of columns; only where it is a constraint and no mere index) is called.
    ``inline_checks`` are the CHECKs that belong to a column's definition, which
    MySQL drops with it.
    ``definitions`` are a key, reference or
    CHECK as the engine prints it, ``functions`` what each trigger calls, by
    label and text, ``after`` what is said to a table that is made anew and
    compared with none.
    """

    gains_key_by_index: ClassVar[bool] = False

    @property
    def invalid_keys(self) -> frozenset[ForeignKey]:
        """The references that were never proven, which act all the same."""
        return frozenset(key for key in self.invalid if isinstance(key, ForeignKey))

    auto: str | None = field(default=None, compare=False)
    constraint_names: Mapping[Any, str] = field(default_factory=dict, compare=False, repr=False)
    invalid: frozenset[Any] = field(default=frozenset(), compare=False, repr=False)
    inline_checks: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    comments: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    printed: str = field(default="", compare=False, repr=False)
    """The statement that makes it, where the server prints one and it was asked for."""
    modes: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """The sql_mode of a trigger, where it is not that of the connection."""
    definitions: Mapping[Any, str] = field(default_factory=dict, compare=False, repr=False)
    functions: Mapping[str, tuple[str, str]] = field(default_factory=dict, compare=False, repr=False)
    after: tuple[str, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ServerIndex(Index):
    """An index of a server: ``printed`` is what the engine prints behind its table, ``keys`` each term of it."""

    printed: str = field(default="", compare=False, repr=False)
    keys: tuple[str, ...] = field(default=(), compare=False, repr=False)
    nulls_alike: bool = field(default=False, compare=False, repr=False)


@dataclass
class Parts:
    """What was read of one table so far."""

    name: str
    printed: str = ""
    options: dict[str, str] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    auto: str | None = None
    primary_key: tuple[str, ...] = ()
    uniques: dict[frozenset[str], str] = field(default_factory=dict)
    foreign_keys: list[ForeignKey] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    inline_checks: dict[str, str] = field(default_factory=dict)
    indexes: dict[str, Index] = field(default_factory=dict)
    triggers: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    names: dict[Any, str] = field(default_factory=dict)
    invalid: set[Any] = field(default_factory=set)
    counts: set[str] = field(default_factory=set)
    definitions: dict[Any, str] = field(default_factory=dict)
    functions: dict[str, tuple[str, str]] = field(default_factory=dict)
    carried: dict[str, Carried] = field(default_factory=dict)
    after: list[str] = field(default_factory=list)

    def table(self, structural: bool) -> ServerTable:
        """Return the finished value."""
        return ServerTable(
            self.name,
            self.columns,
            self.primary_key,
            frozenset(self.uniques),
            frozenset(self.foreign_keys) - self.invalid,
            self.indexes,
            self.triggers,
            frozenset(self.checks) - self.invalid,
            autoincrement=self.auto is not None,
            is_structural=structural,
            texts=self.texts,
            unique_names=self.uniques,
            auto=self.auto,
            constraint_names=self.names,
            invalid=frozenset(self.invalid),
            inline_checks=self.inline_checks,
            comments=self.comments,
            options=self.options,
            printed=self.printed,
            modes=self.modes,
            carried=self.carried,
            counts=frozenset(self.counts or filter(None, [self.auto])),
            definitions=self.definitions,
            functions=self.functions,
            after=tuple(self.after),
        )


class Reader(ABC):
    """Reads the schema the connection is in: a handful of queries for all tables."""

    def __init__(self, database: pw.Database, table: str | None = None) -> None:
        self.database, self.only = database, table
        self.prints = False
        self.parts: dict[str, Parts] = {}

    def read(self, structural: bool, *, prints: bool = False) -> Snapshot:
        """Return the snapshot; ``prints`` asks for the texts of tables, where the server has such."""
        self.prints = prints
        self.read_tables()
        if self.parts:
            self.read_columns()
            self.read_constraints()
            self.read_indexes()
        if self.parts and not self.only:  # an operation on one table has no use for them
            self.read_triggers()
        tables = {key: parts.table(structural) for key, parts in self.parts.items()}
        return Snapshot(tables, frozenset() if self.only else self.views())

    def views(self) -> frozenset[str]:
        """Return the names of the views."""
        return frozenset(view.name for view in self.database.get_views())

    def rows(self, sql: str, *params: Any) -> list[Any]:
        """Run a query; a table asked for is the last parameter of each."""
        cursor = self.database.execute_sql(sql, tuple(params)) if params else execute(self.database, sql)
        found: list[Any] = cursor.fetchall()
        return found

    def of(self, table: str) -> Parts | None:
        """Return the parts of a table by the name the catalog has."""
        return self.parts.get(self.table_key(table))

    def table_key(self, name: str) -> str:
        """Return the key of a table's name."""
        return name

    @abstractmethod
    def read_tables(self) -> None:
        """Find the tables."""

    @abstractmethod
    def read_columns(self) -> None:
        """Read the columns."""

    @abstractmethod
    def read_constraints(self) -> None:
        """Read keys, references, CHECKs, uniques."""

    @abstractmethod
    def read_indexes(self) -> None:
        """Read indexes that are no constraints."""

    @abstractmethod
    def read_triggers(self) -> None:
        """Read triggers."""


def pg_quote(name: str) -> str:
    """Return a name as PostgreSQL's identifier."""
    return '"' + name.replace('"', '""') + '"'


def my_quote(name: str) -> str:
    """Return a name as MySQL's identifier."""
    return "`" + name.replace("`", "``") + "`"


def mysql_literal(text: str) -> str:
    """Return a text as MySQL's literal, in which a backslash escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def without_extras(snapshot: Snapshot, expected: Snapshot) -> Snapshot:
    """Return only the tables that are expected."""
    return replace(snapshot, tables={k: v for k, v in snapshot.tables.items() if k in expected.tables})

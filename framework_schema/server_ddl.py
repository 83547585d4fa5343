"""The statements that make and change tables on a server, from a snapshot's values; nothing is run here.

Two grammars. PostgreSQL changes one property of a column at a time; MySQL
states the whole column anew and loses what is not said.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from framework_schema.server_snapshot import ServerTable
from framework_schema.snapshot import Column, ForeignKey, Snapshot


class Grammar(ABC):
    """How one family of servers says it."""

    @abstractmethod
    def quote(self, name: str) -> str:
        """Return a name as an identifier."""

    @abstractmethod
    def fold(self, name: str) -> str:
        """Return a column's or index's name as the key it has in a snapshot."""

    @abstractmethod
    def literal(self, value: Any) -> str:
        """Return a value as a literal."""

    @abstractmethod
    def column(self, table: ServerTable, column: Column, *, null: bool | None = None) -> str:
        """Write a column's definition; ``null`` overrules the column's own."""

    @abstractmethod
    def change_column(self, have: ServerTable, want: ServerTable, old: Column, new: Column) -> Iterator[str]:
        """Make a live column the new one; the old one's name stays."""

    @abstractmethod
    def set_null(self, have: ServerTable, column: Column, null: bool) -> str:
        """Allow or forbid NULL."""

    @abstractmethod
    def set_default(self, have: ServerTable, column: Column, default: str | None) -> str:
        """Set a column's default, or take it away."""

    def drop_inline_check(self, have: ServerTable, column: Column) -> tuple[str, ...]:
        """Drop the CHECK that belongs to a column's definition, where there is such a thing."""
        return ()

    @abstractmethod
    def drop_constraint(self, table: str, name: str, kind: str) -> str:
        """Drop a constraint; ``kind`` is foreign key, check, unique or primary key."""

    @abstractmethod
    def drop_index(self, table: str, name: str) -> str:
        """Drop an index that is no constraint."""

    @abstractmethod
    def drop_trigger(self, table: str, name: str) -> str:
        """Drop a trigger."""

    @abstractmethod
    def same(self, one: str, other: str) -> str:
        """Compare two expressions, two NULLs being the same."""

    @abstractmethod
    def lossy(self, table: str, old: Column, new: Column) -> str:
        """Write the query for the rows whose value the new type could not give back."""

    def names(self, table: ServerTable, keys: Iterable[str]) -> str:
        """List columns by their keys."""
        return ", ".join(self.quote(table.columns[key].name) for key in keys)

    def create_table(self, table: ServerTable) -> str:
        """Write a table with its keys and CHECKs; references and indexes come after."""
        parts = [self.column(table, column) for column in table.columns.values()]
        if table.primary_key:
            parts.append(f"PRIMARY KEY ({self.names(table, table.primary_key)})")
        for unique in sorted(table.uniques, key=sorted):
            parts.append(f"{self.unique_name(table, unique)}UNIQUE ({self.names(table, self.ordered(table, unique))})")
        inline = set(table.inline_checks.values())
        parts += [f"CHECK ({check})" for check in sorted(table.checks - inline)]
        return f"CREATE TABLE {self.quote(table.name)} (\n  " + ",\n  ".join(parts) + "\n)"

    def make_table(self, table: ServerTable) -> tuple[str, ...]:
        """Write all that makes a table, but its references."""
        return (self.create_table(table), *table.texts.values())

    def make_trigger(self, table: ServerTable, key: str) -> tuple[str, ...]:
        """Write what makes one trigger, by its key."""
        return tuple(text for name, text in table.texts.items() if self.fold(name) == key)

    def change_option(self, have: ServerTable, want: ServerTable, name: str) -> tuple[str, ...]:
        """Write what gives a table one of the ``options`` it is to have."""
        return ()

    def unique_name(self, table: ServerTable, unique: frozenset[str]) -> str:
        """Name a unique as the expected table has it."""
        name = table.unique_names.get(unique)
        return f"CONSTRAINT {self.quote(name)} " if name else ""

    @staticmethod
    def ordered(table: ServerTable, columns: Iterable[str]) -> list[str]:
        """Put columns in the order of the table."""
        wanted = set(columns)
        return [key for key in table.columns if key in wanted]

    def references(self, table: ServerTable, key: ForeignKey, schema: Snapshot) -> str:
        """Write a foreign key's clause."""
        parent = schema.tables.get(key.table)
        to = parent.name if parent else key.table
        columns = [parent.columns[c].name if parent else c for c in key.to_columns]
        actions = "".join(
            f" ON {when} {action}"
            for when, action in (("DELETE", key.on_delete), ("UPDATE", key.on_update))
            if action != "NO ACTION"
        )
        return (
            f"FOREIGN KEY ({self.names(table, key.columns)}) REFERENCES {self.quote(to)} "
            f"({', '.join(map(self.quote, columns))}){actions}"
        )

    def add_foreign_key(self, have: str, table: ServerTable, key: ForeignKey, schema: Snapshot) -> Iterator[str]:
        """Add a reference to a table that is there."""
        yield f"ALTER TABLE {self.quote(have)} ADD {self.references(table, key, schema)}"

    def add_check(self, have: str, check: str) -> Iterator[str]:
        """Add a CHECK."""
        yield f"ALTER TABLE {self.quote(have)} ADD CHECK ({check})"

    def add_column(self, have: str, definition: str) -> str:
        """Add a column."""
        return f"ALTER TABLE {self.quote(have)} ADD COLUMN {definition}"

    def add_unique(self, have: str, want: ServerTable, columns: frozenset[str]) -> str:
        """Add a unique under the expected name."""
        name = want.unique_names[columns]
        keys = self.names(want, self.ordered(want, columns))
        return f"CREATE UNIQUE INDEX {self.quote(name)} ON {self.quote(have)} ({keys})"

    def duplicates(self, have: str, columns: Iterable[str], where: str | None = None) -> str:
        """Write the query for values that are there twice."""
        names = [self.quote(column) for column in columns]
        given = " AND ".join([*(f"{name} IS NOT NULL" for name in names), *([f"({where})"] if where else [])])
        listed = ", ".join(names)
        return (
            f"SELECT {listed}, count(*) AS rows_found FROM {self.quote(have)} WHERE {given} "
            f"GROUP BY {listed} HAVING count(*) > 1"
        )

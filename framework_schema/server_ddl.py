"""The statements that make and change tables on a server, from a snapshot's values; nothing is run here.

Two grammars. PostgreSQL changes one property of a column at a time; MySQL
states the whole column anew and loses what is not said.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from framework_schema.server_snapshot import ServerTable, pg_quote
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
    def settings(self, table: ServerTable) -> str:
        """Return what stands behind a new table's columns."""

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
        return f"CREATE TABLE {self.quote(table.name)} (\n  " + ",\n  ".join(parts) + f"\n){self.settings(table)}"

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


class PostgresGrammar(Grammar):
    """PostgreSQL, https://www.postgresql.org/docs/current/sql-altertable.html."""

    def quote(self, name: str) -> str:
        """Quote with double quotes."""
        return pg_quote(name)

    def fold(self, name: str) -> str:
        """Leave it: quoted names differ by case."""
        return name

    def literal(self, value: Any) -> str:
        """Write a value; text without escapes, standard_conforming_strings being on."""
        if isinstance(value, bool):
            return str(value).upper()
        if isinstance(value, int | float):
            return repr(value)
        if isinstance(value, bytes | memoryview):
            return f"'\\x{value.hex()}'"
        return "'" + str(value).replace("'", "''") + "'"

    def column(self, table: ServerTable, column: Column, *, null: bool | None = None) -> str:
        """Write a column's definition."""
        parts = [self.quote(column.name), column.type]
        parts += [f"COLLATE {self.quote(column.collation)}"] if column.collation else []
        parts += [f"GENERATED ALWAYS AS {column.generated}"] if column.generated else []
        if table.auto == column.name:
            parts.append("GENERATED BY DEFAULT AS IDENTITY")
        parts += [f"DEFAULT {column.default}"] if column.default is not None else []
        parts += [] if (column.null if null is None else null) else ["NOT NULL"]
        return " ".join(parts)

    def change_column(self, have: ServerTable, want: ServerTable, old: Column, new: Column) -> Iterator[str]:
        """Change type, default and NULL, each if it differs; a default of the old type would stop the type."""
        alter = f"ALTER TABLE {self.quote(have.name)} ALTER COLUMN {self.quote(old.name)}"
        if old.type != new.type or old.collation != new.collation:
            collate = f" COLLATE {self.quote(new.collation)}" if new.collation else ""
            if old.default is not None:
                yield f"{alter} DROP DEFAULT"
            yield f"{alter} TYPE {new.type}{collate} USING {self.quote(old.name)}::{new.type}"
        if old.default != new.default or (old.type != new.type and new.default is not None):
            yield self.set_default(have, old, new.default)
        if old.null != new.null:
            yield self.set_null(have, old, new.null)
        key = self.fold(new.name)
        if want.auto == key and have.auto != key:
            yield f"{alter} DROP DEFAULT"
            yield f"{alter} ADD GENERATED BY DEFAULT AS IDENTITY"

    def set_null(self, have: ServerTable, column: Column, null: bool) -> str:
        """Allow or forbid NULL."""
        how = "DROP" if null else "SET"
        return f"ALTER TABLE {self.quote(have.name)} ALTER COLUMN {self.quote(column.name)} {how} NOT NULL"

    def set_default(self, have: ServerTable, column: Column, default: str | None) -> str:
        """Set or drop a default."""
        what = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
        return f"ALTER TABLE {self.quote(have.name)} ALTER COLUMN {self.quote(column.name)} {what}"

    def add_foreign_key(self, have: str, table: ServerTable, key: ForeignKey, schema: Snapshot) -> Iterator[str]:
        """Add NOT VALID first, which locks for a moment, then validate, which lets writers work.

        https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-NOTES
        """
        name = self.constraint_name(have, [table.columns[c].name for c in key.columns], "fkey")
        target = f"ALTER TABLE {self.quote(have)}"
        yield f"{target} ADD CONSTRAINT {self.quote(name)} {self.references(table, key, schema)} NOT VALID"
        yield f"{target} VALIDATE CONSTRAINT {self.quote(name)}"

    def add_check(self, have: str, check: str) -> Iterator[str]:
        """Add NOT VALID first, then validate."""
        name = self.constraint_name(have, [hashlib.sha256(check.encode()).hexdigest()[:8]], "check")
        target = f"ALTER TABLE {self.quote(have)}"
        yield f"{target} ADD CONSTRAINT {self.quote(name)} CHECK ({check}) NOT VALID"
        yield f"{target} VALIDATE CONSTRAINT {self.quote(name)}"

    @staticmethod
    def constraint_name(table: str, columns: list[str], suffix: str) -> str:
        """Name a constraint as PostgreSQL would, within its 63 bytes."""
        text = "_".join([table, *columns])
        while len(text.encode()) + len(suffix) > 62:
            text = text[:-1]
        return f"{text}_{suffix}"

    def drop_constraint(self, table: str, name: str, kind: str) -> str:
        """Drop any constraint by its name."""
        return f"ALTER TABLE {self.quote(table)} DROP CONSTRAINT {self.quote(name)}"

    def drop_index(self, table: str, name: str) -> str:
        """Drop an index; its name is the schema's."""
        return f"DROP INDEX {self.quote(name)}"

    def drop_trigger(self, table: str, name: str) -> str:
        """Drop a trigger; its name is the table's."""
        return f"DROP TRIGGER {self.quote(name)} ON {self.quote(table)}"

    def settings(self, table: ServerTable) -> str:
        """Have none."""
        return ""

    def same(self, one: str, other: str) -> str:
        """Say IS NOT DISTINCT FROM."""
        return f"{one} IS NOT DISTINCT FROM {other}"

    def lossy(self, table: str, old: Column, new: Column) -> str:
        """Cast there and back; a value that cannot be cast makes the query fail, and the change with it."""
        name = self.quote(old.name)
        return (
            f"SELECT {name} FROM {self.quote(table)} WHERE {name} IS NOT NULL "
            f"AND ({name}::{new.type})::text IS DISTINCT FROM {name}::text "
            f"AND ({name}::{new.type})::{old.type} IS DISTINCT FROM {name}"
        )

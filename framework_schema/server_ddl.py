"""The statements that make and change tables on a server, from a snapshot's values; nothing is run here.

Two grammars. PostgreSQL changes one property of a column at a time; MySQL
states the whole column anew and loses what is not said.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, ClassVar

from framework_schema.server_snapshot import ServerIndex, ServerTable
from framework_schema.snapshot import Carried, Column, ForeignKey, Index, Snapshot, Table


class Grammar(ABC):
    """How one family of servers says it.

    ``makes_parts`` says that a new table's indexes, triggers and the like are
    made one by one, behind ``new_table``; else ``make_table`` makes all.
    """

    makes_parts: ClassVar[bool] = False
    kept_types: ClassVar[tuple[str, str]]
    """What text and a moment are called in a CAST."""

    def row_identity(self, table: ServerTable) -> list[str] | None:
        """Return the columns that tell rows apart, the older ones first; None where there are none."""
        return [self.quote(table.columns[key].name) for key in table.primary_key] or None

    def with_identity(self, table: ServerTable) -> str:
        """Write the query for the rows of a table with all that ``row_identity`` names."""
        return f"SELECT * FROM {self.quote(table.name)}"

    def quiet(self, table: ServerTable) -> list[tuple[str, tuple[str, ...]]]:
        """Write what keeps each trigger of a table from firing, and what lets it again."""
        return [(self.drop_trigger(table.name, name), self.make_trigger(table, name)) for name in table.triggers]

    def unmoved(self, table: ServerTable, but: Collection[str]) -> list[str]:
        """Write what keeps the columns as they are that an UPDATE of others, ``but``, would change by itself."""
        return []

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

    def tied(self, sql: str, find: Callable[[str], Table | None]) -> tuple[str, tuple[str, ...]]:
        """Let a statement that makes foreign keys make such as the engine can have; say which it cannot, and why."""
        return sql, ()

    def give_up_index(self, have: ServerTable, name: str, columns: Sequence[str]) -> str:
        """Drop a live index that others may need, and leave them another."""
        return self.drop_index(have.name, name)

    def change_primary_key(self, have: ServerTable, add: str) -> tuple[str, ...]:
        """Give a table another primary key; ``add`` is its clause."""
        name = have.constraint_names.get("primary key", "PRIMARY")
        drop = (self.drop_constraint(have.name, name, "primary key"),) if have.primary_key else ()
        return (*drop, f"ALTER TABLE {self.quote(have.name)} ADD {add}")

    def is_refusal(self, error: BaseException) -> bool:
        """Tell whether an index cannot be made on the columns as they are now, which costs nothing but the index."""
        return False

    def fitted(self, want: ServerTable, live: Snapshot) -> ServerTable:
        """Return an expected table as it can be made beside those that are there; see ``tied``."""
        return want

    def untied(self, have: ServerTable, key: ForeignKey, live: Snapshot) -> str | None:
        """Say why a foreign key cannot be made between tables that are there; None when it can."""
        return None

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

    def new_table(self, table: ServerTable, taken: Collection[str]) -> tuple[str, ...]:
        """Write a table that is not there; indexes, triggers and references come after. ``taken`` are names in use."""
        return (self.create_table(table),)

    def primary_key(self, table: ServerTable, listed: str, taken: Collection[str] = ()) -> str:
        """Write the clause for the expected primary key, on columns that are listed by their live names."""
        return f"PRIMARY KEY ({listed})"

    def inner_uniques(self, table: ServerTable) -> Iterable[frozenset[str]]:
        """Return the uniques that ``new_table`` makes."""
        return table.uniques

    def add_foreign_key(
        self, have: str, table: ServerTable, key: ForeignKey, schema: Snapshot, *, at_once: bool = False
    ) -> Iterator[str]:
        """Add a reference to a table that is there; ``at_once`` where it cannot be proven later."""
        yield f"ALTER TABLE {self.quote(have)} ADD {self.references(table, key, schema)}"

    def add_check(self, have: str, check: str) -> Iterator[str]:
        """Add a CHECK."""
        yield f"ALTER TABLE {self.quote(have)} ADD CHECK ({check})"

    def add_column(self, have: str, definition: str) -> str:
        """Add a column."""
        return f"ALTER TABLE {self.quote(have)} ADD COLUMN {definition}"

    def add_unique(self, have: str, want: ServerTable, columns: frozenset[str], taken: Collection[str] = ()) -> str:
        """Add a unique under the expected name."""
        name = want.unique_names[columns]
        keys = self.names(want, self.ordered(want, columns))
        return f"CREATE UNIQUE INDEX {self.quote(name)} ON {self.quote(have)} ({keys})"

    def duplicates(self, have: str, columns: Iterable[str], where: str | None = None) -> str:
        """Write the query for values that are there twice."""
        return self.doubles(have, [self.quote(column) for column in columns], where)

    def doubles(self, have: str, keys: Sequence[str], where: str | None = None, *, nulls_alike: bool = False) -> str:
        """Write the query for what the keys of a unique, columns or expressions, have twice; NULLs are no doubles."""
        given = [] if nulls_alike else [f"{key} IS NOT NULL" for key in keys]
        condition = " AND ".join([*given, *([f"({where})"] if where else [])])
        listed = ", ".join(keys)
        return (
            f"SELECT {listed}, count(*) AS rows_found FROM {self.quote(have)} "
            f"{f'WHERE {condition} ' if condition else ''}GROUP BY {listed} HAVING count(*) > 1"
        )

    def double_index(self, have: str, index: Index) -> str:
        """Write the same for a unique index, expressions and all."""
        if isinstance(index, ServerIndex) and index.keys:
            return self.doubles(have, index.keys, index.where, nulls_alike=index.nulls_alike)
        return self.duplicates(have, [c.removesuffix(" DESC") for c in index.columns], index.where)

    def add_index(self, have: str, want: ServerTable, index: Index, taken: Collection[str] = ()) -> str:
        """Make an expected index anew, under a free name where another table's index has its own."""
        return want.texts[index.name]

    def add_carried(self, part: Carried, taken: Collection[str] = ()) -> tuple[str, ...]:
        """Make what a table carries, under a free name where it has a name that is taken."""
        return part.make

    def add_trigger(self, want: ServerTable, name: str, live: Snapshot) -> tuple[str, ...]:
        """Make an expected trigger, with what it calls where there is none."""
        return self.make_trigger(want, name)

    def change_trigger(self, want: ServerTable, have: ServerTable, name: str) -> tuple[str, ...]:
        """Make a live trigger the expected one."""
        return (self.drop_trigger(have.name, name), *self.make_trigger(want, name))

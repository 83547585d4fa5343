"""The statements that make and change tables on MariaDB and MySQL; nothing is run here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from framework_schema.ddl import fold
from framework_schema.mysql_keys import cannot_tie, tied
from framework_schema.mysql_text import ColumnText, Definition
from framework_schema.server_ddl import Grammar
from framework_schema.server_snapshot import ServerTable, my_quote, mysql_literal
from framework_schema.snapshot import Column, ForeignKey, Snapshot, Table

REFUSALS = {1061, 1071, 1089, 1167, 1170, 1904}
"""https://mariadb.com/kb/en/mariadb-error-code-reference/."""


class MysqlGrammar(Grammar):
    """MariaDB and MySQL, https://mariadb.com/kb/en/alter-table/."""

    kept_types = ("CHAR(16777216)", "DATETIME(6)")  # which makes a LONGTEXT

    def quote(self, name: str) -> str:
        """Quote with backticks, whatever the sql_mode."""
        return my_quote(name)

    def fold(self, name: str) -> str:
        """Fold: columns and indexes differ by more than case."""
        return fold(name)

    def literal(self, value: Any) -> str:
        """Write a value; in text a backslash escapes."""
        if isinstance(value, bool):
            return str(int(value))
        if isinstance(value, int | float):
            return repr(value)
        if isinstance(value, bytes | memoryview):
            return f"x'{value.hex()}'"
        return mysql_literal(str(value))

    def column(self, table: ServerTable, column: Column, *, null: bool | None = None) -> str:
        """Return a column's definition as the server prints it, with NULL allowed or forbidden where that is asked."""
        made = self._printed(table, column)
        return (made if null is None else made.nullable(null)).text

    def change_column(self, have: ServerTable, want: ServerTable, old: Column, new: Column) -> Iterator[str]:
        """State the column anew, which drops what is not said: so it is said as printed, but for what differs."""
        made = self._printed(have, old)
        if (old.type, old.collation) != (new.type, new.collation):
            made = made.typed(new.type, new.collation)
        if old.default != new.default:
            made = made.defaulting(new.default)
        if old.null != new.null:
            made = made.nullable(new.null)
        if want.auto == fold(new.name) != have.auto:
            made = made.put("default", None).put("auto", "AUTO_INCREMENT")
        elif have.auto == fold(new.name) != want.auto:
            made = made.put("auto", None)
        yield self._modify(have, made)

    def set_null(self, have: ServerTable, column: Column, null: bool) -> str:
        """State the column anew with or without NULL."""
        return self._modify(have, self._printed(have, column).nullable(null))

    def unmoved(self, table: ServerTable, but: Collection[str]) -> list[str]:
        """Say of each column with ON UPDATE that it stays, which it then does."""
        names = [
            self.quote(column.name)
            for key, column in table.columns.items()
            if key not in but and self._printed(table, column).get("on update")
        ]
        return [f"{name} = {name}" for name in names]

    def drop_inline_check(self, have: ServerTable, column: Column) -> tuple[str, ...]:
        """State the column anew without its CHECK."""
        return (self._modify(have, self._printed(have, column).unchecked()),)

    def _modify(self, have: ServerTable, made: ColumnText) -> str:
        return f"ALTER TABLE {self.quote(have.name)} MODIFY COLUMN {made.text}"

    def _printed(self, table: ServerTable, column: Column) -> ColumnText:
        printed = Definition.of(table.printed)
        line = printed.line(fold(column.name)) if printed else None
        if line is None:
            raise ValueError(f"the server did not print the column {table.name}.{column.name}")
        return ColumnText.of(line)

    def create_table(self, table: ServerTable) -> str:
        """Return the table as the server prints it, without its references, which come after."""
        printed = Definition.of(table.printed)
        if printed is None:
            raise ValueError(f"the server did not print the table {table.name}")
        return printed.without(reference.place for reference in printed.references()).uncounted().sql

    def tied(self, sql: str, find: Callable[[str], Table | None]) -> tuple[str, tuple[str, ...]]:
        """Give a column the type of the key that it refers to, and leave out a key that cannot be."""
        return tied(sql, find)

    def give_up_index(self, have: ServerTable, name: str, columns: Sequence[str]) -> str:
        """Leave a foreign key that has no other an index of its own column, as InnoDB would make it."""
        others = [have.primary_key, *(tuple(i.columns) for i in have.indexes.values() if i.name != name)]
        needed = [
            key.columns
            for key in sorted(have.foreign_keys, key=repr)
            if tuple(columns[: len(key.columns)]) == key.columns
            and not any(other[: len(key.columns)] == key.columns for other in others)
        ]
        adds = "".join(f", ADD KEY {self.quote(f'{keys[0]}')} ({self.names(have, keys)})" for keys in needed[:1])
        return f"ALTER TABLE {self.quote(have.name)} DROP INDEX {self.quote(name)}{adds}"

    def change_primary_key(self, have: ServerTable, add: str) -> tuple[str, ...]:
        """Change it in one statement; a column that counts keeps a key, which it must have."""
        parts = ["DROP PRIMARY KEY"] if have.primary_key else []
        if have.auto and have.auto in have.primary_key:
            parts.append(f"ADD UNIQUE KEY ({self.names(have, [have.auto])})")
        return (f"ALTER TABLE {self.quote(have.name)} {', '.join([*parts, f'ADD {add}'])}",)

    def is_refusal(self, error: BaseException) -> bool:
        """Know a name that is taken, and columns too long for an index."""
        return bool(error.args) and error.args[0] in REFUSALS

    def fitted(self, want: ServerTable, live: Snapshot) -> ServerTable:
        """Give the columns of a table the types of the keys that they refer to, and leave out keys that cannot be."""
        if not want.foreign_keys:
            return want
        there = {fold(table.name): table for table in live.tables.values()}
        printed, why = tied(want.printed, lambda name: there.get(fold(name)))
        made = Definition.of(printed)
        if made is None or printed == want.printed:
            return want
        kept = {(tuple(map(fold, r.columns)), fold(r.table)) for r in made.references()}
        keys = frozenset(key for key in want.foreign_keys if (key.columns, fold(key.table)) in kept or not why)
        return replace(want, printed=printed, foreign_keys=keys)

    def untied(self, have: ServerTable, key: ForeignKey, live: Snapshot) -> str | None:
        """Look at the engines, the keys and the types."""
        parent = live.tables.get(key.table)
        return None if parent is None else cannot_tie(have, key.columns, parent, key.to_columns)

    def make_table(self, table: ServerTable) -> tuple[str, ...]:
        """Make it with its indexes in one statement, then its triggers."""
        triggers = [statement for key in table.triggers for statement in self.make_trigger(table, key)]
        return (self.create_table(table), *triggers)

    def make_trigger(self, table: ServerTable, key: str) -> tuple[str, ...]:
        """Make it under the sql_mode it was made under, which it keeps."""
        name, text = next((name, text) for name, text in table.texts.items() if fold(name) == key)
        if name not in table.modes:
            return (text,)
        mode = mysql_literal(table.modes[name])
        return (
            "SET @framework_schema_mode = @@sql_mode",
            f"SET SESSION sql_mode = {mode}",
            text,
            "SET SESSION sql_mode = @framework_schema_mode",
        )

    def change_option(self, have: ServerTable, want: ServerTable, name: str) -> tuple[str, ...]:
        """Give the table another engine, or a column what its definition lacks."""
        what, _, key = name.partition(" of ")
        if not key:
            return (f"ALTER TABLE {self.quote(have.name)} ENGINE = {want.options[name]}",)
        segment = self._printed(want, want.columns[key]).get(what)
        made = self._printed(have, have.columns[key])
        return (self._modify(have, made.put(what, segment)),)

    def add_unique(self, have: str, want: ServerTable, columns: frozenset[str], taken: Collection[str] = ()) -> str:
        """Add a unique as the expected table has it: in that order."""
        name = want.unique_names[columns]
        printed = Definition.of(want.printed)
        key = printed.key(fold(name)) if printed else None
        return f"ALTER TABLE {self.quote(have)} ADD {key}" if key else super().add_unique(have, want, columns)

    def set_default(self, have: ServerTable, column: Column, default: str | None) -> str:
        """Set or drop a default."""
        what = "DROP DEFAULT" if default is None else f"SET DEFAULT ({default})"
        return f"ALTER TABLE {self.quote(have.name)} ALTER COLUMN {self.quote(column.name)} {what}"

    def drop_constraint(self, table: str, name: str, kind: str) -> str:
        """Drop a constraint, each kind in its own words."""
        if kind == "primary key":
            return f"ALTER TABLE {self.quote(table)} DROP PRIMARY KEY"
        word = {"foreign key": "FOREIGN KEY", "check": "CONSTRAINT", "unique": "INDEX"}[kind]
        return f"ALTER TABLE {self.quote(table)} DROP {word} {self.quote(name)}"

    def drop_index(self, table: str, name: str) -> str:
        """Drop an index; its name is the table's."""
        return f"ALTER TABLE {self.quote(table)} DROP INDEX {self.quote(name)}"

    def drop_trigger(self, table: str, name: str) -> str:
        """Drop a trigger; its name is the database's."""
        return f"DROP TRIGGER {self.quote(name)}"

    def same(self, one: str, other: str) -> str:
        """Say <=>."""
        return f"{one} <=> {other}"

    def lossy(self, table: str, old: Column, new: Column) -> str:
        """Cast to the kind of the new type and look whether the text stays; what is too long or large fails by itself.

        In strict mode ALTER refuses what it would have to cut:
        https://mariadb.com/kb/en/sql-mode/#strict-mode
        """
        name = self.quote(old.name)
        kind = new.type.partition("(")[0].lower()
        target = "SIGNED" if kind.endswith("int") else "DOUBLE" if kind in ("double", "float") else None
        if target is None or old.type.partition("(")[0].endswith("int"):
            return f"SELECT {name} FROM {self.quote(table)} WHERE 0 = 1"
        is_number = "^ *[-+]?[0-9]*[.]?[0-9]+(e[-+]?[0-9]+)?$" if target == "DOUBLE" else "^(0|-?[1-9][0-9]*)([.]0+)?$"
        return f"SELECT {name} FROM {self.quote(table)} WHERE {name} IS NOT NULL AND {name} NOT REGEXP '{is_number}'"

"""The statements that make and change tables on MariaDB and MySQL; nothing is run here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from framework_schema.ddl import fold
from framework_schema.server_ddl import Grammar
from framework_schema.server_snapshot import ServerTable, my_quote, mysql_literal
from framework_schema.snapshot import Column


class MysqlGrammar(Grammar):
    """MariaDB and MySQL, https://mariadb.com/kb/en/alter-table/."""

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
        """Write a column's definition with all that MODIFY would drop if it were not said."""
        key = fold(column.name)
        parts = [self.quote(column.name), column.type]
        if column.collation:
            parts.append(f"CHARACTER SET {column.collation.partition('_')[0]} COLLATE {column.collation}")
        if column.generated:
            parts.append(f"GENERATED ALWAYS AS {column.generated}")
        else:
            parts.append("NULL" if (column.null if null is None else null) else "NOT NULL")
        if table.auto == key:
            parts.append("AUTO_INCREMENT")
        if column.default is not None:
            parts.append(f"DEFAULT ({column.default})" if not column.default.startswith("(") else column.default)
        if key in table.comments:
            parts.append(f"COMMENT {mysql_literal(table.comments[key])}")
        if key in table.inline_checks:
            parts.append(f"CHECK ({table.inline_checks[key]})")
        return " ".join(parts)

    def change_column(self, have: ServerTable, want: ServerTable, old: Column, new: Column) -> Iterator[str]:
        """State the column anew, under the old name if only its case differs from the new one."""
        key = fold(new.name)
        kept = ServerTable(
            have.name, {}, auto=want.auto if want.auto == key else None,
            comments=have.comments, inline_checks=have.inline_checks,
        )  # fmt: skip
        yield f"ALTER TABLE {self.quote(have.name)} MODIFY COLUMN {self.column(kept, new)}"

    def set_null(self, have: ServerTable, column: Column, null: bool) -> str:
        """State the column anew with or without NULL."""
        return f"ALTER TABLE {self.quote(have.name)} MODIFY COLUMN {self.column(have, column, null=null)}"

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

    def settings(self, table: ServerTable) -> str:
        """Return engine and character set."""
        return f" {table.settings}" if table.settings else ""

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

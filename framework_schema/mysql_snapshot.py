"""The schema of a MariaDB or MySQL database, read from its catalogs; columns and indexes are folded."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import peewee as pw

from framework_schema.ddl import fold
from framework_schema.fields import flag_of
from framework_schema.server_snapshot import Parts, Reader, my_quote, mysql_literal
from framework_schema.snapshot import Column, ForeignKey, Index

FLAG = re.compile(r"case when (.*) then 1 end", re.I | re.S)


class MysqlReader(Reader):
    """Reads ``information_schema`` (https://mariadb.com/kb/en/information-schema-tables/)."""

    def __init__(self, database: pw.Database, table: str | None = None) -> None:
        super().__init__(database, table)
        facts = getattr(database, "server_facts", None)
        self.folds_tables, version = facts or self.rows("SELECT @@lower_case_table_names, version()")[0]
        self.is_mariadb = "mariadb" in str(version).lower()
        self.flags: dict[tuple[str, str], str] = {}

    def table_key(self, name: str) -> str:
        """Fold where the server does."""
        return name.lower() if self.folds_tables else name

    def _which(self, column: str = "table_name", schema: str = "table_schema") -> str:
        one = f" AND {column} = {self.database.param}" if self.only else ""
        return f"{schema} = DATABASE(){one}"

    def _read(self, sql: str) -> list[Any]:
        return self.rows(sql, *([self.only] if self.only else []))

    def read_tables(self) -> None:
        """Find the tables; what stands behind their columns is kept for making another like it."""
        for name, engine, collation in self._read(
            "SELECT table_name, engine, table_collation FROM information_schema.tables "
            f"WHERE {self._which()} AND table_type = 'BASE TABLE' ORDER BY table_name"
        ):
            charset = str(collation).partition("_")[0]
            settings = f"ENGINE={engine} DEFAULT CHARACTER SET {charset} COLLATE {collation}" if collation else ""
            self.parts[self.table_key(name)] = Parts(name, settings)

    def read_columns(self) -> None:
        """Read the columns, but the flags of partial uniques, which show as the index's condition."""
        for table, name, null, kind, default, extra, collation, generated, comment in self._read(
            "SELECT table_name, column_name, is_nullable, column_type, column_default, extra, collation_name, "
            f"generation_expression, column_comment FROM information_schema.columns WHERE {self._which()} "
            "ORDER BY table_name, ordinal_position"
        ):
            parts = self.of(table)
            if parts is None:
                continue
            key, extra = fold(name), str(extra or "").lower()
            condition = FLAG.fullmatch(str(generated or "").strip()) if "invisible" in extra else None
            if condition is not None and key.endswith("_applies"):
                self.flags[table, key] = condition[1]
                continue
            if "auto_increment" in extra:
                parts.auto = key
            how = "STORED" if "stored" in extra or "persistent" in extra else "VIRTUAL"
            parts.columns[key] = Column(
                name,
                _mysql_type(kind),
                null == "YES",
                None if generated else self._default(default, extra, kind),
                collation,
                f"({generated}) {how}" if generated else None,
            )
            if comment:
                parts.comments[key] = comment

    def _default(self, default: Any, extra: str, kind: str) -> str | None:
        """Return a default as SQL: MariaDB keeps it so, MySQL keeps the bare value of a literal."""
        if default is None or (self.is_mariadb and str(default).upper() == "NULL"):
            return None
        text = str(default)
        if self.is_mariadb:
            stripped = text.strip()
            return {"true": "1", "false": "0"}.get(stripped.lower(), stripped)
        if "default_generated" in extra:
            return text.replace("_utf8mb4", "").replace("\\'", "'")
        is_number = re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", text) and not kind.startswith(("varchar", "char"))
        return text if is_number else mysql_literal(text)

    def read_constraints(self) -> None:
        """Read foreign keys and CHECKs."""
        # Two queries, and by the columns' own schema: for the join, and for the constraint's, every table is opened.
        found: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for table, name, *rest in self._read(
            "SELECT table_name, constraint_name, column_name, referenced_table_name, referenced_column_name "
            f"FROM information_schema.key_column_usage WHERE {self._which()} AND referenced_table_name IS NOT NULL "
            "ORDER BY table_name, constraint_name, ordinal_position"
        ):
            found[table, name].append(rest)
        rules = {
            (table, name): actions
            for table, name, *actions in self._read(
                "SELECT table_name, constraint_name, delete_rule, update_rule "
                f"FROM information_schema.referential_constraints WHERE {self._which(schema='constraint_schema')}"
            )
        }
        for (table, name), columns in found.items():
            parts = self.of(table)
            if parts is not None and (table, name) in rules:
                to = columns[0][1]
                on_delete, on_update = rules[table, name]
                key = ForeignKey(
                    tuple(fold(c[0]) for c in columns),
                    self.table_key(to),
                    tuple(fold(c[2]) for c in columns),
                    _no_action(on_delete),
                    _no_action(on_update),
                )
                parts.foreign_keys.append(key)
                parts.names[key] = name
        self._read_checks()

    def _read_checks(self) -> None:
        for table, name, level, clause in self._read(self._checks_sql()):
            parts = self.of(table)
            if parts is None:
                continue
            parts.checks.append(clause)
            parts.names[clause] = name
            if str(level).lower() == "column":
                parts.inline_checks[fold(name)] = clause

    def _checks_sql(self) -> str:
        if self.is_mariadb:
            return (
                "SELECT table_name, constraint_name, level, check_clause FROM information_schema.check_constraints "
                f"WHERE {self._which(schema='constraint_schema')}"
            )
        return (
            "SELECT t.table_name, c.constraint_name, 'Table', c.check_clause "
            "FROM information_schema.check_constraints c JOIN information_schema.table_constraints t "
            "ON t.constraint_schema = c.constraint_schema AND t.constraint_name = c.constraint_name "
            f"WHERE t.constraint_type = 'CHECK' AND {self._which('t.table_name', 't.constraint_schema')}"
        )

    def read_indexes(self) -> None:
        """Read the indexes, but those that InnoDB makes by itself for a foreign key."""
        found: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for table, name, *rest in self._read(
            "SELECT table_name, index_name, non_unique, column_name, collation, sub_part, index_type "
            f"FROM information_schema.statistics WHERE {self._which()} ORDER BY table_name, index_name, seq_in_index"
        ):
            found[table, name].append(rest)
        for (table, name), columns in found.items():
            parts = self.of(table)
            if parts is not None:
                self._index(parts, table, name, columns)

    def _index(self, parts: Parts, table: str, name: str, columns: list[Any]) -> None:
        names = [fold(column[1]) if column[1] else "?" for column in columns]
        where = self.flags.get((table, names[-1]))
        if where is not None:
            names, columns = names[:-1], columns[:-1]
        is_unique = not int(columns[0][0])
        if name == "PRIMARY":
            parts.primary_key = tuple(names)
        elif is_unique and where is None and not any(column[3] for column in columns):
            parts.uniques[frozenset(names)] = name
        elif is_unique or not _is_automatic(parts, name, tuple(names)):
            labels = [
                f"{key}{f'({part})' if part else ''}{' DESC' if down == 'D' else ''}"
                for key, (_, _, down, part, _) in zip(names, columns, strict=True)
            ]
            if columns[0][4] not in ("BTREE", None):
                labels.append(f"USING {columns[0][4]}")
            parts.indexes[fold(name)] = Index(name, tuple(labels), is_unique, where)
            parts.texts[name] = self._index_text(parts, name, is_unique, where, columns)

    def _index_text(self, parts: Parts, name: str, unique: bool, where: str | None, columns: list[Any]) -> str:
        terms = [
            f"{my_quote(column)}{f'({part})' if part else ''}{' DESC' if down == 'D' else ''}"
            for _, column, down, part, _ in columns
        ]
        if where is None:
            kind = {"FULLTEXT": "FULLTEXT ", "SPATIAL": "SPATIAL "}.get(columns[0][4], "UNIQUE " if unique else "")
            return f"CREATE {kind}INDEX {my_quote(name)} ON {my_quote(parts.name)} ({', '.join(terms)})"
        flag = my_quote(flag_of(name))
        return (
            f"ALTER TABLE {my_quote(parts.name)} ADD COLUMN {flag} TINYINT GENERATED ALWAYS AS "
            f"(CASE WHEN {where} THEN 1 END) VIRTUAL INVISIBLE, "
            f"ADD UNIQUE INDEX {my_quote(name)} ({', '.join([*terms, flag])})"
        )

    def read_triggers(self) -> None:
        """Read the triggers."""
        for table, name, timing, event, statement in self._read(
            "SELECT event_object_table, trigger_name, action_timing, event_manipulation, action_statement "
            f"FROM information_schema.triggers WHERE {self._which('event_object_table', 'trigger_schema')}"
        ):
            parts = self.of(table)
            if parts is not None:
                parts.triggers[fold(name)] = f"{timing} {event} {statement}"
                parts.texts[name] = (
                    f"CREATE TRIGGER {my_quote(name)} {timing} {event} ON {my_quote(parts.name)} "
                    f"FOR EACH ROW {statement}"
                )


def _no_action(rule: str) -> str:
    """RESTRICT and NO ACTION are one thing in InnoDB: https://mariadb.com/kb/en/foreign-keys/."""
    return "NO ACTION" if rule == "RESTRICT" else rule


def _mysql_type(kind: Any) -> str:
    """Leave out an integer's display width, which MySQL 8 no longer shows."""
    text = kind.decode() if isinstance(kind, bytes) else str(kind)
    return text if text.startswith("tinyint(1)") else re.sub(r"\b((?:tiny|small|medium|big)?int)\(\d+\)", r"\1", text)


def _is_automatic(parts: Parts, name: str, columns: tuple[str, ...]) -> bool:
    """Tell an index that InnoDB made for a foreign key that had none: named after the key or its first column."""
    return any(
        key.columns == columns and fold(name) in (fold(parts.names[key]), columns[0]) for key in parts.foreign_keys
    )

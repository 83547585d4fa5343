"""The schema of a MariaDB or MySQL database, read from its catalogs; columns and indexes are folded."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import peewee as pw

from framework_schema.cluster_lock import TABLE as LOCK
from framework_schema.ddl import fold
from framework_schema.fields import flag_of
from framework_schema.mysql_text import Definition, mysql_type
from framework_schema.server_snapshot import Parts, Reader, my_quote, mysql_literal
from framework_schema.snapshot import Column, ForeignKey, Index

QUOTED = r"""(?:`(?:[^`]|``)*`|"(?:[^"]|"")*"|'(?:[^']|'')*'|[\w$%.-]+)"""
WRITTEN = re.compile(
    rf"CREATE\s+(?:OR\s+REPLACE\s+)?(?:DEFINER=({QUOTED}(?:@{QUOTED})?)\s+)?TRIGGER\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    rf"{QUOTED}(?:\.{QUOTED})?\s+\w+\s+\w+\s+ON\s+{QUOTED}(?:\.{QUOTED})?\s+FOR\s+EACH\s+ROW\b",
    re.I,
)
"""A trigger as its maker wrote it, up to what it does."""
READING = {"ANSI_QUOTES", "PIPES_AS_CONCAT", "NO_BACKSLASH_ESCAPES", "IGNORE_SPACE", "ORACLE", "HIGH_NOT_PRECEDENCE"}
"""The modes in which the same text says another thing: https://mariadb.com/kb/en/sql-mode/."""
OPTIONS = re.compile(r"(on update) (\S+)|(invisible)")
"""What ``extra`` tells of a column that is not modelled, compared where it is expected."""

FLAG = re.compile(r"case when (.*) then 1 end", re.I | re.S)


class MysqlReader(Reader):
    """Reads ``information_schema`` (https://mariadb.com/kb/en/information-schema-tables/)."""

    def __init__(self, database: pw.Database, table: str | None = None) -> None:
        super().__init__(database, table)
        facts = getattr(database, "server_facts", None)
        self.folds_tables, version = facts or self.rows("SELECT @@lower_case_table_names, version()")[0]
        self.is_mariadb = "mariadb" in str(version).lower()
        self.flags: dict[tuple[str, str], str] = {}
        self.place = ""
        """The database, as a default or a CHECK may name it; the same is meant wherever it is said again."""

    def table_key(self, name: str) -> str:
        """Fold where the server does."""
        return name.lower() if self.folds_tables else name

    def _which(self, column: str = "table_name", schema: str = "table_schema") -> str:
        one = f" AND {column} = {self.database.param}" if self.only else ""
        return f"{schema} = DATABASE(){one}"

    def _read(self, sql: str) -> list[Any]:
        return self.rows(sql, *([self.only] if self.only else []))

    def read_tables(self) -> None:
        """Find the tables, those with a history of their rows among them; each as the server prints it, where asked."""
        for place, name, engine in self._read(
            f"SELECT table_schema, table_name, engine FROM information_schema.tables WHERE {self._which()} "
            f"AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND table_name <> '{LOCK}' ORDER BY table_name"
        ):
            self.place = f"{my_quote(place)}."
            self.parts[self.table_key(name)] = Parts(name, options={"engine": str(engine)})
        if self.prints:
            for parts in self.parts.values():
                parts.printed = self._here(self.rows(f"SHOW CREATE TABLE {my_quote(parts.name)}")[0][1])

    def _here(self, text: Any) -> str:
        """Leave out the name of the database."""
        return str(text).replace(self.place, "")

    def read_columns(self) -> None:
        """Read the columns, but the flags of partial uniques, which show as the index's condition."""
        for table, name, null, kind, default, extra, collation, generated in self._read(
            "SELECT table_name, column_name, is_nullable, column_type, column_default, extra, collation_name, "
            f"generation_expression FROM information_schema.columns WHERE {self._which()} "
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
            for told in OPTIONS.finditer(extra):
                parts.options[f"{told[1] or told[3]} of {key}"] = told[2] or "yes"
            how = "STORED" if "stored" in extra or "persistent" in extra else "VIRTUAL"
            parts.columns[key] = Column(
                name,
                mysql_type(kind),
                null == "YES",
                None if generated else self._default(default, extra, kind),
                collation,
                f"({self._here(generated)}) {how}" if generated else None,
            )

    def _default(self, default: Any, extra: str, kind: str) -> str | None:
        """Return a default as SQL: MariaDB keeps it so, MySQL keeps the bare value of a literal."""
        if default is None or (self.is_mariadb and str(default).upper() == "NULL"):
            return None
        text = self._here(default)
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
            clause = self._here(clause)
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
            parts.texts[name] = self._index_text(parts, name, where)

    def _index_text(self, parts: Parts, name: str, where: str | None) -> str:
        """Write what adds an index as it was printed, with the flag of a partial one."""
        printed = Definition.of(parts.printed)
        key = printed.key(fold(name)) if printed else None
        if printed is None or key is None:
            return ""
        flag = None if where is None else printed.line(fold(flag_of(name)))
        column = "ADD COLUMN IF NOT EXISTS" if self.is_mariadb else "ADD COLUMN"  # it may have lost its index only
        adding = f"{column} {flag}, ADD {key}" if flag else f"ADD {key}"
        return f"ALTER TABLE {my_quote(parts.name)} {adding}"

    def read_triggers(self) -> None:
        """Read the triggers, each as its maker wrote it: information_schema shows a body without its backslashes."""
        modes, user = self.rows("SELECT @@sql_mode, CURRENT_USER()")[0]
        for table, name, timing, event in self._read(
            "SELECT event_object_table, trigger_name, action_timing, event_manipulation "
            f"FROM information_schema.triggers WHERE {self._which('event_object_table', 'trigger_schema')} "
            "ORDER BY event_object_table, action_order"  # in which they fire, and are made again
        ):
            parts = self.of(table)
            if parts is None:
                continue
            _, mode, text, *_ = self.rows(f"SHOW CREATE TRIGGER {my_quote(name)}")[0]
            text = self._here(text)
            written = WRITTEN.match(text)
            body = text[written.end() :].strip() if written else text
            reads = READING & set(str(mode).split(","))
            parts.triggers[fold(name)] = " ".join([timing, event, body, *sorted(reads)])
            if written and written[1] and re.sub("[`\"']", "", written[1]) == user:
                text = text[: written.start(1) - len("DEFINER=")] + text[written.end(1) :].lstrip()
            parts.texts[name] = text
            if mode != modes:
                parts.modes[name] = str(mode)


def _no_action(rule: str) -> str:
    """RESTRICT and NO ACTION are one thing in InnoDB: https://mariadb.com/kb/en/foreign-keys/."""
    return "NO ACTION" if rule == "RESTRICT" else rule


def _is_automatic(parts: Parts, name: str, columns: tuple[str, ...]) -> bool:
    """Tell an index that InnoDB made for a foreign key that had none: named after the key or its first column."""
    return any(
        key.columns == columns and fold(name) in (fold(parts.names[key]), columns[0]) for key in parts.foreign_keys
    )

"""The schema of a PostgreSQL or CockroachDB database, read from its catalogs."""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import nullcontext
from typing import Any

from framework_schema.server_snapshot import Parts, Reader, pg_quote
from framework_schema.snapshot import Column, ForeignKey, Index

CAST_LITERAL = re.compile(r"('(?:[^']|'')*')::[\w ]+(?:\(\d+\))?")
"""A literal with the cast that PostgreSQL writes behind it."""

ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


class PostgresReader(Reader):
    """Reads ``pg_catalog`` (https://www.postgresql.org/docs/current/catalogs.html)."""

    HERE = "n.nspname = current_schema()"

    def rows(self, sql: str, *params: Any) -> list[Any]:
        """Run a query, which is the same for every table."""
        with getattr(self.database, "preparing", nullcontext)():
            return super().rows(sql, *params)

    @property
    def _asked(self) -> tuple[str, ...]:
        return () if self.only is None else (self.only,)

    def _which(self, alias: str = "c") -> str:
        # Spelt out for one table: with "all, or this one" in it the server would not look it up in its index.
        return f"{self.HERE} AND {alias}.relname = {self.database.param}" if self.only else self.HERE

    def read_tables(self) -> None:
        """Find ordinary and partitioned tables, without those of extensions."""
        for (name,) in self.rows(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {self._which()} AND NOT EXISTS "
            "(SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY c.relname",
            *self._asked,
        ):  # fmt: skip
            self.parts[name] = Parts(name)

    def read_columns(self) -> None:
        """Read types as ``format_type`` writes them; a serial and an identity are one thing."""
        for table, name, kind, not_null, default, identity, generated, collation, comment in self.rows(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
            "pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, "
            "CASE WHEN a.attcollation <> t.typcollation THEN l.collname END, col_description(c.oid, a.attnum) "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
            "JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation l ON l.oid = a.attcollation "
            "LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
            f"WHERE c.relkind IN ('r', 'p') AND {self._which()} ORDER BY c.relname, a.attnum",
            *self._asked,
        ):  # fmt: skip
            parts = self.of(table)
            if parts is None:
                continue
            is_auto = bool(identity) or str(default or "").startswith(("nextval(", "unique_rowid("))
            if is_auto:
                parts.auto = name
            canonical = None if is_auto or generated else _plain(default)
            parts.columns[name] = Column(
                name, kind, not not_null, canonical, collation, f"({default}) STORED" if generated else None
            )
            if comment:
                parts.comments[name] = comment

    def read_constraints(self) -> None:
        """Read ``pg_constraint``; one that was never validated counts as not there."""
        for table, name, kind, valid, columns, to, to_columns, on_delete, on_update, check in self.rows(
            "SELECT c.relname, k.conname, k.contype, k.convalidated, "
            "ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, o) "
            "JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o), "
            "CASE WHEN f.relnamespace = c.relnamespace THEN f.relname::text "
            "ELSE f.relnamespace::regnamespace || '.' || f.relname END, "
            "ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, o) "
            "JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.o), "
            "k.confdeltype, k.confupdtype, pg_get_expr(k.conbin, k.conrelid) "
            "FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_class f ON f.oid = k.confrelid "
            f"WHERE k.contype IN ('p', 'u', 'f', 'c') AND {self._which()} ORDER BY c.relname, k.conname",
            *self._asked,
        ):  # fmt: skip
            parts = self.of(table)
            if parts is None:
                continue
            if kind == "p":
                parts.primary_key = tuple(columns)
                parts.names["primary key"] = name
            elif kind == "u":
                parts.uniques[frozenset(columns)] = name
                parts.names[frozenset(columns)] = name
            elif kind == "f":
                key = ForeignKey(tuple(columns), to, tuple(to_columns), _action(on_delete), _action(on_update))
                parts.foreign_keys.append(key)
                self._named(parts, key, name, valid)
            else:
                parts.checks.append(check)
                self._named(parts, check, name, valid)

    @staticmethod
    def _named(parts: Parts, what: Any, name: str, valid: bool) -> None:
        parts.names[what] = name
        if not valid:
            parts.invalid.add(what)

    def read_indexes(self) -> None:
        """Read ``pg_index``; an index that a failed CONCURRENTLY left invalid is none."""
        found: dict[tuple[str, str], list[Any]] = defaultdict(list)
        # For one table the server looks its columns up one by one, for all of them it reads them once.
        column = "(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = x.indkey[p.place - 1])"
        joined = "LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[p.place - 1] "
        for table, name, *rest in self.rows(
            "SELECT c.relname, i.relname, x.indisunique, m.amname, pg_get_expr(x.indpred, x.indrelid, true), "
            f"{column if self.only else 'a.attname'}, CASE WHEN x.indkey[p.place - 1] = 0 THEN "
            "pg_get_indexdef(x.indexrelid, p.place, true) END, x.indoption[p.place - 1] & 1 "
            "FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam "
            f"CROSS JOIN generate_series(1, x.indnkeyatts) AS p(place) {'' if self.only else joined}"
            f"WHERE NOT x.indisprimary AND x.indisvalid AND {self._which()} "
            "AND NOT EXISTS (SELECT 1 FROM pg_constraint k "
            "WHERE k.conindid = x.indexrelid AND k.conrelid = c.oid AND k.contype IN ('u', 'x')) "
            "ORDER BY c.relname, i.relname, p.place",
            *self._asked,
        ):  # fmt: skip
            found[table, name].append(rest)
        for (table, name), columns in found.items():
            parts = self.of(table)
            if parts is None:
                continue
            unique, method, where = columns[0][:3]
            plain = all(column is not None for *_, column, _, _ in columns)
            if unique and plain and where is None:
                parts.uniques.setdefault(frozenset(column for *_, column, _, _ in columns), name)
                continue
            labels = [(column or f"({text})") + (" DESC" if down else "") for *_, column, text, down in columns]
            if method != "btree":
                labels.append(f"USING {method}")
            parts.indexes[name] = Index(name, tuple(labels), unique, where)
            parts.texts[name] = self._index_text(table, name, unique, method, where, columns)

    def _index_text(self, table: str, name: str, unique: bool, method: str, where: Any, columns: list[Any]) -> str:
        terms = [
            (pg_quote(column) if column is not None else f"({text})") + (" DESC" if down else "")
            for *_, column, text, down in columns
        ]
        return (
            f"CREATE {'UNIQUE ' if unique else ''}INDEX {pg_quote(name)} ON {pg_quote(table)} USING {method} "
            f"({', '.join(terms)})" + (f" WHERE {where}" if where else "")
        )

    def read_triggers(self) -> None:
        """Read triggers with the source of the function each calls."""
        for table, name, text, function, source, language in self.rows(
            "SELECT c.relname, g.tgname, pg_get_triggerdef(g.oid, true), f.proname, f.prosrc, l.lanname "
            "FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_proc f ON f.oid = g.tgfoid JOIN pg_language l ON l.oid = f.prolang "
            f"WHERE NOT g.tgisinternal AND {self._which()}",
            *self._asked,
        ):  # fmt: skip
            parts = self.of(table)
            if parts is not None:
                parts.triggers[name] = f"{text} {language} {source}"
                parts.texts[name] = (
                    f"CREATE OR REPLACE FUNCTION {pg_quote(function)}() RETURNS trigger LANGUAGE {language} "
                    f"AS $framework_schema${source}$framework_schema$; {text}"
                )


def _plain(default: str | None) -> str | None:
    """Leave out the cast behind a literal: a column's type says it."""
    match = CAST_LITERAL.fullmatch(default or "")
    if match:
        return match[1]
    return None if default is None or default.upper().startswith("NULL::") else default


def _action(code: Any) -> str:
    return ACTIONS[code.decode() if isinstance(code, bytes) else str(code)]

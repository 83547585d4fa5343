"""The schema of a PostgreSQL or CockroachDB database, read from its catalogs.

What the server can print is asked for (``pg_get_indexdef`` and its kin), never
composed from parts: what we do not know of would be lost. What a snapshot has
no word for is carried as that text. See
https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-CATALOG
"""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from framework_schema.postgres_objects import read_objects, without_schema
from framework_schema.postgres_texts import FOREIGN_KEY_MORE, NAMES_TAKEN, CarriedParts, literal
from framework_schema.server_snapshot import Parts, Reader, ServerIndex, pg_quote
from framework_schema.snapshot import Carried, Column, ForeignKey, Snapshot

CAST_LITERAL = re.compile(r"('(?:[^']|'')*')::[\w ]+(?:\(\d+\))?")
"""A literal with the cast that PostgreSQL writes behind it."""

ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


class PostgresReader(Reader):
    """Reads ``pg_catalog`` (https://www.postgresql.org/docs/current/catalogs.html)."""

    HERE = "n.nspname = current_schema()"

    def read(self, structural: bool, *, prints: bool = False) -> Snapshot:
        """Return the snapshot; of one table only what operations ask for."""
        found = super().read(structural, prints=prints)
        if self.only:
            return found
        is_cockroach = "Cockroach" in type(self.database).__name__
        objects = {} if is_cockroach else read_objects(self.rows)
        taken = frozenset(name for (name,) in self.rows(NAMES_TAKEN))
        return replace(found, objects=objects, names=taken)

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
        """Find ordinary and partitioned tables, without those of extensions and without partitions."""
        for (name,) in self.rows(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {self._which()} AND NOT EXISTS "
            "(SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass "
            "AND d.deptype = 'e') ORDER BY c.relname",
            *self._asked,
        ):  # fmt: skip
            self.parts[name] = Parts(name)

    def read_columns(self) -> None:
        """Read types as ``format_type`` writes them; a serial and an identity are one thing.

        A default that counts with a sequence of several columns is no serial.
        """
        for table, name, kind, not_null, default, identity, generated, collation, comment, shared in self.rows(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
            "pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, "
            "CASE WHEN a.attcollation <> t.typcollation THEN l.collname END, col_description(c.oid, a.attnum), "
            f"CASE WHEN left(pg_get_expr(d.adbin, d.adrelid), 8) = 'nextval(' THEN {SHARED} END "
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
            counts = str(default or "").startswith(("nextval(", "unique_rowid(")) and not shared
            if identity or counts:
                parts.auto = parts.auto or name
                parts.counts.add(name)
            if _text(identity) == "a":
                parts.carried[f"identity {name}"] = _always(table, name)
            canonical = None if identity or counts or generated else _plain(default)
            parts.columns[name] = Column(
                name, kind, not not_null, canonical, collation, f"({default}) STORED" if generated else None
            )
            if comment:
                parts.comments[name] = comment

    def read_constraints(self) -> None:
        """Read ``pg_constraint``; one that was never validated counts as not there.

        Keys and uniques with a further word (DEFERRABLE, INCLUDE, NULLS NOT
        DISTINCT) and exclusions are carried.
        """
        for table, name, kind, valid, columns, to, to_columns, on_delete, on_update, check, text, plain in self.rows(
            "SELECT c.relname, k.conname, k.contype, k.convalidated, "
            "ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, o) "
            "JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o), "
            "CASE WHEN f.relnamespace = c.relnamespace THEN f.relname::text "
            "ELSE f.relnamespace::regnamespace || '.' || f.relname END, "
            "ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, o) "
            "JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.o), "
            "k.confdeltype, k.confupdtype, pg_get_expr(k.conbin, k.conrelid), pg_get_constraintdef(k.oid, true), "
            "(SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.o) "
            "FROM unnest(k.conkey) WITH ORDINALITY u(n, o) "
            "JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n) "
            "FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_class f ON f.oid = k.confrelid "
            f"WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND {self._which()} ORDER BY c.relname, k.conname",
            *self._asked,
        ):  # fmt: skip
            parts = self.of(table)
            if parts is None:
                continue
            kind = _text(kind)
            if kind == "p":
                parts.primary_key = tuple(columns)
                parts.names["primary key"] = name
                parts.definitions["primary key"] = text
                if text != f"PRIMARY KEY ({plain})":
                    parts.carried[f"key {', '.join(columns)}"] = Carried(text)
            elif kind == "u" and text == f"UNIQUE ({plain})":
                parts.uniques[frozenset(columns)] = name
                parts.names[frozenset(columns)] = name
            elif kind in "ux":
                parts.carried[f"constraint {text}"] = _constraint(table, name, text)
            elif kind == "f":
                key = ForeignKey(tuple(columns), to, tuple(to_columns), _action(on_delete), _action(on_update))
                parts.foreign_keys.append(key)
                parts.definitions[key] = text
                self._named(parts, key, name, valid)
                more = FOREIGN_KEY_MORE.search(text)
                if more:
                    parts.carried[f"reference {', '.join(columns)}"] = _reference(table, name, text, more[0].strip())
            else:
                parts.checks.append(check)
                parts.definitions[check] = text
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
            "SELECT c.relname, i.relname, x.indisunique, pg_get_expr(x.indpred, x.indrelid, true), "
            "CASE WHEN p.place = 1 THEN pg_get_indexdef(x.indexrelid) END, "
            "quote_ident(n.nspname) || '.' || quote_ident(c.relname), "
            f"{column if self.only else 'a.attname'}, CASE WHEN x.indkey[p.place - 1] = 0 THEN "
            "pg_get_indexdef(x.indexrelid, p.place, true) END, x.indoption[p.place - 1] & 1, "
            f"quote_ident({column if self.only else 'a.attname'}) "
            "FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_class i ON i.oid = x.indexrelid "
            f"CROSS JOIN generate_series(1, x.indnkeyatts) AS p(place) {'' if self.only else joined}"
            f"WHERE NOT x.indisprimary AND x.indisvalid AND {self._which()} "
            "AND NOT EXISTS (SELECT 1 FROM pg_constraint k "
            "WHERE k.conindid = x.indexrelid AND k.conrelid = c.oid AND k.contype IN ('u', 'x')) "
            "ORDER BY c.relname, i.relname, p.place",
            *self._asked,
        ):  # fmt: skip
            found[table, name].append(rest)
        for (table, name), places in found.items():
            parts = self.of(table)
            if parts is not None:
                self._index(parts, table, name, places)

    def _index(self, parts: Parts, table: str, name: str, places: list[Any]) -> None:
        """Keep an index by its columns, and what else the server prints of it as it is printed."""
        unique, where, text, place = places[0][:4]
        printed = text.partition(f" ON ONLY {place} ")[2] or text.partition(f" ON {place} ")[2]
        columns = [column for *_, column, _, _, _ in places]
        keys = [quoted or f"({expression})" for *_, expression, _, quoted in places]
        if unique and all(columns) and printed == f"USING btree ({', '.join(keys)})":
            parts.uniques.setdefault(frozenset(columns), name)
            return
        terms = [key + (" DESC" if down else "") for key, (*_, down, _) in zip(keys, places, strict=True)]
        labels = [
            (column or f"({expression})") + (" DESC" if down else "") for *_, column, expression, down, _ in places
        ]
        plain = f"USING btree ({', '.join(terms)})" + (f" WHERE {where}" if where else "")
        is_plain = all(columns) and _bare(printed) == _bare(plain)
        labels += [] if is_plain else [printed]
        parts.indexes[name] = ServerIndex(
            name, tuple(labels), unique, where, printed, tuple(keys), "NULLS NOT DISTINCT" in printed
        )
        parts.texts[name] = f"CREATE {'UNIQUE ' if unique else ''}INDEX {pg_quote(name)} ON {pg_quote(table)} {printed}"

    def read_triggers(self) -> None:
        """Read triggers with the function each calls, and what else a table carries."""
        for table, name, text, enabled, function, definition, comment in self.rows(
            "SELECT c.relname, g.tgname, pg_get_triggerdef(g.oid, true), g.tgenabled, "
            "f.proname, CASE WHEN f.pronamespace = n.oid AND l.lanname NOT IN ('c', 'internal') "
            "THEN pg_get_functiondef(f.oid) END, "
            "obj_description(g.oid, 'pg_trigger') "
            "FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_proc f ON f.oid = g.tgfoid JOIN pg_language l ON l.oid = f.prolang "
            f"WHERE NOT g.tgisinternal AND {self._which()}",
            *self._asked,
        ):  # fmt: skip
            parts = self.of(table)
            if parts is None:
                continue
            state = ENABLED.get(_text(enabled))
            stated = f"ALTER TABLE {pg_quote(table)} {state} TRIGGER {pg_quote(name)}" if state else ""
            called = without_schema(definition) if definition else ""
            does = re.sub(r'\ACREATE (CONSTRAINT )?TRIGGER (?:"(?:[^"]|"")*"|\S+)', r"\1TRIGGER", text)
            parts.triggers[name] = " ".join(filter(None, (does, state, called)))
            if called:
                parts.functions[name] = (f"function {function}()", called)
            said = f"COMMENT ON TRIGGER {pg_quote(name)} ON {pg_quote(table)} IS {literal(comment)}" if comment else ""
            parts.texts[name] = "; ".join(filter(None, (text, stated, said)))
        if not self.only and "Cockroach" not in type(self.database).__name__:
            CarriedParts(self.rows, self.of).read()


SHARED = (
    "EXISTS (SELECT 1 FROM pg_depend one JOIN pg_class s ON s.oid = one.refobjid AND s.relkind = 'S' "
    "JOIN pg_depend other ON other.refclassid = one.refclassid AND other.refobjid = one.refobjid "
    "AND other.classid = one.classid AND other.objid <> one.objid WHERE one.classid = 'pg_attrdef'::regclass "
    "AND one.objid = d.oid AND one.refclassid = 'pg_class'::regclass)"
)
"""Whether another column's default counts with the same sequence."""

ENABLED = {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


def _always(table: str, name: str) -> Carried:
    change = f"ALTER TABLE {pg_quote(table)} ALTER COLUMN {pg_quote(name)} SET GENERATED"
    return Carried("GENERATED ALWAYS", (f"{change} ALWAYS",), (f"{change} BY DEFAULT",))


def _constraint(table: str, name: str, text: str) -> Carried:
    change = f"ALTER TABLE {pg_quote(table)}"
    return Carried(
        text, (f"{change} ADD CONSTRAINT {pg_quote(name)} {text}",), (f"{change} DROP CONSTRAINT {pg_quote(name)}",)
    )


def _reference(table: str, name: str, text: str, more: str) -> Carried:
    made = _constraint(table, name, text)
    return Carried(more, (*made.drop, *made.make))


def _bare(printed: str) -> str:
    """Leave out the parentheses around a condition, which the two ways of printing it set differently."""
    head, where, condition = printed.partition(" WHERE ")
    return head + where + re.sub(r"[()\s]", "", condition)


def _plain(default: str | None) -> str | None:
    """Leave out the cast behind a literal: a column's type says it."""
    match = CAST_LITERAL.fullmatch(default or "")
    if match:
        return match[1]
    return None if default is None or default.upper().startswith("NULL::") else default


def _text(code: Any) -> str:
    return code.decode() if isinstance(code, bytes) else str(code or "")


def _action(code: Any) -> str:
    return ACTIONS[_text(code)]

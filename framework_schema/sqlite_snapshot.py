"""The schema of a SQLite database, read from ``sqlite_master`` and the PRAGMAs.

What a table is depends on nothing but its statement and those of its indexes
and triggers, so a table of the same texts is read once a process: the databases
of a fleet, a script's operations and the schema that is expected have most in common.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import peewee as pw

from framework_schema import ddl
from framework_schema.snapshot import VIRTUAL, Column, ForeignKey, Index, Snapshot, Table

Texts = tuple[tuple[str, str, str | None], ...]
"""What ``sqlite_master`` holds for one table: type, name and statement of itself and all that is on it."""

MOST = 4096
"""Tables that are remembered; then it begins anew."""
FEW = 32
"""Tables that are asked for by name; more are read with all others, which SQLite does at once."""
DESC = re.compile(r"\bDESC\b", re.I)
"""What an old file format does not heed, so that the texts do not tell (https://www.sqlite.org/fileformat2.html#schema_format)."""
USUAL = "m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND m.sql NOT LIKE 'create virtual%'"

_known: dict[tuple[Texts, bool], Table] = {}
"""The memory of a pure function; a value that is here is never changed."""


def of_database(database: pw.SqliteDatabase, *, structural: bool = False, table: str | None = None) -> Snapshot:
    """Read the schema of a live database, or of one table of it; writes nothing.

    Without ``structural`` it reads what additive alignment needs: tables,
    columns, uniques, indexes, triggers. With it also defaults in canonical
    form, CHECKs, foreign keys, collations and the rest, which on SQLite stand
    only in the text of the statements.
    """
    # Texts and tables of one state: else what another process changed in between is remembered wrongly.
    with nullcontext() if database.connection().in_transaction else database.atomic():
        return _read(database, structural, table)


def _read(database: pw.SqliteDatabase, structural: bool, table: str | None) -> Snapshot:
    where, params = ("", ()) if table is None else (" WHERE tbl_name = ? COLLATE NOCASE", (table,))
    master = database.execute_sql(f"SELECT type, name, tbl_name, sql FROM sqlite_master{where}", params).fetchall()
    of_table: dict[str, list[tuple[str, str, str | None]]] = defaultdict(list)
    names = []
    for kind, name, owner, sql in master:
        of_table[ddl.fold(owner)].append((kind, name, sql))  # a trigger names its table as its author did
        if kind == "table" and not name.lower().startswith("sqlite_"):
            names.append(name)
    texts = {name: tuple(of_table[ddl.fold(name)]) for name in names}
    tables = _remembered(database, texts, structural)
    return Snapshot(
        {ddl.fold(name): tables[name] for name in names},
        frozenset(views := [name for kind, name, _, _ in master if kind == "view"]),
        frozenset(ddl.fold(name) for view in views for kind, name, _ in of_table[ddl.fold(view)] if kind == "trigger"),
    )


def _remembered(database: pw.SqliteDatabase, texts: Mapping[str, Texts], structural: bool) -> dict[str, Table]:
    """Return these tables, and read those whose texts have not been met."""
    found = {}
    unknown = {}
    for name, own in texts.items():
        table = _known.get((own, structural))
        if table is None:
            unknown[name] = own
        else:
            found[name] = table
    if unknown:
        found |= _Reader(database, unknown, structural).tables()
        if len(_known) > MOST:
            _known.clear()
        for name, own in unknown.items():
            if not found[name].unreadable and not any(DESC.search(sql or "") for _, _, sql in own):
                _known[own, structural] = found[name]
    return found


class _Reader:
    """Reads some tables with the table-valued PRAGMAs, a handful of queries for all of them."""

    def __init__(self, database: pw.SqliteDatabase, texts: Mapping[str, Texts], structural: bool) -> None:
        self.database, self.texts, self.structural = database, texts, structural
        self.names: Sequence[str] = tuple(texts) if len(texts) <= FEW else ()
        self.filter = f" AND m.name IN ({', '.join('?' * len(self.names))})" if self.names else ""

    def tables(self) -> dict[str, Table]:
        """Read them, by their names as they are written."""
        columns, indexes = self._columns(), self._indexes()
        keys = self._foreign_keys() if self.structural else {}
        found = {}
        for name, own in self.texts.items():
            sql = _statement(own, "table", name)
            if name not in columns:
                found[name] = Table(name, {}, sql=sql, unreadable=VIRTUAL)
                continue
            uniques, named = indexes[name]
            table = Table(
                name,
                columns[name][0],
                columns[name][1],
                frozenset(uniques),
                frozenset(keys.get(name, ())),
                named,
                {ddl.fold(trigger): ddl.trigger_action(text or "") for kind, trigger, text in own if kind == "trigger"},
                is_structural=self.structural,
                sql=sql,
                texts=_texts_beside(own),
                unique_names=uniques,
            )
            found[name] = _with_text(table) if self.structural else table
        return found

    def _columns(self) -> dict[str, tuple[dict[str, Column], tuple[str, ...]]]:
        rows = self._rows(
            'SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk FROM sqlite_master m, '
            f"pragma_table_xinfo(m.name, 'main') c WHERE {USUAL}{self.filter} ORDER BY m.name, c.cid"
        )
        found: dict[str, tuple[dict[str, Column], dict[int, str]]] = defaultdict(lambda: ({}, {}))
        for table, name, kind, not_null, default, pk in rows:
            columns, key = found[table]
            canonical = ddl.normalise_default(default) if self.structural and default is not None else default
            kind = " ".join(kind.upper().split())
            # Only an INTEGER key refuses NULL by itself: https://www.sqlite.org/lang_createtable.html#the_primary_key
            columns[ddl.fold(name)] = Column(name, kind, not not_null and not (pk and kind == "INTEGER"), canonical)
            if pk:
                key[pk] = ddl.fold(name)
        return {table: (columns, tuple(key[n] for n in sorted(key))) for table, (columns, key) in found.items()}

    def _indexes(self) -> dict[str, tuple[dict[frozenset[str], str], dict[str, Index]]]:
        rows = self._rows(
            'SELECT m.name, i.name, i."unique", i.origin, i.partial, x.name, x."desc", x.coll FROM sqlite_master m, '
            "pragma_index_list(m.name, 'main') i, pragma_index_xinfo(i.name, 'main') x "
            f"WHERE {USUAL} AND x.key = 1{self.filter} ORDER BY m.name, i.name, x.seqno"
        )
        parts: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for table, index, unique, origin, partial, column, descending, collation in rows:
            parts[table, index].append((unique, origin, partial, column, descending, collation))
        found: dict[str, tuple[dict[frozenset[str], str], dict[str, Index]]] = defaultdict(lambda: ({}, {}))
        for (table, name), columns in parts.items():
            unique, origin, partial = columns[0][:3]
            plain = all(column is not None for *_, column, _, _ in columns)
            if origin == "pk":
                continue
            if unique and plain and not partial:
                found[table][0][frozenset(_collated(column, collation) for *_, column, _, collation in columns)] = name
                continue
            expressions = any(column is None for *_, column, _, _ in columns)
            text = _statement(self.texts.get(table, ()), "index", name)
            parsed = ddl.parse_index(text) if text and (partial or expressions) else None
            labels = []
            for place, (*_, column, descending, collation) in enumerate(columns):
                expression = parsed.columns[place].expression if parsed else "?"
                label = _collated(column, collation) if column is not None else expression
                labels.append(label + (" DESC" if descending else ""))
            where = parsed.where if parsed and partial else None
            found[table][1][ddl.fold(name)] = Index(name, tuple(labels), bool(unique), where)
        return found

    def _foreign_keys(self) -> dict[str, list[ForeignKey]]:
        rows = self._rows(
            'SELECT m.name, f.id, f."table", f."from", f."to", f.on_update, f.on_delete FROM sqlite_master m, '
            f"pragma_foreign_key_list(m.name, 'main') f WHERE {USUAL}{self.filter} ORDER BY m.name, f.id, f.seq"
        )
        parts: dict[tuple[str, int], list[Any]] = defaultdict(list)
        for table, number, *rest in rows:
            parts[table, number].append(rest)
        found: dict[str, list[ForeignKey]] = defaultdict(list)
        for (table, _), columns in parts.items():
            to, _, _, on_update, on_delete = columns[0]
            found[table].append(
                ForeignKey(
                    tuple(ddl.fold(column[1]) for column in columns),
                    ddl.fold(to),
                    tuple(ddl.fold(column[2]) for column in columns if column[2] is not None),
                    on_delete.upper(),
                    on_update.upper(),
                )
            )
        return found

    def _rows(self, sql: str) -> list[Any]:
        rows: list[Any] = self.database.execute_sql(sql, self.names).fetchall()
        return rows


def _collated(column: str, collation: str) -> str:
    """Name a column of an index, with the collation that it is compared by, unless that is byte for byte."""
    return ddl.fold(column) + ("" if collation.upper() == "BINARY" else f" COLLATE {collation.upper()}")


def _statement(own: Texts, kind: str, name: str) -> str:
    return next((sql or "" for its_kind, its_name, sql in own if (its_kind, its_name) == (kind, name)), "")


def _texts_beside(own: Texts) -> dict[str, str]:
    """Return the statements of a table's indexes and triggers by name."""
    return {name: sql for kind, name, sql in own if sql and kind in ("index", "trigger")}


def _with_text(table: Table) -> Table:
    """Add what only the CREATE statement tells; a statement we cannot parse says so."""
    try:
        parsed = ddl.parse_table(table.sql)
    except ddl.DDLError as error:
        return replace(table, unreadable=str(error))
    columns = dict(table.columns)
    for definition in parsed.columns:
        name = ddl.fold(definition.name)
        columns[name] = replace(columns[name], collation=definition.collation, generated=definition.generated)
    return replace(
        table,
        columns=columns,
        checks=frozenset(parsed.checks),
        autoincrement=parsed.autoincrement,
        strict=parsed.strict,
        without_rowid=parsed.without_rowid,
    )

"""A schema as values, in one shape for a live database and for the expected one."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import peewee as pw

from framework_schema import ddl


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``default`` is canonical text: equal for all ways to write one value."""

    name: str
    type: str
    null: bool = True
    default: str | None = None
    collation: str | None = None
    generated: str | None = None


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key with its actions; names are case-folded."""

    columns: tuple[str, ...]
    table: str
    to_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"


@dataclass(frozen=True, slots=True)
class Index:
    """A named index that is more than a plain unique one.

    ``columns`` hold the column, or the canonical text of an expression, with
    ``DESC`` and ``COLLATE`` behind it where it has them.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    where: str | None = None


@dataclass(frozen=True)
class Table:
    """One table and all that belongs to it.

    ``uniques`` are the sets of columns no two rows may share, whether written
    inline, as a constraint of the table or as an index; ``unique_names`` tells
    which index holds one. ``sql`` is the text that made the table, where the
    engine keeps it; ``texts`` that of its indexes and triggers by name. What
    ``is_structural`` covers is read only on request and empty otherwise.
    """

    name: str
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...] = ()
    uniques: frozenset[frozenset[str]] = frozenset()
    foreign_keys: frozenset[ForeignKey] = frozenset()
    indexes: Mapping[str, Index] = field(default_factory=dict)
    triggers: Mapping[str, str] = field(default_factory=dict)
    checks: frozenset[str] = frozenset()
    autoincrement: bool = False
    strict: bool = False
    without_rowid: bool = False
    is_structural: bool = False
    unreadable: str | None = None
    sql: str = field(default="", compare=False, repr=False)
    texts: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    unique_names: Mapping[frozenset[str], str] = field(default_factory=dict, compare=False, repr=False)

    def facts(self) -> Iterator[str]:
        """Yield all that makes this table what it is, as sorted lines; column order is no fact."""
        yield f"table {self.name} {self.primary_key} {self.autoincrement} {self.strict} {self.without_rowid}"
        yield from sorted(map(repr, self.columns.values()))
        yield from sorted(f"unique {sorted(unique)}" for unique in self.uniques)
        yield from sorted(map(repr, self.foreign_keys))
        yield from sorted(map(repr, self.indexes.values()))
        yield from sorted(f"check {check}" for check in self.checks)
        yield from sorted(f"trigger {name} {text}" for name, text in self.triggers.items())


@dataclass(frozen=True)
class Snapshot:
    """All tables of one database, by case-folded name, and the names of its views."""

    tables: Mapping[str, Table]
    views: frozenset[str] = frozenset()

    @property
    def is_structural(self) -> bool:
        """Whether the rules of the tables were read too."""
        return any(table.is_structural for table in self.tables.values())

    def within(self, expected: Snapshot) -> Snapshot:
        """Return the part that the expected schema speaks of, without what is extra."""
        tables = {
            name: _within(self.tables[name], table) for name, table in expected.tables.items() if name in self.tables
        }
        return Snapshot(tables)

    @property
    def digest(self) -> str:
        """Hash every fact; equal for two databases of the same schema, whatever their past."""
        lines = [line for name in sorted(self.tables) for line in self.tables[name].facts()]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _within(live: Table, expected: Table) -> Table:
    extra = live.columns.keys() - expected.columns.keys()
    known = expected.columns.keys()
    return replace(
        live,
        name=expected.name,
        columns={name: column for name, column in live.columns.items() if name in known},
        uniques=frozenset(u for u in live.uniques if u <= known and u != frozenset(live.primary_key)),
        foreign_keys=frozenset(key for key in live.foreign_keys if known >= set(key.columns)),
        indexes={name: index for name, index in live.indexes.items() if name in expected.indexes},
        triggers={name: text for name, text in live.triggers.items() if name in expected.triggers},
        checks=frozenset(c for c in live.checks if not any(ddl.mentions(c, name) for name in extra)),
    )


def of_database(database: pw.Database, *, structural: bool = False, table: str | None = None) -> Snapshot:
    """Read the schema of a live database, or of one table of it; writes nothing.

    Without ``structural`` it reads what additive alignment needs: tables,
    columns, uniques, indexes, triggers. With it also defaults in canonical
    form, CHECKs, foreign keys, collations and the rest, which on SQLite stand
    only in the text of the statements.
    """
    if not isinstance(database, pw.SqliteDatabase):
        raise NotImplementedError(f"no snapshot of {type(database).__name__} yet")
    return _Sqlite(database, table).read(structural)


class _Sqlite:
    """Reads ``sqlite_master`` and the table-valued PRAGMAs, a handful of queries for all tables."""

    def __init__(self, database: pw.SqliteDatabase, table: str | None = None) -> None:
        self.database = database
        self.filter = "" if table is None else " AND m.tbl_name = :table COLLATE NOCASE"
        self.params = {} if table is None else {"table": table}

    def read(self, structural: bool) -> Snapshot:
        master = self._rows(f"SELECT type, name, tbl_name, sql FROM sqlite_master m WHERE 1{self.filter}")
        names = {
            name: sql or ""
            for kind, name, _, sql in master
            if kind == "table" and not name.lower().startswith("sqlite_")
        }
        virtual = {name for name, sql in names.items() if sql[:40].upper().split()[:2] == ["CREATE", "VIRTUAL"]}
        texts: dict[str, dict[str, str]] = defaultdict(dict)
        triggers: dict[str, dict[str, str]] = defaultdict(dict)
        for kind, name, table, sql in master:
            if sql and kind in ("index", "trigger"):
                texts[ddl.fold(table)][name] = sql
            if kind == "trigger":
                triggers[ddl.fold(table)][ddl.fold(name)] = ddl.normalise(sql)
        columns = self._columns(structural)
        indexes = self._indexes(texts, structural)
        keys = self._foreign_keys() if structural else {}
        tables = {}
        for name, sql in names.items():
            folded = ddl.fold(name)
            if name in virtual or folded not in columns:
                tables[folded] = Table(name, {}, sql=sql, unreadable="virtual table")
                continue
            table = Table(
                name,
                columns[folded][0],
                columns[folded][1],
                frozenset(unique for unique in indexes[folded][0]),
                frozenset(keys.get(folded, ())),
                indexes[folded][1],
                triggers[folded],
                is_structural=structural,
                sql=sql,
                texts=texts[folded],
                unique_names=indexes[folded][0],
            )
            tables[folded] = _with_text(table) if structural else table
        return Snapshot(tables, frozenset(name for kind, name, _, _ in master if kind == "view"))

    def _columns(self, structural: bool) -> dict[str, tuple[dict[str, Column], tuple[str, ...]]]:
        rows = self._rows(
            'SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk FROM sqlite_master m, '
            "pragma_table_xinfo(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
            f"AND m.sql NOT LIKE 'create virtual%'{self.filter} ORDER BY m.name, c.cid"
        )
        found: dict[str, tuple[dict[str, Column], dict[int, str]]] = defaultdict(lambda: ({}, {}))
        for table, name, kind, not_null, default, pk in rows:
            columns, key = found[ddl.fold(table)]
            canonical = ddl.normalise_default(default) if structural and default is not None else default
            kind = " ".join(kind.upper().split())
            # Only an INTEGER key refuses NULL by itself: https://www.sqlite.org/lang_createtable.html#the_primary_key
            columns[ddl.fold(name)] = Column(name, kind, not not_null and not (pk and kind == "INTEGER"), canonical)
            if pk:
                key[pk] = ddl.fold(name)
        return {table: (columns, tuple(key[n] for n in sorted(key))) for table, (columns, key) in found.items()}

    def _indexes(
        self, texts: Mapping[str, Mapping[str, str]], structural: bool
    ) -> dict[str, tuple[dict[frozenset[str], str], dict[str, Index]]]:
        rows = self._rows(
            'SELECT m.name, i.name, i."unique", i.origin, i.partial, x.name, x."desc", x.coll FROM sqlite_master m, '
            "pragma_index_list(m.name) i, pragma_index_xinfo(i.name) x WHERE m.type = 'table' AND x.key = 1 "
            f"AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'{self.filter} ORDER BY m.name, i.name, x.seqno"
        )
        parts: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for table, index, unique, origin, partial, column, descending, collation in rows:
            parts[ddl.fold(table), index].append((unique, origin, partial, column, descending, collation))
        found: dict[str, tuple[dict[frozenset[str], str], dict[str, Index]]] = defaultdict(lambda: ({}, {}))
        for (table, name), columns in parts.items():
            unique, origin, partial = columns[0][:3]
            plain = all(column is not None and collation.upper() == "BINARY" for *_, column, _, collation in columns)
            if unique and plain and not partial:
                if origin != "pk":
                    found[table][0][frozenset(ddl.fold(column) for *_, column, _, _ in columns)] = name
                continue
            if origin == "pk":
                continue
            expressions = any(column is None for *_, column, _, _ in columns)
            text = texts[table].get(name)
            parsed = ddl.parse_index(text) if text and (partial or expressions) else None
            labels = []
            for place, (*_, column, descending, collation) in enumerate(columns):
                label = (
                    ddl.fold(column) if column is not None else (parsed.columns[place].expression if parsed else "?")
                )
                label += f" COLLATE {collation.upper()}" if collation.upper() != "BINARY" and column is not None else ""
                labels.append(label + (" DESC" if descending else ""))
            found[table][1][ddl.fold(name)] = Index(
                name, tuple(labels), bool(unique), parsed.where if parsed and partial else None
            )
        return found

    def _foreign_keys(self) -> dict[str, list[ForeignKey]]:
        rows = self._rows(
            'SELECT m.name, f.id, f."table", f."from", f."to", f.on_update, f.on_delete FROM sqlite_master m, '
            f"pragma_foreign_key_list(m.name) f WHERE m.type = 'table'{self.filter} ORDER BY m.name, f.id, f.seq"
        )
        parts: dict[tuple[str, int], list[Any]] = defaultdict(list)
        for table, number, *rest in rows:
            parts[ddl.fold(table), number].append(rest)
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
        rows: list[Any] = self.database.execute_sql(sql, self.params).fetchall()
        return rows


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

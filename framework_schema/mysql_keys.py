"""Foreign keys on MariaDB and MySQL: what a new one needs, and what stands around a column that belongs to one.

InnoDB ties two columns of one type, one charset and one collation, and tables of its own only:
https://mariadb.com/kb/en/foreign-keys/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import cast

import peewee as pw

from framework_schema.ddl import fold
from framework_schema.mysql_text import NAME, ColumnText, Definition, Reference, mysql_type
from framework_schema.server_alignment import Around
from framework_schema.server_snapshot import ServerTable, my_quote
from framework_schema.server_sql import execute
from framework_schema.snapshot import Column, Snapshot, Table

FindTable = Callable[[str], Table | None]
WRITTEN = {"integer": "int", "boolean": "tinyint(1)", "bool": "tinyint(1)", "dec": "decimal", "numeric": "decimal"}
"""Types that are printed under another name."""


def tied(sql: str, find: FindTable) -> tuple[str, tuple[str, ...]]:
    """Let a statement that makes foreign keys make them: each column gets the type of the key that it refers to.

    ``find`` returns a table that is there. What cannot be tied is left out, and why is told.
    """
    made = Definition.of(sql)
    if made is None:
        return sql, ()
    gone: list[int] = []
    why: list[str] = []
    for reference in tuple(made.references()):
        parent = find(reference.table)
        if parent is None or fold(reference.table) == fold(made.table):
            continue
        reason = _hindrance(made, find(made.table), cast(ServerTable, parent), reference)
        if reason is None:
            made = _fitted(made, cast(ServerTable, parent), reference)
            continue
        why.append(f"{made.table}({', '.join(reference.columns)}) gets no foreign key to {parent.name}: {reason}")
        if reference.is_inline:
            text = ColumnText.of(made.parts[reference.place]).put("references", None).text
            made = made.with_part(reference.place, text)
        else:
            gone.append(reference.place)
    is_same = not why and made == Definition.of(sql)
    return (sql if is_same else made.without(gone).sql), tuple(why)


def cannot_tie(child: Table, columns: tuple[str, ...], parent: Table, to: tuple[str, ...]) -> str | None:
    """Say what stands between two tables that are there; None for nothing."""
    for table in (child, parent):
        engine = table.options.get("engine", "InnoDB")
        if engine.lower() != "innodb":
            return f"{table.name} is {engine}, which has no foreign keys; migrate --strict makes it InnoDB"
    if not _is_key(cast(ServerTable, parent), to):
        return f"no index of {parent.name} begins with {', '.join(to)}"
    for here, there in zip(columns, to, strict=True):
        if here in child.columns and there in parent.columns:
            one, other = child.columns[here], parent.columns[there]
            if (one.type, one.collation) != (other.type, other.collation):
                return f"{child.name}.{one.name} is {_told(one)}, {parent.name}.{other.name} is {_told(other)}"
    return None


def _told(column: Column) -> str:
    return f"{column.type} ({column.collation})" if column.collation else column.type


def _hindrance(made: Definition, child: Table | None, parent: ServerTable, reference: Reference) -> str | None:
    engine = re.search(r"\bENGINE\s*=\s*(\w+)", made.tail, re.I)
    own = child.options.get("engine") if child else engine[1] if engine else None
    if own and own.lower() != "innodb":
        return f"{made.table} is {own}, which has no foreign keys"
    engine_of_parent = parent.options.get("engine", "InnoDB")
    if engine_of_parent.lower() != "innodb":
        return f"{parent.name} is {engine_of_parent}, which has no foreign keys; migrate --strict makes it InnoDB"
    to = tuple(map(fold, reference.to_columns))
    if not set(to) <= parent.columns.keys():
        return f"{parent.name} has no column {', '.join(reference.to_columns)}"
    return None if _is_key(parent, to) else f"no index of {parent.name} begins with {', '.join(reference.to_columns)}"


def _is_key(table: ServerTable, columns: tuple[str, ...]) -> bool:
    """Tell whether an index begins with these columns, as InnoDB wants it for what is referred to."""
    plain = [table.primary_key, *(index.columns for index in table.indexes.values())]
    starts = any(tuple(c.removesuffix(" DESC") for c in key[: len(columns)]) == columns for key in plain)
    return starts or any(set(columns) <= unique for unique in table.uniques)


def _fitted(made: Definition, parent: ServerTable, reference: Reference) -> Definition:
    for column, to in zip(reference.columns, reference.to_columns, strict=True):
        place, key = made.column(fold(column)), parent.columns[fold(to)]
        if place is None:
            continue
        text = ColumnText.of(made.parts[place])
        if not _is_like(text, key):
            made = made.with_part(place, text.typed(key.type, key.collation).text)
    return made


def _is_like(text: ColumnText, key: Column) -> bool:
    kind = re.sub(r"\A(\w*int)\(\d+\)", r"\1", (text.get("type") or "").lower())
    kind = WRITTEN.get(kind, kind)
    collation = (text.get("collate") or "").partition(" ")[2]
    return kind == key.type.lower() and collation.lower() == (key.collation or "").lower()


# What stands around a column


PAIRS = """
SELECT table_schema, table_name, column_name, referenced_table_name, referenced_column_name
FROM information_schema.key_column_usage WHERE referenced_table_schema = DATABASE()
"""


def around(database: pw.Database, expected: Snapshot, table: str, column: str) -> Around:
    """Change all the columns that foreign keys tie to one together with it, and make the keys again as printed.

    MariaDB changes no column that a key stands on. Rows are not proven again: the
    values stay. Blocked where the new collation would part rows that belong
    together, or where another database refers to the key.
    """
    want = _expected(expected, table, column)
    if want is None or (table, column) not in _unlike(database, [(table, column)], want):
        return Around()
    ties = [tuple(map(str, row)) for row in database.execute_sql(PAIRS).fetchall()]
    here = str(database.execute_sql("SELECT DATABASE()").fetchone()[0])
    group = _group(ties, (table, column))
    if len(group) < 2:
        return Around()
    strangers = sorted({f"{place}.{name}" for place, name, _, to, key in ties if place != here and (to, key) in group})
    if strangers:
        return Around(blocked=f"{', '.join(strangers)} of another database refers to it; convert it by hand")
    parted = _parted(database, ties, group, want)
    if parted:
        what = f"rows of {parted[0]} refer to it in another spelling, which {want.collation} keeps apart"
        return Around(blocked=what, query=parted[1])
    drops, adds, changes, undo = [], [], [], []
    for name in sorted({name for _, name, key, _, _ in ties if (name, key) in group}):
        printed = _printed(database, name)
        for reference in printed.references():
            if any((name, key) in group for key in reference.columns):
                text = printed.parts[reference.place]
                drops.append(f"ALTER TABLE {my_quote(name)} DROP FOREIGN KEY {NAMED.match(text)[1]}")  # type: ignore[index]
                adds.append(f"ALTER TABLE {my_quote(name)} ADD {text}")
    for name, key in _unlike(database, _key_first(ties, group), want):
        line = ColumnText.of(_printed(database, name).line(fold(key)) or "")
        modify = f"ALTER TABLE {my_quote(name)} MODIFY COLUMN "
        undo.append(f"{modify}{line.text}")
        if (name, key) != (table, column):
            changes.append(f"{modify}{line.typed(want.type, want.collation).text}")
    off, on = (f"SET SESSION foreign_key_checks = {value}" for value in (0, 1))
    return Around((*drops, *changes), (off, *adds, on), (off, *undo, *adds, on))


NAMED = re.compile(rf"CONSTRAINT ({NAME})")


def _unlike(database: pw.Database, places: Iterable[tuple[str, str]], want: Column) -> list[tuple[str, str]]:
    """Return the columns that are not of the type that is wanted, in order."""
    rows = database.execute_sql(
        "SELECT table_name, column_name, column_type, collation_name FROM information_schema.columns "
        "WHERE table_schema = DATABASE()"
    ).fetchall()
    types = {(str(name), str(column)): (mysql_type(kind), collation) for name, column, kind, collation in rows}
    return [place for place in places if types.get(place) != (want.type, want.collation)]


def _printed(database: pw.Database, table: str) -> Definition:
    printed = Definition.of(execute(database, f"SHOW CREATE TABLE {my_quote(table)}").fetchone()[1])
    if printed is None:
        raise ValueError(f"what the server prints of {table} is not understood")
    return printed


def _expected(expected: Snapshot, table: str, column: str) -> Column | None:
    found = next((t for t in expected.tables.values() if fold(t.name) == fold(table)), None)
    return found.columns.get(fold(column)) if found else None


def _group(ties: list[tuple[str, ...]], start: tuple[str, str]) -> set[tuple[str, str]]:
    """Return the columns that keys tie to one, itself among them."""
    found, size = {start}, 0
    while len(found) != size:
        size = len(found)
        for _, name, key, to, to_key in ties:
            if (name, key) in found or (to, to_key) in found:
                found |= {(name, key), (to, to_key)}
    return found


def _key_first(ties: list[tuple[str, ...]], group: set[tuple[str, str]]) -> list[tuple[str, str]]:
    children = {(name, key) for _, name, key, _, _ in ties}
    return sorted(group, key=lambda place: (place in children, place))


def _parted(
    database: pw.Database, ties: list[tuple[str, ...]], group: set[tuple[str, str]], want: Column
) -> tuple[str, str] | None:
    """Return the table whose rows would lose what they refer to, and the query that shows them."""
    if want.collation is None:
        return None
    charset = want.collation.partition("_")[0]
    for _, name, key, to, to_key in ties:
        if (name, key) not in group:
            continue
        one, other = (
            f"CONVERT({alias}.{my_quote(column)} USING {charset}) COLLATE {want.collation}"
            for alias, column in (("child", key), ("parent", to_key))
        )
        query = (
            f"SELECT child.* FROM {my_quote(name)} AS child WHERE child.{my_quote(key)} IS NOT NULL AND NOT EXISTS "
            f"(SELECT 1 FROM {my_quote(to)} AS parent WHERE {other} = {one})"
        )
        if execute(database, f"{query} LIMIT 1").fetchone() is not None:
            return name, query
    return None

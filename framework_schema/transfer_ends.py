"""The two ends of a copy: how each engine is read in a stream, written in bulk, and relieved of its foreign keys."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, ClassVar, cast

import peewee as pw

from framework_schema.alignment import Alignment
from framework_schema.databases import engine_of
from framework_schema.ddl import quote as sqlite_quote
from framework_schema.fields import KEY_TEXT, UTC_NOW
from framework_schema.mysql_ddl import MysqlGrammar
from framework_schema.postgres_ddl import PostgresGrammar
from framework_schema.runner import Runner
from framework_schema.server_alignment import ServerAlignment
from framework_schema.server_ddl import Grammar
from framework_schema.server_snapshot import ServerTable
from framework_schema.snapshot import Column, ForeignKey, Snapshot, Table, columns_of

Row = Sequence[Any]

LITERAL = re.compile(r"-?\d+(\.\d+)?|'(?:[^'\\]|'')*'")
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
SPECIAL = re.compile(r"[\\\t\n\r]")
QUOTABLE = re.compile(r"[\\'\"\0\n\r\x1a]")
STATEMENT = 1_000_000
"""Characters of one INSERT; the server takes 16 MB by default (max_allowed_packet)."""

GONE_AWAY = {1205, 1213, 2006, 2013, 2055}
"""MySQL's errors that speak of the connection or of locks and of no row."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that the database did not take, and its words."""

    row: Row
    reason: str


class End:
    """One open database, as source or as target; SQLite's way, which the others overrule."""

    engine = "sqlite"
    types: ClassVar[dict[str, str]] = {
        "integer": "INTEGER", "bigint": "INTEGER", "boolean": "BOOLEAN", "real": "REAL", "decimal": "NUMERIC",
        "moment": "TIMESTAMP", "date": "DATE", "blob": "BLOB", "json": "TEXT", "text": "TEXT", "key": "TEXT",
    }  # fmt: skip
    now = "CURRENT_TIMESTAMP"

    def __init__(self, database: pw.Database) -> None:
        self.database = database

    def quote(self, name: str) -> str:
        """Return a name as an identifier."""
        return sqlite_quote(name)

    def count(self, table: str) -> int:
        """Count a table's rows."""
        rows: int = self.database.execute_sql(f"SELECT count(*) FROM {self.quote(table)}").fetchone()[0]
        return rows

    def select(self, table: str, columns: Iterable[str], key: Iterable[str]) -> str:
        """Write the query for all rows, in the order of the key."""
        order = f" ORDER BY {', '.join(map(self.quote, key))}" if key else ""
        return f"SELECT {', '.join(map(self.quote, columns))} FROM {self.quote(table)}{order}"

    # Reading

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one state of the database all the way; text that is no UTF-8 is read all the same, and rejected later."""
        connection = self.database.connection()
        was = connection.text_factory
        connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        try:
            with self.database.atomic():
                yield
        finally:
            connection.text_factory = was

    def stream(self, query: str, size: int) -> Iterator[list[Row]]:
        """Yield the rows of a query, a batch at a time."""
        cursor = self.database.connection().cursor()
        cursor.execute(query)
        while rows := cursor.fetchmany(size):
            yield rows

    def counter(self, table: Table) -> int:
        """Return the highest row id that was ever given out, 0 where nobody knows."""
        if not self.database.table_exists("sqlite_sequence"):
            return 0
        row = self.database.execute_sql(
            "SELECT seq FROM sqlite_sequence WHERE name = ? COLLATE NOCASE", (table.name,)
        ).fetchone()
        return int(row[0]) if row else 0

    # Writing

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Prepare the session for rows in bulk."""
        self.database.execute_sql("PRAGMA foreign_keys = 0")
        yield

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> Iterator[Rejected]:
        """Insert rows; halves what is refused until the rows to blame are found, and yields those."""
        if not rows:
            return
        reason = self._refusal(table, columns, rows)
        if reason is None:
            return
        if len(rows) == 1:
            yield Rejected(rows[0], reason)
            return
        middle = len(rows) // 2
        yield from self.insert(table, columns, rows[:middle])
        yield from self.insert(table, columns, rows[middle:])

    def _refusal(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> str | None:
        try:
            with self.database.savepoint():
                self.write(table, columns, rows)
        except Exception as error:
            if not self.is_of_a_row(error):
                raise
            return " ".join(str(error).split())
        return None

    def write(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, all or none."""
        self.database.connection().executemany(self._insert_sql(table, columns, "?"), rows)

    def _insert_sql(self, table: str, columns: Sequence[str], mark: str) -> str:
        names = ", ".join(map(self.quote, columns))
        return f"INSERT INTO {self.quote(table)} ({names}) VALUES ({', '.join([mark] * len(columns))})"

    def is_of_a_row(self, error: Exception) -> bool:
        """Tell whether an error is about the rows, and not about the connection or the disk."""
        import sqlite3

        return isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | OverflowError)

    def drop_foreign_keys(self, tables: Iterable[Table]) -> None:
        """Take the keys away that would want rows in an order; SQLite's are off."""

    def restore_foreign_keys(self, runner: Runner, expected: Snapshot, names: Iterable[str]) -> Alignment:
        """Make the keys that are not there."""
        return Alignment()

    def take_orphans(
        self, table: Table, key: ForeignKey, schema: Snapshot, size: int
    ) -> Iterator[list[dict[str, Any]]]:
        """Delete the rows whose parent is not there, and yield them by the batch, inside the transaction."""
        parent = schema.tables.get(key.table)
        if parent is None or not table.primary_key or not set(key.columns) <= table.columns.keys():
            return
        names = [column.name for column in table.columns.values() if not column.generated]
        listed = ", ".join(f"child.{self.quote(name)}" for name in names)
        own = [table.columns[column].name for column in key.columns]
        others = [parent.columns[column].name for column in key.to_columns or parent.primary_key]
        given = " AND ".join(f"child.{self.quote(name)} IS NOT NULL" for name in own)
        match = " AND ".join(
            f"parent.{self.quote(there)} = child.{self.quote(here)}" for here, there in zip(own, others, strict=True)
        )
        query = (
            f"SELECT {listed} FROM {self.quote(table.name)} AS child WHERE {given} AND NOT EXISTS "
            f"(SELECT 1 FROM {self.quote(parent.name)} AS parent WHERE {match}) LIMIT {int(size)}"
        )
        while True:
            with self.database.atomic():
                found = [dict(zip(names, row, strict=True)) for row in self.database.execute_sql(query).fetchall()]
                if not found:
                    return
                self._delete(table, found)
                yield found

    def _delete(self, table: Table, rows: list[dict[str, Any]]) -> None:
        key = [table.columns[column].name for column in table.primary_key]
        mark = self.database.param
        where = " AND ".join(f"{self.quote(name)} = {mark}" for name in key)
        for row in rows:
            statement = f"DELETE FROM {self.quote(table.name)} WHERE {where}"
            self.database.execute_sql(statement, tuple(row[name] for name in key))

    def set_counter(self, table: Table, highest: int) -> None:
        """Let the next row id be above ``highest``."""
        if not table.autoincrement or not highest:
            return
        changed = self.database.execute_sql(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (highest, table.name)
        )
        if not self.database.rows_affected(changed):
            self.database.execute_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table.name, highest))

    # What no migration makes

    def add_extras(self, there: Snapshot, here: Snapshot, own: set[str]) -> None:
        """Make the tables and columns that only the source has: names, types, keys, uniques and plain defaults."""
        known = {name.lower(): table for name, table in here.tables.items()}
        skip = {name.lower() for name in own}
        for name, table in there.tables.items():
            if name.lower() in skip or table.unreadable or not table.columns:
                continue
            have = known.get(name.lower())
            if have is None:
                self._create(table, known)
                continue
            names = {column.lower() for column in have.columns}
            for key, column in table.columns.items():
                if key.lower() not in names and not column.generated:
                    text = self._definition(table, key, column, known, null=True)
                    self.database.execute_sql(f"ALTER TABLE {self.quote(have.name)} ADD COLUMN {text}")

    def add_extra_indexes(self, there: Snapshot, here: Snapshot, made: Snapshot) -> None:
        """Make the plain indexes on tables and columns that no migration makes; partial ones and expressions stay out.

        ``made`` is what migrations make. One whose name is taken is passed over.
        """
        ours = {name.lower(): {c.lower() for c in table.columns} for name, table in made.tables.items()}
        taken = {name.lower() for table in here.tables.values() for name in table.indexes}
        live = {name.lower(): table for name, table in here.tables.items()}
        for name, table in there.tables.items():
            target = live.get(name.lower())
            if target is None or target.unreadable:
                continue
            columns = {column.lower(): found for column, found in target.columns.items()}
            for index in table.indexes.values():
                names = [column.removesuffix(" DESC").lower() for column in index.columns]
                is_extra = any(column not in ours.get(name.lower(), ()) for column in names)
                is_plain = index.where is None and not index.unique and all(column in columns for column in names)
                if is_extra and is_plain and index.name.lower() not in taken:
                    terms = [
                        self._index_term(target, columns[column]) + (" DESC" if label.endswith(" DESC") else "")
                        for column, label in zip(names, index.columns, strict=True)
                    ]
                    place = f"{self.quote(index.name)} ON {self.quote(target.name)}"
                    self.database.execute_sql(f"CREATE INDEX {place} ({', '.join(terms)})")

    def _index_term(self, table: Table, column: Column) -> str:
        return self.quote(column.name)

    def _create(self, table: Table, known: dict[str, Table]) -> None:
        columns = [(key, column) for key, column in table.columns.items() if not column.generated]
        parts = [self._definition(table, key, column, known) for key, column in columns]
        if table.primary_key:
            names = [table.columns[key].name for key in table.primary_key]
            parts.append(f"PRIMARY KEY ({', '.join(map(self.quote, names))})")
        for unique in sorted(table.uniques, key=sorted):
            names = [column.name for key, column in columns if key in columns_of(unique)]
            parts.append(f"UNIQUE ({', '.join(map(self.quote, names))})")
        self.database.execute_sql(f"CREATE TABLE {self.quote(table.name)} ({', '.join(parts)})")

    def _definition(
        self, table: Table, key: str, column: Column, known: dict[str, Table], *, null: bool = False
    ) -> str:
        kind = self._referred_type(table, key, known) or self._own_type(table, key, column)
        null = null or (column.null and key not in table.primary_key)
        default = str(column.default or "")
        default = self.now if default.upper().startswith("CURRENT_TIMESTAMP") else default
        is_plain = bool(LITERAL.fullmatch(default)) or default == self.now
        shown = f" DEFAULT ({default})" if is_plain and kind != self.types["boolean"] else ""
        return f"{self.quote(column.name)} {kind}{'' if null else ' NOT NULL'}{shown}"

    def _own_type(self, table: Table, key: str, column: Column) -> str:
        is_key = key in table.primary_key or any(key in columns_of(unique) for unique in table.uniques)
        kind = family(column.type)
        return self.types["key" if kind == "text" and is_key else kind]

    def _referred_type(self, table: Table, key: str, known: dict[str, Table]) -> str | None:
        """Return the type of what the column refers to in the target, which MySQL wants to be the same."""
        for reference in table.foreign_keys:
            parent = known.get(reference.table.lower())
            if parent is not None and reference.columns == (key,):
                name = (reference.to_columns or parent.primary_key)[0].lower()
                found = next((c for k, c in parent.columns.items() if k.lower() == name), None)
                if found is not None:
                    if self.engine != "mariadb" or not found.collation:
                        return found.type
                    charset = found.collation.partition("_")[0]
                    return f"{found.type} CHARACTER SET {charset} COLLATE {found.collation}"
        return None


class ServerEnd(End):
    """What PostgreSQL and MySQL have in common."""

    grammar: Grammar

    def quote(self, name: str) -> str:
        """Quote as the grammar does."""
        return self.grammar.quote(name)

    def restore_foreign_keys(self, runner: Runner, expected: Snapshot, names: Iterable[str]) -> Alignment:
        """Make the keys that are missing; PostgreSQL proves each, and on MySQL the look for orphans did."""
        work = ServerAlignment(
            self.database,
            self.grammar,
            replace(expected, tables={name: expected.tables[name] for name in names}),
            lambda: runner.dialect.snapshot(self.database, structural=True),
            self.attempt,
            lambda error: runner.dialect.hindrance(error) is not None,
        )
        return work.add_references()

    def attempt(self) -> AbstractContextManager[Any]:
        """Undo what failed, where DDL can be undone."""
        return nullcontext()

    def _highest(self, table: Table, column: str) -> int:
        row = self.database.execute_sql(f"SELECT max({self.quote(column)}) FROM {self.quote(table.name)}").fetchone()
        return int(row[0] or 0)

    def _auto(self, table: Table) -> str | None:
        auto = table.auto if isinstance(table, ServerTable) else None
        return table.columns[auto].name if auto else None


class PostgresEnd(ServerEnd):
    """PostgreSQL and CockroachDB: COPY in, a server-side cursor out."""

    engine = "postgresql"
    grammar = PostgresGrammar()

    types: ClassVar[dict[str, str]] = {
        "integer": "INTEGER", "bigint": "BIGINT", "boolean": "BOOLEAN", "real": "DOUBLE PRECISION",
        "decimal": "NUMERIC", "moment": "TIMESTAMP", "date": "DATE", "blob": "BYTEA", "json": "JSONB",
        "text": "TEXT", "key": "TEXT",
    }  # fmt: skip
    now = UTC_NOW["postgresql"]

    def attempt(self) -> AbstractContextManager[Any]:
        """Put a transaction around it."""
        found: AbstractContextManager[Any] = self.database.atomic()
        return found

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read in one snapshot."""
        self.database.execute_sql("SET timezone = 'UTC'")
        with self.database.atomic():
            self.database.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Read moments without a zone as UTC."""
        self.database.execute_sql("SET timezone = 'UTC'")
        yield

    def stream(self, query: str, size: int) -> Iterator[list[Row]]:
        """Read through a named cursor, which holds a batch at a time."""
        with self.database.atomic():
            name = self.quote(f"framework_schema_{uuid.uuid4().hex}")
            self.database.execute_sql(f"DECLARE {name} NO SCROLL CURSOR FOR {query}")
            while rows := self.database.execute_sql(f"FETCH {int(size)} FROM {name}").fetchall():
                yield rows
            self.database.execute_sql(f"CLOSE {name}")

    def counter(self, table: Table) -> int:
        """Ask the sequence."""
        column = self._auto(table)
        if column is None:
            return 0
        sequence = self._sequence(table, column)
        if sequence is None:
            return 0
        last, called = self.database.execute_sql(f"SELECT last_value, is_called FROM {sequence}").fetchone()
        return int(last) if called else 0

    def _sequence(self, table: Table, column: str) -> str | None:
        row = self.database.execute_sql("SELECT pg_get_serial_sequence(%s, %s)", (self.quote(table.name), column))
        found: str | None = row.fetchone()[0]
        return found

    def write(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Write by COPY, in its text format: https://www.postgresql.org/docs/current/sql-copy.html."""
        cursor = self.database.connection().cursor()
        if not hasattr(cursor, "copy"):
            cursor.executemany(self._insert_sql(table, columns, "%s"), rows)
            return
        statement = f"COPY {self.quote(table)} ({', '.join(map(self.quote, columns))}) FROM STDIN"
        with cursor.copy(statement) as pipe:
            for start in range(0, len(rows), 1000):
                pipe.write(copy_block(rows[start : start + 1000]))

    def is_of_a_row(self, error: Exception) -> bool:
        """Know classes 22 and 23 of SQLSTATE: data, and constraints."""
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
        return str(state)[:2] in ("22", "23")

    def drop_foreign_keys(self, tables: Iterable[Table]) -> None:
        """Drop the keys: they are made again, and proven, when all rows are there."""
        with self.database.atomic():
            for table in tables:
                for what, name in cast(ServerTable, table).constraint_names.items():
                    if isinstance(what, ForeignKey):
                        self.database.execute_sql(self.grammar.drop_constraint(table.name, name, "foreign key"))

    def set_counter(self, table: Table, highest: int) -> None:
        """Set the sequence."""
        column = self._auto(table)
        sequence = self._sequence(table, column) if column else None
        if column is None or sequence is None:
            return
        last = max(highest, self._highest(table, column))
        if last:
            self.database.execute_sql("SELECT setval(%s, %s)", (sequence, last))


class MysqlEnd(ServerEnd):
    """MariaDB and MySQL: INSERT of many rows in, an unbuffered cursor out."""

    engine = "mariadb"
    grammar = MysqlGrammar()
    types: ClassVar[dict[str, str]] = {
        "integer": "INTEGER", "bigint": "BIGINT", "boolean": "BOOL", "real": "DOUBLE", "decimal": "DECIMAL(65, 30)",
        "moment": "DATETIME(6)", "date": "DATE", "blob": "LONGBLOB", "json": "JSON",
        "text": "LONGTEXT CHARACTER SET utf8mb4", "key": f"VARCHAR(255) {KEY_TEXT}",
    }  # fmt: skip
    now = UTC_NOW["mysql"]

    def _index_term(self, table: Table, column: Column) -> str:
        """Index the beginning of what has no bounded length."""
        is_long = column.type.lower().endswith(("text", "blob"))
        return self.quote(column.name) + ("(191)" if is_long else "")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read in one snapshot."""
        self.database.execute_sql("SET SESSION time_zone = '+00:00'")
        with self.database.atomic():
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep a row id of 0, and leave the keys to the look for orphans."""
        self.database.execute_sql(
            "SET SESSION time_zone = '+00:00', foreign_key_checks = 0, "
            "sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')"
        )
        yield

    def stream(self, query: str, size: int) -> Iterator[list[Row]]:
        """Read without holding the whole result; nothing else can be asked of the connection meanwhile."""
        from pymysql.cursors import SSCursor  # type: ignore[import-untyped]

        with self.database.connection().cursor(SSCursor) as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(size):
                yield list(rows)

    def counter(self, table: Table) -> int:
        """Ask for AUTO_INCREMENT."""
        row = self.database.execute_sql(
            "SELECT auto_increment FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s",
            (table.name,),
        ).fetchone()
        return int(row[0]) - 1 if row and row[0] else 0

    def write(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert many rows a statement, as many as make about a megabyte."""
        head = self._insert_sql(table, columns, "%s").partition("VALUES")[0] + "VALUES "
        with self.database.connection().cursor() as cursor:
            for block in blocks(value_lists(rows, lambda value: str(cursor.mogrify("%s", (value,)))), STATEMENT):
                cursor.execute(head + ",".join(block))

    def is_of_a_row(self, error: Exception) -> bool:
        """Take every error of the server's for the row's, but those of connection and locks."""
        import pymysql  # type: ignore[import-untyped]

        number = error.args[0] if error.args else None
        return isinstance(error, pymysql.err.DatabaseError) and number not in GONE_AWAY

    def set_counter(self, table: Table, highest: int) -> None:
        """Set AUTO_INCREMENT, which the server raises by itself to the highest row."""
        if self._auto(table) and highest:
            self.database.execute_sql(f"ALTER TABLE {self.quote(table.name)} AUTO_INCREMENT = {int(highest) + 1}")


def end_of(database: pw.Database) -> End:
    """Return the end for a database's engine."""
    ends: dict[str, type[End]] = {"sqlite": End, "mariadb": MysqlEnd}
    return ends.get(engine_of(database), PostgresEnd)(database)


def copy_block(rows: Sequence[Row]) -> str:
    """Write rows for COPY, column by column: one that is all text or numbers is looked at as a whole."""
    columns: list[Iterable[str]] = []
    for values in zip(*rows, strict=True):
        types = set(map(type, values))
        if types <= {int, float}:
            columns.append(map(str, values))
        elif types == {str} and not SPECIAL.search("".join(values)):
            columns.append(iter(values))
        else:
            columns.append(map(copied, values))
    return "\n".join(map("\t".join, zip(*columns, strict=True))) + "\n"


def value_lists(rows: Sequence[Row], literal: Callable[[Any], str]) -> Iterator[str]:
    """Write rows for VALUES, column by column; ``literal`` is the driver's, for what needs an escape."""
    columns: list[Iterable[str]] = []
    for values in zip(*rows, strict=True):
        types = set(map(type, values))
        if types == {int}:
            columns.append(map(str, values))
        elif types == {str} and not QUOTABLE.search("".join(values)):
            columns.append(map("'{}'".format, values))
        else:
            columns.append(map(literal, values))
    return map("({})".format, map(",".join, zip(*columns, strict=True)))


def blocks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Gather texts until they have the size together; one that is larger is a block of its own."""
    block: list[str] = []
    length = 0
    for text in texts:
        if block and length + len(text) > size:
            yield block
            block, length = [], 0
        block.append(text)
        length += len(text)
    if block:
        yield block


def copied(value: Any) -> str:
    """Write one value for COPY."""
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(ESCAPES)
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, bytes):
        return f"\\\\x{value.hex()}"
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def family(kind: str) -> str:
    """Name the kind of a declared type of any engine; SQLite's rules of affinity where it is a made-up one."""
    text = kind.lower()
    if text.startswith(("bool", "tinyint(1)")):
        return "boolean"
    for words, found in (
        (("timestamp", "datetime"), "moment"),
        (("date",), "date"),
        (("json",), "json"),
        (("int", "serial"), "bigint"),
        (("char", "clob", "text", "enum", "uuid"), "text"),
        (("blob", "bytea", "binary"), "blob"),
        (("real", "floa", "doub"), "real"),
        (("dec", "num"), "decimal"),
    ):
        if any(word in text for word in words):
            return found
    return "text"

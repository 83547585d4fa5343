"""A SQLite connection that tells what a script did through it, and whether that can be done again elsewhere.

What counts as the same elsewhere: plain statements with plain values, whatever
is read of the schema, and whether a table is empty, which is asked again. As
soon as a script looks at anything else (rows, ids of rows, the database's own
name, a PRAGMA, the connection's own functions), its tape says why it cannot be
trusted. What goes round this class is noticed since SQLite's own trace counts more.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import peewee as pw

from framework_schema.databases import OwnSqlite

SCHEMA_TABLES = frozenset({
    "sqlite_master", "sqlite_schema", "pragma_table_info", "pragma_table_xinfo", "pragma_index_list",
    "pragma_index_info", "pragma_index_xinfo", "pragma_foreign_key_list",
})  # fmt: skip
SCHEMA_PRAGMAS = frozenset(name.removeprefix("pragma_") for name in SCHEMA_TABLES)
PURE = frozenset({"like", "glob", "lower", "upper", "length", "substr", "instr", "replace", "coalesce", "count"})
"""Functions that a question about the schema may use and that give everyone the same answer."""

COUNTERS = frozenset({"changes", "last_insert_rowid", "total_changes"})
"""Functions that tell of the statement before, which is another one where a plan is repeated."""
MASTER = frozenset({"sqlite_master", "sqlite_schema"})
OF_THE_FILE = frozenset({"rootpage", "rowid"})
"""Columns of sqlite_master that differ between databases of one schema."""
OF_THE_FILE_NAME = re.compile(r"\*|\b(rootpage|_?rowid_?|oid)\b", re.I)
MASTER_NAME = re.compile(r"\bsqlite_(master|schema)\b", re.I)
PRAGMA_NAME = re.compile(r"\bpragma_\w+", re.I)

DDL = frozenset({"CREATE", "ALTER", "DROP"})
DO = DDL | {"INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"}
PLAIN = (type(None), bool, int, float, str, bytes)
FUNCTION = sqlite3.SQLITE_FUNCTION
TOUCHES = frozenset({sqlite3.SQLITE_READ, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
EMPTY = re.compile(r'SELECT 1 FROM "(?:[^"]|"")+" LIMIT 1')
SAME_IN_ALL = SCHEMA_PRAGMAS | {"foreign_key_check", "foreign_keys", "legacy_alter_table"}
"""PRAGMAs that answer alike for two databases of one schema and the same rows, whatever file each is."""
PRAGMA = re.compile(r'\s*PRAGMA\s+(?:"?main"?\.)?"?(\w+)"?\s*(=|\(|;|\Z)', re.I)
SETTING = re.compile(r"PRAGMA legacy_alter_table\s*=\s*\w+", re.I)
UNWATCHED = (
    "backup", "blobopen", "create_aggregate", "create_collation", "create_function", "create_window_function",
    "deserialize", "enable_load_extension", "executemany", "executescript", "iterdump", "load_extension", "serialize",
    "set_progress_handler", "set_trace_callback",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that can be run again.

    ``answer`` is the row that it has to return again, where ``asks``; ``rows``
    the number of rows it has to change again, where the script looked at it.
    One that ``converges`` can be run again by its script, which looks first.
    """

    sql: str
    params: Any = ()
    asks: bool = False
    answer: tuple[Any, ...] | None = None
    rows: int | None = None
    converges: bool = False


@dataclass(frozen=True, slots=True)
class Used:
    """What a statement uses: tables whose rows it touches, columns of sqlite_master, functions; in lower case."""

    tables: frozenset[str]
    of_schema: frozenset[str]
    functions: frozenset[str]


class Tape:
    """What reached the connection while it was watched; ``doubt`` says why it is not to be trusted.

    ``is_ours`` says that no script was watched, but we ourselves. ``tables`` are
    those whose rows it touched, ``asks_where`` tells that it asked which file it
    is in, or how that is set up.
    """

    def __init__(self, is_ours: bool = False) -> None:
        self.is_ours = is_ours
        self.statements: list[Statement] = []
        self.doubt: str | None = None
        self.tables: set[str] = set()
        self.asks_where = False
        self.noted = self.traced = 0

    def distrust(self, why: str, *, asks_where: bool = False) -> None:
        """Remember the first reason."""
        self.doubt = self.doubt or why
        self.asks_where |= asks_where

    @property
    def is_trusted(self) -> bool:
        """True when everything that reached SQLite is on the tape and can be run again."""
        return self.doubt is None and self.noted == self.traced


class WatchedConnection(sqlite3.Connection):
    """A connection whose statements go on ``tape``, when there is one."""

    tape: Tape | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._judge: Callable[..., int] | None = None
        self._seen: list[tuple[int, str | None, str | None]] = []
        self._known: dict[str, Used] = {}

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor that tells the tape."""
        return super().cursor(WatchedCursor)

    def set_authorizer(self, callback: Callable[..., int] | None) -> None:
        """Set an authorizer that also learns what each statement reads."""
        self._judge = callback
        super().set_authorizer(self._authorize if callback or self.tape is not None else None)

    def watch(self, tape: Tape | None) -> None:
        """Begin a tape, or end the one there is."""
        self.tape = tape
        super().set_trace_callback(None if tape is None else self._traced)
        self.set_authorizer(self._judge)

    @property
    def total_changes(self) -> int:
        """Return the number of rows changed so far, which is another one elsewhere."""
        if self.tape is not None:
            self.tape.distrust("it asks how many rows were changed so far")
        return int(sqlite3.Connection.total_changes.__get__(self))

    def used(self, sql: str) -> Used:
        """Return what a statement uses, its views and triggers included; SQLite tells when it compiles it."""
        if self._seen or sql not in self._known:
            touched = [(first, second) for action, first, second in self._seen if action in TOUCHES]
            tables = frozenset((table or "").lower() for table, _ in touched)
            of_schema = frozenset((column or "").lower() for table, column in touched if _is_master(table))
            functions = frozenset((second or "").lower() for action, _, second in self._seen if action == FUNCTION)
            self._known[sql] = Used(tables, of_schema, functions)
        return self._known[sql]

    def forget(self) -> None:
        """Begin with a new statement."""
        self._seen = []

    def _authorize(self, action: int, first: str | None, second: str | None, *rest: str | None) -> int:
        if action == FUNCTION or action in TOUCHES:
            self._seen.append((action, first, second))
        return sqlite3.SQLITE_OK if self._judge is None else self._judge(action, first, second, *rest)

    def _traced(self, sql: str) -> None:
        if self.tape is not None and not sql.startswith("--"):  # so a trigger's statements begin
            self.tape.traced += 1


def _is_master(table: str | None) -> bool:
    return (table or "").lower() in MASTER


def _distrusting(name: str) -> Callable[..., Any]:
    def method(self: WatchedConnection, *args: Any, **kwargs: Any) -> Any:
        if self.tape is not None:
            self.tape.distrust(f"it calls {name} of the connection")
        return getattr(sqlite3.Connection, name)(self, *args, **kwargs)

    return method


for _name in UNWATCHED:
    setattr(WatchedConnection, _name, _distrusting(_name))


class WatchedCursor(sqlite3.Cursor):
    """A cursor that tells its connection's tape what it runs, and what is asked of it."""

    connection: WatchedConnection
    _place: int | None = None

    def execute(self, sql: str, params: Any = (), /) -> Any:
        """Run a statement and note it."""
        tape = self.connection.tape
        if tape is None:
            return super().execute(sql, params)
        self._place = None
        self.connection.forget()
        tape.noted += 1
        try:
            result = super().execute(sql, params)
        except BaseException:  # elsewhere it may succeed, and leave something
            tape.distrust("a statement of it failed")
            raise
        self._note(tape, sql, params)
        return result

    def executemany(self, *args: Any) -> Any:
        """Run a statement many times; not to be repeated."""
        return self._untrusted("executemany", *args)

    def executescript(self, *args: Any) -> Any:
        """Run a script; not to be repeated."""
        return self._untrusted("executescript", *args)

    @property
    def lastrowid(self) -> Any:
        """Return the row's id, which is another one in another database."""
        if self.connection.tape is not None:
            self.connection.tape.distrust("it asks for the id of a row")
        return sqlite3.Cursor.lastrowid.__get__(self)

    @property
    def rowcount(self) -> Any:
        """Return the number of rows changed; it must be the same elsewhere."""
        rows, tape = sqlite3.Cursor.rowcount.__get__(self), self.connection.tape
        if tape is not None and self._place is not None:
            tape.statements[self._place] = replace(tape.statements[self._place], rows=rows)
        return rows

    def _untrusted(self, name: str, *args: Any) -> Any:
        if self.connection.tape is not None:
            self.connection.tape.distrust(f"it calls {name}")
        return getattr(sqlite3.Cursor, name)(self, *args)

    def _note(self, tape: Tape, sql: str, params: Any) -> None:
        word = sql.split(None, 1)[0].upper().rstrip(";") if sql.strip() else ""
        if word in ("SAVEPOINT", "RELEASE"):
            return
        used = self.connection.used(sql)
        self._note_uses(tape, used, sql, is_ddl=word in DDL)
        if EMPTY.fullmatch(sql):
            tape.noted += 1
            row = sqlite3.Cursor(self.connection).execute(sql).fetchone()
            tape.statements.append(Statement(sql, asks=True, answer=row))
        elif word == "PRAGMA":
            self._note_pragma(tape, sql)
        elif self.description is not None:
            self._note_read(tape, used)
        elif word in DO and isinstance(params, tuple | list) and all(type(value) in PLAIN for value in params):
            self._place = len(tape.statements)
            tape.statements.append(Statement(sql, tuple(params)))
        else:
            tape.distrust(f"it runs {word or 'an empty statement'} with values of its own kind")

    @staticmethod
    def _note_uses(tape: Tape, used: Used, sql: str, *, is_ddl: bool) -> None:
        """Note what a statement uses; DDL, and the first look at a table of a PRAGMA, work on sqlite_master anyway."""
        if tape.is_ours:
            return
        tape.tables |= used.tables
        if used.functions & COUNTERS:
            tape.distrust("it asks what the statement before changed")
        if MASTER_NAME.search(sql) if is_ddl else used.of_schema & OF_THE_FILE and OF_THE_FILE_NAME.search(sql):
            tape.distrust("it reads where in the file a table is")
        asked = PRAGMA_NAME.findall(sql) if is_ddl else used.tables
        if any(name.startswith("pragma_") and name.removeprefix("pragma_") not in SAME_IN_ALL for name in asked):
            tape.distrust("it asks for what is this file's", asks_where=True)

    @staticmethod
    def _note_read(tape: Tape, used: Used) -> None:
        if not used.tables or not used.tables <= SCHEMA_TABLES or not used.functions <= PURE:
            tape.distrust("it reads rows")

    def _note_pragma(self, tape: Tape, sql: str) -> None:
        match = PRAGMA.match(sql)
        name, sets = (match[1].lower(), match[2] == "=") if match else ("", True)
        if SETTING.fullmatch(sql.strip()):
            tape.statements.append(Statement(sql))
        elif sets or name not in SCHEMA_PRAGMAS | {"legacy_alter_table"}:
            tape.distrust(f"it uses PRAGMA {name}", asks_where=name not in SAME_IN_ALL)


class WatchedDatabase(OwnSqlite):
    """A database with watched connections, which notices when a script asks which file it is."""

    tape: Tape | None = None

    @property
    def database(self) -> Any:
        """Return the file's name, which is another one elsewhere."""
        if self.tape is not None:
            self.tape.distrust("it asks for the database's name", asks_where=True)
        return vars(self).get("database")

    @database.setter
    def database(self, name: Any) -> None:
        vars(self)["database"] = name

    @contextmanager
    def watching(self, *, ours: bool) -> Iterator[Tape]:
        """Put what happens in the body on a tape."""
        connection: WatchedConnection = self.connection()  # type: ignore[no-untyped-call]
        self.tape = Tape(ours)
        connection.watch(self.tape)
        try:
            yield self.tape
        finally:
            connection.watch(None)
            self.tape = None


def watched(database: pw.Database) -> pw.Database:
    """Return a closed database like this one that can be watched; of a kind of its own it stays as it is."""
    if not isinstance(database, pw.SqliteDatabase) or type(database) not in (pw.SqliteDatabase, OwnSqlite):
        return database
    if "factory" in database.connect_params or vars(database)["_pragmas"]:
        return database
    params = dict(database.connect_params)
    return WatchedDatabase(database.database, timeout=database.timeout, factory=WatchedConnection, **params)

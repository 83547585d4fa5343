"""A server's database that tells what a script did through it, and whether that can be done again elsewhere.

The rule is the one of ``watched``: plain statements with plain values can be
repeated, and what we read of the schema, and whether a table is empty, which
is asked again. What else a script looks at (rows, a row's id, the database's
name, a setting) makes its tape untrusted, as does a statement that failed.

SQLite tells how many statements reached it, a server's driver does not. So a
script must have no other way to the driver than ``execute_sql``: the
connection and the cursor, when it asks for them, make the tape untrusted, and
``is_contained`` refuses by its text a script that may reach past them. What
the server makes up itself, as ``now()`` or ``uuid()`` in a statement's text, is
no matter: it makes it up again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import peewee as pw

from framework_schema.migration import Migration
from framework_schema.mysql import Journal, OwnMysql
from framework_schema.plan_cache import mere_mentions
from framework_schema.postgres import OwnPostgres
from framework_schema.server import Attended
from framework_schema.watched import PLAIN, Statement, Tape

DO = frozenset({"ALTER", "COMMENT", "CREATE", "DELETE", "DROP", "INSERT", "REPLACE", "TRUNCATE", "UPDATE", "WITH"})
READS = frozenset({"SELECT", "SHOW", "DESC", "DESCRIBE", "EXPLAIN", "SET"})
"""What we do ourselves beside a script's work, and need not be done again."""
EMPTY = re.compile(r'SELECT 1 FROM ("(?:[^"]|"")+"|`(?:[^`]|``)+`) LIMIT 1')

PAST = frozenset({
    "attrgetter", "connect", "connect_params", "DataSet", "methodcaller", "mysql", "psycopg", "psycopg2", "pymysql",
    "sqlite3",
})  # fmt: skip
"""Names by which a script would reach the driver, or another database, past the one it was given."""
PAST_MODULES = PAST | {"apsw_ext", "cockroachdb", "dataset", "db_url", "pool"}
KNOWN_PRIVATE = frozenset({"_meta", "__name__"})


class Watched(Attended):
    """A database whose statements go on ``tape``, when there is one."""

    tape: Tape | None = None
    is_noting: bool = False

    def execute_sql(self, sql: str, params: Any = None, *args: Any) -> Any:
        """Run a statement and note it."""
        tape = self.tape
        if tape is None or self.is_noting:
            return super().execute_sql(sql, params, *args)
        self.is_noting = True
        try:
            cursor = super().execute_sql(sql, params, *args)
            return self._noted(tape, cursor, sql, params)
        except Exception:
            tape.distrust("a statement of it failed")
            raise
        finally:
            self.is_noting = False

    def _noted(self, tape: Tape, cursor: Any, sql: str, params: Any) -> Any:
        words = sql.split(None, 1)
        word = words[0].upper().rstrip(";") if words else ""
        is_ours = tape.is_ours or (self.catalog is not None and self.catalog.is_looking)
        if is_ours and EMPTY.fullmatch(sql):
            answer = super().execute_sql(sql).fetchone()
            tape.statements.append(Statement(sql, asks=True, answer=answer))
        elif (is_ours and word in READS) or word in ("SAVEPOINT", "RELEASE"):
            pass
        elif getattr(cursor, "description", None):
            tape.distrust("it reads rows")
        elif word in DO and isinstance(params, tuple | list | None) and all(type(p) in PLAIN for p in params or ()):
            this: Any = self
            journal = Journal.of(this)
            converges = tape.is_ours or (journal is not None and journal.is_own)
            # The values as they are: MariaDB's journal knows a statement by its text and theirs.
            kept = list(params) if isinstance(params, list) else params
            tape.statements.append(Statement(sql, kept, converges=converges))
            return Told(cursor, tape)
        else:
            tape.distrust(f"it runs {word or 'an empty statement'}, or values of its own kind")
        return cursor

    def _goes_round(self) -> None:
        super()._goes_round()
        if self.tape is not None and not self.is_noting and not self.tape.is_ours:
            self.tape.distrust("it asks for the driver's connection")

    @property
    def database(self) -> Any:
        """Return the database's name, which is another one elsewhere."""
        if self.tape is not None and not self.is_noting and not self.tape.is_ours:
            self.tape.distrust("it asks for the database's name")
        return vars(self).get("database")

    @database.setter
    def database(self, name: Any) -> None:
        vars(self)["database"] = name

    @contextmanager
    def watching(self, *, ours: bool) -> Iterator[Tape]:
        """Put what happens in the body on a tape; ``ours`` says that it is no script."""
        self.tape = Tape(ours)
        try:
            yield self.tape
        finally:
            self.tape = None


class WatchedPostgres(Watched, OwnPostgres):
    """PostgreSQL, watched."""


class WatchedMysql(Watched, OwnMysql):
    """MariaDB, watched."""


class Told:
    """A cursor that tells what is asked of it: only the number of rows is the same elsewhere, or can be told apart."""

    def __init__(self, cursor: Any, tape: Tape) -> None:
        self._cursor, self._tape, self._place = cursor, tape, len(tape.statements) - 1

    @property
    def rowcount(self) -> Any:
        """Return the number of rows changed; it must be the same elsewhere."""
        rows, statements = self._cursor.rowcount, self._tape.statements
        statements[self._place] = replace(statements[self._place], rows=rows)
        return rows

    def __getattr__(self, name: str) -> Any:
        self._tape.distrust(f"it asks for {name} of a statement")
        return getattr(self._cursor, name)

    def __iter__(self) -> Iterator[Any]:
        self._tape.distrust("it reads rows")
        return iter(self._cursor)


def watched_server(database: pw.Database) -> pw.Database:
    """Return a closed database like this one that can be watched; of a kind of its own it stays as it is."""
    kind = {OwnPostgres: WatchedPostgres, OwnMysql: WatchedMysql}.get(type(database))
    if kind is None:
        return database
    made: Any = kind(database.database, **dict(database.connect_params))
    made.wait = database.wait  # type: ignore[attr-defined]
    return made  # type: ignore[no-any-return]


@lru_cache(maxsize=512)
def is_contained(migration: Migration) -> bool:
    """Tell, by its text alone, that a script reaches the server by its database's ``execute_sql`` only."""
    mentions = {id(node) for node in mere_mentions(migration.tree)}
    return all(id(node) in mentions or _is_contained(node) for node in ast.walk(migration.tree))


def _is_contained(node: ast.AST) -> bool:
    match node:
        case ast.Name(id="type", ctx=ast.Load()):
            return False
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _is_public(name)
        case ast.Import(names=names):
            return not any(_leads_past(name.name) for name in names)
        case ast.ImportFrom(module=module, names=names):
            return not any(_leads_past(name) for name in (module or "", *(name.name for name in names)))
        case ast.Call(func=ast.Name(id="getattr" | "setattr" | "delattr" | "hasattr"), args=[_, asked, *_]):
            return isinstance(asked, ast.Constant) and _is_public(str(asked.value))
        case ast.Call(func=ast.Name(id="super"), args=[_, *_]) | ast.MatchClass():
            return False
    return True


def _leads_past(module: str) -> bool:
    parts = module.split(".")
    return not PAST_MODULES.isdisjoint(parts) or parts[-1].endswith("Database")


def _is_public(name: str) -> bool:
    is_private = name.startswith("_") and name.strip("_") != "" and name not in KNOWN_PRIVATE
    return not is_private and name not in PAST and not name.endswith("Database")

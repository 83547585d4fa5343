"""MariaDB and MySQL: GET_LOCK for the run, and a journal, for no transaction undoes DDL there."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import peewee as pw

from framework_schema.cluster_lock import ClusterLock, is_cluster, node_of, other_nodes
from framework_schema.dialects import Hindrance, Scratch, refuse_open_transaction
from framework_schema.errors import Locked, SchemaError, Unreadable
from framework_schema.mysql_ddl import MysqlGrammar
from framework_schema.mysql_keys import around
from framework_schema.mysql_snapshot import MysqlReader
from framework_schema.server import (
    LOCK_WAIT,
    PAUSE,
    READS,
    Attended,
    Run,
    ServerDialect,
    forgetting,
    forgiving,
    poll,
)
from framework_schema.server_alignment import Around
from framework_schema.server_snapshot import ServerTable, my_quote
from framework_schema.server_sql import execute
from framework_schema.snapshot import Snapshot
from framework_schema.wording import say

SCRATCH = "framework_schema_scratch_"
COMMITS = re.compile(
    r"\s*(CREATE(?!\s+TEMPORARY)|ALTER|DROP(?!\s+TEMPORARY)|RENAME|TRUNCATE|LOCK|UNLOCK|ANALYZE|OPTIMIZE|REPAIR"
    r"|GRANT|REVOKE)\b",
    re.I,
)
"""Statements that commit what went before: https://mariadb.com/kb/en/sql-statements-that-cause-an-implicit-commit/"""

DENIED = {1044, 1045, 1142, 1227}
NO_SCRATCH = (
    "its user may make no database, and what the scripts define is found by running them in an empty one, which is"
    " dropped afterwards"
)
ALLOW = "Let an administrator run: GRANT ALL ON `framework\\_schema\\_scratch\\_%`.* TO the user."

WAIT_LONGER = "Try again when it is done, or wait longer (--timeout)."
LOCK_TIMEOUT = 1205
HINDRANCES = {1213: Hindrance.CONFLICT, LOCK_TIMEOUT: Hindrance.LOCK}
"""Deadlock, and a lock that was not to be had: https://mariadb.com/kb/en/mariadb-error-code-reference/."""
NO_SAVEPOINT = 1305
NO_TABLE = 1146
IS_THERE = {1007, 1050, 1060, 1061, 1068, 1826}
IS_GONE = {1008, 1051, 1091, 1146}
"""What the server says of a statement that had run already, though we were killed before we knew."""


NO_KEY = (
    "a foreign key cannot be made: the two columns differ in type or charset, what it refers to has no index, or a"
    " table is not InnoDB"
)
NO_FIT = "a row has a value that the new type cannot hold"
NEEDED = "a foreign key needs this index; it goes once another one serves the key"
MEANINGS = {
    1005: NO_KEY, 1215: NO_KEY, 1822: NO_KEY, 1824: NO_KEY, 1825: NO_KEY, 3780: NO_KEY, 1025: NEEDED, 1553: NEEDED,
    1050: "a table or view of this name is there already", 1061: "the table has another index of this name",
    1062: "rows repeat a value", 1068: "the table has another primary key",
    1071: "the index would be longer than the server takes: a column is wider than expected",
    1118: "the row would be longer than the server takes: a column is wider than expected",
    1170: "a column is TEXT, which has no index; migrate --strict gives it the expected type",
    1359: "another trigger has this name", 1142: "the user may not do this", 1044: "the user may not do this",
    1264: NO_FIT, 1265: NO_FIT, 1292: NO_FIT, 1366: NO_FIT, 1406: NO_FIT, 4025: "a row breaks the CHECK",
    1832: "a foreign key stands on the column", 1833: "a foreign key refers to the column",
}  # fmt: skip
"""What an error says about the object at hand: https://mariadb.com/kb/en/mariadb-error-code-reference/."""


class HalfDone(SchemaError):
    """A script that failed where DDL cannot be undone; says what stands."""


class OwnMysql(Attended, pw.MySQLDatabase):
    """A plain connection of ours to MariaDB or MySQL: strict, and with short waits for locks.

    Without strict mode a value that does not fit is cut without a word.
    """

    cluster_lock: ClusterLock | None = None
    """The lock of a Galera cluster, while we hold it."""

    def __init__(self, database: str | None, **kwargs: Any) -> None:
        # FOUND_ROWS: an UPDATE that changes nothing still tells how many rows it met, as on other engines.
        super().__init__(database, **{**kwargs, "client_flag": int(kwargs.get("client_flag", 0)) | 2})

    def _connect(self) -> Any:
        base: Any = super()
        connection = base._connect()
        with connection.cursor() as cursor:
            cursor.execute(
                "SET SESSION sql_mode = CONCAT_WS(',', NULLIF(REPLACE(REPLACE(@@sql_mode, 'ANSI_QUOTES', ''), "
                "'NO_BACKSLASH_ESCAPES', ''), ''), 'STRICT_ALL_TABLES'), "
                f"lock_wait_timeout = {LOCK_WAIT}, innodb_lock_wait_timeout = {LOCK_WAIT}, sql_quote_show_create = 1"
                "/*M!100304 , system_versioning_alter_history = KEEP */"
            )
            cursor.execute("SHOW GLOBAL VARIABLES LIKE 'wsrep_on'")
            if (cursor.fetchone() or ("", ""))[1] == "ON":  # see what other nodes have committed before this statement
                cursor.execute("SET SESSION wsrep_sync_wait = 15")
        return connection

    def execute_sql(self, sql: str, params: Any = None, *args: Any) -> Any:
        """Run a statement; one that writes only while the cluster's lock is held, where there is one."""
        if self.cluster_lock is not None and not READS.match(sql):
            self.cluster_lock.check()
        return super().execute_sql(sql, params, *args)

    @cached_property
    def is_cluster(self) -> bool:
        """Whether the server is a node of a Galera cluster; asked once."""
        return is_cluster(self)

    @cached_property
    def server_facts(self) -> tuple[int, str]:
        """Whether it folds the names of tables, and its version; asked once, for every look at a table needs them."""
        folds, version = self.execute_sql("SELECT @@lower_case_table_names, version()").fetchone()
        return int(folds), str(version)

    def get_primary_keys(self, table: str, schema: str | None = None) -> list[str]:
        """Return none for a table that is not there, as the other engines do."""
        with _absent_is_empty() as found:
            found += super().get_primary_keys(table, schema)
        return found

    def get_indexes(self, table: str, schema: str | None = None) -> list[Any]:
        """Return none for a table that is not there, as the other engines do."""
        with _absent_is_empty() as found:
            found += super().get_indexes(table, schema)
        return found


@contextmanager
def _absent_is_empty() -> Iterator[list[Any]]:
    found: list[Any] = []
    try:
        yield found
    except pw.DatabaseError as error:
        if _number(error) != NO_TABLE:
            raise


class MysqlDialect(ServerDialect):
    """MariaDB and MySQL."""

    name = "mariadb"
    ddl_rolls_back = False
    grammar = MysqlGrammar()
    reader = MysqlReader

    @contextmanager
    def exclusive(self, database: pw.Database, name: str) -> Iterator[None]:
        """Hold the lock, and no transaction."""
        with self.alone(database, name), self.keeping(database):
            yield

    @contextmanager
    def alone(self, database: pw.Database, name: str) -> Iterator[None]:
        """Hold GET_LOCK, whose names are the whole server's and at most 64 characters; on a cluster its lock too.

        It survives commits and ends with the connection: https://mariadb.com/kb/en/get_lock/.
        """
        refuse_open_transaction(database, name)
        lock, end = _lock_name(database), time.monotonic() + _wait(database)
        if not poll(lambda: _one(database, "SELECT GET_LOCK(%s, 0)", lock) == 1, _wait(database)):
            raise Locked(name, _holder(database, lock), WAIT_LONGER)
        try:
            with _in_cluster(database, name, end), _attended(database, patient(database)):
                yield
        finally:
            if not database.is_closed():
                with forgiving():
                    database.execute_sql("SELECT RELEASE_LOCK(%s)", (lock,))

    @contextmanager
    def step(self, database: pw.Database, key: str, *, sealed: bool = False) -> Iterator[None]:
        """Keep a journal of the script's own statements, so that a second run goes on where this one stopped.

        Data is written in a transaction; DDL commits it, together with the
        journal's record of it, and a new one begins.
        """
        journal = Journal(database, key)
        with forgetting(database), _attended(database, journal.attend), journal.open():
            try:
                with _refusing(database, key):
                    yield
            except (Exception, SystemExit) as error:
                journal.give_up()
                if journal.stands:
                    raise HalfDone(journal.told(error)) from error
                raise
            journal.finish()

    def hindrance(self, error: BaseException | None) -> Hindrance | None:
        """Read the error's number; what the journal says stands is passed over by the next try."""
        return HINDRANCES.get(_number(error) or 0) if error else None

    @contextmanager
    def attempt(self, database: pw.Database) -> Iterator[None]:
        """Undo nothing but the session's settings: one DDL statement is whole or not at all.

        The next run sees what is there.
        """
        mode, keys = database.execute_sql("SELECT @@sql_mode, @@foreign_key_checks").fetchone()
        try:
            yield
        except pw.DatabaseError:
            with forgiving():
                database.execute_sql(f"SET SESSION sql_mode = %s, foreign_key_checks = {int(keys)}", (mode,))
            raise

    def as_is(self, database: pw.Database, table: ServerTable) -> ServerTable:
        """Ask for the table's text anew: each MODIFY changes it."""
        printed = execute(database, f"SHOW CREATE TABLE {my_quote(table.name)}").fetchone()[1]
        return replace(table, printed=printed)

    def around(self, database: pw.Database, expected: Snapshot, table: str, column: str, *, repair: bool) -> Around:
        """Change what foreign keys tie to the column along with it."""
        return around(database, expected, table, column)

    def explain(self, error: BaseException) -> str:
        """Say what stands where; the server's words come after."""
        meant = MEANINGS.get(_number(error) or 0)
        return f"{meant} ({say(error)})" if meant else say(error)

    def own_statements(self, database: pw.Database) -> AbstractContextManager[Any]:
        """Tell the journal of the script, if one is open, that what follows converges by itself."""
        journal = Journal.of(database)
        return journal.converging() if journal else nullcontext()

    def schema_version(self, database: pw.Database) -> str:
        """Hash the columns, indexes, constraints and triggers: the server keeps no number for the schema."""
        database.execute_sql("SET SESSION group_concat_max_len = 16777216")
        return hashlib.sha256(str(database.execute_sql(VERSION).fetchall()).encode()).hexdigest()[:32]

    def scratch(self, database: pw.Database) -> Scratch:
        """Return a database of its own that is dropped afterwards."""
        if database.is_closed():
            with database.connection_context():
                key = _settings(database)
        else:
            key = _settings(database)
        return Scratch(f"{self.name}:{key}", lambda: self._scratch(database))

    @contextmanager
    def _scratch(self, database: pw.Database) -> Iterator[pw.Database]:
        """Make it like the live one; a lock of its name tells the living from what a killed process left."""
        from framework_schema.databases import clone

        made = clone(database)
        with made.connection_context():
            name = f"{SCRATCH}{_tag(node_of(made)) if made.is_cluster else ''}{uuid.uuid4().hex}"[: len(SCRATCH) + 16]
            charset, collation = made.execute_sql("SELECT @@character_set_database, @@collation_database").fetchone()
            _sweep(made)
            made.execute_sql("SELECT GET_LOCK(%s, 0)", (name,))
            try:
                made.execute_sql(f"CREATE DATABASE {my_quote(name)} CHARACTER SET {charset} COLLATE {collation}")
            except pw.DatabaseError as error:
                if _number(error) not in DENIED:
                    raise
                raise Unreadable(str(database.database), NO_SCRATCH, ALLOW) from error
            try:
                made.execute_sql(f"USE {my_quote(name)}")
                yield made
            finally:
                made.execute_sql(f"DROP DATABASE IF EXISTS {my_quote(name)}")


class Journal:
    """What of one script has been committed, told by the text and values of its statements.

    The record is kept in the events, kind ``progress``: ``done`` holds the
    digests of what is committed with it, ``doubt`` the one DDL statement that
    was about to run. It ends where the script is recorded, so a script that
    was rolled back begins anew. Statements of operations that look before they
    act are not kept: the database itself tells what of them is done.
    """

    def __init__(self, database: pw.Database, key: str) -> None:
        self.database, self.key = database, key
        self.done: Counter[str] = Counter()
        self.doubt: str | None = None
        self.committed: list[str] = []
        self.pending: list[str] = []
        self.stands: list[str] = []
        self.is_own = False
        self.events = getattr(database, "journal_table", None) or "schema_migration_events"

    @staticmethod
    def of(database: pw.Database) -> Journal | None:
        """Return the journal that watches this connection."""
        attendant = database.attendant if isinstance(database, Attended) else None
        found = getattr(attendant, "__self__", None)
        return found if isinstance(found, Journal) else None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Read what earlier attempts did, and begin a transaction."""
        self._read()
        with self._unwatched():
            was = _transactions(self.database)
            self.database.begin()
            was.append(pw._transaction(self.database))
        try:
            yield
        finally:
            was.pop()

    @contextmanager
    def converging(self) -> Iterator[Journal]:
        """Mark what follows as statements that need no journal."""
        was, self.is_own = self.is_own, True
        try:
            yield self
        finally:
            self.is_own = was

    def began(self, sql: str) -> bool:
        """Tell, once, whether an earlier attempt ran a statement without values, or was about to."""
        digest = _digest(sql, None)
        if self.done[digest] > 0:
            self.done[digest] -= 1
            return True
        found = digest == self.doubt
        self.doubt = None if found else self.doubt
        return found

    def attend(self, sql: str, params: Any, run: Run) -> Any:
        """Skip what is done; record what is about to be committed; begin anew after DDL."""
        if READS.match(sql):
            return self._read_or_savepoint(sql, params, run)
        digest = _digest(sql, params)
        if not self.is_own and self.done[digest] > 0:
            self.done[digest] -= 1
            self.stands.append(_short(sql))
            return _Skipped()
        if COMMITS.match(sql):
            return self._ddl(sql, params, digest, run)
        cursor = patient(self.database)(sql, params, run)
        if not self.is_own:
            self.pending.append(digest)
        return cursor

    @staticmethod
    def _read_or_savepoint(sql: str, params: Any, run: Run) -> Any:
        """Let go of a savepoint that DDL has ended with its transaction."""
        try:
            return run(sql, params)
        except pw.DatabaseError as error:
            if _number(error) != NO_SAVEPOINT:
                raise
            return _Skipped()

    def _ddl(self, sql: str, params: Any, digest: str, run: Run) -> Any:
        in_doubt = digest == self.doubt and not self.is_own
        if self.pending:
            self.stands.append(f"the data that {len(self.pending)} statement(s) wrote")
        if self.pending or self.committed or not self.is_own:
            self._record(run, None if self.is_own else digest)
        run("COMMIT", None)  # the DDL would do it; said by itself, a conflict is known from a failure of the DDL
        try:
            cursor = patient(self.database)(sql, params, run)
        except pw.DatabaseError as error:
            run("BEGIN", None)
            if not (in_doubt and _number(error) in IS_THERE | IS_GONE):
                if not self.is_own:
                    self._record(run, None)
                    run("COMMIT", None)
                    run("BEGIN", None)
                raise
            cursor = _Skipped()
        else:
            run("BEGIN", None)
        self.doubt = None
        self.stands.append(_short(sql))
        if not self.is_own:
            self.committed.append(digest)
        return cursor

    def finish(self) -> None:
        """Commit the script's data with the record of it."""
        with self._unwatched():
            if self.pending or self.committed:
                self._record(self._run, None)
            self._run("COMMIT", None)

    def give_up(self) -> None:
        """Undo the data since the last DDL, and record the DDL that stands."""
        with self._unwatched(), forgiving():
            self._run("ROLLBACK", None)
            self.pending = []
            if self.committed:
                self._record(self._run, None)

    def told(self, error: BaseException) -> str:
        """Say what failed and what stands."""
        shown = "; ".join(self.stands[-5:])
        more = f" and {len(self.stands) - 5} before" if len(self.stands) > 5 else ""
        return (
            f"{say(error)}. MariaDB and MySQL cannot undo DDL, so this stands: {shown}{more}."
            " The data written after it was undone; the next run goes on from there"
        )

    def _record(self, run: Run, doubt: str | None) -> None:
        detail = json.dumps({"done": self.committed + self.pending, "doubt": doubt})
        run(
            f"INSERT INTO {my_quote(self.events)} (at, kind, migration_name, outcome, detail, host, process, "
            "package_version) VALUES (UTC_TIMESTAMP(), 'progress', %s, 'ok', %s, '', 0, '')",
            (self.key, detail),
        )
        self.committed, self.pending = [], []

    def _read(self) -> None:
        with self._unwatched():
            table = my_quote(self.events)
            ended, how = self.database.execute_sql(
                f"SELECT id, kind FROM {table} WHERE migration_name = %s AND outcome = 'ok' AND kind <> 'progress' "
                "AND kind <> 'verified' UNION SELECT 0, '' ORDER BY id DESC LIMIT 1",
                (self.key,),
            ).fetchone()
            if how in ("applied", "adopted", "imported"):
                # It is undone now. What an earlier attempt undid, alignment has made again since, if it ran.
                remade = f"SELECT COALESCE(MAX(id), 0) FROM {table} WHERE kind = 'aligned' AND outcome = 'ok'"
                ended = max(ended, self.database.execute_sql(remade).fetchone()[0])
            rows = self.database.execute_sql(
                f"SELECT detail FROM {table} WHERE kind = 'progress' AND migration_name = %s AND id > %s ORDER BY id",
                (self.key, ended),
            ).fetchall()
        for (detail,) in rows:
            found = json.loads(detail)
            self.done.update(found["done"])
            self.doubt = found["doubt"]

    def _run(self, sql: str, params: Any) -> Any:
        return self.database.execute_sql(sql, params)

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        assert isinstance(self.database, Attended)
        was, self.database.refusing = self.database.refusing, None
        try:
            with self.database.attended(None):
                yield
        finally:
            self.database.refusing = was


class _Skipped:
    """The cursor of a statement that ran in an earlier attempt."""

    description: tuple[Any, ...] = ()
    rowcount = 0
    lastrowid = 0

    def fetchone(self) -> None:
        """Have no row."""

    def fetchall(self) -> list[Any]:
        """Have no rows."""
        return []

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def close(self) -> None:
        """Do nothing."""


def patient(database: pw.Database) -> Any:
    """Return an attendant that tries a statement again, with pauses, when a lock was not to be had in time."""

    def attend(sql: str, params: Any, run: Run) -> Any:
        end = time.monotonic() + _wait(database)
        while True:
            try:
                return run(sql, params)
            except pw.DatabaseError as error:
                if _number(error) != LOCK_TIMEOUT or time.monotonic() >= end:
                    raise
                time.sleep(PAUSE)

    return attend


@contextmanager
def _in_cluster(database: pw.Database, name: str, end: float) -> Iterator[None]:
    """Hold the lock of the cluster, where the server is a node of one."""
    if not isinstance(database, OwnMysql) or not database.is_cluster:
        yield
        return
    from framework_schema.databases import clone

    lock = ClusterLock(clone(database))
    with lock.held(max(0.0, end - time.monotonic())) as is_ours:
        if not is_ours:
            raise Locked(name, lock.holder(), WAIT_LONGER)
        database.cluster_lock = lock
        try:
            yield
        finally:
            database.cluster_lock = None


def _attended(database: pw.Database, attendant: Any) -> AbstractContextManager[None]:
    assert isinstance(database, Attended)
    return database.attended(attendant)


def _refusing(database: pw.Database, key: str) -> AbstractContextManager[None]:
    assert isinstance(database, Attended)
    return database.refuses(key)


def _transactions(database: pw.Database) -> list[Any]:
    state: Any = database
    found: list[Any] = state._state.transactions
    return found


def _wait(database: pw.Database) -> float:
    return database.wait if isinstance(database, Attended) else 30


def _one(database: pw.Database, sql: str, *params: Any) -> Any:
    return database.execute_sql(sql, params or None).fetchone()[0]


def _number(error: BaseException) -> int | None:
    """Return the server's error number."""
    for found in (error, getattr(error, "orig", None), error.__cause__, error.__context__):
        args = getattr(found, "args", ())
        if args and isinstance(args[0], int):
            return args[0]
    return None


def _digest(sql: str, params: Any) -> str:
    return hashlib.sha256(f"{' '.join(sql.split())}\0{params!r}".encode()).hexdigest()[:20]


def _short(sql: str) -> str:
    text = " ".join(sql.split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _lock_name(database: pw.Database) -> str:
    name = str(_one(database, "SELECT DATABASE()"))
    return "framework_schema:" + hashlib.sha256(name.encode()).hexdigest()[:40]


def _holder(database: pw.Database, lock: str) -> str:
    pid = _one(database, "SELECT IS_USED_LOCK(%s)", lock)
    who = f": server connection {pid}" if pid is not None else ""
    return f"another process migrates it and did not finish in time{who}"


def _settings(database: pw.Database) -> str:
    """Return all of the server and the database that changes what a script makes."""
    row = database.execute_sql(
        "SELECT version(), @@character_set_database, @@collation_database, @@sql_mode, @@lower_case_table_names"
    ).fetchone()
    return ":".join(map(str, row))


def _tag(node: str) -> str:
    return hashlib.sha256(node.encode()).hexdigest()[:8]


def _sweep(database: pw.Database) -> None:
    """Drop scratch databases whose maker was killed: nobody holds the lock of their name.

    The locks of other nodes of a cluster are not seen from here, but theirs are told by their names.
    """
    mark = SCRATCH.replace("_", "\\_") + "%"
    names = database.execute_sql(
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE %s", (mark,)
    )
    is_ours = _swept_here(database)
    for (name,) in names.fetchall():
        if is_ours(name.removeprefix(SCRATCH)[:8]) and _one(database, "SELECT GET_LOCK(%s, 0)", name) == 1:
            try:
                database.execute_sql(f"DROP DATABASE IF EXISTS {my_quote(name)}")
            finally:
                database.execute_sql("SELECT RELEASE_LOCK(%s)", (name,))


def _swept_here(database: pw.Database) -> Callable[[str], bool]:
    """Return what tells the scratch databases that only this node can have made, or one that is gone."""
    if not isinstance(database, OwnMysql) or not database.is_cluster:
        return lambda tag: True
    own, others = _tag(node_of(database)), other_nodes(database)
    if others is None:
        return lambda tag: tag == own
    theirs = {_tag(node) for node in others}
    return lambda tag: tag not in theirs


VERSION = """
SELECT 'c', MD5(GROUP_CONCAT(CONCAT_WS('|', table_name, column_name, column_type, is_nullable, column_default, extra,
    collation_name, generation_expression) ORDER BY table_name, ordinal_position))
FROM information_schema.columns WHERE table_schema = DATABASE()
UNION ALL SELECT 'i', MD5(GROUP_CONCAT(CONCAT_WS('|', table_name, index_name, non_unique, seq_in_index, column_name,
    collation) ORDER BY table_name, index_name, seq_in_index))
FROM information_schema.statistics WHERE table_schema = DATABASE()
UNION ALL SELECT 'k', MD5(GROUP_CONCAT(CONCAT_WS('|', table_name, constraint_name, constraint_type)
    ORDER BY table_name, constraint_name))
FROM information_schema.table_constraints WHERE table_schema = DATABASE()
UNION ALL SELECT 'f', MD5(GROUP_CONCAT(CONCAT_WS('|', table_name, constraint_name, delete_rule, update_rule,
    referenced_table_name) ORDER BY table_name, constraint_name))
FROM information_schema.referential_constraints WHERE constraint_schema = DATABASE()
UNION ALL SELECT 't', MD5(GROUP_CONCAT(CONCAT_WS('|', trigger_name, action_timing, action_statement)
    ORDER BY trigger_name))
FROM information_schema.triggers WHERE trigger_schema = DATABASE()
"""

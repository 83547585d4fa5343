"""PostgreSQL: an advisory lock for the run, a transaction for each script. And CockroachDB, which speaks it."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import peewee as pw
from playhouse.cockroachdb import CockroachDatabase

from framework_schema.catalog import looking
from framework_schema.dialects import Hindrance, Scratch, refuse_open_transaction
from framework_schema.errors import CommitRefused, Locked, Unreadable
from framework_schema.postgres_ddl import PostgresGrammar
from framework_schema.postgres_dependents import around
from framework_schema.postgres_snapshot import PostgresReader
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
from framework_schema.server_snapshot import pg_quote
from framework_schema.shipped import Shipped, shipped
from framework_schema.snapshot import Snapshot
from framework_schema.wording import say

LOCK_CLASS = 0x66736368
"""First half of the advisory lock's key, "fsch"; the second is a hash of the schema's name."""

CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.I)

TABLES = (
    "SELECT relname FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') AND relnamespace = "
    "(SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = COALESCE(%s, current_schema())) ORDER BY relname"
)

LOCKED_OUT = "55P03"
HINDRANCES = {"40001": Hindrance.CONFLICT, "40P01": Hindrance.CONFLICT, LOCKED_OUT: Hindrance.LOCK}
"""What others do to us: serialization failure, deadlock, lock not available. CockroachDB asks with 40001 to try again
(https://www.cockroachlabs.com/docs/stable/transaction-retry-error-reference)."""

MEANINGS = {
    "0A": "PostgreSQL does not do this to what is there; a script of yours has to",
    "22": "a value cannot be read as the new type; look for it, and mend it or set it to NULL",
    "23505": "rows have the same key; mend them, or give --repair",
    "23502": "rows have NULL there; fill them, or give --repair",
    "23503": "rows refer to rows that are not there; mend them, or give --repair",
    "23514": "rows break the rule, or belong to no partition; mend them",
    "23P01": "rows exclude each other; mend them",
    "2BP01": "something else depends on it; drop that, run again, and make it again",
    "42501": "this user may not; run it as the owner of the table, or as a member of the owner's role",
    "42704": "a type, operator class or role that it needs is not there; make it, or install its extension",
    "42710": "something else has its name; rename that or drop it",
    "42804": "its type does not fit what it refers to; change that first",
    "42830": "what it refers to has no key on these columns; that comes first",
    "42883": "a function or operator that it needs is not there; make it, or install its extension",
    "42P01": "a table that it needs is not there",
    "42P07": "something else has its name; rename that or drop it",
    "42P16": "the table's own definition forbids it; a script of yours has to change that",
    "53": "the server has no room or memory left",
    "55006": "it is in use by this session",
}
"""What an error says of a change that was left, by SQLSTATE or its class."""

PROTOCOL_VIOLATION = "08P01"
NO_TRANSACTION = "a proxy between us and PostgreSQL allows no transactions (pgbouncer in statement mode)"
NO_SESSION = (
    "a proxy between us and PostgreSQL hands statements of one connection to several servers, so that no lock holds"
)
DIRECTLY = "Give the URL of the server itself, or of a pool in session mode, for migrations."


class OwnPostgres(Attended, pw.PostgresqlDatabase):
    """A plain connection of ours to PostgreSQL; through psycopg 3 where it is installed."""

    can_commit: bool = True
    """False for a scratch or a dry run, which ends with a rollback whatever happens."""
    is_direct: bool = False
    """True while it is known that no proxy stands between, so that what the session keeps is kept for us."""

    def __init__(self, database: str | None, **kwargs: Any) -> None:
        super().__init__(database, **{"prefer_psycopg3": True, **kwargs})

    @contextmanager
    def directly(self) -> Iterator[None]:
        """Know in the body that no proxy stands between."""
        self.is_direct = True
        try:
            yield
        finally:
            self.is_direct = False

    def _connect(self) -> Any:
        self.script_was_here = False
        base: Any = super()
        return base._connect()

    def get_tables(self, schema: str | None = None) -> list[str]:
        """Ask the catalog itself: the view that Peewee asks takes the server longer to plan than to answer."""
        return [name for (name,) in self.execute_sql(TABLES, (schema,)).fetchall()]

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Let the server keep the plans of the body's statements: a look at a table takes it longer to plan than to do.

        Not of a script's, whose result may have other columns the second time,
        which PostgreSQL refuses; and not after one of a script's, which may be
        DEALLOCATE ALL, or a function that does it.
        """
        connection: Any = pw.PostgresqlDatabase.connection(self)
        if not self.is_direct or self.script_was_here or not hasattr(connection, "prepare_threshold"):
            yield
            return
        was, connection.prepare_threshold = connection.prepare_threshold, 0
        try:
            yield
        finally:
            connection.prepare_threshold = was


class OwnCockroach(Attended, CockroachDatabase):  # type: ignore[misc]
    """A plain connection of ours to CockroachDB."""

    def __init__(self, database: str | None, **kwargs: Any) -> None:
        super().__init__(database, **{"prefer_psycopg3": True, **kwargs})


class RunTransaction(pw._transaction):
    """The transaction that is open for all of a run, and is committed between scripts.

    A script's work and its row in the history are written one after the other;
    what ends both is the beginning of the next script, or the end of the run.
    Settings are the transaction's, since behind a proxy the session is not ours;
    ``check`` makes sure, each time it has begun, that the lock is.
    """

    joins_scripts: bool = False
    """True while scripts run in one transaction: what was repeated before them is not proven yet."""

    def __init__(self, database: pw.Database, check: Callable[[], None]) -> None:
        super().__init__(database)
        self.check = check

    def _build_ctx(self) -> RunTransaction:
        return type(self)(self.db, self.check)

    def _begin(self) -> None:
        try:
            self.db.begin()
        except pw.PeeweeException as error:
            if _code(error) != PROTOCOL_VIOLATION:
                raise
            raise Unreadable(str(self.db.database), NO_TRANSACTION, DIRECTLY) from error
        try:
            self.db.execute_sql(f"SET LOCAL lock_timeout = '{LOCK_WAIT}s'")
            self.check()
        except BaseException:
            self.db.rollback()
            raise

    def next_script(self) -> None:
        """Commit what the script before did and its row, and begin anew."""
        self.commit()


class PostgresDialect(ServerDialect):
    """PostgreSQL."""

    name = "postgresql"
    ddl_rolls_back = True
    grammar = PostgresGrammar()
    reader = PostgresReader

    @contextmanager
    def exclusive(self, database: pw.Database, name: str) -> Iterator[None]:
        """Hold a session's advisory lock, and a transaction that each script's beginning commits.

        The lock ends with the session, so a killed process leaves nothing:
        https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS.
        It is the schema's, whatever the history's table is called.
        """
        refuse_open_transaction(database, name)
        with (
            self._locked(database, name) as check,
            patient(database),
            RunTransaction(database, check),
            self.keeping(database),
        ):
            yield

    @contextmanager
    def alone(self, database: pw.Database, name: str) -> Iterator[None]:
        """Hold the same lock, without a transaction."""
        refuse_open_transaction(database, name)
        with self._locked(database, name, alone=True), patient(database):
            if isinstance(database, OwnPostgres):
                database.script_was_here = True
            yield

    @contextmanager
    def _locked(self, database: pw.Database, name: str, *, alone: bool = False) -> Iterator[Callable[[], None]]:
        """Take the lock and give it back; yields what makes sure of it at the beginning of a transaction.

        A proxy may give each transaction another server process, and each
        process to many clients, so that a session's lock is nobody's. There the
        lock is the transaction's; in between others may have their turn, which
        is why the history is read again before each script. A script ``alone``
        has the lock from a second connection, whose transaction pins it.
        """
        half = _half_key(database)
        if _is_pooled(database):
            if not alone:
                yield lambda: _take(database, name, half, "pg_try_advisory_xact_lock")
                return
            with _beside(database) as holder:
                _take(holder, name, half, "pg_try_advisory_xact_lock")
                yield lambda: None
            return
        _take(database, name, half, "pg_try_advisory_lock")
        pid = _one(database, "SELECT pg_backend_pid()")

        def check() -> None:
            if not _holds(database, half, pid):
                raise Unreadable(name, NO_SESSION, DIRECTLY)

        try:
            with database.directly() if isinstance(database, OwnPostgres) else _nothing():
                yield check
        finally:
            if not database.is_closed():
                with forgiving():
                    database.execute_sql("SELECT pg_advisory_unlock(%s, %s)", (LOCK_CLASS, half))

    @contextmanager
    def step(self, database: pw.Database, key: str, *, sealed: bool = False) -> Iterator[None]:
        """Begin the script's transaction; undo it, and nothing else, when the script fails."""
        top = database.top_transaction()
        if isinstance(top, RunTransaction) and not top.joins_scripts:
            top.next_script()
        before = _one(database, "SELECT txid_current()") if self.name == "postgresql" else None
        with forgetting(database), database.savepoint():
            with _refusing(database, key):
                yield
            self._check_deferred(database)
            if before is not None and _one(database, "SELECT txid_current()") != before:
                raise CommitRefused(f"{key} ended the runner's transaction. Remove what commits or rolls back.")

    def _check_deferred(self, database: pw.Database) -> None:
        """Have the script that breaks a deferred constraint fail, not the one whose beginning commits it.

        A scratch keeps its own broken one, which forbids COMMIT.
        """
        if self.name == "postgresql" and getattr(database, "can_commit", True):
            database.execute_sql("SET CONSTRAINTS ALL IMMEDIATE")

    def fits_catalog(self, database: pw.Database) -> bool:
        """Look for event triggers and for tables that inherit."""
        return self.name == "postgresql" and not _one(database, REACHING_OUT)

    def own_statements(self, database: pw.Database) -> AbstractContextManager[Any]:
        """Leave out the savepoints in a transaction: what has no lock in time undoes its script, which begins again."""
        if isinstance(database, Attended) and database.in_transaction():
            return database.attended(None)
        return _nothing()

    def hindrance(self, error: BaseException | None) -> Hindrance | None:
        """Read the SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html."""
        return HINDRANCES.get(_code(error) or "") if error else None

    def waiting(self, database: pw.Database) -> str:
        """Name who is idle in a transaction; of other users' sessions PostgreSQL may tell the number only."""
        rows = database.execute_sql(IDLE).fetchall()
        return ", ".join(
            f"server process {pid} ({name}) since {since}" if name else f"server process {pid}"
            for pid, name, since in rows
        )

    def around(self, database: pw.Database, expected: Snapshot, table: str, column: str, *, repair: bool) -> Around:
        """Ask ``pg_depend``; views are taken down and put back with ``repair`` only."""
        return around(database, table, column, views_too=repair)

    def explain(self, error: BaseException) -> str:
        """Read the SQLSTATE."""
        code = _code(error) or ""
        meaning = MEANINGS.get(code) or MEANINGS.get(code[:2])
        return f"{meaning} ({say(error)})" if meaning else say(error)

    def attempt(self, database: pw.Database) -> AbstractContextManager[Any]:
        """Put a savepoint around it."""
        return database.savepoint() if database.in_transaction() else database.atomic()

    def schema_version(self, database: pw.Database) -> str:
        """Hash which catalog rows there are and who wrote each last: ``xmin`` changes with every ALTER."""
        return str(_one(database, VERSION))

    def shipped(self, database: pw.Database) -> Shipped | None:
        """Return what was read from a PostgreSQL of our own; CockroachDB prints other texts."""
        return shipped("postgresql") if self.name == "postgresql" else None

    def major(self, database: pw.Database) -> int:
        """Ask the connection."""
        return int(getattr(database, "server_version", 0) or 0) // 10000

    def is_forbidden(self, error: BaseException) -> bool:
        """Know insufficient privilege, and a transaction or standby that only reads."""
        return _code(error) in ("42501", "25006")

    def scratch_right(self, database: pw.Database, scripts: str) -> str:
        """Name the grant."""
        user = _one(database, "SELECT current_user")
        return (
            f"what {scripts} define was not compared with the database: that is tried in a scratch schema, which"
            f" takes GRANT CREATE ON DATABASE {pg_quote(str(database.database))} TO {pg_quote(str(user))}"
        )

    def scratch(self, database: pw.Database) -> Scratch:
        """Return a schema of its own in a transaction that cannot be committed."""
        version = getattr(database, "server_version", None)
        return Scratch(f"{self.name}:{version}", lambda: self._scratch(database))

    @contextmanager
    def _scratch(self, database: pw.Database) -> Iterator[pw.Database]:
        copy, name = self._beside(database), f"framework_schema_{os.getpid()}_{time.monotonic_ns()}"
        with copy.connection_context(), copy.transaction() as undone:
            try:
                copy.is_direct = not _is_pooled(copy)
                copy.execute_sql(f"CREATE SCHEMA {pg_quote(name)}")
                copy.execute_sql(f"SET LOCAL search_path = {pg_quote(name)}")
                # A script that names a live table's schema would wait for who uses it, the run itself perhaps.
                copy.execute_sql(f"SET LOCAL lock_timeout = '{LOCK_WAIT}s'")
                yield copy
            finally:
                undone.rollback()

    def lacks_what_is_outside(self, error: BaseException) -> bool:
        """Know an unknown type, operator class or function: an extension's are where CREATE EXTENSION put them."""
        return _code(error) in ("42704", "42883")

    @contextmanager
    def seeing_outside(self, database: pw.Database) -> Iterator[None]:
        """Put the session's own search_path behind the scratch, and forbid what this lets a script touch."""
        scratch = str(_one(database, "SELECT current_setting('search_path')"))
        usual = str(_one(database, "SELECT reset_val FROM pg_settings WHERE name = 'search_path'"))
        self._look_in(database, f"{scratch}, {usual}")
        try:
            yield
        finally:
            self._look_in(database, scratch)

    reading_scratch = seeing_outside

    def check_scratch(self, database: pw.Database) -> None:
        """Look for locks on tables of the live schema: a script that holds one did not stay in the scratch."""
        if self.name != "postgresql" or getattr(database, "can_commit", True):
            return
        with looking(database):
            is_outside = _one(database, OUTSIDE)
        if is_outside:
            raise CommitRefused("the script reaches for tables outside of the scratch schema")

    @staticmethod
    def _look_in(database: pw.Database, path: str) -> None:
        database.execute_sql(f"SET LOCAL search_path = {path}")

    def _beside(self, database: pw.Database) -> Any:
        """Return a second connection that cannot commit: a script that did would go on in the live schema."""
        from framework_schema.confined import Confined

        return Confined(str(database.database), **dict(database.connect_params))


class CockroachDialect(PostgresDialect):
    """CockroachDB; tested against a stand-in, PostgreSQL under ``CockroachDatabase``, and never the real one.

    Its advisory locks hold nothing (cockroachdb/cockroach#13546), so a row is
    locked instead, by a second connection, for as long as the run lasts.
    """

    name = "cockroachdb"

    def waiting(self, database: pw.Database) -> str:
        """Name none: it keeps no such list."""
        return ""

    def _beside(self, database: pw.Database) -> Any:
        from framework_schema.databases import clone

        return clone(database)

    @contextmanager
    def _locked(self, database: pw.Database, name: str, *, alone: bool = False) -> Iterator[Callable[[], None]]:
        from framework_schema.databases import clone

        holder = clone(database)
        table = pg_quote("framework_schema_lock")
        with holder.connection_context():
            holder.execute_sql(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY)")
            holder.execute_sql(f"INSERT INTO {table} (id) VALUES (1) ON CONFLICT (id) DO NOTHING")
            with holder.transaction() as held:
                if not poll(lambda: _locks_row(holder, held, table), _wait(database)):
                    raise Locked(name, "another process migrates it", "Try again when it is done (--timeout).")
                try:
                    yield lambda: None
                finally:
                    held.rollback()

    def schema_version(self, database: pw.Database) -> str:
        """Hash the columns and indexes."""
        return str(_one(database, COCKROACH_VERSION))


@contextmanager
def patient(database: pw.Database) -> Iterator[None]:
    """Let a statement that cannot have a lock in time be tried again, with pauses, up to the connection's timeout.

    Between two tries nothing of it waits in the table's queue, so readers pass.
    """

    pooled = _is_pooled(database)

    def attend(sql: str, params: Any, run: Run) -> Any:
        if READS.match(sql):
            return run(sql, params)
        end = time.monotonic() + _wait(database)
        if not database.in_transaction():
            return _unbound(sql, params, run, end)
        while True:
            run("SAVEPOINT framework_schema_try", None)
            try:
                cursor = run(sql, params)
            except pw.OperationalError as error:
                run("ROLLBACK TO SAVEPOINT framework_schema_try", None)
                if _code(error) != LOCKED_OUT or time.monotonic() >= end:
                    raise
                time.sleep(PAUSE)
            except pw.PeeweeException:
                run("ROLLBACK TO SAVEPOINT framework_schema_try", None)
                raise
            else:
                run("RELEASE SAVEPOINT framework_schema_try", None)
                return cursor

    def _unbound(sql: str, params: Any, run: Run, end: float) -> Any:
        """Run a statement that is a transaction by itself; CONCURRENTLY waits for others and keeps nobody waiting."""
        wait = max(1, round(end - time.monotonic())) if CONCURRENTLY.search(sql) else LOCK_WAIT
        if not pooled:
            run(f"SET lock_timeout = '{wait}s'", None)
        while True:
            try:
                return run(sql, params)
            except pw.OperationalError as error:
                is_idle = database.connection().info.transaction_status == 0
                if _code(error) != LOCKED_OUT or not is_idle or wait > LOCK_WAIT or time.monotonic() >= end:
                    raise
                time.sleep(PAUSE)

    with database.attended(attend) if isinstance(database, Attended) else _nothing():
        yield


@contextmanager
def _refusing(database: pw.Database, key: str) -> Iterator[None]:
    if isinstance(database, Attended):
        with database.refuses(key):
            yield
    else:
        yield


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _wait(database: pw.Database) -> float:
    return database.wait if isinstance(database, Attended) else 30


def _one(database: pw.Database, sql: str, *params: Any) -> Any:
    return database.execute_sql(sql, params or None).fetchone()[0]


def _code(error: BaseException) -> str | None:
    """Return the SQLSTATE of a driver's error, wrapped by Peewee."""
    for found in (getattr(error, "orig", None), error.__cause__, error.__context__, error):
        code = getattr(found, "sqlstate", None) or getattr(found, "pgcode", None)
        if code:
            return str(code)
    return None


def _is_pooled(database: pw.Database) -> bool:
    """Tell whether a proxy stands between: then the process that the login named is not the one that answers.

    It has to give each client a key of its own for cancelling
    (https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS).
    """
    named: int = database.connection().info.backend_pid
    return named != int(_one(database, "SELECT pg_backend_pid()"))


def _take(database: pw.Database, name: str, half: int, function: str) -> None:
    """Take the lock, or raise ``Locked`` with who has it when the connection's wait is over.

    The statement has no parameters: with some it would leave a portal, and so
    a snapshot, open until the next one, and CREATE INDEX CONCURRENTLY of who
    has the lock would wait for us as we wait for it.
    """

    def is_taken() -> bool:
        return bool(_one(database, f"SELECT {function}({LOCK_CLASS}, {half})"))

    if not poll(is_taken, _wait(database)):
        raise Locked(name, _holder(database, half), "Try again when it is done, or wait longer (--timeout).")


def _half_key(database: pw.Database) -> int:
    """Hash the schema; the database is in the key of every advisory lock already."""
    schema = str(_one(database, "SELECT current_schema()"))
    return int.from_bytes(hashlib.sha256(schema.encode()).digest()[:4], "big", signed=True)


def _holds(database: pw.Database, half: int, pid: int) -> bool:
    """Tell whether the lock is held by the server process that answers now, and it is the first one still."""
    held = _one(
        database,
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() "
        "AND pid = %s AND classid::bigint = %s AND objid::bigint = %s AND objsubid = 2",
        pid, LOCK_CLASS, half % 2**32,
    )  # fmt: skip
    return bool(held)


def _holder(database: pw.Database, half: int) -> str:
    """Name who has the lock."""
    row = database.execute_sql(
        "SELECT a.pid, a.application_name, a.client_addr::text, a.backend_start::text FROM pg_locks l "
        "JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_database d ON d.oid = l.database "
        "WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database() "
        "AND l.classid::bigint = %s AND l.objid::bigint = %s AND l.objsubid = 2",
        (LOCK_CLASS, half % 2**32),
    ).fetchone()
    if row is None:
        return "another process migrates it and did not finish in time"
    pid, application, address, since = row
    who = ", ".join(part for part in (application, address and f"from {address}", f"since {since}") if part)
    return f"another process migrates it and did not finish in time: server process {pid} ({who})"


def _locks_row(holder: pw.Database, held: Any, table: str) -> bool:
    try:
        holder.execute_sql(f"SELECT id FROM {table} WHERE id = 1 FOR UPDATE NOWAIT")
    except pw.OperationalError:
        held.rollback()
        return False
    return True


@contextmanager
def _beside(database: pw.Database) -> Iterator[pw.Database]:
    """Open a second connection, in a transaction that keeps nothing."""
    from framework_schema.databases import clone

    holder = clone(database)
    with holder.connection_context(), holder.transaction():
        yield holder


VERSION = """
SELECT md5(coalesce(string_agg(fact, ',' ORDER BY fact), '')) FROM (
    WITH here AS (
        SELECT c.oid, c.xmin, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = current_schema()
    )
    SELECT 'c' || oid || ':' || xmin AS fact FROM here
    UNION ALL SELECT 'a' || attrelid || '.' || attnum || ':' || a.xmin FROM pg_attribute a JOIN here ON oid = attrelid
        WHERE relkind IN ('r', 'p') AND attnum > 0
    UNION ALL SELECT 'd' || d.oid || ':' || d.xmin FROM pg_attrdef d JOIN here ON here.oid = adrelid
    UNION ALL SELECT 'k' || k.oid || ':' || k.xmin FROM pg_constraint k JOIN here ON here.oid = conrelid
    UNION ALL SELECT 'i' || indexrelid || ':' || i.xmin FROM pg_index i JOIN here ON oid = indrelid
    UNION ALL SELECT 't' || t.oid || ':' || t.xmin FROM pg_trigger t JOIN here ON here.oid = tgrelid
    UNION ALL SELECT 'p' || p.oid || ':' || p.xmin FROM pg_policy p JOIN here ON here.oid = polrelid
    UNION ALL SELECT 'r' || r.oid || ':' || r.xmin FROM pg_rewrite r JOIN here ON here.oid = ev_class
    UNION ALL SELECT 'm' || objoid || '.' || objsubid || ':' || m.xmin FROM pg_description m JOIN here ON oid = objoid
        AND classoid = 'pg_class'::regclass
    UNION ALL SELECT 's' || s.oid || ':' || s.xmin FROM pg_statistic_ext s JOIN here ON here.oid = stxrelid
    UNION ALL SELECT 'f' || f.oid || ':' || f.xmin FROM pg_proc f WHERE pronamespace = (SELECT oid FROM pg_namespace
        WHERE nspname = current_schema())
    UNION ALL SELECT 'y' || y.oid || ':' || y.xmin FROM pg_type y WHERE typtype IN ('e', 'd') AND typnamespace =
        (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
) AS facts
"""

REACHING_OUT = (
    "SELECT EXISTS (SELECT 1 FROM pg_event_trigger WHERE evtenabled <> 'D') OR EXISTS (SELECT 1 FROM pg_inherits)"
)

OUTSIDE = (
    "SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation AND "
    "c.relkind IN ('r', 'p', 'v', 'm') "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' "
    "AND n.nspname <> current_schema() AND n.nspname !~ '^(pg_|information_schema$)' "
    "AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid "
    "AND d.deptype = 'e'))"
)

IDLE = """
SELECT pid, application_name, date_trunc('second', state_change)::text FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%%'
ORDER BY state_change LIMIT 3
"""

COCKROACH_VERSION = """
SELECT md5(coalesce(string_agg(fact, ',' ORDER BY fact), '')) FROM (
    SELECT table_name || '.' || column_name || ':' || data_type || is_nullable || coalesce(column_default, '') AS fact
    FROM information_schema.columns WHERE table_schema = current_schema()
    UNION ALL SELECT tablename || '.' || indexname || indexdef FROM pg_indexes WHERE schemaname = current_schema()
) AS facts
"""

"""SQLite: one transaction for the database, rebuilds for what ALTER TABLE cannot do."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from sqlite3 import SQLITE_DENY, SQLITE_OK, SQLITE_TRANSACTION

import peewee as pw

from framework_schema.alignment import Alignment, aligned, left_of
from framework_schema.dialects import POLL, Dialect, Scratch, memory, refuse_open_transaction
from framework_schema.drift import Drift
from framework_schema.errors import CommitRefused, Locked, RowsTouched, SchemaError, TransactionLost, Unreadable
from framework_schema.left import Kept, Left
from framework_schema.operations import Operations, SqliteOperations
from framework_schema.orphans import Violation, violations
from framework_schema.set_aside import kept_rows, restore_rows
from framework_schema.side_lock import SideLock
from framework_schema.snapshot import Snapshot
from framework_schema.sqlite_snapshot import of_database

logger = logging.getLogger(__name__)

WHOLE_CHECK_UP_TO = 16 * 1024 * 1024
"""Bytes up to which a file is checked whole before anything else; a larger one before its first row is touched."""
QUICK_CHECK_ABOVE = 64 * 1024 * 1024
"""Bytes above which a file gets quick_check, which leaves out the indexes, instead of integrity_check."""

ROWLESS = frozenset({
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_CREATE_TRIGGER,
    sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_DROP_TRIGGER, sqlite3.SQLITE_REINDEX,
})  # fmt: skip
"""What leaves the rows of all tables as they are (https://www.sqlite.org/c3ref/c_alter_table.html)."""
SCHEMA_ROWS = frozenset(
    {"sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema", "sqlite_sequence"}
)
WRITES = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})

CONSEQUENCES = ("no transaction is active", "no such savepoint")


class SqliteDialect(Dialect):
    """SQLite, files and in memory."""

    name = "sqlite"
    ddl_rolls_back = True
    restores_rows = True

    @contextmanager
    def exclusive(self, database: pw.Database, name: str) -> Iterator[None]:
        """Take the write lock with BEGIN IMMEDIATE, which waits for other writers up to the busy timeout.

        Foreign keys are switched off before BEGIN, since inside a transaction
        the pragma does nothing and DROP TABLE in a rebuild would fire the
        children's ON DELETE (https://www.sqlite.org/pragma.html#pragma_foreign_keys);
        they are restored after.
        """
        refuse_open_transaction(database, name)
        database = _sqlite(database)
        was = database.pragma("foreign_keys")
        if was:
            database.pragma("foreign_keys", 0)
        try:
            with _turn(database, name, SideLock.of(database)):
                yield
        except (pw.DatabaseError, TransactionLost) as error:
            raise _first(error) from error
        finally:
            if was and not database.is_closed():
                database.pragma("foreign_keys", was)

    @contextmanager
    def alone(self, database: pw.Database, name: str) -> Iterator[None]:
        """Hold a lock beside the file, which ``exclusive`` respects; the app reads and writes on."""
        refuse_open_transaction(database, name)
        lock = SideLock.of(database)
        if lock is None:
            yield
            return
        with _turn(database, name, lock):
            lock.take()
        try:
            yield
        finally:
            _give_back(database, name, lock)

    @contextmanager
    def step(self, database: pw.Database, key: str, *, sealed: bool = False) -> Iterator[None]:
        """Put a savepoint around a script, and refuse BEGIN, COMMIT and ROLLBACK inside it.

        A script that committed would cut its work from its history row.
        SQLite asks when it compiles a statement, so that what is refused has
        not begun, whoever sent it.
        """
        refused: list[SchemaError] = []

        def authorize(action: int, what: str | None, *rest: str | None) -> int:
            if action == SQLITE_TRANSACTION:
                refused.append(CommitRefused(_refusal(key, str(what))))
            elif sealed and touches_rows(action, what, *rest):
                refused.append(RowsTouched(key))
            else:
                return SQLITE_OK
            return SQLITE_DENY

        connection = database.connection()
        try:
            with database.savepoint():
                connection.set_authorizer(authorize)
                try:
                    yield
                except Exception as error:
                    if refused:
                        raise refused[0] from error
                    raise
                finally:
                    connection.set_authorizer(None)
                if refused:
                    raise refused[0]
        except Exception as error:
            if not connection.in_transaction:
                raise TransactionLost(f"{key}: SQLite undid the whole transaction") from error
            raise

    def check_health(self, database: pw.Database, name: str, *, whole: bool = True) -> bool:
        """Run integrity_check, or quick_check on a large file; on its schema alone, if that is all there is to change.

        A column, a name or an index more costs a large file nothing but a few
        pages, and reading all of it can take minutes. Nothing of a damaged
        table gets lost by them; what copies, changes or removes rows could lose some.
        """
        database = _sqlite(database)
        size = database.pragma("page_count") * database.pragma("page_size")
        is_whole = whole or size <= WHOLE_CHECK_UP_TO
        check = "integrity_check" if size <= QUICK_CHECK_ABOVE else "quick_check"
        found = database.execute_sql(f"PRAGMA {check}({1 if is_whole else 'sqlite_master'})").fetchone()[0]
        if found != "ok":
            raise Unreadable(
                name,
                f"the database is damaged ({check}: {found})",
                "Restore a backup, or save what can be read with `sqlite3 FILE .recover`.",
            )
        return is_whole

    def schema_version(self, database: pw.Database) -> str:
        """Return the number SQLite raises with every change of the schema."""
        return str(_sqlite(database).pragma("schema_version"))

    def data_version(self, database: pw.Database) -> int:
        """Ask for it: https://www.sqlite.org/pragma.html#pragma_data_version."""
        return int(_sqlite(database).pragma("data_version"))

    def violations(self, database: pw.Database) -> Counter[Violation]:
        """Ask foreign_key_check, table by table."""
        return violations(_sqlite(database))

    def snapshot(self, database: pw.Database, *, structural: bool = False, table: str | None = None) -> Snapshot:
        """Read sqlite_master and the PRAGMAs."""
        return of_database(_sqlite(database), structural=structural, table=table)

    def operations(self, database: pw.Database) -> Operations:
        """Return the operations with native ALTERs and rebuilds."""
        return SqliteOperations(_sqlite(database))

    def aligned(self, database: pw.Database, expected: Snapshot, *, strict: bool, repair: bool) -> Alignment:
        """Add, rebuild, repair."""
        return aligned(_sqlite(database), expected, strict=strict, repair=repair)

    def discard(self, database: pw.Database) -> None:
        """Begin anew: pages that a savepoint gave back would be written all the same."""
        database.execute_sql("ROLLBACK")
        database.execute_sql("BEGIN IMMEDIATE")

    def left(
        self, database: pw.Database, drift: Drift, expected: Snapshot, live: Snapshot, *, strict: bool = False
    ) -> tuple[Left, ...]:
        """Count the rows, look for the names."""
        return left_of(_sqlite(database), drift, expected, live, strict=strict)

    def kept_rows(self, database: pw.Database) -> list[Kept]:
        """Count the rows in the tables that alignment made for them."""
        return kept_rows(_sqlite(database))

    def restore_rows(self, database: pw.Database) -> tuple[list[str], list[Kept]]:
        """Insert them one by one, each in a savepoint."""
        return restore_rows(_sqlite(database))

    def scratch(self, database: pw.Database) -> Scratch:
        """Return a database in memory."""
        return Scratch("sqlite", memory)


def touches_rows(action: int, first: str | None, second: str | None, third: str | None, *_: str | None) -> bool:
    """Tell whether what SQLite asks leave for may change or remove a row; what is not known may.

    ALTER TABLE names a column only where it drops one, which rewrites the table.
    """
    if action in WRITES:
        return first not in SCHEMA_ROWS
    if action == sqlite3.SQLITE_ALTER_TABLE:
        return third is not None
    if action == sqlite3.SQLITE_PRAGMA:
        return first == "writable_schema"
    return action not in ROWLESS


@contextmanager
def _turn(database: pw.Database, name: str, lock: SideLock | None) -> Iterator[None]:
    """Have the write lock at a moment when no script runs alone; while one does, the app's writers are let through."""
    started = time.monotonic()
    while True:
        with database.atomic("IMMEDIATE"):
            if lock is None or not lock.is_held():
                yield
                return
        if time.monotonic() >= started + _sqlite(database).pragma("busy_timeout") / 1000:
            raise Locked(
                name,
                "another process runs a script with `atomic = False` on it and did not finish in time",
                "Try again when it is done, or wait longer (--timeout).",
            )
        time.sleep(POLL)


def _give_back(database: pw.Database, name: str, lock: SideLock) -> None:
    """Let go and leave no file; where the write lock is not to be had, the next run removes it."""
    try:
        with database.atomic("IMMEDIATE"):
            lock.release(remove=True)
    except pw.DatabaseError:
        logger.debug("%s: %s is left for the next run to remove", name, lock.file, exc_info=True)
    finally:
        lock.release(remove=False)


def _first(error: BaseException) -> BaseException:
    """Return the complaint that the failing ROLLBACKs after it hide, when SQLite had rolled back by itself.

    https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, pw.DatabaseError) and not any(text in str(seen) for text in CONSEQUENCES):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error


def _sqlite(database: pw.Database) -> pw.SqliteDatabase:
    assert isinstance(database, pw.SqliteDatabase)
    return database


def _refusal(key: str, what: str) -> str:
    return (
        f"{key} calls {what}, which would cut its work from its record;"
        " a migration runs in a transaction of the runner's. Remove the call,"
        " or write `atomic = False` in the script if a statement refuses a transaction."
    )

"""Per engine: the lock, the transaction, and what is checked before and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from sqlite3 import SQLITE_DENY, SQLITE_OK, SQLITE_TRANSACTION
from typing import Any

import peewee as pw

from framework_schema.errors import CommitRefused, PlanRefused, Unreadable

QUICK_CHECK_ABOVE = 64 * 1024 * 1024
"""Bytes above which a SQLite file gets quick_check, which leaves out the indexes, instead of integrity_check."""


@contextmanager
def exclusive(database: pw.Database, name: str) -> Iterator[None]:
    """Hold the database's write lock, in one transaction, for the body.

    SQLite: foreign keys are switched off before BEGIN, since inside a
    transaction the pragma does nothing and DROP TABLE in a rebuild would fire
    the children's ON DELETE (https://www.sqlite.org/pragma.html#pragma_foreign_keys);
    they are restored after. BEGIN IMMEDIATE waits for other writers as long as
    the busy timeout says; the lock dies with its holder.
    """
    if database.in_transaction():
        raise PlanRefused(f"{name}: a transaction is open on this connection. Nothing was run. Commit it first.")
    assert isinstance(database, pw.SqliteDatabase)
    was = database.pragma("foreign_keys")
    database.pragma("foreign_keys", 0)
    try:
        with database.atomic("IMMEDIATE"):
            yield
    finally:
        if not database.is_closed():
            database.pragma("foreign_keys", was)


@contextmanager
def no_commit(database: pw.Database, key: str) -> Iterator[None]:
    """Refuse BEGIN, COMMIT and ROLLBACK inside the body; savepoints are free.

    A script that committed would cut its work from its history row.
    """
    assert isinstance(database, pw.SqliteDatabase)
    refused: list[str] = []

    def authorize(action: int, what: str | None, *_: Any) -> int:
        if action == SQLITE_TRANSACTION:
            refused.append(str(what))
            return SQLITE_DENY
        return SQLITE_OK

    connection = database.connection()
    connection.set_authorizer(authorize)
    try:
        yield
    except Exception as error:
        if refused:
            raise CommitRefused(_refusal(key, refused[0])) from error
        raise
    finally:
        connection.set_authorizer(None)
    if refused:
        raise CommitRefused(_refusal(key, refused[0]))


def _refusal(key: str, what: str) -> str:
    return (
        f"{key} calls {what}, which would cut its work from its record;"
        " a migration runs in a transaction of the runner's. Remove the call, or write `atomic = False` in the script if a statement refuses a transaction."
    )


def check_health(database: pw.Database, name: str) -> None:
    """Refuse a damaged file before the first write.

    Raises ``Unreadable`` with what SQLite found.
    """
    assert isinstance(database, pw.SqliteDatabase)
    size = database.pragma("page_count") * database.pragma("page_size")
    check = "integrity_check" if size <= QUICK_CHECK_ABOVE else "quick_check"
    found = database.execute_sql(f"PRAGMA {check}(1)").fetchone()[0]
    if found != "ok":
        raise Unreadable(
            name,
            f"the database is damaged ({check}: {found})",
            "Restore a backup, or save what can be read with `sqlite3 FILE .recover`.",
        )


def schema_version(database: pw.Database) -> int:
    """Return the number SQLite raises with every change of the schema, whoever makes it."""
    assert isinstance(database, pw.SqliteDatabase)
    version: int = database.pragma("schema_version")
    return version

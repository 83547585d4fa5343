"""A PostgreSQL connection whose work can never stay: for scratch schemas and dry runs.

It is in one transaction from its first statement on, which ends with the
connection. A script that ends it would go on in the live schema, committing
every statement, so that is refused three times: what reads as COMMIT or
ROLLBACK, whatever comes when no transaction is open any more, and the COMMIT
itself by the server, which finds a deferred foreign key broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import peewee as pw

from framework_schema.errors import CommitRefused
from framework_schema.postgres import OwnPostgres
from framework_schema.server import ENDS_TRANSACTION, Attendant

IDLE = 0
"""libpq's PQTRANS_IDLE, in the words of both drivers."""

NO_COMMIT = (
    "CREATE TEMPORARY TABLE framework_schema_confined (id integer PRIMARY KEY, never integer "
    "REFERENCES framework_schema_confined DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO framework_schema_confined VALUES (1, 2)",
)

Before = Callable[[Any, str, int, int | None], None]
"""Called with cursor, statement, number of its parameters, and of rows of them for many."""


class Confined(OwnPostgres):
    """A plain connection of ours that cannot commit."""

    can_commit = False
    is_unattended: bool = False
    """True while statements are sent that have no attendant in a run either."""

    @contextmanager
    def attended(self, attendant: Attendant | None) -> Iterator[None]:
        """Let another attendant watch the body; what has none in a run has no savepoint there, nor here."""
        was, self.is_unattended = self.is_unattended, attendant is None
        try:
            with super().attended(attendant):
                yield
        finally:
            self.is_unattended = was

    def _connect(self) -> Any:
        base: Any = super()
        connection = base._connect()
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        _forbid_commit(cursor)
        connection.cursor_factory = cursor_class(connection, self.before, self.after)
        return connection

    def _close(self, conn: Any) -> None:
        """Roll back and wait for it, so that no lock outlasts us; Peewee does that to see whether one is reusable."""
        base: Any = super()
        me: Any = self
        conn.cursor_factory = conn.cursor_factory.__base__
        me._adapter.is_connection_reusable(conn)
        base._close(conn)

    def before(self, cursor: Any, sql: str, params: int, times: int | None) -> None:
        """Refuse what leads out of the transaction, raw cursors included."""
        if ENDS_TRANSACTION.match(sql) or cursor.connection.info.transaction_status == IDLE:
            raise CommitRefused("a script ends the transaction that it runs in. Remove what commits or rolls back.")

    def after(self, cursor: Any, sql: str) -> None:
        """Be told what a statement did."""

    def execute_sql(self, sql: str, params: Any = None, *args: Any) -> Any:
        """Run a statement so that its failure does not end the transaction, unless it would end it in a run."""
        is_plain = self.is_unattended or (self.catalog is not None and self.catalog.is_looking)
        if is_plain or sql.lstrip().upper().startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            return super().execute_sql(sql, params, *args)
        self._aside("SAVEPOINT framework_schema_confined")
        try:
            found = super().execute_sql(sql, params, *args)
        except pw.PeeweeException:
            self._aside("ROLLBACK TO SAVEPOINT framework_schema_confined")
            raise
        self._aside("RELEASE SAVEPOINT framework_schema_confined")
        return found

    def _aside(self, sql: str) -> None:
        """Send a statement of our own, not as a script would; what the driver raises is Peewee's, as in a run."""
        peewee: Any = pw
        with peewee.__exception_wrapper__:
            pw.PostgresqlDatabase.connection(self).cursor().execute(sql)

    def begin(self, *args: Any, **kwargs: Any) -> None:
        """Be in one already; a script's call is refused."""
        self._refuse("BEGIN")

    def commit(self) -> None:
        """Keep all for the end; a script's call is refused."""
        self._refuse("COMMIT")

    def rollback(self) -> None:
        """Leave it to the end; a script's call is refused."""
        self._refuse("ROLLBACK")


def _forbid_commit(cursor: Any) -> None:
    """Break a deferred key; a user who may make no temporary table goes without."""
    cursor.execute("SAVEPOINT framework_schema_confined")
    try:
        for statement in NO_COMMIT:
            cursor.execute(statement)
    except Exception:
        cursor.execute("ROLLBACK TO SAVEPOINT framework_schema_confined")


def cursor_class(connection: Any, before: Before, after: Callable[[Any, str], None]) -> type[Any]:
    """Make a cursor class like the connection's own that tells of each statement before and after it."""
    kind: Any = type(connection.cursor())

    class ToldCursor(kind):  # type: ignore[misc]
        """A cursor that tells."""

        is_many = False

        def execute(self, query: Any, args: Any = None, *more: Any, **options: Any) -> Any:
            """Execute one statement; PyMySQL's ``executemany`` comes by with all values in the text."""
            if self.is_many:
                return super().execute(query, args, *more, **options)
            sql = _text(query, self)
            before(self, sql, len(args or ()), None)
            found = super().execute(query, args, *more, **options)
            after(self, sql)
            return found

        def executemany(self, query: Any, args: Iterable[Any], *more: Any, **options: Any) -> Any:
            """Execute one statement for every row of parameters."""
            rows, sql = list(args), _text(query, self)
            before(self, sql, len(rows[0]) if rows else 0, len(rows))
            self.is_many = True
            try:
                found = super().executemany(query, rows, *more, **options)
            finally:
                self.is_many = False
            after(self, sql)
            return found

        def copy(self, statement: Any, *more: Any, **options: Any) -> Any:
            """Copy rows in or out."""
            before(self, _text(statement, self), 0, None)
            return super().copy(statement, *more, **options)

    return ToldCursor


def _text(query: Any, cursor: Any) -> str:
    """Write out a statement that is bytes, or composed by psycopg."""
    if isinstance(query, str):
        return query
    return query.decode(errors="replace") if isinstance(query, bytes) else str(query.as_string(cursor))

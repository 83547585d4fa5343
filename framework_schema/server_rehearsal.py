"""Trying a migration on a server without leaving a trace.

PostgreSQL: the real database, in one transaction that is never committed, with
the short lock waits of a real run. MariaDB and MySQL: a copy of the structure,
with the history's rows and no others, in a database that is dropped afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import peewee as pw

from framework_schema.databases import clone, own_server
from framework_schema.errors import ConfigError
from framework_schema.history import History
from framework_schema.mysql import MysqlDialect
from framework_schema.postgres import OwnPostgres
from framework_schema.runner import Runner
from framework_schema.server import LOCK_WAIT
from framework_schema.server_snapshot import my_quote

Note = Callable[[str, Any], None]
"""Called with each statement that changes something, and its values."""


def rehearsing(runner: Runner, note: Note) -> AbstractContextManager[Runner]:
    """Return a runner of the same database whose ``migrate`` or ``rollback`` leaves nothing behind.

    A script with ``atomic = False`` cannot be rehearsed on PostgreSQL: what
    refuses a transaction refuses this one.
    """
    if runner.target.engine == "postgresql":
        return _undone(runner, note)
    if runner.target.engine == "mariadb":
        return _copied(runner, note)
    raise ConfigError(f"{runner.target.name}: a dry run is not possible on {runner.target.engine}. Nothing was run.")


class Rehearsed(OwnPostgres):
    """A connection in one transaction from its first statement on, which ends with the connection."""

    def _connect(self) -> Any:
        base: Any = super()
        connection = base._connect()
        connection.cursor().execute("BEGIN")
        connection.cursor().execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}s'")
        return connection

    def execute_sql(self, sql: str, params: Any = None, *args: Any) -> Any:
        """Run a statement so that its failure does not end the transaction."""
        if sql.lstrip().upper().startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            return super().execute_sql(sql, params, *args)
        base: Any = super()
        cursor = base.connection().cursor()
        cursor.execute("SAVEPOINT framework_schema_rehearsal")
        try:
            found = super().execute_sql(sql, params, *args)
        except pw.PeeweeException:
            cursor.execute("ROLLBACK TO SAVEPOINT framework_schema_rehearsal")
            raise
        if sql.lstrip()[:6].upper() == "SELECT":
            cursor.execute("RELEASE SAVEPOINT framework_schema_rehearsal")
        return found

    def begin(self, *args: Any, **kwargs: Any) -> None:
        """Be in one already; a script's call is refused."""
        self._refuse("BEGIN")

    def commit(self) -> None:
        """Keep all for the end; a script's call is refused."""
        self._refuse("COMMIT")

    def rollback(self) -> None:
        """Leave it to the end; a script's call is refused."""
        self._refuse("ROLLBACK")


@contextmanager
def _undone(runner: Runner, note: Note) -> Iterator[Runner]:
    live = runner.target.database
    database = Rehearsed(str(live.database), **dict(live.connect_params))
    database.wait, database.on_statement = getattr(live, "wait", 30), note
    yield _twin(runner, database)


@contextmanager
def _copied(runner: Runner, note: Note) -> Iterator[Runner]:
    dialect, live = MysqlDialect(), clone(runner.target.database)
    with live.connection_context():
        scratch = dialect.scratch(live)
        with scratch.opened() as made:
            name = made.execute_sql("SELECT DATABASE()").fetchone()[0]
            _copy_structure(live, made, History(live, runner.config.table))
            database = own_server("mariadb", name, dict(live.connect_params))
            database.wait, database.on_statement = live.wait, note
            yield _twin(runner, database)


def _copy_structure(live: pw.Database, made: pw.Database, history: History) -> None:
    """Make every table, then its triggers; the history with its rows."""
    place = my_quote(str(live.database))
    made.execute_sql("SET SESSION foreign_key_checks = 0")
    tables = live.get_tables()
    for table in tables:
        made.execute_sql(live.execute_sql(f"SHOW CREATE TABLE {my_quote(table)}").fetchone()[1])
    for table in {history.table, history.events_table} & set(tables):
        made.execute_sql(f"INSERT INTO {my_quote(table)} SELECT * FROM {place}.{my_quote(table)}")
    for found in MysqlDialect().snapshot(live).tables.values():
        for name, text in found.texts.items():
            if name.lower() in found.triggers:
                made.execute_sql(text)


def _twin(runner: Runner, database: Any) -> Runner:
    twin = copy.copy(runner)
    twin.target = replace(runner.target, database=database)
    twin.config = replace(runner.config, backup="never")
    return twin

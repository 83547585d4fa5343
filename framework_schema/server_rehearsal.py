"""Trying a migration on a server without leaving a trace.

PostgreSQL: the real database, in one transaction that cannot be committed, see
``confined``. MariaDB and MySQL, where no transaction undoes DDL: a copy of the
structure, with the history's rows and no others, in a database that is dropped
afterwards; what a killed rehearsal left, the next run drops.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, cast

import peewee as pw

from framework_schema.confined import Confined, cursor_class
from framework_schema.contents import contents
from framework_schema.databases import clone
from framework_schema.errors import MigrationFailed, PlanRefused, Unreadable
from framework_schema.history import History
from framework_schema.migration import Migration
from framework_schema.mysql import MysqlDialect, OwnMysql
from framework_schema.postgres import OwnPostgres
from framework_schema.rehearsal import Tape, only_reads
from framework_schema.report import Outcome, Report, State
from framework_schema.runner import Runner
from framework_schema.server import LOCK_WAIT
from framework_schema.server_snapshot import ServerTable, my_quote

WAIT = 3 * LOCK_WAIT
"""Seconds that a rehearsal waits for locks in all: meanwhile it holds those it has, which a real run lets go."""

NO_ROWS = (
    "tried on a copy of the structure, since no transaction undoes DDL here: scripts saw no rows, so what depends on"
    " rows (data steps, and rules that rows may break) was not tried"
)
BLANK = """depends_on = {needs!r}
def migrate(migrator, database, *, fake=False): pass
def rollback(migrator, database, *, fake=False): pass
"""
DEFINER = re.compile(r"\bDEFINER\s*=\s*(?:`(?:[^`]|``)*`|\S)+\s", re.I)


def rehearse_on_server(runner: Runner, run: Callable[[Runner], Report], tape: Tape) -> Report:
    """Call ``run`` with a runner whose work leaves nothing behind, and return its report, failed or not.

    Raises ``PlanRefused`` where it is not possible, and ``DatabaseError`` as
    the real run would.
    """
    if runner.target.engine == "postgresql" and (unable := _only_reads(runner)):
        found = runner.status()
        return replace(found, notes=(*found.notes, unable)) if found.state is State.PENDING else found
    with rehearsing(runner, tape) as twin:
        untried = _untried(runner) if runner.target.engine == "postgresql" else frozenset()
        twin.known = replace(twin.known, migrations=tuple(_blank(m, untried) for m in twin.known.migrations))
        try:
            report = run(twin)
        except MigrationFailed as error:
            report = error.report
        if runner.target.engine == "mariadb" and (report.keys(Outcome.ROLLED_BACK) or twin.has_counted):
            report = replace(report, lost=_lost(runner, twin))
    return replace(report, notes=(*report.notes, *_remarks(report, untried)))


def rehearsing(runner: Runner, tape: Tape) -> AbstractContextManager[Runner]:
    """Return a runner of the same database whose ``migrate`` or ``rollback`` leaves nothing behind."""
    if runner.target.engine == "postgresql":
        return _undone(runner, tape)
    if runner.target.engine == "mariadb":
        return _copied(runner, tape)
    raise PlanRefused(f"{runner.target.name}: a dry run is not possible on {runner.target.engine}. Nothing was run.")


def recording(runner: Runner, tape: Tape) -> Runner:
    """Return a runner that works on the same database for real, with its statements on tape."""
    live = runner.target.database
    kind = HeardPostgres if runner.target.engine == "postgresql" else HeardMysql
    return _twin(runner, _heard(kind, live, str(live.database), tape))


# Listening


class _Heard:
    """Puts what reaches a connection on tape, without the values of any row."""

    tape: Tape

    def before(self, cursor: Any, sql: str, params: int, times: int | None) -> None:
        """Note a statement as it was written."""
        found: Any = getattr(super(), "before", None)
        if found is not None:
            found(cursor, sql, params, times)
        self.tape.note(sql, params, times)

    def after(self, cursor: Any, sql: str) -> None:
        """Count the rows it wrote."""
        if not only_reads(sql):
            self.tape.rows += max(0, cursor.rowcount)
            self.tape.count(sql, cursor.rowcount)


class HeardPostgres(_Heard, OwnPostgres):
    """A connection to PostgreSQL that tells the tape."""

    def _connect(self) -> Any:
        base: Any = super()
        connection = base._connect()
        connection.cursor_factory = cursor_class(connection, self.before, self.after)
        return connection


class HeardMysql(_Heard, OwnMysql):
    """A connection to MariaDB or MySQL that tells the tape."""

    def _connect(self) -> Any:
        connection = super()._connect()
        connection.cursorclass = cursor_class(connection, self.before, self.after)
        return connection


class Rehearsed(_Heard, Confined):
    """A connection that cannot commit, and tells the tape where a real run would."""

    def _connect(self) -> Any:
        connection = super()._connect()
        connection.cursor().execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}s'")
        return connection

    def begin(self, *args: Any, **kwargs: Any) -> None:
        """Note it."""
        super().begin(*args, **kwargs)
        self.tape.note("BEGIN")

    def commit(self) -> None:
        """Note it."""
        super().commit()
        self.tape.note("COMMIT")

    def rollback(self) -> None:
        """Note it."""
        super().rollback()
        self.tape.note("ROLLBACK")


# PostgreSQL


@contextmanager
def _undone(runner: Runner, tape: Tape) -> Iterator[Runner]:
    live = runner.target.database
    database = _heard(Rehearsed, live, str(live.database), tape)
    database.wait = min(database.wait, WAIT)
    yield _twin(runner, database)


def _only_reads(runner: Runner) -> str | None:
    """Say that nothing can be tried, where this user may not change the schema."""
    with runner.target.connected() as database:
        may, user = database.execute_sql(
            "SELECT has_schema_privilege(current_schema(), 'CREATE') "
            "AND current_setting('transaction_read_only') = 'off', current_user"
        ).fetchone()
    return (
        None if may else f"nothing was tried: {user} may only read here; what is pending is named, its SQL is not known"
    )


def _untried(runner: Runner) -> frozenset[str]:
    """Return the scripts that refuse a transaction: what they do refuses the rehearsal's too."""
    alone = {migration.key for migration in runner.known.migrations if not migration.atomic}
    return frozenset(alone & {*_changing(runner)}) if alone else frozenset()


def _changing(runner: Runner) -> Iterator[str]:
    """Name what a run may run: what is pending, or failed; and what is applied, of which a rollback asks."""
    with runner.target.connected() as database:
        status = runner.read(database).status
    yield from (migration.key for migration in (*status.pending, *status.applied))


def _blank(step: Migration, untried: frozenset[str]) -> Migration:
    """Put a script that does nothing in the place of one that cannot be tried, with its checksum."""
    if step.key not in untried:
        return step
    blank = replace(step, content=BLANK.format(needs=list(step.depends_on)).encode())
    vars(blank)["checksum"] = step.checksum
    return blank


# MariaDB


@contextmanager
def _copied(runner: Runner, tape: Tape) -> Iterator[Runner]:
    beside = replace(runner.target, database=clone(runner.target.database))
    with beside.connected() as live, MysqlDialect().scratch(live).opened() as made:
        name = made.execute_sql("SELECT DATABASE()").fetchone()[0]
        try:
            _copy_structure(live, made, History(live, runner.config.table))
        except pw.DatabaseError as error:
            problem = f"its structure could not be copied for a dry run ({error})"
            raise Unreadable(runner.target.name, problem, "Look at what the server says of it.") from error
        yield _twin(runner, _heard(HeardMysql, live, name, tape))


def _copy_structure(live: pw.Database, made: pw.Database, history: History) -> None:
    """Make sequences, tables and triggers, as the server prints them, then the views; the history with its rows."""
    place = my_quote(str(live.database))
    made.execute_sql("SET SESSION foreign_key_checks = 0")
    sequences = live.execute_sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'SEQUENCE'"
    )
    for (sequence,) in sequences.fetchall():
        made.execute_sql(live.execute_sql(f"SHOW CREATE TABLE {my_quote(sequence)}").fetchone()[1])
    tables = MysqlDialect().snapshot(live, structural=True).tables.values()
    for table in tables:
        made.execute_sql(cast(ServerTable, table).printed)
    for name in {history.table, history.events_table} & {table.name for table in tables}:
        made.execute_sql(f"INSERT INTO {my_quote(name)} SELECT * FROM {place}.{my_quote(name)}")
    for table in tables:
        for key in table.triggers:
            for statement in MysqlDialect.grammar.make_trigger(cast(ServerTable, table), key):
                made.execute_sql(statement)
    _make_views(made, [_view(live, view.name) for view in live.get_views()])


def _view(live: pw.Database, name: str) -> str:
    text = str(live.execute_sql(f"SHOW CREATE VIEW {my_quote(name)}").fetchone()[1])
    return DEFINER.sub("", text, count=1)


def _make_views(made: pw.Database, texts: Sequence[str]) -> None:
    """Make views in an order in which each finds those it reads; one that is broken is left out."""
    while texts:
        left = []
        for text in texts:
            try:
                made.execute_sql(text)
            except pw.DatabaseError:
                left.append(text)
        if len(left) == len(texts):
            return
        texts = left


def _lost(runner: Runner, twin: Runner) -> tuple[dict[str, object], ...]:
    """Tell which rows of the live database are in the tables and columns that went in the copy."""
    history = History(runner.target.database, runner.config.table)
    with runner.target.connected() as database:
        held = contents(database, runner.dialect, without=(history.table, history.events_table))
    with twin.target.connected() as database:
        left = twin.dialect.snapshot(database)
    return held.lost(held.kept_in(left))


# Both


def _heard(kind: type[Any], live: Any, name: str, tape: Tape) -> Any:
    database = kind(name, **dict(live.connect_params))
    database.wait, database.tape = getattr(live, "wait", 30), tape
    return database


def _twin(runner: Runner, database: Any) -> Runner:
    twin = copy.copy(runner)
    twin.target = replace(runner.target, database=database)
    twin.config = replace(runner.config, backup="never")
    return twin


def _remarks(report: Report, untried: frozenset[str]) -> Iterator[str]:
    if report.engine == "mariadb" and report.steps:
        yield NO_ROWS
    for step in report.steps:
        if step.key in untried:
            yield (
                f"{step.key} was not tried: it refuses a transaction (atomic = False), and a dry run on PostgreSQL is"
                " one; what follows was tried without its effect"
            )

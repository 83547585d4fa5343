"""What PostgreSQL and MySQL have in common: a connection that watches its statements, and the dialect's frame."""

from __future__ import annotations

import contextlib
import re
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import peewee as pw

from framework_schema.alignment import Alignment
from framework_schema.catalog import Catalog
from framework_schema.dialects import POLL, Dialect
from framework_schema.errors import CommitRefused
from framework_schema.left import Kept
from framework_schema.operations import Operations
from framework_schema.orphans import Violation
from framework_schema.server_alignment import Around, ServerAlignment
from framework_schema.server_ddl import Grammar
from framework_schema.server_operations import ServerOperations
from framework_schema.server_set_aside import kept_rows
from framework_schema.server_snapshot import Reader, ServerTable
from framework_schema.snapshot import Snapshot, Table
from framework_schema.wording import say

LOCK_WAIT = 2
"""Seconds that one statement waits for a table's lock: behind a waiting ALTER all later readers wait too."""

PAUSE = 0.5
"""Seconds between two tries, in which those readers get their turn."""

ENDS_TRANSACTION = re.compile(r"\s*(BEGIN|START\s+TRANSACTION|COMMIT|ROLLBACK(?!\s+TO)|END|ABORT)\b", re.I)
READS = re.compile(r"\s*(SELECT|SHOW|SET|EXPLAIN|SAVEPOINT|RELEASE|ROLLBACK|DESC)\b", re.I)

Run = Callable[[str, Any], Any]
Attendant = Callable[[str, Any, Run], Any]


class Attended:
    """A database whose statements pass an attendant, who may refuse, repeat or record them.

    ``wait`` is how long, in seconds, to wait for other connections in all.
    ``attendant`` is set for the time of a script.
    """

    wait: float = 30
    attendant: Attendant | None = None
    refusing: str | None = None
    journal_table: str | None = None
    """The events' table of the history at hand, where MySQL's journal is kept."""
    catalog: Catalog | None = None
    """What was read of the tables; there is one under the migration lock."""
    is_running: bool = False
    script_was_here: bool = False
    """True when a script had this session to itself, so that nothing is known of what the session keeps."""

    def execute_sql(self, sql: str, params: Any = None, *args: Any) -> Any:
        """Run a statement, past the attendant if there is one."""
        if self.refusing is not None and ENDS_TRANSACTION.match(sql):
            self._refuse(sql.split()[0].upper())
        self.script_was_here |= self.refusing is not None and not (self.catalog is not None and self.catalog.is_ours)
        if self.catalog is not None:
            self.catalog.passed(sql, in_script=self.refusing is not None)

        def run(sql: str, params: Any) -> Any:
            was, self.is_running = self.is_running, True
            try:
                return super(Attended, self).execute_sql(sql, params, *args)  # type: ignore[misc]
            finally:
                self.is_running = was

        return run(sql, params) if self.attendant is None else self.attendant(sql, params, run)

    def connection(self) -> Any:
        """Return the driver's connection; what a script does with it, we do not see."""
        self._goes_round()
        return super().connection()  # type: ignore[misc]

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Return the driver's cursor; see ``connection``."""
        self._goes_round()
        return super().cursor(*args, **kwargs)  # type: ignore[misc]

    def _goes_round(self) -> None:
        if self.refusing is not None and not self.is_running:
            self.script_was_here = True
            if self.catalog is not None:
                self.catalog.shut()

    def begin(self, *args: Any, **kwargs: Any) -> None:
        """Begin, unless a script asks."""
        self._refuse("BEGIN")
        super().begin(*args, **kwargs)  # type: ignore[misc]

    def commit(self) -> None:
        """Commit, unless a script asks."""
        self._refuse("COMMIT")
        if self.catalog is not None:
            self.catalog.committed()
        super().commit()  # type: ignore[misc]

    def rollback(self) -> None:
        """Roll back, unless a script asks."""
        self._refuse("ROLLBACK")
        if self.catalog is not None:
            self.catalog.forget()
        super().rollback()  # type: ignore[misc]

    def _refuse(self, what: str) -> None:
        if self.refusing is not None:
            raise CommitRefused(
                f"{self.refusing} calls {what}, which would cut its work from its record; a migration runs in a"
                " transaction of the runner's. Remove the call, or write `atomic = False` in the script if a"
                " statement refuses a transaction."
            )

    @contextmanager
    def refuses(self, key: str) -> Iterator[None]:
        """Refuse BEGIN, COMMIT and ROLLBACK in the body."""
        was, self.refusing = self.refusing, key
        try:
            yield
        finally:
            self.refusing = was

    @contextmanager
    def keeping(self, catalog: Catalog) -> Iterator[None]:
        """Keep in the body what is read of the tables; see ``Catalog``."""
        was, self.catalog = self.catalog, catalog
        try:
            yield
        finally:
            self.catalog = was

    @contextmanager
    def attended(self, attendant: Attendant | None) -> Iterator[None]:
        """Let another attendant watch the body; None for none."""
        was, self.attendant = self.attendant, attendant
        try:
            yield
        finally:
            self.attendant = was


class ServerDialect(Dialect):
    """The frame; a subclass brings the grammar, the reader, the lock and the transaction."""

    grammar: Grammar
    reader: type[Reader]

    @abstractmethod
    def attempt(self, database: pw.Database) -> AbstractContextManager[Any]:
        """Undo what the body did when it fails, as far as the engine can."""

    def own_statements(self, database: pw.Database) -> AbstractContextManager[Any]:
        """Surround statements that converge by themselves; a script's own may need a journal."""
        return nullcontext()

    def check_health(self, database: pw.Database, name: str, *, whole: bool = True) -> bool:
        """Trust the server, which checks its pages itself."""
        return True

    def violations(self, database: pw.Database) -> Counter[Violation]:
        """Know none: a server refuses a row that breaks a key."""
        return Counter()

    def snapshot(self, database: pw.Database, *, structural: bool = False, table: str | None = None) -> Snapshot:
        """Read the catalogs."""
        catalog = catalog_of(database)
        # What is kept is what statements are made from, so with the texts that the server prints.
        found = self.reader(database, table).read(structural, prints=structural or bool(table) or catalog is not None)
        if table is None and catalog is not None:
            catalog.fill(found.tables)
        return found

    def as_is(self, database: pw.Database, table: ServerTable) -> ServerTable:
        """Return a table with the text that the server prints for it now, where changes are made of that."""
        return table

    def fits_catalog(self, database: pw.Database) -> bool:
        """Tell whether a change of one table is that table's only."""
        return True

    def keeping(self, database: pw.Database) -> AbstractContextManager[Any]:
        """Keep in the body what is read of the tables; see ``Catalog``."""
        if not isinstance(database, Attended):
            return nullcontext()
        return database.keeping(Catalog(lambda: self.fits_catalog(database), self.reader(database).table_key))

    def table(self, database: pw.Database, name: str) -> Table | None:
        """Return one table, as it was read last if it cannot have changed since; None where there is none."""
        catalog = catalog_of(database)

        def read() -> Table | None:
            return next(iter(self.snapshot(database, table=name).tables.values()), None)

        if catalog is None:
            return read()
        if catalog.is_patchy and not catalog.knows(name):
            with catalog.looking():
                self.snapshot(database)
        return catalog.table(name, read)

    def operations(self, database: pw.Database) -> Operations:
        """Return the operations with native ALTERs."""
        return ServerOperations(
            database,
            self.grammar,
            lambda name: self.table(database, name),
            lambda: self.own_statements(database),
            catalog_of(database),
        )

    def around(self, database: pw.Database, expected: Snapshot, table: str, column: str, *, repair: bool) -> Around:
        """Tell what stands on a column whose type is to change; see ``Around``."""
        return Around()

    def explain(self, error: BaseException) -> str:
        """Say what a driver's error means and what to do, in our words; the driver's come after."""
        return say(error)

    def kept_rows(self, database: pw.Database) -> list[Kept]:
        """Count the rows in the tables that ``--repair`` made."""
        return kept_rows(database, self.grammar)

    def aligned(self, database: pw.Database, expected: Snapshot, *, strict: bool, repair: bool) -> Alignment:
        """Add, alter, repair."""
        work = ServerAlignment(
            database,
            self.grammar,
            expected,
            lambda: self.snapshot(database, structural=True),
            lambda: self.attempt(database),
            lambda error: self.hindrance(error) is not None,
            lambda table: self.as_is(database, table),
            lambda table, column, repair: self.around(database, expected, table, column, repair=repair),
            self.explain,
        )
        return work.run(strict=strict, repair=repair)


def catalog_of(database: pw.Database) -> Catalog | None:
    """Return what is kept of the tables of a connection of ours, under the lock; else None."""
    return database.catalog if isinstance(database, Attended) else None


@contextmanager
def forgetting(database: pw.Database) -> Iterator[None]:
    """Forget what was read of the tables when the body fails: what it did may be undone."""
    try:
        yield
    except BaseException:
        catalog = catalog_of(database)
        if catalog is not None:
            catalog.forget()
        raise


def poll(look: Callable[[], bool], wait: float) -> bool:
    """Look until it is so or the time is up; looks at least once."""
    end = time.monotonic() + wait
    while not look():
        if time.monotonic() >= end:
            return False
        time.sleep(min(POLL, max(0.0, end - time.monotonic())))
    return True


@contextmanager
def forgiving() -> Iterator[None]:
    """Let what fails on the way out not hide why we go."""
    with contextlib.suppress(pw.PeeweeException):
        yield

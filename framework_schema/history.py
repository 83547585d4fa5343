"""The history of one database: which migrations it has, and all that ever happened to it.

Two tables. ``schema_migrations`` is what existing databases have, one row a
migration, its six columns never changed. ``schema_migration_events`` is ours
and only grows: a failure that repeats itself is counted in its row. Reading creates neither.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import peewee as pw

from framework_schema import ddl
from framework_schema._version import __version__
from framework_schema.catalog import changing, looking
from framework_schema.errors import ForeignHistory
from framework_schema.fields import KEY_TEXT, UTC_NOW
from framework_schema.marks import TABLE, events_of

if TYPE_CHECKING:
    from framework_schema.snapshot import Snapshot

COLUMNS = ("id", "migration_name", "applied_at", "success", "error_message", "execution_time_ms")
SHORTEST = {"migration_name", "applied_at"}
"""The columns every home-made ``schema_migrations`` of the framework has had."""

PEEWEE_MIGRATE_TABLE = "migratehistory"
"""The history of peewee_migrate, which has the same scripts."""

ANOTHER_NAME = "Set FRAMEWORK_SCHEMA_TABLE to a name of your choice, so that both can live side by side."

CREATE = """
CREATE TABLE {table} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    migration_name TEXT UNIQUE NOT NULL,
    applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN DEFAULT TRUE,
    error_message TEXT,
    execution_time_ms INTEGER
)
"""
CREATE_EVENTS = """
CREATE TABLE {table} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TIMESTAMP NOT NULL,
    kind TEXT NOT NULL,
    migration_name TEXT,
    outcome TEXT NOT NULL,
    detail TEXT,
    error TEXT,
    duration_ms INTEGER,
    checksum TEXT,
    mark TEXT,
    host TEXT NOT NULL,
    process INTEGER NOT NULL,
    package_version TEXT NOT NULL
)
"""


UNCOUNTED = (
    "SELECT 1 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = current_schema() AND c.relname = %s AND a.attname = 'id' AND a.attnotnull AND NOT a.atthasdef "
    "AND a.attidentity = '' AND a.atttypid IN ('int8'::regtype, 'int4'::regtype, 'int2'::regtype)"
)
"""Whether a table's id is a number that has to be given, on PostgreSQL."""

COLUMNS_OF = """
SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c
WHERE m.type = 'table' AND m.name COLLATE NOCASE IN (?, ?, ?)
"""
INDEX_CALLED = "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ? COLLATE NOCASE"

COUNTED = re.compile(r"(\d+) times, ")
"""How the ``detail`` of a failure begins that came more than once."""

WORDS: dict[str, dict[str, str]] = {
    "sqlite": {},
    "postgresql": {
        "INTEGER PRIMARY KEY AUTOINCREMENT": "SERIAL PRIMARY KEY",
        "CURRENT_TIMESTAMP": UTC_NOW["postgresql"],
    },
    "mysql": {
        "INTEGER PRIMARY KEY AUTOINCREMENT": "INTEGER AUTO_INCREMENT PRIMARY KEY",
        "migration_name TEXT": f"migration_name VARCHAR(255) {KEY_TEXT}",
        " TEXT": " LONGTEXT CHARACTER SET utf8mb4",
        "TIMESTAMP DEFAULT CURRENT_TIMESTAMP": f"DATETIME(6) DEFAULT ({UTC_NOW['mysql']})",
        "TIMESTAMP NOT": "DATETIME(6) NOT",
        "DEFAULT TRUE": "DEFAULT (TRUE)",
    },
}
"""How the servers say what the two statements say for SQLite; the models' declarations are the same."""


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """One row of the history; ``checksum`` is the script's when what the row tells of happened."""

    key: str
    success: bool
    error: str | None = None
    checksum: str | None = None
    applied_at: str | None = None
    adopted: bool = False

    @property
    def facts(self) -> tuple[str, bool, str | None, str | None, bool]:
        """All but the time."""
        return self.key, self.success, self.error, self.checksum, self.adopted

    @property
    def source(self) -> str | None:
        """Return the source, or None for a name recorded before there were sources."""
        return self.key.split("/", 1)[0] if "/" in self.key else None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, as it goes on record.

    ``kind`` is one of applied, adopted, failed, aligned, repaired, imported,
    rolled back, restored, verified; ``outcome`` is ok or failed. ``mark`` ties
    the plan to the schema it left behind: see ``marks``.
    """

    kind: str
    outcome: str = "ok"
    key: str | None = None
    detail: str | None = None
    error: str | None = None
    duration_ms: int | None = None
    checksum: str | None = None
    mark: str | None = None


class History:
    """The two tables of one database, through the connection that is given."""

    def __init__(self, database: pw.Database, table: str = TABLE, live: Snapshot | None = None) -> None:
        self.database, self.table = database, table
        self._shape = None if live is None else self._shape_in(live)
        """The columns of the two tables where they are known, see ``_columns``; no script of a run may change them."""
        self._indexes = frozenset() if live is None else _indexes_of(live, table)
        if hasattr(database, "journal_table"):
            database.journal_table = self.events_table

    @property
    def events_table(self) -> str:
        """Name of the table of events, which only grows."""
        return events_of(self.table)

    def exists(self, name: str) -> bool:
        """Tell whether the database has this history table; checks its shape.

        Raises ``ForeignHistory`` when a table of our name belongs to another tool.
        """
        found = self._columns(self.table)
        if not found:
            if self.table in {view.name for view in self.database.get_views()}:
                raise ForeignHistory(name, f"its {self.table} is a view", ANOTHER_NAME)
            return False
        if not found >= SHORTEST:
            raise ForeignHistory(
                name,
                f"its table {self.table} has the columns {', '.join(sorted(found))} and belongs to another tool",
                ANOTHER_NAME,
            )
        return True

    def applied(self) -> tuple[AppliedMigration, ...]:
        """Read every row, oldest first; none where there is no table."""
        have = self._columns(self.table)
        if not have:
            return ()
        select = ", ".join(self._q(column) if column in have else "NULL" for column in COLUMNS[1:])
        rows = self._execute(f"SELECT {select} FROM {self._q(self.table)} ORDER BY {self._order(have)}").fetchall()
        attempts = self._last_attempts()
        return tuple(self._row(attempts, *row) for row in rows)

    @staticmethod
    def _row(attempts: Mapping[tuple[str, bool], tuple[str | None, bool]], *row: Any) -> AppliedMigration:
        key, at, success, error, _ = row
        is_done = success is None or bool(success)
        checksum, adopted = attempts.get((key, is_done), (None, False))
        return AppliedMigration(key, is_done, error, checksum, None if at is None else str(at), adopted)

    def facts(self, *, has_events: bool) -> tuple[tuple[Any, ...], ...]:
        """Return the rows but for their times, each with its last attempt's checksum and kind; two small reads.

        Raises ``peewee.OperationalError`` for a table that lacks one of these columns.
        """
        table = self._q(self.table)  # no quotes at columns: SQLite takes the quoted name of none for a text
        rows = self._execute(f"SELECT migration_name, success, error_message FROM {table} ORDER BY id").fetchall()
        attempted = self._attempts() if has_events else ()
        attempts = {(key, is_ok): (checksum, kind) for key, is_ok, checksum, kind in attempted}
        return tuple((*row, attempts.get((row[0], row[1] is None or bool(row[1])))) for row in rows)

    def facts_of_old(self) -> tuple[tuple[Any, ...], ...]:
        """Return the same of a table that lacks some of these columns; it takes longer."""
        return tuple(row.facts for row in self.applied())

    def mark(self) -> tuple[str | None, str | None]:
        """Return the mark the last run left, if nothing happened since, and the newest migration then; one small read.

        A run that ends with everything as expected writes it as the newest
        event: see ``marks``. The driver's error where there is no table.
        """
        table = self._q(self.events_table)
        row = self._execute(f"SELECT mark, migration_name FROM {table} ORDER BY id DESC LIMIT 1").fetchone()
        return (row[0], row[1]) if row else (None, None)

    def recorded_sources(self) -> str | None:
        """Return where the scripts came from when the database was last found to be as it should be."""
        if not self._has_events:
            return None
        table = self._q(self.events_table)
        sql = f"SELECT detail FROM {table} WHERE kind = 'verified' AND detail IS NOT NULL ORDER BY id DESC LIMIT 1"
        row = self._execute(sql).fetchone()
        return None if row is None else str(row[0])

    def outcomes(self) -> list[tuple[str, bool]]:
        """Read which migrations the rows name and whether they succeeded; one small read."""
        rows = self._execute(f"SELECT migration_name, success FROM {self._q(self.table)} ORDER BY 1").fetchall()
        return [(name, bool(success)) for name, success in rows]

    def names_in(self, table: str) -> frozenset[str]:
        """Read the names another tool recorded in a table of its own; none where its shape is another."""
        columns = self._columns(table)
        if not columns >= {"name", "migrated_at"}:
            return frozenset()
        return frozenset(name for (name,) in self._execute(f"SELECT name FROM {self._q(table)}").fetchall())

    def keep_in_step(self, names: Iterable[str], undone: Collection[str] = ()) -> None:
        """Tell peewee_migrate's own table, where there is one, what is applied by now and what is undone.

        So that ``pw_migrate`` neither runs a script again nor undoes one that is not there. A table of another
        shape, and one that is not there, stay as they are.
        """
        if not self._columns(PEEWEE_MIGRATE_TABLE) >= {"name", "migrated_at"}:
            return
        known, table, mark = self.names_in(PEEWEE_MIGRATE_TABLE), self._q(PEEWEE_MIGRATE_TABLE), self.database.param
        for name in names:
            if name not in known:
                self._execute(f"INSERT INTO {table} (name, migrated_at) VALUES ({mark}, {mark})", (name, _now()))
        for name in known.intersection(undone):
            self._execute(f"DELETE FROM {table} WHERE name = {mark}", (name,))

    def ensure_tables(self) -> list[str]:
        """Create what is absent of the two tables and bring an old one up to six columns."""
        made = []
        columns = self._columns(self.table)
        if not columns:
            self._make(self.table, self._worded(CREATE).format(table=self._q(self.table)))
            made.append(f"table {self.table}")
        for column, kind in (
            ("success", "BOOLEAN DEFAULT TRUE"),
            ("error_message", "TEXT"),
            ("execution_time_ms", "INTEGER"),
        ):
            if columns and column not in columns:
                self._make(self.table, self._worded(f"ALTER TABLE {self._q(self.table)} ADD COLUMN {column} {kind}"))
                made.append(f"column {self.table}.{column}")
        if columns and isinstance(self.database, pw.PostgresqlDatabase):
            self._let_id_count()
        index = "idx_migration_name" if self.table == TABLE else f"idx_{self.table}_name"
        if not self._has_index(index):
            self._make(self.table, f"CREATE INDEX {self._q(index)} ON {self._q(self.table)} (migration_name)")
        if not self._has_events:
            self._make(self.events_table, self._worded(CREATE_EVENTS).format(table=self._q(self.events_table)))
        return made

    def _let_id_count(self) -> None:
        """Let the ids of an old table count, which a mover may have brought without: no row could be written."""
        from framework_schema.postgres_ddl import PostgresGrammar

        with looking(self.database):
            found = self.database.execute_sql(UNCOUNTED, (self.table,)).fetchone()
        for statement in PostgresGrammar().counted(self.table, "id") if found else ():
            self._make(self.table, statement)

    def _make(self, table: str, sql: str) -> None:
        self._shape = None
        with changing(self.database, table):
            self._execute(sql)

    def _worded(self, statement: str) -> str:
        """Say a statement as the engine wants it."""
        for ours, theirs in WORDS[_family(self.database)].items():
            statement = statement.replace(ours, theirs)
        return statement

    def record(
        self, key: str, *, error: str | None = None, duration_ms: int | None = None, is_new: bool = False
    ) -> None:
        """Write or overwrite the one row of a migration, which ``is_new`` says is not there; ``error``: it failed."""
        values = (_now(), error is None, error, duration_ms, key)
        table, mark = self._q(self.table), self.database.param
        if not is_new:
            changed = self._write(
                f"UPDATE {table} SET applied_at = {mark}, success = {mark}, error_message = {mark}, "
                f"execution_time_ms = {mark} WHERE migration_name = {mark}",
                values,
            )
            if self.database.rows_affected(changed):
                return
        self._write(
            f"INSERT INTO {table} (applied_at, success, error_message, execution_time_ms, migration_name) "
            f"VALUES ({', '.join([mark] * 5)})",
            values,
        )

    def record_all(self, events: Iterable[Event]) -> None:
        """Record that these migrations are applied, with these events, as ``record`` and ``log`` would one by one."""
        table, mark, now = self._q(self.table), self.database.param, _now()
        events = list(events)
        old = {key for (key,) in self._execute(f"SELECT migration_name FROM {table}").fetchall()} if events else set()
        for event in events:
            if event.key in old:
                self.record(str(event.key), duration_ms=event.duration_ms)
        cursor = self.database.cursor()
        cursor.executemany(
            f"INSERT INTO {table} (applied_at, success, execution_time_ms, migration_name) "
            f"VALUES ({', '.join([mark] * 4)})",
            [(now, True, event.duration_ms, event.key) for event in events if event.key not in old],
        )
        of_now = _circumstances(now)
        cursor.executemany(self._insert_event, [_values(event, of_now) for event in events])

    def outcome(self, key: str) -> bool | None:
        """Tell whether a migration is recorded as done, or as failed, or not at all: None; one small read."""
        table, mark = self._q(self.table), self.database.param
        with looking(self.database):
            rows = self._execute(f"SELECT success FROM {table} WHERE migration_name = {mark}", (key,)).fetchall()
        return any(success is None or success for (success,) in rows) if rows else None

    def done_as(self, names: Sequence[str]) -> str | None:
        """Return the first of these names that a row records as done, None when there is none."""
        table, mark = self._q(self.table), self.database.param
        rows = self._execute(
            f"SELECT migration_name, success FROM {table} WHERE migration_name IN ({', '.join([mark] * len(names))})",
            tuple(names),
        ).fetchall()
        done = {name for name, success in rows if success is None or success}
        return next((name for name in names if name in done), None)

    def forget(self, key: str) -> None:
        """Remove a migration's row, as a rollback does. The events stay."""
        self._execute(f"DELETE FROM {self._q(self.table)} WHERE migration_name = {self.database.param}", (key,))

    def log(self, event: Event) -> None:
        """Append one event."""
        self._write(self._insert_event, _values(event, _circumstances(_now())))

    def log_failure(self, event: Event) -> None:
        """Append a failure; one that is the same as the last of this migration is counted there, not repeated.

        The event keeps the time of the first one, and its ``detail`` has the
        count: no column more, which every database would have to be given.
        """
        table, mark = self._q(self.events_table), self.database.param
        row = self._execute(
            f"SELECT id, outcome, error, checksum, detail FROM {table} WHERE migration_name = {mark}"
            " ORDER BY id DESC LIMIT 1",
            (event.key,),
        ).fetchone()
        if row is None or tuple(row[1:4]) != (event.outcome, event.error, event.checksum):
            self.log(event)
            return
        found = COUNTED.match(row[4] or "")
        count = (int(found[1]) if found else 1) + 1
        self._write(
            f"UPDATE {table} SET detail = {mark} WHERE id = {mark}", (f"{count} times, the last at {_now()}", row[0])
        )

    @property
    def _insert_event(self) -> str:
        return (
            f"INSERT INTO {self._q(self.events_table)} (kind, migration_name, outcome, detail, error, duration_ms, "
            f"checksum, mark, at, host, process, package_version) VALUES ({', '.join([self.database.param] * 12)})"
        )

    def events(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Read the events, newest first; none where there is no table."""
        if not self._has_events:
            return []
        names = (
            "id",
            "at",
            "kind",
            "migration_name",
            "outcome",
            "detail",
            "error",
            "duration_ms",
            "host",
            "process",
            "package_version",
        )
        cursor = self._execute(
            f"SELECT {', '.join(names)} FROM {self._q(self.events_table)} ORDER BY id DESC"
            + (f" LIMIT {int(limit)}" if limit is not None else "")
        )
        return [dict(zip(names, map(_shown, row), strict=True)) for row in cursor.fetchall()]

    def rows(self, limit: int | None = None, *, failed: bool = False) -> list[dict[str, Any]]:
        """Read the history's rows, newest first, as the ``history`` command shows them."""
        have = self._columns(self.table)
        if not have:
            return []
        names = [column for column in COLUMNS if column in have]
        where = " WHERE NOT success" if failed and "success" in have else ""
        select = f"SELECT {', '.join(map(self._q, names))} FROM {self._q(self.table)}{where}"
        most = f" LIMIT {int(limit)}" if limit is not None else ""
        cursor = self._execute(f"{select} ORDER BY {self._order(have)} DESC{most}")
        return [dict(zip(names, map(_shown, row), strict=True)) for row in cursor.fetchall()]

    def _last_attempts(self) -> dict[tuple[str, bool], tuple[str | None, bool]]:
        """For each migration, and whether it succeeded: the checksum it had then, and whether it was adopted."""
        if not self._has_events:
            return {}
        return {(key, is_ok): (checksum, kind == "adopted") for key, is_ok, checksum, kind in self._attempts()}

    def _attempts(self) -> Iterator[tuple[str, bool, str | None, str]]:
        """Yield every attempt, oldest first: the migration, whether it succeeded, its checksum, what was done."""
        cursor = self._execute(
            f"SELECT migration_name, outcome, checksum, kind FROM {self._q(self.events_table)} "
            "WHERE kind IN ('applied', 'adopted', 'failed') ORDER BY id"
        )
        for key, outcome, checksum, kind in cursor.fetchall():
            yield key, outcome == "ok", checksum, kind

    def _columns(self, table: str) -> set[str]:
        """Return the names of a table's columns in lower case, none where there is no table.

        SQLite is asked for both tables at once: who works with a history makes one
        anew for each look. A server's catalogs take ten times as long to answer
        as an empty query does.
        """
        if isinstance(self.database, pw.SqliteDatabase):
            if self._shape is None or table not in (self.table, self.events_table):
                self._shape = {}
                for name, column in self._execute(COLUMNS_OF, (self.table, self.events_table, table)).fetchall():
                    self._shape.setdefault(name.lower(), set()).add(column.lower())
            return self._shape.get(table.lower(), set())
        if not self.database.table_exists(table):
            return set()
        return {
            str(column[0]).lower() for column in self._execute(f"SELECT * FROM {self._q(table)} LIMIT 0").description
        }

    def _shape_in(self, live: Snapshot) -> dict[str, set[str]] | None:
        """Take the columns from what was read of a SQLite database."""
        tables = [live.tables.get(ddl.fold(name)) for name in (self.table, self.events_table)]
        if not isinstance(self.database, pw.SqliteDatabase) or any(table and table.unreadable for table in tables):
            return None
        return {table.name.lower(): set(table.columns) for table in tables if table is not None}

    @property
    def _has_events(self) -> bool:
        if isinstance(self.database, pw.SqliteDatabase):
            return bool(self._columns(self.events_table))
        return self.database.table_exists(self.events_table)

    def _has_index(self, name: str) -> bool:
        if name in self._indexes:
            return True
        if isinstance(self.database, pw.SqliteDatabase):
            return self._execute(INDEX_CALLED, (name,)).fetchone() is not None
        return name in {index.name for index in self.database.get_indexes(self.table)}

    @staticmethod
    def _order(have: Iterable[str]) -> str:
        return "id" if "id" in have else "applied_at"

    def _write(self, sql: str, params: Sequence[Any]) -> Any:
        """Write a row of ours, on PostgreSQL without a savepoint: under the migration lock nobody else does."""
        if not isinstance(self.database, pw.PostgresqlDatabase) or not hasattr(self.database, "attended"):
            return self._execute(sql, params)
        with self.database.attended(None):
            return self._execute(sql, params)

    def _execute(self, sql: str, params: Sequence[Any] | None = None) -> Any:
        return self.database.execute_sql(sql, params)

    def _q(self, name: str) -> str:
        quote = self.database.quote
        return f"{quote[0]}{name.replace(quote[1], quote[1] * 2)}{quote[1]}"


def _family(database: pw.Database) -> str:
    if isinstance(database, pw.MySQLDatabase):
        return "mysql"
    return "postgresql" if isinstance(database, pw.PostgresqlDatabase) else "sqlite"


def _indexes_of(live: Snapshot, table: str) -> frozenset[str]:
    found = live.tables.get(ddl.fold(table))
    return frozenset() if found is None else frozenset(found.indexes)


def _shown(value: Any) -> Any:
    """Return a moment as SQLite has it, as text."""
    return str(value) if isinstance(value, datetime) else value


def _values(event: Event, of_now: tuple[Any, ...]) -> tuple[Any, ...]:
    return (
        event.kind, event.key, event.outcome, event.detail, event.error, event.duration_ms, event.checksum,
        event.mark, *of_now,
    )  # fmt: skip


def _circumstances(now: str) -> tuple[Any, ...]:
    """Say when, where and by what an event is recorded."""
    return (now, socket.gethostname(), os.getpid(), __version__)


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "seconds")

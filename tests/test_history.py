from contextlib import closing

import peewee as pw
import pytest
import sqlite_files as files

from framework_schema.errors import ForeignHistory
from framework_schema.history import COLUMNS, Event, History
from framework_schema.sqlite_snapshot import of_database

EXISTING = """
CREATE TABLE schema_migrations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    migration_name TEXT UNIQUE NOT NULL,
    applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN DEFAULT TRUE,
    error_message TEXT,
    execution_time_ms INTEGER
);
INSERT INTO schema_migrations (migration_name, applied_at, success, error_message, execution_time_ms) VALUES
    ('add_dashboard_tables.py', '2025-10-25 10:00:00', 1, NULL, 12),
    ('add_custom_columns.py', '2025-10-26 10:00:00', 0, 'no such table: x', NULL),
    ('add_battery_calibration', '2025-10-27 10:00:00', NULL, NULL, NULL);
"""
SHORT = """
CREATE TABLE schema_migrations (migration_name VARCHAR(255) PRIMARY KEY, applied_at TEXT);
INSERT INTO schema_migrations VALUES ('add_dashboard_tables.py', '2025-10-25'), ('add_custom_columns.py', NULL);
"""


@pytest.fixture
def database(path):
    database = pw.SqliteDatabase(path)
    yield database
    database.close()


def ours(database):
    history = History(database)
    history.ensure_tables()
    return history


def shape(path, table="schema_migrations"):
    return files.query(path, 'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(?)', table)


# What is there already


@pytest.mark.parametrize(
    "columns",
    ["version VARCHAR PRIMARY KEY", "version BIGINT, dirty BOOLEAN", "name TEXT, applied_at TEXT", "migration_name"],
)
def test_a_table_of_another_tool_is_refused(database, columns):
    database.execute_sql(f"CREATE TABLE schema_migrations ({columns})")

    with pytest.raises(ForeignHistory, match=r"x\.db: its table schema_migrations has the columns"):
        History(database).exists("x.db")


def test_reading_where_there_is_nothing_creates_nothing(database, path):
    history = History(database)

    assert not history.exists("x")
    assert (history.applied(), history.rows(), history.events(), history.names_in("migratehistory")) == (
        (), [], [], frozenset(),
    )  # fmt: skip
    assert files.tables(path) == {}


def test_rows_of_the_past_stay_as_they_are_and_the_table_keeps_its_columns(database, path):
    files.run(path, EXISTING)
    rows, before = files.rows(path, "schema_migrations"), shape(path)

    history = ours(database)
    history.record("framework/001_x", duration_ms=3)
    history.forget("framework/001_x")

    assert files.rows(path, "schema_migrations") == rows
    assert shape(path) == before
    assert [column for column, *_ in before] == list(COLUMNS)


def test_the_table_we_make_is_the_one_existing_databases_have(database, path, tmp_path):
    files.run(tmp_path / "old.db", EXISTING)

    ours(database)

    assert shape(path) == shape(tmp_path / "old.db")
    assert "idx_migration_name" in files.indexes(path)


def test_an_old_table_of_two_columns_is_brought_up_and_keeps_its_rows(database, path):
    files.run(path, SHORT)

    history = ours(database)
    history.record("framework/001_x")

    assert {"success", "error_message", "execution_time_ms"} <= set(files.columns(path, "schema_migrations"))
    found = [(row.key, row.success, row.source) for row in history.applied()]
    assert sorted(found) == [
        ("add_custom_columns.py", True, None),
        ("add_dashboard_tables.py", True, None),
        ("framework/001_x", True, "framework"),
    ]


def test_an_old_table_of_two_columns_is_read_without_a_write(database, path):
    files.run(path, SHORT)
    before = files.digest(path)
    history = History(database)

    assert history.exists("x")
    assert {row.key for row in history.applied()} == {"add_dashboard_tables.py", "add_custom_columns.py"}
    assert {row["migration_name"] for row in history.rows()} == {"add_dashboard_tables.py", "add_custom_columns.py"}
    database.close()
    assert files.digest(path) == before


def test_an_absent_verdict_counts_as_success_and_a_failure_as_none(database, path):
    files.run(path, EXISTING)

    assert [row.success for row in History(database).applied()] == [True, False, True]
    assert History(database).applied()[1].error == "no such table: x"


def test_making_the_tables_twice_changes_nothing(database, path):
    assert ours(database)
    before = files.digest(path)

    assert History(database).ensure_tables() == []
    assert files.digest(path) == before


# Recording


def test_a_failure_becomes_a_success_in_the_same_row(database, path):
    history = ours(database)
    history.record("app/001_x", error="no such table: y", duration_ms=5)
    (failed,) = files.query(path, "SELECT id, success, error_message, execution_time_ms FROM schema_migrations")

    history.record("app/001_x", duration_ms=7)

    (mended,) = files.query(path, "SELECT id, success, error_message, execution_time_ms FROM schema_migrations")
    assert (failed[1:], mended[1:]) == ((0, "no such table: y", 5), (1, None, 7))
    assert failed[0] == mended[0]


def test_a_row_that_is_forgotten_leaves_its_events(database):
    history = ours(database)
    history.record("app/001_x")
    history.log(Event("applied", key="app/001_x", checksum="abc"))

    history.forget("app/001_x")

    assert history.applied() == ()
    assert [event["kind"] for event in history.events()] == ["applied"]


def test_events_are_only_ever_added(database, path):
    history = ours(database)
    history.log(Event("failed", "failed", "app/001_x", error="no", duration_ms=1, checksum="abc"))
    first = files.rows(path, "schema_migration_events")

    history.log(Event("applied", key="app/001_x", detail="done"))
    history.log(Event("verified", mark="m"))

    now = files.rows(path, "schema_migration_events")
    assert now.items() >= first.items()
    assert [event["kind"] for event in history.events()] == ["verified", "applied", "failed"]
    assert [event["kind"] for event in history.events(limit=2)] == ["verified", "applied"]
    for event in now.values():
        assert all(event[name] is not None for name in ("at", "host", "process", "package_version"))


def test_the_checksum_is_that_of_the_last_success(database):
    history = ours(database)
    history.record("app/001_x")
    for kind, outcome, checksum in (("adopted", "ok", "first"), ("failed", "failed", "second")):
        history.log(Event(kind, outcome, "app/001_x", checksum=checksum))

    (row,) = history.applied()
    assert (row.checksum, row.adopted) == ("first", True)

    history.log(Event("applied", key="app/001_x", checksum="third"))
    (row,) = history.applied()
    assert (row.checksum, row.adopted) == ("third", False)


def test_the_rows_are_shown_newest_first(database, path):
    files.run(path, EXISTING)
    history = ours(database)
    history.record("app/001_x")

    assert [row["migration_name"] for row in history.rows(limit=2)] == ["app/001_x", "add_battery_calibration"]
    assert [row["migration_name"] for row in history.rows(failed=True)] == ["add_custom_columns.py"]
    assert list(history.rows()[0]) == list(COLUMNS)


@pytest.mark.parametrize("key", ["app/001_'quotes\"", "app/001_größe 漢", "app/001_x; DROP TABLE item"])
def test_a_key_is_a_value_and_never_part_of_a_statement(database, key):
    history = ours(database)
    history.record(key, error="e'rr\"or")
    history.record(key)

    assert [row.key for row in history.applied()] == [key]


@pytest.mark.parametrize("table", ["framework_history", "my history", 'q"q', "schema-migrations"])
def test_a_table_of_another_name_works_and_has_events_of_its_own(database, path, table):
    history = History(database, table)
    history.ensure_tables()
    history.record("app/001_x")
    history.log(Event("applied", key="app/001_x"))

    assert files.tables(path).keys() == {table, f"{table}_events"}
    assert history.exists("x")
    assert [row.key for row in history.applied()] == ["app/001_x"]
    assert len(history.events()) == 1


# peewee_migrate's own record


@pytest.mark.parametrize(
    ("create", "names"),
    [
        pytest.param("name TEXT, other TEXT", set(), id="another table of that name"),
        pytest.param("id INTEGER PRIMARY KEY, name VARCHAR(255), migrated_at DATETIME", {"001_x"}, id="its own"),
    ],
)
def test_the_record_of_peewee_migrate_is_taken_when_it_has_its_shape(database, create, names):
    database.execute_sql(f"CREATE TABLE migratehistory ({create})")
    database.execute_sql("INSERT INTO migratehistory (name) VALUES ('001_x')")

    assert History(database).names_in("migratehistory") == names


# What a snapshot tells need not be asked again

SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("", id="nothing there"),
        pytest.param(EXISTING, id="as many have it"),
        pytest.param(SHORT, id="two columns"),
        pytest.param(f"{EXISTING} CREATE INDEX idx_migration_name ON schema_migrations (migration_name);", id="index"),
        pytest.param(
            "CREATE TABLE other (a); CREATE INDEX idx_migration_name ON other (a); DROP INDEX idx_migration_name;"
            + EXISTING,
            id="an index that was another's",
        ),
        pytest.param(EXISTING.replace("schema_migrations", "SCHEMA_Migrations"), id="in capitals"),
        pytest.param("CREATE VIRTUAL TABLE schema_migrations USING fts5(migration_name, applied_at);", id="virtual"),
    ],
)
def test_a_history_that_knows_the_snapshot_does_as_one_that_asks(path, tmp_path, script):
    def told(place, *, knowing):
        files.run(place, script)
        with closing(pw.SqliteDatabase(place)) as database:
            live = of_database(database) if knowing else None
            try:
                exists = History(database, live=live).exists("x")
                made = History(database, live=live).ensure_tables()
                again = History(database, live=of_database(database) if knowing else None).ensure_tables()
                rows = [row.key for row in History(database, live=None).applied()]
                return exists, made, again, rows, files.query(place, SCHEMA)
            except Exception as error:
                return type(error).__name__, str(error), files.query(place, SCHEMA)

    assert told(path, knowing=True) == told(tmp_path / "asked.db", knowing=False)


def test_a_history_that_knows_the_snapshot_asks_for_nothing(database):
    ours(database)
    asked = []
    history = History(database, live=of_database(database))
    database.connection().set_trace_callback(asked.append)

    assert history.exists("x")
    assert history.ensure_tables() == []
    assert asked == []

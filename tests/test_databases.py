import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import peewee as pw
import pytest
import sqlite_files as files
from playhouse.pool import PooledSqliteDatabase
from script_texts import creates, script, sql

from framework_schema.databases import hide_password, open_file, open_target
from framework_schema.errors import ConfigError, MigrationFailed, PlanRefused, Unreadable
from framework_schema.report import State
from framework_schema.runner import Runner

RUNNING, READ = threading.Event(), threading.Event()
"""For a script and a thread to wait for each other."""


def state_of(database):
    """Return what an app would notice of its own object."""
    return {
        "is closed": database.is_closed(),
        "connection": None if database.is_closed() else id(database.connection()),
        "in transaction": not database.is_closed() and database.in_transaction(),
        "database": database.database,
        "params": dict(database.connect_params),
        "pragmas": list(database._pragmas),
        "registered": {name: dict(getattr(database, name)) for name in ("_functions", "_collations", "_aggregates")},
    }


# What is no database


@pytest.mark.parametrize(
    ("target", "says"),
    [
        pytest.param(pw.Proxy(), "initialize", id="proxy without a database"),
        pytest.param(pw.SqliteDatabase(None), "init", id="database without a name"),
        pytest.param("mongodb://localhost/x", "not supported", id="unknown engine"),
    ],
)
def test_what_cannot_be_a_database_is_refused_and_nothing_opened(target, says):
    with pytest.raises(ConfigError, match=says):
        open_target(target)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:s3cret@host/db", "postgresql://user:***@host/db"),
        ("postgresql://user:s3:cr@t@host/db", "postgresql://user:***@host/db"),
        ("mysql://u:s3cret@h/d?password=s3cret&x=1", "mysql://u:***@h/d?password=***&x=1"),
        ("could not connect to postgresql://u:s3cret@h/d, again", "could not connect to postgresql://u:***@h/d, again"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
        ("postgresql://user@host/db", "postgresql://user@host/db"),
    ],
)
def test_a_password_is_never_shown(url, shown):
    assert hide_password(url) == shown


# The app's own object


@pytest.mark.parametrize("opened", [False, True], ids=["closed", "open"])
def test_the_apps_database_is_as_it_was(path, folder, opened):
    database = pw.SqliteDatabase(path, pragmas={"foreign_keys": 1, "cache_size": -2000}, timeout=7)
    database.register_function(str.upper, "shout")
    database.register_collation(lambda a, b: (a > b) - (a < b), "plain")
    if opened:
        database.connect()
    before = state_of(database)

    Runner(database, [folder({"001_item": creates("item")})]).migrate()

    assert state_of(database) == before
    assert database.pragma("foreign_keys") == 1
    assert "item" in database.get_tables()
    database.close()


def test_the_apps_open_transaction_is_not_touched_and_keeps_us_out(path, folder, runner):
    database = pw.SqliteDatabase(path)
    database.execute_sql("CREATE TABLE mine (a)")
    source = folder({"001_item": creates("item")})
    with database.atomic():
        database.execute_sql("INSERT INTO mine VALUES (1)")
        with pytest.raises(Exception, match="another process holds the database"):
            runner(source, database=database, timeout=0.2).migrate()
        assert database.in_transaction()
    database.close()

    assert files.query(path, "SELECT a FROM mine") == [(1,)]
    assert runner(source, database=database).migrate().state is State.MIGRATED


def test_functions_and_collations_the_app_registered_can_be_used(path, folder):
    database = pw.SqliteDatabase(path)
    database.register_function(lambda text: text.upper(), "shout", 1)
    database.register_collation(lambda a, b: (a.lower() > b.lower()) - (a.lower() < b.lower()), "careless")
    database.execute_sql("CREATE TABLE mine (a TEXT COLLATE careless, b TEXT)")
    database.execute_sql("CREATE TRIGGER loud AFTER INSERT ON mine BEGIN UPDATE mine SET b = shout(a); END")
    database.execute_sql("CREATE INDEX by_a ON mine (a)")
    database.close()
    body = "migrator.sql(\"INSERT INTO mine (a) VALUES ('b'), ('A')\")\nmigrator.add_not_null('mine', 'b')"

    Runner(database, [folder({"001_x": script(body)})]).migrate()

    assert list(database.execute_sql("SELECT a, b FROM mine ORDER BY a")) == [("A", "A"), ("b", "B")]
    database.close()


def test_a_pool_lends_us_nothing(path, folder):
    database = PooledSqliteDatabase(path, max_connections=1, stale_timeout=60)
    database.connect()
    before = database.connection()

    Runner(database, [folder({"001_item": creates("item")})]).migrate()

    assert database.connection() is before
    assert (len(database._in_use), len(database._connections)) == (1, 0)
    database.close()
    database.close_all()


def test_a_proxy_leads_to_its_database(path, folder):
    proxy = pw.DatabaseProxy()
    proxy.initialize(pw.SqliteDatabase(path))

    assert Runner(proxy, [folder({"001_item": creates("item")})]).migrate().state is State.MIGRATED
    assert proxy.obj.is_closed()


@pytest.mark.parametrize("pragmas", [{"journal_mode": "wal"}, {"synchronous": 0}, [("cache_size", -100)]])
def test_pragmas_of_the_apps_connections_hold_for_ours(path, folder, pragmas):
    database = pw.SqliteDatabase(path, pragmas=pragmas)
    name, value = pragmas.copy().popitem() if isinstance(pragmas, dict) else pragmas[0]
    source = folder({"001_x": script(f"assert database.pragma({name!r}) == {value!r}")})

    assert Runner(database, [source]).migrate().state is State.MIGRATED
    assert database.is_closed()


def test_our_connection_is_closed_whatever_happens(path, folder):
    runner = Runner(path, [folder({"001_bad": sql("SELECT absent")})])

    with pytest.raises(MigrationFailed):
        runner.migrate()
    assert runner.target.database.is_closed()
    runner.status()
    assert runner.target.database.is_closed()
    path.unlink()


def test_a_relative_name_stays_the_same_file_when_the_folder_changes(tmp_path, folder, monkeypatch):
    source = folder({"001_item": creates("item")})
    for name in ("one", "two"):
        Path(tmp_path, name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    runner = Runner("x.db", [source])
    monkeypatch.chdir(tmp_path / "two")

    runner.migrate()

    assert Path(tmp_path, "one", "x.db").exists()
    assert not Path(tmp_path, "two", "x.db").exists()


# In memory


def test_a_database_in_memory_is_migrated_in_the_apps_own_connection(folder):
    database = pw.SqliteDatabase(":memory:", pragmas={"foreign_keys": 1})
    database.connect()
    source = folder({"001_item": creates("item")})

    assert Runner(database, [source]).migrate().state is State.MIGRATED
    assert not database.is_closed()
    assert "item" in database.get_tables()
    assert database.pragma("foreign_keys") == 1
    assert Runner(database, [source]).migrate().state is State.CURRENT
    database.close()


def test_a_database_in_memory_with_an_open_transaction_is_refused(folder):
    database = pw.SqliteDatabase(":memory:")
    source = folder({"001_item": creates("item")})
    with database.atomic():
        database.execute_sql("CREATE TABLE mine (a)")
        with pytest.raises(PlanRefused, match=r"a transaction is open .*Nothing was run\. Commit it first"):
            Runner(database, [source]).migrate()
        assert database.in_transaction()
    assert database.get_tables() == ["mine"]
    database.close()


def test_a_failed_script_in_memory_leaves_the_connection_as_it_was(folder):
    database = pw.SqliteDatabase(":memory:", pragmas={"foreign_keys": 1})
    database.connect()

    with pytest.raises(MigrationFailed):
        Runner(database, [folder({"001_x": script("migrator.sql('CREATE TABLE half (a)')\n1 / 0")})]).migrate()

    assert "half" not in database.get_tables()
    assert (database.pragma("foreign_keys"), database.in_transaction()) == (1, False)
    database.execute_sql("BEGIN")
    database.execute_sql("COMMIT")
    database.close()


@pytest.mark.parametrize("target", [":memory:", "sqlite:///:memory:", "sqlite://"])
def test_a_name_for_memory_makes_no_file(target, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    runner = Runner(target, [folder({"001_item": creates("item")})])

    assert runner.migrate().state is State.MIGRATED
    assert runner.migrate().state is State.CURRENT
    assert [found.name for found in tmp_path.iterdir()] == ["scripts"]
    runner.target.database.close()


# URLs


@pytest.mark.parametrize("scheme", ["sqlite", "sqliteext", "sqlite+pool", "SQLite"])
def test_a_url_names_a_file(path, folder, scheme):
    assert Runner(f"{scheme}:///{path}", [folder({"001_item": creates("item")})]).migrate().state is State.MIGRATED
    assert "item" in files.tables(path)


@pytest.mark.parametrize(
    ("place", "name"),
    [("a%20b.db", "a b.db"), ("a%3Fb.db", "a?b.db"), ("a.db?timeout=3", "a.db"), ("a%23.db", "a#.db")],
)
def test_a_url_is_decoded_and_its_options_are_no_name(tmp_path, folder, place, name):
    Runner(f"sqlite:///{tmp_path}/{place}", [folder({"001_item": creates("item")})]).migrate()

    assert Path(tmp_path, name).exists()


def test_every_kind_of_sqlite_database_is_one(path, folder):
    source = folder({"001_item": creates("item")})

    assert Runner(pw.SqliteDatabase(path), [source]).migrate().state is State.MIGRATED
    assert Runner(PooledSqliteDatabase(path), [source]).migrate().state is State.CURRENT
    assert Runner(str(path), [source]).migrate().state is State.CURRENT
    assert Runner(Path(path), [source]).migrate().state is State.CURRENT


def test_a_journal_in_wal_mode_is_left_whole(path, folder):
    keeper = sqlite3.connect(path, isolation_level=None)
    keeper.execute("PRAGMA journal_mode = wal")
    keeper.execute("CREATE TABLE mine (a)")
    keeper.execute("INSERT INTO mine VALUES (1)")

    Runner(path, [folder({"001_item": creates("item")})]).migrate()

    assert keeper.execute("SELECT a FROM mine").fetchall() == [(1,)]
    assert keeper.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert keeper.execute("SELECT count(*) FROM item").fetchone() == (0,)
    keeper.close()


def test_an_app_in_another_thread_can_read_while_a_script_runs(path, folder):
    files.run(path, "PRAGMA journal_mode = wal; CREATE TABLE mine (a); INSERT INTO mine VALUES (1)")
    RUNNING.clear()
    READ.clear()
    seen = []

    def look():
        RUNNING.wait(10)
        seen.extend(files.query(path, "SELECT a FROM mine"))
        READ.set()

    thread = threading.Thread(target=look)
    thread.start()
    body = "migrator.sql('UPDATE mine SET a = 2')\nRUNNING.set()\nassert READ.wait(10)"
    Runner(path, [folder({"001_x": script(body, head="from test_databases import READ, RUNNING")})]).migrate()
    thread.join()

    assert seen == [(1,)]
    assert files.query(path, "SELECT a FROM mine") == [(2,)]


# A first look, over a connection that Peewee then goes on with


@pytest.fixture
def opened(monkeypatch):
    """List the connections that are opened to files."""
    real, found = sqlite3.connect, []

    def connect(database, *arguments, **params):
        if str(database).startswith("file:"):
            found.append(database)
        return real(database, *arguments, **params)

    monkeypatch.setattr(sqlite3, "connect", connect)
    return found


def test_a_pending_file_is_looked_at_and_migrated_over_one_connection(path, folder, opened):
    first, second = creates("one"), sql("CREATE TABLE two AS SELECT date_part('year', '2026-11-26') AS year")
    Runner(path, [folder({"001_a": first})]).migrate()
    opened.clear()

    report = Runner(path, [folder({"001_a": first, "002_b": second})]).migrate()

    assert (report.state, report.applied, len(opened)) == (State.MIGRATED, ["app/002_b"], 1)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT year FROM two").fetchone() == (2026,), "what Peewee registers is there"


def test_a_current_file_is_let_go_of_after_the_look(path, folder, opened):
    runner = Runner(path, [folder({"001_a": creates("one")})])
    runner.migrate()
    runner.migrate()
    opened.clear()

    assert (runner.migrate().state, len(opened)) == (State.CURRENT, 1)
    assert runner.target.database.is_closed()
    Path(path).rename(f"{path}.old")  # on Windows this fails while anyone has it open
    assert runner.migrate().state is State.MIGRATED


@pytest.mark.parametrize("kind", ["path", "text", "url", "database"])
def test_a_file_can_be_opened_by_any_of_its_names(path, kind):
    sqlite3.connect(path).close()
    Path(path).touch()
    target = {
        "path": Path(path), "text": str(path), "url": f"sqlite:///{path}", "database": pw.SqliteDatabase(str(path)),
    }[kind]  # fmt: skip

    with closing(open_file(target, 1)) as connection:
        assert connection.execute("PRAGMA database_list").fetchone()[2] == str(Path(path).resolve())


@pytest.mark.parametrize("kind", ["path", "text", "url", "database"])
def test_a_file_that_is_not_there_is_not_made_by_a_look(path, kind):
    target = {
        "path": Path(path), "text": str(path), "url": f"sqlite:///{path}", "database": pw.SqliteDatabase(str(path)),
    }[kind]  # fmt: skip

    with pytest.raises((sqlite3.OperationalError, Unreadable)):
        open_file(target, 1)

    assert not Path(path).exists()


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(pw.SqliteDatabase(":memory:"), id="in memory"),
        pytest.param(":memory:", id="in memory, by name"),
        pytest.param(pw.SqliteDatabase("file:x?mode=memory", uri=True), id="a URI"),
        pytest.param(pw.PostgresqlDatabase("x"), id="on a server"),
    ],
)
def test_what_is_no_file_is_not_opened(target):
    assert open_file(target, 1) is None

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import peewee as pw
import pytest
import servers
from playhouse.pool import PooledMySQLDatabase
from script_texts import creates, script, sql

from framework_schema import databases, mysql
from framework_schema.config import Config
from framework_schema.databases import open_target
from framework_schema.errors import ConfigError, MigrationFailed, Unreadable
from framework_schema.report import State
from framework_schema.runner import Runner


@pytest.fixture
def fresh():
    with servers.Fresh("mariadb") as fresh:
        yield fresh


def quick(fresh, source, **settings):
    return Runner(fresh.url, [source], config=Config(backup="never", **{"timeout": 20, **settings}))


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pool", "mariadb+pool"])
def test_every_scheme_is_a_plain_connection(fresh, folder, scheme):
    runner = Runner(f"{scheme}://{fresh.url.partition('://')[2]}", [folder({"001_a": creates("A")})])

    assert runner.migrate().state is State.MIGRATED
    assert type(runner.target.database) is mysql.OwnMysql


def test_a_name_with_anything_in_it_is_decoded(folder):
    with servers.Fresh("mariadb", name=f"{servers.PREFIX}a b%@ü") as fresh:
        assert Runner(fresh.url, [folder({"001_a": creates("A")})]).migrate().state is State.MIGRATED


def test_an_apps_pooled_database_is_left_alone(fresh, folder):
    pool = PooledMySQLDatabase(fresh.name, host="127.0.0.1", user="root", max_connections=2)
    if "127.0.0.1:3306" not in fresh.url:
        pytest.skip("the server is elsewhere")

    assert Runner(pool, [folder({"001_a": creates("A")})]).migrate().state is State.MIGRATED
    assert pool.is_closed() and not pool._connections and not pool._in_use


def test_a_missing_driver_names_the_extra(monkeypatch):
    monkeypatch.setattr(databases, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"framework-schema\[mysql\]"):
        open_target("mariadb://localhost/x")


@pytest.mark.parametrize("url", ["mysql://bob:se/kret@localhost/x", "mariadb://bob:sekret@127.0.0.1:1/x"])
def test_no_error_shows_a_password(url):
    with pytest.raises((ConfigError, Unreadable)) as refused:
        Runner(url).status()

    assert "kret" not in f"{refused.value} {refused.value!r} {refused.value.__cause__!r}"


def test_a_value_that_does_not_fit_is_refused_and_not_cut(fresh, folder):
    source = folder({"001_a": sql("CREATE TABLE a (x VARCHAR(3))", "INSERT INTO a VALUES ('abcd')")})

    with pytest.raises(MigrationFailed, match="too long"):
        quick(fresh, source).migrate()


def test_data_before_ddl_is_written_once_and_after_it_undone(fresh, folder):
    """What stood at the failure is passed over by the next run; what was undone is done again."""
    body = """
    migrator.sql("CREATE TABLE a (x INTEGER, y INTEGER)")
    for number in range(3):
        database.execute_sql("INSERT INTO a VALUES (%s, 0)", (number,))
    migrator.sql("UPDATE a SET y = y + 1")
    migrator.sql("CREATE INDEX i ON a (x)")
    migrator.sql("UPDATE a SET y = y + 10")
    {end}
    """
    with pytest.raises(MigrationFailed) as failed:
        quick(fresh, folder({"001_a": script(body.format(end="raise KeyError"))})).migrate()
    stood = servers.run("mariadb", fresh.url, "SELECT x, y FROM a ORDER BY x")
    report = quick(fresh, folder({"001_a": script(body.format(end="pass"))})).migrate()

    assert "this stands" in str(failed.value)
    assert stood == ((0, 1), (1, 1), (2, 1))
    assert report.applied == ["app/001_a"]
    assert servers.run("mariadb", fresh.url, "SELECT x, y FROM a ORDER BY x") == ((0, 11), (1, 11), (2, 11))


def test_a_statement_in_doubt_counts_as_done_when_its_effect_is_there(fresh, folder):
    """We were killed after the server had run it and before we knew."""
    statement = "ALTER TABLE a ADD COLUMN y INTEGER"
    source = folder({"001_a": sql("CREATE TABLE a (x INTEGER)"), "002_b": sql(statement)})
    runner = quick(fresh, source)
    runner.migrate(to="app/001_a")
    with runner.target.connected() as database:
        journal = mysql.Journal(database, "app/002_b")
        journal._record(database.execute_sql, mysql._digest(statement, None))
        database.execute_sql(statement)

    assert quick(fresh, source).migrate().applied == ["app/002_b"]


def test_the_same_statement_fails_when_it_was_not_in_doubt(fresh, folder):
    statement = "ALTER TABLE a ADD COLUMN y INTEGER"
    source = folder({"001_a": sql("CREATE TABLE a (x INTEGER)"), "002_b": sql(statement)})
    quick(fresh, source).migrate(to="app/001_a")
    servers.run("mariadb", fresh.url, statement)

    for _ in range(2):
        with pytest.raises(MigrationFailed, match="Duplicate column"):
            quick(fresh, source).migrate()


def test_after_a_rollback_every_statement_runs_again(fresh, folder):
    text = script(
        "migrator.sql('CREATE TABLE a (x INTEGER)')\nmigrator.sql('INSERT INTO a VALUES (1)')",
        rollback="migrator.sql('DROP TABLE a')",
    )
    runner = quick(fresh, folder({"001_a": text}))
    runner.migrate()
    runner.rollback()

    quick(fresh, folder({"001_a": text})).migrate()

    assert servers.run("mariadb", fresh.url, "SELECT x FROM a") == ((1,),)


def test_a_scratch_that_a_killed_process_left_is_dropped(fresh, folder):
    left = mysql.SCRATCH + "0123456789abcdef"
    servers.run("mariadb", fresh.server, f"CREATE DATABASE IF NOT EXISTS `{left}`")

    quick(fresh, folder({"001_a": creates("A", "left_over")})).migrate()

    assert (left,) not in servers.run("mariadb", fresh.server, "SHOW DATABASES")


MIGRATE = """
import sys
from framework_schema.config import Config
from framework_schema.runner import Runner
from framework_schema.sources import Folder
Runner(sys.argv[1], [Folder(sys.argv[2])], config=Config(timeout=30, backup="never")).migrate()
"""
STEPS = """
migrator.sql("CREATE TABLE IF NOT EXISTS t{n} (x INTEGER PRIMARY KEY, y INTEGER)")
migrator.sql("INSERT INTO t{n} VALUES (1, 0)")
migrator.sql("UPDATE t{n} SET y = y + 1")
migrator.sql("ALTER TABLE t{n} ADD COLUMN z INTEGER")
migrator.sql("UPDATE t{n} SET y = y + 1")
migrator.sql("CREATE INDEX i ON t{n} (z)")
migrator.sql("INSERT INTO t{n} (x, y) VALUES (2, 0)")
"""


@pytest.mark.parametrize("seed", range(int(os.environ.get("FRAMEWORK_SCHEMA_TEST_KILLS", "4"))))
def test_a_run_killed_anywhere_is_finished_by_the_next_and_nothing_is_done_twice(fresh, folder, seed):
    source = folder({f"{n:03}_s": script(STEPS.format(n=n)) for n in range(1, 6)})
    chance = random.Random(seed)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", MIGRATE, fresh.url, str(source.path)], env=environment, stderr=subprocess.DEVNULL
        )
        time.sleep(0.5 + chance.random() * 1.5)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    report = quick(fresh, source).migrate()

    assert report.state in (State.MIGRATED, State.CURRENT)
    for n in range(1, 6):
        assert servers.run("mariadb", fresh.url, f"SELECT x, y FROM t{n} ORDER BY x") == ((1, 2), (2, 0))
    assert len(quick(fresh, source).history()) == 5


def test_a_deferred_database_is_refused():
    with pytest.raises(ConfigError, match="init"):
        open_target(pw.MySQLDatabase(None))


def test_a_user_who_may_make_no_database_is_told_what_to_grant(folder):
    with servers.guarded("mariadb", "secret") as url:
        user = url.partition("://")[2].partition(":")[0]
        for host in ("localhost", "127.0.0.1", "%"):
            place = "framework\\_schema\\_scratch\\_%"
            servers.run("mariadb", servers.need("mariadb"), f"REVOKE ALL ON `{place}`.* FROM {user}@'{host}'")

        with pytest.raises(Unreadable, match="GRANT ALL ON `framework"):
            Runner(url, [folder({"001_a": creates("Ungranted")})]).status()  # what no other test has looked for


@pytest.mark.parametrize("null", [False, True])
def test_a_column_that_was_added_by_a_killed_run_gets_its_values(fresh, folder, null):
    """ADD COLUMN commits by itself; killed right after it, the column would stay empty and open to NULL."""
    source = folder({"001_a": creates("A", "name")})
    quick(fresh, source).migrate()
    servers.run("mariadb", fresh.url, "INSERT INTO A (name) VALUES ('mine')")
    folder({"002_b": script(f"migrator.add_fields('A', note=pw.CharField(max_length=9, default='x', null={null}))")})
    text = "import os, sys\nimport peewee as pw\nreal = pw.Database.execute_sql\n"
    text += "def call(self, sql, *rest):\n    found = real(self, sql, *rest)\n"
    text += "    is_live = 'scratch' not in str(real(self, 'SELECT DATABASE()').fetchone())\n"
    text += "    if is_live and 'ADD COLUMN' in sql and 'note' in sql:\n"
    text += "        os.kill(os.getpid(), 9)\n    return found\npw.Database.execute_sql = call\n"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}

    command = [sys.executable, "-c", text + MIGRATE, fresh.url, str(source.path)]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    assert servers.run("mariadb", fresh.url, "SELECT note FROM A") == ((None,),)

    assert quick(fresh, source).migrate().state is State.MIGRATED
    assert servers.run("mariadb", fresh.url, "SELECT note FROM A") == (("x",),)
    assert not quick(fresh, source).drift(strict=True)

"""Undone on a server: the same schema after up, down and up, and a way on when it stops half-way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from script_texts import creates, script

from framework_schema.errors import MigrationFailed, PlanRefused
from framework_schema.expected import orm_of
from framework_schema.history import History
from framework_schema.report import Outcome, State
from framework_schema.rollback import undo
from framework_schema.sources import framework

ROOT = str(Path(__file__).parents[2])


def schema(server):
    runner = server.runner()
    with runner.target.connected() as database:
        return runner.dialect.snapshot(database, structural=True).digest


def rows(database, snapshot, said):
    """All rows but the history's, times and counted ids aside: a sequence never gives a number twice."""
    found = {}
    for table in snapshot.tables.values():
        if not table.name.startswith("schema_migration"):
            columns = [c.name for c in table.columns.values() if c.name != "id" and not c.name.endswith("_at")]
            names = ", ".join(f'"{name}"' for name in columns) or "1"
            query = said(f'SELECT {names} FROM "{table.name}"')
            found[table.name] = sorted(map(repr, database.execute_sql(query).fetchall()))
    return found


def undone(report):
    return report.keys(Outcome.ROLLED_BACK)


@pytest.mark.slow
def test_each_shipped_script_goes_up_down_and_up_to_the_same_schema_and_rows(server):
    """Without the runner, which would build the expected schema anew for each of some hundred steps."""
    runner = server.runner(framework())
    applied = ()
    with runner.target.connected() as database, runner.dialect.exclusive(database, "test"):
        history = History(database, runner.config.table)
        history.ensure_tables()

        def state():
            snapshot = runner.dialect.snapshot(database, structural=True)
            return snapshot.digest, rows(database, snapshot, server.said)

        def goes_up(step):
            assert runner._run(database, step, orm_of(applied, database), None).outcome is Outcome.APPLIED, step.key
            return state()

        below = state()
        for step in runner.known.migrations:
            above = goes_up(step)
            doing = runner.dialect.operations(database)
            result = undo(database, runner.dialect, history, step, (*applied, step), doing)
            assert (result.outcome, *state()) == (Outcome.ROLLED_BACK, *below), step.key
            assert goes_up(step) == above, step.key
            below, applied = above, (*applied, step)
    assert runner.migrate().state is State.CURRENT


@pytest.mark.slow
def test_all_shipped_scripts_go_down_at_once_and_up_again(server):
    runner = server.runner(framework())
    runner.migrate()
    whole = schema(server)

    report = runner.rollback(to=runner.known.migrations[0].key)

    assert undone(report) == [m.key for m in reversed(runner.known.migrations)]
    database = server.database()
    with database.connection_context():
        assert not [table for table in database.get_tables() if not table.startswith("schema_migration")]
    assert runner.migrate().state is State.MIGRATED
    assert schema(server) == whole


def test_what_was_there_before_us_is_not_undone_without_force(server, folder):
    server.runner(folder({"001_a": creates("A")}, of="old")).migrate()
    server.sql("DELETE FROM schema_migrations", "INSERT INTO \"A\" (name) VALUES ('x')")
    source = folder({"001_a": creates("A")})
    assert server.runner(source).migrate().adopted == ["app/001_a"]

    with pytest.raises(PlanRefused):
        server.runner(source).rollback()
    assert server.sql('SELECT name FROM "A"') == [("x",)]

    report = server.runner(source).rollback(force=True)
    assert report.lost == ({"table": "A", "rows": 1, "dropped": True},)


def test_what_went_is_told_with_its_rows(server, folder):
    adds = script(
        "migrator.add_fields('A', extra=pw.TextField(null=True))", rollback="migrator.remove_fields('A', 'extra')"
    )
    source = folder({"001_a": creates("A"), "002_more": adds, "003_c": creates("C")})
    server.runner(source).migrate()
    server.sql("INSERT INTO \"A\" (name, extra) VALUES ('x', 'y'), ('y', 'z')", "INSERT INTO \"C\" (name) VALUES ('z')")

    report = server.runner(source).rollback(steps=2)

    assert report.lost == (
        {"table": "A", "column": "extra", "rows": 2, "dropped": True},
        {"table": "C", "rows": 1, "dropped": True},
    )


HALF = {
    "migrate": """
        migrator.sql("CREATE TABLE one (x INTEGER)")
        migrator.sql("CREATE TABLE two (x INTEGER)")
        migrator.sql("CREATE TABLE tally (x INTEGER)")
        migrator.sql("INSERT INTO tally VALUES (0)")
    """,
    "rollback": """
        import os, time
        migrator.sql("UPDATE tally SET x = x + 1")
        migrator.sql("DROP TABLE one")
        migrator.sql("UPDATE tally SET x = x + 10")
        if os.environ.get("HALF") == "fail":
            raise ValueError("half-way")
        if os.environ.get("HALF") == "stop":
            print("there", flush=True)
            time.sleep(60)
        migrator.sql("ALTER TABLE tally ADD COLUMN y INTEGER")
        migrator.sql("DROP TABLE two")
    """,
}
BACK = """
import sys
from framework_schema.config import Config
from framework_schema.runner import Runner
from framework_schema.sources import Folder
Runner(sys.argv[1], sources=[Folder(sys.argv[2], "app")], config=Config(backup="never")).rollback()
"""


@pytest.fixture
def half(server, folder):
    source = folder({"001_half": script(HALF["migrate"], rollback=HALF["rollback"])})
    server.runner(source).migrate()
    return source


def is_back(server, *sources):
    report = server.runner(*sources).rollback(source="app")
    database = server.database()
    with database.connection_context():
        tables = set(database.get_tables())
    assert undone(report) == ["app/001_half"]
    assert not tables & {"one", "two"}
    return server.sql("SELECT x, y FROM tally") == [(11, None)]


def test_a_rollback_that_failed_half_way_goes_on_where_it_stopped(server, half, monkeypatch):
    monkeypatch.setenv("HALF", "fail")
    with pytest.raises(MigrationFailed) as failed:
        server.runner(half).rollback()
    if server.name == "mariadb":
        assert "DROP TABLE one" in failed.value.report.error
    assert server.runner(half).status().state is State.CURRENT or server.name == "mariadb"
    monkeypatch.delenv("HALF")

    assert is_back(server, half)


def test_a_rollback_that_was_killed_half_way_goes_on_where_it_stopped(server, half):
    environment = os.environ | {"PYTHONPATH": ROOT, "HALF": "stop", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", BACK, server.url, str(half.path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while "there" not in process.stdout.readline():
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)

    assert is_back(server, half)


def test_after_a_rollback_that_failed_half_way_migrate_makes_it_whole_and_it_is_undone_from_its_beginning(
    server, half, folder, monkeypatch
):
    other = folder({"001_z": creates("z")}, of="other", source="other")
    server.runner(half, other).migrate()
    monkeypatch.setenv("HALF", "fail")
    with pytest.raises(MigrationFailed):
        server.runner(half, other).rollback(source="app")
    monkeypatch.delenv("HALF")

    server.runner(half, other).migrate()

    database = server.database()
    with database.connection_context():
        assert {"one", "two", "tally"} <= set(database.get_tables())
    assert is_back(server, half, other) or server.name == "mariadb"

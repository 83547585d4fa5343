"""A dry run tells what would happen, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from script_texts import creates, script, sql

from framework_schema import mysql
from framework_schema.rehearsal import Tape, rehearse, rehearse_rollback
from framework_schema.report import State
from framework_schema.server_rehearsal import recording

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def tidy(server):
    """Drop the scratch databases that other tests' killed processes left."""
    if server.name == "mariadb":
        database = server.database()
        with database.connection_context():
            mysql._sweep(database)


def facts(engine):
    """All that a dry run could change: schema, rows, history, other databases and schemas, and locks."""
    database = engine.database()
    with database.connection_context():
        snapshot = engine.runner().dialect.snapshot(database, structural=True)
        rows = {
            table: database.execute_sql(engine.said(f'SELECT count(*) FROM "{table}"')).fetchone()
            for table in database.get_tables()
        }
    return snapshot.digest, rows, others(engine), locks(engine)


def others(engine):
    query = {"postgresql": "SELECT nspname FROM pg_namespace", "mariadb": "SHOW DATABASES LIKE '%scratch%'"}
    return sorted(engine.sql(query[engine.name]))


def locks(engine):
    if engine.name == "mariadb":
        return engine.sql(
            "SELECT 1 FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
    return engine.sql(
        "SELECT l.locktype, l.mode FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
        "WHERE d.datname = current_database() AND pid <> pg_backend_pid()"
    )


EVERY_KIND = {
    "001_tables": creates("brew", "name", "style"),
    "002_fills": script(
        "for number in range(3):\n"
        "    database.execute_sql('INSERT INTO brew (name) VALUES (%s)', (f'brew {number}',))"
    ),
    "003_raw": script(
        "cursor = database.cursor()\n"
        "cursor.execute('CREATE INDEX brew_id_style ON brew (id)')\n"
        "cursor.executemany('INSERT INTO brew (style) VALUES (%s)', [('secret',), ('secret',)])\n"
        "database.connection().cursor().execute('UPDATE brew SET style = NULL')"
    ),
    "004_reads": script("database.execute_sql('SELECT * FROM brew').fetchall()"),
    "005_columns": script(
        "migrator.add_fields('brew', size=pw.IntegerField(default=1))\n"
        "migrator.add_index('brew', 'size')\n"
        "with database.atomic():\n"
        "    migrator.sql('DELETE FROM brew WHERE size = 7')"
    ),
}  # fmt: skip


def recorded(runner, **wishes):
    """Migrate for real, with the same ear on the connection."""
    tape = Tape()
    recording(runner, tape).migrate(**wishes)
    return tape.statements


@pytest.mark.parametrize("first", [(), ("001_tables",)], ids=["new", "behind"])
def test_the_rehearsed_sql_is_what_the_real_run_executes_and_nothing_stays(server, folder, first):
    if first:
        server.runner(folder({name: EVERY_KIND[name] for name in first}, of="old")).migrate()
    runner = server.runner(folder(EVERY_KIND))
    before = facts(server)

    report = rehearse(runner)

    assert facts(server) == before
    assert report.applied == [f"app/{name}" for name in EVERY_KIND if name not in first]
    assert report.state is State.PENDING and report.rows > 5
    assert "secret" not in repr(report)
    assert list(report.sql) == recorded(runner)
    assert sum("INSERT INTO brew" in statement for statement in report.sql) == 4


def test_the_whole_framework_is_rehearsed_as_it_is_migrated(server):
    before = facts(server)

    report = rehearse(server.runner())

    assert facts(server) == before
    assert len(report.applied) > 20 and len(report.sql) > 100
    assert list(report.sql) == recorded(server.runner())


def test_a_strict_rehearsal_tells_the_alignment_of_a_database_that_drifted(server, folder):
    source = folder({"001_a": script(
        "@migrator.create_model\nclass A(pw.Model):\n"
        "    name = pw.CharField(unique=True)\n    size = pw.IntegerField(default=1)\n"
        "    class Meta:\n        table_name = 'A'"
    )})  # fmt: skip
    server.runner(source).migrate()
    server.sql('ALTER TABLE "A" DROP COLUMN size')
    before = facts(server)

    report = rehearse(server.runner(source, align="strict"))

    assert facts(server) == before
    assert report.aligned and report.state is State.PENDING
    assert list(report.sql) == recorded(server.runner(source, align="strict"))


def test_a_current_database_has_no_sql(server, folder):
    source = folder({"001_a": creates("A")})
    server.runner(source).migrate()

    report = rehearse(server.runner(source))

    assert (report.state, report.sql, report.rows, report.notes) == (State.CURRENT, (), 0, ())


def test_a_script_that_would_fail_is_named_and_leaves_nothing(server, folder):
    before = facts(server)

    report = rehearse(server.runner(folder({"001_a": creates("A"), "002_b": sql("nonsense")})))

    assert report.state is State.FAILED and report.failed == ["app/002_b"]
    assert facts(server) == before


def test_a_script_that_refuses_a_transaction_is_said_not_to_have_been_tried(server, folder):
    statement = {"postgresql": "VACUUM", "mariadb": "ANALYZE TABLE A"}[server.name]
    alone = script(f"database.execute_sql({statement!r})", head="atomic = False")
    source = folder({"001_a": creates("A"), "002_alone": alone, "003_c": creates("C")})

    report = rehearse(server.runner(source))

    assert report.applied == ["app/001_a", "app/002_alone", "app/003_c"]
    assert report.state is State.PENDING
    noted = [note for note in report.notes if "002_alone was not tried" in note]
    assert len(noted) == (server.name == "postgresql")
    assert any(statement in text for text in report.sql) == (server.name == "mariadb")
    server.runner(source).migrate()
    back = folder({"002_alone": alone + script(rollback="1 / 0").partition("pass")[2]})
    told = rehearse_rollback(server.runner(back), steps=2, force=True)
    assert told.steps[0].key == "app/003_c"


def test_data_steps_that_saw_no_rows_are_told_on_mariadb(server, folder):
    server.runner(folder({"001_a": creates("A")}, of="old")).migrate()
    server.sql("INSERT INTO \"A\" (name) VALUES ('x'), ('y')")
    update = server.said('UPDATE "A" SET name = NULL')

    report = rehearse(server.runner(folder({"001_a": creates("A"), "002_b": sql(update)})))

    assert any("scripts saw no rows" in note for note in report.notes) == (server.name == "mariadb")
    assert any(update in statement for statement in report.sql)
    assert server.sql('SELECT name FROM "A"') == [("x",), ("y",)]


def test_a_rollback_is_rehearsed_and_tells_the_rows_it_would_take(server, folder):
    adds = script(
        "migrator.add_fields('A', extra=pw.TextField(null=True))", rollback="migrator.remove_fields('A', 'extra')"
    )
    source = folder({"001_a": creates("A"), "002_b": creates("B"), "003_c": adds})
    server.runner(source).migrate()
    server.sql("INSERT INTO \"A\" (name, extra) VALUES ('x', 'y'), ('y', 'z')", "INSERT INTO \"B\" (name) VALUES ('z')")
    before = facts(server)

    told = rehearse_rollback(server.runner(source), steps=2)

    assert facts(server) == before
    assert [step.key for step in told.steps] == ["app/003_c", "app/002_b"]
    assert told.lost == (
        {"table": "A", "column": "extra", "rows": 2, "dropped": True},
        {"table": "B", "rows": 1, "dropped": True},
    )
    assert any("DROP TABLE" in statement for statement in told.sql)
    assert told.lost == server.runner(source).rollback(steps=2).lost


def test_views_and_triggers_are_there_for_scripts_that_name_them(server, folder):
    server.runner(folder({"001_a": creates("A")}, of="old")).migrate()
    server.sql('CREATE VIEW "Z" AS SELECT name FROM "A"', 'CREATE VIEW "B" AS SELECT name FROM "Z"')
    text = sql(server.said('CREATE VIEW "C" AS SELECT name FROM "B"'))

    report = rehearse(server.runner(folder({"001_a": creates("A"), "002_view": text})))

    assert report.applied == ["app/002_view"]


SLOW = """
import sys
from framework_schema.rehearsal import rehearse
from framework_schema.runner import Runner
from framework_schema.sources import Folder
rehearse(Runner(sys.argv[1], sources=[Folder(sys.argv[2], "app")]))
"""


def test_what_a_killed_rehearsal_leaves_is_gone_with_the_next_run(server, folder):
    slow = "import os, time\nif os.environ.get('SLOW'):\n    print('there', flush=True)\n    time.sleep(60)"
    source = folder({"001_a": creates("A"), "002_slow": script(slow)})
    before = facts(server)
    command = [sys.executable, "-c", SLOW, server.url, str(source.path)]
    environment = os.environ | {"PYTHONPATH": ROOT, "SLOW": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while "there" not in process.stdout.readline():
            pass
        os.kill(process.pid, signal.SIGKILL)
    until = time.monotonic() + 20
    while locks(server) and time.monotonic() < until:
        time.sleep(0.1)

    rehearse(server.runner(source))

    assert facts(server) == before

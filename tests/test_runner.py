import json
import logging
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import peewee as pw
import pytest
import sqlite_files as files
from script_texts import creates, script, sql

from framework_schema.config import Config
from framework_schema.errors import MigrationFailed
from framework_schema.report import Outcome, Report, State
from framework_schema.runner import Runner
from framework_schema.sources import framework

COUNTER = "CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (5)"
DOUBLE = sql("UPDATE counter SET n = n * 2")


def failure(runner, **options):
    with pytest.raises(MigrationFailed) as caught:
        runner.migrate(**options)
    return caught.value.report


# Several at once


def test_eight_threads_run_a_script_once(path, folder, runner):
    files.run(path, COUNTER)
    source = folder({"001_x": DOUBLE, "002_y": creates("y")})
    start, states, errors = threading.Barrier(8), [], []

    def work():
        try:
            start.wait()
            states.append(runner(source, timeout=30).migrate().state)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert sorted(states) == [State.CURRENT] * 7 + [State.MIGRATED]
    assert files.query(path, "SELECT n FROM counter") == [(10,)]
    assert files.history(path) == [("app/001_x", True), ("app/002_y", True)]
    assert len(files.events(path, "applied")) == 2


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_four_processes_run_a_script_once(path, folder, journal):
    files.run(path, f"PRAGMA journal_mode = {journal}; {COUNTER}")
    source = folder({"001_x": DOUBLE})
    text = "import sys; from framework_schema import Folder, Runner\n"
    text += "print(Runner(sys.argv[1], [Folder(sys.argv[2])]).migrate().state)"

    processes = [
        subprocess.Popen([sys.executable, "-c", text, path, source.path], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    states = [process.communicate(timeout=60)[0].strip() for process in processes]

    assert sorted(states) == ["current"] * 3 + ["migrated"]
    assert files.query(path, "SELECT n FROM counter") == [(10,)]
    assert len(files.events(path, "applied")) == 1


def test_a_mended_script_runs_and_the_database_is_current(path, folder, runner):
    source = folder({"001_x": sql("SELECT absent")})
    failure(runner(source))
    folder({"001_x": creates("x")})

    assert runner(source).migrate().applied == ["app/001_x"]
    assert runner(source).status().state is State.CURRENT


# Order and targets


def test_a_target_is_applied_and_nothing_after_it(path, folder, runner):
    source = folder({"001_a": creates("a"), "002_b": creates("b"), "003_c": creates("c")})

    report = runner(source).migrate(to="app/002_b")

    assert (report.applied, report.pending) == (["app/001_a", "app/002_b"], ("app/003_c",))
    assert "c" not in files.tables(path)
    assert runner(source).migrate(to="app/001_a").applied == []
    assert runner(source).migrate().applied == ["app/003_c"]


def test_the_plan_is_what_migrate_then_runs(path, folder, runner):
    path.touch()
    first = folder({"001_a": creates("a"), "002_b": script()}, depends_on=["base"])
    second = folder({"001_a": creates("base")}, of="base", source="base")

    plan = [step.key for step in runner(first, second).plan().steps]

    assert plan == runner(first, second).migrate().applied == ["base/001_a", "app/001_a", "app/002_b"]


def test_a_late_script_of_a_merged_branch_is_run_and_said(path, folder, runner):
    source = folder({"001_a": creates("a"), "003_c": creates("c")})
    runner(source).migrate()
    folder({"002_b": creates("b")})

    assert "app/002_b is older than one already applied" in runner(source).status().notes
    assert runner(source).migrate().applied == ["app/002_b"]


# What the history claims


def test_a_changed_script_is_not_run_again_and_said(path, folder, runner):
    source = folder({"001_x": creates("x")})
    runner(source).migrate()
    folder({"001_x": creates("x", "name", "age")})

    report = runner(source).status()

    assert [note for note in report.notes if "app/001_x was edited after it was applied" in note]
    assert runner(source).migrate().applied == []


def test_a_reformatted_script_is_not_changed(path, folder, runner):
    source = folder({"001_x": creates("x")})
    runner(source).migrate()
    folder({"001_x": "# reformatted\n" + creates("x").replace("'", '"')})

    assert runner(source).status().notes == ()
    before = files.digest(path)
    assert runner(source).migrate().state is State.CURRENT
    assert files.digest(path) == before


def test_a_script_that_is_gone_and_a_source_that_is_are_said_and_harmless(path, folder, runner):
    source = folder({"001_x": creates("x"), "002_y": creates("y")})
    plugin = folder({"001_p": creates("p")}, of="plugin", source="plugin")
    runner(source, plugin).migrate()
    Path(source.path, "001_x.py").unlink()

    report = runner(source).migrate()

    assert report.state is State.CURRENT
    notes = runner(source).status().notes
    assert "app/001_x is recorded and its script is gone" in notes
    assert "plugin/001_p belongs to a source that is not installed" in notes
    assert {"x", "p"} <= files.tables(path).keys()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("DROP TABLE x", id="table"),
        pytest.param("ALTER TABLE x DROP COLUMN name", id="column"),
        pytest.param("DROP INDEX x_name", id="index"),
    ],
)
def test_what_somebody_dropped_by_hand_is_made_again(path, folder, runner, damage):
    source = folder({"001_x": creates("x"), "002_y": script("migrator.add_index('x', 'name')")})
    runner(source).migrate()
    before = files.tables(path), files.indexes(path)
    if "COLUMN" in damage:
        files.run(path, "DROP INDEX x_name")
    files.run(path, damage)
    assert runner(source).status().state is State.PENDING

    report = runner(source).migrate()

    assert (report.state, bool(report.aligned)) == (State.MIGRATED, True)
    assert (files.tables(path), files.indexes(path)) == before
    assert "aligned" in {kind for kind, *_ in files.events(path)}


def test_a_row_taken_out_of_the_history_by_hand_makes_the_script_pending(path, folder, runner):
    source = folder({"001_x": creates("x"), "002_y": creates("y")})
    runner(source).migrate()
    files.run(path, "DELETE FROM schema_migrations WHERE migration_name = 'app/002_y'")

    assert runner(source).status().pending == ("app/002_y",)
    assert runner(source).migrate().adopted == ["app/002_y"]


def test_a_row_put_into_the_history_by_hand_proves_nothing(path, folder, runner):
    source = folder({"001_x": creates("x")})
    runner().migrate()
    files.run(path, """
        CREATE TABLE IF NOT EXISTS schema_migrations (id INTEGER PRIMARY KEY, migration_name TEXT UNIQUE NOT NULL,
            applied_at TIMESTAMP, success BOOLEAN, error_message TEXT, execution_time_ms INTEGER);
        INSERT INTO schema_migrations (migration_name, success) VALUES ('app/001_x', 1);
    """)  # fmt: skip

    report = runner(source).migrate()

    assert (report.state, report.applied, report.aligned) == (State.MIGRATED, [], ("table x",))


def test_what_a_failed_script_would_have_made_is_not_made_by_alignment(path, folder, runner):
    makes = """
        @migrator.create_model
        class X(pw.Model):
            class Meta:
                table_name = 'x'
        raise ValueError
    """

    failure(runner(folder({"001_w": creates("w"), "002_x": script(makes)})))

    assert "w" in files.tables(path)
    assert "x" not in files.tables(path)


# Scripts of other kinds


def test_a_script_that_refuses_a_transaction_runs_without_one(path, folder, runner):
    head = "atomic = False"
    vacuum = script("assert not database.in_transaction()\ndatabase.execute_sql('VACUUM')", head=head)
    source = folder({"001_x": creates("x"), "002_vacuum": vacuum, "003_y": creates("y")})

    report = runner(source).migrate()

    assert report.applied == ["app/001_x", "app/002_vacuum", "app/003_y"]
    assert files.history(path) == [(key, True) for key in report.applied]
    assert runner(source).migrate().state is State.CURRENT


def test_two_scripts_that_refuse_a_transaction_run_in_turn(path, folder, runner):
    vacuum = script("database.execute_sql('VACUUM')", head="atomic = False")
    source = folder({"001_a": vacuum, "002_b": vacuum})

    assert runner(source).migrate().applied == ["app/001_a", "app/002_b"]


def test_a_failure_without_a_transaction_blocks_what_follows_and_is_on_record(path, folder, runner):
    head = "atomic = False"
    source = folder({"001_x": creates("x"), "002_bad": script("1 / 0", head=head), "003_y": creates("y")})
    other = folder({"001_o": creates("o")}, of="other", source="other")

    report = failure(runner(source, other))

    assert [step.outcome for step in report.steps] == [
        Outcome.APPLIED, Outcome.FAILED, Outcome.BLOCKED, Outcome.APPLIED,
    ]  # fmt: skip
    assert files.history(path) == [("app/001_x", True), ("app/002_bad", False), ("other/001_o", True)]


def test_foreign_keys_stay_as_the_connection_has_them_after_a_script_without_a_transaction(path, folder, runner):
    vacuum = script("database.execute_sql('VACUUM')", head="atomic = False")
    database = pw.SqliteDatabase(":memory:", pragmas={"foreign_keys": 1})
    database.connect()

    runner(folder({"001_a": vacuum}), database=database).migrate()

    assert database.pragma("foreign_keys") == 1
    database.close()


OLD_STYLE = """
import sqlite3

def apply_migration(cursor):
    cursor.execute("CREATE TABLE IF NOT EXISTS old (id INTEGER PRIMARY KEY, name TEXT)")
    cursor.execute("INSERT INTO old (name) VALUES (?)", ("x",))
    {}

def main():
    connection = sqlite3.connect("data/template.db")
    apply_migration(connection.cursor())

if __name__ == "__main__":
    main()
"""


def test_an_old_style_script_gets_a_cursor(path, folder, runner):
    source = folder({"add_old": OLD_STYLE.format("return True"), "001_x": creates("x")})

    assert runner(source).migrate().applied == ["app/001_x", "app/add_old"]
    assert files.query(path, "SELECT name FROM old") == [("x",)]


@pytest.mark.parametrize("last", ["cursor.connection.commit()", "cursor.executescript('SELECT 1')", "1 / 0"])
def test_an_old_style_script_that_fails_or_commits_is_undone(path, folder, runner, last):
    failure(runner(folder({"add_old": OLD_STYLE.format(last)})))

    assert "old" not in files.tables(path)
    assert files.history(path) == [("app/add_old", False)]


def test_a_script_that_opens_a_database_itself_is_never_run(path, folder, runner, tmp_path):
    mark = tmp_path / "imported"
    text = OLD_STYLE.replace("apply_migration(cursor)", "run(cursor)").format("")

    report = runner(folder({"add_old": f"open({str(mark)!r}, 'w').close()\n{text}"})).migrate()

    assert report.applied == []
    assert "app/add_old is not run: main() opens a database by itself" in report.notes[0]
    assert not mark.exists()


# peewee_migrate's own history


def test_what_peewee_migrate_recorded_is_taken_over_once(path, folder, runner):
    files.run(path, """
        CREATE TABLE migratehistory (id INTEGER PRIMARY KEY, name VARCHAR(255) NOT NULL, migrated_at DATETIME NOT NULL);
        INSERT INTO migratehistory (name, migrated_at) VALUES ('001_x', '2025-01-01'), ('009_gone', '2025-01-01');
        CREATE TABLE x (id INTEGER NOT NULL PRIMARY KEY, name TEXT);
        INSERT INTO x (name) VALUES ('mine');
    """)  # fmt: skip
    before = files.rows(path, "migratehistory")
    inserts = script("migrator.sql(\"INSERT INTO x (name) VALUES ('again')\")")
    source = folder({"001_x": inserts, "002_y": creates("y")})

    report = runner(source).migrate()

    assert report.applied == ["app/002_y"]
    assert files.query(path, "SELECT name FROM x") == [("mine",)]
    assert files.history(path) == [("app/001_x", True), ("app/002_y", True)]
    assert files.events(path, "imported") == [("imported", "app/001_x", "ok")]
    after = files.rows(path, "migratehistory")
    assert {number: row for number, row in after.items() if number in before} == before
    assert [row["name"] for number, row in after.items() if number not in before] == ["002_y"]
    assert runner(source).migrate().state is State.CURRENT


def test_what_peewee_migrate_recorded_and_is_not_there_is_made(path, folder, runner):
    files.run(path, """
        CREATE TABLE migratehistory (id INTEGER PRIMARY KEY, name VARCHAR(255) NOT NULL, migrated_at DATETIME NOT NULL);
        INSERT INTO migratehistory (name, migrated_at) VALUES ('001_x', '2025-01-01');
    """)  # fmt: skip

    assert runner(folder({"001_x": creates("x")})).migrate().aligned == ("table x",)


def test_a_table_called_migratehistory_of_another_kind_is_nothing_to_us(path, folder, runner):
    files.run(path, "CREATE TABLE migratehistory (name TEXT); INSERT INTO migratehistory VALUES ('001_x')")

    assert runner(folder({"001_x": creates("x")})).migrate().applied == ["app/001_x"]


# Rows without the row they refer to


def test_orphans_of_the_past_are_no_obstacle(path, folder, runner):
    files.run(path, """
        CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (parent_id INT REFERENCES parent (id));
        INSERT INTO child VALUES (7);
    """)  # fmt: skip
    body = "migrator.sql('CREATE TABLE new (a)')\nmigrator.add_fields('child', note=pw.TextField(default=''))"

    assert runner(folder({"001_x": script(body)})).migrate().state is State.MIGRATED
    assert len(files.orphans(path)) == 1


def test_one_more_orphan_is_an_obstacle(path, folder, runner):
    files.run(path, """
        CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (parent_id INT REFERENCES parent (id));
        INSERT INTO child VALUES (7);
    """)  # fmt: skip
    source = folder({"001_x": sql("INSERT INTO child VALUES (8)"), "002_y": creates("y")})
    other = folder({"001_o": creates("o")}, of="other", source="other")

    report = failure(runner(source, other))

    assert [step.outcome for step in report.steps] == [Outcome.FAILED, Outcome.BLOCKED, Outcome.APPLIED]
    assert files.query(path, "SELECT parent_id FROM child") == [(7,)]


# Plugins in a fleet


def test_a_plugin_runs_only_where_its_rows_are_when_the_database_is_one_of_a_fleet(path, folder):
    plugin = folder({"001_p": creates("p")}, of="plugin", source="plugin", depends_on=["framework"])
    sources = [framework(), plugin]
    files.run(path, "CREATE TABLE Entry (id INTEGER PRIMARY KEY)")

    fleet = Runner(path, sources, all_plugins=False).migrate()
    assert not any(key.startswith("plugin/") for key in fleet.applied)
    assert "p" not in files.tables(path)

    assert Runner(path, sources).migrate().applied == ["plugin/001_p"]
    folder({"002_q": creates("q")}, of="plugin")
    assert Runner(path, sources, all_plugins=False).migrate().applied == ["plugin/002_q"]


def test_a_named_source_is_the_only_one_besides_the_app(path, folder, runner):
    sources = [folder({"001_x": creates(name)}, of=name, source=name) for name in ("one", "two", "app")]

    report = runner(*sources, sources=("two",)).migrate()

    assert sorted(report.applied) == ["app/001_x", "two/001_x"]


# Settings


def test_alignment_can_be_left_out(path, folder, runner):
    source = folder({"001_x": creates("x")})
    runner(source).migrate()
    files.run(path, "DROP TABLE x")

    report = runner(source, align="off").migrate()

    assert report.aligned == ()
    assert "x" not in files.tables(path)


def test_looking_at_what_is_not_there_writes_nothing(path, runner):
    path.touch()

    assert runner().history() == runner().history(events=True) == []
    assert path.stat().st_size == 0


# What is told


def test_a_report_is_a_value_that_travels(path, folder, runner):
    report = runner(folder({"001_x": creates("x")})).migrate()

    assert pickle.loads(pickle.dumps(report)) == report
    assert json.loads(json.dumps(report.as_dict()))["applied"] == ["app/001_x"]
    assert (report.name, report.url, report.engine) == (str(path), f"sqlite:///{path}", "sqlite")
    assert (report.at, report.pending, report.error, report.is_wanted) == ("app/001_x", (), None, True)
    assert report.duration_ms >= 0
    with pytest.raises(AttributeError):
        report.state = State.FAILED


def test_a_failure_is_an_error_that_travels(path, folder, runner):
    with pytest.raises(MigrationFailed) as caught:
        runner(folder({"001_x": sql("SELECT absent")})).migrate()

    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.report) == (str(caught.value), caught.value.report)
    assert isinstance(copy.report, Report)
    assert json.dumps(copy.report.as_dict())


@pytest.mark.parametrize("state", ["fresh", "current"])
def test_a_current_database_is_told_in_the_same_shape_as_a_migrated_one(path, folder, runner, state):
    source = folder({"001_x": creates("x")})
    if state == "current":
        runner(source).migrate()

    report = runner(source).migrate()

    assert (report.at, report.pending, report.drift, report.notes) == ("app/001_x", (), (), ())


def test_an_error_message_holds_no_value_of_a_row(path, folder, runner):
    files.run(path, "CREATE TABLE mine (a TEXT UNIQUE); INSERT INTO mine VALUES ('secret')")
    report = failure(runner(folder({"001_x": sql("INSERT INTO mine VALUES ('secret')")})))

    assert "UNIQUE constraint failed: mine.a" in report.error
    assert "secret" not in report.error


def test_nothing_is_printed_and_nothing_logged_twice(path, folder, runner, caplog, capfd):
    with caplog.at_level(logging.INFO):
        failure(runner(folder({"001_x": sql("SELECT absent")})))

    assert [record.levelname for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert capfd.readouterr() == ("", "")


def test_the_config_says_how_far_to_align(path, folder):
    files.run(path, "CREATE TABLE x (id INTEGER PRIMARY KEY, name INT)")
    source = folder({"001_x": creates("x")})

    Runner(path, [source], config=Config(align="strict")).migrate()

    assert files.query(path, "SELECT type FROM pragma_table_info('x') WHERE name = 'name'") == [("TEXT",)]


# Scripts that cannot be read


def test_a_script_that_cannot_be_read_is_never_current(path, folder, runner):
    broken = folder({"001_x": "def migrate(:"}, of="broken")
    source = folder({"001_fine": creates("fine")}, source="fine", of="fine")

    reports = [failure(runner(source, broken)) for _ in range(2)]

    assert [report.state for report in reports] == [State.FAILED] * 2
    assert reports[0].applied == ["fine/001_fine"]
    assert [report.failed for report in reports] == [["app/001_x"]] * 2
    assert all("line 1: SyntaxError" in report.error for report in reports)
    assert runner(source, broken).status().state is State.FAILED
    assert files.query(path, "SELECT mark FROM schema_migration_events WHERE mark IS NOT NULL") == []

    folder({"001_x": creates("x")}, of="broken")
    assert runner(source, broken).migrate().applied == ["app/001_x"]

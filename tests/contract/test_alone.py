"""Scripts that refuse a transaction: once, whoever runs at the same time, and nobody else held up."""

import signal
import time
from pathlib import Path

import pytest
from processes import start
from script_texts import creates, script

from framework_schema.errors import Locked, MigrationFailed
from framework_schema.report import State

SLOW = script(
    """
    import os, time
    database.execute_sql("INSERT INTO notes (x) VALUES (1)")
    if database.execute_sql("SELECT count(*) FROM schema_migrations").fetchone()[0]:  # not where scripts are tried
        print("there", flush=True)
        time.sleep(float(os.environ.get("SLOW", 1)))
    database.execute_sql("INSERT INTO notes (x) VALUES (2)")
    """,
    rollback="""
    import time
    database.execute_sql("INSERT INTO notes (x) VALUES (3)")
    time.sleep(0.3)
    database.execute_sql("INSERT INTO notes (x) VALUES (4)")
    """,
    head="atomic = False",
)
SCRIPTS = {
    "001_notes": script('migrator.sql("CREATE TABLE notes (x INTEGER)")'),
    "002_slow": SLOW,
    "003_after": script('database.execute_sql("INSERT INTO notes (x) VALUES (9)")', rollback="pass"),
}

RUN = """
import sys, time
from framework_schema.config import Config
from framework_schema.runner import Runner
from framework_schema.sources import Folder
runner = Runner(sys.argv[1], sources=[Folder(sys.argv[2], "app")], config=Config(timeout=60, backup="never"))
time.sleep(max(0, float(sys.argv[3]) - time.time()))
print(eval(sys.argv[4]).state)
"""
MIGRATE, UNDO = "runner.migrate()", "runner.rollback(to='app/002_slow')"


def eight(engine, source, what):
    """Run it in eight processes that begin at the same moment; return what they said."""
    at = time.time() + 1.5
    processes = [start(RUN, engine.url, source.path, at, what) for _ in range(8)]
    answers = [process.communicate(timeout=120) for process in processes]
    return processes, answers


def notes(engine):
    return [x for (x,) in engine.sql("SELECT x FROM notes ORDER BY x")]


def left_over(engine):
    return [] if engine.name != "sqlite" else list(Path(engine.url).parent.glob("*-alone*"))


def test_eight_processes_at_once_run_it_once(engine, folder):
    source = folder(SCRIPTS)

    processes, answers = eight(engine, source, MIGRATE)

    assert [process.returncode for process in processes] == [0] * 8, [error[-400:] for _, error in answers if error]
    assert notes(engine) == [1, 2, 9]
    assert sum(out.count("there") for out, _ in answers) == 1
    assert left_over(engine) == []


def test_eight_processes_at_once_undo_it_once(engine, folder):
    source = folder(SCRIPTS)
    engine.runner(source).migrate()

    _, answers = eight(engine, source, UNDO)

    assert notes(engine) == [1, 2, 3, 4, 9]
    assert sum(out.strip() == "migrated" for out, _ in answers) >= 1
    assert {error.rpartition("PlanRefused")[2][-20:] for out, error in answers if not out} <= {"Nothing was undone.\n"}
    assert left_over(engine) == []


def test_all_other_runs_wait_while_it_runs_and_the_app_does_not(engine, folder, monkeypatch):
    source = folder(SCRIPTS)
    engine.runner(source).migrate(to="app/001_notes")
    other = folder({"001_b": creates("B")}, of="other", source="other")
    monkeypatch.setenv("SLOW", "3")
    with start(RUN, engine.url, source.path, 0, MIGRATE) as process:
        assert process.stdout.readline() == "there\n"

        started = time.monotonic()
        engine.sql("INSERT INTO notes (x) VALUES (7)")
        assert 7 in notes(engine)
        took = time.monotonic() - started
        with pytest.raises(Locked):
            engine.runner(other, timeout=0.5).migrate()
        assert process.poll() is None

        assert process.communicate(timeout=60)[0] == "migrated\n"
    assert took < 2
    assert notes(engine) == [1, 2, 7, 9]
    assert engine.runner(other).migrate().state is State.MIGRATED


def test_its_lock_dies_with_its_holder(engine, folder, monkeypatch):
    source = folder(SCRIPTS)
    monkeypatch.setenv("SLOW", "60")
    with start(RUN, engine.url, source.path, 0, MIGRATE) as process:
        assert process.stdout.readline() == "there\n"
        process.send_signal(signal.SIGKILL)
    monkeypatch.setenv("SLOW", "0")

    assert engine.runner(source, timeout=5).migrate().state is State.MIGRATED

    assert notes(engine) == [1, 1, 2, 9]
    assert left_over(engine) == []


def test_a_transaction_it_left_open_is_ended_as_the_script_ended(engine, folder):
    scripts = {
        "001_notes": SCRIPTS["001_notes"],
        "002_good": script("database.begin()\ndatabase.execute_sql('INSERT INTO notes (x) VALUES (1)')",
                           head="atomic = False"),
        "003_bad": script("database.begin()\ndatabase.execute_sql('INSERT INTO notes (x) VALUES (2)')\nraise KeyError",
                          head="atomic = False"),
    }  # fmt: skip
    with pytest.raises(MigrationFailed) as failed:
        engine.runner(folder(scripts)).migrate()

    assert notes(engine) == [1]
    assert failed.value.report.failed == ["app/003_bad"]
    assert engine.runner(folder(scripts)).status().failed == ["app/003_bad"]


def test_what_another_run_undid_it_is_not_taken_for_done(engine, folder):
    source = folder(SCRIPTS)
    engine.runner(source).migrate()
    engine.runner(source).rollback(to="app/002_slow")

    assert engine.runner(source).migrate().applied == ["app/002_slow", "app/003_after"]

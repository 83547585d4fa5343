"""A history that does not fit the scripts: said, never guessed at, and never in the way of what can run."""

import sqlite3
from contextlib import closing

import pytest
import sqlite_files as files
from script_texts import creates

from framework_schema.errors import Ahead, MigrationFailed, PlanRefused
from framework_schema.report import State
from framework_schema.runner import Runner


@pytest.fixture
def source(folder):
    return folder({"001_a": creates("a"), "003_c": creates("c")})


@pytest.fixture
def migrated(path, source):
    Runner(path, [source]).migrate()
    return path


def noted(report, *parts):
    return any(all(part in note for part in parts) for note in report.notes)


def test_a_script_that_is_gone_is_said_and_blocks_nothing(migrated, runner, source, folder):
    (source.path / "001_a.py").unlink()
    folder({"004_d": creates("d")})

    assert noted(runner(source).status(), "app/001_a", "gone")
    assert runner(source).migrate().applied == ["app/004_d"]
    assert ("app/001_a", True) in files.history(migrated)


def test_an_edited_script_is_said_and_not_run_again(migrated, runner, source, folder):
    folder({"001_a": creates("a", "name", "more")})

    report = runner(source).status()

    assert noted(report, "app/001_a", "edited")
    assert report.pending == ()
    assert [key for _, key, _ in files.events(migrated, "applied")] == ["app/001_a", "app/003_c"]


def test_two_scripts_of_one_number_both_run_by_name_and_are_said(migrated, runner, source, folder):
    folder({"004_two": creates("two"), "004_one": creates("one")})

    report = runner(source).migrate()

    assert report.applied == ["app/004_one", "app/004_two"]
    assert noted(report, "app/004_one, app/004_two", "same number")


def test_a_script_that_comes_late_is_run_and_said(migrated, runner, source, folder):
    folder({"002_b": creates("b")})

    assert noted(runner(source).status(), "app/002_b", "older than one already applied")
    assert runner(source).migrate().applied == ["app/002_b"]


def test_a_script_that_comes_late_is_refused_where_that_is_the_policy(migrated, runner, source, folder):
    folder({"002_b": creates("b"), "004_d": creates("d")})
    before = files.digest(migrated)

    for refused in (runner(source, out_of_order="refuse").migrate, runner(source, out_of_order="refuse").plan):
        with pytest.raises(PlanRefused, match=r"app/002_b came late.*Nothing was run"):
            refused()

    assert files.digest(migrated) == before


def test_a_failed_row_of_an_older_tool_is_kept_and_stops_nothing(path, runner, source):
    files.run(
        path,
        "CREATE TABLE schema_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, migration_name TEXT UNIQUE NOT NULL,"
        " applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, success BOOLEAN DEFAULT TRUE, error_message TEXT,"
        " execution_time_ms INTEGER);"
        "INSERT INTO schema_migrations (migration_name, success, error_message)"
        " VALUES ('add_x.py', 0, 'no such column')",
    )
    before = files.rows(path, "schema_migrations")[1]

    assert runner(source).migrate().state is State.MIGRATED
    assert runner(source).migrate().state is State.CURRENT
    assert files.rows(path, "schema_migrations")[1] == before


def test_a_failed_row_of_ours_turns_to_success_and_its_events_stay(path, runner, folder):
    source = folder({"001_a": "def migrate(migrator, database, *, fake=False):\n    raise ValueError('no')\n"})
    with pytest.raises(MigrationFailed):
        runner(source).migrate()
    folder({"001_a": creates("a")})

    runner(source).migrate()

    (row,) = files.rows(path, "schema_migrations").values()
    assert (row["success"], row["error_message"]) == (1, None)
    assert [kind for kind, key, _ in files.events(path) if key == "app/001_a"][:2] == ["failed", "applied"]


def test_a_database_ahead_is_left_alone_and_goes_on_only_by_hand(migrated, runner, source, folder):
    (source.path / "003_c.py").unlink()
    folder({"002_b": creates("b")})
    other = folder({"001_x": creates("x")}, of="other", source="other")
    before = files.digest(migrated)

    with pytest.raises(Ahead, match="--allow-ahead"):
        runner(source, other).migrate()
    assert runner(source, other).status().state is State.AHEAD
    assert files.digest(migrated) == before

    report = runner(source, other).migrate(allow_ahead=True)

    assert report.applied == ["app/002_b", "other/001_x"]
    assert "c" in files.tables(migrated)
    assert ("app/003_c", True) in files.history(migrated)
    assert runner(source, other).migrate(allow_ahead=True).state is State.AHEAD
    assert runner(source, other).status().state is State.AHEAD


def test_two_apps_on_one_database_leave_each_other_alone(path, runner, folder):
    brewery = folder({"001_beer": creates("beer")}, of="brewery", source="brewery")
    tracker = folder({"001_bug": creates("bug"), "002_fix": creates("fix")}, of="tracker", source="tracker")

    for source in (brewery, tracker, brewery, tracker):
        runner(source).migrate()

    assert files.history(path) == [("brewery/001_beer", True), ("tracker/001_bug", True), ("tracker/002_fix", True)]
    assert noted(runner(brewery).status(), "tracker/001_bug", "not installed")
    assert runner(brewery).migrate().state is State.CURRENT
    assert runner(brewery).rollback().steps[0].key == "brewery/001_beer"
    assert set(files.tables(path)) >= {"bug", "fix"}


def test_two_apps_whose_sources_have_one_name_are_told_apart_by_nobody_and_refused(path, runner, folder):
    one = folder({"001_beer": creates("beer")}, of="one")
    two = folder({"001_bug": creates("bug"), "002_fix": creates("fix")}, of="two")
    runner(two).migrate()

    with pytest.raises(Ahead, match="app/002_fix"):
        runner(one).migrate()

    assert "beer" not in files.tables(path)


@pytest.mark.parametrize("year", ["1999", "2099"])
def test_a_wrong_clock_changes_no_order(migrated, runner, source, folder, year):
    files.run(
        migrated,
        f"UPDATE schema_migrations SET applied_at = '{year}-01-01 00:00:00' WHERE migration_name = 'app/001_a'",
    )
    folder({"004_d": creates("d")})

    assert runner(source).migrate().applied == ["app/004_d"]
    assert runner(source).migrate().state is State.CURRENT
    assert [step.key for step in runner(source).rollback(steps=2).steps] == ["app/004_d", "app/003_c"]


def test_a_row_whose_work_was_never_done_is_seen_through(migrated, runner, source):
    with closing(sqlite3.connect(migrated)) as connection, connection:
        connection.execute("DROP TABLE c")

    report = runner(source).migrate()

    assert report.aligned == ("table c",)

"""The commands for one database at a time: doctor, backup, restore, rollback, create."""

import json

import pytest
import sqlite_files as files
from click.testing import CliRunner

from framework_schema.cli import main
from framework_schema.console import shell
from framework_schema.runner import Runner


@pytest.fixture
def migrated(path):
    Runner(path).migrate()
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


def test_the_doctor_finds_nothing_wrong_with_a_sound_database_and_changes_no_byte(run, migrated):
    before = files.digest(migrated)

    done = run("doctor", migrated)

    assert done.exit_code == 0, done.output
    assert files.digest(migrated) == before


def test_the_doctor_names_what_is_wrong_and_what_mends_it(run, migrated):
    files.run(migrated, "CREATE TABLE Note_new (id INTEGER); DROP TABLE DashboardWidget")

    done = run("--json", "doctor", migrated)

    assert done.exit_code == 1
    (database,) = json.loads(done.stdout)["databases"]
    told = {finding["where"]: finding["remedy"] for finding in database["findings"]}
    assert any("Note_new" in where for where in told)
    assert any("framework-schema migrate" in remedy for remedy in told.values())


def test_the_doctor_tells_of_a_file_that_is_no_database(run, path):
    path.write_text("no database at all, but text that goes on for a while" * 9)

    done = run("doctor", path)

    assert done.exit_code == 1
    assert "not a SQLite database" in done.stdout


def test_a_backup_is_made_and_put_back(run, migrated):
    copy = run("backup", migrated).stdout.strip()
    files.run(migrated, "DROP TABLE Dashboard")

    done = run("restore", copy, migrated)

    assert done.exit_code == 0, done.output
    assert "Dashboard" in files.tables(migrated)
    assert "what it replaced is kept" in done.stderr


def test_a_rollback_tells_what_would_go_and_wants_a_yes(run, migrated):
    before = files.history(migrated)

    done = run("rollback", migrated, "--to", "framework/022_default_units")

    assert done.exit_code == 2
    assert "would undo framework/022_default_units" in done.stderr
    assert "rows of units" in done.stderr
    assert files.history(migrated) == before


def test_a_dry_run_of_a_rollback_changes_no_byte(run, migrated):
    before = files.digest(migrated)

    assert run("rollback", migrated, "--dry-run").exit_code == 0
    assert files.digest(migrated) == before


def test_a_rollback_undoes_what_was_said_and_migrate_does_it_again(run, migrated):
    done = run("rollback", migrated, "--steps", 2, "--yes")

    assert done.exit_code == 0, done.output
    assert len(Runner(migrated).status().pending) == 2
    assert run("migrate", migrated).exit_code == 0
    assert Runner(migrated).status().pending == ()


def test_a_rollback_that_is_refused_says_why_and_ends_with_a_usage_code(run, migrated):
    done = run("rollback", migrated, "--to", "framework/999_unheard_of", "--yes")

    assert done.exit_code in (2, 3)
    assert "framework/999_unheard_of" in done.output
    assert "Traceback" not in done.output


def test_create_writes_the_next_script(run, tmp_path):
    (tmp_path / "migrations").mkdir()

    assert run("create", "add_colour").exit_code == 0
    assert run("create", "add_shape").exit_code == 0

    assert [file.name for file in sorted((tmp_path / "migrations").glob("*.py"))] == [
        "001_add_colour.py",
        "002_add_shape.py",
    ]


@pytest.mark.parametrize(
    "words", [("create", "x/y"), ("create", "x", "--directory", "nowhere")], ids=["name", "folder"]
)
def test_create_refuses_what_it_cannot_write(run, tmp_path, words):
    (tmp_path / "migrations").mkdir()

    assert run(*words).exit_code == 2
    assert list((tmp_path / "migrations").iterdir()) == []


def test_copy_takes_every_row_along_and_says_that_both_sides_are_equal(run, copy_of, tmp_path):
    source = copy_of("init-75f211a")

    done = run("copy", source, tmp_path / "target.db")

    assert done.exit_code == 0, done.output
    assert "0 rejected" in done.stdout
    assert files.query(tmp_path / "target.db", "SELECT count(*) FROM Entry") == files.query(
        source, "SELECT count(*) FROM Entry"
    )


def test_copy_refuses_a_target_that_has_rows(run, copy_of, migrated):
    done = run("copy", copy_of("init-75f211a"), migrated)
    Runner(migrated)

    files.run(migrated, "INSERT INTO Dashboard (name) VALUES ('mine')")
    again = run("copy", copy_of("init-a0eedd2"), migrated)

    assert (done.exit_code, again.exit_code) in {(0, 3), (3, 3)}
    assert "--replace" in again.output or "Nothing was changed" in again.output


def test_no_password_is_in_the_command_that_is_said_to_come_next():
    assert shell("framework-schema", "status", "postgresql://bob:sekret@host/x") == (
        "framework-schema status 'postgresql://bob:***@host/x'"
    )

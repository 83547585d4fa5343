"""The commands for one database at a time: doctor, backup, restore, rollback, create."""

import json

import pytest
import sqlite_files as files
from click.testing import CliRunner
from flask import Flask
from flask.cli import ScriptInfo
from script_texts import creates, script

import framework_schema
from framework_schema.cli import main, schema
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

    done = run("restore", copy, migrated, "--yes")

    assert done.exit_code == 0, done.output
    assert "Dashboard" in files.tables(migrated)
    assert "what it replaced is kept" in done.stdout


def test_a_restore_shows_both_and_wants_a_yes(run, migrated):
    copy = run("backup", migrated).stdout.strip()
    files.run(migrated, "INSERT INTO Dashboard (name) VALUES ('mine'), ('yours')")
    before = files.digest(migrated)

    done = run("restore", copy, migrated)

    assert done.exit_code == 2
    assert "the backup is older" in done.stdout
    assert "would lose 2 rows of Dashboard" in done.stdout
    assert "--yes" in done.stderr
    assert files.digest(migrated) == before


@pytest.mark.parametrize("yes", [[], ["--yes"]])
def test_a_backup_is_never_the_target_of_a_restore(run, migrated, tmp_path, yes):
    copy = run("backup", migrated).stdout.strip()
    elsewhere = run("backup", migrated, "--into", tmp_path / "mine.backup").stdout.strip()
    before = files.digest(copy), files.digest(elsewhere)

    told = [run("restore", migrated, target, *yes) for target in (copy, elsewhere)]

    assert [done.exit_code for done in told] == [3, 3]
    assert "restore FILE TARGET" in told[0].stderr
    assert (files.digest(copy), files.digest(elsewhere)) == before


def test_a_rollback_tells_what_would_go_and_wants_a_yes(run, migrated):
    before = files.history(migrated)

    done = run("rollback", migrated, "--to", "framework/022_default_units")

    assert done.exit_code == 2
    assert "would roll back, in this order:" in done.stdout
    assert "  framework/022_default_units" in done.stdout
    assert "rows of units" in done.stdout
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


def test_a_rollback_says_what_goes_in_which_order_and_what_is_left(run, migrated):
    files.run(migrated, "INSERT INTO Dashboard (name) VALUES ('mine'), ('yours')")
    asked = ("rollback", migrated, "--to", "framework/004_dashboards")

    would = run(*asked, "--dry-run").stdout
    done = run(*asked, "--yes").stdout

    keys = [line.strip() for line in would.splitlines() if line.startswith("  framework/")]
    assert keys[-1] == "framework/004_dashboards"
    assert keys == sorted(keys, reverse=True)
    assert would.count("would lose 2 rows of Dashboard, and the table with them") == 1
    assert "lose 0 " not in would
    assert "without a row would go" in would
    assert "the newest would be framework/0" in would
    assert "would migrate" not in would + done
    assert f"next: {shell('framework-schema', 'rollback', str(migrated))} --to {asked[-1]}" in would
    assert f"{len(keys)} migrations rolled back" in done
    assert "lost 2 rows of Dashboard" in done
    assert "copy made first: " in done
    assert "Dashboard" not in files.tables(migrated)
    assert files.query(done.partition("copy made first: ")[2].split()[0], "SELECT count(*) FROM Dashboard") == [(2,)]


def test_a_rollback_as_json_says_what_was_rolled_back(run, migrated):
    (item,) = json.loads(run("rollback", migrated, "--yes", "--json").stdout)["databases"]

    assert len(item["rolled_back"]) == 1
    assert item["backup"]


def test_what_is_renamed_or_copied_first_is_not_lost(path, folder, runner):
    drop = "migrator.rename_table('a', 'b')\nmigrator.sql('ALTER TABLE c RENAME COLUMN name TO label')"
    source = folder({"001_a": creates("a"), "002_c": creates("c"), "003_x": script("pass", rollback=drop)})
    runner(source).migrate()
    files.run(path, "INSERT INTO a (name) VALUES ('x'); INSERT INTO c (name) VALUES ('y'), (NULL)")

    assert runner(source).rollback().lost == ()


COMMANDS = [
    ("status",), ("check",), ("history",), ("doctor",), ("migrate",), ("migrate", "--dry-run"), ("backup",),
    ("rollback", "--dry-run"), ("rollback", "--yes"),
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("of", ["framework-schema", "flask schema"])
def test_the_result_of_every_command_is_on_stdout(run, migrated, words, flags, of):
    if of == "flask schema":
        app = Flask("app")
        app.config["DATABASE_PATH"] = str(migrated)
        framework_schema.init_app(app)
        info = ScriptInfo(create_app=lambda: app)
        done = CliRunner().invoke(schema, [*words, *flags], obj=info)
    else:
        done = run(words[0], migrated, *words[1:], *flags)

    assert done.exit_code in (0, 1), done.output
    assert done.stdout.strip()
    assert done.stderr == ""
    if flags:
        assert json.loads(done.stdout)["command"] == words[0]


def test_a_dry_run_of_a_copy_tells_the_rows_and_writes_nothing(run, migrated, tmp_path):
    files.run(
        migrated,
        "INSERT INTO Dashboard (name) VALUES ('mine'), ('yours'); CREATE TABLE own (x); INSERT INTO own VALUES (1)",
    )
    before = files.digest(migrated)

    done = run("copy", migrated, tmp_path / "new.db", "--dry-run")

    assert done.exit_code == 0, done.output
    assert "would copy 2 rows of Dashboard" in done.stdout
    assert "left out: own" in done.stdout
    assert not (tmp_path / "new.db").exists()
    assert "--replace" in run("copy", migrated, migrated, "--dry-run").stdout
    assert files.digest(migrated) == before

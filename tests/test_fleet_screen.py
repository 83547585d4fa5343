"""What is told of many databases: every one off the norm by name, and commands that work when typed."""

import io
import json
import os
import re
import shlex
from pathlib import Path

import pytest
import sqlite_files as files
from click.testing import CliRunner
from script_texts import creates, script

from framework_schema.cli import main
from framework_schema.console import Screen
from framework_schema.fleet import FleetReport
from framework_schema.fleet_screen import fitted, shortened, show_fleet
from framework_schema.report import Report, State


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    return tmp_path


def call(*words):
    done = CliRunner().invoke(main, [str(word) for word in words], env={"COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture
def fleet():
    """Thirty current databases, of which one lacks a table, one has a rule too few and one is no database."""
    assert call("migrate", "sqlite:///data/00.db").exit_code == 0
    for number in range(1, 30):
        Path(f"data/{number:02}.db").write_bytes(Path("data/00.db").read_bytes())
    files.run("data/07.db", "DROP TABLE Dashboard; DROP TABLE DashboardWidget")
    files.run("data/11.db", "ALTER TABLE Note DROP COLUMN note_text; ALTER TABLE Note ADD COLUMN note_text TEXT")
    Path("data/13.db").write_text("no database" * 99)


def test_above_a_screenful_every_database_off_the_norm_is_named_with_reason_and_command(fleet):
    status = call("status", "data").stdout

    assert re.search(r"^pending: data/07.db: 0 migrations pending, \d+ differences$", status, re.M)
    assert "mend: framework-schema migrate data/07.db" in status
    assert re.search(r"^unreadable: data/13.db: .*[.]$", status, re.M)
    assert "…" not in status
    assert "data/20.db" not in status
    assert "28 current" in status


def test_a_strict_check_of_many_counts_what_differs_and_tells_the_hashes(fleet):
    done = call("check", "data", "--strict")

    assert done.exit_code == 3
    assert "2 differ from the schema" in done.stdout
    header = done.stdout.splitlines()[0].split()
    assert {"Drift", "Schema"} <= set(header)
    assert re.search(r"^current: data/11.db: it differs: .*Note.*", done.stdout, re.M)
    assert "mend: framework-schema migrate data/11.db --strict" in done.stdout


def test_quiet_names_what_is_pending(fleet):
    told = call("status", "data/07.db", "data/08.db", "-q").stdout

    assert "pending: data/07.db" in told
    assert "data/08.db:" not in told


# At 80 columns


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("command", ["status", "migrate", "check"])
def test_at_80_columns_a_name_is_cut_in_the_middle_and_a_state_never(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "data/of-customers/" + "long-" * 20 + "end/homebrew.db"
    reports = tuple(Report(name, "", "postgresql", state, at="framework/041_milestone_default") for state in State)
    out = Terminal()

    show_fleet(Screen(out, io.StringIO(), color=False), FleetReport(command, reports), ())

    lines = [re.sub("\x1b[^m]*m", "", line) for line in out.getvalue().splitlines()]
    table = lines[: len(State) + 1]
    assert max(map(len, table)) <= 80
    assert [line.split()[-1] for line in table[1:]] == [str(state) for state in State]
    assert all("…" in line and "brew.db" in line for line in table[1:])
    assert sum(name in line for line in lines) >= 3  # whole, where it goes with an error


def test_a_name_keeps_its_beginning_and_its_end():
    assert shortened("data/homebrew.db", 16) == "data/homebrew.db"
    assert shortened("data/customers/homebrew.db", 16) == "data/…mebrew.db"[:5] + "…" + "homebrew.db"[-10:]
    assert fitted(["Database", "State"], [["x" * 50, "unreadable"]], 40) == [(shortened("x" * 50, 28), "unreadable")]


# The plan


def test_the_plan_names_what_is_pending_and_so_does_a_verbose_status():
    files.run("data/a.db", "CREATE TABLE Entry (id INTEGER PRIMARY KEY)")

    plan = call("plan", "data")
    as_json = json.loads(call("plan", "data", "--json").stdout)

    assert plan.exit_code == 1
    assert "  framework/004_dashboards" in plan.stdout.splitlines()
    assert as_json["command"] == "plan"
    assert "framework/004_dashboards" in as_json["databases"][0]["pending"]
    assert "pending: data/a.db: framework/004_dashboards" in call("status", "data", "-v").stdout


def test_a_dry_run_is_headed_by_migration_and_hides_the_history():
    Path("migrations").mkdir()
    fill = "migrator.sql(\"INSERT INTO beer (name) VALUES ('x'), ('y')\")"
    Path("migrations/001_beer.py").write_text(creates("beer"))
    Path("migrations/002_fill.py").write_text(script(fill))
    call("migrate", "sqlite:///data/a.db", "--source", "framework")
    files.run("data/a.db", "DROP TABLE Dashboard; DROP TABLE DashboardWidget")

    told = call("migrate", "data/a.db", "--dry-run").stdout.splitlines()

    heads = [number for number, line in enumerate(told) if line.startswith("-- app/")]
    assert [told[number] for number in heads] == ["-- app/001_beer", "-- app/002_fill"]
    assert 'CREATE TABLE "beer"' in told[heads[0] + 1]
    assert told[heads[1] + 1].endswith("-- 2 rows")
    assert "-- what is missing or differs" in told
    assert not any("schema_migration" in line for line in told)
    assert any(re.fullmatch(r"-- and \d+ statements that keep the history.*", line) for line in told)
    assert any(
        "schema_migration" in line for line in call("migrate", "data/a.db", "--dry-run", "-v").stdout.splitlines()
    )


# Words that lead on


def follow(text):
    """Type the command that is said to come next."""
    command = re.search("^next: (.*?)(  \\(.*)?$", text, re.M)
    if command is None:
        return None
    program, *words = shlex.split(command[1])
    assert program == "framework-schema"
    return call(*words)


@pytest.mark.parametrize("flags", [["--folder", "scripts"], ["--source", "framework"], ["--database", "a"]], ids=str)
def test_the_command_that_comes_next_means_the_same_databases_and_scripts(flags):
    for name in ("a", "b"):
        files.run(f"data/{name}.db", "CREATE TABLE Entry (id INTEGER PRIMARY KEY)")
    Path("scripts").mkdir()
    Path("scripts/001_beer.py").write_text(creates("beer"))

    assert follow(call("status", "data", *flags).stdout).exit_code == 0

    assert call("status", "data", *flags).exit_code == 0
    assert ("beer" in files.tables("data/a.db")) == (flags[0] == "--folder")
    assert ("Dashboard" in files.tables("data/b.db")) == (flags[0] != "--database")


def test_a_name_of_the_inventory_is_a_target_and_what_comes_next_finds_it():
    files.run("data/a.db", "CREATE TABLE Entry (id INTEGER PRIMARY KEY)")
    Path("fleet.toml").write_text("[[database]]\npath = 'data/a.db'\nname = 'brewery'\ntable = 'our_history'\n")

    assert follow(call("status").stdout).exit_code == 0
    for words in (["status"], ["history"], ["doctor"], ["rollback", "--dry-run"]):
        assert call(words[0], "brewery", *words[1:]).exit_code == (words == ["doctor"]), words
    assert call("backup", "brewery").exit_code == 0
    assert "our_history" in files.tables("data/a.db")


def test_one_member_without_its_url_does_not_stop_the_others():
    files.run("data/a.db", "CREATE TABLE Entry (id INTEGER PRIMARY KEY)")
    Path("fleet.toml").write_text("[[database]]\npath = 'data/a.db'\n\n[[database]]\nurl_env = 'ABSENT_X'\n")

    done = call("migrate")

    assert done.exit_code == 3
    assert "unreadable: ABSENT_X: its url_env is ABSENT_X, which the environment does not have" in done.stdout
    assert "Dashboard" in files.tables("data/a.db")
    assert call("status", "--database", "a").exit_code == 0


def test_the_doctor_goes_on_past_what_it_cannot_read():
    call("migrate", "sqlite:///data/a.db")
    Path("data/b.db").touch()

    done = call("doctor", "data")

    assert done.exit_code == 1
    assert "error: data/b.db: the file is empty" in done.stdout
    assert "data/a.db:" in done.stdout


def test_no_failure_on_record_is_not_no_history():
    call("migrate", "sqlite:///data/a.db")

    assert call("history", "data", "--failed").stdout.strip() == "no failure on record"


@pytest.mark.parametrize("target", ["data", "data/other.db"])
def test_status_doctor_and_migrate_give_one_answer_of_a_foreign_database(target):
    files.run("data/other.db", "CREATE TABLE users (id INTEGER)")

    status, doctor, migrate = (call(command, target) for command in ("status", "doctor", "migrate"))

    if target == "data":
        assert "foreign" in status.stdout and "foreign" in doctor.stdout and "foreign" in migrate.stdout
        assert (status.exit_code, doctor.exit_code, migrate.exit_code) == (0, 0, 0)
    else:
        assert "pending" in status.stdout and "migrations are pending" in doctor.stdout
        assert "1 migrated" in migrate.stdout


def test_a_status_counts_no_drift_that_a_check_does_not(fleet):
    for file in ("data/07.db", "data/11.db"):
        status, check = (json.loads(call(word, file, "--json").stdout)["databases"][0] for word in ("status", "check"))
        texts = [{item["text"] for item in found["drift"]} for found in (status, check)]
        assert texts[0] <= texts[1]


def test_an_environment_variable_is_enough_for_what_comes_next(monkeypatch):
    monkeypatch.setenv("FRAMEWORK_SCHEMA_TABLE", "our_history")
    files.run("data/a.db", "CREATE TABLE Entry (id INTEGER PRIMARY KEY)")

    assert follow(call("status", "data").stdout).exit_code == 0
    assert "our_history" in files.tables("data/a.db")
    assert os.environ["FRAMEWORK_SCHEMA_TABLE"] == "our_history"

"""The command line: targets, options, what is written where, exit codes."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import fleet_of_1000
import pytest
import sqlite_files as files
from commands import apart
from script_texts import creates, script

from framework_schema import Runner
from framework_schema.cli import main
from framework_schema.console import printable, seconds, shell
from framework_schema.sizes import size

ENTRY = "CREATE TABLE Entry (id INTEGER PRIMARY KEY, title TEXT); INSERT INTO Entry (title) VALUES ('one')"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A project's folder with data/ in it, to be in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("homebrew.db", "tracker.db"):
        files.run(f"data/{name}", ENTRY)
    return tmp_path


def call(*words, **env):
    """Run the command in this process; return its exit code, stdout and stderr."""
    result = apart().invoke(main, [*map(str, words)], env={"COLUMNS": "200", **env})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def as_json(*words):
    code, out, err = call(*words, "--json")
    return code, json.loads(out), err


def states(found):
    return {item["name"]: item["state"] for item in found["databases"]}


# From nothing to aligned


def test_without_a_target_data_is_migrated():
    code, out, _ = call("migrate")

    assert code == 0
    assert "2 databases · 2 migrated" in out
    assert "Dashboard" in files.tables("data/homebrew.db")
    assert call("migrate")[1].startswith("Database")
    assert "2 databases · 2 current" in call("migrate")[1]


def test_a_target_is_a_file_a_folder_a_glob_a_url_or_a_list(here):
    Path("list").write_text("data/homebrew.db\n")

    for target in ("data/homebrew.db", "data", "data/*.db", "sqlite:///data/tracker.db", "@list"):
        assert call("status", target)[0] == 1


def test_status_says_what_is_pending_and_the_command_that_helps():
    code, out, _ = call("status")

    assert code == 1
    assert re.search(r"data/homebrew.db +sqlite +- +\d+ ", out)
    assert out.splitlines()[-1] == "next: framework-schema migrate"


@pytest.mark.parametrize(
    "command", [["status"], ["check"], ["check", "--strict"], ["history"], ["migrate", "--dry-run"]]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_only_looks_changes_nothing(command, when):
    files.run("data/homebrew.db", "PRAGMA journal_mode = wal")
    if when == "after":
        call("migrate")
    before = fleet_of_1000.footprint(Path("data")), Path("data").stat().st_mtime_ns

    call(*command)

    assert (fleet_of_1000.footprint(Path("data")), Path("data").stat().st_mtime_ns) == before


def test_a_dry_run_prints_the_sql():
    code, out, _ = call("migrate", "--dry-run", "data/homebrew.db")

    assert code == 0
    assert 'CREATE TABLE "Dashboard"' in out
    assert "rows written" in out
    assert "1 database · 1 would be migrated" in out


def test_check_is_for_ci():
    call("migrate", "sqlite:///data/fresh.db", "data")
    assert call("check")[0] == 0
    assert call("check", "--strict", "data/fresh.db")[0] == 0

    files.run("data/homebrew.db", "DROP INDEX " + next(iter(files.indexes("data/homebrew.db"))))
    code, out, _ = call("check")

    assert code == 1
    assert "drift: data/homebrew.db: " in out
    assert "is missing" in out


def test_history_tells_what_happened_newest_first():
    call("migrate")

    code, out, _ = call("history", "data/homebrew.db", "--limit", 3)
    events = as_json("history", "data/homebrew.db", "--events")[1]

    assert code == 0
    assert len(out.splitlines()) == 4
    assert out.splitlines()[1].split()[2] > out.splitlines()[2].split()[2]
    assert {row["kind"] for row in events["databases"][0]["history"]} >= {"applied", "verified"}


def test_an_app_s_own_folders_are_sources_and_a_data_folder_never_is(here):
    for place in ("migrations", "data"):
        Path(place).mkdir(exist_ok=True)
        Path(place, "001_own.py").write_text(creates(f"from_{place}"))

    call("migrate")

    assert "from_migrations" in files.tables("data/homebrew.db")
    assert "from_data" not in files.tables("data/homebrew.db")
    code, _, err = call("migrate", "--folder", "data")
    assert code == 2
    assert "scripts are never run from there" in err


def test_a_source_can_be_chosen_and_brings_what_it_needs(here):
    Path("migrations").mkdir()
    Path("migrations/001_own.py").write_text(creates("own"))

    assert call("migrate", "--source", "framework")[0] == 0
    assert "own" not in files.tables("data/homebrew.db")
    assert call("migrate", "--source", "app")[0] == 0
    assert "own" in files.tables("data/homebrew.db")
    code, _, err = call("migrate", "--source", "homebru")
    assert (code, "there is no source 'homebru'" in err) == (2, True)


LATE = {"001_a": "a", "003_c": "c"}


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--dry-run"]])
def test_a_script_that_came_late_is_refused_or_applied_as_asked(here, command):
    Path("migrations").mkdir()
    for name, table in LATE.items():
        Path(f"migrations/{name}.py").write_text(creates(table))
    call("migrate", "--database", "homebrew")
    Path("migrations/002_b.py").write_text(creates("b"))

    code, out, _ = call(*command, "--database", "homebrew", "--out-of-order", "refuse")
    assert code == 3
    assert "app/002_b came late" in out
    assert "b" not in files.tables("data/homebrew.db")
    refusing = {"FRAMEWORK_SCHEMA_OUT_OF_ORDER": "refuse"}
    assert call(*command, "--database", "homebrew", **refusing)[0] == 3
    assert call(*command, "--database", "homebrew", "--out-of-order", "apply", **refusing)[0] == 0
    assert ("b" in files.tables("data/homebrew.db")) == (command == ["migrate"])


# Choosing


def test_a_database_can_be_picked_and_an_unknown_one_is_a_usage_error():
    assert list(states(as_json("status", "--database", "homebrew.db")[1])) == ["data/homebrew.db"]

    code, out, err = call("migrate", "--database", "homebru")
    assert (code, out) == (2, "")
    assert "Did you mean: homebrew" in err


@pytest.mark.parametrize("name", ["-v.db", "two words.db", "line\nbreak.db", "quo'te\".db"])
def test_any_name_can_be_given(name):
    files.run(f"data/{name}", ENTRY)
    os.chdir("data")

    assert list(states(as_json("status", "--database", name, ".")[1])) == [name]
    assert list(states(json.loads(call("--json", "status", "--", name)[1]))) == [name]
    assert name not in call("status", ".")[1] or "\n" not in name


def test_an_unknown_migration_is_a_usage_error_with_near_names():
    code, _, err = call("migrate", "--to", "framework/004_dashed")

    assert code == 2
    assert "framework/004_dashboards" in err
    assert "schema_migrations" not in files.tables("data/homebrew.db")


def test_shards_and_canaries_are_told():
    Path("data/homebrew.db").write_text("x" * 5000)

    assert len(as_json("status", "--shard", "1/2")[1]["databases"]) == 1
    code, out, _ = call("migrate", "--canary", 1)
    assert code == 3
    assert "1 not started" in out
    assert "a canary failed" in out


# Exit codes


@pytest.mark.parametrize(
    ("breaks", "looks", "migrates"),
    [
        (lambda path: None, 1, 0),
        (fleet_of_1000.is_text, 3, 3),
        (fleet_of_1000.is_empty, 3, 3),
        (fleet_of_1000.is_folder, 3, 3),
        (fleet_of_1000.is_pipe, 3, 3),
        (fleet_of_1000.is_ahead, 1, 3),
        (fleet_of_1000.is_of_rails, 1, 3),
    ],
)
def test_the_exit_code_tells_how_it_ended(breaks, looks, migrates):
    breaks(Path("data/homebrew.db"))

    assert call("status")[0] == looks
    assert call("migrate")[0] == migrates
    assert "Dashboard" in files.tables("data/tracker.db")


def test_a_foreign_database_is_no_failure():
    files.run("data/wordpress.db", "CREATE TABLE wp_posts (a)")

    code, found, _ = as_json("migrate")

    assert (code, found["summary"]["foreign"]) == (0, 1)
    assert as_json("status")[0] == 0
    assert as_json("migrate", "--adopt-foreign")[1]["summary"]["migrated"] == 1


def test_a_database_ahead_is_migrated_by_hand_alone():
    fleet_of_1000.is_ahead(Path("data/homebrew.db"))

    code, out, _ = call("migrate", "data/homebrew.db")
    assert (code, "framework/999_future" in out) == (3, True)
    assert call("migrate", "--allow-ahead", "--dry-run", "data/homebrew.db")[0] == 0
    assert call("migrate", "--allow-ahead", "data/homebrew.db")[0] == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [("def migrate(:\n", "SyntaxError"), ("depends_on = ['gone']\ndef migrate(migrator, database): pass\n", "gone")],
)
def test_a_script_that_cannot_be_read_is_a_failure_everywhere_and_the_rest_is_done(here, text, says):
    Path("migrations").mkdir()
    Path("migrations/001_own.py").write_text(text)

    for _ in range(2):
        code, found, _ = as_json("migrate", "data/homebrew.db")
        (item,) = found["databases"]
        assert (code, item["state"]) == (3, "failed")
        assert says in item["error"]
        assert says in item["failed"][0]["error"]
        assert item["pending"] == []
    assert "Dashboard" in files.tables("data/homebrew.db")
    assert "failed" in call("migrate", "data/homebrew.db")[1]
    for command in ("status", "check"):
        code, found, _ = as_json(command, "data/homebrew.db")
        assert (code, states(found)) == (1, {"data/homebrew.db": "failed"})

    Path("migrations/001_own.py").write_text(script())
    assert call("migrate", "data/homebrew.db")[0] == 0


def test_a_broken_plugin_fails_only_the_databases_that_carry_it(here, monkeypatch):
    plugin = here / "plug"
    (plugin / "plug-1.dist-info").mkdir(parents=True)
    (plugin / "plug-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1\n")
    points = "[framework_schema.migrations]\nplug = plug_scripts\n"
    (plugin / "plug-1.dist-info" / "entry_points.txt").write_text(points)
    (plugin / "plug_scripts").mkdir()
    (plugin / "plug_scripts" / "__init__.py").touch()
    (plugin / "plug_scripts" / "001_plug.py").write_text(creates("plug"))
    monkeypatch.syspath_prepend(plugin)
    assert call("migrate", "data/homebrew.db", "--source", "plug")[0] == 0
    (plugin / "plug_scripts" / "001_plug.py").write_text("def migrate(:")

    code, found, _ = as_json("migrate", "data")

    assert (code, states(found)) == (3, {"data/homebrew.db": "failed", "data/tracker.db": "migrated"})


def test_nothing_to_work_on_is_a_usage_error(here, tmp_path):
    os.chdir(tmp_path / "data")

    code, out, err = call("migrate")

    assert (code, out) == (2, "")
    assert err.startswith("Error: no database was named")
    assert "Traceback" not in err


def test_a_bad_inventory_names_file_and_key():
    Path("fleet.toml").write_text("[[database]]\npaht = 'x'\n")

    code, _, err = call("status")

    assert code == 2
    assert "fleet.toml: [[database]] number 1 has the key 'paht'" in err


# What is written where


@pytest.mark.parametrize("words", [["--json", "status"], ["status", "--json"]])
def test_common_options_work_before_and_after_the_command(words):
    code, out, err = call(*words)

    assert (code, err) == (1, "")
    found = json.loads(out)
    assert (found["version"], found["command"]) == (1, "status")
    assert found["summary"]["pending"] == 2


def test_what_scripts_print_does_not_get_into_the_result(here):
    Path("migrations").mkdir()
    Path("migrations/001_old.py").write_text(
        "def apply_migration(cursor):\n    print('old style')\n    cursor.execute('CREATE TABLE old (a)')\n"
    )
    for jobs in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "framework_schema", "migrate", "--json", "--jobs", jobs],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert json.loads(done.stdout)["summary"]["failed"] == 0
        assert ("old style" in done.stderr) is (jobs == "1")
    assert "old" in files.tables("data/homebrew.db")


def test_a_failure_names_script_line_and_state_and_shows_no_traceback(here):
    Path("migrations").mkdir()
    Path("migrations/001_own.py").write_text(creates("own"))
    Path("migrations/002_bad.py").write_text(script("migrator.sql('CREATE TABLE half (a)')\n1 / 0"))

    code, out, err = call("migrate", "--database", "homebrew")

    assert code == 3
    assert re.search(r"failed: .*app/002_bad failed and was undone: ZeroDivisionError.*002_bad.py, line \d", out)
    assert "next: framework-schema doctor data/homebrew.db" in out
    assert "Traceback" not in out + err
    assert "half" not in files.tables("data/homebrew.db")


def test_the_report_file_has_a_line_for_each_and_is_for_its_owner_alone():
    call("migrate", "--report", "report.jsonl")

    lines = [json.loads(line) for line in Path("report.jsonl").read_text().splitlines()]
    assert sorted(line["name"] for line in lines) == ["data/homebrew.db", "data/tracker.db"]
    assert stat.S_IMODE(Path("report.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize(("words", "env"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"}), ([], {})])
def test_no_colour_is_written_where_nobody_sees_it(words, env):
    assert "\x1b" not in "".join(call("status", *words, **env)[1:])


def test_quiet_leaves_the_summary_and_the_failures():
    Path("data/homebrew.db").write_text("x" * 5000)

    code, out, err = call("migrate", "-q")

    assert (code, err) == (3, "")
    assert [line.split()[0] for line in out.splitlines()] == ["unreadable:", "2"]


def test_the_status_of_a_large_fleet_fits_one_screen():
    call("migrate", "data/homebrew.db")
    content = Path("data/homebrew.db").read_bytes()
    for number in range(100):
        Path(f"data/{number}.db").write_bytes(content if number % 9 else b"x" * 5000)

    _, out, _ = call("status", "--jobs", 1)

    assert len(out.splitlines()) <= 40
    assert "102 databases" in out


def test_a_password_is_never_shown():
    for words in (["status"], ["migrate", "--json"], ["migrate", "-vv"], ["history"]):
        done = subprocess.run(
            [sys.executable, "-m", "framework_schema", *words, "oracle://ops:s3cret@db1/crm?password=s3cret"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 3
        assert "s3cret" not in done.stdout + done.stderr


def test_help_and_version_import_nothing_of_weight():
    text = (
        "import sys; from framework_schema.cli import main\n"
        "main(['migrate', '--help'], standalone_mode=False)\n"
        "print([name for name in ('peewee', 'rich', 'flask', 'sqlite3', 'concurrent') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_the_demo_shows_before_and_after_in_80_columns():
    code, out, _ = call("demo", COLUMNS="80")

    assert code == 0
    assert out.count("no such table: Dashboard") == 5
    assert "7 databases · 7 migrated" in out
    assert max(map(len, out.splitlines())) <= 80
    assert len(out.splitlines()) <= 24
    assert json.loads(call("demo", "--json")[1])["proof"][0]["widget_after"] == "ok"
    assert call("status", "demo")[0] == 0


def test_the_demo_spares_a_folder_that_is_not_its_own():
    code, _, err = call("demo", "--directory", "data")

    assert code == 2
    assert "Nothing was written" in err
    assert "Dashboard" not in files.tables("data/homebrew.db")


# flask schema


APP = """
from flask import Flask
import framework_schema
app = Flask(__name__)
app.config["DATABASE"] = "data/homebrew.db"
{init}
"""


def flask(*words):
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app.py", "schema", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_flask_schema_is_the_same_for_the_app_s_own_database(here):
    Path("app.py").write_text(APP.format(init="framework_schema.init_app(app)"))

    assert flask("status")[0] == 1
    assert 'CREATE TABLE "Dashboard"' in flask("migrate", "--dry-run")[1]
    assert "Dashboard" not in files.tables("data/homebrew.db")
    code, out, _ = flask("--json", "migrate")
    assert (code, json.loads(out)["summary"]["migrated"]) == (0, 1)
    assert flask("check")[0] == flask("status")[0] == 0
    assert "040" in flask("history", "--limit", "1")[1] or Runner("data/homebrew.db").status().at
    assert "Dashboard" not in files.tables("data/tracker.db")


def test_flask_schema_refuses_a_script_that_came_late_when_asked(here):
    Path("app.py").write_text(APP.format(init="framework_schema.init_app(app)"))
    Path("migrations").mkdir()
    for name, table in LATE.items():
        Path(f"migrations/{name}.py").write_text(creates(table))
    assert flask("migrate")[0] == 0
    Path("migrations/002_b.py").write_text(creates("b"))

    code, out, _ = flask("migrate", "--out-of-order", "refuse")

    assert (code, "app/002_b came late" in out) == (3, True)
    assert flask("migrate")[0] == 0
    assert "b" in files.tables("data/homebrew.db")


def test_flask_schema_says_what_is_missing_in_the_app(here):
    Path("app.py").write_text(APP.format(init=""))

    code, _, err = flask("status")

    assert code == 2
    assert "framework_schema.init_app(app)" in err
    assert len(err.splitlines()) == 1


# Small words


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("framework-schema", "migrate", "two words"), "framework-schema migrate 'two words'"),
        (("framework-schema", "migrate", "-x.db"), "framework-schema migrate -- -x.db"),
        (("framework-schema", "migrate"), "framework-schema migrate"),
    ],
)
def test_commands_can_be_pasted_into_a_shell(words, text):
    assert shell(*words) == text


def test_measures_are_written_as_people_say_them():
    assert [seconds(n) for n in (0, 999, 1500, 61_000)] == ["0 ms", "999 ms", "1.5 s", "1 min 1 s"]
    assert [size(n) for n in (12, 4096, 5_000_000)] == ["12 bytes", "4.1 KB", "5.0 MB"]
    assert printable("a\nb\x1b[31m\udcff") == "a\\nb\\x1b[31m\\udcff"

"""One fleet of files and servers by the command line: each on its own, all in the report, no password anywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
import servers
from script_texts import creates, script

ROOT = str(Path(__file__).parents[2])
pytestmark = pytest.mark.slow

SECRET, WRONG = "s3cr et/#@word", "wr0ng-p4ss"

INVENTORY = """
[[database]]
name = "file"
path = "app.db"
[[database]]
name = "pg one"
url = "{pg}?schema=one"
[[database]]
name = "pg two"
url = "{pg}?schema=two"
[[database]]
name = "maria"
url = "{maria}"
[[database]]
name = "guarded"
url_env = "GUARDED_URL"
[[database]]
name = "wrong"
url = "{wrong}"
[[database]]
name = "nobody"
url = "postgresql://me:{wrong_word}@127.0.0.1:1/app"
"""
GOOD = ["file", "pg one", "pg two", "maria", "guarded"]
BAD = ["wrong", "nobody"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Seven members, two of which cannot be reached, and what runs a command on them."""
    place = tmp_path_factory.mktemp("fleet")
    (place / "app.db").touch()
    (place / "scripts").mkdir()
    for name, text in {
        "001_a": creates("Alpha"),
        "002_b": script("migrator.add_fields('Alpha', size=pw.IntegerField(default=1))", rollback="pass"),
    }.items():
        (place / "scripts" / f"{name}.py").write_text(text)
    with (
        servers.Fresh("postgresql") as postgres,
        servers.Fresh("mariadb") as maria,
        servers.guarded("mariadb", SECRET) as guarded,
    ):
        servers.run("postgresql", postgres.url, "CREATE SCHEMA one", "CREATE SCHEMA two")
        word = quote(SECRET, safe="")
        wrong = guarded.replace(word, WRONG)
        text = INVENTORY.format(pg=postgres.url, maria=maria.url, wrong=wrong, wrong_word=WRONG)
        (place / "fleet.toml").write_text(text)
        environment = os.environ | {"PYTHONPATH": ROOT, "GUARDED_URL": guarded, "PYTHONDONTWRITEBYTECODE": "1"}

        def run(*arguments):
            command = [sys.executable, "-m", "framework_schema", *arguments]
            if arguments[0] in ("migrate", "status", "check"):
                command += ["--source", "app", "--folder", "scripts"]
            done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
            for secret in (SECRET, word, "s3cr", WRONG):
                assert secret not in done.stdout + done.stderr, arguments
            return done

        def states(*arguments):
            done = run(*arguments, "--json")
            return done, {item["name"]: item for item in json.loads(done.stdout)["databases"]}

        yield SimpleNamespace(run=run, states=states, postgres=postgres, maria=maria, place=place)


def tables(fleet):
    query = "SELECT schemaname FROM pg_tables WHERE tablename = 'Alpha' ORDER BY 1"
    return [name for (name,) in servers.run("postgresql", fleet.postgres.url, query)], servers.run(
        "mariadb", fleet.maria.url, "SHOW TABLES"
    )


def test_1_a_dry_run_tells_of_all_and_changes_none(fleet):
    done, found = fleet.states("migrate", "--dry-run", "--jobs", "2", "-v")

    assert done.returncode == 3
    assert list(found) == GOOD + BAD
    assert {name: found[name]["state"] for name in found} == dict.fromkeys(GOOD, "pending") | dict.fromkeys(
        BAD, "unreadable"
    )
    assert all(any("Alpha" in sql for sql in found[name]["sql"]) for name in GOOD)
    assert tables(fleet) == ([], ())
    assert (fleet.place / "app.db").stat().st_size == 0


def test_2_a_dry_run_is_told_in_words(fleet):
    done = fleet.run("migrate", "--dry-run", "-v", "--database", "maria", "--database", "pg one", "--database", "wrong")

    assert done.returncode == 3
    assert "CREATE TABLE `Alpha`" in done.stdout and 'CREATE TABLE "Alpha"' in done.stdout
    assert "scripts saw no rows" in done.stdout


def test_3_a_run_migrates_all_that_can_be_reached_once(fleet):
    done, found = fleet.states("migrate", "--jobs", "2", "-v")

    assert done.returncode == 3
    assert {found[name]["state"] for name in GOOD} == {"migrated"}
    assert all({"app/001_a", "app/002_b"} <= set(found[name]["applied"]) for name in GOOD)
    assert tables(fleet)[0] == ["one", "two"]
    assert "no connection" in found["nobody"]["error"] and "Check that the server runs" in found["nobody"]["error"]
    assert "Check user and password" in found["wrong"]["error"]
    assert {name: found[name]["engine"] for name in GOOD} == {
        "file": "sqlite", "pg one": "postgresql", "pg two": "postgresql", "maria": "mariadb", "guarded": "mariadb",
    }  # fmt: skip

    done, found = fleet.states("migrate", "-v")

    assert {found[name]["state"] for name in GOOD} == {"current"}


def test_4_status_and_strict_check_look_at_all(fleet):
    done, found = fleet.states("check", "--strict", "--jobs", "2")

    assert done.returncode == 3
    assert {found[name]["state"] for name in GOOD} == {"current"}
    assert not any(found[name]["drift"] for name in GOOD)
    assert fleet.run("status", "-v", "--database", "pg one", "--database", "guarded").returncode == 0


def test_5_drift_of_one_is_that_ones_alone(fleet):
    servers.run("postgresql", fleet.postgres.url, 'ALTER TABLE two."Alpha" ALTER COLUMN size DROP NOT NULL')

    done, found = fleet.states("check", "--strict", "--database", "pg one", "--database", "pg two")

    assert done.returncode == 1
    assert [name for name in found if found[name]["drift"]] == ["pg two"]
    assert fleet.states("migrate", "--strict", "--database", "pg two")[1]["pg two"]["aligned"]
    assert fleet.run("check", "--strict", "--database", "pg two").returncode == 0


def test_6_the_history_is_read_from_all(fleet):
    done = fleet.run("history", "--json", "--database", "maria", "--database", "file", "--database", "pg one")

    assert done.returncode == 0
    assert done.stdout.count("app/002_b") == 3

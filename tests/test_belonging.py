"""Which sources belong to a database: one answer, wherever one stands and however the target is written."""

import json
from pathlib import Path

import pytest
import sqlite_files as files
from click.testing import CliRunner
from script_texts import creates

from framework_schema.cli import main
from framework_schema.nearby import folders_near


@pytest.fixture
def apps(tmp_path, monkeypatch):
    """Two apps side by side: homebrew has a script of its own, tracker has none; to be in the first."""
    for name in ("homebrew", "tracker"):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "pyproject.toml").touch()
        files.run(tmp_path / name / "data" / f"{name}.db", "CREATE TABLE Entry (id INTEGER PRIMARY KEY, title TEXT)")
    (tmp_path / "homebrew" / "migrations").mkdir()
    (tmp_path / "homebrew" / "migrations" / "001_beer.py").write_text(creates("beer"))
    monkeypatch.chdir(tmp_path / "homebrew")
    return tmp_path


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed plugin with one script."""
    place = tmp_path / "plug"
    (place / "plug-1.dist-info").mkdir(parents=True)
    (place / "plug-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1\n")
    points = "[framework_schema.migrations]\nplug = plug_scripts\n"
    (place / "plug-1.dist-info" / "entry_points.txt").write_text(points)
    (place / "plug_scripts").mkdir()
    (place / "plug_scripts" / "__init__.py").touch()
    (place / "plug_scripts" / "001_plug.py").write_text(creates("plug"))
    monkeypatch.syspath_prepend(place)


def call(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done


def pending(*targets):
    found = json.loads(call("status", *targets, "--json", code=1).stdout)["databases"]
    return {Path(item["name"]).name: len(item["pending"]) for item in found}


def test_the_scripts_of_the_folder_one_stands_in_are_not_another_apps(apps):
    call("migrate", apps / "tracker" / "data", "data")

    assert "beer" not in files.tables(apps / "tracker" / "data" / "tracker.db")
    assert "beer" in files.tables(apps / "homebrew" / "data" / "homebrew.db")


@pytest.mark.parametrize("place", ["homebrew", "homebrew/data", ".", "tracker"])
def test_what_belongs_to_a_database_is_the_same_from_every_folder(apps, monkeypatch, place):
    monkeypatch.chdir(apps / place)
    file = apps / "homebrew" / "data" / "homebrew.db"

    targets = (file, file.parent, f"sqlite:///{file}", f"{file.parent}/*.db")
    written = [pending(target)["homebrew.db"] for target in targets]

    assert len(set(written)) == 1
    call("migrate", file)
    assert "beer" in files.tables(file)
    assert json.loads(call("status", file, "--json").stdout)["databases"][0]["at"] == "app/001_beer"


def test_a_plugin_counts_alike_however_the_target_is_written(apps, plugin):
    assert pending("data") == pending("data/homebrew.db") == pending("sqlite:///data/homebrew.db")
    told = call("status", "data/homebrew.db", "-v", code=1).stdout
    assert "not applied here: plug (to apply it: --source plug)" in told

    call("migrate", "data/homebrew.db", "--source", "plug")
    call("migrate", "data/homebrew.db")

    assert "plug" in files.tables("data/homebrew.db")
    call("migrate", "sqlite:///data/new.db")
    assert "plug" in files.tables("data/new.db")


def test_where_the_scripts_came_from_is_on_record_and_shown(apps):
    call("migrate", "data/homebrew.db")

    assert f"app from {apps / 'homebrew' / 'migrations'}" in call("status", "data/homebrew.db", "-v").stdout
    told = files.query("data/homebrew.db", "SELECT detail FROM schema_migration_events WHERE kind = 'verified'")
    assert told == [(f"framework; app from {apps / 'homebrew' / 'migrations'}",)]


def test_scripts_that_anybody_may_write_are_left_alone_until_they_are_named(apps):
    Path("migrations").chmod(0o777)

    told = call("migrate", "data/homebrew.db")

    assert f"--folder {apps / 'homebrew' / 'migrations'}" in told.stderr
    assert "beer" not in files.tables("data/homebrew.db")
    call("migrate", "data/homebrew.db", "--folder", "migrations")
    assert "beer" in files.tables("data/homebrew.db")


def test_the_search_ends_at_the_root_of_a_project(apps):
    (apps / "migrations").mkdir()
    (apps / "migrations" / "001_not_theirs.py").write_text(creates("x"))

    assert folders_near(apps / "tracker" / "data" / "tracker.db") == ()


# The newest migration's scripts are not at hand


@pytest.fixture
def away(apps):
    """The database of an app, and its scripts in another place."""
    call("migrate", "data/homebrew.db")
    Path("migrations").rename("scripts")
    return "data/homebrew.db"


def test_a_rollback_is_refused_where_the_newest_migrations_scripts_are_not_at_hand(away):
    before = files.digest(away)

    told = call("rollback", away, "--yes", code=3).output

    assert files.digest(away) == before
    assert "app/001_beer came later" in told
    assert "--folder DIR" in told
    assert "--source framework" in told
    call("rollback", away, "--yes", "--folder", "scripts")
    assert "beer" not in files.tables(away)


def test_a_rollback_of_a_named_source_is_done(away):
    call("rollback", away, "--yes", "--source", "framework")

    assert "beer" in files.tables(away)


def test_a_database_whose_newest_scripts_are_not_at_hand_is_never_current(away):
    for command in ("status", "check", "migrate"):
        found = json.loads(call(command, away, "--json", code=1).stdout)["databases"]
        assert found[0]["state"] == "pending"
        assert any("app/001_beer is on record" in note and "scripts" in note for note in found[0]["notes"])
    assert "next: framework-schema migrate" not in call("status", away, code=1).stdout

    call("status", away, "--folder", "scripts")

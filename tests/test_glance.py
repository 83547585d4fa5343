"""The command's short way says word for word what the whole command says, or leaves it to that."""

import os
import re
import sqlite3
import subprocess
import sys
from importlib.machinery import PathFinder

import pytest

from framework_schema import glance, plugins, sources
from framework_schema.runner import Runner

WHOLE = "from framework_schema.cli import main; main(prog_name='framework-schema')"


@pytest.fixture
def current(tmp_path, monkeypatch):
    """A current database of the framework in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(glance, "are_installed", lambda: False)
    for name in [name for name in os.environ if name.startswith("FRAMEWORK_SCHEMA_")]:
        monkeypatch.delenv(name)
    Runner("homebrew.db", [sources.framework()]).migrate()
    return tmp_path / "homebrew.db"


def without_times(text):
    return re.sub(r" +Time", " Time", re.sub(r" *\d+ ms", " N ms", text))


def test_it_hashes_the_scripts_as_the_runner_does():
    assert glance.fingerprint() == sources.fingerprint([sources.framework()])


@pytest.mark.parametrize("options", [(), ("-q",), ("--quiet",)])
def test_it_says_what_the_whole_command_says(current, python, options):
    whole = python(WHOLE.replace("main(prog", f"main(['migrate', 'homebrew.db', *{options!r}], prog"))

    assert without_times(glance.answer(["migrate", "homebrew.db", *options]) + "\n") == without_times(whole.stdout)


def test_several_files_are_in_one_table(current, python):
    Runner("a_longer_name.db", [sources.framework()]).migrate()
    whole = python(
        WHOLE.replace("main(prog", "main(['migrate', 'homebrew.db', 'a_longer_name.db', '--jobs', '1'], prog")
    )

    told = glance.answer(["migrate", "homebrew.db", "a_longer_name.db"])

    assert without_times(told + "\n") == without_times(whole.stdout)


def test_it_imports_nothing_large(current):
    look = "from framework_schema import glance; glance.answer(['migrate', 'homebrew.db'])"
    text = f"import sys; {look}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", text], capture_output=True, text=True, check=True)

    assert not {"peewee", "click", "rich", "flask", "peewee_migrate", "ast", "typing", "re"} & (
        set(done.stdout.split()) - set(bare_modules())
    )


def bare_modules():
    """What Python brings by itself, editable installs' finders included."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import sys, sqlite3; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "homebrew.db"],
        ["migrate"],
        ["migrate", "--strict", "homebrew.db"],
        ["migrate", "--json", "homebrew.db"],
        ["migrate", "absent.db"],
        ["migrate", "."],
        ["migrate", "*.db"],
        ["migrate", "sqlite:///homebrew.db"],
        ["migrate", "@list"],
        ["migrate", "fleet.toml"],
        ["migrate", "homebrew.db", "homebrew.db"],
        ["migrate", "homebrew.db", "absent.db"],
    ],
)
def test_everything_else_is_the_whole_commands(current, arguments):
    assert glance.answer(arguments) is None


def change(path, statement):
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE Entry ADD COLUMN by_hand TEXT",
        "DROP TABLE Dashboard",
        "DELETE FROM schema_migrations WHERE id = 5",
        "UPDATE schema_migrations SET success = 0 WHERE id = 5",
        "DELETE FROM schema_migration_events",
        "DROP TABLE schema_migration_events",
        "PRAGMA journal_mode = wal",
    ],
)
def test_what_changed_since_is_looked_at_closely(current, statement):
    assert glance.answer(["migrate", "homebrew.db"])

    change(current, statement)

    assert glance.answer(["migrate", "homebrew.db"]) is None


@pytest.mark.parametrize("end", ["-journal", "-wal", "-shm"])
def test_a_file_that_may_be_in_use_is_the_whole_commands(current, end):
    (current.parent / f"homebrew.db{end}").touch()

    assert glance.answer(["migrate", "homebrew.db"]) is None


def test_settings_and_the_apps_own_scripts_are_the_whole_commands(current, monkeypatch, tmp_path):
    monkeypatch.setenv("FRAMEWORK_SCHEMA_TABLE", "other")
    assert glance.answer(["migrate", "homebrew.db"]) is None
    monkeypatch.delenv("FRAMEWORK_SCHEMA_TABLE")
    (tmp_path / "migrations").mkdir()
    assert glance.answer(["migrate", "homebrew.db"]) is None


@pytest.mark.parametrize(
    ("text", "is_plugin"),
    [
        ("[console_scripts]\nx = y:z\n", False),
        ("[framework_schema.migrations]\nframework = framework_schema.migrations\n\n[flask.commands]\na = b\n", False),
        ("[framework_schema.migrations]\nhomebrew = homebrew.migrations\n", True),
    ],
)
def test_an_installed_plugin_is_seen(tmp_path, text, is_plugin):
    (tmp_path / "x-1.0.dist-info").mkdir()
    (tmp_path / "x-1.0.dist-info" / "entry_points.txt").write_text(text)

    assert plugins.is_in(str(tmp_path)) is is_plugin


def test_the_look_leaves_no_trace(current):
    before = sorted((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in current.parent.iterdir())

    assert glance.answer(["migrate", "homebrew.db"])

    assert sorted((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in current.parent.iterdir()) == before


def test_a_plugin_that_is_installed_while_the_process_runs_is_seen(tmp_path, monkeypatch):
    long_ago = 1_000_000_000
    os.utime(tmp_path, (long_ago, long_ago))
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if finder is PathFinder])
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert not plugins.are_installed()

    (tmp_path / "x-1.0.dist-info").mkdir()
    assert not plugins.are_installed()
    (tmp_path / "x-1.0.dist-info" / "entry_points.txt").write_text("[framework_schema.migrations]\nx = x.migrations\n")

    assert plugins.are_installed()

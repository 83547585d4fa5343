"""What makes the app's inserts fail is named by a plain ``check``, and mended by the ``--strict`` it advises."""

import sqlite3
from contextlib import closing

import histories
import pytest
import sqlite_files as files
from click.testing import CliRunner
from inserts import insert, parents_first
from script_texts import sql

from framework_schema.cli import main
from framework_schema.runner import Runner


def refused(path):
    """Insert a row into every table as the app does, and return the tables that refuse theirs."""
    found = set()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name in parents_first():
            try:
                connection.execute(insert(name, "of the app"))
            except sqlite3.IntegrityError:
                found.add(name)
    return found


@pytest.mark.parametrize("name", histories.IDS)
def test_whatever_an_old_file_refuses_is_named_by_a_plain_check(copy_of, tmp_path, name):
    path = copy_of(name)
    Runner(path).migrate()
    drift = Runner(path).drift(strict=True)
    named = {d.table for d in drift.refusing}

    result = CliRunner().invoke(main, ["check", str(path)])

    assert refused(copy_of_it(path, tmp_path)) <= named
    assert all(d.text in result.output.replace("\n", " ") for d in drift.refusing)
    assert result.exit_code == (1 if named else 0)


def copy_of_it(path, tmp_path):
    other = tmp_path / "other.db"
    other.write_bytes(path.read_bytes())
    return other


@pytest.mark.parametrize("name", histories.IDS)
def test_after_strict_no_history_refuses_a_row_of_the_app(copy_of, name):
    path = copy_of(name)
    left = {item["table"] for item in Runner(path).migrate(strict=True).left}

    assert refused(path) <= left


WANTED = """
    CREATE TABLE IF NOT EXISTS thing (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        size INTEGER NOT NULL DEFAULT 1,
        kind TEXT
    )"""
NAMED = "CREATE INDEX IF NOT EXISTS thing_kind ON thing (kind)"

REFUSES = {
    "a column that may be NULL and is not": WANTED.replace("kind TEXT", "kind TEXT NOT NULL"),
    "one that has a default besides": WANTED.replace("kind TEXT", "kind TEXT NOT NULL DEFAULT 'x'"),
    "a column without its default": WANTED.replace("DEFAULT 1", ""),
    "an extra column that no insert fills": WANTED.replace("kind TEXT", "kind TEXT, at TEXT NOT NULL"),
    "a unique": WANTED.replace("kind TEXT", "kind TEXT UNIQUE"),
    "a unique over two": WANTED.replace("kind TEXT", "kind TEXT, UNIQUE (name, kind)"),
    "a CHECK": WANTED.replace("kind TEXT", "kind TEXT CHECK (kind <> '')"),
    "a foreign key": WANTED.replace("kind TEXT", "kind TEXT REFERENCES kinds (name)"),
    "STRICT": WANTED + " STRICT",
    "a generated column": WANTED.replace("kind TEXT", "kind TEXT GENERATED ALWAYS AS (upper(name)) VIRTUAL"),
    "another key": WANTED.replace(" PRIMARY KEY AUTOINCREMENT", "").replace("TEXT NOT NULL", "TEXT PRIMARY KEY"),
    "a key that has no numbers": WANTED.replace(" PRIMARY KEY AUTOINCREMENT", " NOT NULL"),
    "a partial unique index": f"{WANTED}; CREATE UNIQUE INDEX own ON thing (size) WHERE kind IS NULL",
    "a unique index in other letters": f"{WANTED}; CREATE UNIQUE INDEX own ON thing (name COLLATE NOCASE)",
    "an index that is unique": f"{WANTED}; CREATE UNIQUE INDEX thing_kind ON thing (kind)",
}
DOES_NOT = {
    "the very form": WANTED,
    "a rule less": WANTED.replace("name TEXT NOT NULL", "name TEXT"),
    "another type": WANTED.replace("name TEXT", "name VARCHAR(500)"),
    "another default": WANTED.replace("DEFAULT 1", "DEFAULT 2"),
    "an extra column with a default": WANTED.replace("kind TEXT", "kind TEXT, at TEXT NOT NULL DEFAULT ''"),
    "an extra column with rules of its own": WANTED.replace("kind TEXT", "kind TEXT, at TEXT UNIQUE CHECK (at > '')"),
    "a unique index on a column of the app's own": f"{WANTED.replace('kind TEXT', 'kind TEXT, at TEXT')};"
    " CREATE UNIQUE INDEX own ON thing (at) WHERE at > ''",
}  # fmt: skip


@pytest.fixture
def wanted(folder, runner):
    """A runner that expects ``thing``."""
    return lambda: runner(folder({"001_things": sql(WANTED, NAMED)}))


@pytest.mark.parametrize("form", REFUSES.values(), ids=REFUSES)
def test_a_form_that_refuses_rows_is_known_and_strict_mends_it(wanted, path, form):
    files.run(path, form)
    wanted().migrate()

    assert [d for d in wanted().drift(strict=True).refusing if "refuses rows of the app" in d.text]
    assert wanted().migrate(strict=True).left == ()
    assert not wanted().drift(strict=True).refusing


@pytest.mark.parametrize("form", DOES_NOT.values(), ids=DOES_NOT)
def test_a_form_that_refuses_nothing_is_not_called_refusing(wanted, path, form):
    files.run(path, form)
    wanted().migrate()

    assert not wanted().drift(strict=True).refusing


def test_a_plain_check_says_what_refuses_rows_and_what_helps_until_it_is_done(copy_of):
    path = copy_of("fleet-pre-homebrew")
    files.run(path, "DROP TABLE IF EXISTS SensorLogs")
    files.run(path, "CREATE TABLE SensorLogs (id INTEGER PRIMARY KEY, sensor_id TEXT NOT NULL, message TEXT NOT NULL,"
                    " timestamp TEXT NOT NULL)")  # fmt: skip
    Runner(path).migrate()

    before = CliRunner().invoke(main, ["check", str(path)])
    advice = before.output.partition("next: framework-schema ")[2].split("\n")[0].split()
    CliRunner().invoke(main, advice)
    after = CliRunner().invoke(main, ["check", str(path)])

    assert "SensorLogs: extra column timestamp is NOT NULL without a default" in before.output
    assert (before.exit_code, advice[0], advice[-1]) == (1, "migrate", "--strict")
    assert "timestamp" not in after.output

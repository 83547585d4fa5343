"""pw_migrate and we on one database: who may do what, and that neither runs what the other has run."""

import re
import subprocess
import sys
from pathlib import Path

import pw_chains
import pytest
import sqlite_files as files

from framework_schema.report import State
from framework_schema.runner import Runner
from framework_schema.sources import Folder

CHAIN = pw_chains.chains()["tickets"]
NAMES = list(CHAIN)


@pytest.fixture
def project(tmp_path):
    """A folder with a chain of scripts and no database yet."""
    pw_chains.write(CHAIN, tmp_path / "migrations")
    return tmp_path


@pytest.fixture
def pw_migrate(project):
    """Run peewee_migrate's own command in the project."""

    def run(command, *arguments):
        place = ["--database", "sqlite:///shop.db", "--directory", "migrations"]
        done = subprocess.run(
            [Path(sys.executable).with_name("pw_migrate"), command, *place, *arguments],
            cwd=project, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


def runner(project):
    return Runner(project / "shop.db", [Folder(project / "migrations")])


def picture(project):
    path = project / "shop.db"
    tables = [
        t for t in files.tables(path) if t not in ("migratehistory", "schema_migrations", "schema_migration_events")
    ]
    return {table: (files.columns(path, table), files.rows(path, table)) for table in tables}


def recorded(project):
    return [name for (name,) in files.query(project / "shop.db", "SELECT name FROM migratehistory ORDER BY id")]


def test_where_pw_migrate_began_both_go_on_in_turn(project, pw_migrate):
    pw_migrate("migrate", "--name", NAMES[3])
    assert runner(project).migrate(to=f"app/{NAMES[7]}").applied == [f"app/{name}" for name in NAMES[4:8]]
    assert recorded(project) == NAMES[:8]

    pw_migrate("migrate", "--name", NAMES[10])
    assert recorded(project) == NAMES[:11]

    assert runner(project).migrate().applied == [f"app/{name}" for name in NAMES[11:]]
    before = picture(project)
    assert f"Done: {len(NAMES)}, Pending: 0" in pw_migrate("list")
    assert "nothing to migrate" in pw_migrate("migrate").lower() or picture(project) == before
    assert picture(project) == before
    assert runner(project).status().state is State.CURRENT


def test_what_we_undo_pw_migrate_knows_to_be_undone(project, pw_migrate):
    pw_migrate("migrate")
    runner(project).migrate()

    runner(project).rollback(2)

    assert recorded(project) == NAMES[:-2]
    pw_migrate("rollback")
    assert recorded(project) == NAMES[:-3]


def test_where_we_began_pw_migrate_is_told_once_and_both_go_on(project, pw_migrate):
    runner(project).migrate(to=f"app/{NAMES[5]}")
    before = picture(project)
    assert re.search(rf"\[ \] {NAMES[0]}", pw_migrate("list")), "it knows only its own table"

    pw_migrate("migrate", "--name", NAMES[5], "--fake")

    assert picture(project) == before
    assert recorded(project) == NAMES[:6]
    runner(project).migrate(to=f"app/{NAMES[8]}")
    pw_migrate("migrate")
    assert recorded(project) == NAMES
    after = picture(project)
    assert runner(project).migrate().state is not State.FAILED
    assert picture(project) == after


def test_a_script_that_pw_migrate_creates_is_the_next_one(project, pw_migrate):
    runner(project).migrate()

    pw_migrate("create", "more")

    assert runner(project).status().pending == (f"app/{len(NAMES) + 1:03}_more",)


def test_scripts_that_pw_migrate_merged_are_one_that_is_applied(project, pw_migrate):
    pw_migrate("migrate")
    before = picture(project)

    pw_migrate("merge")
    report = runner(project).migrate()

    assert (report.applied, report.error) == ([], None)
    assert picture(project) == before
    assert recorded(project) == ["001_initial"]


def test_a_table_of_that_name_and_another_shape_is_left_alone(project):
    files.run(
        project / "shop.db", "CREATE TABLE migratehistory (version INTEGER); INSERT INTO migratehistory VALUES (3)"
    )

    runner(project).migrate()
    runner(project).rollback()

    assert files.query(project / "shop.db", "SELECT * FROM migratehistory") == [(3,)]

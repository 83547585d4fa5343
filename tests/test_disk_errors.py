"""A disk that fails at any read, write, sync or truncation: nothing half done, a clear error, the next run finishes.

``FRAMEWORK_SCHEMA_DISK_ERRORS`` is how many calls fail for each action and kind of journal, 2 by default, spread evenly
over all calls; each once for good, as a dying disk, and once for this call only.
"""

import errno
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import sqlite_files as files
import zygote
from script_texts import creates, script
from test_crash import content, no_lock_is_left

from framework_schema.runner import Runner

POINTS = int(os.environ.get("FRAMEWORK_SCHEMA_DISK_ERRORS", "2"))
ACTIONS = ["migrate", "strict", "rollback", "backup", "restore"]
ROOM = 'migrator.sql("INSERT INTO item (name) SELECT hex(zeroblob(2000)) FROM pragma_function_list LIMIT 60")'
SCRIPTS = {
    "001_item": creates("item"),
    "002_rows": script(ROOM, rollback="migrator.sql('DELETE FROM item')"),
    "003_note": creates("note"),
    "004_change": script(
        "migrator.change_fields('item', name=pw.CharField(max_length=9999, null=True))",
        rollback="migrator.change_fields('item', name=pw.TextField(null=True))",
    ),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("a failing disk needs Linux and a C compiler")
    made = tmp_path_factory.mktemp("disk") / "failing_disk.so"
    source = Path(__file__).with_name("failing_disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return made


@pytest.fixture(scope="module")
def processes(library):
    with zygote.started(LD_PRELOAD=str(library), DISK_PATH="homebrew.db") as run:
        yield run


@pytest.fixture
def fresh(tmp_path, folder):
    """Make a database for an action, in a folder of its own."""
    source = folder(SCRIPTS)
    first = folder({"001_item": SCRIPTS["001_item"]}, of="first")
    origin = tmp_path / "origin.db"

    def make(name, action, journal):
        place = tmp_path / name
        place.mkdir()
        path = place / "homebrew.db"
        if not origin.exists():
            Runner(origin, [first]).migrate()
            files.run(
                origin, "INSERT INTO item (name) VALUES ('mine'); CREATE TABLE own (a); INSERT INTO own VALUES (1)"
            )
            if action != "migrate":
                Runner(origin, [source]).migrate(backup=False)
            if action == "strict":
                loose = "CREATE TABLE note (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(9))"
                files.run(origin, f"DROP TABLE note; {loose}; INSERT INTO note (name) VALUES ('a')")
        shutil.copy(origin, path)
        shutil.copy(origin, f"{place}/made.backup")
        shutil.copy(origin, f"{path}.made")
        if action == "restore":
            files.run(path, "DELETE FROM item; INSERT INTO item (name) VALUES ('later')")
        files.query(path, f"PRAGMA journal_mode={journal}")
        return path

    make.folder = source.path
    return make


@pytest.mark.slow
@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("action", ACTIONS)
def test_whatever_fails_on_disk_the_old_state_stays_and_the_next_run_finishes(processes, fresh, action, journal):
    def do(path, *disk):
        return processes(action, path, folder=fresh.folder, disk=disk or (0, 0, 0))

    path = fresh("whole", action, journal)
    before = content(path)
    ends, _, calls, said = do(path)
    assert ends == [0], said
    after, seen = content(path), Counter()
    for number in range(2 * POINTS):
        at, times = 1 + number // 2 * calls // POINTS, number % 2
        path = fresh(str(number), action, journal)

        ends, _, _, said = do(path, at, times, (errno.EIO, errno.ENOSPC)[number // 2 % 2])

        assert files.integrity(path) == ["ok"], (at, times)
        found = content(path)
        if ends == [0]:
            assert found == after, (at, times)
        else:
            assert str(path) in said, said
            assert found in (before, after) or "MigrationFailed" in said, (at, times, said)
            assert said.partition("(")[0] in ERRORS, said
        seen["finished" if ends == [0] else "old" if found == before else "new" if found == after else "recorded"] += 1
        assert files.query(path, "SELECT * FROM own") == [(1,)]
        assert no_lock_is_left(path)
        if action != "rollback" or found == before:
            ends, *_, said = do(path)
            assert ends == [0], said
        assert content(path) == after, (at, times)
        assert list(path.parent.glob("backups/*.partial")) == []
        shutil.rmtree(path.parent)
    print(f"{action} {journal}: {calls} calls, {dict(seen)}")
    assert seen["old"]


ERRORS = {"Unreadable", "BackupFailed", "MigrationFailed", "Locked"}


def test_the_command_line_names_the_database_and_ends_with_three(library, fresh, tmp_path):
    path = fresh("cli", "migrate", "delete")
    before = content(path)
    command = [sys.executable, "-m", "framework_schema", "migrate", path, "--source", "app", "--folder", fresh.folder]
    said = ""
    for call in (20, 40, 60, 80):
        environment = os.environ | {"LD_PRELOAD": str(library), "DISK_PATH": "homebrew.db", "DISK_FAILS_AT": str(call)}

        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)

        assert done.returncode == 3, done.stdout
        assert f"unreadable: {path}: " in done.stdout
        assert "Nothing was changed." in done.stdout
        assert "Traceback" not in done.stdout + done.stderr
        assert content(path) == before
        said += done.stdout
    assert "the disk reported an error" in said

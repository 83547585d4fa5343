"""How often a database makes us wait for the disk: counted with strace, against plain sqlite3."""

import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from script_texts import creates

from framework_schema.config import Config
from framework_schema.runner import Runner

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None
    or subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode != 0,
    reason="strace is not to be had here",
)
PLAIN = """
    import sqlite3, sys
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    for number in range(6):
        connection.execute(f"CREATE TABLE t{number} (a)")
    connection.execute("COMMIT")
"""
FLEET = """
    import sys
    from framework_schema import Config, Folder, migrate_fleet
    config = Config(backup="never", template=sys.argv[2] == "template", plan_cache=sys.argv[3] == "cache")
    targets = [f"sqlite:///{path}" for path in sys.argv[4:]]
    report = migrate_fleet(targets, [Folder(sys.argv[1])], jobs=1, config=config)
    assert not report.failed, report.failed
"""


@pytest.fixture
def waits(tmp_path, monkeypatch):
    """Run a program and return the waits that each file's folder cost."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def count(program, *args, of):
        log = tmp_path / "strace.log"
        command = [
            "strace",
            "-f",
            "-y",
            "-e",
            "trace=fsync,fdatasync",
            "-o",
            log,
            sys.executable,
            "-c",
            dedent(program),
        ]
        subprocess.run([*command, *map(str, args)], check=True, capture_output=True, text=True, timeout=120)
        return [len(re.findall(rf"\(\d+<{re.escape(str(path.parent))}[/>]", log.read_text())) for path in of]

    return count


@pytest.fixture
def place(tmp_path):
    """Name a database in a folder of its own."""

    def name(title):
        (tmp_path / title).mkdir()
        return tmp_path / title / "x.db"

    return name


@pytest.fixture
def source(folder):
    """Six scripts."""
    return folder({f"{number:03d}_t": creates(f"t{number}") for number in range(6)})


@pytest.fixture
def one_commit(waits, place):
    """The waits of one commit here, by SQLite itself, to a file that has content."""
    path = place("plain")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE before (a)")
    connection.close()
    (found,) = waits(PLAIN, path, of=[path])
    assert found
    return found


@pytest.mark.parametrize("cache", ["cache", "no cache"])
def test_one_commit_a_database_however_many_scripts(waits, place, source, one_commit, cache):
    paths = [place(f"fleet{number}") for number in range(4)]
    for path in paths:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE own (a)")
        connection.close()

    assert waits(FLEET, source.path, "no template", cache, *paths, of=paths) == [one_commit] * 4


def test_none_for_a_database_that_is_current(waits, place, source):
    path = place("current")
    Runner(path, [source], config=Config(template=False)).migrate()

    assert waits(FLEET, source.path, "template", "cache", path, of=[path]) == [0]


def test_two_for_a_copy_of_the_template(waits, place, source):
    paths = [place("fresh1"), place("fresh2")]

    assert waits(FLEET, source.path, "template", "cache", *paths, of=paths) == [2, 2]

"""A volume whose owner changed: the message names the very file that is in the way, and what mends it."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from framework_schema import permissions
from framework_schema.runner import Runner
from framework_schema.sources import framework
from framework_schema.wording import printable

OTHER = 1
"""Some other user, of every system."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a file to somebody else")

LEAVES = {
    "wal": "PRAGMA journal_mode = wal; INSERT INTO kept VALUES (1);",
    "journal": "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; UPDATE kept SET text = randomblob(3000);",
}


@pytest.fixture
def volume():
    """Make a folder with a database in it, both of this user."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "homebrew.db"
    Runner(path, [framework()]).migrate()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE kept (text)")
        connection.executemany("INSERT INTO kept VALUES (randomblob(?))", [(3000,)] * 50)
    connection.close()
    yield path
    shutil.rmtree(folder)


def crash(path, statements):
    """Leave as root what SQLite keeps beside a database while it works."""
    text = f"import os, sqlite3\nc = sqlite3.connect({str(path)!r}, isolation_level=None)\n"
    lines = "".join(f"c.execute({line!r}).fetchall()\n" for line in statements.split(";") if line.strip())
    subprocess.run([sys.executable, "-c", f"{text}{lines}os._exit(0)"], check=True)


def tell(path, *words):
    """Run the command as root that is let at no more than its own files, as every other user is."""
    capabilities = ["--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"]
    command = ["setpriv", *capabilities, sys.executable, "-m", "framework_schema", *words, str(path)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "500"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("left", "end"), [("wal", "-wal"), ("wal", "-shm"), ("journal", "-journal")])
def test_the_file_in_the_way_is_named_with_the_command_that_mends_it(volume, left, end):
    with sqlite3.connect(volume) as connection:
        connection.execute("ALTER TABLE Entry RENAME COLUMN commenced_at TO begun_at")
    connection.close()
    crash(volume, LEAVES[left])
    barred = Path(f"{volume}{end}")
    os.chown(barred, OTHER, OTHER)
    barred.chmod(0o600)

    for words in (["migrate", "--strict", "--backup"], ["doctor"]):
        code, told = tell(volume, *words)
        assert code != 0
        assert f"no permission to write {barred} (of " in told
        assert f"chown root {barred}\n" in told

    os.chown(barred, 0, 0)
    code, told = tell(volume, "migrate", "--strict", "--backup")
    assert code == 0, told
    assert "no permission" not in tell(volume, "doctor")[1]


def test_what_is_this_users_is_not_named(volume):
    assert permissions.barred(volume) == ()
    assert printable(permissions.remedy([volume])) == f"chown root {volume}"

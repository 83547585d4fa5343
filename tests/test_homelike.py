"""An app with the habits of the framework's real ones, healed by its owner's one line, on every history.

It has both config keys, makes tables at every start, saves by INSERT OR REPLACE,
inserts rows that leave columns out, and keeps old scripts in two folders. Its
container runs all of them before each start, and one of them drops columns.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import histories
import pytest
import sqlite_files as files
from test_gunicorn import port_of
from test_histories import all_rows, lost

from framework_schema.report import State
from framework_schema.runner import Runner
from framework_schema.sources import app_folders, installed

TESTS = Path(__file__).parent
pytestmark = pytest.mark.slow


@pytest.fixture
def root(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(TESTS / "apps" / "homelike", tmp_path / "homelike", ignore=ignored)


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


def environment(root):
    paths = f"{TESTS.parent}:{TESTS}:{root}"
    return os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}


def run_old_scripts(root, workdir):
    command = [sys.executable, root / "start_container.py"]
    subprocess.run(command, env=environment(root), cwd=workdir, check=True, timeout=120)


@contextmanager
def container(root, workdir):
    """Run the old scripts, then serve the app; gives a way to ask it, and what it logged so far."""
    run_old_scripts(root, workdir)
    log = workdir / "served.log"
    command = [sys.executable, "-m", "gunicorn", "-w", "2", "--bind", "127.0.0.1:0", "app:create_app()"]
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment(root), stdout=out, stderr=out, cwd=workdir)
    try:
        port = port_of(server, log)
        yield lambda path, **form: answer(port, path, form), lambda: log.read_text(encoding="utf-8")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def answer(port, path, form):
    """Send one request and return what the app says, as a value."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST" if form else "GET", path, urlencode(form), headers)
    found = connection.getresponse()
    body = found.read().decode()
    connection.close()
    assert found.status == 200, (path, found.status, body)
    return json.loads(body)


STATES = "SELECT target_state_name, target_state_color FROM EntryStateMilestone WHERE id = ?"


@pytest.mark.parametrize("name", histories.IDS)
def test_from_its_first_request_on_the_app_works_on_every_history_and_loses_nothing(historical, root, workdir, name):
    path = root / "data" / "template.db"
    path.parent.mkdir()
    shutil.copy(historical[name], path)
    run_old_scripts(root, workdir)  # what they drop of a user's own is gone before we are there
    before, said, made = all_rows(path), "", []

    with container(root, workdir) as (ask, log):
        assert "dashboards" in ask("/")
        refused = ask("/rows", token="healed")
        assert ask("/parameters", name="project_name", value="first") == ["first"]
        made.append(ask("/milestones", notes="first"))
        said += log()
    assert refused.keys() <= {difference.table for difference in Runner(path).drift(strict=True).refusing}
    inserted = all_rows(path)

    for start, known in (("second", "first"), ("third", "second"), ("fourth", "third")):
        with container(root, workdir) as (ask, log):
            assert ask("/")["project_name"] == known
            assert ask("/parameters", name="project_name", value=start) == [start]
            assert ask("/rows", token=start).keys() == refused.keys()
            made.append(ask("/milestones", notes=start))
            said += log()
        for milestone in made:
            assert files.query(path, STATES, milestone["id"]) == [(milestone["name"], milestone["color"])]

    assert Runner(path, [*installed(), *app_folders(root)]).migrate().state is State.CURRENT
    assert list(lost(before, path)) == []
    own = {"SystemParameters", "schema_migrations", "schema_migration_events"}  # what was saved again, and when
    assert [found for found in lost(inserted, path) if found[0] not in own] == []
    assert files.integrity(path) == ["ok"]
    assert [line for line in said.splitlines() if "WARNING" in line or "ERROR" in line] == []
    assert [item.name for item in workdir.iterdir()] == ["served.log"]

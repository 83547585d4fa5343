"""The package under a real server: many processes and threads, one old database, every request at once."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest
import sqlite_files as files

APPS = Path(__file__).parent / "apps"
ROOT = Path(__file__).parents[1]
DOCUMENTED = re.compile(
    r"framework_schema INFO (Running auto-migration check\.\.\.|Checking for critical schema updates\.\.\."
    r"|✓ (Applied|Created|Added column) \S.*|✓ Dashboard tables already exist|✓ Auto-migration completed)"
)
OF_GUNICORN = re.compile(r"\[\d{4}-\d\d-\d\d [^]]*\] \[\d+\] \[INFO\] ")

pytestmark = pytest.mark.slow


@contextmanager
def served(path, tmp_path, *options, **environment):
    """Serve ``tests/apps/served.py`` for ``path``; gives the port and the file of the log."""
    log = tmp_path / "served.log"
    env = (
        os.environ | {"SERVED_DATABASE": str(path), "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"} | environment
    )
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(APPS), "--bind", "127.0.0.1:0", *options, "served:app"]
    with log.open("w") as out:
        server = subprocess.Popen(command, env=env | environment, stdout=out, stderr=out, cwd=tmp_path)
    try:
        yield port_of(server, log), log
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def port_of(server, log):
    for _ in range(600):
        found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text(encoding="utf-8"))
        if found:
            return int(found[1])
        assert server.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.05)
    raise AssertionError("gunicorn did not start")


def answers(port, number):
    """Send ``number`` requests at the same moment; return how often each status came."""
    together = threading.Barrier(number)

    def get(_):
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        together.wait(30)
        connection.request("GET", "/")
        status = connection.getresponse().status
        connection.close()
        return status

    with ThreadPoolExecutor(number) as pool:
        return Counter(pool.map(get, range(number)))


def cut_off(port):
    """Send one request that gets no answer."""
    with suppress(OSError):
        answers(port, 1)


def other_lines(log):
    """Return every line that neither gunicorn nor the documentation accounts for."""
    lines = log.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not DOCUMENTED.fullmatch(line) and not OF_GUNICORN.match(line)]


@pytest.mark.parametrize("options", [pytest.param([], id="workers"), pytest.param(["--preload"], id="preload")])
def test_200_first_requests_at_once_are_all_served_and_each_script_runs_once(copy_of, tmp_path, options):
    path = copy_of("auto-newest-on-5289dd3")

    with served(path, tmp_path, "-w", "4", "--threads", "4", *options) as (port, log):
        outcome = answers(port, 200)

    assert outcome == {200: 200}
    runs = Counter(key for _, key, _ in files.events(path, "applied", "adopted", "failed"))
    assert set(runs.values()) == {1}
    recorded = [key for key, success in files.history(path) if key.startswith("framework/") and success]
    assert sorted(recorded) == sorted(runs)
    assert files.query(path, "SELECT count(*) FROM DashboardWidget WHERE title = 'Hello'") == [(200,)]
    assert files.integrity(path) == ["ok"]
    assert other_lines(log) == []


def test_startup_mode_migrates_before_the_first_request(copy_of, tmp_path):
    path = copy_of("auto-newest-on-5289dd3")

    with served(path, tmp_path, "--preload", "-w", "2", FLASK_FRAMEWORK_SCHEMA_MODE="startup") as (port, log):
        runs = Counter(key for _, key, _ in files.events(path, "applied", "adopted"))
        outcome = answers(port, 8)

    assert outcome == {200: 8}
    assert set(runs.values()) == {1}
    assert other_lines(log) == []


def test_a_script_that_fails_runs_once_however_many_workers_wait_for_it(copy_of, tmp_path):
    path = copy_of("auto-newest-on-5289dd3")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "001_fails.py").write_text(
        "import os, time\n\n\ndef migrate(migrator, database, *, fake=False):\n"
        "    if database.execute_sql('SELECT count(*) FROM schema_migrations').fetchone()[0]:\n"
        "        time.sleep(2)\n        raise ValueError('no such luck')\n"
    )
    folders = {"FLASK_FRAMEWORK_SCHEMA_FOLDERS": str(tmp_path / "scripts"), "FLASK_FRAMEWORK_SCHEMA_WAIT": "25"}

    with served(path, tmp_path, "-w", "8", "--threads", "1", **folders) as (port, log):
        outcome = answers(port, 32)

    assert outcome == {200: 32}
    assert files.events(path, "failed") == [("failed", "app/001_fails", "failed")]
    said = log.read_text(encoding="utf-8")
    assert said.count("ValueError: no such luck") == said.count("WARNING") > 1


def test_a_server_killed_while_it_migrates_costs_nobody_else_anything(copy_of, tmp_path):
    """No lock row, no lock file, no running flag: the next server finds a whole database and goes on."""
    path = copy_of("auto-newest-on-5289dd3")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "001_slow.py").write_text(
        "import os, time\n\n\ndef migrate(migrator, database, *, fake=False):\n"
        "    migrator.sql('CREATE TABLE slow (id INTEGER)')\n"
        "    if 'SLOW' in os.environ:\n        open(os.environ['SLOW'], 'w').close()\n        time.sleep(60)\n"
    )
    folders = {"FLASK_FRAMEWORK_SCHEMA_FOLDERS": str(tmp_path / "scripts")}
    reached = tmp_path / "reached"

    with served(path, tmp_path, "-w", "1", "--threads", "2", SLOW=str(reached), **folders) as (port, log):
        first = threading.Thread(target=cut_off, args=(port,))
        first.start()
        while not reached.exists():
            time.sleep(0.02)
        worker = re.findall(r"\[(\d+)\] \[INFO\] Booting worker", log.read_text(encoding="utf-8"))[0]
        os.kill(int(worker), signal.SIGKILL)
        first.join()
    with served(path, tmp_path, "-w", "1", "--threads", "2", **folders) as (port, log):
        outcome = answers(port, 8)

    assert outcome == {200: 8}
    assert files.integrity(path) == ["ok"]
    assert ("app/001_slow", True) in files.history(path)


def test_the_environment_says_that_workers_only_check(copy_of, tmp_path):
    path = copy_of("auto-newest-on-5289dd3")

    with served(path, tmp_path, FRAMEWORK_SCHEMA_MODE="check") as (port, log):
        assert set(answers(port, 4)) == {200}

    assert [key for key, _ in files.history(path) if key.startswith("framework/")] == []
    assert "FRAMEWORK_SCHEMA_MODE is check" in log.read_text(encoding="utf-8")

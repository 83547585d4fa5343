"""An app under load while migrations of every kind land and other processes work on its database.

``FRAMEWORK_SCHEMA_SOAK`` is for how many seconds on each engine, 4 by default;
at least one migration of each kind lands.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
import servers
import sqlite_files as files
import zygote
from conftest import Engine
from script_texts import creates, script

from framework_schema.sources import Folder, installed

SECONDS = float(os.environ.get("FRAMEWORK_SCHEMA_SOAK", "4"))
IS_LONG = SECONDS >= 30
"""A long run has the framework's schema as well, which takes a while to be made."""
WRITERS, WORKERS, LANDINGS = 6, 3, 60
DOCUMENTED = ("RuntimeError: not yet", " newer than this release knows")
"""What a command says that met the failing script, or had read the scripts before another one landed and ran."""
TESTS = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(TESTS.parent),
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONIOENCODING": "utf-8",
}

ITEM = """
@migrator.create_model
class Item(pw.Model):
    writer = pw.CharField(max_length=20)
    number = pw.IntegerField()
    touched = pw.IntegerField(default=0, constraints=[pw.SQL("DEFAULT 0")])
    class Meta:
        table_name = "item"
@migrator.create_model
class Done(pw.Model):
    name = pw.CharField(max_length=40)
    class Meta:
        table_name = "done"
"""
ALONE = {
    "sqlite": "database.execute_sql('VACUUM')",
    "postgresql": "database.execute_sql('CREATE INDEX CONCURRENTLY IF NOT EXISTS alone_{n} ON item (number)')",
    "mariadb": "database.execute_sql('OPTIMIZE TABLE item')",
}


def data(n):
    return (
        f"migrator.sql(\"INSERT INTO done (name) VALUES ('data_{n}')\")\n"
        'migrator.sql("UPDATE item SET touched = touched + 1")'
    )


def landings(engine, n):
    """Yield what lands in one round: name, script, how it is applied, and what is done by hand before."""
    yield "table", creates(f"table_{n}"), "migrate", None
    default = "default='x', constraints=[pw.SQL(\"DEFAULT 'x'\")]"  # in the database too: the app does not name it
    column = f"col_{n}=pw.CharField(max_length=20, {default}), old_{n}=pw.TextField(null=True)"
    yield "column", script(f"migrator.add_fields('item', {column})"), "migrate", None
    yield "rename", script(f"migrator.rename_field('item', 'old_{n}', 'new_{n}')"), "migrate", None
    loose = f"ALTER TABLE item ADD COLUMN loose_{n} VARCHAR(20)"
    yield "strict", script(f"migrator.add_fields('item', loose_{n}=pw.IntegerField(null=True))"), "strict", loose
    yield "data", script(data(n)), "migrate", None
    bad = f"migrator.sql('CREATE TABLE bad_{n} (x INTEGER)')"
    yield "failing", script(f"{bad}\nraise RuntimeError('not yet')"), "fails", None
    yield "failing", script(bad), "migrate", None
    yield "alone", script(ALONE[engine.name].format(n=n), head="atomic = False"), "migrate", None
    yield "mixed", script(f"migrator.add_index('item', 'col_{n}')\n{data(f'{n}_mixed')}"), "migrate", None


@pytest.fixture(params=["sqlite", "sqlite wal", "postgresql", "mariadb"])
def soaked(request, tmp_path):
    """A database of each kind; SQLite with both kinds of journal."""
    name, _, journal = request.param.partition(" ")
    if name == "sqlite":
        engine = Engine(name, str(tmp_path / "app.db"))
        engine.sql(f"PRAGMA journal_mode = {journal or 'delete'}")
        yield engine
        return
    with servers.Fresh(name) as fresh:
        yield Engine(name, fresh.url)


def of_app(engine, folder):
    """Return the environment that tells the app what it serves, and ``framework-schema`` where to put copies."""
    env = ENVIRONMENT | {"SERVED_DATABASE": engine.url, "FLASK_FRAMEWORK_SCHEMA_FOLDERS": str(folder)}
    copies = str(folder.parent / "copies")
    env |= {"FRAMEWORK_SCHEMA_BACKUP_DIR": copies, "FLASK_FRAMEWORK_SCHEMA_BACKUP_DIR": copies}
    return env if IS_LONG else env | {"SOAKED_ALONE": str(folder)}


@contextmanager
def served(engine, folder, log):
    """Serve the app with several workers; gives the process and the port."""
    env = of_app(engine, folder)
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(TESTS / "apps"), "--bind", "127.0.0.1:0"]
    command += ["-w", str(WORKERS), "soaked:app"]
    with log.open("w") as out:
        server = subprocess.Popen(command, env=env, stdout=out, stderr=out, cwd=log.parent)
    try:
        while not (found := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text("utf-8"))):
            assert server.poll() is None, log.read_text("utf-8")
            time.sleep(0.05)
        yield server, int(found[1])
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


class Client(threading.Thread):
    """Writes one row after another, and remembers what it was told is stored."""

    def __init__(self, port, name, stop):
        super().__init__()
        self.port, self.writer, self.stop = port, name, stop
        self.stored, self.answers, self.longest = set(), Counter(), 0.0

    def run(self):
        for number in itertools.count():
            if self.stop.is_set():
                return
            started = time.monotonic()
            answer = self.send(number)
            self.longest = max(self.longest, time.monotonic() - started)
            self.answers[answer] += 1
            if answer == 200:
                self.stored.add((self.writer, number))
            time.sleep(0.01)

    def send(self, number):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", f"/{self.writer}/{number}")
            return connection.getresponse().status
        except (OSError, HTTPException) as error:
            return repr(error)
        finally:
            connection.close()


class Others(threading.Thread):
    """Runs the commands that an operator runs, one after another, each in a process of its own."""

    COMMANDS = (
        (["status"], {0, 1}),
        (["migrate", "--no-backup"], {0, 3}),
        (["backup"], {0}),
        (["check"], {0, 1}),
        (["history", "--limit", "5"], {0}),
    )

    def __init__(self, engine, folder, stop):
        super().__init__()
        self.engine, self.folder, self.stop = engine, folder, stop
        self.ends, self.wrong = Counter(), []

    def run(self):
        for words, wanted in itertools.cycle(self.COMMANDS):
            if self.stop.is_set() and len(self.ends) >= len(self.COMMANDS):
                return
            done = subprocess.run(
                self.command(words), env=of_app(self.engine, self.folder), cwd=TESTS / "apps",
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            self.ends[f"{words[0]} {done.returncode}"] += 1
            is_meant = any(text in done.stdout for text in DOCUMENTED)
            if done.returncode not in wanted or (done.returncode == 3 and not is_meant):
                self.wrong.append((words, done.returncode, done.stdout[-2000:], done.stderr[-2000:]))

    def command(self, words):
        """Return the fleet's command, or in a short run the app's own, which leaves the framework's scripts out."""
        if not IS_LONG:
            return [sys.executable, "-m", "flask", "--app", "soaked", "schema", *words, "--timeout", "60"]
        more = ["--folder", str(self.folder)] if words[0] in ("status", "migrate", "check") else []
        return [sys.executable, "-m", "framework_schema", *words, self.engine.url, "--timeout", "60", *more]


class Lander:
    """Lets one script after another land, applied by a process of its own."""

    def __init__(self, engine, folder, processes):
        self.engine, self.folder, self.processes = engine, folder, processes
        self.landed, self.wrong, self.numbers = Counter(), [], itertools.count(2)

    def land(self, kind, text, how, by_hand):
        if by_hand:
            self.engine.sql(by_hand)
        number = next(self.numbers) if how == "fails" or kind != "failing" else self.failed
        self.failed = number
        place = self.folder / f"{number:03}_{kind}.py"
        place.with_suffix(".new").write_text(text)
        place.with_suffix(".new").replace(place)
        action = "migrate" if how == "fails" else how
        settings = {"backup": "never"}
        ends, *_ = self.processes(action, self.engine.url, folder=self.folder, as_app=IS_LONG, settings=settings)
        self.landed[f"{kind}{' (fails)' * (how == 'fails')}"] += 1
        if (ends == [0]) == (how == "fails"):
            self.wrong.append((place.name, how, ends))


@pytest.mark.slow
def test_every_write_that_was_acknowledged_is_there_after_migrations_of_every_kind(soaked, tmp_path, capfd):
    folder, log = tmp_path / "scripts", tmp_path / "served.log"
    folder.mkdir()
    (folder / "001_item.py").write_text(script(ITEM))
    stop, pace = threading.Event(), SECONDS / LANDINGS
    with zygote.started() as processes, served(soaked, folder, log) as (server, port):
        clients = [Client(port, f"w{n}", stop) for n in range(WRITERS)]
        others, lander = Others(soaked, folder, stop), Lander(soaked, folder, processes)
        for thread in (*clients, others):
            thread.start()
        try:
            ends_at = time.monotonic() + SECONDS
            for round in itertools.count(1):
                for landing in landings(soaked, round):
                    started = time.monotonic()
                    lander.land(*landing)
                    time.sleep(max(pace - (time.monotonic() - started), 0))
                server.send_signal(signal.SIGHUP)  # new workers, whose first requests find a new script or none
                if time.monotonic() >= ends_at:
                    break
        finally:
            stop.set()
            for thread in (*clients, others):
                thread.join()

    answers = sum((client.answers for client in clients), Counter())
    stored = set().union(*(client.stored for client in clients))
    told = {
        "engine": soaked.name, "stored": len(stored), "answers": {str(k): v for k, v in answers.items()},
        "longest": round_(max(client.longest for client in clients)), "landed": dict(lander.landed),
        "commands": dict(others.ends),
    }  # fmt: skip
    print(json.dumps(told))
    assert lander.wrong == [], capfd.readouterr().err[-3000:]
    assert others.wrong == []
    assert set(answers) <= {200, 503}, log.read_text("utf-8")[-5000:]
    assert answers[200] > answers[503]
    found = soaked.sql("SELECT writer, number FROM item")
    assert stored <= set(found)
    assert len(found) == len(set(found)) == len(stored), "what was refused was not stored, and nothing twice"
    assert not IS_LONG or soaked.value("SELECT count(*) FROM \"Dashboard\" WHERE name LIKE 'w%'") == len(stored)
    assert_all_is_applied_once(soaked, folder, round)


def round_(seconds):
    return float(f"{seconds:.2f}")


def assert_all_is_applied_once(engine, folder, rounds):
    names = sorted(path.stem for path in folder.glob("*.py"))
    done = [name for (name,) in engine.sql("SELECT name FROM done")]
    assert sorted(done) == sorted(f"data_{n}{end}" for n in range(1, rounds + 1) for end in ("", "_mixed"))
    rows = dict(engine.sql('SELECT migration_name, success FROM "schema_migrations"'))
    assert [rows[f"app/{name}"] for name in names] == [1] * len(names)
    kinds = Counter(
        key for key, kind in engine.sql("SELECT migration_name, kind FROM schema_migration_events") if kind == "applied"
    )
    assert {kinds[f"app/{name}"] for name in names} <= {0, 1}
    sources = (*installed(), Folder(folder, "app", ("framework",))) if IS_LONG else (Folder(folder),)
    assert not engine.runner(*sources).drift(strict=True)
    assert engine.runner(*sources).migrate(strict=True).is_wanted
    if engine.name == "sqlite":
        assert files.integrity(engine.url) == ["ok"]
        assert files.orphans(engine.url) == set()

"""What an app's operator sees of the first request without setting anything up, and what a wrong argument is told."""

import logging
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlite_files as files
from flask import Flask
from script_texts import creates, script

import framework_schema
from framework_schema import extension
from framework_schema.errors import ConfigError

APP = """
import os
from flask import Flask
import framework_schema
app = Flask(__name__)
app.config["DATABASE_PATH"] = os.environ["SERVED_DATABASE"]
framework_schema.init_app(app)
@app.get("/")
def home():
    return "served"
"""
LINES = ["Running auto-migration check...", "Checking for critical schema updates...", "✓ Auto-migration completed"]
SERVERS = {
    "flask run": ["flask", "--app", "plain", "run", "--port", "{port}"],
    "flask run --debug": ["flask", "--app", "plain", "run", "--debug", "--no-reload", "--port", "{port}"],
    "gunicorn": ["gunicorn", "--bind", "127.0.0.1:{port}", "plain:app"],
}


@contextmanager
def served(command, tmp_path, path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "plain.py").write_text(APP)
    ours = {"SERVED_DATABASE": str(path), "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}
    env = os.environ | ours
    log = tmp_path / "served.log"
    with log.open("w") as out:
        words = [sys.executable, "-m", *(word.format(port=port) for word in command)]
        server = subprocess.Popen(words, env=env, stdout=out, stderr=out, cwd=tmp_path)
    try:
        yield f"http://127.0.0.1:{port}/", log
    finally:
        server.send_signal(signal.SIGTERM)  # SIGINT is ignored below a shell that runs us in the background
        server.wait(30)


def get(url):
    for _ in range(300):
        try:
            return urllib.request.urlopen(url, timeout=60).read()
        except ConnectionError:
            time.sleep(0.1)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
            time.sleep(0.1)
    raise AssertionError("the server did not start")


@pytest.mark.parametrize("server", SERVERS)
def test_what_operators_look_for_is_visible_without_any_set_up(server, tmp_path):
    path = tmp_path / "served.db"

    with served(SERVERS[server], tmp_path, path) as (url, log):
        assert get(url) == b"served"

    told = log.read_text(encoding="utf-8")
    for line in LINES:
        assert len(re.findall(re.escape(line), told)) == 1, told
    assert f"✓ Created database {path}" in told
    assert "✓ Created table Dashboard" in told


TWO_APPS = """
import logging, sys
from flask import Flask
import framework_schema
{before}
for number in (1, 2):
    app = Flask(f"app{{number}}")
    framework_schema.init_app(app, f"{{sys.argv[1]}}/{{number}}.db")
    app.test_client().get("/")
    {between}
print(logging.getLogger().level, logging.getLogger("framework_schema").level, len(logging.getLogger().handlers))
"""


def test_an_apps_own_set_up_is_left_as_it_is(python, tmp_path):
    own = "logging.basicConfig(level=logging.WARNING, stream=sys.stdout)"

    done = python(TWO_APPS.format(before=own, between="pass"), tmp_path)

    assert done.stdout.split() == ["30", "0", "1"]
    assert "uto-migration" not in done.stdout + done.stderr


def test_set_up_that_comes_later_gets_each_line_once(python, tmp_path):
    own = "logging.basicConfig(level=logging.INFO, stream=sys.stdout)"

    done = python(TWO_APPS.format(before="", between=own), tmp_path, env={"PYTHONIOENCODING": "utf-8"})

    counts = [text.count("✓ Auto-migration completed") for text in (done.stdout, done.stderr)]
    assert counts == [1, 1]


# A script that was mended


def test_a_failed_migration_is_tried_at_once_when_its_script_was_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(extension, "LOOK_AGAIN", 0.0)
    (tmp_path / "migrations").mkdir()
    own = tmp_path / "migrations" / "001_own.py"
    own.write_text(script("1 / 0"))
    app = Flask("app", root_path=str(tmp_path))
    app.config["FRAMEWORK_SCHEMA_ON_ERROR"] = "unavailable"
    app.config["FRAMEWORK_SCHEMA_RETRY_AFTER"] = 3600
    app.add_url_rule("/", "home", view_func=lambda: "served")
    framework_schema.init_app(app, str(tmp_path / "a.db"))
    client = app.test_client()

    assert [client.get("/").status_code for _ in range(3)] == [503] * 3
    assert len(files.events(tmp_path / "a.db", "failed")) == 1
    own.write_text(creates("own"))

    assert client.get("/").status_code == 200
    assert "own" in files.tables(tmp_path / "a.db")


# A mistyped name


def test_a_mistyped_path_says_that_it_made_a_database_and_what_is_beside_it(tmp_path, caplog):
    caplog.set_level(logging.INFO, "framework_schema")
    files.run(tmp_path / "homebrew.db", "CREATE TABLE Entry (id INTEGER PRIMARY KEY)")
    app = Flask("app")
    framework_schema.init_app(app, str(tmp_path / "hombrew.db"))

    app.test_client().get("/")

    assert f"✓ Created database {tmp_path / 'hombrew.db'}, which was not there" in caplog.messages
    assert any("Did you mean homebrew.db" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(lambda app, connection: (connection,), "where the Flask app belongs", id="a connection alone"),
        pytest.param(lambda app, connection: ("x.db",), "where the Flask app belongs", id="a path alone"),
        pytest.param(lambda app, connection: (app, connection), "Give its path", id="a connection beside the app"),
    ],
)
def test_a_wrong_argument_is_told_what_belongs_there(arguments, says):
    connection = sqlite3.connect(":memory:")

    with pytest.raises(ConfigError, match=says):
        framework_schema.init_app(*arguments(Flask("app"), connection))

    connection.close()

import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import ModuleType

import peewee as pw
import pytest
import sqlite_files as files
from click.testing import CliRunner
from flask import Flask, g
from flask.cli import FlaskGroup
from playhouse.flask_utils import FlaskDB
from script_texts import creates, script, sql

import framework_schema
from framework_schema.errors import ConfigError
from framework_schema.extension import AppSchema, FrameworkSchema, project_roots
from framework_schema.models import Dashboard
from framework_schema.models import database as models_database
from framework_schema.runner import Runner

ROOT = Path(__file__).parents[1]
START = ["Running auto-migration check...", "Checking for critical schema updates..."]
END = "✓ Auto-migration completed"
CURRENT = "✓ Dashboard tables already exist"
FAILING = {"001_broken": script("migrator.sql('CREATE TABLE half (id INTEGER)')\nraise RuntimeError('no such luck')")}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Let no variable of the machine name a database."""
    for name in ("DATABASE_URL", "DATABASE_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def log(caplog):
    """Give the lines of our logger as (level, text)."""
    caplog.set_level(logging.INFO, "framework_schema")

    def lines(level=None):
        found = [(r.levelname, r.getMessage()) for r in caplog.records if r.name.startswith("framework_schema")]
        return [text for name, text in found if level in (None, name)]

    return lines


@pytest.fixture
def make_app(tmp_path):
    """Make an app at ``tmp_path`` with one view; ``settings`` without the prefix in capitals."""

    def make(database=None, *, name="downstream", init=True, sources=None, config=None, **settings):
        app = Flask(name, root_path=str(tmp_path))
        app.config.update(config or {})
        app.config.update({f"FRAMEWORK_SCHEMA_{key.upper()}": value for key, value in settings.items()})
        app.add_url_rule("/", "home", view_func=lambda: "served")
        if init:
            framework_schema.init_app(app, database, sources)
        return app

    return make


def get(app):
    return app.test_client().get("/")


def schema(app):
    return app.extensions["framework_schema"]


def hooks(app):
    return app.before_request_funcs.get(None, [])


def write_scripts(directory, scripts):
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in scripts.items():
        (directory / f"{name}.py").write_text(text)


def applied(path, source="framework"):
    return [key for key, success in files.history(path) if success and key.startswith(f"{source}/")]


# Before the first request


def test_init_app_opens_and_imports_nothing(path, python):
    python(
        """
        import sys
        from flask import Flask
        import framework_schema
        app = Flask("downstream")
        app.config["DATABASE_PATH"] = sys.argv[1]
        framework_schema.init_app(app)
        loaded = {"rich", "peewee_migrate", "framework_schema.runner", "framework_schema.models"} & sys.modules.keys()
        assert not loaded, loaded
        """,
        path,
    )

    assert not path.exists()


def flask_command(tmp_path, *arguments, **environment):
    (tmp_path / "hello.py").write_text(
        "from flask import Flask\nimport framework_schema\n\napp = Flask(__name__)\n"
        "app.config['DATABASE_PATH'] = 'homebrew.db'\napp.config.from_prefixed_env()\n"
        "framework_schema.init_app(app)\n\n\n@app.cli.command()\ndef greet():\n    print('hello')\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "hello", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["first_request", "startup"])
@pytest.mark.parametrize("command", ["routes", "greet"])
def test_a_flask_command_never_migrates(tmp_path, path, mode, command):
    done = flask_command(tmp_path, command, FLASK_FRAMEWORK_SCHEMA_MODE=mode)

    assert done.returncode == 0, done.stderr
    assert not path.exists()


@pytest.mark.parametrize(
    ("command", "is_child", "migrates"),
    [
        pytest.param(["run"], False, True, id="run"),
        pytest.param(["run", "--reload"], False, False, id="parent of the reloader"),
        pytest.param(["run", "--reload"], True, True, id="child of the reloader"),
        pytest.param(["--debug", "run"], False, False, id="parent of the reloader in debug mode"),
        pytest.param(["routes"], False, False, id="another command"),
    ],
)
def test_in_startup_mode_flask_run_migrates_in_the_process_that_serves(
    path, make_app, monkeypatch, command, is_child, migrates
):
    for name, value in {"FLASK_RUN_FROM_CLI": "false", "FLASK_DEBUG": "0", "FLASK_SKIP_DOTENV": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true" if is_child else "false")
    served = []
    monkeypatch.setattr("flask.cli.run_simple", lambda *arguments, **_: served.append(arguments))

    done = CliRunner().invoke(FlaskGroup(create_app=lambda: make_app(path, mode="startup")), command)

    assert done.exit_code == 0, done.output
    assert bool(served) is ("run" in command)
    assert path.exists() is migrates


def test_a_second_init_app_is_refused(make_app, path):
    app = make_app(path)

    with pytest.raises(RuntimeError, match="called twice for the app 'downstream'") as caught:
        FrameworkSchema().init_app(app, path)

    assert isinstance(caught.value, ConfigError)
    assert len(hooks(app)) == 1


def test_a_setting_that_cannot_be_meant_is_refused_at_once(make_app):
    app = make_app(init=False, mode="first_reqest")

    with pytest.raises(ConfigError, match="FRAMEWORK_SCHEMA_MODE is 'first_reqest'"):
        framework_schema.init_app(app)

    assert "framework_schema" not in app.extensions


def test_one_extension_serves_several_factories(make_app, tmp_path):
    extension = FrameworkSchema()
    apps = [make_app(init=False, name=name, config={"DATABASE": f"{tmp_path}/{name}.db"}) for name in ("a", "b")]

    for app in apps:
        extension.init_app(app)
        get(app)
        with app.app_context():
            assert extension.database is schema(app).database
            assert extension.status().name == f"{tmp_path}/{app.name}.db"
            assert extension.runner(align="strict").config.align == "strict"

    assert applied(tmp_path / "a.db") == applied(tmp_path / "b.db") != []


def test_the_extension_says_when_the_current_app_never_called_it(make_app):
    app = make_app(init=False)

    with app.app_context(), pytest.raises(ConfigError, match="has no schema under care"):
        FrameworkSchema().status()


# The first request


def test_the_first_request_migrates_says_so_and_leaves_no_hook(copy_of, make_app, log):
    path = copy_of("auto-newest-on-5289dd3")
    app = make_app(path)

    assert get(app).text == "served"

    assert "framework/004_dashboards" in applied(path)
    lines = log()
    assert lines[:2] == START
    assert lines[-1] == END
    assert all(line.startswith("✓ ") for line in lines[2:])
    assert log("WARNING") == []
    assert dict(app.before_request_funcs) == {}


def test_a_current_database_is_not_written_to(path, make_app, log):
    Runner(path).migrate()
    before = files.digest(path)
    app = make_app(path)

    assert get(app).status_code == 200

    assert files.digest(path) == before
    assert log() == [*START, CURRENT, END]


def test_the_first_request_to_a_current_database_opens_one_connection(path, python):
    Runner(path).migrate()

    done = python(
        """
        import sys
        from flask import Flask
        import framework_schema

        app = Flask("downstream")
        app.config["DATABASE_PATH"] = sys.argv[1]
        framework_schema.init_app(app)
        app.add_url_rule("/", "home", view_func=lambda: "served")
        opened = []
        sys.addaudithook(lambda event, values: opened.append(values[0]) if event == "sqlite3.connect" else None)
        print(app.test_client().get("/").text, len(opened))
        """,
        path,
    )

    assert done.stdout == "served 1\n"


def test_the_first_request_to_a_current_database_imports_nothing_that_migrates(path, python):
    Runner(path).migrate()

    done = python(
        """
        import sys
        from flask import Flask
        import framework_schema

        app = Flask("downstream")
        app.config["DATABASE_PATH"] = sys.argv[1]
        framework_schema.init_app(app)
        app.test_client().get("/")
        print(len(app.before_request_funcs), *sys.modules)
        """,
        path,
    )

    hooks, *modules = done.stdout.split()
    assert hooks == "0"
    assert "framework_schema.sources" in modules
    assert not {"framework_schema.runner", "framework_schema.sqlite", "playhouse.reflection"} & set(modules)


@pytest.mark.parametrize(
    "database",
    [
        pytest.param(str, id="path"),
        pytest.param(pw.SqliteDatabase, id="the app's object"),
        pytest.param(lambda path: pw.SqliteDatabase(path, pragmas={"journal_mode": "wal"}), id="with pragmas"),
    ],
)
def test_a_script_that_was_edited_or_added_since_is_noticed_by_the_next_app(path, make_app, folder, database):
    scripts = folder({"001_a": creates("one")})
    for text in (creates("one"), creates("two")):  # as long as each other
        (scripts.path / "001_a.py").write_text(text)
        get(make_app(database(str(path)), sources=[scripts]))
    assert {"one", "two"} <= files.tables(path).keys()  # an edited script is aligned with, and not run again

    (scripts.path / "002_b.py").write_text(creates("three"))
    get(make_app(database(str(path)), sources=[scripts]))

    assert {"one", "two", "three"} <= files.tables(path).keys()


def test_what_was_lost_by_hand_comes_back_and_is_named(path, make_app, log):
    Runner(path).migrate()
    files.run(path, "DROP TABLE AISummaryCache; ALTER TABLE Dashboard DROP COLUMN description")

    get(make_app(path))

    assert "✓ Created table AISummaryCache" in log()
    assert "✓ Added column Dashboard.description" in log()
    assert log().count("✓ Created table AISummaryCache") == 1


def test_it_runs_before_every_other_function_of_the_app(path, make_app):
    app = make_app(init=False)
    seen = []
    app.before_request(lambda: seen.append(path.exists()))
    framework_schema.init_app(app, path)
    app.before_request(lambda: seen.append(path.exists()))

    get(app)

    assert seen == [True, True]
    assert len(hooks(app)) == 2


def test_lists_that_other_requests_iterate_over_are_never_changed(path, make_app):
    app = make_app(init=False)
    app.before_request(lambda: None)
    first = hooks(app)
    framework_schema.init_app(app, path)
    second = hooks(app)
    lengths = len(first), len(second)

    get(app)

    assert (len(first), len(second)) == lengths == (1, 2)
    assert hooks(app) == first


def test_the_apps_connection_and_loggers_stay_as_they_were(path, make_app):
    database = pw.SqliteDatabase(path, pragmas={"foreign_keys": 1})
    database.connect()
    connection = database.connection()
    root, level = list(logging.root.handlers), logging.getLogger("framework_schema").level
    app = make_app(database)

    with database.atomic():
        assert get(app).status_code == 200
        assert database.transaction_depth() == 1

    assert database.connection() is connection
    assert database.pragma("foreign_keys") == 1
    assert logging.root.handlers == root
    assert logging.getLogger("framework_schema").level == level
    assert logging.getLogger("framework_schema").handlers == []
    database.close()


def test_a_flask_db_finds_its_connection_unopened(path, make_app):
    app = make_app(init=False, config={"DATABASE": f"sqlite:///{path}"})
    flask_db = FlaskDB(app)
    framework_schema.init_app(app)
    app.add_url_rule("/open", view_func=lambda: str(not flask_db.database.is_closed()))

    assert app.test_client().get("/open").text == "True"

    assert flask_db.database.is_closed()
    assert applied(path)


def test_threads_of_two_apps_migrate_each_database_once(tmp_path, copy_of, make_app, log):
    paths = [copy_of("auto-newest-on-5289dd3", tmp_path / f"{name}.db") for name in "ab"]
    apps = [make_app(path, name=path.stem) for path in paths]
    for app in apps:
        app.add_url_rule("/count", view_func=lambda: str(Dashboard.select().count()))
    together = threading.Barrier(16)

    def first(app):
        together.wait(10)
        return app.test_client().get("/count").status_code

    with ThreadPoolExecutor(16) as pool:
        outcome = list(pool.map(first, apps * 8))

    assert outcome == [200] * 16
    for path in paths:
        keys = [key for _, key, _ in files.events(path, "applied", "adopted", "failed")]
        assert len(keys) == len(set(keys)) > 20
    assert log().count(END) == 2


# Waiting


def test_a_request_waits_no_longer_than_it_should_for_another_thread(path, make_app, folder, monkeypatch):
    inside, go_on = threading.Event(), threading.Event()
    migrate = Runner.migrate

    def slow(self, **settings):
        inside.set()
        go_on.wait(10)
        return migrate(self, **settings)

    monkeypatch.setattr(Runner, "migrate", slow)
    app = make_app(path, wait=0.2)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(get, app)
        inside.wait(10)
        started = time.monotonic()
        second = get(app)
        waited = time.monotonic() - started
        go_on.set()

    assert (second.status_code, second.headers["Retry-After"]) == (503, "1")
    assert 0.2 <= waited < 2
    assert first.result().status_code == 200
    assert get(app).status_code == 200


def test_a_locked_database_costs_a_503_and_later_requests_nothing(copy_of, make_app, log):
    path = copy_of("auto-newest-on-5289dd3")
    app = make_app(path, wait=0.3)

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        refused = [get(app), get(app)]
        waited = time.monotonic() - started
        other.execute("ROLLBACK")
    served = get(app)

    assert [(r.status_code, r.headers["Retry-After"]) for r in refused] == [(503, "1")] * 2
    assert waited < 4
    assert served.status_code == 200
    assert len(log("WARNING")) == 1
    assert str(path) in log("WARNING")[0]
    assert hooks(app) == []


@pytest.mark.parametrize("wait", [-1, 0, "inf"])
def test_any_number_can_be_a_wait(copy_of, make_app, wait, tmp_path):
    write_scripts(tmp_path / "migrations", FAILING)
    app = make_app(copy_of("auto-newest-on-5289dd3"), wait=wait, retry_after="inf", on_error="unavailable")

    refused = get(app)

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "86400")


# Failing


def test_a_failure_is_one_warning_with_all_that_helps(path, make_app, log, tmp_path):
    write_scripts(tmp_path / "app" / "migrations", FAILING)
    app = make_app(path)

    assert [get(app).status_code for _ in range(3)] == [200] * 3

    (warning,) = log("WARNING")
    for part in (str(path), "app/001_broken", "no such luck", f"framework-schema migrate {path}", "in 60 s"):
        assert part in warning
    assert END not in log()
    assert applied(path)
    assert "half" not in files.tables(path)
    assert files.events(path, "failed") == [("failed", "app/001_broken", "failed")]


def test_a_failure_elsewhere_is_not_repeated_here(path, make_app, log, tmp_path):
    """Two apps stand for two processes: what they share is the database."""
    write_scripts(tmp_path / "migrations", FAILING)
    get(make_app(path))

    assert get(make_app(path)).status_code == 200

    assert len(files.events(path, "failed")) == 1
    assert "was not changed since" in log("WARNING")[1]
    assert "no such luck" in log("WARNING")[1]


def test_a_mended_script_is_tried_at_once(path, make_app, tmp_path):
    write_scripts(tmp_path / "migrations", FAILING)
    get(make_app(path))
    write_scripts(tmp_path / "migrations", {"001_broken": creates("whole")})

    app = make_app(path, on_error="unavailable")

    assert get(app).status_code == 200
    assert applied(path, "app") == ["app/001_broken"]
    assert hooks(app) == []


def test_a_failure_is_tried_again_after_a_while(path, make_app, tmp_path):
    write_scripts(tmp_path / "migrations", FAILING)
    app = make_app(path, retry_after=0.2)
    get(app)
    write_scripts(tmp_path / "migrations", {"001_broken": creates("whole")})
    get(app)
    too_early = applied(path, "app")

    time.sleep(0.25)
    get(app)

    assert too_early == []
    assert applied(path, "app") == ["app/001_broken"]
    assert hooks(app) == []


def test_one_cause_is_one_warning_however_often_and_by_whom_it_is_met(path, make_app, tmp_path, log):
    write_scripts(tmp_path / "migrations", FAILING)
    first, second = make_app(path, retry_after=0.1), make_app(path, retry_after=0.1)

    for _ in range(3):
        assert get(first).status_code == get(second).status_code == 200
        time.sleep(0.11)

    assert len(log("WARNING")) == 2


def test_an_app_may_be_unavailable_until_its_database_is_right(path, make_app, tmp_path, log):
    write_scripts(tmp_path / "migrations", FAILING)
    app = make_app(path, on_error="unavailable", retry_after=0.2)

    refused = [get(app) for _ in range(2)]
    write_scripts(tmp_path / "migrations", {"001_broken": creates("whole")})
    time.sleep(0.25)

    assert [(r.status_code, r.headers["Retry-After"]) for r in refused] == [(503, "1")] * 2
    assert get(app).status_code == 200
    assert len(log("WARNING")) == 1


def test_while_a_failed_migration_is_retried_other_requests_are_served(path, make_app, tmp_path, monkeypatch):
    write_scripts(tmp_path / "migrations", FAILING)
    app = make_app(path, retry_after=0)
    get(app)
    inside, go_on = threading.Event(), threading.Event()

    def slow(self, **settings):
        inside.set()
        go_on.wait(10)
        raise RuntimeError("again")

    monkeypatch.setattr(Runner, "migrate", slow)
    with ThreadPoolExecutor(1) as pool:
        retry = pool.submit(get, app)
        inside.wait(10)
        started = time.monotonic()
        assert get(app).status_code == 200
        assert time.monotonic() - started < 1
        go_on.set()
        assert retry.result().status_code == 200


def test_an_error_nobody_foresaw_never_reaches_the_app(path, make_app, log, monkeypatch):
    def fail(self, **settings):
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(Runner, "migrate", fail)

    assert get(make_app(path)).status_code == 200

    (warning,) = log("WARNING")
    assert f"{path}: ZeroDivisionError: a bug of ours" in warning


def test_a_file_that_is_no_database_is_left_alone(path, make_app, log):
    path.write_text("these are the words of a letter, and no database at all. " * 20)
    before = files.digest(path)

    assert get(make_app(path)).status_code == 200

    assert files.digest(path) == before
    assert "not a SQLite database" in log("WARNING")[0]


def test_a_database_newer_than_the_code_is_served_as_it_is(path, make_app, log):
    Runner(path).migrate()
    files.run(path, "INSERT INTO schema_migrations (migration_name) VALUES ('framework/999_future')")
    files.run(path, "UPDATE schema_migration_events SET mark = NULL")
    before = files.digest(path)
    app = make_app(path, on_error="unavailable")

    assert get(app).status_code == 200

    assert files.digest(path) == before
    assert "framework/999_future" in log("WARNING")[0]
    assert hooks(app) == []


def test_a_broken_source_stops_only_itself(path, make_app, log, tmp_path):
    app = make_app(path, folders=["gone"])

    assert get(app).status_code == 200

    assert applied(path)
    (warning,) = log("WARNING")
    assert str(tmp_path / "gone") in warning
    assert END not in log()


@pytest.mark.parametrize(
    "url", ["postgresql://me:secret@127.0.0.1:1/x", "mysql://me:secret@127.0.0.1:1/x?passwd=secret"]
)
def test_no_password_is_ever_logged(make_app, caplog, url):
    caplog.set_level(logging.DEBUG)
    app = make_app(config={"DATABASE_URL": url})

    assert get(app).status_code == 200

    ours = [r.getMessage() for r in caplog.records if r.name.startswith("framework_schema")]
    assert any("127.0.0.1" in line or "Auto-migration failed" in line for line in ours)
    assert "secret" not in "".join(ours)


# Modes


def test_check_mode_tells_and_never_writes(copy_of, make_app, log):
    path = copy_of("auto-newest-on-5289dd3")
    before = files.digest(path)
    app = make_app(path, mode="check", on_error="unavailable")

    assert [get(app).status_code for _ in range(2)] == [200, 200]

    assert files.digest(path) == before
    (warning,) = log("WARNING")
    assert "pending" in warning
    assert f"framework-schema migrate {path}" in warning
    assert hooks(app) == []


def test_check_mode_makes_no_file(path, make_app, log):
    assert get(make_app(path, mode="check")).status_code == 200

    assert not path.exists()
    assert "there is no such file" in log("WARNING")[0]


def test_check_mode_is_content_with_a_current_database(path, make_app, log):
    Runner(path).migrate()

    get(make_app(path, mode="check"))

    assert log() == [START[0], CURRENT]


def test_off_means_no_hook(path, make_app):
    app = make_app(path, mode="off")

    assert hooks(app) == []
    get(app)
    assert not path.exists()
    schema(app).runner().migrate()
    assert applied(path)


def test_startup_mode_migrates_in_init_app_and_needs_no_hook(path, make_app):
    app = make_app(path, mode="startup")

    assert applied(path)
    assert hooks(app) == []


def test_a_failed_startup_is_tried_again_by_requests(path, make_app, tmp_path):
    write_scripts(tmp_path / "migrations", FAILING)
    app = make_app(path, mode="startup", on_error="unavailable", retry_after=0)
    write_scripts(tmp_path / "migrations", {"001_broken": creates("whole")})

    assert get(app).status_code == 200
    assert hooks(app) == []


def test_settings_may_be_made_after_init_app(path, make_app, log):
    app = make_app()
    app.config["DATABASE_PATH"] = str(path)
    app.config["FRAMEWORK_SCHEMA_MODE"] = "check"
    get(app)
    assert not path.exists()

    app = make_app()
    app.config["FRAMEWORK_SCHEMA_MODE"] = "nonsense"
    assert get(app).status_code == 200
    assert "'nonsense'" in log("WARNING")[-1]


# Which database


def flask_db_of(path):
    return FlaskDB(database=pw.SqliteDatabase(path))


def proxy_of(path, kind=pw.DatabaseProxy):
    proxy = kind()
    proxy.initialize(pw.SqliteDatabase(path))
    return proxy


@pytest.mark.parametrize(
    "argument",
    [
        pytest.param(str, id="path as text"),
        pytest.param(Path, id="path"),
        pytest.param("sqlite:///{}".format, id="url"),
        pytest.param(pw.SqliteDatabase, id="database"),
        pytest.param(proxy_of, id="database proxy"),
        pytest.param(lambda path: proxy_of(path, pw.Proxy), id="proxy"),
        pytest.param(lambda path: lambda: str(path), id="function that returns a path"),
        pytest.param(lambda path: lambda: pw.SqliteDatabase(path), id="function that returns a database"),
        pytest.param(lambda path: {"name": str(path), "engine": "peewee.SqliteDatabase"}, id="FlaskDB's mapping"),
        pytest.param(lambda path: {"name": str(path), "engine": "SqliteDatabase"}, id="mapping without a module"),
    ],
)
@pytest.mark.parametrize("where", ["argument", "FRAMEWORK_SCHEMA_DATABASE", "DATABASE"])
def test_a_database_may_be_given_in_any_form(path, make_app, argument, where):
    given = argument(path)
    app = make_app(given) if where == "argument" else make_app(config={where: given})

    target = schema(app).runner().target
    models = schema(app).database

    assert Path(target.path) == path
    assert Path(models.database) == path
    assert not path.exists()


def test_a_flask_db_may_be_given_before_it_is_initialised(path, make_app):
    flask_db = FlaskDB(database=pw.SqliteDatabase(path))
    app = make_app(flask_db)
    flask_db.init_app(app)

    get(app)

    assert applied(path)
    assert schema(app).database is flask_db.database


def test_the_first_way_that_is_taken_wins(tmp_path, make_app, monkeypatch):
    def at(name):
        return str(tmp_path / f"{name}.db")

    app = make_app(init=False)
    monkeypatch.setenv("DATABASE_PATH", at("env-path"))
    monkeypatch.setenv("DATABASE_URL", "sqlite:///" + at("env-url"))
    settings = ("DATABASE", "DATABASE_PATH", "DATABASE_URI", "DATABASE_URL")
    found = []

    def look(argument=None):
        found.append(Path(AppSchema(app, argument).runner().target.path).stem)

    look()
    for key in settings:
        app.config[key] = at(key)
        look()
    FlaskDB(app, pw.SqliteDatabase(at("flask-db")))
    look()
    app.config["FRAMEWORK_SCHEMA_DATABASE"] = at("own")
    look()
    look(at("argument"))
    monkeypatch.delenv("DATABASE_URL")
    app = make_app(config={"DATABASE": "", "DATABASE_URL": None})
    look()

    assert found == ["env-url", *settings, "flask-db", "own", "argument", "env-path"]


def test_an_app_without_a_database_is_told_the_ways_once_and_served(make_app, log):
    app = make_app(retry_after=0)

    assert [get(app).status_code for _ in range(3)] == [200] * 3

    (warning,) = log("WARNING")
    for way in ("init_app(app, database=", "FRAMEWORK_SCHEMA_DATABASE", "FlaskDB", "'DATABASE'", "'DATABASE_URL'",
                "'DATABASE_URI'", "'DATABASE_PATH'", "environment"):  # fmt: skip
        assert way in warning


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param(3, "a int is no database", id="a number"),
        pytest.param(pw.DatabaseProxy(), "the DatabaseProxy has no database yet", id="an empty proxy"),
        pytest.param(FlaskDB(), "the FlaskDB has no database yet", id="an uninitialised FlaskDB"),
        pytest.param({"name": "x.db"}, "needs a `name` and an `engine`", id="a mapping without engine"),
        pytest.param(
            {"name": "x", "engine": "os.getcwd", "password": "secret"}, "`engine`", id="an engine that is none"
        ),
        pytest.param(pw.SqliteDatabase(None), "call its init", id="a deferred database"),
    ],
)
def test_what_is_no_database_is_refused_by_name(make_app, given, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        schema(make_app(given)).runner()

    assert "secret" not in str(caught.value)


def test_the_models_proxy_may_be_what_the_app_gives(path, make_app):
    app = make_app(models_database)
    models_database.initialize(pw.SqliteDatabase(path))
    try:
        assert get(app).status_code == 200
        with app.app_context():
            assert Dashboard.select().count() == 0
            models_database.close()
    finally:
        models_database.initialize(None)

    assert applied(path)


# The models' connection


def test_a_connection_made_for_the_models_ends_with_the_context(path, make_app):
    app = make_app(path)
    before = app.teardown_appcontext_funcs
    app.add_url_rule("/count", view_func=lambda: str(Dashboard.select().count()))
    get(app)
    unused = app.teardown_appcontext_funcs

    assert app.test_client().get("/count").text == "0"

    assert unused is before
    assert len(app.teardown_appcontext_funcs) == len(before) + 1
    assert schema(app).database.is_closed()


def test_a_transaction_of_an_outer_context_stays_open(path, make_app):
    app = make_app(path)
    get(app)

    with app.app_context():
        with schema(app).database.atomic():
            Dashboard.create(name="Home")
            with app.app_context():
                assert Dashboard.select().count() == 1
            assert not schema(app).database.is_closed()
        assert Dashboard.select().count() == 1

    assert schema(app).database.is_closed()


def test_the_apps_own_database_object_is_never_closed_for_it(path, make_app):
    database = pw.SqliteDatabase(path)
    app = make_app(database)
    get(app)

    with app.app_context():
        assert models_database.obj is database
        Dashboard.select().count()

    assert not database.is_closed()
    database.close()


def test_references_are_enforced_in_the_models_connection(path, make_app):
    app = make_app(path)

    with app.app_context():
        assert schema(app).database.execute_sql("PRAGMA foreign_keys").fetchone() == (1,)


@pytest.mark.parametrize(
    "given", [":memory:", "sqlite:///:memory:", {"name": ":memory:", "engine": "peewee.SqliteDatabase"}]
)
def test_a_database_in_memory_is_migrated_where_the_models_see_it(make_app, given):
    app = make_app(given)
    app.add_url_rule("/add", view_func=lambda: str(Dashboard.create(name="Home").id))
    client = app.test_client()

    assert client.get("/add").text == "1"
    with app.app_context():
        assert Dashboard.get().name == "Home"

    schema(app).database.close()


# Which scripts


def test_the_apps_own_folders_run_after_the_framework(path, make_app, tmp_path):
    write_scripts(tmp_path / "migrations", {"001_old": creates("old"), "002_both": creates("older")})
    write_scripts(tmp_path / "app" / "migrations", {"002_both": creates("newer")})

    get(make_app(path))

    assert applied(path, "app") == ["app/001_old", "app/002_both"]
    assert {"old", "newer"} <= files.tables(path).keys()
    assert "older" not in files.tables(path)


def test_somebody_elses_migrations_folder_is_left_alone(path, make_app, tmp_path, log):
    write_scripts(tmp_path / "migrations", {"env": "raise SystemExit", "001_alembic": "raise SystemExit"})

    assert get(make_app(path)).status_code == 200

    assert applied(path, "app") == []
    assert log("WARNING") == []


def test_folders_may_be_named_and_sources_chosen(path, make_app, tmp_path):
    write_scripts(tmp_path / "migrations", {"001_passed_over": creates("passed_over")})
    write_scripts(tmp_path / "db" / "scripts", {"001_named": creates("named")})

    get(make_app(path, folders="db/scripts", sources=None, config={"FRAMEWORK_SCHEMA_SOURCES": ["app"]}))

    assert applied(path, "app") == ["app/001_named"]
    assert applied(path) == []


def test_a_named_folder_may_lie_above_src(tmp_path, make_app):
    write_scripts(tmp_path / "scripts", {"001_x": creates("x")})
    app = make_app("x.db", folders=["scripts"])
    app.root_path = str(tmp_path / "src")

    assert schema(app).sources()[-1].paths == (tmp_path / "scripts",)


def test_no_folder_at_all_can_be_asked_for(make_app, tmp_path):
    write_scripts(tmp_path / "migrations", {"001_x": creates("x")})

    names = [source.name for source in schema(make_app("x.db", folders=[])).sources()]

    assert names == [source.name for source in framework_schema.installed()]


def test_sources_given_in_code_are_the_only_ones(path, make_app, folder):
    get(make_app(path, sources=[folder({"001_only": sql("CREATE TABLE only_one (id INTEGER)")}, source="mine")]))

    assert applied(path, "mine") == ["mine/001_only"]
    assert applied(path) == []


def test_a_folder_that_a_plugin_registered_belongs_to_the_plugin(path, make_app, tmp_path, monkeypatch):
    write_scripts(tmp_path / "homebrew_plugin" / "migrations", {"__init__": "", "001_beer": creates("beer")})
    (tmp_path / "homebrew_plugin" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    plugin = framework_schema.Package("homebrew", "homebrew_plugin.migrations")
    everything = (*framework_schema.installed(), plugin)
    monkeypatch.setattr("framework_schema.extension.installed", lambda: everything)
    app = Flask("homebrew_plugin", root_path=str(tmp_path / "homebrew_plugin"))
    framework_schema.init_app(app, path)

    get(app)

    assert applied(path, "homebrew") == ["homebrew/001_beer"]
    assert applied(path, "app") == []


@pytest.mark.parametrize(
    ("module", "parent", "root_path", "expected"),
    [
        pytest.param("app", "", "project", ["project"], id="a module"),
        pytest.param("homebrew", "homebrew", "project/homebrew", ["project", "project/homebrew"], id="a package"),
        pytest.param("app.factory", "app", "project/app", ["project", "project/app"], id="a module in a package"),
        pytest.param("a.b", "a.b", "project/a/b", ["project", "project/a/b"], id="a package in a package"),
        pytest.param("app", "app", "project/src/app", ["project/src", "project", "project/src/app"], id="src layout"),
        pytest.param("app", "app", "lib/site-packages/app", [".", "lib/site-packages/app"], id="an installed package"),
        pytest.param("app", "elsewhere", "project", ["project"], id="a root path of the app's own choice"),
        pytest.param("nowhere", None, "project", ["project"], id="a name that is no module"),
    ],
)
def test_the_project_root_is_where_the_apps_top_level_package_lies(
    tmp_path, monkeypatch, module, parent, root_path, expected
):
    if parent is not None:
        fake = ModuleType(module)
        fake.__spec__ = type("Spec", (), {"parent": parent})()
        monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.chdir(tmp_path)
    app = Flask(module, root_path=str(tmp_path / root_path), instance_path=str(tmp_path))

    assert project_roots(app) == [tmp_path / place for place in expected]


def test_other_extensions_with_a_database_of_another_kind_are_not_asked(path, make_app):
    class Service:
        @property
        def database(self):
            raise RuntimeError("only inside a request")

        def before(self):
            g.service = self

    app = make_app(init=False, config={"DATABASE_PATH": path})
    app.before_request(Service().before)
    framework_schema.init_app(app)

    get(app)

    assert applied(path)

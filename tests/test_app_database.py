"""Which database an app means, for every pair of ways to say so."""

import itertools
import logging
from pathlib import Path

import peewee as pw
import pytest
import sqlite_files as files
from flask import Flask
from playhouse.flask_utils import FlaskDB

import framework_schema
from framework_schema.app_database import ARGUMENT, Candidate, choose, find_database
from framework_schema.extension import AppSchema

ORDER = (
    "argument", "FRAMEWORK_SCHEMA_DATABASE", "FlaskDB", "DATABASE_URL", "DATABASE_URI", "DATABASE_PATH", "DATABASE",
    "environment DATABASE_URL", "environment DATABASE_PATH",
)  # fmt: skip
"""As design section 9 has it."""
NAMES = [way for way in ORDER if way != "FlaskDB"]
FORMS = {
    "path": str,
    "path object": Path,
    "url": "sqlite:///{}".format,
    "relative": lambda path: f"../root/data/{Path(path).name}",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Start in a working directory beside the app's root, with no variable of the machine."""
    (tmp_path / "root" / "data").mkdir(parents=True)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for name in ("DATABASE_URL", "DATABASE_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "framework_schema")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "framework_schema"]


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Return which file an app uses that names several."""

    def find(given):
        app = Flask("template", root_path=str(tmp_path / "root"))
        for way, value in given.items():
            if way.startswith("environment "):
                monkeypatch.setenv(way.removeprefix("environment "), str(value))
            elif way == "FlaskDB":
                FlaskDB(app, value)
            elif way != "argument":
                app.config[way] = value
        schema = AppSchema(app, given.get("argument"))
        path = schema.runner().target.path
        assert Path(schema.database.database) == path.absolute()
        return path.resolve()

    return find


def pairs(ways):
    return [pytest.param(a, b, id=f"{a}, {b}") for a, b in itertools.combinations(ways, 2)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("is_there", ["neither", "second"])
@pytest.mark.parametrize(("first", "second"), pairs(NAMES))
def test_of_two_paths_the_earlier_way_wins_and_one_line_says_so(first, second, is_there, form, tmp_path, found, lines):
    one, two = (tmp_path / "root" / "data" / name for name in ("one.db", "two.db"))
    for path, which in ((one, "first"), (two, "second")):
        if is_there == which:
            path.touch()

    assert found({first: FORMS[form](one), second: FORMS[form](two)}) == one

    (line,) = lines()
    assert str(one) in line and str(two) in line and line.count("\n") == 0


@pytest.mark.parametrize(
    ("bare", "form"),
    [(str, "path"), (str, "relative"), (Path, "url"), ("sqlite:///{}".format, "path object")],
    ids=["text, path", "text, relative", "path object, url", "url, path object"],
)
@pytest.mark.parametrize("has_label", [False, True], ids=["no file of the bare name", "a file of the bare name"])
@pytest.mark.parametrize("label_first", [True, False])
@pytest.mark.parametrize(("first", "second"), pairs(NAMES))
def test_a_bare_file_name_never_wins_over_a_path(
    first, second, label_first, has_label, form, bare, tmp_path, found, lines
):
    real, label = tmp_path / "root" / "data" / "template.db", tmp_path / "cwd" / "template.db"
    real.touch()
    if has_label:
        label.touch()
    values = (bare("template.db"), FORMS[form](real)) if label_first else (FORMS[form](real), bare("template.db"))
    meant = label if first == "argument" and label_first and has_label else real

    assert found({first: values[0], second: values[1]}) == meant

    (line,) = lines()
    assert str(real) in line and str(label) in line
    assert label.exists() is has_label


@pytest.mark.parametrize(("first", "second"), pairs(NAMES))
def test_of_two_bare_names_no_file_is_made_while_the_other_has_one(first, second, tmp_path, found, lines):
    Path("two.db").touch()

    assert found({first: "one.db", second: "two.db"}) == tmp_path / "cwd" / "two.db"

    assert "there is no file one.db" in lines()[-1]
    assert not Path("one.db").exists()


def test_ways_that_name_one_file_do_not_disagree(tmp_path, found, lines):
    Path("template.db").touch()
    Path("link.db").symlink_to("template.db")
    one = tmp_path / "cwd" / "template.db"

    assert found({"DATABASE": "template.db", "DATABASE_PATH": one, "environment DATABASE_URL": f"sqlite:///{one}",
                  "DATABASE_URI": "link.db"}) == one  # fmt: skip

    assert lines() == []


def test_a_lone_bare_name_is_a_file_in_the_working_directory(tmp_path, found, lines):
    assert found({"DATABASE": "template.db"}) == tmp_path / "cwd" / "template.db"
    assert lines() == []


def test_the_database_an_app_opens_goes_before_a_label(tmp_path, found):
    real = tmp_path / "root" / "data" / "template.db"

    assert found({"FlaskDB": pw.SqliteDatabase(real), "FRAMEWORK_SCHEMA_DATABASE": "template.db"}) == real
    assert found({"FlaskDB": pw.SqliteDatabase(real), "DATABASE_URL": "sqlite:////elsewhere/x.db"}) == real


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "one that nobody has a driver for"])
def test_a_server_goes_before_a_bare_name_only_where_a_file_would_be_made(lines, scheme):
    app = Flask("template")
    scheme = scheme.replace(" ", "")
    app.config.update(DATABASE_URL="template.db", DATABASE_URI=f"{scheme}://me:secret@db.example/homebrew")

    assert find_database(app).startswith(scheme)
    Path("template.db").touch()
    assert find_database(app) == "template.db"

    assert len(lines()) == 2
    assert "secret" not in "".join(lines())


@pytest.mark.parametrize("memory", [":memory:", "sqlite:///:memory:", "sqlite://"])
def test_a_database_in_memory_is_no_label(memory, tmp_path):
    app = Flask("template")
    app.config.update(DATABASE_PATH=memory, DATABASE=str(tmp_path / "root" / "data" / "x.db"))

    assert find_database(app) == memory


def test_a_function_is_not_called_for_a_comparison():
    app = Flask("template")
    app.config.update(DATABASE_PATH="data/x.db", DATABASE=lambda: pytest.fail("called"))

    assert find_database(app) == "data/x.db"


def test_what_was_given_to_init_app_is_taken_where_its_file_is_there():
    label = Candidate(ARGUMENT, "x.db", "/cwd/x.db", is_bare=True, is_there=True)
    path = Candidate("DATABASE_PATH", "/data/x.db", "/data/x.db", is_path=True, is_there=True)

    assert choose([label, path]).taken is label
    assert choose([Candidate(ARGUMENT, "x.db", "/cwd/x.db", is_bare=True), path]).taken is path


def test_the_real_apps_two_keys_heal_the_real_file_and_make_no_other(tmp_path, copy_of, lines):
    real = copy_of("auto-newest-on-5289dd3", tmp_path / "root" / "data" / "template.db")
    app = Flask("template", root_path=str(tmp_path / "root"))
    app.config.update(DATABASE="template.db", DATABASE_PATH=str(real))
    app.add_url_rule("/", view_func=lambda: "served")
    framework_schema.init_app(app)

    assert app.test_client().get("/").text == "served"

    assert list(Path().iterdir()) == []
    assert "DashboardWidget" in files.tables(real)
    assert sum("names" in line for line in lines()) == 1

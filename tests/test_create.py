"""``create``: models that cannot be meant are an error, and what a script takes away is said when it is written."""

import json
import re
import sys
from pathlib import Path

import pytest
import sqlite_files as files
from click.testing import CliRunner
from script_texts import creates, script

from framework_schema.cli import main

MODEL = """
import peewee as pw

class Beer(pw.Model):
    {field} = pw.TextField(null=True)

    class Meta:
        table_name = "beer"
"""


@pytest.fixture
def app(tmp_path, monkeypatch):
    """An own app's folder, to be in: migrations/ with a script, and a module of models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "migrations").mkdir()
    name = f"models_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODEL.format(field="name"))
    yield name
    sys.modules.pop(name, None)


def call(*words):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def scripts():
    return sorted(path.name for path in Path("migrations").glob("*.py"))


@pytest.mark.parametrize(
    ("auto", "says"),
    [
        pytest.param("no_such_module", "ModuleNotFoundError", id="no such module"),
        pytest.param("{app}.py", "--auto {app}", id="a file"),
        pytest.param("./{app}.py", "--auto {app}", id="a path"),
        pytest.param("{app}:Beer", "--auto {app}", id="a class"),
        pytest.param("broken", "ZeroDivisionError", id="a module that fails"),
        pytest.param("bare", "no Peewee model", id="a module without models"),
        pytest.param(None, "--auto app.models", id="none named"),
    ],
)
def test_models_that_cannot_be_meant_are_an_error_and_write_nothing(app, auto, says):
    Path("broken.py").write_text("1 / 0\n")
    Path("bare.py").write_text("x = 1\n")

    done = call("create", "x", "--auto", *([] if auto is None else [auto.format(app=app)]))

    assert done.exit_code == 2, done.output
    assert says.format(app=app) in done.stderr
    assert "Nothing was written" in done.stderr
    assert "No changes" not in done.output
    assert scripts() == []


def test_models_of_the_framework_that_an_app_imports_are_not_its_own(app):
    text = Path(f"{app}.py").read_text()
    Path(f"{app}.py").write_text("from framework_schema.models import Entry\n" + text)

    assert call("create", "first", "--auto", app).exit_code == 0

    (name,) = scripts()
    text = Path("migrations", name).read_text()
    assert "beer" in text
    assert "Entry" not in text


def test_nothing_is_written_where_nothing_would_be_read(app):
    Path("migrations/env.py").touch()

    done = call("create", "x")

    assert (done.exit_code, scripts()) == (2, ["env.py"])
    assert "Alembic" in done.stderr


def test_a_renamed_field_is_named_as_what_it_may_be(app):
    Path("migrations/001_beer.py").write_text(creates("beer"))
    Path(f"{app}.py").write_text(MODEL.format(field="title"))

    done = call("create", "rename", "--auto", app)

    assert done.exit_code == 0, done.output
    assert "drops beer.name, with its values" in done.stderr
    assert "migrator.rename_field('beer', 'name', 'title')" in done.stderr
    assert done.stdout.strip().endswith("002_rename.py")


RENAMED = "migrator.remove_fields('beer', 'name')\nmigrator.add_fields('beer', title=pw.TextField(null=True))"


@pytest.fixture
def beers(tmp_path, monkeypatch):
    """A migrated database with three beers, and a script that drops their names."""
    monkeypatch.chdir(tmp_path)
    Path("migrations").mkdir()
    Path("data").mkdir()
    Path("migrations/001_beer.py").write_text(creates("beer"))
    assert call("migrate", "sqlite:///data/a.db").exit_code == 0
    files.run("data/a.db", "INSERT INTO beer (name) VALUES ('x'), ('y'), (NULL)")
    Path("migrations/002_rename.py").write_text(script(RENAMED))
    return Path("data/a.db")


LOST = [{"table": "beer", "column": "name", "rows": 2, "dropped": True}]


def test_what_a_script_takes_away_is_said_before_and_after(beers):
    before = files.digest(beers)

    would = call("migrate", beers, "--dry-run").stdout
    (dry,) = json.loads(call("migrate", beers, "--dry-run", "--json").stdout)["databases"]
    assert files.digest(beers) == before
    done = call("migrate", beers).stdout

    assert "would lose 2 values of beer.name, and the column with them" in would
    assert dry["lost"] == LOST
    assert "lost 2 values of beer.name" in done
    copy = re.search("copy made first: (.+)", done)[1]
    assert files.query(copy, "SELECT count(name) FROM beer") == [(2,)]


def test_what_a_script_took_away_is_in_the_json(beers):
    (item,) = json.loads(call("migrate", beers, "--json").stdout)["databases"]

    assert item["lost"] == LOST
    assert Path(item["backup"]).is_file()


@pytest.mark.parametrize(
    "body",
    ["migrator.rename_field('beer', 'name', 'title')", "migrator.add_fields('beer', size=pw.IntegerField(null=True))"],
)
def test_what_takes_nothing_away_says_nothing(beers, body):
    Path("migrations/002_rename.py").write_text(script(body))

    (item,) = json.loads(call("migrate", beers, "--json").stdout)["databases"]

    assert item["lost"] == []


def test_rows_that_a_script_deletes_are_counted(beers):
    Path("migrations/002_rename.py").write_text(script("migrator.sql('DELETE FROM beer WHERE name IS NULL')"))

    (item,) = json.loads(call("migrate", beers, "--json").stdout)["databases"]

    assert item["lost"] == [{"table": "beer", "rows": 1, "dropped": False}]

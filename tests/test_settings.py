"""Which setting wins: the environment before the app's config, for every key; what means nothing is an error."""

import pytest
import sqlite_files as files
from click.testing import CliRunner
from flask import Flask
from flask.cli import ScriptInfo

import framework_schema
from framework_schema.cli import main, schema
from framework_schema.config import KINDS
from framework_schema.errors import ConfigError

VALUES = {
    "mode": ("off", "check"), "on_error": ("continue", "unavailable"), "wait": (1, "2"), "retry_after": (1, "2"),
    "align": ("off", "strict"), "backup": ("never", "always"), "backup_dir": ("a", "b"), "backup_keep": (1, "2"),
    "integrity": ("auto", "always"), "out_of_order": ("apply", "refuse"), "table": ("a", "b"),
    "sources": (["framework"], "app"), "folders": (["a"], "b,c"), "timeout": (1, "2"), "plan_cache": (True, "off"),
    "template": (True, "off"),
}  # fmt: skip


def make_app(**config):
    app = Flask("app")
    app.config.update(config)
    framework_schema.init_app(app)
    return app


def config_of(app):
    return app.extensions["framework_schema"].config


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_environment_goes_before_the_apps_config_for_every_key(name, monkeypatch):
    in_config, in_environment = VALUES[name]
    app = make_app(**{f"FRAMEWORK_SCHEMA_{name.upper()}": in_config})
    monkeypatch.setenv(f"FRAMEWORK_SCHEMA_{name.upper()}", in_environment)

    assert getattr(config_of(app), name) == KINDS[name](in_environment)
    assert getattr(config_of(app), name) != KINDS[name](in_config)
    monkeypatch.setenv(f"FRAMEWORK_SCHEMA_{name.upper()}", "")
    assert getattr(config_of(app), name) == KINDS[name](in_config)


def test_the_environment_says_that_an_app_only_checks(path, monkeypatch):
    monkeypatch.setenv("FRAMEWORK_SCHEMA_MODE", "check")
    files.run(path, "CREATE TABLE Entry (id INTEGER PRIMARY KEY)")
    app = make_app(DATABASE_PATH=str(path), FRAMEWORK_SCHEMA_MODE="first_request")
    before = files.digest(path)

    app.test_client().get("/")

    assert files.digest(path) == before


def test_the_environment_counts_for_flask_schema_too(path, monkeypatch):
    monkeypatch.setenv("FRAMEWORK_SCHEMA_TABLE", "our_history")
    app = make_app(DATABASE_PATH=str(path), FRAMEWORK_SCHEMA_TABLE="theirs")

    done = CliRunner().invoke(schema, ["migrate"], obj=ScriptInfo(create_app=lambda: app))

    assert done.exit_code == 0, done.output
    assert "our_history" in files.tables(path)
    assert "theirs" not in files.tables(path)


@pytest.mark.parametrize("place", ["environment", "config"])
@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [("MOED", "check", "Did you mean FRAMEWORK_SCHEMA_MODE?"), ("SOURCES", "framwork", "Did you mean framework?")],
)
def test_what_means_nothing_is_an_error_with_what_it_resembles(place, key, value, hint, monkeypatch, path):
    config = {}
    if place == "environment":
        monkeypatch.setenv(f"FRAMEWORK_SCHEMA_{key}", value)
        done = CliRunner().invoke(main, ["migrate", f"sqlite:///{path}"])
        assert done.exit_code == 2, done.output
        assert hint in done.stderr
    else:
        config = {f"FRAMEWORK_SCHEMA_{key}": value}

    with pytest.raises(ConfigError) as caught:
        make_app(DATABASE_PATH=str(path), **config)

    assert hint in str(caught.value)
    assert not path.exists()

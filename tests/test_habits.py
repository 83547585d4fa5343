"""What people type who come from other tools, and what they read in the help."""

import re

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.cli import FlaskGroup

import framework_schema
from framework_schema.cli import main, schema
from framework_schema.habits import HABITS


@pytest.fixture
def flask():
    def create():
        app = Flask("app")
        app.config["DATABASE_PATH"] = "x.db"
        framework_schema.init_app(app)
        return app

    group = FlaskGroup(create_app=create)
    return lambda *words: CliRunner().invoke(group, [*words])


@pytest.mark.parametrize("name", ["upgrade", "list", "showmigrations", "info", "downgrade"])
def test_another_tools_word_names_ours(name):
    done = CliRunner().invoke(main, [name], prog_name="framework-schema")

    assert done.exit_code == 2
    assert f"it is: framework-schema {HABITS[name]}" in done.output


def test_every_habit_leads_to_a_command_of_both_groups():
    assert set(HABITS.values()) <= set(main.commands)
    assert set(HABITS.values()) - {"create"} <= set(schema.commands)
    assert not set(HABITS) & {*main.commands, *schema.commands}


@pytest.mark.parametrize(
    ("words", "ours"), [(["upgrade"], "migrate"), (["downgrade", "-1"], "rollback"), ([], "status")]
)
def test_flask_db_names_our_command(flask, words, ours):
    done = flask("db", *words)

    assert done.exit_code == 2
    assert f"flask schema {ours}" in done.output


def test_an_apps_own_db_command_is_its_own():
    app = Flask("app")

    @app.cli.command("db")
    def db():
        print("mine")

    framework_schema.init_app(app)

    assert "mine" in app.test_cli_runner().invoke(args=["db"]).output


@pytest.mark.parametrize("group", [main, schema], ids=["framework-schema", "flask schema"])
def test_every_help_has_an_example_and_every_summary_is_whole(group):
    listed = CliRunner().invoke(group, ["--help"], prog_name="x").output

    assert "..." not in listed.partition("Commands:")[2]
    for name in group.commands:
        told = CliRunner().invoke(group, [name, "--help"], prog_name="x").output
        assert re.search(rf"Examples:\n +(framework-schema|flask schema) {name}\b", told), name

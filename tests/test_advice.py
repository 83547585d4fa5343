"""Every command that is advised leads to a state in which it is no longer advised."""

import re
import shlex

import histories
import pytest
import sqlite_files as files
from click.testing import CliRunner

from framework_schema.cli import main
from framework_schema.runner import Runner

LOOKS = (["status"], ["check"], ["check", "--strict"], ["doctor"])
COMMAND = re.compile(r"(?:next|mend): (framework-schema (?!backup|doctor|history|status).+?)(?:\. |, |: |  \(|$)")
"""What is to be typed and changes something, up to the words that follow; not where people come first."""
ROUNDS = 4


def call(*words):
    done = CliRunner().invoke(main, [str(word) for word in words], env={"COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code != 2, done.output
    return done.stdout


def advised(text):
    """Return the commands of the lines that tell what to do, without those that were typed."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith(("next: ", "mend: "))]
    return {found[1] for line in lines for found in [COMMAND.match(line)] if found}


def follow(path):
    """Type what is advised, and what that advises, until nothing is; return what still is after some rounds."""
    for _ in range(ROUNDS):
        commands = {command for words in LOOKS for command in advised(call(words[0], path, *words[1:]))}
        if not commands:
            return set()
        for command in sorted(commands):
            call(*shlex.split(command)[1:])
    return commands


def broken_rows(path):
    """Rows that strict rules forbid: no title, a parent that is not there, one value twice."""
    Runner(path).migrate()
    files.run(path, "PRAGMA foreign_keys = OFF; INSERT INTO DashboardWidget (dashboard_id, widget_type, title) "
              "VALUES (999, 'note', 'orphan')")  # fmt: skip


def half_undone(path):
    Runner(path).migrate()
    files.run(path, "DROP TABLE DashboardWidget; ALTER TABLE Note RENAME COLUMN note_text TO text")


def rule_gone(path):
    Runner(path).migrate()
    files.run(
        path,
        "CREATE TABLE d AS SELECT * FROM Dashboard; DROP TABLE Dashboard; ALTER TABLE d RENAME TO Dashboard;"
        "INSERT INTO Dashboard (id, name) VALUES (1, 'x'), (1, 'y'), (2, NULL)",
    )


def empty_with_a_view(path):
    files.run(path, "CREATE VIEW Dashboard AS SELECT 1 AS id")


def foreign(path):
    files.run(path, "CREATE TABLE users (id INTEGER PRIMARY KEY)")


@pytest.mark.parametrize("name", histories.IDS)
def test_what_is_advised_of_a_historical_database_is_not_advised_again(name, copy_of):
    assert follow(copy_of(name)) == set()


@pytest.mark.parametrize("make", [broken_rows, half_undone, rule_gone, empty_with_a_view, foreign])
def test_what_is_advised_of_an_odd_database_is_not_advised_again(make, path):
    make(path)

    assert follow(path) == set()

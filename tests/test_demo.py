"""The demo: seven misaligned databases, before and after."""

import pytest
import sqlite_files as files

from framework_schema.demo import STORIES, build, inspect, play
from framework_schema.errors import ConfigError


def test_the_seven_are_misaligned_before_and_aligned_after(tmp_path):
    demo = play(tmp_path / "demo")

    assert [look.name for look in demo.before if look.has_dashboards] == ["app.db", "template.db"]
    assert not any(look.widget == "ok" for look in demo.before)
    assert {look.widget for look in demo.after} == {"ok"}
    assert {report.state for report in demo.fleet.reports} == {"migrated"}
    assert demo.is_proven


def test_some_record_dashboards_as_made_that_are_not_there(tmp_path):
    path = dict(zip((story.file for story in STORIES), build(tmp_path), strict=True))["homebrew.db"]

    assert ("add_dashboard_tables.py", True) in files.history(path)
    assert "Dashboard" not in files.tables(path)


def test_every_row_is_kept_and_the_try_leaves_none(tmp_path):
    paths = build(tmp_path)
    before = [files.query(path, "SELECT title FROM Entry ORDER BY id") for path in paths]

    play(tmp_path)

    assert [files.query(path, "SELECT title FROM Entry ORDER BY id") for path in paths] == before
    for path in paths:
        assert inspect(path).widget == "ok"
        assert files.query(path, "SELECT count(*) FROM DashboardWidget") == [(0,)]


def test_it_can_be_played_again(tmp_path):
    play(tmp_path)

    assert play(tmp_path).is_proven


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "homebrew.db").write_text("mine")

    with pytest.raises(ConfigError, match="not a folder of an earlier demo"):
        play(tmp_path)

    assert (tmp_path / "homebrew.db").read_text() == "mine"


def test_a_database_of_the_users_beside_the_seven_stays_as_it_is(tmp_path):
    play(tmp_path)
    files.run(tmp_path / "mine.db", "CREATE TABLE mine (a)")
    before = files.digest(tmp_path / "mine.db")

    play(tmp_path)

    assert files.digest(tmp_path / "mine.db") == before

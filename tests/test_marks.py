"""A mark holds as long as scripts, history and schema are as they were, and is read in one go."""

import sqlite3
from contextlib import closing

import pytest
from script_texts import creates

from framework_schema import marks
from framework_schema.history import History
from framework_schema.runner import Runner

ROWS = [("app/001_a", 1), ("app/002_b", 1)]
STATE = (ROWS, "7")


def with_mark(mark, state=STATE):
    return (mark, "app/002_b", state)


@pytest.mark.parametrize(
    ("left", "asked", "holds"),
    [
        pytest.param("additive:all", "additive:all", True, id="the same"),
        pytest.param("strict:all", "additive:all", True, id="more was proven"),
        pytest.param("additive:all", "additive:carried", True, id="for more plugins"),
        pytest.param("strict:all", "additive:carried", True, id="both"),
        pytest.param("additive:all", "strict:all", False, id="less was proven"),
        pytest.param("additive:carried", "additive:all", False, id="for fewer plugins"),
    ],
)
def test_what_was_proven_strictly_or_for_all_plugins_holds_for_less(left, asked, holds):
    mark = marks.made(*left.split(":"), "scripts", STATE)

    assert marks.holds(*asked.split(":"), "scripts", with_mark(mark)) is holds


@pytest.mark.parametrize(
    "state",
    [
        pytest.param((ROWS, "8"), id="schema"),
        pytest.param((ROWS[:1], "7"), id="a row less"),
        pytest.param(([*ROWS, ("app/003_c", 1)], "7"), id="a row more"),
        pytest.param(([("app/001_a", 1), ("app/002_b", 0)], "7"), id="failed"),
        pytest.param(([("app/001_a", 1), ("app/002_b", None)], "7"), id="neither"),
        pytest.param(([("app/001_a", 1), (None, 1)], "7"), id="no name"),
    ],
)
def test_what_changed_in_the_database_ends_it(state):
    mark = marks.made("strict", "all", "scripts", STATE)

    assert not marks.holds("strict", "all", "scripts", with_mark(mark, state))


@pytest.mark.parametrize("mark", [None, "", "strict", "strict:all:", 5, b"strict:all:"])
@pytest.mark.parametrize("scripts", ["scripts", "", None])
def test_what_is_no_mark_never_holds(mark, scripts):
    assert not marks.holds("strict", "all", scripts, with_mark(mark))


def test_scripts_that_cannot_be_read_are_never_the_same():
    assert not marks.holds("strict", "all", None, with_mark(marks.made("strict", "all", None, STATE)))


@pytest.fixture
def database(tmp_path, folder):
    """Give a connection to a current database, in WAL mode so that others may write meanwhile."""
    Runner(tmp_path / "x.db", [folder({"001_a": creates("one")})]).migrate()
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        yield connection


def test_both_reads_see_the_same_state(database, tmp_path):
    before = marks.see(database.execute)

    def execute(sql):
        found = database.execute(sql)
        with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
            other.execute("DELETE FROM schema_migrations")
            other.execute("CREATE TABLE IF NOT EXISTS by_hand (id)")
        return found

    assert marks.see(execute) == before
    assert marks.see(database.execute)[2] == ([], str(int(before[2][1]) + 1))


def test_an_absent_table_leaves_no_read_behind(database):
    for table in ("schema_migration_events", "schema_migrations"):
        database.execute(f"DROP TABLE {table}")

        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            marks.see(database.execute)

        database.execute("PRAGMA journal_mode = delete")  # refused while a statement of the connection is not finished
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_history_without_events_keeps_all_its_rows(database):
    state = marks.see(database.execute)[2]
    database.execute("DELETE FROM schema_migration_events")

    assert marks.see(database.execute) == (None, None, state)
    assert state == marks.state(database.execute)
    assert len(state[0]) == 1


def test_any_name_of_a_history_is_quoted(database):
    name = 'my "own" history'
    database.execute(f"""ALTER TABLE schema_migrations RENAME TO "{name.replace('"', '""')}" """)
    database.execute(f"""ALTER TABLE schema_migration_events RENAME TO "{marks.events_of(name).replace('"', '""')}" """)

    assert marks.see(database.execute, name)[1] == "app/001_a"
    assert History(None, name).events_table == marks.events_of(name)

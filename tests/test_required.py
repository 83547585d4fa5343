"""The schema refuses nothing that the framework's app inserts: what a row has to give is known, and why."""

import sqlite3
from contextlib import closing

import histories
import pytest
import sqlite_files as files
from inserts import REQUIRED, TABLES, insert, must_be_given, parents_first

from framework_schema.runner import Runner


def test_every_column_that_must_be_given_has_its_reason_and_no_other():
    assert {name: list(columns) for name, columns in REQUIRED.items()} == {
        name: list(must_be_given(table)) for name, table in TABLES.items()
    }
    assert all(reason for columns in REQUIRED.values() for reason in columns.values())


@pytest.mark.parametrize("name", TABLES)
def test_what_must_be_given_is_as_old_as_its_table(name):
    for column in must_be_given(TABLES[name]).values():
        assert not {"since", "introduced_by"} & column.keys(), column["name"]


def refused(path, token):
    """Insert a row into every table as the app does, and return the tables that refuse theirs."""
    found = {}
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name in parents_first():
            try:
                connection.execute(insert(name, token))
            except sqlite3.IntegrityError as error:
                found[name] = str(error)
    return found


def test_a_new_database_takes_a_row_with_just_these_columns_in_every_table(path):
    Runner(path).migrate()

    assert refused(path, "one") == {}
    assert refused(path, "two") == {}
    assert files.orphans(path) <= {
        row for row in files.orphans(path) if row[2] in ("entry_types", "section_order", "relationship_definitions")
    }


MILESTONE = "INSERT INTO EntryStateMilestone (entry_id, target_state_id, order_position) VALUES (1, 1, 2)"


@pytest.mark.parametrize("strict", [False, True], ids=["plain", "strict"])
@pytest.mark.parametrize("name", histories.IDS)
def test_a_milestone_can_be_created_without_a_day_on_every_history(copy_of, name, strict):
    path = copy_of(name)
    Runner(path).migrate(strict=strict)
    days = {row["name"]: row for row in table_info(path, "EntryStateMilestone")}["days_from_start"]

    assert not days["notnull"] or days["dflt_value"] == "0"


def table_info(path, table):
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute("SELECT * FROM pragma_table_info(?)", [table]).fetchall()


def test_a_database_that_has_the_strict_form_already_gets_the_default_and_keeps_its_rows(path):
    Runner(path).migrate(to="framework/040_themes")
    files.run(path, "INSERT INTO EntryStateMilestone (entry_id, target_state_id, days_from_start) VALUES (1, 1, 9)")
    with pytest.raises(sqlite3.IntegrityError):
        files.run(path, MILESTONE)

    report = Runner(path).migrate()
    files.run(path, MILESTONE)

    assert report.backup is not None
    assert files.query(path, "SELECT days_from_start FROM EntryStateMilestone ORDER BY id") == [(9,), (0,)]
    assert not Runner(path).drift(strict=True)


def test_a_milestone_whose_day_may_be_null_stays_as_it_is(path):
    Runner(path).migrate(to="framework/040_themes")
    ((form,),) = files.query(path, "SELECT sql FROM sqlite_master WHERE name = 'EntryStateMilestone'")
    loose = form.replace('"days_from_start" INTEGER NOT NULL', '"days_from_start" INTEGER')
    files.run(path, f"DROP TABLE EntryStateMilestone; {loose}; {MILESTONE}")

    Runner(path).migrate()

    assert files.query(path, "SELECT days_from_start FROM EntryStateMilestone") == [(None,)]


@pytest.mark.parametrize(
    ("name", "copied"),
    [
        pytest.param("init-448549a", False, id="no milestones yet"),
        pytest.param("life-b5567b6-to-8ac74ac", True, id="milestones that need a day"),
    ],
)
def test_a_copy_comes_first_where_the_milestones_are_rebuilt(copy_of, name, copied):
    assert (Runner(copy_of(name)).migrate().backup is not None) is copied

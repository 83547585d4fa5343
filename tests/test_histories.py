import random
import sqlite3
from contextlib import closing

import histories
import pytest
import schema_facts
import sqlite_files as files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framework_schema.report import State
from framework_schema.runner import Runner

SPECIFIED = schema_facts.specified()

MAY_CHANGE = {
    "Note.url_bookmarks": {None, "", "[]"},
    "Note.file_paths": {None, "", "[]"},
    "Entry.commenced_at": {None},
    "EntryLayoutSection.section_type": {"labels"},
    "KanbanBoard.is_default": {1},
    "EntryStateMilestone.target_state_name": {None},
    "EntryStateMilestone.target_state_color": {None},
    "EntryStateMilestone.duration_days": {None, 0},
    "EntryStateMilestone.order_position": {None, 0},
    "SensorRegistration.board_type": {None},
    "SensorScripts.library_script_id": {None},
}
"""Old values that a data migration of schema.yaml speaks of; all others stay."""

FILLED = MAY_CHANGE.keys() | {
    "SystemParameters.parameter_name",  # from key and value, as the first files had them
    "SystemParameters.parameter_value",
    "Note.note_text",  # from content
    "EntryStateMilestone.days_from_start",  # from the deleted ordering script's duration_days
}
"""Columns that a data migration fills in old rows."""


def lost(before, path):
    """Yield every old value that is no longer there, a data migration's own aside."""
    for table, old in before.items():
        now = files.rows(path, table)
        for rowid, row in old.items():
            if rowid not in now:
                yield table, rowid, "the row is gone"
                continue
            for column, value in row.items():
                is_same = column in now[rowid] and now[rowid][column] == value
                if not is_same and value not in MAY_CHANGE.get(f"{table}.{column}", ()):
                    yield table, rowid, column


def missing(path):
    """Yield every specified table, column and index that is not there, under its name or as what it does."""
    found, indexes, shapes = files.tables(path), files.indexes(path), schema_facts.index_shapes(path)
    for table, facts in SPECIFIED.items():
        for column, *_ in facts["columns"]:
            if column not in found.get(table, ()):
                yield table, column
        for index, shape in facts["indexes"].items():
            if index not in indexes and shape not in shapes.get(table, ()):
                yield table, index


def all_rows(path):
    return {table: files.rows(path, table) for table in files.tables(path)}


@pytest.fixture(params=histories.IDS)
def history(request, copy_of):
    return copy_of(request.param)


def test_the_histories_are_fifteen_and_none_is_as_specified(historical):
    assert len(historical) == 15
    for path in historical.values():
        assert list(missing(path))


def test_a_history_loses_nothing_and_lacks_nothing_after_migrate(history):
    before, broken = all_rows(history), files.orphans(history)

    report = Runner(history).migrate()

    assert report.state is State.MIGRATED
    assert list(lost(before, history)) == []
    assert list(missing(history)) == []
    assert files.integrity(history) == ["ok"]
    assert files.orphans(history) <= broken
    assert all(success for _, success in files.history(history))


def test_a_second_run_changes_no_byte(history):
    Runner(history).migrate()
    before = files.digest(history)

    report = Runner(history).migrate()

    assert (report.state, report.applied, report.aligned) == (State.CURRENT, [], ())
    assert files.digest(history) == before == (before[0], [])


@pytest.mark.parametrize("when", ["before", "after"])
def test_looking_changes_no_byte(history, when):
    if when == "after":
        Runner(history).migrate()
    before, changed_at = files.digest(history), history.stat().st_mtime_ns
    runner = Runner(history)

    status, plan, drift = runner.status(), runner.plan(), runner.drift()
    runner.drift(strict=True)
    runner.history()
    runner.history(events=True)

    assert status.state is (State.PENDING if when == "before" else State.CURRENT)
    assert bool(plan) is bool(drift.additive) is (when == "before")
    assert files.digest(history) == before
    assert history.stat().st_mtime_ns == changed_at


def test_old_rows_of_the_history_stay_and_prove_nothing(copy_of):
    path = copy_of("boot-fresh-newest-1")
    old = files.rows(path, "schema_migrations")
    files.run(path, "DROP TABLE DashboardWidget; DROP TABLE Dashboard;")

    Runner(path).migrate()

    now = files.rows(path, "schema_migrations")
    assert {rowid: now[rowid] for rowid in old} == old
    assert {"Dashboard", "DashboardWidget"} <= files.tables(path).keys()


def test_an_added_column_holds_its_constant_default_in_old_rows(history):
    old = files.tables(history)

    Runner(history).migrate()

    for table in old.keys() & SPECIFIED.keys():
        for column, _, _, default in SPECIFIED[table]["columns"]:
            if column in old[table] or f"{table}.{column}" in FILLED:
                continue
            constant = "NULL" if default is None or "CURRENT_" in default else default
            wanted = files.query(history, f"SELECT {constant}")
            assert files.query(history, f'SELECT DISTINCT "{column}" FROM "{table}"') in (wanted, []), (table, column)


# Histories that claim more than they have


@pytest.fixture(scope="session")
def aligned(historical, tmp_path_factory):
    path = tmp_path_factory.mktemp("aligned") / "aligned.db"
    path.write_bytes(historical["life-b5567b6-to-8ac74ac"].read_bytes())
    Runner(path).migrate()
    return path


def mutilate(path, dice):
    """Drop some tables, columns and indexes, as nobody should."""
    dropped = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        tables = sorted(SPECIFIED.keys() - {"schema_migrations"})
        for table in dice.sample(tables, dice.randint(0, 4)):
            connection.execute(f'DROP TABLE "{table}"')
            dropped.append(table)
        indexes = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")]
        for index in dice.sample(indexes, min(6, len(indexes))):
            if not index.startswith("sqlite_"):
                connection.execute(f'DROP INDEX "{index}"')
                dropped.append(index)
        columns = [(table, facts[0]) for table in tables for facts in SPECIFIED[table]["columns"]]
        for table, column in dice.sample(columns, 12):
            try:
                connection.execute(f'ALTER TABLE "{table}" DROP COLUMN "{column}"')
            except sqlite3.OperationalError:  # a key, or named by a CHECK, an index or a trigger
                continue
            dropped.append(f"{table}.{column}")
    return dropped


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_what_the_history_claims_and_the_database_lacks_is_made_again(aligned, tmp_path, seed):
    path = tmp_path / f"{seed}.db"
    path.write_bytes(aligned.read_bytes())
    dropped = mutilate(path, random.Random(seed))
    before, broken = all_rows(path), files.orphans(path)
    before.pop("schema_migrations", None)  # a data step that runs again has the later time

    report = Runner(path).migrate()
    after = files.digest(path)

    assert report.state is (State.MIGRATED if dropped else State.CURRENT)
    assert list(missing(path)) == []
    assert list(lost(before, path)) == []
    assert files.integrity(path) == ["ok"]
    assert files.orphans(path) <= broken
    assert Runner(path).migrate().state is State.CURRENT
    assert files.digest(path) == after

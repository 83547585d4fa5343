"""Other objects that have a name of the framework's: only what needs that very table has to wait for it."""

import pytest
import sqlite_files as files
from test_histories import missing

from framework_schema import MigrationFailed
from framework_schema.runner import Runner
from framework_schema.sources import collect, installed

IN_THE_WAY = {
    "a view": ("CREATE VIEW Dashboard AS SELECT 1 AS x", "the view Dashboard"),
    "a view in other letters": ("CREATE VIEW dashBOARD AS SELECT 1 AS x", "the view dashBOARD"),
    "an index": ("CREATE TABLE mine (a); CREATE INDEX dashboard ON mine (a)", "the index dashboard of the table mine"),
    "a virtual table": ("CREATE VIRTUAL TABLE Dashboard USING fts5(body)", "the virtual table Dashboard"),
}


@pytest.mark.parametrize(("statement", "holder"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_stands_where_a_table_is_to_be_made_costs_that_table_and_is_named(path, statement, holder):
    files.run(path, statement)

    with pytest.raises(MigrationFailed) as failed:
        Runner(path).migrate()

    report = failed.value.report
    assert report.failed == ["framework/004_dashboards"]
    assert f"{holder} stands where the table Dashboard is to be made; rename or drop it" in report.error
    assert "Error:" not in report.error
    assert {table for table, *_ in missing(path)} <= {"Dashboard", "DashboardWidget", "AISummaryCache"}


@pytest.mark.parametrize(("statement", "holder"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_stands_where_an_applied_table_was_is_named_and_all_else_is_mended(path, statement, holder):
    Runner(path).migrate()
    files.run(path, f"DROP TABLE Dashboard; DROP TABLE SavedSearch; {statement}")

    report = Runner(path).migrate()

    assert [item["text"] for item in report.left] == [
        f"table Dashboard of Dashboard is left as it is: {holder} has its name"
    ]
    assert "SavedSearch" in files.tables(path)
    assert Runner(path).status().state == "current"
    assert Runner(path).status().left == report.left


TAKEN = {
    "an index of another table": "CREATE INDEX {} ON mine (a)",
    "a table": "CREATE TABLE {} (a)",
    "a view": "CREATE VIEW {} AS SELECT 1 AS a",
}


@pytest.mark.parametrize("statement", TAKEN.values(), ids=TAKEN)
def test_an_index_whose_name_is_taken_gets_a_free_one(path, statement):
    names = ("dashboard_name", "IDX_widget_dashboard")
    files.run(path, f"CREATE TABLE mine (a); {'; '.join(map(statement.format, names))}")

    report = Runner(path).migrate()

    assert (report.state, report.left) == ("migrated", ())
    unique = [sql for sql in files.indexes(path).values() if "UNIQUE" in sql and 'ON "Dashboard"' in sql]
    assert len(unique) == 1
    assert not Runner(path).drift(strict=True)


def test_an_apps_own_table_of_a_frameworks_name_gets_the_columns_and_keeps_its_rows(path):
    files.run(path, "CREATE TABLE EntryState (code TEXT, descr TEXT); INSERT INTO EntryState VALUES ('a', 'b')")

    report = Runner(path).migrate()

    assert (report.state, report.failed) == ("migrated", [])
    assert files.query(path, "SELECT code, descr, name FROM EntryState") == [("a", "b", None)]
    assert list(missing(path)) == []


def test_a_table_kept_under_another_name_keeps_its_indexes_and_triggers_and_a_new_one_is_made(folder, runner, path):
    text = """
        def migrate(migrator, database, *, fake=False):
            migrator.sql("CREATE TABLE trade (id INTEGER PRIMARY KEY, pair TEXT)")
            migrator.sql("CREATE INDEX trade_pair ON trade (pair)")
            migrator.sql("CREATE TRIGGER trade_ai AFTER INSERT ON trade BEGIN SELECT 1; END")
    """
    source = folder({"001_trade": text})
    runner(source).migrate()
    files.run(path, "ALTER TABLE trade RENAME TO trade_bak0")

    report = runner(source).migrate()

    assert (report.state, report.left) == ("migrated", ())
    owners = dict(files.query(path, "SELECT name, tbl_name FROM sqlite_master WHERE type IN ('index', 'trigger')"))
    assert {"trade_pair": "trade_bak0", "trade_ai": "trade_bak0"}.items() <= owners.items()
    assert {"trade_pair_2": "trade", "trade_ai_2": "trade"}.items() <= owners.items()
    assert not runner(source).drift(strict=True)


def test_each_of_the_frameworks_scripts_names_those_that_make_the_tables_it_speaks_of():
    known = collect(installed())
    made = {}
    for migration in known.migrations:
        for table in files.words_after(migration.content.decode(), "table_name ="):
            made.setdefault(table, migration.key)
    for migration in known.migrations:
        body = migration.content.decode().split("def rollback")[0]
        needed = {made[word] for word in files.words(body) if word in made} - {migration.key}
        assert needed <= set(migration.depends_on), migration.key

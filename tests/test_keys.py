"""Primary keys and uniques that a table should have: every run makes them where the rows allow it."""

import pytest
import sqlite_files as files
from script_texts import sql

SETTINGS = "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT)"


@pytest.fixture
def wanted(folder, runner):
    return lambda *texts: runner(folder({"001_things": sql(*texts)}))


def test_a_missing_key_is_heeded_by_insert_or_replace_after_a_plain_run(wanted, path):
    files.run(path, "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT); INSERT INTO settings VALUES ('a', '1')")
    made = wanted(SETTINGS)

    report = made.migrate()
    for value in "234":
        files.run(path, f"INSERT OR REPLACE INTO settings (name, value) VALUES ('lang', '{value}')")

    assert report.left == ()
    assert files.query(path, "SELECT value FROM settings WHERE name = 'lang'") == [("4",)]
    assert made.migrate().state == "current"


def test_a_strict_run_makes_the_key_itself_and_drops_what_stood_in_for_it(wanted, path):
    files.run(path, "CREATE TABLE settings (name TEXT, value TEXT); INSERT INTO settings VALUES ('a', '1')")
    made = wanted(SETTINGS)
    made.migrate()

    made.migrate(strict=True)

    assert files.query(path, "SELECT name FROM pragma_table_info('settings') WHERE pk = 1") == [("name",)]
    assert not [sql for sql in files.indexes(path).values() if "settings" in sql]
    assert not made.drift(strict=True)


def test_rows_that_repeat_a_key_are_named_by_every_look_and_set_aside_by_repair(wanted, path):
    files.run(path, "CREATE TABLE settings (name TEXT, value TEXT)")
    files.run(path, "INSERT INTO settings VALUES ('a', '1'), ('a', '2'), ('b', '3'), (NULL, '4'), (NULL, '5')")
    made = wanted(SETTINGS)

    report = made.migrate()

    (left,) = report.left
    assert (left["kind"], left["rows"], left["repair"]) == ("key", 1, True)
    assert made.status().left == report.left
    assert made.status().state == "current"
    assert made.migrate(strict=True, repair=True).left == ()
    assert files.query(path, "SELECT value FROM settings ORDER BY 1") == [("1",), ("3",), ("4",), ("5",)]
    assert files.query(path, "SELECT value FROM settings_set_aside") == [("2",)]


def test_a_row_without_a_number_gets_its_rowid_when_a_table_gets_its_key(wanted, path):
    files.run(
        path, "CREATE TABLE own (code TEXT); INSERT INTO own VALUES ('a'), ('b'); DELETE FROM own WHERE code = 'a'"
    )
    made = wanted("CREATE TABLE IF NOT EXISTS own (id INTEGER PRIMARY KEY AUTOINCREMENT, code TEXT)")

    report = made.migrate(strict=True)

    assert report.left == ()
    assert files.query(path, "SELECT id, code FROM own") == [(2, "b")]


@pytest.mark.parametrize(
    ("unique", "rows", "refused"),
    [
        pytest.param("CREATE UNIQUE INDEX u ON t (a)", "(NULL, 1), (NULL, 1), ('k', 2)", "('k', 9)", id="NULLs"),
        pytest.param(
            "CREATE UNIQUE INDEX u ON t (a, b)", "('x', NULL), ('x', NULL), ('y', 1)", "('y', 1)", id="a pair"
        ),
        pytest.param("CREATE UNIQUE INDEX u ON t (a DESC)", "('x', 1), ('y', 1)", "('y', 9)", id="descending"),
        pytest.param("CREATE UNIQUE INDEX u ON t (lower(a))", "('x', 1), ('Y', 1), (NULL, 1)", "('y', 9)", id="lower"),
        pytest.param("CREATE UNIQUE INDEX u ON t (a COLLATE NOCASE)", "('x', 1), ('Y', 1)", "('y', 9)", id="NOCASE"),
        pytest.param("CREATE UNIQUE INDEX u ON t (a) WHERE b > 1", "('x', 1), ('x', 1)", None, id="partial"),
    ],
)
def test_a_unique_whose_rows_allow_it_is_made_by_a_plain_run(wanted, path, unique, rows, refused):
    made = wanted("CREATE TABLE IF NOT EXISTS t (a TEXT, b INTEGER)", unique.replace("INDEX", "INDEX IF NOT EXISTS"))
    made.migrate()
    files.run(path, f"DROP INDEX u; INSERT INTO t VALUES {rows}")
    before = files.query(path, "SELECT * FROM t")

    report = made.migrate()

    assert (report.state, report.left) == ("migrated", ())
    assert files.indexes(path)["u"].startswith("CREATE UNIQUE")
    assert files.query(path, "SELECT * FROM t") == before
    if refused:
        with pytest.raises(Exception, match="UNIQUE"):
            files.run(path, f"INSERT INTO t VALUES {refused}")


@pytest.mark.parametrize("index", ["a", "a DESC", "lower(a)", "a COLLATE NOCASE", "a) WHERE (b > 0"])
def test_rows_that_do_repeat_a_value_are_counted_and_shown_whatever_the_unique_is_over(wanted, path, index):
    text = f"CREATE UNIQUE INDEX IF NOT EXISTS u ON t ({index})"
    made = wanted("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER)", text)
    made.migrate()
    files.run(path, "DROP INDEX u; INSERT INTO t (a, b) VALUES ('x', 1), ('x', 1), ('x', 1), ('z', 1), (NULL, 1)")

    (left,) = made.migrate().left

    assert left["rows"] == 2
    assert len(files.query(path, left["query"])) == 1
    assert made.migrate(strict=True, repair=True).left == ()
    assert files.query(path, "SELECT id FROM t ORDER BY id") == [(1,), (4,), (5,)]


def test_an_inline_unique_on_a_column_of_another_collation_is_one(wanted, path):
    inline = "CREATE TABLE IF NOT EXISTS login (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE)"
    files.run(path, "CREATE TABLE login (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO login (name) VALUES ('Ada')")
    made = wanted(inline)

    assert made.migrate().left == ()
    assert made.migrate(strict=True).left == ()
    assert not made.drift(strict=True)
    with pytest.raises(Exception, match="UNIQUE"):
        files.run(path, "INSERT INTO login (name) VALUES ('ADA')")


def test_names_that_are_one_by_the_expected_collation_are_named(wanted, path):
    inline = (
        "CREATE TABLE IF NOT EXISTS login (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE, x INTEGER NOT NULL)"
    )
    files.run(path, "CREATE TABLE login (id INTEGER PRIMARY KEY, name TEXT UNIQUE, x INTEGER)")
    files.run(path, "INSERT INTO login VALUES (1, 'Ada', 1), (2, 'ADA', 2)")
    made = wanted(inline)

    (left,) = made.migrate(strict=True).left

    assert (left["kind"], left["rows"]) == ("unique", 1)
    assert [d.kind for d in made.drift(strict=True).differences if not d.extra] == ["unique"]
    assert made.migrate(strict=True, repair=True).left == ()
    assert not made.drift(strict=True)

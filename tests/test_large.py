"""Large files: memory does not grow with their rows, and what touches no row does not read them all."""

import random
import sqlite3
from contextlib import closing

import peewee as pw
import pytest
import sqlite_files as files
from script_texts import script, sql

from framework_schema.errors import RowsTouched, Unreadable
from framework_schema.report import State
from framework_schema.sqlite import WHOLE_CHECK_UP_TO, SqliteDialect

MEMORY = """
    import resource, sys
    from framework_schema.runner import Runner

    Runner(sys.argv[1]).migrate(strict=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
SMALL, LARGE = 1_000, 1_000_000
ALLOWANCE_KB = 24 * 1024
"""SQLite's page cache, 2 MB a connection, the sorter of an index, and the noise of two processes."""


def entries(path, rows):
    """Make an ``Entry`` of the past: other types, no foreign key, no index, ``rows`` rows."""
    files.run(path, "CREATE TABLE EntryType (id INTEGER PRIMARY KEY, name, singular_label, plural_label)")
    files.run(path, "INSERT INTO EntryType VALUES (1, 'a', 'b', 'c')")
    files.run(path, "CREATE TABLE Entry (id INTEGER PRIMARY KEY, title VARCHAR(500), entry_type_id INT, created_at)")
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
    files.run(path, f"INSERT INTO Entry {numbers} SELECT i, 'entry ' || i, 1, '2025-01-01 10:00:00' FROM n")
    return path


@pytest.mark.slow
def test_a_million_rows_are_rebuilt_in_the_memory_of_a_thousand(tmp_path, python):
    small, large = (entries(tmp_path / f"{rows}.db", rows) for rows in (SMALL, LARGE))

    needed = [int(python(MEMORY, path).stdout) for path in (small, large)]

    assert files.query(large, "SELECT count(*), max(title) FROM Entry") == [(LARGE, "entry 999999")]
    assert "REFERENCES" in files.query(large, "SELECT sql FROM sqlite_master WHERE name = 'Entry'")[0][0]
    assert needed[1] - needed[0] < ALLOWANCE_KB


# What of a large file is checked, and when

FIRST = """
@migrator.create_model
class Item(pw.Model):
    name = pw.TextField()
    size = pw.IntegerField(null=True)
    class Meta:
        table_name = 'item'
"""
ROWLESS = {
    "column": "migrator.add_fields('item', colour=pw.TextField(null=True))",
    "column with a constant default": (
        "migrator.add_fields('item', colour=pw.TextField(constraints=[pw.SQL(\"DEFAULT 'red'\")]))"
    ),
    "column renamed": "migrator.rename_field('item', 'size', 'width')",
    "table renamed": "migrator.rename_table('item', 'thing')",
    "table": "migrator.create_model(type('Other', (pw.Model,), {'name': pw.TextField()}))",
}
READING = {
    "index": "migrator.add_index('item', 'size')",
    "rows counted": "database.execute_sql('SELECT count(*) FROM item').fetchone()",
}
TOUCHING = {
    "rows written": "migrator.sql(\"INSERT INTO item (name) VALUES ('new')\")",
    "rows changed": "database.execute_sql('UPDATE item SET size = size + 1 WHERE id = 1')",
    "rows removed": "database.connection().execute('DELETE FROM item WHERE id = 2')",
    "table rebuilt": "migrator.change_fields('item', size=pw.TextField(null=True))",
    "column filled": "migrator.add_fields('item', at=pw.TextField(default=lambda: 'now'))",
    "column dropped": "migrator.remove_fields('item', 'size')",
    "table dropped": "migrator.remove_model('item')",
    "schema edited": "database.execute_sql('PRAGMA writable_schema = 1')",
    "refusal swallowed": """
        try:
            database.execute_sql('DELETE FROM item')
        except pw.DatabaseError:
            pass
    """,
}


@pytest.fixture
def large(path, folder, runner):
    """A database too large to be checked whole at every turn, at its first script; returns its runner with a second."""
    runner(folder({"001_item": script(FIRST)})).migrate()
    with closing(sqlite3.connect(path)) as connection, connection:
        texts = ((f"{n} ".ljust(10_000, "x"), n) for n in range(WHOLE_CHECK_UP_TO // 9_000))
        connection.executemany("INSERT INTO item (name, size) VALUES (?, ?)", texts)

    def with_second(text, **settings):
        return runner(folder({"001_item": script(FIRST), "002_change": text}), **settings)

    return with_second


def damage(path):
    """Overwrite the middle of the file, which is a page of the table; return the file's digest."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = random.Random(1).randbytes(4096)
    path.write_bytes(content)
    return files.digest(path)


def is_stopped(path, statement):
    """Run one statement in a sealed step; tell whether it was not let through."""
    database = pw.SqliteDatabase(path)
    with database.connection_context(), database.atomic():
        try:
            with SqliteDialect().step(database, "app/001_test", sealed=True):
                database.execute_sql(statement)
        except RowsTouched:
            return True
    return False


@pytest.mark.parametrize("body", ROWLESS.values(), ids=ROWLESS.keys())
def test_what_touches_no_row_does_not_wait_for_the_check_of_a_large_file(large, path, body):
    damage(path)

    assert large(script(body)).migrate().state is State.MIGRATED


@pytest.mark.parametrize("body", READING.values(), ids=READING.keys())
def test_what_reads_a_damaged_table_of_a_large_file_ends_the_run_unchanged(large, path, body):
    before = damage(path)

    with pytest.raises(Unreadable, match=r"damaged\. Nothing was changed"):
        large(script(body)).migrate()

    assert files.digest(path) == before


@pytest.mark.parametrize("body", TOUCHING.values(), ids=TOUCHING.keys())
def test_what_touches_rows_is_refused_on_a_damaged_large_file(large, path, body):
    before = damage(path)

    with pytest.raises(Unreadable, match=r"(?s)homebrew\.db: the database is damaged.*Nothing was changed"):
        large(script(body)).migrate()

    assert files.digest(path) == before


@pytest.mark.parametrize("settings", [{"integrity": "always"}, {"align": "strict"}])
def test_a_damaged_large_file_is_refused_where_rows_may_move_or_the_config_says_so(large, path, settings):
    before = damage(path)

    with pytest.raises(Unreadable, match="is damaged"):
        large(script(ROWLESS["column"]), **settings).migrate()

    assert files.digest(path) == before


def test_a_script_outside_of_a_transaction_waits_for_the_whole_check(large, path):
    before = damage(path)

    with pytest.raises(Unreadable, match="is damaged"):
        large(script(ROWLESS["column"], head="atomic = False")).migrate()

    assert files.digest(path) == before


@pytest.mark.parametrize("body", TOUCHING.values(), ids=TOUCHING.keys())
def test_a_script_that_was_stopped_for_the_check_has_its_effect_once(large, path, body):
    (count,) = files.query(path, "SELECT count(*) FROM item")[0]

    report = large(script(body)).migrate()

    assert (report.state, report.applied) == (State.MIGRATED, ["app/002_change"])
    assert [e for e in files.events(path, "applied", "failed") if e[1] == "app/002_change"] == [
        ("applied", "app/002_change", "ok")
    ]
    if "INSERT" in body:
        assert files.query(path, "SELECT count(*) FROM item") == [(count + 1,)]
    if "size + 1" in body:
        assert files.query(path, "SELECT size FROM item WHERE id = 1") == [(1,)]
    assert files.integrity(path) == ["ok"]


def test_scripts_before_the_one_that_touches_rows_stand_with_it(large, path, folder, runner):
    scripts = {
        "001_item": script(FIRST),
        "002_column": script(ROWLESS["column"]),
        "003_rows": sql("UPDATE item SET colour = 'red' WHERE id < 4"),
        "004_index": script(READING["index"]),
    }

    assert runner(folder(scripts)).migrate().applied == ["app/002_column", "app/003_rows", "app/004_index"]
    assert files.query(path, "SELECT count(*) FROM item WHERE colour = 'red'") == [(3,)]


@pytest.mark.parametrize(
    ("statement", "touches"),
    [
        pytest.param("ALTER TABLE item ADD COLUMN a INTEGER NOT NULL DEFAULT 3", False, id="column"),
        pytest.param("ALTER TABLE item ADD COLUMN a INTEGER CHECK (a > 0)", False, id="column with a CHECK"),
        pytest.param("ALTER TABLE item ADD COLUMN a REFERENCES other (id)", False, id="reference"),
        pytest.param("ALTER TABLE item RENAME COLUMN size TO width", False, id="rename column"),
        pytest.param("ALTER TABLE item RENAME TO thing", False, id="rename table"),
        pytest.param("CREATE UNIQUE INDEX one ON item (name, size)", False, id="unique index"),
        pytest.param("CREATE TABLE new (id INTEGER PRIMARY KEY AUTOINCREMENT)", False, id="table"),
        pytest.param("CREATE TABLE new AS SELECT * FROM item", False, id="table of rows, the old ones stay"),
        pytest.param("CREATE TRIGGER t AFTER INSERT ON item BEGIN DELETE FROM item; END", False, id="trigger"),
        pytest.param("CREATE VIEW v AS SELECT * FROM item", False, id="view"),
        pytest.param("DROP TRIGGER kept", False, id="drop trigger"),
        pytest.param("SELECT max(size) FROM item", False, id="select"),
        pytest.param("ALTER TABLE item DROP COLUMN size", True, id="drop column"),
        pytest.param("DROP INDEX by_size", True, id="drop index"),
        pytest.param("DROP TABLE item", True, id="drop table"),
        pytest.param("INSERT INTO item (name) SELECT name FROM item", True, id="insert"),
        pytest.param("REPLACE INTO item (id, name) VALUES (1, 'b')", True, id="replace"),
        pytest.param("UPDATE item SET name = 'b'", True, id="update"),
        pytest.param("DELETE FROM item", True, id="delete"),
        pytest.param("PRAGMA writable_schema = 1", True, id="writable_schema"),
        pytest.param("ANALYZE", True, id="analyze"),
    ],
)
def test_sqlite_tells_which_statements_touch_rows(path, statement, touches):
    files.run(path, """
        CREATE TABLE other (id INTEGER PRIMARY KEY AUTOINCREMENT);
        CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, size INTEGER CHECK (size > -1));
        CREATE TRIGGER kept AFTER DELETE ON other BEGIN SELECT 1; END;
        INSERT INTO item (name, size) VALUES ('a', 1);
    """ + ("CREATE INDEX by_size ON item (size);" if "INDEX by_size" in statement else ""))  # fmt: skip

    assert is_stopped(path, statement) is touches

"""Rows set aside: where they are, who says so, and how they come back."""

import json

import pytest
import sqlite_files as files
from click.testing import CliRunner
from script_texts import sql

from framework_schema.cli import main
from framework_schema.doctor import diagnose
from framework_schema.runner import Runner

TABLES = (
    "CREATE TABLE IF NOT EXISTS kind (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS thing (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,"
    " kind_id INTEGER NOT NULL REFERENCES kind (id), other_id INTEGER REFERENCES kind (id))",
)
OLD = """
    CREATE TABLE kind (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE thing (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, kind_id INTEGER, other_id INTEGER);
    INSERT INTO kind VALUES (1, 'a'), (2, NULL), (3, 'a');
    INSERT INTO thing VALUES (1, 'x', 1, 1), (2, 'y', 2, NULL), (3, 'z', 1, 9), (4, NULL, 1, x'00ff');
"""
ROWS = "SELECT id, name, kind_id, other_id FROM thing ORDER BY id"


@pytest.fixture
def repaired(folder, runner, path):
    """A database whose rows were set aside, and its runner."""
    files.run(path, OLD)
    source = folder({"001_things": sql(*TABLES)})
    report = runner(source).migrate(strict=True, repair=True)
    assert (report.state, report.left) == ("migrated", ())
    return runner(source)


def test_every_row_that_went_is_kept_with_a_reason_and_comes_back_once_it_is_mended(repaired, path):
    assert files.query(path, ROWS) == [(1, "x", 1, 1), (3, "z", 1, None)]
    assert len(files.query(path, "SELECT 1 FROM kind_set_aside")) == 2

    done, kept = repaired.restore_rows()
    assert done == ()
    assert {item.table for item in kept} == {"kind", "thing"}

    files.run(
        path, "UPDATE kind_set_aside SET name = 'b' WHERE id = 2; UPDATE kind_set_aside SET name = 'c' WHERE id = 3"
    )
    files.run(path, "UPDATE thing_set_aside SET name = 'w', other_id = NULL WHERE id = 4")
    files.run(path, "INSERT INTO kind VALUES (9, 'nine')")
    done, kept = repaired.restore_rows()

    assert sorted(done) == ["kind: 2 rows brought back", "thing: 3 rows brought back"]
    assert kept == ()
    assert files.query(path, ROWS) == [(1, "x", 1, 1), (2, "y", 2, None), (3, "z", 1, 9), (4, "w", 1, None)]
    assert not {"kind_set_aside", "thing_set_aside"} & set(files.tables(path))
    assert not files.orphans(path)
    details = files.query(path, "SELECT detail FROM schema_migration_events WHERE kind = 'restored'")
    assert ("thing: 3 rows brought back",) in details


def test_a_restored_row_never_takes_the_place_of_another(repaired, path):
    files.run(
        path, "INSERT INTO thing VALUES (4, 'new', 1, NULL); UPDATE thing_set_aside SET name = 'w', other_id = NULL"
    )

    repaired.restore_rows()

    assert (4, "new", 1, None) in files.query(path, ROWS)
    assert len(files.query(path, "SELECT 1 FROM thing_set_aside WHERE id = 4")) == 1


def test_doctor_and_the_command_tell_what_is_set_aside(repaired, path):
    texts = [finding.what for finding in diagnose(repaired)]
    assert any(
        "rows of kind set aside in kind_set_aside" in text or "1 row of kind set aside" in text for text in texts
    )

    done = CliRunner().invoke(main, ["--json", "restore-rows", str(path)])

    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert {item["table"] for item in found["set_aside"]} == {"kind", "thing"}
    assert all(item["reason"] for item in found["set_aside"])


def test_values_are_kept_as_they_are_whatever_their_type(repaired, path):
    assert files.query(path, "SELECT other_id, typeof(other_id) FROM thing_set_aside WHERE id = 4 ORDER BY 2")[0] == (
        b"\x00\xff",
        "blob",
    )


def test_a_table_of_somebody_elses_under_that_name_is_left_alone(folder, runner, path):
    files.run(path, OLD + "CREATE TABLE thing_set_aside (mine TEXT); INSERT INTO thing_set_aside VALUES ('m')")

    runner(folder({"001_things": sql(*TABLES)})).migrate(strict=True, repair=True)

    assert files.query(path, "SELECT * FROM thing_set_aside") == [("m",)]
    assert files.query(path, "SELECT id FROM thing_set_aside_2 WHERE set_aside_cleared IS NULL ORDER BY id") == [
        (2,),
        (4,),
    ]


def test_rows_of_a_table_without_rowid_are_set_aside_and_come_back(folder, runner, path):
    source = folder(
        {
            "001_tags": sql(
                "CREATE TABLE IF NOT EXISTS tag (word TEXT NOT NULL, of INTEGER NOT NULL, note TEXT NOT NULL,"
                " PRIMARY KEY (word, of)) WITHOUT ROWID"
            )
        }
    )
    files.run(path, "CREATE TABLE tag (word TEXT, of INTEGER, note TEXT, PRIMARY KEY (word, of)) WITHOUT ROWID")
    files.run(path, "INSERT INTO tag VALUES ('a', 1, 'n'), ('b', 1, NULL)")
    made = runner(source)

    assert made.migrate(strict=True, repair=True).left == ()
    assert files.query(path, "SELECT * FROM tag") == [("a", 1, "n")]
    files.run(path, "UPDATE tag_set_aside SET note = 'late'")
    made.restore_rows()

    assert files.query(path, "SELECT * FROM tag ORDER BY 1") == [("a", 1, "n"), ("b", 1, "late")]


def test_restoring_where_nothing_is_set_aside_writes_nothing(path):
    Runner(path).migrate()
    before = files.digest(path)

    assert Runner(path).restore_rows() == ((), ())
    assert files.digest(path) == before


def test_a_row_whose_table_has_lost_a_column_it_has_a_value_for_stays_set_aside(folder, runner, path):
    text = "CREATE TABLE IF NOT EXISTS e (id INTEGER PRIMARY KEY, t TEXT NOT NULL)"
    files.run(
        path, "CREATE TABLE e (id INTEGER PRIMARY KEY, t TEXT, note TEXT); INSERT INTO e VALUES (1, NULL, 'precious')"
    )
    made = runner(folder({"001_e": sql(text)}))
    made.migrate(strict=True, repair=True)
    files.run(path, "ALTER TABLE e RENAME COLUMN note TO remark; UPDATE e_set_aside SET t = 'x'")

    done, kept = made.restore_rows()

    assert (done, len(kept)) == ((), 1)
    assert files.query(path, "SELECT note FROM e_set_aside") == [("precious",)]


@pytest.mark.parametrize("column", ["up", "it's", "a, b"])
def test_a_reference_is_given_back_to_its_own_row_only_whatever_its_name(folder, runner, path, column):
    name = f'"{column}"'
    text = f"CREATE TABLE IF NOT EXISTS c (id INTEGER PRIMARY KEY, t TEXT, {name} INTEGER REFERENCES kind (id))"
    files.run(
        path, f"CREATE TABLE kind (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, t TEXT, {name})"
    )
    files.run(path, "INSERT INTO c VALUES (1, 'old', 99), (2, 'kept', 98)")
    made = runner(folder({"001_c": sql("CREATE TABLE IF NOT EXISTS kind (id INTEGER PRIMARY KEY)", text)}))
    assert made.migrate(strict=True, repair=True).left == ()
    files.run(
        path, "DELETE FROM c WHERE id = 1; INSERT INTO c VALUES (1, 'new', NULL); INSERT INTO kind VALUES (98), (99)"
    )

    made.restore_rows()

    assert files.query(path, "SELECT * FROM c ORDER BY id") == [(1, "new", None), (2, "kept", 98)]


def test_no_trigger_fires_when_a_null_gets_its_default(folder, runner, path):
    text = "CREATE TABLE IF NOT EXISTS e (id INTEGER PRIMARY KEY, n INTEGER NOT NULL DEFAULT 0, changed TEXT)"
    files.run(
        path, "CREATE TABLE e (id INTEGER PRIMARY KEY, n INTEGER, changed TEXT); INSERT INTO e VALUES (1, NULL, '2001')"
    )
    files.run(path, "CREATE TRIGGER touch AFTER UPDATE ON e BEGIN UPDATE e SET changed = 'now'; END")

    runner(folder({"001_e": sql(text)})).migrate(strict=True, repair=True)

    assert files.query(path, "SELECT n, changed FROM e") == [(0, "2001")]
    assert files.query(path, "SELECT count(*) FROM sqlite_master WHERE name = 'touch'") == [(1,)]

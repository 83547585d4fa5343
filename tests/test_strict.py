"""One schema whatever the past: what ``--strict`` makes equal, what it leaves, and what ``--repair`` mends."""

import json

import histories
import pytest
import sqlite_files as files
from click.testing import CliRunner
from script_texts import sql
from test_histories import all_rows, lost

from framework_schema.cli import main
from framework_schema.dialects import memory
from framework_schema.expected import expected_schema
from framework_schema.runner import Runner
from framework_schema.sources import collect, installed
from framework_schema.sqlite_snapshot import of_database


def expected_of(known):
    return expected_schema(known.migrations, "schema_migrations", True)


def digest_of(path, expected):
    runner = Runner(path)
    with runner.target.connected() as database:
        return of_database(database, structural=True).within(expected).digest


ROUTES = {
    "strict at once": lambda path: Runner(path).migrate(strict=True),
    "migrate, then strict": lambda path: (Runner(path).migrate(), Runner(path).migrate(strict=True))[-1],
}


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
@pytest.mark.parametrize("name", histories.IDS)
def test_every_history_ends_with_the_one_schema_but_for_rules_its_rows_forbid(copy_of, name, route):
    path = copy_of(name)
    before, broken = all_rows(path), files.orphans(path)
    expected = expected_of(collect(installed()))

    report = route(path)

    left = {(item["table"], item["kind"]) for item in report.left}
    drift = {(d.table, d.kind) for d in Runner(path).drift(strict=True).differences if not d.extra}
    assert drift == left
    assert left or digest_of(path, expected) == expected.within(expected).digest
    assert list(lost(before, path)) == []
    assert files.integrity(path) == ["ok"]
    assert files.orphans(path) <= broken


@pytest.mark.parametrize("name", histories.IDS)
def test_a_second_strict_run_changes_no_byte(copy_of, name):
    path = copy_of(name)
    Runner(path).migrate(strict=True)
    before = files.digest(path)

    assert Runner(path).migrate(strict=True).state == "current"
    assert files.digest(path) == before


PARENT = "CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE)"
WANTED = """
    CREATE TABLE thing (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        size INTEGER NOT NULL DEFAULT 1 CHECK (size > 0),
        parent_id INTEGER REFERENCES parent (id) ON DELETE CASCADE,
        UNIQUE (name, parent_id)
    )"""
INDEX = "CREATE INDEX thing_size ON thing (size DESC) WHERE size > 10"
TRIGGER = "CREATE TRIGGER thing_touch AFTER UPDATE ON thing BEGIN SELECT 1; END"


@pytest.fixture
def wanted(folder, runner):
    """A runner that expects ``parent`` and ``thing``."""
    texts = [
        text.replace(" parent (id I", " IF NOT EXISTS parent (id I").replace(" thing (\n", " IF NOT EXISTS thing (\n")
        for text in (PARENT, WANTED)
    ]
    texts += [INDEX.replace("INDEX", "INDEX IF NOT EXISTS"), TRIGGER.replace("TRIGGER", "TRIGGER IF NOT EXISTS")]
    return lambda: runner(folder({"001_things": sql(*texts)}))


OTHER_FORMS = {
    "another type": WANTED.replace("name TEXT", "name VARCHAR(500)"),
    "NULL allowed": WANTED.replace("name TEXT NOT NULL", "name TEXT"),
    "another default": WANTED.replace("DEFAULT 1", "DEFAULT '1'"),
    "no default": WANTED.replace("DEFAULT 1", ""),
    "no CHECK": WANTED.replace("CHECK (size > 0)", ""),
    "another CHECK": WANTED.replace("CHECK (size > 0)", "CHECK (size > 0 AND size < 100)"),
    "one CHECK more": WANTED.replace("UNIQUE", "CHECK (name <> ''), UNIQUE"),
    "no foreign key": WANTED.replace("REFERENCES parent (id) ON DELETE CASCADE", ""),
    "another action": WANTED.replace("ON DELETE CASCADE", "ON DELETE SET NULL"),
    "a foreign key to elsewhere": WANTED.replace("REFERENCES parent (id)", "REFERENCES elsewhere (id)"),
    "a foreign key more": WANTED.replace("name TEXT NOT NULL", "name TEXT NOT NULL REFERENCES parent (code)"),
    "no unique": WANTED.replace(",\n        UNIQUE (name, parent_id)", ""),
    "a narrower unique": WANTED.replace("UNIQUE (name, parent_id)", "UNIQUE (name)"),
    "a narrower unique besides": WANTED.replace("name TEXT NOT NULL", "name TEXT NOT NULL UNIQUE"),
    "no AUTOINCREMENT": WANTED.replace("AUTOINCREMENT", ""),
    "another primary key": WANTED.replace("PRIMARY KEY AUTOINCREMENT", "NOT NULL").replace("UNIQUE", "PRIMARY KEY"),
    "STRICT": WANTED + " STRICT",
    "a collation": WANTED.replace("name TEXT NOT NULL", "name TEXT NOT NULL COLLATE NOCASE"),
    "a column in other letters": WANTED.replace("name TEXT", "Name TEXT"),
    "an extra column that no insert fills": WANTED.replace("size", "kind TEXT NOT NULL, size", 1),
    "comments and odd quotes": WANTED.replace("name TEXT", "[name] -- it's, (odd\n TEXT /* ) , */").replace(
        "NOT NULL", ""
    ),
}


@pytest.mark.parametrize("form", OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_whatever_form_a_table_has_it_gets_the_expected_one(wanted, path, form):
    files.run(path, f"{PARENT}; {form}; CREATE TABLE child (thing_id INTEGER REFERENCES thing (id) ON DELETE CASCADE);")
    files.run(path, "INSERT INTO parent VALUES (1, 'a'), (2, 'b')")
    names = [name for name in files.columns(path, "thing") if name != "kind"]
    extra = ", kind" if "kind" in files.columns(path, "thing") else ""
    values = [(7, "'a'", 5, 1), (9, "'b'", 6, 2)]
    for row in values:
        texts = ", ".join(map(str, row)) + (", 'k'" if extra else "")
        files.run(path, f"INSERT INTO thing ({', '.join(names)}{extra}) VALUES ({texts})")
    files.run(path, "INSERT INTO child VALUES (7), (9)")
    before = files.rows(path, "thing", names)

    report = wanted().migrate(strict=True)

    assert report.left == ()
    assert not wanted().drift(strict=True)
    assert [list(row.values()) for row in files.rows(path, "thing", names).values()] == [
        list(row.values()) for row in before.values()
    ]
    assert files.query(path, "SELECT count(*) FROM child") == [(2,)]
    assert extra == "" or files.query(path, "SELECT DISTINCT kind FROM thing") == [("k",)]


def test_an_index_or_trigger_of_the_expected_name_and_another_meaning_is_made_anew(wanted, path):
    files.run(path, f"{PARENT}; {WANTED}; CREATE INDEX thing_size ON thing (name);")
    files.run(path, "CREATE TRIGGER thing_touch AFTER DELETE ON thing BEGIN SELECT 2; END")

    wanted().migrate(strict=True)

    assert files.indexes(path)["thing_size"] == INDEX
    assert files.query(path, "SELECT sql FROM sqlite_master WHERE name = 'thing_touch'") == [(TRIGGER,)]


def test_what_only_the_database_has_survives_a_rebuild(wanted, path):
    form = WANTED.replace("name TEXT NOT NULL", "name TEXT, extra TEXT DEFAULT 'x' CHECK (extra <> size)")
    files.run(path, f"{PARENT}; {form}; CREATE INDEX mine ON thing (extra, lower(name));")
    files.run(
        path,
        "CREATE VIEW seen AS SELECT name FROM thing; CREATE TRIGGER own BEFORE DELETE ON thing BEGIN SELECT 3; END",
    )
    files.run(path, "INSERT INTO thing (id, name, extra) VALUES (5, 'a', 'kept'); DELETE FROM sqlite_sequence")
    files.run(path, "INSERT INTO sqlite_sequence VALUES ('thing', 99)")

    wanted().migrate(strict=True)

    assert files.query(path, "SELECT id, extra FROM thing") == [(5, "kept")]
    assert files.query(path, "SELECT name FROM seen") == [("a",)]
    assert {"mine", "own", "seen"} <= {name for (name,) in files.query(path, "SELECT name FROM sqlite_master")}
    assert files.query(path, "SELECT seq FROM sqlite_sequence WHERE name = 'thing'") == [(99,)]
    with pytest.raises(Exception, match="CHECK"):
        files.run(path, "INSERT INTO thing (name, size, extra) VALUES ('b', 2, '2')")


def test_a_foreign_key_of_an_extra_column_to_a_table_of_the_schema_goes_and_its_values_stay(wanted, path):
    form = WANTED.replace("name TEXT NOT NULL", "name TEXT NOT NULL, up INTEGER REFERENCES parent (id), own INTEGER")
    form = form.replace("UNIQUE (name", "FOREIGN KEY (own) REFERENCES mine (id), UNIQUE (name")
    files.run(path, f"{PARENT}; CREATE TABLE mine (id INTEGER PRIMARY KEY); {form}")
    files.run(path, "INSERT INTO parent VALUES (4, 'p'); INSERT INTO thing (name, up) VALUES ('a', 4)")

    wanted().migrate(strict=True)

    keys = files.query(path, "SELECT \"from\" FROM pragma_foreign_key_list('thing') ORDER BY 1")
    assert keys == [("own",), ("parent_id",)]
    assert files.query(path, "SELECT name, up FROM thing") == [("a", 4)]
    assert not wanted().drift(strict=True)


FORBIDDEN = {
    "NULL under NOT NULL": ("name TEXT NOT NULL", "name TEXT", "(1, NULL, 5, 1), (2, 'b', 5, 1)", "null", 1),
    "a row against a CHECK": ("CHECK (size > 0)", "", "(1, 'a', 0, 1), (2, 'b', -1, 1), (3, 'c', 1, 1)", "check", 2),
    "an orphan": ("REFERENCES parent (id) ON DELETE CASCADE", "", "(1, 'a', 1, 4), (2, 'b', 1, 1)", "foreign key", 1),
    "a double under a unique": (
        ",\n        UNIQUE (name, parent_id)",
        "",
        "(1, 'a', 1, 1), (2, 'a', 1, 1), (3, 'b', 1, 1)",
        "unique",
        1,
    ),
    "a value that the type would change": (
        "size INTEGER",
        "size TEXT",
        "(1, 'a', '007', 1), (2, 'b', '7', 1)",
        "type",
        1,
    ),
}


@pytest.mark.parametrize(("there", "instead", "values", "kind", "rows"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_rows_forbid_is_left_and_named_with_a_query_and_all_else_is_tightened(
    wanted, path, there, instead, values, kind, rows
):
    form = WANTED.replace(there, instead).replace("AUTOINCREMENT", "")
    files.run(path, f"{PARENT}; {form}; INSERT INTO parent VALUES (1, 'a'); INSERT INTO thing VALUES {values}")
    before = files.rows(path, "thing")

    report = wanted().migrate(strict=True)

    (left,) = report.left
    assert (left["table"], left["kind"], left["rows"]) == ("thing", kind, rows)
    assert len(files.query(path, left["query"])) >= 1
    assert files.rows(path, "thing") == before
    assert "AUTOINCREMENT" in files.query(path, "SELECT sql FROM sqlite_master WHERE name = 'thing'")[0][0]
    digest = files.digest(path)
    assert wanted().migrate(strict=True).left == report.left
    assert files.digest(path) == digest


def test_repair_fills_a_null_with_the_columns_own_default_and_sets_the_row_aside_where_there_is_none(wanted, path):
    form = WANTED.replace("size INTEGER NOT NULL", "size INTEGER").replace("name TEXT NOT NULL", "name TEXT")
    files.run(path, f"{PARENT}; {form}; INSERT INTO thing VALUES (1, 'a', NULL, NULL), (2, NULL, 3, NULL)")

    report = wanted().migrate(strict=True, repair=True)

    assert report.left == ()
    assert files.query(path, "SELECT id, name, size FROM thing") == [(1, "a", 1)]
    assert files.query(path, "SELECT id, name, size FROM thing_set_aside") == [(2, None, 3)]
    assert details(path) == [
        "thing: 1 NULL in size filled with the default",
        "thing: 1 rows set aside in thing_set_aside: thing.name cannot become NOT NULL yet: 1 row holds NULL",
    ]


def details(path):
    sql = "SELECT detail FROM schema_migration_events WHERE kind = 'repaired' ORDER BY detail"
    return [detail for (detail,) in files.query(path, sql)]


def test_repair_clears_a_reference_to_no_row_and_keeps_what_it_was(wanted, path):
    form = WANTED.replace("REFERENCES parent (id) ON DELETE CASCADE", "")
    files.run(path, f"{PARENT}; {form}; CREATE TABLE child (thing_id INTEGER REFERENCES thing (id));")
    files.run(path, "INSERT INTO parent VALUES (1, 'a')")
    files.run(path, "INSERT INTO thing VALUES (1, 'kept', 1, 1), (2, 'orphan', 1, 4), (3, 'needed', 1, 4)")
    files.run(path, "INSERT INTO child VALUES (3)")

    report = wanted().migrate(strict=True, repair=True)

    assert report.left == ()
    assert files.query(path, "SELECT id, parent_id FROM thing ORDER BY id") == [(1, 1), (2, None), (3, None)]
    kept = "SELECT id, name, parent_id, set_aside_cleared FROM thing_set_aside"
    assert files.query(path, kept) == [(2, "orphan", 4, '["parent_id"]'), (3, "needed", 4, '["parent_id"]')]


def test_repair_sets_rows_aside_that_repeat_a_value_but_the_one_that_others_refer_to(wanted, path):
    form = WANTED.replace(",\n        UNIQUE (name, parent_id)", "")
    files.run(path, f"{PARENT}; {form}; INSERT INTO parent VALUES (1, 'p')")
    files.run(path, "CREATE TABLE child (thing_id INTEGER REFERENCES thing (id)); INSERT INTO child VALUES (4)")
    files.run(path, "INSERT INTO thing VALUES (1, 'a', 5, 1), (2, 'a', 5, 1), (3, 'b', 5, 1), (4, 'b', 6, 1)")

    report = wanted().migrate(strict=True, repair=True)

    assert report.left == ()
    assert files.query(path, "SELECT id FROM thing") == [(1,), (4,)]
    assert files.query(path, "SELECT id FROM thing_set_aside ORDER BY id") == [(2,), (3,)]
    assert files.query(path, "SELECT thing_id FROM child") == [(4,)]


def test_rows_whose_value_is_null_do_not_stand_against_a_unique(wanted, path):
    form = WANTED.replace(",\n        UNIQUE (name, parent_id)", "")
    files.run(path, f"{PARENT}; {form}; INSERT INTO thing VALUES (1, 'a', 5, NULL), (2, 'a', 5, NULL)")

    report = wanted().migrate(strict=True, repair=True)

    assert report.left == ()
    assert files.query(path, "SELECT id FROM thing") == [(1,), (2,)]
    assert "thing_set_aside" not in files.tables(path)


def test_rows_that_refer_to_one_set_aside_go_with_it_or_lose_the_reference(folder, runner, path):
    source = folder(
        {
            "001_tree": sql(
                "CREATE TABLE IF NOT EXISTS node (id INTEGER PRIMARY KEY, name TEXT NOT NULL, up INTEGER NOT NULL"
                " REFERENCES node (id), other INTEGER REFERENCES node (id))",
                "CREATE TABLE IF NOT EXISTS leaf (id INTEGER PRIMARY KEY, node_id INTEGER NOT NULL"
                " REFERENCES node (id))",
            )
        }
    )
    files.run(path, "CREATE TABLE node (id INTEGER PRIMARY KEY, name TEXT, up INTEGER NOT NULL, other INTEGER)")
    files.run(path, "CREATE TABLE leaf (id INTEGER PRIMARY KEY, node_id INTEGER NOT NULL)")
    files.run(path, "INSERT INTO node VALUES (1, 'root', 1, NULL), (2, NULL, 3, 1), (3, 'b', 2, NULL), (4, 'c', 1, 3)")
    files.run(path, "INSERT INTO leaf VALUES (1, 1), (2, 2), (3, 3), (4, 4)")
    files.run(
        path, "CREATE TABLE log (what TEXT); CREATE TRIGGER gone AFTER DELETE ON node BEGIN DELETE FROM leaf; END"
    )

    report = runner(source).migrate(strict=True, repair=True)

    assert report.left == ()
    assert files.query(path, "SELECT id, other FROM node") == [(1, None), (4, None)]
    assert files.query(path, "SELECT id FROM leaf") == [(1,), (4,)]
    aside = "SELECT id FROM {} WHERE set_aside_cleared IS NULL ORDER BY id"
    assert files.query(path, aside.format("node_set_aside")) == [(2,), (3,)]
    assert files.query(path, aside.format("leaf_set_aside")) == [(2,), (3,)]
    assert files.query(path, "SELECT id, other FROM node_set_aside WHERE set_aside_cleared = '[\"other\"]'") == [(4, 3)]
    assert not files.orphans(path)


def test_without_repair_no_row_is_touched(wanted, path):
    form = WANTED.replace("size INTEGER NOT NULL", "size INTEGER").replace(
        "REFERENCES parent (id) ON DELETE CASCADE", ""
    )
    files.run(path, f"{PARENT}; {form}; INSERT INTO thing VALUES (1, 'a', NULL, 8)")

    wanted().migrate(strict=True)

    assert files.query(path, "SELECT * FROM thing") == [(1, "a", None, 8)]
    assert "thing_set_aside" not in files.tables(path)


def test_the_expected_schema_is_read_from_scripts_alone(folder):
    known = collect([folder({"001_things": sql(PARENT, WANTED)})])
    with memory() as database:
        database.execute_sql(PARENT)
        database.execute_sql(WANTED)
        made = of_database(database, structural=True)
    assert expected_of(known).within(made).digest == made.within(made).digest


def test_check_prints_one_hash_for_databases_of_one_schema(copy_of, tmp_path):
    for name in ("init-448549a", "life-b5567b6-to-8ac74ac"):
        Runner(copy_of(name)).migrate(strict=True)

    done = CliRunner().invoke(main, ["--json", "check", "--strict", str(tmp_path)])

    assert done.exit_code == 0, done.output
    hashes = {database["schema"] for database in json.loads(done.stdout)["databases"]}
    expected = expected_of(collect(installed()))
    assert hashes == {expected.within(expected).digest}


def test_a_foreign_key_with_another_action_and_an_orphan_from_before_stays_as_it_is_until_the_orphan_is_mended(
    wanted, path
):
    form = WANTED.replace("ON DELETE CASCADE", "ON DELETE SET NULL")
    files.run(path, f"{PARENT}; {form}; INSERT INTO thing (name, parent_id) VALUES ('a', 9)")

    report = wanted().migrate(strict=True)

    assert [(item["kind"], item["rows"]) for item in report.left] == [("foreign key", 1)]
    assert "ON DELETE SET NULL" in files.query(path, "SELECT sql FROM sqlite_master WHERE name = 'thing'")[0][0]
    digest = files.digest(path)
    assert wanted().migrate(strict=True).left == report.left
    assert files.digest(path) == digest
    assert wanted().migrate(strict=True, repair=True).left == ()
    assert not wanted().drift(strict=True)

"""What a script may call, each operation on a database where its effect is absent, half there, or there."""

import pytest
import sqlite_files as files
from script_texts import creates, script

from framework_schema.errors import MigrationFailed
from framework_schema.report import Outcome
from framework_schema.runner import Runner
from framework_schema.sources import framework

ITEM = """
CREATE TABLE item (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- the key
    name TEXT NOT NULL,
    kind VARCHAR(20) DEFAULT 'x' CHECK (kind <> ''),
    owner_id INTEGER REFERENCES owner (id)
);
CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO owner (name) VALUES ('o');
INSERT INTO item (name, owner_id) VALUES ('a', 1), ('b', NULL);
DELETE FROM item WHERE name = 'b';
INSERT INTO item (name) VALUES ('c');
"""
MODEL = """
@migrator.create_model
class Item(pw.Model):
    name = pw.TextField()
    kind = pw.CharField(max_length=20, constraints=[pw.SQL("DEFAULT 'x'")], null=True)
    size = pw.IntegerField(constraints=[pw.SQL("DEFAULT 7")], index=True)
    class Meta:
        table_name = 'item'
        indexes = ((('name', 'size'), True),)
"""
OPERATIONS = {
    "create_model": MODEL,
    "remove_model": "migrator.remove_model('item')",
    "add_fields": "migrator.add_fields('item', size=pw.IntegerField(default=1), note=pw.TextField(null=True))",
    "add_fields with an index": "migrator.add_fields('item', size=pw.IntegerField(null=True, index=True))",
    "add_fields with a key": (
        "migrator.add_fields('item', boss=pw.ForeignKeyField(migrator.orm['owner'], null=True, on_delete='SET NULL'))"
    ),
    "change_fields": "migrator.change_fields('item', name=pw.CharField(max_length=99))",
    "remove_fields": "migrator.remove_fields('item', 'kind')",
    "remove_fields of a key": "migrator.remove_fields('item', 'owner')",
    "rename_field": "migrator.rename_field('item', 'kind', 'sort')",
    "rename_table": "migrator.rename_table('item', 'items')",
    "add_index": "migrator.add_index('item', 'name', 'kind', unique=True)",
    "add_not_null": "migrator.add_not_null('item', 'kind')",
    "drop_not_null": "migrator.drop_not_null('item', 'name')",
    "add_default": "migrator.add_default('item', 'name', 'n')",
    "add_constraint": "migrator.add_constraint('item', 'short', pw.SQL('CHECK (length(name) < 9)'))",
}


def master(path):
    found = files.query(path, "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%migration%'")
    return sorted(found, key=str)


def run(path, folder, number, body):
    name = f"{number:03}_x"
    (step,) = Runner(path, [folder({name: script(body)}, of=name, source=name)]).migrate().steps
    return step.outcome


# What is refused


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param("migrator.add_fields('nothing', a=pw.TextField())", "Model nothing not found", id="table"),
        pytest.param("migrator.orm['nothing']", "no table or model 'nothing'", id="orm item"),
        pytest.param("migrator.orm.Nothing", "no table or model 'Nothing'", id="orm attribute"),
        pytest.param("migrator.add_not_null('item', 'nothing')", "item has no column nothing", id="column"),
        pytest.param("migrator.add_index('item', 'name', 'nothing')", "item has no column nothing", id="index"),
        pytest.param("migrator.drop_index('item', 'nothing')", "item has no column nothing", id="index to drop"),
        pytest.param("migrator.rename_field('item', 'nothing', 'neither')", "item has no column neither", id="name"),
        pytest.param("migrator.rename_table('nothing', 'neither')", "no such table: nothing", id="table to rename"),
        pytest.param("migrator.add_not_null('item', 'owner')", "NOT NULL", id="NULLs where NOT NULL is to be"),
        pytest.param("migrator.add_constraint('item', 'c', pw.SQL(\"CHECK (name <> 'a')\"))", "CHECK", id="a CHECK"),
        pytest.param("migrator.sql('SELEC 1')", "syntax error", id="SQL"),
        pytest.param("migrator.add_fields('item', must=pw.TextField())", "must", id="NOT NULL without a default"),
    ],
)
def test_what_cannot_be_done_is_said_and_undone(path, folder, body, says):
    files.run(path, ITEM)
    before, rows = master(path), files.rows(path, "item")

    with pytest.raises(MigrationFailed, match=says):
        run(path, folder, 1, body)
    assert (master(path), files.rows(path, "item")) == (before, rows)


# Converging


@pytest.mark.parametrize("body", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_done_twice_is_adopted_the_second_time_and_changes_nothing(path, folder, body):
    files.run(path, ITEM)

    first = run(path, folder, 1, body)
    after = master(path), [files.rows(path, table) for table in files.tables(path) if "migration" not in table]
    second = run(path, folder, 2, body)

    assert (first, second) == (Outcome.APPLIED, Outcome.ADOPTED)
    assert (master(path), [files.rows(path, t) for t in files.tables(path) if "migration" not in t]) == after


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "remove_model"])
def test_an_operation_loses_no_row_number_or_sequence(path, folder, operation):
    body = OPERATIONS[operation]
    files.run(path, ITEM)
    kept = ["id", "name"] if "remove_fields" in body else ["id", "name", "owner_id"]
    before = files.rows(path, "item", kept)

    run(path, folder, 1, body)

    table = "items" if "rename_table" in body else "item"
    assert files.rows(path, table, kept) == before
    assert files.query(path, "SELECT seq FROM sqlite_sequence WHERE name = ?", table) == [(3,)]
    assert files.integrity(path) == ["ok"]


def test_a_table_that_is_there_gets_the_columns_and_indexes_it_lacks(path, folder):
    files.run(path, ITEM)
    rows = files.rows(path, "item")

    assert run(path, folder, 1, MODEL) is Outcome.APPLIED

    assert files.columns(path, "item") == ["id", "name", "kind", "owner_id", "size"]
    assert {rowid: {**row, "size": 7} for rowid, row in rows.items()} == files.rows(path, "item")
    found = " ".join(files.indexes(path).values())
    assert "UNIQUE" in found
    assert "size" in found
    assert "-- the key" in dict(master(path))["item"]


def test_a_script_is_adopted_only_when_all_of_its_effect_was_there(path, folder):
    files.run(path, ITEM)
    half = "migrator.add_fields('item', kind=pw.CharField(max_length=20, null=True))"
    other = "migrator.add_fields('item', size=pw.IntegerField(null=True))"

    assert run(path, folder, 1, half) is Outcome.ADOPTED
    assert run(path, folder, 2, f"{half}\n{other}") is Outcome.APPLIED
    assert run(path, folder, 3, f"{half}\n{other}") is Outcome.ADOPTED
    assert run(path, folder, 4, f"{half}\nmigrator.sql('SELECT 1')") is Outcome.APPLIED
    assert run(path, folder, 5, f"{half}\nmigrator.run(print)") is Outcome.APPLIED
    assert run(path, folder, 6, "pass") is Outcome.APPLIED


def test_an_adopted_script_is_on_record_as_adopted(path, folder):
    files.run(path, "CREATE TABLE item (id INTEGER NOT NULL PRIMARY KEY, name TEXT)")
    source = folder({"001_item": creates("item")})

    report = Runner(path, [source]).migrate()

    assert (report.adopted, report.applied) == (["app/001_item"], [])
    assert files.events(path, "adopted", "applied") == [("adopted", "app/001_item", "ok")]
    assert files.history(path) == [("app/001_item", True)]


@pytest.mark.parametrize("written", ["Item", "ITEM", '"item"', "[item]"])
def test_a_table_written_another_way_is_the_same_table(path, folder, written):
    files.run(path, f"CREATE TABLE {written} (ID integer primary key, NAME text); INSERT INTO item (name) VALUES ('x')")

    assert Runner(path, [folder({"001_item": creates("item")})]).migrate().adopted == ["app/001_item"]
    assert files.query(path, "SELECT name FROM item") == [("x",)]


# Single operations


def test_a_column_with_a_default_gets_it_in_old_rows_and_in_new_ones(path, folder):
    files.run(path, ITEM)

    run(path, folder, 1, "migrator.add_fields('item', size=pw.IntegerField(default=5))")

    assert files.query(path, "SELECT DISTINCT size FROM item") == [(5,)]
    notnull = files.query(path, "SELECT \"notnull\" FROM pragma_table_info('item') WHERE name = 'size'")
    assert notnull == [(1,)]


def test_a_callable_default_fills_old_rows(path, folder):
    files.run(path, ITEM)

    run(path, folder, 1, "migrator.add_fields('item', size=pw.IntegerField(default=lambda: 5))")

    assert files.query(path, "SELECT DISTINCT size FROM item") == [(5,)]


def test_a_renamed_column_keeps_values_indexes_triggers_and_views(path, folder):
    files.run(path, f"""{ITEM}
        CREATE INDEX by_kind ON item (kind);
        CREATE VIEW kinds AS SELECT kind FROM item;
        CREATE TRIGGER watch AFTER UPDATE ON item BEGIN UPDATE owner SET name = new.kind; END;
    """)  # fmt: skip

    run(path, folder, 1, "migrator.rename_field('item', 'kind', 'sort')")
    files.run(path, "UPDATE item SET sort = 'y'")

    assert files.query(path, "SELECT name FROM owner") == [("y",)]
    assert files.query(path, "SELECT DISTINCT sort FROM kinds") == [("y",)]
    assert "sort" in files.indexes(path)["by_kind"]


def test_a_renamed_table_takes_its_references_with_it(path, folder):
    files.run(path, f"PRAGMA legacy_alter_table = 1; {ITEM}")

    run(path, folder, 1, "migrator.rename_table('owner', 'boss')")

    assert 'REFERENCES "boss"' in dict(master(path))["item"]
    assert files.orphans(path) == set()


@pytest.mark.parametrize("old", ["owner", "owner_id", "OWNER_ID"])
def test_a_key_read_from_the_database_answers_to_field_and_column(path, folder, old):
    files.run(path, ITEM)

    run(path, folder, 1, f"migrator.rename_field('item', {old!r}, 'boss_id')")

    assert files.columns(path, "item") == ["id", "name", "kind", "boss_id"]


def test_a_key_of_a_models_own_keeps_its_suffix(path, folder):
    body = """
        @migrator.create_model
        class Item(pw.Model):
            owner = pw.ForeignKeyField('self', null=True)
            class Meta:
                table_name = 'item'
        migrator.rename_field('item', 'owner', 'boss')
    """

    run(path, folder, 1, body)

    assert files.columns(path, "item") == ["id", "boss_id"]


def test_dropping_a_column_drops_the_indexes_on_it_alone(path, folder):
    files.run(path, f"{ITEM} CREATE INDEX by_owner ON item (owner_id); CREATE INDEX by_name ON item (name)")

    run(path, folder, 1, "migrator.remove_fields('item', 'owner')")

    assert files.columns(path, "item") == ["id", "name", "kind"]
    assert "by_name" in files.indexes(path)
    assert "by_owner" not in files.indexes(path)


def test_a_unique_can_be_added_and_dropped_again(path, folder):
    files.run(path, ITEM)

    run(path, folder, 1, "migrator.add_index('item', 'name', unique=True)")
    with pytest.raises(Exception, match="UNIQUE"):
        files.run(path, "INSERT INTO item (name) VALUES ('a')")
    run(path, folder, 2, "migrator.drop_index('item', 'name')")

    files.run(path, "INSERT INTO item (name) VALUES ('a')")


def test_a_constraint_can_be_added_and_dropped_again(path, folder):
    files.run(path, ITEM)

    run(path, folder, 1, OPERATIONS["add_constraint"])
    with pytest.raises(Exception, match="CHECK"):
        files.run(path, "INSERT INTO item (name) VALUES ('123456789')")
    run(path, folder, 2, "migrator.drop_constraints('item', 'short')")

    files.run(path, "INSERT INTO item (name) VALUES ('123456789')")


@pytest.mark.parametrize("value", ["'it''s'", "'a) b, (c'", '\'{"a": 1,  "b": [2]}\'', "-1", "1.5", "True", "b'x'"])
def test_a_default_of_any_value_is_what_new_rows_get(path, folder, value):
    files.run(path, "CREATE TABLE item (id INTEGER PRIMARY KEY, name)")
    text = f"migrator.add_default('item', 'name', {value})"

    run(path, folder, 1, f"migrator.orm['item']._meta.add_field('name', pw.BareField(null=True))\n{text}")
    files.run(path, "INSERT INTO item (id) VALUES (1)")

    assert files.query(path, "SELECT name FROM item") == [(eval(value),)]


# The orm


def test_the_orm_knows_what_this_run_earlier_ones_and_the_database_made(path, folder):
    files.run(path, "CREATE TABLE theirs (id INTEGER PRIMARY KEY, a INT)")
    source = folder({"001_old": creates("old"), "002_kept": creates("kept")})
    Runner(path, [source]).migrate()
    body = """
        assert migrator.orm['old']._meta.table_name == 'old'
        assert 'a' in migrator.orm['theirs']._meta.fields
        assert migrator.orm['theirs'].select().count() == 0
        assert migrator.orm['new'].select().count() == 0
        assert migrator.orm.find('nothing') is None
    """

    folder({"003_new": creates("new"), "004_use": script(body)})

    assert len(Runner(path, [source]).migrate().applied) == 2


def test_models_of_the_framework_are_found_by_name_and_bound_to_this_database(path, folder):
    Runner(path).migrate()
    body = """
        Dashboard = migrator.orm['Dashboard']
        assert Dashboard._meta.database is database
        migrator.add_fields('Dashboard', homebrew_colour=pw.TextField(null=True))
        Dashboard.insert(name='mine', homebrew_colour='red').execute()
    """
    report = Runner(path, [framework(), folder({"001_x": script(body)}, depends_on=["framework"])]).migrate()

    assert report.applied == ["app/001_x"]
    assert files.query(path, "SELECT name, homebrew_colour FROM Dashboard") == [("mine", "red")]


def test_a_column_that_got_a_default_can_be_changed_after(path, folder, runner):
    body = """
        @migrator.create_model
        class Item(pw.Model):
            size = pw.IntegerField(null=True)
        migrator.add_default(Item, "size", 3)
        migrator.change_fields(Item, size=pw.TextField(null=True))
    """
    runner(folder({"001_x": script(body)})).migrate()

    assert files.query(path, "SELECT type FROM pragma_table_info('item') WHERE name = 'size'") == [("TEXT",)]

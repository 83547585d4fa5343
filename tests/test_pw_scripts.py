"""What scripts of peewee_migrate do here: the same as there, and nothing more."""

import pytest
import sqlite_files as files
from script_texts import creates, script
from test_migrator import ITEM, OPERATIONS, master, run

from framework_schema.errors import MigrationFailed, PlanRefused
from framework_schema.report import Outcome
from framework_schema.runner import Runner

FAKED = {name: body for name, body in OPERATIONS.items() if name != "create_model"} | {
    "sql": "migrator.sql('DELETE FROM item')",
    "run": "migrator.run(database.execute_sql, 'DELETE FROM item')",
    "drop_index": "migrator.drop_index('item', 'kind')",
    "drop_constraints": "migrator.drop_constraints('item', 'short')",
}


def picture(path):
    return master(path), [files.rows(path, table) for table in files.tables(path) if "migration" not in table]


def defined(path, table="item"):
    return files.query(path, 'SELECT name, type, "notnull", dflt_value FROM pragma_table_info(?)', table)


# Faked operations


@pytest.mark.parametrize("body", FAKED.values(), ids=FAKED)
@pytest.mark.parametrize("nested", [False, True], ids=["once", "nested"])
def test_a_faked_operation_leaves_schema_and_rows_as_they_are(path, folder, body, nested):
    files.run(path, ITEM)
    before = picture(path)
    inner = f"    with migrator.fake():\n        {body}" if nested else f"    {body}"

    assert run(path, folder, 1, f"with migrator.fake():\n{inner}\n    {body}") is Outcome.APPLIED
    assert picture(path) == before


def test_a_faked_model_is_known_and_its_table_is_not_made(path, folder):
    body = """
        with migrator.fake():
            @migrator.create_model
            class Kite(pw.Model):
                tail = pw.TextField()
        assert migrator.orm.Kite.tail
        with migrator.fake():
            migrator.remove_fields('Kite', 'tail')
        assert not hasattr(migrator.orm.Kite, 'tail')
    """
    run(path, folder, 1, body)

    assert "kite" not in files.tables(path)


def test_operations_are_real_again_after_a_faked_one_that_failed(path, folder):
    files.run(path, ITEM)
    body = """
        try:
            with migrator.fake():
                raise KeyError
        except KeyError:
            migrator.remove_fields('item', 'kind')
    """
    run(path, folder, 1, body)

    assert "kind" not in files.columns(path, "item")


# What scripts put in line by themselves


def test_operations_that_a_script_put_in_line_run_in_their_order(path, folder):
    files.run(path, ITEM)
    body = """
        migrator.__ops__.append(migrator.__migrator__.sql("UPDATE item SET name = name || '1'"))
        migrator.sql("UPDATE item SET name = name || '2'")
        migrator.__ops__.append(lambda: database.execute_sql("UPDATE item SET name = name || '3'"))
        with migrator.fake():
            migrator.__ops__.append(lambda: database.execute_sql("DELETE FROM item"))
        migrator.__ops__.append(lambda: database.execute_sql("UPDATE item SET name = name || '4'"))
    """
    run(path, folder, 1, body)

    assert files.query(path, "SELECT name FROM item") == [("a1234",), ("c1234",)]


def test_the_names_that_operations_had_before_still_call_them(path, folder):
    body = """
        @migrator.create_table
        class Peg(pw.Model):
            colour = pw.TextField(null=True)
        migrator.add_columns('peg', size=pw.IntegerField(null=True), gone=pw.IntegerField(null=True))
        migrator.change_columns('peg', size=pw.TextField(null=True))
        migrator.drop_columns('peg', 'gone')
        migrator.rename_column('peg', 'colour', 'paint')
        migrator.python(database.execute_sql, "INSERT INTO peg (paint, size) VALUES ('red', 1)")
    """
    run(path, folder, 1, body)

    assert files.query(path, "SELECT paint, size FROM peg") == [("red", "1")]
    run(path, folder, 2, "migrator.drop_table('peg')")
    assert "peg" not in files.tables(path)


# One index however often it is named


@pytest.mark.parametrize(
    ("field", "indexes", "unique"),
    [
        pytest.param("pw.TextField(index=True)", "[(('colour',), False)]", 0, id="field and model"),
        pytest.param("pw.TextField(unique=True)", "[(('colour',), True)]", 1, id="both unique"),
        pytest.param("pw.TextField(index=True)", "[(('colour',), True)]", 1, id="the model says unique"),
        pytest.param("pw.TextField(unique=True)", "[(('colour',), False)]", 1, id="the field says unique"),
        pytest.param("pw.TextField()", "[(('colour',), False), (('colour',), True)]", 1, id="the model twice"),
        pytest.param("pw.TextField(index=True)", "[[['colour'], False]]", 0, id="lists"),
        pytest.param(
            "pw.ForeignKeyField('self', null=True)", "((('colour_id',), False),)", 0, id="a key by its column"
        ),
    ],
)
def test_an_index_named_twice_is_made_once_and_unique_if_either_says_so(path, folder, field, indexes, unique):
    body = f"""
        @migrator.create_model
        class Peg(pw.Model):
            colour = {field}
            class Meta:
                indexes = {indexes}
    """
    assert run(path, folder, 1, body) is Outcome.APPLIED
    assert files.query(path, "SELECT \"unique\" FROM pragma_index_list('peg')") == [(unique,)]
    assert run(path, folder, 2, body) is Outcome.ADOPTED


# Names


@pytest.mark.parametrize("names", ["['kind', 'owner_id']", "('kind',), 'owner_id'", "{'kind', 'owner_id'}"])
def test_names_may_be_given_in_a_list(path, folder, names):
    files.run(path, ITEM)

    run(path, folder, 1, f"migrator.remove_fields('item', {names})")

    assert files.columns(path, "item") == ["id", "name"]


def test_every_operation_on_names_takes_a_list_or_fields(path, folder):
    files.run(path, ITEM)
    body = """
        item = migrator.orm['item']
        migrator.add_index(item, ['name', 'kind'], unique=True)
        migrator.add_not_null(item, [item.kind])
        migrator.drop_not_null(item, ['name', 'kind'])
        migrator.drop_index(item, ['name', 'kind'])
        migrator.add_constraint(item, 'short', pw.SQL('CHECK (length(name) < 9)'))
        migrator.drop_constraints(item, ['short'])
        migrator.remove_fields(item, item.kind)
    """
    run(path, folder, 1, body)

    assert files.columns(path, "item") == ["id", "name", "owner_id"]
    assert files.query(path, "SELECT * FROM pragma_index_list('item')") == []


@pytest.mark.parametrize("what", ["7", "None", "lambda: 1"])
def test_what_is_no_name_is_said_to_be_none(path, folder, what):
    files.run(path, ITEM)

    with pytest.raises(MigrationFailed, match="names of fields are wanted"):
        run(path, folder, 1, f"migrator.remove_fields('item', {what})")


# One script, one schema, whatever rows there are


@pytest.mark.parametrize(
    "field",
    [
        pytest.param("pw.IntegerField(default=4)", id="default"),
        pytest.param("pw.TextField(default='it''s')", id="text"),
        pytest.param("pw.FloatField(default=float('inf'))", id="infinity"),
        pytest.param("pw.TextField(null=True, default='x')", id="default and NULL"),
        pytest.param("pw.IntegerField(default=lambda: 4)", id="callable"),
        pytest.param("pw.IntegerField(constraints=[pw.SQL('DEFAULT 3')])", id="default of the database"),
        pytest.param("pw.IntegerField(default=4, constraints=[pw.SQL('DEFAULT 3')])", id="both"),
        pytest.param("pw.DateTimeField(constraints=[pw.SQL('DEFAULT CURRENT_TIMESTAMP')])", id="now"),
        pytest.param(
            "pw.DateTimeField(null=True, constraints=[pw.SQL('DEFAULT CURRENT_TIMESTAMP')])", id="now or NULL"
        ),
        pytest.param("pw.IntegerField(default=4, unique=False, index=True)", id="with an index"),
        pytest.param("pw.IntegerField(null=True)", id="nothing"),
        pytest.param("pw.IntegerField(default=4, constraints=[pw.Check('size > 0')])", id="with a CHECK"),
        pytest.param(
            "pw.IntegerField(null=True, constraints=[pw.SQL('GENERATED ALWAYS AS (id + 1) STORED')])", id="generated"
        ),
    ],
)
def test_an_added_column_is_the_same_with_rows_and_without(path, folder, field, tmp_path):
    empty = tmp_path / "empty.db"
    files.run(path, ITEM)
    files.run(empty, f"{ITEM} DELETE FROM item")
    body = f"migrator.add_fields('item', size={field})"

    run(path, folder, 1, body)
    run(empty, folder, 1, body)

    assert defined(path) == defined(empty)
    assert {tuple(row.items())[-1][1] is None for row in files.rows(path, "item").values()} <= {"null=True)" in field}
    assert files.integrity(path) == ["ok"]


def test_a_default_of_python_and_one_of_the_database_go_each_to_its_place(path, folder):
    files.run(path, ITEM)

    run(
        path,
        folder,
        1,
        "migrator.add_fields('item', size=pw.IntegerField(default=4, constraints=[pw.SQL('DEFAULT 3')]))",
    )
    files.run(path, "INSERT INTO item (name) VALUES ('later')")

    assert files.query(path, "SELECT size FROM item ORDER BY id") == [(4,), (4,), (3,)]


def test_not_null_without_a_default_is_for_tables_without_rows(path, folder):
    files.run(path, f"{ITEM} DELETE FROM item")

    run(path, folder, 1, "migrator.add_fields('item', must=pw.TextField())")

    assert defined(path)[-1] == ("must", "TEXT", 1, None)


@pytest.mark.parametrize(
    ("field", "default"),
    [
        pytest.param("pw.IntegerField(default=2)", "2", id="another"),
        pytest.param("pw.IntegerField()", "1", id="none"),
        pytest.param("pw.IntegerField(constraints=[pw.SQL('DEFAULT 3')])", "3", id="of the database"),
        pytest.param("pw.IntegerField(default=lambda: 2)", None, id="only Python's"),
        pytest.param("pw.IntegerField(default=1)", "1", id="the same"),
    ],
)
def test_a_changed_field_with_another_default_gets_it(path, folder, field, default):
    files.run(path, "CREATE TABLE item (id INTEGER PRIMARY KEY, size INTEGER NOT NULL DEFAULT 1)")

    outcome = run(path, folder, 1, f"migrator.change_fields('item', size={field})")

    assert defined(path)[-1][3] == default
    assert outcome is (Outcome.ADOPTED if default == "1" else Outcome.APPLIED)


def test_a_changed_field_keeps_what_the_field_says_nothing_of(path, folder):
    files.run(path, """CREATE TABLE owner (code TEXT UNIQUE);
        CREATE TABLE item (
            id INTEGER PRIMARY KEY,
            name TEXT COLLATE NOCASE UNIQUE CHECK (name <> ''), -- its name
            owner TEXT REFERENCES owner (code) DEFERRABLE INITIALLY DEFERRED
        )""")  # fmt: skip
    body = """
        migrator.change_fields('item', name=pw.CharField(max_length=40, unique=True))
        migrator.change_fields('item', owner=pw.ForeignKeyField(migrator.orm['owner'], 'code', column_name='owner'))
    """
    run(path, folder, 1, body)

    sql = dict(master(path))["item"]
    assert "name VARCHAR(40) COLLATE NOCASE UNIQUE CHECK (name <> '') NOT NULL, -- its name" in " ".join(sql.split())
    assert "DEFERRABLE INITIALLY DEFERRED" in sql
    run(path, folder, 2, "migrator.change_fields('item', name=pw.CharField(max_length=40))")
    assert files.query(path, "SELECT * FROM pragma_index_list('item')") == []


def test_a_unique_taken_away_is_gone_from_the_model_too(path, folder):
    body = """
        migrator.add_index('item', 'name', unique=True)
        migrator.change_fields('item', name=pw.TextField())
        assert migrator.orm['item']._meta.indexes == []
        assert not migrator.orm['item'].name.unique
    """
    files.run(path, ITEM)
    run(path, folder, 1, body)

    assert files.query(path, "SELECT * FROM pragma_index_list('item')") == []


# A rollback without anything to undo


@pytest.mark.parametrize("failed", [False, True], ids=["nothing ran", "the first one failed"])
def test_a_rollback_with_nothing_applied_says_so(path, folder, failed):
    files.run(path, ITEM)
    runner = Runner(path, [folder({"001_x": script("1 / 0") if failed else creates("other")})])
    if failed:
        with pytest.raises(MigrationFailed):
            runner.migrate()

    with pytest.raises(PlanRefused, match=r"homebrew\.db: no migration is applied, so there is nothing to undo"):
        runner.rollback()

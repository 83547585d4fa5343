"""What is kept of the tables under the lock is what is there, whatever a script does to them."""

import peewee as pw
import pytest
from script_texts import script, sql

FIRST = "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(20), note VARCHAR(20))"
LOOK = "migrator.add_fields('item', first=pw.IntegerField(null=True))"
"""Reads the table, so that it is kept from here on."""
ADD = "migrator.add_fields('item', note=pw.CharField(max_length=20, null=True))"

WAYS = {
    "its own SQL": "migrator.sql('ALTER TABLE item DROP COLUMN note')",
    "the database's execute_sql": "database.execute_sql('ALTER TABLE item DROP COLUMN note')",
    "a function": "migrator.run(lambda: database.execute_sql('ALTER TABLE item DROP COLUMN note'))",
    "the driver's cursor": "database.cursor().execute('ALTER TABLE item DROP COLUMN note')",
    "the driver's connection": "database.connection().cursor().execute('ALTER TABLE item DROP COLUMN note')",
    "an operation": "migrator.remove_fields('item', 'note')",
    "another name": "migrator.rename_field('item', 'note', 'other')",
    "another table of that name": "migrator.remove_model('item')\nmigrator.sql('CREATE TABLE item (id INTEGER)')",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_one", [True, False], ids=["in one script", "in three scripts"])
def test_an_operation_sees_what_a_script_did_to_the_table(server, folder, way, is_one):
    parts = [LOOK, WAYS[way], ADD]
    parts = ["\n".join(parts)] if is_one else parts
    scripts = {f"{number:03}_x": script(part) for number, part in enumerate(parts, start=2)}

    report = server.runner(folder({"001_item": sql(FIRST), **scripts})).migrate()

    assert report.failed == []
    assert "note" in columns(server, "item")
    assert ("first" in columns(server, "item")) is (way != "another table of that name")


def test_a_driver_s_connection_that_a_script_keeps_changes_what_later_operations_see(server, folder):
    keep = "import peewee as pw\npw.kept = database.cursor()"
    use = "pw.kept.execute('ALTER TABLE item DROP COLUMN note')\ndel pw.kept\n"
    source = folder({"001_item": sql(FIRST), "002_x": script(f"{keep}\n{LOOK}"), "003_x": script(use + ADD)})

    report = server.runner(source).migrate()

    assert report.failed == []
    assert "note" in columns(server, "item")
    assert not hasattr(pw, "kept")


def test_what_a_failed_script_did_is_not_taken_for_done(server, folder):
    fails = script("migrator.add_fields('item', more=pw.IntegerField(null=True))\nraise ValueError('on purpose')")
    other = folder({"001_more": script("migrator.add_fields('item', more=pw.IntegerField(null=True))")}, source="z")
    source = folder({"001_item": sql(FIRST), "002_fails": fails}, of="app")

    runner = server.runner(source, other)
    with pytest.raises(Exception, match="on purpose"):
        runner.migrate()

    assert "more" in columns(server, "item")


def test_what_an_event_trigger_does_is_seen(server, folder):
    if server.name != "postgresql":
        pytest.skip("PostgreSQL's own")
    server.sql(
        "CREATE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF tg_tag = 'CREATE TABLE' THEN ALTER TABLE IF EXISTS item DROP COLUMN IF EXISTS note; END IF; END $$",
        "CREATE TABLE item (id INTEGER PRIMARY KEY, note VARCHAR(20))",
        "CREATE EVENT TRIGGER meddling ON ddl_command_end EXECUTE FUNCTION meddle()",
    )
    make = "@migrator.create_model\nclass Other(pw.Model):\n    class Meta:\n        table_name = 'other'"

    server.runner(folder({"001_x": script(f"{LOOK}\n{make}\n{ADD}")})).migrate()

    assert "note" in columns(server, "item")


def test_the_children_of_a_table_are_seen_to_follow_it(server, folder):
    if server.name != "postgresql":
        pytest.skip("PostgreSQL's own")
    body = [
        "migrator.sql('CREATE TABLE child () INHERITS (item)')",
        "migrator.add_fields('child', one=pw.IntegerField(null=True))",
        "migrator.add_fields('item', two=pw.IntegerField(null=True))",
        "migrator.add_fields('child', two=pw.IntegerField(null=True))",
    ]

    report = server.runner(folder({"001_item": sql(FIRST), "002_x": script("\n".join(body))})).migrate()

    assert report.failed == []


def columns(server, table):
    where = "current_schema()" if server.name == "postgresql" else "DATABASE()"
    rows = server.sql(
        f"SELECT column_name FROM information_schema.columns WHERE table_schema = {where} AND table_name = '{table}'"
    )
    return {name for (name,) in rows}

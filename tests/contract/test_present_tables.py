"""A script's model over a table that was there, made by others."""

import pytest
from script_texts import script

MODEL = """
from framework_schema.fields import index
@migrator.create_model
class Shelf(pw.Model):
    place = pw.CharField(null=True)
    row = pw.IntegerField(null=True)
    class Meta:
        table_name = "shelf"
        indexes = [
            index("shelf_place", "shelf", "place", "-row"),
            index("shelf_row", "shelf", "row", unique=True),
        ]
"""
THERE = 'CREATE TABLE "shelf" ("id" INTEGER PRIMARY KEY, "place" VARCHAR(255), "row" INTEGER)'


@pytest.fixture
def indexes_of(engine):
    def read(table):
        found = engine.runner().dialect
        with engine.runner().target.connected() as database:
            live = found.snapshot(database).tables[table]
        return {*live.indexes, *live.unique_names.values()}

    return read


def test_a_models_named_index_is_made_on_a_table_that_was_there(engine, folder, indexes_of):
    engine.sql(THERE)

    report = engine.runner(folder({"001_a": script(MODEL)})).migrate()

    assert report.applied == ["app/001_a"]
    assert report.aligned == ()  # the script itself made them
    assert indexes_of("shelf") == {"shelf_place", "shelf_row"}


def test_a_unique_that_rows_forbid_is_left_and_named_and_fails_no_script(engine, folder, indexes_of):
    engine.sql(THERE, """INSERT INTO "shelf" VALUES (1, 'a', 7), (2, 'b', 7)""")
    source = folder({"001_a": script(MODEL)})

    report = engine.runner(source).migrate()

    assert report.applied == ["app/001_a"]
    assert [(left["table"], left["rows"]) for left in report.left] == [("shelf", 1)]
    engine.sql('DELETE FROM "shelf" WHERE "id" = 2')
    assert not engine.runner(source).migrate().left
    assert indexes_of("shelf") == {"shelf_place", "shelf_row"}

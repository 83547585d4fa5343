import peewee as pw
import pytest

from framework_schema.rows import CHUNK, delete_unchanged, insert_missing


@pytest.fixture
def database(tmp_path):
    database = pw.SqliteDatabase(tmp_path / "rows.db")
    database.execute_sql('CREATE TABLE "odd ""name" ("order" TEXT, kind TEXT, size INTEGER)')
    yield database
    database.close()


TABLE = 'odd "name'


def content(database):
    return database.execute_sql('SELECT "order", kind, size FROM "odd ""name"').fetchall()


def test_a_row_whose_key_is_there_stays_as_it_is(database):
    row = {"order": "a", "kind": "x", "size": 1}

    assert insert_missing(database, TABLE, ["order"], [row]) == 1
    assert insert_missing(database, TABLE, ["order"], [row | {"size": 2}]) == 0
    assert content(database) == [("a", "x", 1)]


def test_every_column_of_the_key_counts(database):
    insert_missing(database, TABLE, ["order", "kind"], [{"order": "a", "kind": "x"}])

    inserted = insert_missing(
        database, TABLE, ["order", "kind"], [{"order": "a", "kind": "x"}, {"order": "a", "kind": "y"}]
    )

    assert inserted == 1


@pytest.mark.parametrize("number", [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK])
def test_any_number_of_rows_keeps_its_order(database, number):
    rows = [{"order": f"o'{place} %s ?", "kind": "", "size": place} for place in range(number)]

    assert insert_missing(database, TABLE, ["order"], rows) == number
    assert [size for _, _, size in content(database)] == list(range(number))


def test_only_a_row_with_exactly_these_values_is_deleted(database):
    rows = [{"order": "a", "size": 1}, {"order": "b", "size": 1}]
    insert_missing(database, TABLE, ["order"], rows)
    database.execute_sql("""UPDATE "odd ""name" SET size = 2 WHERE "order" = 'b'""")

    assert delete_unchanged(database, TABLE, rows) == 1
    assert content(database) == [("b", None, 2)]

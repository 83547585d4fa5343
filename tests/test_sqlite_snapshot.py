"""What is read of a SQLite schema, and what is remembered of it for the process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import peewee as pw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework_schema import sqlite_snapshot
from framework_schema.snapshot import Snapshot
from framework_schema.sqlite_snapshot import of_database

TABLE = "CREATE TABLE part (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE DEFAULT 'x', size REAL CHECK (size > 0))"
CHANGES = (
    "ALTER TABLE part ADD COLUMN extra TEXT",
    "ALTER TABLE part RENAME COLUMN name TO title",
    "ALTER TABLE part RENAME TO piece",
    "CREATE INDEX part_size ON part (size)",
    "CREATE UNIQUE INDEX part_name ON part (name) WHERE size > 1",
    "CREATE TRIGGER noted AFTER INSERT ON PART BEGIN SELECT 1; END",
    "CREATE TABLE other (id INTEGER PRIMARY KEY, part REFERENCES part, UNIQUE (part))",
    "DROP TABLE part",
    "DROP INDEX part_size",
    "ALTER TABLE part DROP COLUMN size",
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[pw.SqliteDatabase]:
    made = pw.SqliteDatabase(str(tmp_path / "a.db"))
    with made.connection_context():
        yield made


def unremembered(database: pw.SqliteDatabase, *, structural: bool) -> Snapshot:
    sqlite_snapshot._known.clear()
    return of_database(database, structural=structural)


@given(changes=st.lists(st.sampled_from(CHANGES), max_size=8), structural=st.booleans())
def test_what_is_remembered_is_what_is_there(changes: list[str], structural: bool) -> None:
    database = pw.SqliteDatabase(":memory:")
    with database.connection_context():
        for sql in (TABLE, *changes):
            try:
                database.execute_sql(sql)
            except pw.OperationalError:
                continue
            of_database(database, structural=structural)
        seen = of_database(database, structural=structural)
        assert seen == unremembered(database, structural=structural)
        for name, table in seen.tables.items():
            assert of_database(database, structural=structural, table=name).tables == {name: table}


def test_a_table_of_the_same_texts_is_one_value(database: pw.SqliteDatabase, tmp_path: Path) -> None:
    database.execute_sql(TABLE)
    other = pw.SqliteDatabase(str(tmp_path / "b.db"))
    with other.connection_context():
        other.execute_sql(TABLE)
        assert of_database(other).tables["part"] is of_database(database).tables["part"]
        other.execute_sql("CREATE INDEX by_name ON part (name)")
        assert set(of_database(other).tables["part"].indexes) == {"by_name"}
        assert not of_database(database).tables["part"].indexes


def test_the_old_file_format_does_not_heed_desc(database: pw.SqliteDatabase, tmp_path: Path) -> None:
    """https://www.sqlite.org/fileformat2.html#schema_format: DESC counts from format 4 on."""
    table, index = "CREATE TABLE part (id INTEGER PRIMARY KEY, size REAL)", "CREATE INDEX by_size ON part (size DESC)"
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as connection:
        connection.execute(table)
    with old.open("r+b") as file:
        file.seek(44)
        file.write((1).to_bytes(4, "big"))
    with pw.SqliteDatabase(str(old)) as legacy:
        legacy.execute_sql(index)
        assert of_database(legacy).tables["part"].indexes["by_size"].columns == ("size",)
    database.execute_sql(table)
    database.execute_sql(index)
    assert of_database(database).tables["part"].indexes["by_size"].columns == ("size DESC",)


def test_a_temporary_table_of_the_same_name_is_not_looked_at(database: pw.SqliteDatabase) -> None:
    database.execute_sql("CREATE TEMP TABLE part (wrong TEXT)")
    database.execute_sql(TABLE)
    assert set(unremembered(database, structural=True).tables["part"].columns) == {"id", "name", "size"}


def test_the_memory_has_an_end(database: pw.SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_snapshot, "MOST", 5)
    sqlite_snapshot._known.clear()
    for number in range(20):
        database.execute_sql(f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY)")
        assert set(of_database(database).tables) == {f"t{number}"}
        database.execute_sql(f"DROP TABLE t{number}")
    assert len(sqlite_snapshot._known) <= 6


def test_a_table_that_another_connection_alters_meanwhile_is_read_of_one_state(tmp_path):
    class Raced(pw.SqliteDatabase):
        def execute_sql(self, sql, params=None):
            if "pragma" in sql and not tried:
                tried.append(sql)
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute('ALTER TABLE "raced" ADD COLUMN late TEXT')
            return super().execute_sql(sql, params)

    tried = []
    other = sqlite3.connect(tmp_path / "a.db", timeout=0, isolation_level=None)
    other.execute('CREATE TABLE "raced" (id INTEGER PRIMARY KEY)')
    database = Raced(str(tmp_path / "a.db"))

    with database.connection_context():
        found = of_database(database)

    assert tried
    assert set(found.tables["raced"].columns) == {"id"}
    assert not database.in_transaction()
    other.execute('ALTER TABLE "raced" ADD COLUMN late TEXT')
    other.close()

"""A collation or function of the app's own: known with the app's database, and named with what uses it without."""

import sqlite3
from contextlib import closing

import peewee as pw
import pytest
from script_texts import script

from framework_schema.errors import MigrationFailed, Unreadable
from framework_schema.runner import Runner

INDEX = "the index i of t"
USES = {
    "a column": ("CREATE TABLE t (a TEXT COLLATE byword, b INT)", "collation byword", "the table t"),
    "an index": (
        "CREATE TABLE t (a, b); CREATE INDEX i ON t (a COLLATE byword)",
        "collation byword",
        INDEX,
    ),
    "a unique": ("CREATE TABLE t (a TEXT COLLATE byword UNIQUE, b INT)", "collation byword", "the table t"),
    "an expression": ("CREATE TABLE t (a, b); CREATE INDEX i ON t (slug(a))", "function slug", INDEX),
    "a condition": (
        "CREATE TABLE t (a, b); CREATE INDEX i ON t (a) WHERE slug(a)",
        "function slug",
        INDEX,
    ),
    "a CHECK": ("CREATE TABLE t (a CHECK (slug(a) <> ''), b)", "function slug", "the table t"),
    "generated": ("CREATE TABLE t (a, b, c AS (slug(a)))", "function slug", "the table t"),
    "a trigger": (
        "CREATE TABLE t (a, b); CREATE TRIGGER g AFTER UPDATE ON t BEGIN SELECT slug(new.a); END",
        "function slug",
        "the trigger g of t",
    ),
}
CHANGE = script("""
    migrator.add_fields('t', c2=pw.IntegerField(default=1))
    migrator.sql("UPDATE t SET a = 'y'")
    migrator.add_index('t', 'c2')
""")


def register(connection):
    connection.create_collation("byword", lambda a, b: (a > b) - (a < b))
    connection.create_function("slug", 1, lambda value: value, deterministic=True)


@pytest.fixture
def apps_own(path):
    def make(sql):
        with closing(sqlite3.connect(path)) as connection:
            register(connection)
            connection.executescript(f"{sql}; INSERT INTO t (a, b) VALUES ('x', 1)")
        return path

    return make


@pytest.mark.parametrize(("sql", "what", "user"), USES.values(), ids=USES)
def test_what_only_the_app_knows_is_named_with_what_uses_it_and_what_to_do(apps_own, folder, sql, what, user):
    path = apps_own(sql)

    with pytest.raises((Unreadable, MigrationFailed)) as failed:
        Runner(path, [folder({"001_x": CHANGE})]).migrate()
    said = str(failed.value)
    assert f"the {what} is not known here; it is used by {user}. " in said
    assert "The app registers it on its connections" in said
    assert "init_app(app, database=...) or Runner(database)" in said


@pytest.mark.parametrize("sql", [use[0] for use in USES.values()], ids=USES)
def test_with_the_app_s_database_it_is_known(apps_own, folder, sql):
    database = pw.SqliteDatabase(apps_own(sql))
    database.register_collation(lambda a, b: (a > b) - (a < b), "byword")
    database.register_function(lambda value: value, "slug", 1, deterministic=True)

    assert Runner(database, [folder({"001_x": CHANGE})]).migrate().applied == ["app/001_x"]


def test_another_complaint_is_left_as_it_is(path, folder):
    with pytest.raises(MigrationFailed) as failed:
        Runner(path, [folder({"001_x": script("migrator.sql('SELECT nothing FROM nowhere')")})]).migrate()
    assert "registers" not in str(failed.value)

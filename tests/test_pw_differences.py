"""Where we differ from peewee_migrate on purpose, as docs/guides/pw-migrate.md says: what its Router does, and we."""

import logging
from contextlib import closing

import peewee as pw
import pytest
import sqlite_files as files
from peewee_migrate import Router
from script_texts import script

from framework_schema.errors import MigrationFailed, PlanRefused
from framework_schema.runner import Runner

ITEM = """
CREATE TABLE item (
    id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(9) NOT NULL COLLATE NOCASE CHECK (name <> ''), size INTEGER
);
INSERT INTO item (name, size) VALUES ('a', 1), ('b', NULL);
"""
KNOWN = """
with migrator.fake():
    @migrator.create_model
    class Item(pw.Model):
        name = pw.CharField(max_length=9)
        size = pw.IntegerField(null=True)
        class Meta:
            table_name = 'item'
"""
ROWS = "SELECT name, size FROM item ORDER BY id"
TEXT = "SELECT replace(sql, '\"', '') LIKE '%NOCASE%CHECK%' FROM sqlite_master WHERE name = 'item'"
INDEXES = "SELECT name, \"unique\" FROM pragma_index_list('item')"
COLUMNS = "SELECT name, \"notnull\", dflt_value FROM pragma_table_info('item') WHERE name NOT IN ('id', 'name')"
FAILS = "fails"
DIFFERENCES = {
    "operations run when called": (
        "migrator.add_fields('item', extra=pw.IntegerField(null=True))\n"
        "database.execute_sql('UPDATE item SET extra = 4')",
        "SELECT DISTINCT extra FROM item", FAILS, [(4,)],
    ),
    "what is there is left": (
        "database.execute_sql('ALTER TABLE item ADD COLUMN extra INTEGER')\n"
        "migrator.add_fields('item', extra=pw.IntegerField(null=True))",
        COLUMNS, FAILS, [("size", 0, None), ("extra", 0, None)],
    ),
    "add_default": ("migrator.add_default('item', 'size', 7)", ROWS, [("a", 7), ("b", 7)], [("a", 1), ("b", 7)]),
    "add_default in the database": (
        "migrator.add_default('item', 'size', 7)", COLUMNS, [("size", 0, None)], [("size", 0, "7")],
    ),
    "NOT NULL without rows": (
        "database.execute_sql('DELETE FROM item')\nmigrator.add_fields('item', extra=pw.IntegerField())",
        COLUMNS, FAILS, [("size", 0, None), ("extra", 1, None)],
    ),
    "an indexed column": (
        "migrator.add_index('item', 'size')\nmigrator.remove_fields('item', 'size')", COLUMNS, FAILS, [],
    ),
    "a list of names": ("migrator.remove_fields('item', ['size'])", COLUMNS, [("size", 0, None)], []),
    "another default": (
        "migrator.sql('ALTER TABLE item ADD COLUMN n INTEGER DEFAULT 1')\n"
        "with migrator.fake():\n    migrator.add_fields('item', n=pw.IntegerField(null=True))\n"
        "migrator.change_fields('item', n=pw.IntegerField(null=True, default=2))",
        COLUMNS, [("size", 0, None), ("n", 0, None)], [("size", 0, None), ("n", 0, "2")],
    ),
    "CHECK and COLLATE": ("migrator.change_fields('item', name=pw.CharField(max_length=8))", TEXT, [(0,)], [(1,)]),
    "a unique taken away": (
        "migrator.add_index('item', 'name', unique=True)\n"
        "migrator.change_fields('item', name=pw.CharField(max_length=9))",
        INDEXES, FAILS, [],
    ),
    "a foreign key": (
        "migrator.change_fields('item', size=pw.ForeignKeyField(migrator.orm['item'], null=True, column_name='size'))",
        "SELECT \"from\" FROM pragma_foreign_key_list('item')", FAILS, [("size",)],
    ),
    "a constraint": (
        "migrator.add_constraint('item', 'c', pw.SQL('CHECK (size < 9)'))",
        "SELECT sql LIKE '%CONSTRAINT%CHECK (size < 9)%' FROM sqlite_master WHERE name = 'item'", FAILS, [(1,)],
    ),
    "an index said twice": (
        "@migrator.create_model\nclass Peg(pw.Model):\n    a = pw.IntegerField(index=True)\n"
        "    class Meta:\n        indexes = [(('a',), True)]",
        "SELECT \"unique\" FROM pragma_index_list('peg')", [(0,)], [(1,)],
    ),
    "an index name that is taken": (
        "migrator.sql('CREATE INDEX peg_a ON item (size)')\n"
        "@migrator.create_model\nclass Peg(pw.Model):\n    a = pw.IntegerField(index=True)",
        "SELECT count(*) FROM pragma_index_list('peg')", [(0,)], [(1,)],
    ),
    "orphans": (
        "migrator.sql('CREATE TABLE child (p INTEGER REFERENCES item (id))')\n"
        "migrator.sql('INSERT INTO child VALUES (99)')",
        "SELECT count(*) FROM child", [(1,)], FAILS,
    ),
}  # fmt: skip


def there(path, folder):
    """Let peewee_migrate's Router run the scripts of a folder."""
    logging.getLogger("peewee_migrate").setLevel(logging.CRITICAL)
    with closing(pw.SqliteDatabase(path, pragmas={"foreign_keys": 0})) as database:
        Router(database, migrate_dir=folder).run()


@pytest.mark.parametrize(("body", "asked", "theirs", "ours"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_difference_is_what_the_docs_say(tmp_path, folder, body, asked, theirs, ours):
    source = folder({"001_x": script(f"{KNOWN.strip()}\n{body}")})
    found = []
    for name in ("theirs.db", "ours.db"):
        path = files.run(tmp_path / name, ITEM)
        try:
            if name == "theirs.db":
                there(path, tmp_path / "scripts")
            else:
                Runner(path, [source]).migrate()
            found.append(files.query(path, asked))
        except (MigrationFailed, pw.DatabaseError, ValueError, TypeError, NotImplementedError):
            found.append(FAILS)

    assert found == [theirs, ours]


def test_a_script_without_migrate_is_recorded_there_and_a_failure_here(tmp_path, folder):
    source = folder({"001_x": "def migrat(migrator, database, fake): pass"})

    there(tmp_path / "theirs.db", tmp_path / "scripts")

    assert files.query(tmp_path / "theirs.db", "SELECT name FROM migratehistory") == [("001_x",)]
    with pytest.raises(MigrationFailed, match="it defines neither migrate"):
        Runner(tmp_path / "ours.db", [source]).migrate()


def test_a_script_without_rollback_is_forgotten_there_and_refused_here(tmp_path, folder):
    source = folder({"001_x": script("migrator.sql('CREATE TABLE x (a)')")})
    there(tmp_path / "theirs.db", tmp_path / "scripts")
    with closing(pw.SqliteDatabase(tmp_path / "theirs.db")) as database:
        Router(database, migrate_dir=tmp_path / "scripts").rollback()
    Runner(tmp_path / "ours.db", [source]).migrate()

    assert files.query(tmp_path / "theirs.db", "SELECT name FROM migratehistory") == []
    assert "x" in files.tables(tmp_path / "theirs.db")
    with pytest.raises(PlanRefused, match="has no rollback"):
        Runner(tmp_path / "ours.db", [source]).rollback()

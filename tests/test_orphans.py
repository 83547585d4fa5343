"""Rows that were orphaned before stand in nobody's way, whatever their table is called now; new ones do."""

import pytest
import sqlite_files as files
from script_texts import script, sql

from framework_schema.errors import MigrationFailed
from framework_schema.runner import Runner

SHOP = """
CREATE TABLE crate (id INTEGER PRIMARY KEY, code TEXT UNIQUE);
CREATE TABLE apple (id INTEGER PRIMARY KEY, crate_id INTEGER REFERENCES crate (id), code TEXT REFERENCES crate (code));
INSERT INTO crate VALUES (1, 'k');
INSERT INTO apple VALUES (1, 1, 'k'), (2, 9, 'zz'), (3, 9, NULL);
"""
RENAMES = {
    "the table": "migrator.rename_table('apple', 'pear')",
    "the column": "migrator.rename_field('apple', 'crate_id', 'box_id')",
    "the parent": "migrator.rename_table('crate', 'box')",
    "the parent's column": "migrator.rename_field('crate', 'code', 'mark')",
    "its case": "migrator.rename_table('apple', 'Apple')",
    "all of them": """
        migrator.rename_field('apple', 'crate_id', 'box_id')
        migrator.rename_table('apple', 'pear')
        migrator.change_fields('pear', box_id=pw.IntegerField(null=True))
        migrator.rename_table('crate', 'box')
        migrator.change_fields('box', code=pw.CharField(max_length=9, null=True, unique=True))
    """,
    "by SQL": """
        migrator.sql('ALTER TABLE apple RENAME COLUMN crate_id TO box_id')
        migrator.sql('ALTER TABLE apple RENAME TO pear')
        database.execute_sql('ALTER TABLE crate RENAME TO box')
    """,
    "around": """
        migrator.rename_table('apple', 'passing')
        migrator.rename_table('crate', 'apple')
        migrator.rename_table('passing', 'crate')
    """,
}


@pytest.mark.parametrize("body", RENAMES.values(), ids=RENAMES)
def test_old_orphans_forbid_no_rename(path, folder, body):
    files.run(path, SHOP)
    before = len(files.orphans(path))

    report = Runner(path, [folder({"001_rename": script(body), "002_more": sql("SELECT 1")})]).migrate()

    assert report.applied == ["app/001_rename", "app/002_more"]
    assert 0 < len(files.orphans(path)) <= before


@pytest.mark.parametrize("body", RENAMES.values(), ids=RENAMES)
def test_a_new_orphan_is_refused_under_any_name(path, folder, body):
    files.run(path, SHOP)
    more = "table, column = next((t, c) for t, c in (('pear', 'code'), ('apple', 'code'), ('crate', 'code')) if "
    more += "database.execute_sql('SELECT count(*) FROM pragma_foreign_key_list(?)', (t,)).fetchone()[0])"
    more += "\ndatabase.execute_sql(f'INSERT INTO {table} ({column}) VALUES (1)')"

    with pytest.raises(MigrationFailed, match="would leave rows without the row they refer to"):
        Runner(path, [folder({"001_rename": script(body), "002_orphan": script(more)})]).migrate()
    assert files.history(path) == [("app/001_rename", True), ("app/002_orphan", False)]


def test_a_rollback_renames_past_old_orphans_too(path, folder):
    files.run(path, SHOP)
    source = folder({"001_rename": script(RENAMES["the table"], rollback="migrator.rename_table('pear', 'apple')")})
    Runner(path, [source]).migrate()

    Runner(path, [source]).rollback()

    assert "apple" in files.tables(path)


@pytest.mark.parametrize("orphan", ["'zz'", "'K'", "7"])
def test_rows_orphaned_while_their_key_could_not_be_checked_are_old_ones(path, folder, orphan):
    files.run(path, f"""CREATE TABLE depot (id INTEGER PRIMARY KEY, code TEXT);
        CREATE TABLE van (id INTEGER PRIMARY KEY, depot TEXT REFERENCES depot (code), boss INTEGER REFERENCES van);
        INSERT INTO depot (code) VALUES ('k'), ('l');
        INSERT INTO van (depot, boss) VALUES ('k', 1), ({orphan}, 9), (NULL, NULL);
    """)  # fmt: skip

    Runner(path, [folder({"001_unique": sql("CREATE UNIQUE INDEX depot_code ON depot (code)")})]).migrate()
    assert len(files.orphans(path)) == 2

    with pytest.raises(MigrationFailed, match=r"1 in van \(depot\) of depot"):
        Runner(path, [folder({"002_orphan": sql("INSERT INTO van (depot) VALUES ('none')")})]).migrate()

"""What else speaks of a column that goes or comes: carried along, made right, or named."""

import pytest
import sqlite_files as files
from script_texts import script
from test_migrator import run

from framework_schema.errors import MigrationFailed
from framework_schema.runner import Runner


def master(path):
    found = files.query(path, "SELECT name, sql FROM sqlite_master")
    return {name: sql for name, sql in found if "migration" not in name and not name.startswith("sqlite_")}


COMMENTED = [
    pytest.param("CREATE TABLE item (a INT, -- the first\n b INT)", id="comment after a comma"),
    pytest.param("CREATE TABLE item (a INT -- the first\n, b INT)", id="comment before a comma"),
    pytest.param("CREATE TABLE item (a INT, -- one, two\n b INT -- last\n)", id="a comma in a comment"),
    pytest.param("CREATE TABLE item (a INT, /* b INT, */ b INT)", id="a block"),
    pytest.param("CREATE TABLE item (a INT, b INT -- (\n)", id="a bracket in a comment"),
    pytest.param("CREATE TABLE item (b INT -- first\n, a INT)", id="the first column"),
]


@pytest.mark.parametrize("sql", COMMENTED)
def test_a_column_goes_whatever_comments_stand_around_it(path, folder, sql):
    files.run(path, f"{sql}; INSERT INTO item (a, b) VALUES (1, 2)")

    run(path, folder, 1, "migrator.remove_fields('item', 'b')")

    assert files.rows(path, "item") == {1: {"a": 1}}
    assert files.integrity(path) == ["ok"]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        pytest.param("CREATE TABLE t (a INT, b INT, CHECK (b > a))", r"CHECK \(b > a\) needs it", id="CHECK"),
        pytest.param("CREATE TABLE t (a INT CHECK (a < b), b INT)", r"CHECK \(a < b\) needs it", id="other's CHECK"),
        pytest.param("CREATE TABLE t (a INT, b INT, UNIQUE (a, b))", r"UNIQUE \(a, b\) needs it", id="UNIQUE"),
        pytest.param("CREATE TABLE t (a INT, b INTEGER PRIMARY KEY)", "the primary key needs it", id="primary key"),
        pytest.param("CREATE TABLE t (a, b, PRIMARY KEY (b, a))", "the primary key needs it", id="composite key"),
        pytest.param("CREATE TABLE t (a, b, c AS (b + 1))", "the generated column c needs it", id="generated"),
        pytest.param("CREATE TABLE t (a, b); CREATE INDEX i ON t (a, b)", "the index i needs it", id="index"),
        pytest.param("CREATE TABLE t (a, b); CREATE INDEX i ON t (a) WHERE b", "the index i needs it", id="partial"),
        pytest.param("CREATE TABLE t (a, b); CREATE INDEX i ON t (abs(b))", "the index i needs it", id="expression"),
        pytest.param("CREATE TABLE t (a, b); CREATE VIEW v AS SELECT b FROM t", "the view v needs it", id="view"),
        pytest.param(
            "CREATE TABLE t (a, b); CREATE TRIGGER g AFTER UPDATE OF b ON t BEGIN SELECT 1; END",
            "the trigger g needs it", id="UPDATE OF",
        ),
        pytest.param(
            "CREATE TABLE t (a, b); CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = new.b; END",
            "the trigger g needs it", id="new",
        ),
        pytest.param(
            "CREATE TABLE t (a, b); CREATE TABLE u (c);"
            " CREATE TRIGGER g AFTER INSERT ON u BEGIN UPDATE t SET b = 1; END",
            "a write to u with trigger g needs it", id="what another table's trigger writes",
        ),
        pytest.param(
            "CREATE TABLE t (a, b UNIQUE); CREATE TABLE child (b REFERENCES t (b))",
            "the foreign key of child needs it", id="a child",
        ),
    ],
)  # fmt: skip
def test_what_needs_a_column_is_named_and_nothing_changed(path, folder, sql, says):
    files.run(path, f"{sql}; INSERT INTO t (a, b) VALUES (1, 2)")
    before = master(path), files.query(path, "SELECT a, b FROM t")

    with pytest.raises(MigrationFailed, match=rf"t\.b cannot be dropped: .*{says}"):
        run(path, folder, 1, "migrator.remove_fields('t', 'b')")
    assert (master(path), files.query(path, "SELECT a, b FROM t")) == before


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("CREATE TABLE t (a INT CHECK (length(a) > 0), length INT)", id="a function of its name"),
        pytest.param("CREATE TABLE t (a INT CHECK (a <> 'length'), length INT)", id="a text of its name"),
        pytest.param("CREATE TABLE t (a INT, length INT CHECK (length > 0))", id="its own CHECK"),
        pytest.param("CREATE TABLE t (a INT, length INT UNIQUE)", id="its own UNIQUE"),
        pytest.param("CREATE TABLE t (a INT, length INT, UNIQUE (length))", id="a UNIQUE of it alone"),
        pytest.param("CREATE TABLE p (i); CREATE TABLE t (a, length INT REFERENCES p (i))", id="its own reference"),
        pytest.param("CREATE TABLE t (a, length); CREATE INDEX i ON t (length COLLATE NOCASE DESC)", id="index"),
        pytest.param("CREATE TABLE t (a, length); CREATE VIEW broken AS SELECT 1 FROM nowhere", id="a broken view"),
    ],
)
def test_what_only_looks_like_a_use_is_none(path, folder, sql):
    files.run(path, f"{sql}; INSERT INTO t (a, length) VALUES (1, 2)")

    run(path, folder, 1, "migrator.remove_fields('t', 'length')")

    assert files.query(path, "SELECT * FROM t") == [(1,)]


@pytest.mark.parametrize(
    "index",
    [
        pytest.param('CREATE INDEX i ON t ("size")', id="column"),
        pytest.param('CREATE INDEX i ON t (a, "size" DESC)', id="second column"),
        pytest.param('CREATE INDEX i ON t (a) WHERE "size" > 3', id="condition"),
        pytest.param('CREATE INDEX i ON t (upper("Size"))', id="expression"),
    ],
)
def test_an_index_on_a_word_that_becomes_a_column_is_made_anew(path, folder, index):
    files.run(path, f"CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2), (3); {index}")

    run(path, folder, 1, "migrator.add_fields('t', size=pw.IntegerField(null=True))")

    assert files.integrity(path) == ["ok"]


def test_alignment_too_makes_such_an_index_anew(path, folder):
    source = folder({"001_t": script("migrator.sql('CREATE TABLE t (a INT, size INT)')")})
    Runner(path, [source]).migrate()
    files.run(path, 'DROP TABLE t; CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2); CREATE INDEX i ON t ("size")')

    assert Runner(path, [source]).migrate().aligned == ("column t.size",)
    assert files.integrity(path) == ["ok"]


@pytest.mark.parametrize("rule", ['CHECK (a <> "size")', 'b TEXT AS (a || "size")'])
def test_a_rule_on_a_word_that_would_become_a_column_is_named(path, folder, rule):
    files.run(path, f"CREATE TABLE t (a INT, {rule}); INSERT INTO t (a) VALUES (1)")
    before = master(path)

    with pytest.raises(MigrationFailed, match="in which size, in double quotes, is a text"):
        run(path, folder, 1, "migrator.add_fields('t', size=pw.IntegerField(null=True))")
    assert master(path) == before


def test_a_default_in_double_quotes_is_a_text_for_ever(path, folder):
    files.run(path, 'CREATE TABLE t (a TEXT DEFAULT "size"); INSERT INTO t DEFAULT VALUES')

    run(path, folder, 1, "migrator.add_fields('t', size=pw.IntegerField(default=3))")

    assert files.query(path, "SELECT a, size FROM t") == [("size", 3)]


@pytest.mark.parametrize(
    ("view", "body", "says"),
    [
        pytest.param(
            "SELECT 1 FROM nowhere", "migrator.rename_table('t', 'u')", "the view v does not work", id="table"
        ),
        pytest.param(
            "SELECT 1 FROM nowhere", "migrator.rename_field('t', 'a', 'c')", "the view v does not work", id="column"
        ),
        pytest.param(
            "SELECT a, c FROM t, other", "migrator.rename_field('t', 'a', 'c')", "the view v would not work any more",
            id="a view that would break",
        ),
    ],
)  # fmt: skip
def test_what_keeps_sqlite_from_a_rename_is_named(path, folder, view, body, says):
    files.run(path, f"CREATE TABLE t (a, b); CREATE TABLE other (c); CREATE VIEW v AS {view}")
    before = master(path)

    with pytest.raises(MigrationFailed, match=says):
        run(path, folder, 1, body)
    assert master(path) == before


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("CREATE TABLE t (a INT REFERENCES t, b, PRIMARY KEY (a, b))", id="a key that is its own parent"),
        pytest.param("CREATE TABLE t (a INT REFERENCES t, b)", id="a parent without a key"),
    ],
)
def test_a_default_of_an_odd_key_is_taken_as_it_is(path, folder, sql):
    files.run(path, sql)

    run(path, folder, 1, "migrator.add_default('t', 'a', 4)")

    assert files.query(path, "SELECT dflt_value FROM pragma_table_info('t') WHERE name = 'a'") == [("4",)]

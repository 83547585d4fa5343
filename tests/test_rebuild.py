"""A rebuilt table has lost nothing: each test is one way in which rebuilds are known to lose something."""

import sqlite3

import histories
import peewee as pw
import pytest

from framework_schema import ddl
from framework_schema.ddl import quote
from framework_schema.orphans import violations
from framework_schema.rebuild import RebuildFailed, rebuild_table


@pytest.fixture
def database(tmp_path):
    database = pw.SqliteDatabase(tmp_path / "a.db")
    database.connect()
    yield database
    database.close()


def script(database, *statements):
    for statement in statements:
        database.execute_sql(statement)


def rows(database, sql, *values):
    return database.execute_sql(sql, values).fetchall()


def text_of(database, table):
    return rows(database, "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", table)[0][0]


def everything(database, but=""):
    """All objects, but for the text of one table; all rows with their types; all counters."""
    objects = rows(database, "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    contents = {table: content(database, table) for kind, table, *_ in objects if kind == "table"}
    sets = {table: sorted(rows) if table.startswith("sqlite_") else rows for table, rows in contents.items()}
    return {o for o in objects if o[:2] != ("table", but)}, sets


def content(database, table):
    columns = [name for (name,) in rows(database, "SELECT name FROM pragma_table_xinfo(?)", table)]
    parts = ", ".join(f"{quote(c)}, typeof({quote(c)})" for c in columns)
    return rows(database, f"SELECT {parts} FROM {quote(table)} NOT INDEXED")


def rebuild(database, table, edit=lambda sql: sql, **options):
    """Rebuild as a runner does: keys off, transaction, nothing new broken, commit."""
    database.execute_sql("PRAGMA foreign_keys = 0")
    database.execute_sql("BEGIN IMMEDIATE")
    try:
        before = violations(database)
        rebuilt = rebuild_table(database, table, edit(text_of(database, table)), **options)
        assert not violations(database) - before
    except BaseException:
        database.execute_sql("ROLLBACK")
        raise
    database.execute_sql("COMMIT")
    assert rows(database, "PRAGMA integrity_check") == [("ok",)]
    return rebuilt


def edit_column(name, edit, *arguments):
    def changed(sql):
        return ddl.replace_column(sql, name, edit(ddl.parse_table(sql).column(name).text, *arguments))

    return changed


def refuses(database, table, edit, *words, **options):
    """The rebuild fails, says these words, and a rollback brings all back."""
    before = everything(database), text_of(database, table)
    with pytest.raises(RebuildFailed) as caught:
        rebuild(database, table, edit, **options)
    assert (everything(database), text_of(database, table)) == before
    for word in words:
        assert word in str(caught.value)
    assert "framework_schema_rebuild" not in str(caught.value)


# When it may run


def test_an_open_transaction_is_required(database):
    script(database, "CREATE TABLE t (a)", "PRAGMA foreign_keys = 0")
    with pytest.raises(RebuildFailed, match="no transaction"):
        rebuild_table(database, "t", "CREATE TABLE t (a INT)")


def test_foreign_keys_must_be_off_for_the_drop_would_delete_children(database):
    script(database, "CREATE TABLE t (a)", "PRAGMA foreign_keys = 1", "BEGIN")
    with pytest.raises(RebuildFailed, match="foreign_keys is on"):
        rebuild_table(database, "t", "CREATE TABLE t (a INT)")


@pytest.mark.parametrize(
    ("table", "sql"),
    [
        ("nothing", "CREATE TABLE nothing (a)"),
        ("v", "CREATE TABLE v (a)"),
        ("t", "CREATE TABLE other (a)"),
        ("t", "CREATE TEMP TABLE t (a)"),
        ("t", "CREATE TABLE t (a"),
        ("t", "CREATE TABLE t (a, a)"),
        ("sqlite_sequence", "CREATE TABLE sqlite_sequence (name, seq)"),
        ("shadowed", "CREATE TABLE shadowed (a INT)"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused(database, table, sql):
    script(
        database, "CREATE TABLE t (a)", "CREATE VIEW v AS SELECT * FROM t", "CREATE TABLE shadowed (a)",
        "CREATE TABLE s (id INTEGER PRIMARY KEY AUTOINCREMENT)", "CREATE TEMP TABLE shadowed (b)",
        "PRAGMA foreign_keys = 0", "BEGIN",
    )  # fmt: skip
    with pytest.raises(RebuildFailed) as caught:
        rebuild_table(database, table, sql)
    assert caught.value.table == table


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("CREATE TEMP TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END", id="trigger, which the drop takes"),
        pytest.param("CREATE TEMP TABLE T (b)", id="table, which stands before ours"),
    ],
)
def test_temporary_objects_in_the_way_are_named(database, statement):
    script(database, "CREATE TABLE t (a)", statement, "PRAGMA foreign_keys = 0", "BEGIN")
    with pytest.raises(RebuildFailed, match="temporary"):
        rebuild_table(database, "t", "CREATE TABLE t (a INT)")


# Rows


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "RESTRICT", "NO ACTION"])
def test_children_keep_their_rows(database, action):
    script(
        database,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        f"CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE {action})",
        f"CREATE TABLE grandchild (id INTEGER PRIMARY KEY, c REFERENCES child ON DELETE {action})",
        "INSERT INTO parent VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO child VALUES (1, 1), (2, 2)", "INSERT INTO grandchild VALUES (1, 1), (2, 2)",
    )  # fmt: skip
    before = everything(database, "parent")
    rebuild(database, "parent", edit_column("name", ddl.with_not_null, False))
    assert everything(database, "parent") == before
    assert text_of(database, "child").endswith(f"REFERENCES parent ON DELETE {action})")


def test_a_table_that_refers_to_itself_keeps_its_rows(database):
    script(
        database,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, up INT NOT NULL REFERENCES t ON DELETE CASCADE)",
        "INSERT INTO t VALUES (1, 1), (2, 1), (3, 2)",
    )
    before = everything(database, "t")
    rebuild(database, "t", edit_column("up", ddl.with_not_null, False))
    assert everything(database, "t") == before
    assert rows(database, 'SELECT "table" FROM pragma_foreign_key_list(?)', "t") == [("t",)]


@pytest.mark.parametrize(
    "definition",
    [
        pytest.param("(a, b TEXT)", id="no key"),
        pytest.param("(a TEXT PRIMARY KEY, b)", id="text key"),
        pytest.param("(a INT PRIMARY KEY, b)", id="INT is no alias"),
        pytest.param("(a INTEGER PRIMARY KEY DESC, b)", id="DESC is no alias"),
        pytest.param("(rowid TEXT, a)", id="a column named rowid"),
        pytest.param("(rowid TEXT, _ROWID_)", id="only oid is left"),
    ],
)
def test_rowids_are_kept(database, definition):
    script(database, f"CREATE TABLE t {definition}")
    name = "oid"
    database.execute_sql(f"INSERT INTO t ({name}) VALUES (7), (-3), (99), (98)")
    database.execute_sql(f"DELETE FROM t WHERE {name} = 98")
    before = rows(database, f"SELECT {name}, * FROM t")
    rebuild(database, "t", lambda sql: ddl.append_column(sql, "more INT DEFAULT 5"))
    assert rows(database, f"SELECT {name}, * FROM t") == [(*row, 5) for row in before]


def test_rows_that_nothing_tells_apart_are_kept_in_their_order(database):
    script(
        database,
        "CREATE TABLE t (rowid, oid, _rowid_ TEXT COLLATE NOCASE)",
        "CREATE INDEX i ON t (oid, rowid, _rowid_)",
    )
    script(database, "INSERT INTO t VALUES (1, 9, 'x'), (1, 8, 'X'), (1, 9, 'x'), (1.0, 7, NULL)")
    before = everything(database, "t")
    rebuild(database, "t", lambda sql: ddl.append_constraint(sql, "CHECK (oid > 1)"))
    assert everything(database, "t") == before
    refuses(database, "t", edit_column("oid", ddl.with_type, "TEXT"), "row is missing")


def test_the_order_of_the_rows_is_kept_whatever_index_covers_them(database):
    script(
        database,
        "CREATE TABLE t (rowid INT, oid INT, _rowid_ INT, wide TEXT)",
        "CREATE INDEX i ON t (oid, rowid, _rowid_)",
        "INSERT INTO t VALUES (1, 9, 1, 'x'), (1, 8, 1, 'x'), (1, 7, 1, 'x')",
    )
    rebuild(database, "t", lambda sql: ddl.drop_column(sql, "wide"))
    assert rows(database, "SELECT oid FROM t NOT INDEXED") == [(9,), (8,), (7,)]


def test_without_rowid_and_strict_stay(database):
    script(
        database,
        "CREATE TABLE t (k TEXT COLLATE NOCASE, n INT NOT NULL, v ANY, PRIMARY KEY (k, n DESC)) WITHOUT ROWID, STRICT",
        "INSERT INTO t VALUES ('B', 1, x'00'), ('a', 2, 'x'), ('A', 1, 5)",
    )
    before = everything(database, "t")
    rebuild(database, "t", edit_column("v", ddl.with_default, '\'{"a": 1, "b": 2}\''))
    assert everything(database, "t") == before
    assert text_of(database, "t").endswith("WITHOUT ROWID, STRICT")
    with pytest.raises(pw.IntegrityError):
        database.execute_sql("INSERT INTO t VALUES ('x', 'no number', 1)")


def test_a_table_can_become_without_rowid_and_back(database):
    script(database, "CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, v)", "INSERT INTO t VALUES ('b', 1), ('a', 2)")
    rebuild(database, "t", lambda sql: sql + " WITHOUT ROWID")
    assert rows(database, "SELECT * FROM t") == [("a", 2), ("b", 1)]
    rebuild(database, "t", lambda sql: sql.removesuffix(" WITHOUT ROWID"))
    assert sorted(rows(database, "SELECT * FROM t")) == [("a", 2), ("b", 1)]


@pytest.mark.parametrize("fill", ["INSERT INTO t (id, a) VALUES (3, 1)", "SELECT 1"])
def test_ids_are_never_used_again(database, fill):
    script(
        database, "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a INT NOT NULL)",
        "INSERT INTO t VALUES (999, 1)", "DELETE FROM t", fill,
        "CREATE TABLE u (id INTEGER PRIMARY KEY AUTOINCREMENT)", "INSERT INTO u VALUES (5)",
    )  # fmt: skip
    rebuild(database, "t", edit_column("a", ddl.with_not_null, False))
    assert sorted(rows(database, "SELECT * FROM sqlite_sequence")) == [("t", 999), ("u", 5)]
    database.execute_sql("INSERT INTO t (a) VALUES (1)")
    assert rows(database, "SELECT max(id) FROM t") == [(1000,)]


def test_autoincrement_can_be_added(database):
    script(database, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)", "INSERT INTO t VALUES (41, 1)")
    rebuild(database, "t", lambda sql: sql.replace("PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT"))
    assert rows(database, "SELECT * FROM sqlite_sequence") == [("t", 41)]


def test_generated_columns_stay_generated(database):
    script(
        database, "CREATE TABLE t (a INT NOT NULL, s AS (a * 2) STORED, v INT AS (a + 1) UNIQUE, b)",
        "INSERT INTO t VALUES (1, 'x'), (2, NULL)",
    )  # fmt: skip
    before = everything(database, "t")
    rebuild(database, "t", edit_column("a", ddl.with_not_null, False))
    assert everything(database, "t") == before
    database.execute_sql("UPDATE t SET a = 10 WHERE a = 1")
    assert rows(database, "SELECT s, v FROM t WHERE a = 10") == [(20, 11)]


def test_a_generated_column_can_become_a_plain_one(database):
    script(database, "CREATE TABLE t (a INT, s AS (a * 2))", "INSERT INTO t VALUES (1)")
    rebuild(database, "t", lambda sql: ddl.replace_column(sql, "s", "s INT"))
    assert rows(database, "SELECT * FROM t") == [(1, 2)]


def test_copy_gives_new_columns_their_values(database):
    script(database, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT)", "INSERT INTO t VALUES (1, NULL, 'x')")
    new = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, c TEXT, d INT DEFAULT 3)"
    rebuild(database, "t", lambda _: new, copy={"A": "coalesce(a, 'none')", "c": '"b"'})
    assert rows(database, "SELECT * FROM t") == [(1, "none", "x", 3)]


def test_the_key_can_be_copied_from_elsewhere(database):
    script(database, "CREATE TABLE t (k TEXT, v)", "INSERT INTO t VALUES ('7', 'x'), ('5', 'y')")
    rebuild(database, "t", lambda _: "CREATE TABLE t (id INTEGER PRIMARY KEY, v)", copy={"id": "CAST(k AS INT)"})
    assert rows(database, "SELECT * FROM t") == [(5, "y"), (7, "x")]


@pytest.mark.parametrize("value", ["'00123'", "'1e3'", "'5'"])
def test_a_value_that_a_new_type_would_change_is_refused_unless_allowed(database, value):
    script(database, "CREATE TABLE t (a TEXT)", f"INSERT INTO t VALUES ({value}), ('word'), (x'31'), (NULL)")
    edit = edit_column("a", ddl.with_type, "INTEGER")
    refuses(database, "t", edit, "column a")
    rebuild(database, "t", edit, allow_conversion=frozenset({"A"}))
    types = rows(database, "SELECT typeof(a) FROM t")
    assert types == [("integer",), ("text",), ("blob",), ("null",)]


def test_numbers_that_a_new_type_would_round_are_refused_even_if_conversion_is_allowed(database):
    script(database, "CREATE TABLE t (a INTEGER)", f"INSERT INTO t VALUES ({2**53 + 1})")
    refuses(database, "t", edit_column("a", ddl.with_type, "REAL"), "column a", allow_conversion=["a"])


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        pytest.param(edit_column("a", ddl.with_not_null, True), ["NOT NULL", "a"], id="NULLs"),
        pytest.param(edit_column("b", ddl.with_check, "b > 1"), ["CHECK"], id="check"),
        pytest.param(edit_column("b", ddl.with_unique, True), ["UNIQUE"], id="unique"),
        pytest.param(lambda sql: ddl.append_constraint(sql, "UNIQUE (b) ON CONFLICT IGNORE"), ["UNIQUE"], id="ignore"),
        pytest.param(
            lambda sql: ddl.append_constraint(sql, "UNIQUE (b) ON CONFLICT REPLACE"), ["UNIQUE"], id="replace"
        ),
        pytest.param(lambda sql: ddl.append_column(sql, "c INT NOT NULL"), ["NOT NULL"], id="column without default"),
        pytest.param(
            edit_column("a", lambda d: d + " NOT NULL ON CONFLICT REPLACE DEFAULT 7"), ["NOT NULL"], id="replaced NULL"
        ),
    ],
)
def test_rows_that_break_a_new_rule_are_named_and_kept(database, edit, words):
    script(database, "CREATE TABLE t (a, b INT)", "INSERT INTO t VALUES (1, 1), (NULL, 1)")
    refuses(database, "t", edit, *words)


# What hangs on the table


def test_indexes_triggers_and_views_stay_and_work(database):
    script(
        database,
        "CREATE TABLE log (what)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL, n INT)",
        "CREATE UNIQUE INDEX i1 ON t (name COLLATE NOCASE DESC) WHERE n > 1",
        "CREATE INDEX i2 on T(lower(name), n desc)",
        "CREATE INDEX 'odd '' name' ON t (n)",
        "CREATE TRIGGER g1 AFTER INSERT ON t BEGIN INSERT INTO log VALUES (NEW.name || ';--'); END",
        "CREATE TRIGGER g2 before UPDATE OF name ON T WHEN new.n > 1 BEGIN SELECT raise(abort, 'no'); END",
        "CREATE TRIGGER g3 AFTER INSERT ON log BEGIN UPDATE t SET n = 0 WHERE name = 'counted'; END",
        "CREATE VIEW v AS SELECT name, count(*) AS c FROM t GROUP BY name",
        "CREATE TRIGGER g4 INSTEAD OF INSERT ON v BEGIN INSERT INTO t (name) VALUES (NEW.name); END",
        "CREATE VIEW broken AS SELECT missing FROM nowhere",
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'counted', 2)",
    )  # fmt: skip
    before = everything(database, "t")
    rebuilt = rebuild(database, "t", edit_column("name", ddl.with_not_null, False))
    assert everything(database, "t") == before
    assert (rebuilt.rows, rebuilt.indexes, rebuilt.triggers) == (2, ("i1", "i2", "odd ' name"), ("g1", "g2"))
    database.execute_sql("INSERT INTO v (name) VALUES ('new')")
    assert rows(database, "SELECT what FROM log")[-1:] == [("new;--",)]
    assert rows(database, "SELECT * FROM v ORDER BY name") == [("a", 1), ("counted", 1), ("new", 1)]


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("CREATE INDEX i ON t (gone)", "i"),
        ('CREATE INDEX i ON t ("gone" || a)', "i"),
        ('CREATE INDEX i ON t (a) WHERE "gone" > 0', "i"),
        ("CREATE TRIGGER g AFTER UPDATE ON t BEGIN SELECT NEW.gone; END", "g"),
        ('CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = 1 WHERE "gone" = 2; END', "g"),
        ("CREATE TRIGGER g AFTER UPDATE OF gone ON t BEGIN SELECT 1; END", "g"),
        ("CREATE TRIGGER g AFTER DELETE ON other BEGIN DELETE FROM t WHERE gone = 1; END", "g"),
        ("CREATE VIEW v AS SELECT gone FROM t", "v"),
        ('CREATE VIEW v (x) AS SELECT "gone" FROM t', "v"),
    ],
)
def test_what_needs_a_dropped_column_is_named(database, statement, name):
    script(database, "CREATE TABLE other (a)", "CREATE TABLE t (a, gone)", "INSERT INTO t VALUES (1, 2)", statement)
    refuses(database, "t", lambda sql: ddl.drop_column(sql, "gone"), name)


def test_a_check_never_falls_back_to_a_string(database):
    script(database, "CREATE TABLE t (a, gone)")
    refuses(database, "t", lambda _: 'CREATE TABLE t (a, CHECK ("gone" <> a))', "gone")


def test_a_column_that_nothing_needs_can_go(database):
    script(
        database, "CREATE TABLE t (a, gone)", "INSERT INTO t VALUES (1, 2)",
        'CREATE TABLE other ("gone" INT)', 'CREATE VIEW v AS SELECT "gone" FROM other',
    )  # fmt: skip
    rebuild(database, "t", lambda sql: ddl.drop_column(sql, "gone"))
    assert rows(database, "SELECT * FROM t") == [(1,)]


def test_a_check_may_name_its_table(database):
    script(database, "CREATE TABLE t (a INT NOT NULL, CHECK (t.a > 0 and main.t.a < 9))", "INSERT INTO t VALUES (1)")
    rebuild(database, "t", edit_column("a", ddl.with_not_null, False))
    database.execute_sql("VACUUM")
    with pytest.raises(pw.IntegrityError):
        database.execute_sql("INSERT INTO t VALUES (9)")


def test_comments_and_odd_defaults_stay_to_the_letter(database):
    text = """CREATE TABLE [t] -- one
    (a text not null default 'is NOT NULL  a) b, (c', /* two, */
     "q""x" DEFAULT "dq", CHECK("a"<>'--'), UNIQUE(a,"q""x") -- three
    )"""
    script(database, text, "INSERT INTO t DEFAULT VALUES")
    rebuild(database, "t", lambda sql: sql)
    assert text_of(database, "t") == text.replace("[t]", '"t"')


def test_the_statistics_of_analyze_stay(database):
    script(database, "CREATE TABLE t (a)", "CREATE INDEX i ON t (a)", "INSERT INTO t VALUES (1), (2)", "ANALYZE")
    before = rows(database, "SELECT * FROM sqlite_stat1")
    rebuild(database, "t", lambda sql: ddl.append_column(sql, "b"))
    assert rows(database, "SELECT * FROM sqlite_stat1") == before


@pytest.mark.parametrize("was", [0, 1])
def test_legacy_alter_table_is_as_it_was(database, was):
    script(database, "CREATE TABLE t (a)", "CREATE INDEX i ON t (a)", f"PRAGMA legacy_alter_table = {was}")
    rebuild(database, "t")
    refuses(database, "t", lambda sql: ddl.replace_column(sql, "a", "b"), "i")
    assert rows(database, "PRAGMA legacy_alter_table") == [(was,)]


def test_a_table_that_has_the_passing_name_is_left_alone(database):
    script(
        database,
        "CREATE TABLE FRAMEWORK_SCHEMA_REBUILD_1 (a)",
        "CREATE TABLE t (a)",
        "CREATE VIEW framework_schema_rebuild_2 AS SELECT 1",
    )
    script(database, "INSERT INTO FRAMEWORK_SCHEMA_REBUILD_1 VALUES (1)")
    before = everything(database, "t")
    rebuild(database, "t")
    assert everything(database, "t") == before


@pytest.mark.parametrize(
    "name", ["a b", 'q"q', "it's", "[x]", "`", "line\nbreak", "Ünï", "order", "--", "?", "%s", ";"]
)
def test_any_name_will_do(database, name):
    q = quote(name)
    script(
        database, f"CREATE TABLE {q} ({q} INTEGER PRIMARY KEY, n {q}, up REFERENCES {q} ({q}))",
        f"CREATE INDEX {quote('i' + name)} ON {q} (n)", f"INSERT INTO {q} VALUES (1, 'x', 1)",
        f"CREATE TRIGGER {quote('g' + name)} AFTER INSERT ON {q} BEGIN SELECT NEW.{q}; END",
        f"CREATE VIEW {quote('v' + name)} AS SELECT {q} FROM {q}",
    )  # fmt: skip
    before = everything(database, name)
    rebuild(database, name, edit_column("n", ddl.with_default, "'d'"))
    assert everything(database, name) == before


def test_a_name_in_another_case_is_the_same_table(database):
    script(database, "CREATE TABLE Item (Name TEXT)", "CREATE INDEX i ON item (name)", "INSERT INTO Item VALUES ('x')")
    before = everything(database, "Item")
    database.execute_sql("PRAGMA foreign_keys = 0")
    with database.atomic():
        assert rebuild_table(database, "ITEM", "CREATE TABLE item (name TEXT DEFAULT 'y')").table == "Item"
    assert everything(database, "Item") == before


@pytest.mark.parametrize("name", histories.IDS)
def test_every_table_of_every_history_can_be_rebuilt(copy_of, name):
    database = pw.SqliteDatabase(copy_of(name))
    with database.connection_context():
        (objects, contents), texts = everything(database), table_texts(database)
        database.execute_sql("PRAGMA foreign_keys = 0")
        with database.atomic():
            broken = violations(database)
            for table, sql in texts.items():
                rebuild_table(database, table, sql)
            assert violations(database) == broken
        after, after_contents = everything(database)
        assert after_contents == contents
        assert {o for o in after if o[0] != "table"} == {o for o in objects if o[0] != "table"}
        assert parsed(table_texts(database)) == parsed(texts)


def table_texts(database):
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    return dict(rows(database, sql))


def parsed(texts):
    return {table: ddl.parse_table(sql) for table, sql in texts.items()}


# Violations


def test_violations_count_per_key_and_outlive_a_rebuild(database):
    script(
        database, "PRAGMA foreign_keys = 0", "CREATE TABLE p (id INTEGER PRIMARY KEY, k)",
        "CREATE TABLE c (a REFERENCES p, b REFERENCES gone)", "CREATE TABLE mismatch (k REFERENCES p (k))",
        "INSERT INTO c VALUES (1, NULL), (2, NULL), (NULL, 3)", "INSERT INTO mismatch VALUES (1)",
    )  # fmt: skip
    before = violations(database)
    found = {(v.table, v.columns, n) for v, n in before.items()}
    assert found == {
        ("c", ("a",), 2),
        ("c", ("b",), 1),
        ("mismatch", (), 1),
        ("mismatch", ("k",), 1),
    }
    rebuild(database, "c", lambda sql: ddl.append_column(sql, "d REFERENCES p"))
    assert violations(database) == before
    database.execute_sql("INSERT INTO c (a) VALUES (9)")
    assert (violations(database) - before).total() == 1


# Size


def test_a_rebuild_reads_no_row_into_python(database):
    script(database, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL)")
    script(
        database,
        "WITH RECURSIVE k (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 3000)"
        " INSERT INTO t SELECT i, i FROM k",
    )
    taken = []

    class Watched(sqlite3.Cursor):
        def fetchall(self):
            found = super().fetchall()
            taken.append(len(found))
            return found

    connection = database.connection()
    database.execute_sql("PRAGMA foreign_keys = 0")
    database.execute_sql("BEGIN")
    original, database.cursor = database.cursor, lambda *_: connection.cursor(Watched)
    try:
        assert rebuild_table(database, "t", "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)").rows == 3000
    finally:
        database.cursor = original
    assert max(taken) < 10

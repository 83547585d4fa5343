"""A plan that is made shorter leads to the same schema and the same rows; where that cannot be shown it stays."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework_schema.folding import READ, folded
from framework_schema.watched import Statement

T, S = "CREATE TABLE t (id INTEGER PRIMARY KEY, a)", "CREATE TABLE s (id INTEGER PRIMARY KEY, a)"
AUTO = "CREATE TABLE auto (id INTEGER PRIMARY KEY AUTOINCREMENT, a)"
OLD = (T, "CREATE INDEX t_a ON t (a)")


def said(statements):
    return [statement.sql for statement in statements]


def plan(*statements):
    return tuple(Statement(sql, asks=sql.startswith("SELECT")) for sql in statements)


def shorter(*statements, before=OLD):
    """Fold a plan for a database with this schema, and prove by doing both that nothing else becomes of it."""
    with made(before) as start:
        found = folded(plan(*statements), tuple(start.execute(READ).fetchall()))
    with made(before) as long, made(before) as short:
        done(long, statements)
        done(short, said(found))
        assert content(short) == content(long)
    return said(found)


def made(before):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for sql in before:
        connection.execute(sql)
        if sql.startswith("CREATE TABLE"):
            table = sql.split()[2]
            for number in range(3):
                connection.execute(f"INSERT INTO {table} (a) VALUES (?)", (number,))
    return closing(connection)


def done(connection, statements):
    for sql in statements:
        connection.execute(sql)


def content(connection):
    schema = connection.execute(READ).fetchall()
    tables = [name for kind, name, *_ in schema if kind == "table"]
    return schema, {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}


def test_a_new_table_is_made_as_it_will_be_in_the_end():
    assert shorter(
        S,
        'ALTER TABLE s ADD COLUMN b TEXT DEFAULT "x"',
        "CREATE INDEX s_b ON s (b)",
        "ALTER TABLE s RENAME COLUMN b TO c",
        "ALTER TABLE s RENAME TO u",
        "ALTER TABLE u DROP COLUMN a",
    ) == [
        'CREATE TABLE "u" (id INTEGER PRIMARY KEY, c TEXT DEFAULT "x")',
        'CREATE INDEX s_b ON "u" (c)',
    ]


def test_what_was_there_is_altered_before_the_schema_grows():
    asks = ['SELECT 1 FROM "s" LIMIT 1', 'SELECT 1 FROM "t" LIMIT 1']
    whole = [S, *asks, "ALTER TABLE s ADD COLUMN b", "ALTER TABLE t ADD COLUMN b"]

    assert shorter(*whole) == [asks[1], "ALTER TABLE t ADD COLUMN b", S.removesuffix(")") + ", b)"]


def test_a_plan_of_which_no_alter_can_be_saved_stays_as_it_is():
    whole = [S, "ALTER TABLE t ADD COLUMN b"]

    assert shorter(*whole) == whole


def test_references_follow_a_renamed_table():
    found = shorter(S, "CREATE TABLE c (s REFERENCES s (id), t REFERENCES t (id))", "ALTER TABLE s RENAME TO s2")

    assert found == [
        'CREATE TABLE "s2" (id INTEGER PRIMARY KEY, a)',
        'CREATE TABLE c (s REFERENCES "s2" (id), t REFERENCES t (id))',
    ]


def test_a_name_may_go_from_one_table_to_another():
    found = shorter("ALTER TABLE t RENAME TO old", T, "ALTER TABLE t ADD COLUMN b")

    assert found == ["ALTER TABLE t RENAME TO old", T.removesuffix(")") + ", b)"]


def test_the_table_that_keeps_the_last_ids_is_made_at_its_place():
    found = shorter(
        "CREATE TABLE n (id INTEGER PRIMARY KEY AUTOINCREMENT)", S, "ALTER TABLE n ADD COLUMN b", "ALTER TABLE s ADD c"
    )

    assert len(found) == 2


def test_what_is_kept_of_last_ids_goes_with_a_renamed_table():
    whole = ["CREATE TABLE n (id INTEGER PRIMARY KEY AUTOINCREMENT)", "ALTER TABLE n RENAME TO m"]

    assert shorter(*whole, before=(AUTO, "INSERT INTO sqlite_sequence VALUES ('n', 70)")) == whole


@pytest.mark.parametrize(
    "between",
    [
        "INSERT INTO s (a) VALUES (1)",
        "UPDATE t SET a = (SELECT count(*) FROM s)",
        "WITH x AS (SELECT 1 AS a) INSERT INTO s (a) SELECT a FROM x",
        "CREATE VIEW v AS SELECT a FROM s",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO s (a) VALUES (1); END",
        "CREATE TABLE other AS SELECT * FROM s",
        "CREATE TEMP TABLE other (a)",
        "CREATE TABLE main.other (a)",
        "DROP INDEX t_a",
        "PRAGMA legacy_alter_table = 1",
    ],
)
def test_what_may_see_a_table_finds_it_as_it_was(between):
    whole = [S, between, "ALTER TABLE s ADD COLUMN b DEFAULT 5"]

    assert shorter(*whole) == whole


@pytest.mark.parametrize(
    "seen",
    [
        "CREATE VIEW v AS SELECT a FROM s",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO s (a) VALUES (1); END",
        "CREATE TABLE c (a, s REFERENCES s (id))",
    ],
)
def test_what_was_there_and_names_a_new_table_is_renamed_with_it(seen):
    whole = [S, "ALTER TABLE s RENAME TO u"]

    assert shorter(*whole, before=(*OLD, seen)) == whole


def test_old_ways_of_renaming_are_kept():
    whole = ["PRAGMA legacy_alter_table = 1", S, "CREATE TABLE c (s REFERENCES s (id))", "ALTER TABLE s RENAME TO u"]

    assert shorter(*whole) == whole


def test_a_table_that_is_there_already_is_not_new():
    found = shorter("CREATE TABLE IF NOT EXISTS t (b)", S, "ALTER TABLE t ADD COLUMN b", "ALTER TABLE s ADD COLUMN b")

    assert found == ["ALTER TABLE t ADD COLUMN b", S.removesuffix(")") + ", b)"]


def test_an_index_on_a_temporary_table_is_not_lost():
    whole = ["CREATE TEMP TABLE t (a)", "CREATE INDEX temporary ON t (a)", S, "ALTER TABLE s ADD COLUMN b"]

    assert shorter(*whole, before=()) == whole


def test_a_schema_that_its_text_does_not_make_is_left_alone():
    whole = plan(S, "ALTER TABLE s ADD COLUMN b")

    assert folded(whole, (("table", "t", "t", "CREATE TABLE t (a COLLATE ours)"), ("index", "i", "t", None))) == whole


TABLES, COLUMNS = st.sampled_from(["t", "s", "W x"]), st.sampled_from(["a", "b", "D d"])
KINDS = st.sampled_from([
    "", "", " TEXT", " INTEGER NOT NULL DEFAULT 3", " REFERENCES s", " REFERENCES t (a)", " COLLATE NOCASE",
    " CHECK (a > 1)", " DEFAULT 'x''y'", " AS (1) VIRTUAL",
])  # fmt: skip
KEYS = st.sampled_from(["id INTEGER PRIMARY KEY", "id INTEGER PRIMARY KEY AUTOINCREMENT", "id UNIQUE"])


@st.composite
def statement(draw):
    table, other, column, name = draw(TABLES), draw(TABLES), draw(COLUMNS), draw(COLUMNS)
    create = f'CREATE TABLE "{table}" ({draw(KEYS)}, a{draw(KINDS)}{draw(st.sampled_from(["", ", b"]))})'
    plain = [
        create, create, create.replace("TABLE", "TABLE IF NOT EXISTS"),
        f'CREATE INDEX "{table}_{column}" ON "{table}" ("{column}")',
        f'CREATE UNIQUE INDEX IF NOT EXISTS "{table}_{name}" ON "{table}" (a) WHERE "{name}" > 1',
        f'ALTER TABLE "{table}" ADD COLUMN "{column}"{draw(KINDS)}',
        f'ALTER TABLE "{table}" ADD "{column}"{draw(KINDS)}',
        f'ALTER TABLE "{table}" RENAME TO "{other}"',
        f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO "{name}"',
        f'ALTER TABLE "{table}" DROP COLUMN "{column}"',
        "PRAGMA legacy_alter_table = 0",
    ]  # fmt: skip
    ends = [
        f'DROP TABLE "{table}"', f'DROP INDEX "{table}_{column}"',
        f'INSERT INTO "{table}" (a) VALUES (2)', f'UPDATE "{table}" SET a = 4',
        f'CREATE VIEW v AS SELECT a FROM "{table}"', "DROP VIEW v", "PRAGMA legacy_alter_table = ON",
        f'CREATE TRIGGER g AFTER INSERT ON "{table}" BEGIN UPDATE "{other}" SET a = 7; END',
    ]  # fmt: skip
    return draw(st.sampled_from(ends if draw(st.integers(0, 19)) == 19 else plain))


@settings(max_examples=400, deadline=None)
@given(st.lists(statement(), min_size=8, max_size=40), st.sampled_from([0, 0, 4, 8]))
def test_folded_or_not_the_same_schema_and_rows_come_of_any_plan(statements, first):
    going, before, whole = sqlite3.connect(":memory:", isolation_level=None), [], []
    with closing(going):
        for number, sql in enumerate(statements):  # only what SQLite accepts can have been recorded
            if number == first:
                going.execute("PRAGMA legacy_alter_table = 0")
            try:
                going.execute(sql)
            except sqlite3.Error:
                continue
            (before if number < first else whole).append(sql)
    with made(()) as start:
        done(start, before)
        found = folded(plan(*whole), tuple(start.execute(READ).fetchall()))
    with made(()) as long, made(()) as short:
        for connection, rest in ((long, whole), (short, said(found))):
            done(connection, before)
            connection.execute("PRAGMA legacy_alter_table = 0")
            done(connection, rest)
        assert content(short) == content(long)

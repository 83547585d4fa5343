"""Reading and editing SQLite's CREATE statements. SQLite itself is the judge wherever it can be."""

import sqlite3
from contextlib import closing

import histories
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework_schema import ddl
from framework_schema.ddl import DDLError

HAND_WRITTEN = """create table if not exists [My "odd" Table] -- a comment, with (brackets
(
    id integer primary key autoincrement, -- the 'key', see notes
    "a b" VARCHAR( 20 ) not null /* , not here */ default 'it''s a) b, (c',
    `config` TEXT DEFAULT '{"a": 1,  "b": 2}' CHECK(json_valid(config)),
    [Ünïcode col] Double Precision DEFAULT -1.5 COLLATE nocase,
    plain,
    total INT GENERATED ALWAYS AS (id * 2) STORED,
    parent INTEGER CONSTRAINT up REFERENCES "My ""odd"" Table" ( id ) ON DELETE set null
        on update cascade NOT DEFERRABLE INITIALLY IMMEDIATE,
    UNIQUE(plain,"a b") ON CONFLICT IGNORE
    CHECK(total > 0), CONSTRAINT fk FOREIGN KEY(plain, "a b") REFERENCES other  -- the end
)"""


def columns_of(sql):
    """What SQLite says the columns are: name, type, NOT NULL, default."""
    database = sqlite3.connect(":memory:")
    database.execute(sql)
    (name,) = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchone()
    rows = database.execute("SELECT name, type, [notnull], dflt_value FROM pragma_table_xinfo(?)", (name,))
    return [(row[0], row[1].upper(), bool(row[2]), ddl.normalise_default(row[3])) for row in rows]


def read(sql):
    """The same, by us."""
    columns = ddl.parse_table(sql).columns
    return [(c.name, c.type.upper(), c.not_null, ddl.normalise_default(c.default)) for c in columns]


# Tokens


@pytest.mark.parametrize(
    ("sql", "texts"),
    [
        pytest.param("a--b\nc", ["a", "--b", "c"], id="line comment"),
        pytest.param("a/* 'x */b/* open", ["a", "/* 'x */", "b", "/* open"], id="block comments"),
        pytest.param('\'it\'\'s\' "a""b" `c``d` [e"f]', ["'it''s'", '"a""b"', "`c``d`", '[e"f]'], id="quotes"),
        pytest.param("x'ab' x .5 1.e3 0xFF", ["x'ab'", "x", ".5", "1.e3", "0xFF"], id="blob and numbers"),
        pytest.param("a->>b->c||d<>e", ["a", "->>", "b", "->", "c", "||", "d", "<>", "e"], id="operators"),
        pytest.param("a\u00a0b ſet $x", ["a\u00a0b", "ſet", "$x"], id="beyond ASCII all is a name"),
    ],
)
def test_tokens_keep_text_and_place(sql, texts):
    tokens = list(ddl.tokenize(sql))

    assert [token.text for token in tokens] == texts
    assert all(sql[token.start : token.end] == token.text for token in tokens)


@pytest.mark.parametrize("sql", ["'open", '"open""', "[open", "`open", "1a", "\x00", "a ! b"])
def test_what_is_no_token_is_an_error(sql):
    with pytest.raises(DDLError):
        list(ddl.tokenize(sql))


@given(st.text())
def test_a_quoted_name_is_that_name(name):
    (token,) = ddl.tokenize(ddl.quote(name))

    assert token.name == name


# Comparing


SAME = [
    pytest.param(
        ["category IN ('active','inactive')", "\"category\" in ( 'active', 'inactive' )",
         "((Category\nIN ('active', -- x\n'inactive')))", "[category] IN/**/('active', 'inactive')"],
        id="hands",
    ),
    pytest.param(["a != 1", "`a`<>1"], id="operators"),
    pytest.param(["length(a)==0", "LENGTH ( \"A\" ) = 0"], id="calls"),
    pytest.param(["x'ab' = 0xFF", "X'AB'=0xff"], id="values"),
]  # fmt: skip


@pytest.mark.parametrize("expressions", SAME)
def test_equal_expressions_have_one_normal_form(expressions):
    assert len({ddl.normalise(expression) for expression in expressions}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a = 'x y'", "a = 'x  y'"),
        ("a = 'x'", "a = 'X'"),
        ("a = 'x'", 'a = "x"'),
        ("a = ' --x'", "a = ' '"),
        ("(a) or (b)", "a or b)(("),
        ('"true"', "true"),
        ('"order" = 1', "order = 1"),
        ('"current_timestamp"', "current_timestamp"),
        ("a = 1", "a = 1.0"),
        ("a b", "ab"),
    ],
)
def test_unequal_expressions_stay_unequal(one, other):
    assert ddl.normalise(one) != ddl.normalise(other)


def test_a_double_quoted_word_that_is_no_column_is_a_string():
    table = ddl.parse_table('CREATE TABLE t (state TEXT CHECK("state" IN ("on", "o\'ff")), x AS ("x y"))')

    assert table.checks == ("state IN ('on', 'o''ff')",)
    assert table.columns[1].generated == "'x y' VIRTUAL"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, "'active'") for text in ['"active"', "'active'", "('active')", "active", '("active")']),
        *((text, "0") for text in ["0", "(0)", "+0", "-0", "0.0", "FALSE", "( false )"]),
        *((text, "-5") for text in ["-5", "- 5", "(-5.0)", "-5e0"]),
        *((text, None) for text in [None, "NULL", "(null)"]),
        ("true", "1"),
        ('"true"', "'true'"),
        ("100000.0", "100000"),
        (".25", "0.25"),
        ("current_timestamp", "CURRENT_TIMESTAMP"),
        ("(datetime( 'now' ))", "datetime('now')"),
        ("datetime('now')", "datetime('now')"),
        ("x'ab'", "X'AB'"),
        ("'0'", "'0'"),
        ("'  a  b '", "'  a  b '"),
    ],
)
def test_defaults_have_one_normal_form(text, expected):
    assert ddl.normalise_default(text) == expected
    assert ddl.normalise_default(expected) == expected


# Reading


def test_a_hand_written_table_is_read_as_sqlite_reads_it():
    folded = HAND_WRITTEN.replace("( 20 )", "(20)")
    assert read(folded) == columns_of(folded)


def test_constraints_are_read():
    table = ddl.parse_table(HAND_WRITTEN)

    assert table.name == 'My "odd" Table'
    assert [column.type for column in table.columns[:5]] == ["integer", "VARCHAR(20)", "TEXT", "Double Precision", ""]
    assert table.primary_key == ("id",) and table.autoincrement
    assert table.uniques == (("plain", "a b"),)
    assert table.checks == ("json_valid(config)", "total > 0")
    assert table.columns[5].generated == "id * 2 STORED"
    assert table.columns[3].collation == "NOCASE"
    up, other = table.foreign_keys
    assert (up.columns, up.table, up.to_columns) == (("parent",), table.name, ("id",))
    assert (up.on_delete, up.on_update) == ("SET NULL", "CASCADE")
    assert up.deferrable == "NOT DEFERRABLE INITIALLY IMMEDIATE"
    assert (other.columns, other.table, other.to_columns, other.on_delete) == (
        ("plain", "a b"), "other", (), "NO ACTION",
    )  # fmt: skip
    assert [constraint.kind for constraint in table.constraints] == ["unique", "check", "foreign key"]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t (a INT CONSTRAINT x CONSTRAINT y NOT NULL ON CONFLICT FAIL NULL UNIQUE, CONSTRAINT lone)",
        "CREATE TEMP TABLE t ('a b' TEXT, PRIMARY KEY ('a b' COLLATE nocase DESC) ON CONFLICT REPLACE)",
        "CREATE TABLE main.t (id INTEGER, PRIMARY KEY (id AUTOINCREMENT)) STRICT;",
        "CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID, STRICT",
        "CREATE TABLE t (a UNSIGNED BIG INT(10), key, action text, desc text default key, end int as (1))",
        "CREATE TABLE t (a REFERENCES p MATCH full ON UPDATE NO ACTION NOT NULL DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TABLE t (a INT DEFAULT (1 + (2)) CHECK (a > 0) CHECK (a < 9), b DEFAULT -1 DEFAULT + 2)",
        "CREATE TABLE t (a INT, UNIQUE (a) CHECK (a) PRIMARY KEY (a) CONSTRAINT x)",
    ],
)
def test_every_clause_of_the_grammar_is_read(sql):
    if "CONSTRAINT" not in sql and "a b" not in sql:
        assert [row[0] for row in read(sql)] == [row[0] for row in columns_of(sql)]
    assert ddl.parse_table(sql).columns


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIRTUAL TABLE t USING fts5(a)",
        "CREATE TABLE t AS SELECT 1",
        "CREATE TABLE t (a INT",
        "CREATE TABLE t (a INT) WITHOUT",
        "CREATE TABLE t (a INT,)",
        "CREATE TABLE t (a INT, CHECK (a), b INT)",
        "CREATE TABLE t (a INT SOMETHING NOT)",
        "CREATE TABLE t (a INT DEFAULT NOT NULL)",
        "CREATE TABLE t (a INT); DROP TABLE t",
        "CREATE TABLE t ()",
        "",
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_place(sql):
    with pytest.raises(DDLError) as caught:
        ddl.parse_table(sql)
    assert 0 <= caught.value.position <= len(sql)


@pytest.mark.parametrize("name", histories.IDS)
def test_every_statement_of_every_history_is_read_as_sqlite_reads_it(historical, name):
    with closing(sqlite3.connect(historical[name])) as database:
        found = database.execute("SELECT type, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    tables = [sql for kind, sql in found if kind == "table" and not sql.startswith("CREATE TABLE sqlite_")]

    assert tables
    assert [read(sql) for sql in tables] == [columns_of(sql) for sql in tables]
    assert all(ddl.parse_index(sql).columns for kind, sql in found if kind == "index")


def test_an_index_is_read():
    sql = 'CREATE UNIQUE INDEX [i x] ON "t" (a COLLATE nocase DESC, \'b\', lower( "C" ) ASC) WHERE ("a"  > 1);'
    index = ddl.parse_index(sql)

    assert (index.name, index.table, index.unique, index.where) == ("i x", "t", True, "a > 1")
    assert [(c.name, c.expression, c.descending, c.collation) for c in index.columns] == [
        ("a", "a", True, "NOCASE"), ("b", "b", False, None), (None, "lower(c)", False, None),
    ]  # fmt: skip


# Edits


def test_a_renamed_table_keeps_every_other_character():
    renamed = ddl.rename_table(HAND_WRITTEN, 'x"y')

    assert renamed == HAND_WRITTEN.replace('[My "odd" Table]', '"x""y"', 1)


def test_a_check_loses_the_name_of_its_table():
    sql = "CREATE TABLE t (a INT, b TEXT DEFAULT 't.a', CHECK (t.a > 0 AND main . [t] . a < 9))"

    assert ddl.rename_table(sql, "u") == ("CREATE TABLE \"u\" (a INT, b TEXT DEFAULT 't.a', CHECK (a > 0 AND a < 9))")


LAYOUTS = [
    pytest.param("CREATE TABLE t (a INT, b TEXT)", id="one line"),
    pytest.param("CREATE TABLE t(a INT,b TEXT DEFAULT ',)' -- last\n)", id="comment before the bracket"),
    pytest.param("CREATE TABLE t (\n    a INT, -- a, first\n    b TEXT -- b\n)", id="comments on lines"),
    pytest.param("CREATE TABLE t (\n  a INT -- x\n, b TEXT /* y */\n, CHECK (a > 0) UNIQUE (a))", id="leading commas"),
    pytest.param("CREATE TABLE t (a INT, b TEXT, -- z\n UNIQUE (a) -- u\n)", id="constraint"),
]


@pytest.mark.parametrize("sql", LAYOUTS)
def test_an_appended_column_is_the_last_one(sql):
    for definition in ("c INT NOT NULL DEFAULT 0", "c INT NOT NULL DEFAULT 0 -- note"):
        edited = ddl.append_column(sql, definition)

        assert columns_of(edited) == [*columns_of(sql), ("c", "INT", True, "0")]
        assert comments(edited) == comments(sql)
        assert ddl.parse_table(edited).constraints == ddl.parse_table(sql).constraints


@pytest.mark.parametrize("sql", LAYOUTS)
def test_what_is_appended_at_once_is_what_is_appended_one_by_one(sql):
    columns, constraints = ["c INT -- note", "d TEXT DEFAULT ','"], ["CHECK (c > 0)", "UNIQUE (d, c) -- note"]
    at_once = ddl.extended(sql, columns, constraints)
    one_by_one = sql
    for definition in columns:
        one_by_one = ddl.append_column(one_by_one, definition)
    for text in constraints:
        one_by_one = ddl.append_constraint(one_by_one, text)

    assert ddl.parse_table(at_once) == ddl.parse_table(one_by_one)
    assert comments(at_once) == comments(sql)
    assert ddl.extended(sql) == sql


@pytest.mark.parametrize("sql", LAYOUTS)
def test_a_replaced_column_leaves_the_others_to_the_letter(sql):
    edited = ddl.replace_column(sql, "B", "b BLOB NOT NULL -- gone")

    assert columns_of(edited) == [columns_of(sql)[0], ("b", "BLOB", True, None)]
    old = ddl.parse_table(sql).column("b")
    assert edited == sql.replace(old.text, "b BLOB NOT NULL", 1)


@pytest.mark.parametrize("sql", LAYOUTS)
def test_a_dropped_column_leaves_a_whole_statement(sql):
    assert columns_of(ddl.drop_column(sql, "b")) == columns_of(sql)[:1]
    if not ddl.uses_column(ddl.parse_table(sql), "a"):
        assert columns_of(ddl.drop_column(sql, "a")) == columns_of(sql)[1:]


@pytest.mark.parametrize(
    "sql",
    [
        'CREATE TABLE t (a INT, b INT CHECK(b > "A"))',
        "CREATE TABLE t (a INT, b INT, CHECK(a > 0))",
        "CREATE TABLE t (a INT, b INT AS ([a] + 1))",
        "CREATE TABLE t (a INT, b INT, UNIQUE(b, a))",
        "CREATE TABLE t (a INT)",
    ],
)
def test_a_column_in_use_is_not_dropped(sql):
    with pytest.raises(DDLError):
        ddl.drop_column(sql, "a")


@pytest.mark.parametrize("sql", LAYOUTS)
def test_constraints_come_and_go(sql):
    grown = ddl.append_constraint(sql, "CONSTRAINT k CHECK (b <> '') -- note")

    assert columns_of(grown) == columns_of(sql)
    assert ddl.parse_table(grown).checks == (*ddl.parse_table(sql).checks, "b <> ''")
    last = ddl.parse_table(grown).constraints[-1]
    assert ddl.parse_table(ddl.drop_constraint(grown, last)) == ddl.parse_table(sql)


@pytest.mark.parametrize("between", ["", " ", ", ", " -- c\n", ",-- c\n "])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_any_constraint_can_go_whatever_separates_them(between, index):
    parts = ["UNIQUE(a)", "CHECK(a>0)", "CONSTRAINT n UNIQUE(b)"]
    sql = f"CREATE TABLE t (a INT, b INT,{between.join(parts)})"
    edited = ddl.drop_constraint(sql, index)

    assert columns_of(edited) == columns_of(sql)
    texts = [constraint.text for constraint in ddl.parse_table(edited).constraints]
    assert texts == [part for n, part in enumerate(parts) if n != index]


COLUMN = "\"my col\" VARCHAR(9) CONSTRAINT nn NOT NULL ON CONFLICT FAIL DEFAULT 'is NOT NULL,  x' /* ! */ CHECK(1) -- c"


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        pytest.param(
            ddl.with_not_null(COLUMN, False),
            "\"my col\" VARCHAR(9) DEFAULT 'is NOT NULL,  x' /* ! */ CHECK(1) -- c", id="drop not null",
        ),
        pytest.param(ddl.with_not_null(COLUMN, True), COLUMN, id="not null already"),
        pytest.param(ddl.with_not_null("a INT -- c", True), "a INT NOT NULL -- c", id="add not null"),
        pytest.param(ddl.with_not_null("a INT null", True), "a INT NOT NULL", id="not null for null"),
        pytest.param(ddl.with_default("a INT default 'x' NOT NULL", "'y'"), "a INT DEFAULT 'y' NOT NULL", id="default"),
        pytest.param(ddl.with_default("a INT", "datetime('now')"), "a INT DEFAULT (datetime('now'))", id="expression"),
        pytest.param(ddl.with_default("a INT", "- 1"), "a INT DEFAULT - 1", id="signed"),
        pytest.param(ddl.with_default("a INT", "('a')||('b')"), "a INT DEFAULT (('a')||('b'))", id="two brackets"),
        pytest.param(ddl.with_default("a INT DEFAULT(1)NOT NULL", None), "a INT NOT NULL", id="no default"),
        pytest.param(ddl.with_type("a INT(1) NOT NULL", "TEXT"), "a TEXT NOT NULL", id="type"),
        pytest.param(ddl.with_type("a NOT NULL", "TEXT"), "a TEXT NOT NULL", id="first type"),
        pytest.param(ddl.with_type("a INT GENERATED ALWAYS AS (1)", ""), "a GENERATED ALWAYS AS (1)", id="no type"),
        pytest.param(
            ddl.with_references("a INT REFERENCES p NOT NULL DEFERRABLE", "REFERENCES q(id) ON DELETE CASCADE"),
            "a INT REFERENCES q(id) ON DELETE CASCADE NOT NULL", id="references",
        ),
        pytest.param(ddl.with_references("a INT REFERENCES p(x) UNIQUE", None), "a INT UNIQUE", id="no references"),
        pytest.param(ddl.with_unique("a INT", True), "a INT UNIQUE", id="unique"),
        pytest.param(ddl.with_check("a INT", "a > 0"), "a INT CHECK (a > 0)", id="check"),
        pytest.param(ddl.without_check("a INT CHECK(a>0) UNIQUE", '"a" > 0'), "a INT UNIQUE", id="no check"),
        pytest.param(ddl.with_collation("a TEXT COLLATE NOCASE", None), "a TEXT", id="no collation"),
    ],
)  # fmt: skip
def test_a_column_edit_touches_its_clause_only(edited, expected):
    assert edited == expected


def comments(sql):
    return [token.text for token in ddl.tokenize(sql) if token.kind == ddl.COMMENT]


# Properties

WORDS = ["a", '"a b"', "[c]", "`d`", "'it''s'", "x'00'", "1", "1.50", "(", ")", ",", "+", "==", "in", "AND", "NULL",
         "/* c */", "-- c\n", "\n", " ", "lower", ".", '"Order"', "key", "TRUE"]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_normal_forms_are_their_own_normal_form(expression):
    once = ddl.normalise(expression)

    assert ddl.normalise(once) == once


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS)).map(" ".join) | st.text())
def test_reading_ends_in_a_value_or_a_ddl_error(text):
    for sql in (
        text,
        f"CREATE TABLE t ({text})",
        f"CREATE TABLE t (a {text})",
        f"CREATE INDEX i ON t ({text})",
    ):
        for parse in (ddl.parse_table, ddl.parse_index, ddl.parse_column):
            try:
                parse(sql)
            except DDLError as error:
                assert str(error)

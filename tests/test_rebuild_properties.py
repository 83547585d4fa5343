"""Random tables, everything that can hang on them, one random change: all else is as it was."""

import peewee as pw
from hypothesis import event, given, settings
from hypothesis import strategies as st

from framework_schema import ddl
from framework_schema.ddl import fold, quote
from framework_schema.orphans import violations
from framework_schema.rebuild import rebuild_table

NAMES = ["id", "Name", "n", "key", "order", "a b", 'q"q', "it's", "ü", "rowid", "OID", "x,y", "--", "(z)", "`t"]
TYPES = ["", "INT", "INTEGER", "TEXT", "VARCHAR(20)", "decimal(10, 2)", "REAL", "BLOB", "Double Precision", "BOOLEAN"]
STRICT_TYPES = ["INT", "INTEGER", "TEXT", "REAL", "BLOB", "ANY"]
DEFAULTS = ["0", "-1.50", "NULL", "''", "'it''s  a) b, (c'", "'NOT NULL -- x'", '"dq, )"', "x'00ff'", "(1 + (2))",
            "CURRENT_TIMESTAMP", "true",
            "'{\"a\": 1,\n \"b\": [2]}'", "word", "('a'||'b')", "/* , */ 7"]  # fmt: skip
NOTES = ["", "", "", " ", "\n", " -- it's (a, b\n", ' /* ), " */ ']
ACTIONS = ["", " ON DELETE CASCADE", " ON DELETE SET NULL ON UPDATE CASCADE", " on delete restrict",
           " DEFERRABLE INITIALLY DEFERRED"]  # fmt: skip
VALUES = st.one_of(
    st.none(), st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False),
    st.sampled_from(["", "a", "A", "1", "00123", "1e3", "5.0", "NOT NULL", "é\U0001f600", " x "]),
    st.binary(max_size=3),
)  # fmt: skip
TABLES = ['my "T" able', "Item", "order", "it's", "Tü"]


def spelled(draw, name):
    """A name as one of many hands would write it."""
    ways = [quote(name)]
    ways += ["[" + name + "]"] if "]" not in name else []
    ways += ["`" + name.replace("`", "``") + "`"]
    plain = name.isascii() and name.replace("_", "a").isalnum() and name.upper() not in ddl.RESERVED
    ways += [name, name.upper(), name] if plain else []
    return draw(st.sampled_from(ways))


@st.composite
def tables(draw):
    """The text of a CREATE TABLE, with its columns; SQLite may still refuse it."""
    table = draw(st.sampled_from(TABLES))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=5, unique_by=fold))
    strict = draw(st.integers(0, 4)) == 0
    key = draw(st.sampled_from(["none", "integer", "autoincrement", "text", "composite", "desc"]))
    parts = [column(draw, table, names, index, key, strict) for index in range(len(names))]
    if key == "composite":
        parts.append(f"PRIMARY KEY ({spelled(draw, names[0])} COLLATE nocase, {spelled(draw, names[1])} DESC)")
    if draw(st.booleans()):
        parts.append(f"UNIQUE({spelled(draw, names[-1])},{spelled(draw, names[0])}) ON CONFLICT IGNORE")
    if draw(st.integers(0, 3)) == 0:
        own = f"{quote(table)}." if draw(st.booleans()) else ""
        parts.append(f"CONSTRAINT [c, k] CHECK({own}{quote(names[-1])} IS NOT 'x) --')")
    options = ["STRICT"] * strict
    options += ["without rowid"] * (key in ("text", "composite") and draw(st.booleans()))
    separated = [part + draw(st.sampled_from(NOTES)) for part in parts]
    begin = draw(st.sampled_from(["CREATE TABLE ", "create table -- c\n ", "CREATE  TABLE /* ( */ "]))
    body = ",".join(draw(st.sampled_from(NOTES)) + part for part in separated)
    return table, names, f"{begin}{spelled(draw, table)} ({body}) {', '.join(options)}"


def column(draw, table, names, index, key, strict):
    name = spelled(draw, names[index])
    if index == 0 and key in ("integer", "autoincrement", "desc"):
        tail = {"integer": "", "autoincrement": " AUTOINCREMENT", "desc": " DESC"}[key]
        return f"{name} Integer PRIMARY KEY{tail}"
    kind = draw(st.sampled_from(STRICT_TYPES if strict else TYPES))
    note = draw(st.sampled_from(NOTES))
    if index == len(names) - 1 and key != "composite" and draw(st.integers(0, 2)) == 0:
        how = draw(st.sampled_from(["STORED", "virtual", ""]))
        kind = "TEXT" if strict else kind
        return f"{name} {kind} GENERATED ALWAYS{note or ' '}AS (typeof({spelled(draw, names[0])})) {how}"
    clauses = draw(st.lists(st.sampled_from([
        "NOT NULL", "not  null ON CONFLICT REPLACE", "UNIQUE", "COLLATE NOCASE", "collate rtrim", "NULL",
        f"CHECK ({name} <> ')' )", "CONSTRAINT 'c c' NOT NULL",
        "DEFAULT " + draw(st.sampled_from(DEFAULTS)), "DEFAULT " + draw(st.sampled_from(DEFAULTS)),
        f"REFERENCES {quote(table)}{draw(st.sampled_from(ACTIONS))}",
        f"references parent (id){draw(st.sampled_from(ACTIONS))}",
    ]), max_size=3, unique=True))  # fmt: skip
    primary = ["PRIMARY KEY"] if index == 0 and key == "text" else []
    return f"{name} {kind}{note} " + " ".join([*primary, *clauses])


@st.composite
def databases(draw):
    """A table name, its column names, and the statements that make it and all around it."""
    table, names, create = draw(tables())
    t, other = quote(table), spelled(draw, table)

    def pick():
        return quote(draw(st.sampled_from(names)))

    around = [
        f"CREATE INDEX i1 ON {t} ({pick()} DESC, {pick()} COLLATE nocase)",
        f"CREATE UNIQUE INDEX 'i 2' on {other} (lower({pick()}), {pick()}) WHERE {pick()} > 1",
        f"CREATE INDEX i3 ON {t} ({pick()}) /* c */ where {t}.{pick()} is not 'a'",
        f"CREATE TRIGGER g1 AFTER INSERT ON {t} BEGIN INSERT INTO log VALUES (NEW.{pick()} || ';'); END",
        f"CREATE TRIGGER [g 2] BEFORE UPDATE OF {pick()} ON {other} BEGIN SELECT OLD.{pick()}; END",
        f"CREATE TRIGGER g3 AFTER DELETE ON log BEGIN DELETE FROM {t} WHERE {pick()} = 'never'; END",
        f"CREATE VIEW v1 AS SELECT {pick()} AS x FROM {t} AS a JOIN parent",
        f"CREATE VIEW 'v 2' (x) AS SELECT count({pick()}) FROM {t} -- c",
        f"CREATE TABLE child1 (id INTEGER PRIMARY KEY, p REFERENCES {t} ON DELETE CASCADE)",
        f"CREATE TABLE child2 (p REFERENCES {t} ({pick()}) ON DELETE SET NULL ON UPDATE CASCADE)",
        "ANALYZE",
    ]
    chosen = draw(st.lists(st.sampled_from(around), unique=True, max_size=6))
    rows = draw(st.lists(st.lists(VALUES, min_size=len(names), max_size=len(names)), max_size=6))
    return table, names, [create, *chosen], rows


def build(table, names, statements, rows):
    """Make the database; a table or object that SQLite refuses is left out, a row too."""
    database = pw.SqliteDatabase(":memory:")
    database.connect()
    for sql in (
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "INSERT INTO parent VALUES (1), (2)",
        "CREATE TABLE log (x)",
    ):
        database.execute_sql(sql)
    for sql in statements:
        attempt(database, sql)
    writable = [name for (name,) in ask(database, "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", table)]
    for row in rows:
        values = row[: len(writable)]
        listed = ", ".join(map(quote, writable))
        attempt(database, f"INSERT INTO {quote(table)} ({listed}) VALUES ({', '.join('?' * len(values))})", *values)
    for child in ("child1", "child2"):
        attempt(database, f"INSERT INTO {child} (p) SELECT {quote(names[0])} FROM {quote(table)}")
    attempt(database, "UPDATE sqlite_sequence SET seq = 999")
    return database


def attempt(database, sql, *values):
    try:
        database.execute_sql(sql, values)
    except pw.DatabaseError:
        return False
    return True


def ask(database, sql, *values):
    return database.execute_sql(sql, values).fetchall()


# One change: a name, the new text, and the columns that are not compared


def no_change(draw, database, sql, free):
    return sql, ()


def drop_not_null(draw, database, sql, free):
    column = draw(st.sampled_from(free))
    return ddl.replace_column(sql, column.name, ddl.with_not_null(column.text, False)), ()


def add_not_null(draw, database, sql, free):
    column = draw(st.sampled_from(free))
    table = quote(ddl.parse_table(sql).name)
    if ask(database, f"SELECT 1 FROM {table} WHERE {quote(column.name)} IS NULL LIMIT 1"):
        return sql, ()
    return ddl.replace_column(sql, column.name, ddl.with_not_null(column.text, True)), ()


def change_default(draw, database, sql, free):
    column = draw(st.sampled_from(free))
    value = draw(st.sampled_from([None, *DEFAULTS]))
    return ddl.replace_column(sql, column.name, ddl.with_default(column.text, value)), ()


def add_column(draw, database, sql, free):
    definition = draw(st.sampled_from([
        "new TEXT DEFAULT 'x, )' CHECK(new <> 'y')", "[new] INT REFERENCES parent ON DELETE CASCADE -- note",
        "new TEXT NOT NULL DEFAULT '' COLLATE NOCASE", "new INT AS (1) STORED",
    ]))  # fmt: skip
    return ddl.append_column(sql, definition), ("new",)


def drop_column(draw, database, sql, free):
    column = draw(st.sampled_from(free))
    texts = [text for (text,) in ask(database, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND sql <> ?", sql)]
    used = any(ddl.mentions(text, column.name) for text in texts) or ddl.uses_column(ddl.parse_table(sql), column.name)
    return (sql, ()) if used else (ddl.drop_column(sql, column.name), (column.name,))


def add_check(draw, database, sql, free):
    column = draw(st.sampled_from(free))
    expression = f"typeof({quote(column.name)}) <> 'a, )' -- note"
    if draw(st.booleans()):
        return ddl.append_constraint(sql, f"CONSTRAINT k CHECK ({expression}\n)"), ()
    return ddl.replace_column(sql, column.name, ddl.with_check(column.text, expression)), ()


def add_foreign_key(draw, database, sql, free):
    column = draw(st.sampled_from(free))
    return ddl.replace_column(sql, column.name, ddl.with_references(column.text, "REFERENCES parent (id)")), ()


CHANGES = [no_change, drop_not_null, add_not_null, change_default, add_column, drop_column, add_check, add_foreign_key]


def picture(database, table, but):
    """Everything that must not change, but for the text of the table and some columns."""
    objects = ask(database, "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    contents = {}
    for name in (o[1] for o in objects if o[0] == "table"):
        columns = [c for (c,) in ask(database, "SELECT name FROM pragma_table_xinfo(?)", name) if c not in but]
        values = ", ".join(f"{exact(c)}, typeof({quote(c)})" for c in columns)
        rows = ask(database, f"SELECT {rowid(database, name)}, {values} FROM {quote(name)} NOT INDEXED")
        contents[name] = sorted(rows) if name.startswith("sqlite_") else rows
    kinds = ask(database, "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main'")
    return {o for o in objects if o[:2] != ("table", table)}, contents, set(kinds)


def exact(name):
    """A value as Python can take it: a text need not be UTF-8."""
    c = quote(name)
    return f"CASE WHEN typeof({c}) IN ('text', 'blob') THEN hex({c}) ELSE {c} END"


def rowid(database, table):
    """How to name the rowid; SQLite's own tables are sets of rows, where it means nothing."""
    definition = ddl.parse_table(text_of(database, table))
    taken = {fold(column.name) for column in definition.columns}
    free = [name for name in ddl.ROWID_NAMES if name not in taken]
    return "1" if definition.without_rowid or table.startswith("sqlite_") else free[0]


def text_of(database, table):
    found = ask(database, "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", table)
    return found[0][0] if found else None


@settings(deadline=None, max_examples=500)
@given(databases(), st.sampled_from(CHANGES), st.data())
def test_one_change_leaves_all_else_as_it_was(made, change, data):
    table, names, statements, rows = made
    database = build(table, names, statements, rows)
    try:
        sql = text_of(database, table)
        event(f"table made: {sql is not None}")
        if sql is not None:
            one_change(database, table, sql, change, data.draw)
    finally:
        database.close()


def one_change(database, table, sql, change, draw):
    definition = ddl.parse_table(sql)
    keys = {fold(name) for name in definition.primary_key}
    free = [c for c in definition.columns if c.generated is None and fold(c.name) not in keys]
    new, but = change(draw, database, sql, free) if free else (sql, ())
    event(f"{change.__name__}: {'changed' if new != sql else 'as it was'}")
    columns = {c.name: c.text for c in definition.columns}
    database.execute_sql("PRAGMA foreign_keys = 0")
    before, broken = picture(database, table, but), violations(database)
    database.execute_sql("BEGIN")
    rebuild_table(database, table, new)
    database.execute_sql("COMMIT")

    assert picture(database, table, but) == before
    assert change is add_foreign_key or not violations(database) - broken
    assert ask(database, "PRAGMA integrity_check") == [("ok",)]
    after = ddl.parse_table(text_of(database, table))
    untouched = {c.name: c.text for c in after.columns if columns.get(c.name) == c.text}
    assert len(untouched) >= len(columns) - 1

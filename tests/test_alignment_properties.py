"""Random schemas with odd objects, changed by hand at random: what cannot be mended is left, and all else is mended."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlite_files as files
from hypothesis import given, settings
from hypothesis import strategies as st

from framework_schema import MigrationFailed
from framework_schema.config import Config
from framework_schema.runner import Runner
from framework_schema.sources import Folder

TABLES = ("crate", "Bottle", "two words", "order", "Größe")
COLUMNS = ("id", "name", "amount", "at", "a b", "select", "crate_id")
TYPES = ("TEXT", "INTEGER", "REAL", "TIMESTAMP", "BOOLEAN", "VARCHAR(20)", "")
VALUES = ("NULL", "0", "1", "-3", "2.5", "'x'", "'X'", "'007'", "''", "x'00'", "'2024-01-01 10:00'")


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


@st.composite
def column(draw, name):
    if name == "id":
        return draw(st.sampled_from(["INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT", "TEXT PRIMARY KEY"]))
    rule = st.sampled_from(["", "NOT NULL", "UNIQUE", "COLLATE NOCASE", "COLLATE NOCASE UNIQUE"])
    parts = [draw(st.sampled_from(TYPES)), draw(rule)]
    parts.append(draw(st.sampled_from(["", "", "DEFAULT 0", "DEFAULT 'it''s'", "DEFAULT CURRENT_TIMESTAMP"])))
    if name == "amount":
        parts.append(draw(st.sampled_from(["", "CHECK (amount <> -3)", "/* , ) */", "-- odd, (comment\n"])))
    if name == "crate_id":
        parts.append(draw(st.sampled_from(["", "REFERENCES crate (id) ON DELETE CASCADE", "REFERENCES crate"])))
    return " ".join(part for part in parts if part)


@st.composite
def case(draw):
    """Draw CREATE statements of tables, and of indexes, triggers and views on them, and what is done to them."""
    statements, known = [], {}
    for table in draw(st.lists(st.sampled_from(TABLES), min_size=1, max_size=3, unique=True)):
        names = ["id", *draw(st.lists(st.sampled_from(COLUMNS[1:]), min_size=1, max_size=4, unique=True))]
        known[table] = names
        columns = ", ".join(f"{quoted(name)} {draw(column(name))}" for name in names)
        unique = f", UNIQUE ({', '.join(map(quoted, names[1:3]))})" if draw(st.booleans()) else ""
        statements.append(f"CREATE TABLE IF NOT EXISTS {quoted(table)} ({columns}{unique})")
        for number in range(draw(st.integers(0, 3))):
            of = quoted(draw(st.sampled_from(names)))
            part = draw(st.sampled_from(["{}", "{} DESC", "lower({})", "{} COLLATE NOCASE", "{}, id"])).format(of)
            where = draw(st.sampled_from(["", "", f" WHERE {of} IS NOT NULL", f" WHERE {of} > 1"]))
            kind = draw(st.sampled_from(["INDEX", "UNIQUE INDEX"]))
            name = quoted(f"{table}_{number}")
            statements.append(f"CREATE {kind} IF NOT EXISTS {name} ON {quoted(table)} ({part}){where}")
        if draw(st.booleans()):
            trigger = f"{quoted(table + '_t')} AFTER UPDATE ON {quoted(table)} BEGIN SELECT 'it''s; END', 1; END"
            statements.append(f"CREATE TRIGGER IF NOT EXISTS {trigger}")
        if draw(st.booleans()):
            statements.append(f"CREATE VIEW IF NOT EXISTS {quoted(table + '_v')} AS SELECT * FROM {quoted(table)}")
    return statements, draw(st.lists(deed(known), min_size=2, max_size=9))


BARE = "CREATE TABLE tmp AS SELECT * FROM {table}; DROP TABLE {table}; ALTER TABLE tmp RENAME TO {table}"
"""Lose every rule of a table."""
DEEDS = (
    BARE,
    f"{BARE}; INSERT INTO {{table}} ({{column}}) VALUES ({{value}}), ({{value}})",
    f"{BARE}; INSERT INTO {{table}} (id, {{column}}) VALUES (7, {{value}}), (8, {{value}}), (9, 'X')",
    f"{BARE}; INSERT INTO {{table}} (id, {{column}}) VALUES ({{value}}, 'x'), ('b', 'X'), (NULL, '007')",
    "DROP TABLE {table}",
    "ALTER TABLE {table} RENAME TO {other}",
    "ALTER TABLE {table} ADD COLUMN extra TEXT NOT NULL DEFAULT 'e'",
    "ALTER TABLE {table} ADD COLUMN extra INTEGER REFERENCES crate (id)",
    "ALTER TABLE {table} RENAME COLUMN {column} TO gone",
    "ALTER TABLE {table} DROP COLUMN {column}",
    "DROP INDEX {index}",
    "DROP TRIGGER {trigger}",
    "DROP VIEW {view}",
    "CREATE VIEW {table} AS SELECT 1 AS id",
    "CREATE VIRTUAL TABLE {table} USING fts5(body)",
    "CREATE TABLE mine (a); CREATE INDEX {index} ON mine (a)",
    "CREATE TABLE mine (a); CREATE TRIGGER {trigger} AFTER INSERT ON mine BEGIN SELECT 1; END",
    "CREATE TABLE {index} (a)",
    "CREATE UNIQUE INDEX own ON {table} ({column}) WHERE {column} = 'x'",
    "CREATE VIEW own_view AS SELECT {column} FROM {table}",
    "CREATE TRIGGER own AFTER DELETE ON {table} BEGIN DELETE FROM {table}; END",
    "INSERT INTO {table} ({column}) VALUES ({value}), ({value})",
    "INSERT INTO {table} ({column}) VALUES ({value})",
    "UPDATE {table} SET {column} = {value}",
)


@st.composite
def deed(draw, known):
    """Draw something that somebody does by hand; what SQLite refuses has not been done."""
    table = draw(st.sampled_from(sorted(known)))
    return draw(st.sampled_from(DEEDS)).format(
        table=quoted(table),
        other=quoted(f"{table}_old"),
        column=quoted(draw(st.sampled_from(known[table]))),
        index=quoted(f"{table}_{draw(st.integers(0, 2))}"),
        trigger=quoted(f"{table}_t"),
        view=quoted(f"{table}_v"),
        value=draw(st.sampled_from(VALUES)),
    )


def do(path, text):
    """Do it, or none of it; foreign keys are not enforced, as in most people's shells."""
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.Error):
        connection.executescript(f"BEGIN; {text}; COMMIT")


def contents(path):
    """Return the rows of every table as a multiset of their values' texts, by table."""
    found = {}
    for name, sql in files.query(path, "SELECT name, sql FROM sqlite_master WHERE type = 'table'"):
        if not name.startswith(("sqlite_", "schema_migration")) and "VIRTUAL" not in sql.upper():
            with suppress(sqlite3.Error):
                columns = files.columns(path, name)
                found[name] = {column: values(path, name, column) for column in columns}
    return found


def values(path, table, name):
    rows = files.query(path, f"SELECT CAST(t.{quoted(name)} AS TEXT) FROM {quoted(table)} AS t")
    return sorted(str(value) for (value,) in rows)


def run(runner, **how):
    """Migrate; the only error is one that carries a report."""
    try:
        return runner.migrate(**how)
    except MigrationFailed as error:
        return error.report


@settings(max_examples=60, deadline=None)
@given(case())
def test_whatever_was_done_by_hand_what_cannot_be_mended_is_left_and_named(drawn):
    statements, deeds = drawn
    with TemporaryDirectory() as directory:
        path, scripts = Path(directory, "own.db"), Path(directory, "scripts")
        scripts.mkdir()
        lines = "".join(f"    migrator.sql({text!r})\n" for text in statements)
        Path(scripts, "001_own.py").write_text(f"def migrate(migrator, database, *, fake=False):\n{lines}", "utf-8")
        runner = Runner(path, [Folder(scripts)], config=Config(backup="never"))
        runner.migrate()
        for text in deeds:
            do(path, text)
        before = contents(path)

        report = run(runner)

        assert report.state in ("current", "migrated"), report.error
        missing = {(d.table, d.kind) for d in runner.drift().additive}
        assert missing <= {(item["table"], item["kind"]) for item in report.left}
        kept(before, contents(path))
        digest = files.digest(path)
        assert run(runner).state == "current"
        assert files.digest(path) == digest

        report = run(runner, strict=True)

        assert report.state in ("current", "migrated"), report.error
        left = {item["table"] for item in report.left}
        assert {d.table for d in runner.drift(strict=True).differences if not d.extra} <= left, report.left
        assert files.integrity(path) == ["ok"]
        rows = contents(path)

        report = run(runner, strict=True, repair=True)

        assert report.state in ("current", "migrated"), report.error
        assert not [item for item in report.left if item["repair"]], report.left
        counted = {name: len(next(iter(columns.values()), [])) for name, columns in contents(path).items()}
        for name, columns in rows.items():
            aside = sum(number for other, number in counted.items() if other.startswith(f"{name}_set_aside"))
            assert counted[name] + aside >= len(next(iter(columns.values()), []))


def kept(before, after):
    for table, columns in before.items():
        for name, texts in columns.items():
            assert after[table][name] == texts, (table, name)

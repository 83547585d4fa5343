"""What a SQLite file holds, seen without the code under test."""

import hashlib
import re
import sqlite3
from contextlib import closing
from pathlib import Path


def digest(path):
    """Hash the file, and name what SQLite left beside it."""
    path = Path(path)
    left = [path.name + end for end in ("-journal", "-wal", "-shm") if Path(f"{path}{end}").exists()]
    return hashlib.sha256(path.read_bytes()).hexdigest(), left


def query(path, sql, *params):
    """Return all rows of one statement."""
    with closing(sqlite3.connect(Path(path).absolute())) as connection:
        return connection.execute(sql, params).fetchall()


def run(path, script):
    """Run statements, foreign keys not enforced; return the path."""
    with closing(sqlite3.connect(Path(path).absolute())) as connection:
        connection.executescript(script)
    return path


def tables(path):
    """Return the column names of every table, by table."""
    names = [name for (name,) in query(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: columns(path, name) for name in names if not name.startswith("sqlite_")}


def columns(path, table):
    """Return the names of a table's columns, generated ones too."""
    return [name for (name,) in query(path, "SELECT name FROM pragma_table_xinfo(?)", table)]


def indexes(path):
    """Return the statement of every index that has one, by name."""
    return dict(query(path, "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"))


def rows(path, table, names=None):
    """Return a table's rows as dicts by rowid."""
    names = names or columns(path, table)
    listed = ", ".join(f't."{name}"' for name in names)  # an unknown "name" alone would be a text
    found = query(path, f'SELECT rowid, {listed} FROM "{table}" AS t')
    return {rowid: dict(zip(names, values, strict=True)) for rowid, *values in found}


def integrity(path):
    """Return what ``integrity_check`` says."""
    return [line for (line,) in query(path, "PRAGMA integrity_check")]


def orphans(path):
    """Return the rows whose parent is not there."""
    return set(query(path, "PRAGMA foreign_key_check"))


def history(path):
    """Return the rows of the history as (key, success), oldest first."""
    found = query(path, "SELECT migration_name, success FROM schema_migrations ORDER BY id")
    return [(key, bool(success)) for key, success in found]


def events(path, *kinds):
    """Return the events as (kind, key, outcome), oldest first."""
    found = query(path, "SELECT kind, migration_name, outcome FROM schema_migration_events ORDER BY id")
    return [event for event in found if not kinds or event[0] in kinds]


def words(text):
    """Return the words of a script."""
    return set(re.findall(r"\w+", text))


def words_after(text, mark):
    """Return the quoted words that follow a mark."""
    return re.findall(rf'{re.escape(mark)} "(\w+)"', text)

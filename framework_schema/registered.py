"""What an app registers on its own SQLite connections, and a plain connection to its file lacks."""

from __future__ import annotations

import re

import peewee as pw

from framework_schema import ddl
from framework_schema.errors import Unreadable

LACKING = re.compile(r"(no such collation sequence|no such function|unknown function): (\w+)")
"""How SQLite says so: in a statement, in an index, and in integrity_check."""
REMEDY = (
    "The app registers it on its connections: give its own Peewee database instead of a path,"
    " init_app(app, database=...) or Runner(database)."
)


def lacking(database: pw.Database, name: str, error: Exception) -> Unreadable | None:
    """Return our error for a collation or function that the connection does not have, None for another complaint."""
    problem = _problem(database, str(error))
    return Unreadable(name, problem, REMEDY) if problem else None


def advice(database: pw.Database, reason: str) -> str:
    """Return what to add to a reason for failing that comes from such a collation or function; mostly nothing."""
    problem = _problem(database, reason)
    return f": {problem}. {REMEDY}" if problem else ""


def _problem(database: pw.Database, text: str) -> str | None:
    found = LACKING.search(text)
    if found is None or not isinstance(database, pw.SqliteDatabase):
        return None
    kind = "collation" if "collation" in found[1] else "function"
    users = ", ".join(_users(database, found[2]))
    return f"the {kind} {found[2]} is not known here{f'; it is used by {users}' * bool(users)}"


def _users(database: pw.SqliteDatabase, name: str) -> list[str]:
    """Name what speaks of it, an index and a trigger with their table."""
    rows = database.execute_sql("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return [
        f"the {kind} {own}{f' of {table}' * (kind in ('index', 'trigger'))}"
        for kind, own, table, sql in rows
        if ddl.mentions(sql, name)
    ]

"""Rows as the framework's app inserts them: what may be left out is left out."""

import re
from pathlib import Path

import yaml
from schema_facts import SPEC

REQUIRED = yaml.safe_load((Path(__file__).parent / "data" / "required.yaml").read_text(encoding="utf-8"))
"""Every column that an insert has to give, with the reason why that is safe, by table."""

TABLES = {table["name"]: table for table in SPEC["tables"]}
REAL = {"entry_types": "EntryType", "section_order": "EntryLayoutSection"}
REAL["relationship_definitions"] = "RelationshipDefinition"
"""What the three names mean that no table has."""


def must_be_given(table):
    """Return the columns of a specified table that forbid NULL and have neither a default nor numbers of their own."""
    key = table["primary_key"]
    own = key["columns"] if key.get("autoincrement") else []
    return {
        column["name"]: column
        for column in table["columns"]
        if not (column["nullable"] or {"default", "default_sql"} & column.keys() or column["name"] in own)
    }


def parents_first():
    """Return the names of all tables, each after those it refers to."""
    done, waiting = [], dict(TABLES)
    while waiting:
        for name in [name for name, table in waiting.items() if _parents(table) - {name} <= set(done)]:
            done.append(name)
            del waiting[name]
    return done


def insert(name, token, no_columns="DEFAULT VALUES"):
    """Write the statement for one row more; ``token`` sets it apart, and its parents are the newest ones."""
    table = TABLES[name]
    given = {column: _value(table, facts, token) for column, facts in must_be_given(table).items()}
    if not given:
        return f'INSERT INTO "{name}" {no_columns}'
    columns = ", ".join(f'"{column}"' for column in given)
    return f'INSERT INTO "{name}" ({columns}) VALUES ({", ".join(given.values())})'


def _parents(table):
    return {REAL.get(key["references"]["table"], key["references"]["table"]) for key in table.get("foreign_keys", [])}


def _value(table, column, token):
    for key in table.get("foreign_keys", []):
        if key["columns"] == [column["name"]]:
            to = key["references"]["table"]
            return f'(SELECT "{key["references"]["columns"][0]}" FROM "{REAL.get(to, to)}" ORDER BY id DESC LIMIT 1)'
    choice = re.search(r"IN \('([^']*)'", column.get("check", ""))
    if choice:
        return f"'{choice[1]}'"
    return f"'{column['name']} {token}'" if column["type"] in ("TEXT", "VARCHAR(255)") else "1"

"""A SQLite schema as plain facts: read from a file, or from the specification."""

import re
import sqlite3
from pathlib import Path

import yaml

SPEC = yaml.safe_load((Path(__file__).parent / "data" / "schema.yaml").read_text(encoding="utf-8"))


def specified():
    """Return the facts of schema.yaml, by table."""
    facts = {table["name"]: _specified_table(table) for table in SPEC["tables"]}
    for expected in SPEC["code_expects"]:
        typed = {name: type_ for name, type_ in expected["columns"].items() if type_}
        if typed:
            facts[expected["table"]]["columns"] += [(name, type_, True, None) for name, type_ in typed.items()]
    return facts


def read(path):
    """Return the facts of a SQLite file, by table."""
    connection = sqlite3.connect(path)
    tables = dict(
        connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    )
    facts = {name: _read_table(connection, name, sql) for name, sql in tables.items()}
    connection.close()
    return facts


def index_shapes(path):
    """Return what the indexes of each table do: columns, unique, condition."""
    connection = sqlite3.connect(path)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    shapes = {table: set(_indexes(connection, table).values()) for table in tables}
    connection.close()
    return shapes


def _specified_table(table):
    columns = table["columns"]
    named = {index["name"]: _specified_index(index) for index in table.get("indexes", [])}
    uniques = {(column["name"],) for column in columns if column.get("unique")}
    uniques |= {tuple(unique) for unique in table.get("uniques", [])}
    uniques |= {keys for keys, unique, where in named.values() if unique and not where}
    return {
        "columns": [(column["name"], column["type"], column["nullable"], _default(column)) for column in columns],
        "primary_key": tuple(table["primary_key"]["columns"]),
        "autoincrement": table["primary_key"].get("autoincrement", False),
        "foreign_keys": {
            (key["columns"][0], key["references"]["table"], key["references"]["columns"][0], key["on_delete"])
            for key in table.get("foreign_keys", [])
        },
        "uniques": uniques,
        "indexes": named,
        "checks": {column["check"] for column in columns if "check" in column} | set(table.get("checks", [])),
        "triggers": {trigger["name"] for trigger in table.get("triggers", [])},
    }


def _specified_index(index):
    downwards = index.get("descending", [])
    keys = tuple(("-" if column in downwards else "") + column for column in index["columns"])
    return keys, index["unique"], index.get("where")


def _default(column):
    if "default_sql" in column:
        return column["default_sql"]
    if "default" not in column:
        return None
    value = column["default"]
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(value).upper()


def _read_table(connection, table, sql):
    columns = connection.execute("SELECT * FROM pragma_table_info(?) ORDER BY cid", [table]).fetchall()
    indexes = _indexes(connection, table)
    keys = connection.execute("SELECT * FROM pragma_foreign_key_list(?)", [table]).fetchall()
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", [table])
    return {
        "columns": [(name, type_, not (notnull or pk), value) for _, name, type_, notnull, value, pk in columns],
        "primary_key": tuple(column[1] for column in columns if column[5]),
        "autoincrement": "AUTOINCREMENT" in sql,
        "foreign_keys": {(key[3], key[2], key[4], key[6]) for key in keys},
        "uniques": {columns for columns, unique, where in indexes.values() if unique and not where},
        # A unique that only has a generated name counts as a unique, not as an index of that name.
        "indexes": {name: index for name, index in indexes.items() if name.startswith(("idx_", "uq_"))},
        "checks": set(_checks(sql)),
        "triggers": {name for (name,) in triggers},
    }


def _indexes(connection, table):
    return {
        name: (_keys(connection, name), bool(unique), _where(connection, name))
        for _, name, unique, origin, _ in connection.execute("SELECT * FROM pragma_index_list(?)", [table])
        if origin != "pk"
    }


def _keys(connection, index):
    rows = connection.execute('SELECT name, "desc" FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno', [index])
    return tuple(("-" if downwards else "") + name for name, downwards in rows)


def _where(connection, index):
    (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", [index]).fetchone()
    return sql.partition(" WHERE ")[2] or None if sql else None


def _checks(sql):
    for match in re.finditer(r"CHECK \(", sql):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(sql[end], 0)
            end += 1
        yield sql[match.end() : end - 1]

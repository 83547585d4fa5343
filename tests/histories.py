"""Build the fifteen historical databases of data/histories.json, as SQLite files with synthetic rows.

    python tests/histories.py DIRECTORY

The facts hold no CREATE TABLE text, so this writes its own, in the manner of the real files: inline
comments, mixed case, many lines, double-quoted defaults. Column order, types, NOT NULL, defaults, keys,
uniques, CHECKs, foreign keys, named indexes, and the rows of ``schema_migrations`` are as recorded. The
rows are about 30 a table and always the same ones.
"""

import json
import random
import re
import sqlite3
import sys
from pathlib import Path

RECORD = json.loads((Path(__file__).parent / "data" / "histories.json").read_text(encoding="utf-8"))
SHAPES = RECORD["shapes"]
ENTRIES = {entry["id"]: entry for entry in RECORD["databases"]}
IDS = list(ENTRIES)

ROWS = 30
LISTS = {"allowed_statuses", "capabilities", "field_options", "filter_specific_states", "options", "specific_states"}
OBJECTS = {
    "command_data", "config", "data", "field_mapping", "hardware_info", "layout_config", "metadata",
    "relationship_filters", "result", "validation_rules", "variables",
}  # fmt: skip
"""Columns that the app reads as JSON, and answers with an error where they hold none."""
LITERAL = re.compile(r"""[-0-9.]+|NULL|TRUE|FALSE|CURRENT_TIMESTAMP|'.*'|".*\"""", re.DOTALL)
COMMENTS = ["", "", "  -- kept, see notes (e.g. 'a', \"b\")", " /* list, of things */"]


def build_all(directory):
    """Build all fifteen into a directory, as ``ID.db``; return their paths."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    return [build_one(name, Path(directory, f"{name}.db")) for name in IDS]


def build_one(name, path):
    """Build the one with this id; a file that is there is replaced."""
    entry, rng, path = ENTRIES[name], random.Random(name), Path(path)
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    tables = {table: SHAPES[key] for table, key in entry["tables"].items() if table != "sqlite_sequence"}
    for table, shape in tables.items():
        connection.execute(_create_table(table, shape, rng))
    for table, shape in tables.items():
        for index in shape["indexes"]:
            if index["origin"] == "c":
                connection.execute(_create_index(table, index))
    _fill(connection, tables, rng)
    if "schema_migrations" in tables:
        known = {column["name"] for column in tables["schema_migrations"]["columns"]}
        for row in entry.get("schema_migrations") or []:
            _insert(connection, "schema_migrations", {name: row[name] for name in row if name in known})
    connection.execute("COMMIT")
    connection.close()
    return path


def quote(name):
    """Quote a name where it needs it."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else '"' + name.replace('"', '""') + '"'


def _names(columns):
    return ", ".join(map(quote, columns))


def _create_table(table, shape, rng):
    parts = [_column(column, shape, rng) for column in shape["columns"]]
    key = sorted((column for column in shape["columns"] if column["pk"]), key=lambda column: column["pk"])
    if len(key) > 1:
        parts.append(f"PRIMARY KEY ({_names(column['name'] for column in key)})")
    parts += [f"UNIQUE({_names(index['columns'])})" for index in shape["indexes"] if index["origin"] == "u"]
    parts += [f"CHECK ({check})" for check in shape["checks"] if "start_sensor_id" in check]
    for key in shape["foreign_keys"]:
        to = f"({_names(key['to'])})" if key["to"] and all(key["to"]) else ""
        action = "" if key["on_delete"] == "NO ACTION" else f" ON DELETE {key['on_delete']}"
        parts.append(f"FOREIGN KEY ({_names(key['from'])}) REFERENCES {quote(key['table'])}{to}{action}")
    lines = []
    for number, part in enumerate(parts, 1):
        comma = "," if number < len(parts) else ""
        comment = rng.choice(COMMENTS)
        end = "\n" if not comma and comment.strip().startswith("--") else ""
        lines.append(f"    {part}{comma}{comment}{end}")
    return f"CREATE TABLE {quote(table)} (\n" + "\n".join(lines) + "\n)"


def _column(column, shape, rng):
    parts = [quote(column["name"]), column["type"]]
    if column["pk"] and sum(bool(other["pk"]) for other in shape["columns"]) == 1:
        parts.append("PRIMARY KEY" + (" AUTOINCREMENT" if shape["autoincrement"] else ""))
    if column["notnull"]:
        parts.append("NOT NULL" if rng.random() < 0.8 else "not null")
    default = column["dflt_value"]
    if default is not None:
        parts.append("DEFAULT " + (default if LITERAL.fullmatch(default) else f"({default})"))
    for check in shape["checks"]:
        if re.match(rf"{re.escape(column['name'])}\b", check) and " >= start_sensor_id" not in check:
            parts.append(f"CHECK({check})")
    return " ".join(part for part in parts if part)


def _create_index(table, index):
    descending = index.get("desc") or [0] * len(index["columns"])
    columns = [quote(name) + (" DESC" if down else "") for name, down in zip(index["columns"], descending, strict=True)]
    where = f" WHERE {index['where']}" if index.get("where") else ""
    unique = "UNIQUE " if index["unique"] else ""
    return f"CREATE {unique}INDEX {quote(index['name'])} ON {quote(table)}({', '.join(columns)}){where}"


def _fill(connection, tables, rng):
    made = {}
    for table in _parents_first(tables):
        if table == "schema_migrations":
            continue
        shape = tables[table]
        keys = {key["from"][0]: key for key in shape["foreign_keys"] if len(key["from"]) == 1}
        made[table] = []
        for number in range(1, ROWS + 1):
            row = {
                column["name"]: _cell(column, number, table, shape, keys.get(column["name"]), made, rng)
                for column in shape["columns"]
            }
            if "start_sensor_id" in row and "end_sensor_id" in row:
                row["end_sensor_id"] = row["start_sensor_id"]
            if table == "KanbanBoard":
                row["is_default"] = int(number == 1)
            try:
                _insert(connection, table, row)
            except sqlite3.IntegrityError:
                continue
            made[table].append(row)


def _parents_first(tables):
    done, pending = [], list(tables)
    while pending:
        ready = [
            table
            for table in pending
            if all(
                key["table"] in done or key["table"] == table or key["table"] not in pending
                for key in tables[table]["foreign_keys"]
            )
        ]
        done += ready or pending[:1]
        pending = [table for table in pending if table not in done]
    return done


def _cell(column, number, table, shape, key, made, rng):
    if column["pk"] and column["type"].upper() == "INTEGER":
        return number
    if key is not None:
        parents = made.get(key["table"]) or []
        if not parents:
            return number if column["notnull"] else None
        parent = parents[(number - 1) % len(parents)]
        to = (key["to"] or [None])[0]
        return parent.get(to) if to else next(iter(parent.values()))
    if column["notnull"] or column["pk"] or number % 5:
        return _value(column, number, table, shape["checks"], rng)
    return None


def _value(column, number, table, checks, rng):
    name, kind = column["name"], column["type"].upper()
    for check in checks:
        if re.match(rf"{re.escape(name)}\b", check):
            choices = re.search(r"IN \((.*)\)", check)
            if choices:
                return rng.choice(re.findall(r"'([^']*)'", choices[1]))
            return rng.randint(1, 12) if "BETWEEN" in check else 1 + number
    if "INT" in kind or "BOOL" in kind:
        is_flag = "BOOL" in kind or name.startswith(("is_", "has_", "use_", "show_", "enable"))
        return number % 2 if is_flag else number
    if "REAL" in kind:
        return number / 7
    if "TIMESTAMP" in kind or name.endswith("_at") or name == "timestamp" or "date" in name:
        return f"2025-{1 + number % 12:02}-{1 + number % 28:02} 10:{number % 60:02}:00"
    if name in ("file_paths", "associated_entry_ids", "url_bookmarks", "image_urls"):
        return "[]"
    if name == "image_paths":
        return json.dumps([f"uploads/{number}.jpg"])
    if name == "urls":
        docs = {"url": f"https://docs.example.org/{number}", "friendly_name": "Docs"}
        return json.dumps([f"https://example.org/{number}", docs])
    if name in LISTS:
        return json.dumps([f"{name} {number}", "ü, 'q'"])
    if name in OBJECTS:
        return json.dumps({"n": number})
    return f"{table}.{name} {number} — “ü” 'q' \"d\" , ;"


def _insert(connection, table, row):
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {quote(table)} ({_names(row)}) VALUES ({marks})", list(row.values()))


if __name__ == "__main__":
    print(len(build_all(sys.argv[1])), "databases in", sys.argv[1])

"""Types, functions, sequences and views of a PostgreSQL schema, as the server prints them.

They stand beside the tables. What the scripts made of them and the database
lacks is made again, types before the tables that use them, views after.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from framework_schema.postgres_texts import literal
from framework_schema.server_snapshot import pg_quote
from framework_schema.snapshot import Carried

HERE = "(SELECT oid FROM pg_namespace WHERE nspname = current_schema())"


def _no_member(of: str, alias: str) -> str:
    """Write the condition that an object is no part of an extension."""
    return (
        f"NOT EXISTS (SELECT 1 FROM pg_depend x WHERE x.classid = '{of}'::regclass AND x.objid = {alias}.oid "
        "AND x.deptype = 'e')"
    )


TYPES = (
    "SELECT t.typname, t.typtype::text, ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid "
    "ORDER BY enumsortorder), format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault, "
    "ARRAY(SELECT pg_get_constraintdef(k.oid, true) FROM pg_constraint k WHERE contypid = t.oid ORDER BY conname), "
    "ARRAY(SELECT quote_ident(attname) || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute "
    "WHERE attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped ORDER BY attnum), "
    "(SELECT format_type(rngsubtype, NULL) FROM pg_range WHERE rngtypid = t.oid), obj_description(t.oid, 'pg_type') "
    f"FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid WHERE t.typnamespace = {HERE} "
    f"AND (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c') AND {_no_member('pg_type', 't')} "
    "ORDER BY t.oid"
)
FUNCTIONS = (
    "SELECT p.proname, pg_get_function_identity_arguments(p.oid), pg_get_functiondef(p.oid) FROM pg_proc p "
    f"WHERE p.pronamespace = {HERE} AND p.prokind IN ('f', 'p') AND {_no_member('pg_proc', 'p')} ORDER BY p.oid"
)
SEQUENCES = (
    "SELECT c.relname, format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, "
    f"s.seqcycle FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid WHERE c.relnamespace = {HERE} "
    "AND NOT EXISTS (SELECT 1 FROM pg_depend x WHERE x.classid = 'pg_class'::regclass AND x.objid = c.oid "
    "AND x.deptype IN ('a', 'i', 'e')) ORDER BY c.oid"
)
VIEWS = (
    "SELECT c.relname, c.relkind = 'm', pg_get_viewdef(c.oid), array_to_string(c.reloptions, ', '), "
    "obj_description(c.oid, 'pg_class'), ARRAY(SELECT replace(pg_get_indexdef(indexrelid), "
    "' ON ' || quote_ident(current_schema()) || '.', ' ON ') FROM pg_index WHERE indrelid = c.oid ORDER BY indexrelid) "
    f"FROM pg_class c WHERE c.relnamespace = {HERE} AND c.relkind IN ('v', 'm') AND {_no_member('pg_class', 'c')} "
    "ORDER BY c.oid"
)
BEFORE_TABLES = ("type", "sequence")
"""The kinds that tables are made with; functions and views may need the tables."""


def read_objects(rows: Callable[..., list[Any]]) -> dict[str, Carried]:
    """Return what there is in the current schema, by kind and name."""
    found: dict[str, Carried] = {}
    for name, kind, labels, base, not_null, default, checks, columns, subtype, comment in rows(TYPES):
        if kind == "e":
            text = f"AS ENUM ({', '.join(map(literal, labels))})"
        elif kind == "d":
            rules = [f"DEFAULT {default}"] * bool(default) + ["NOT NULL"] * bool(not_null) + list(checks)
            text = " ".join([f"AS {base}", *rules])
        else:
            text = f"AS RANGE (subtype = {subtype})" if kind == "r" else f"AS ({', '.join(columns)})"
        word = "DOMAIN" if kind == "d" else "TYPE"
        said = [f"COMMENT ON {word} {pg_quote(name)} IS {literal(comment)}"] if comment else []
        found[f"type {name}"] = Carried(text, (f"CREATE {word} {pg_quote(name)} {text}", *said))
    for name, kind, start, increment, least, most, cache, cycle in rows(SEQUENCES):
        text = f"AS {kind} INCREMENT {increment} MINVALUE {least} MAXVALUE {most} START {start} CACHE {cache}"
        text += " CYCLE" if cycle else ""
        found[f"sequence {name}"] = Carried(text, (f"CREATE SEQUENCE {pg_quote(name)} {text}",))
    for name, arguments, definition in rows(FUNCTIONS):
        text = without_schema(definition)
        found[f"function {name}({arguments})"] = Carried(text, (text,), (text,))
    for name, is_kept, definition, options, comment, indexes in rows(VIEWS):
        word = "MATERIALIZED VIEW" if is_kept else "VIEW"
        text = definition.strip().rstrip(";")
        plus = f" WITH ({options})" if options else ""
        said = [f"COMMENT ON {word} {pg_quote(name)} IS {literal(comment)}"] if comment else []
        made = f"CREATE {word} {pg_quote(name)}{plus} AS {text}"
        found[f"view {name}"] = Carried(text + plus, (made, *indexes, *said))
    return found


def without_schema(definition: str) -> str:
    """Leave out the schema that ``pg_get_functiondef`` writes before the function's name."""
    return re.sub(
        r'\A(CREATE OR REPLACE (?:FUNCTION|PROCEDURE) )(?:"(?:[^"]|"")*"|[^\s."(]+)\.', r"\1", definition
    ).rstrip()

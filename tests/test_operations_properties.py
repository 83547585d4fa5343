"""Tables as people write them, and every operation of a script: it does just what it says, or refuses in our words."""

import peewee as pw
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from test_rebuild_properties import ask, build, databases, exact, rowid, text_of

from framework_schema import ddl
from framework_schema.ddl import quote
from framework_schema.errors import SchemaError
from framework_schema.expected import orm_of
from framework_schema.looking import Orphaned
from framework_schema.migrator import ConvergingMigrator
from framework_schema.operations import SqliteOperations
from framework_schema.orphans import new, renamed, violations
from framework_schema.rebuild import broken

OURS = (SchemaError, ValueError, TypeError, pw.IntegrityError)
"""How a refusal may sound: what only rows forbid SQLite says well enough."""


def remove_fields(migrator, table, name, draw):
    migrator.remove_fields(table, name)
    return {"gone": name}


def add_nullable(migrator, table, name, draw):
    migrator.add_fields(table, added=pw.TextField(null=True, default=draw(st.sampled_from([None, "x"]))))
    return {"come": "added"}


def add_required(migrator, table, name, draw):
    default = draw(st.sampled_from(["''", "0", None]))
    given = {"constraints": [pw.SQL(f"DEFAULT {default}")]} if default else {"default": "it's"}
    migrator.add_fields(table, added=pw.TextField(index=draw(st.booleans()), **given))
    return {"come": "added"}


def rename_field(migrator, table, name, draw):
    model = migrator.rename_field(table, name, "renamed")
    return {"renamed": (name, model._meta.fields["renamed"].column_name)}  # a key's ends in _id, as ever


def rename_table(migrator, table, name, draw):
    migrator.rename_table(table, "Renamed")
    return {"table": "Renamed"}


def change_fields(migrator, table, name, draw):
    kind = draw(st.sampled_from([pw.TextField, pw.IntegerField, pw.BlobField]))
    migrator.change_fields(table, **{name: kind(null=draw(st.booleans()), column_name=name)})
    return {"changed": name}


def add_not_null(migrator, table, name, draw):
    migrator.add_not_null(table, name)
    return {"changed": name}


def drop_not_null(migrator, table, name, draw):
    migrator.drop_not_null(table, name)
    return {"changed": name}


def add_default(migrator, table, name, draw):
    migrator.add_default(table, name, draw(st.sampled_from([0, "", "it's", 1.5, True, b"x"])))
    return {"changed": name, "filled": name}


def add_index(migrator, table, name, draw):
    migrator.add_index(table, name, unique=draw(st.booleans()))
    return {}


def drop_index(migrator, table, name, draw):
    migrator.drop_index(table, name)
    return {"rebuilt": True}


def add_constraint(migrator, table, name, draw):
    migrator.add_constraint(table, "k", pw.SQL(f"CHECK ({quote(name)} IS NOT 'a, ) --')"))
    return {"rebuilt": True}


OPERATIONS = [
    remove_fields, add_nullable, add_required, rename_field, rename_table, change_fields, add_not_null, drop_not_null,
    add_default, add_index, drop_index, add_constraint,
]  # fmt: skip


def contents(database, table, columns):
    place = rowid(database, table)
    values = [place, *(f"{exact(c)}, typeof({quote(c)})" for c in columns)]
    found = ask(database, f"SELECT {', '.join(values)} FROM {quote(table)} NOT INDEXED")
    return sorted(found, key=repr) if place == "1" else found  # such a table has no order of its own


def columns_of(database, table):
    return [name for (name,) in ask(database, "SELECT name FROM pragma_table_xinfo(?)", table)]


def objects(database):
    return {row[:2]: row[2] for row in ask(database, "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")}


def all_of(database):
    found = objects(database)
    tables = [name for kind, name in found if kind == "table"]
    return found, {name: contents(database, name, columns_of(database, name)) for name in tables}


@pytest.mark.filterwarnings("ignore:Ignoring foreign-key:UserWarning")
@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@settings(deadline=None, max_examples=90, suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors])
@given(made=databases(), data=st.data())
def test_an_operation_does_what_it_says_or_refuses_and_changes_nothing(operation, part, made, data):
    table, names, statements, rows = made
    database = build(table, names, statements, rows)
    try:
        if text_of(database, table) is None:
            event("no table")
            return
        check(database, table, data.draw(st.sampled_from(columns_of(database, table))), operation, data.draw)
    finally:
        database.close()


def check(database, table, name, operation, draw):
    database.execute_sql("PRAGMA foreign_keys = 0")
    before, columns, violated = all_of(database), columns_of(database, table), violations(database)
    not_working = broken(database, ())
    migrator = ConvergingMigrator(database, SqliteOperations(database), orm_of((), database))
    try:
        with database.atomic():
            says = operation(migrator, table, name, draw)
            renames = migrator.operations.renamed
            if new(renamed(violated, renames), violations(database)):
                raise Orphaned("as a run would say")
    except OURS as error:
        event(f"{operation.__name__}: refused")
        assert str(error)
        assert all_of(database) == before
        return
    event(f"{operation.__name__}: done")
    assert ask(database, "PRAGMA integrity_check") == [("ok",)]
    now = says.get("table", table)
    assert columns_of(database, now) == expected_columns(columns, says)
    if "renamed" not in says and "table" not in says:
        assert broken(database, ()).keys() <= not_working.keys()
        rest_is_as_it_was(database, table, before, says)
    assert len(broken(database, ())) <= len(not_working)
    derived = set(generated(before[0]["table", table])) if "changed" in says else set()
    same = [c for c in columns if c not in (says.get("gone"), says.get("changed")) and c not in derived]
    same_now = [says["renamed"][1] if "renamed" in says and c == says["renamed"][0] else c for c in same]
    kept = [tuple(pick(row, columns, same)) for row in before[1][table]]
    assert sorted(map(repr, contents(database, now, same_now))) == sorted(map(repr, kept))
    if "changed" in says and "filled" not in says:
        place = columns.index(name)
        values = ask(database, f"SELECT CAST({quote(name)} AS BLOB) FROM {quote(table)} NOT INDEXED")
        assert len(values) == len(before[1][table])
        nulls = [row[2 + 2 * place] == "null" for row in before[1][table]]
        assert sorted(value is None for (value,) in values) == sorted(nulls)


def expected_columns(columns, says):
    found = [c for c in columns if c != says.get("gone")]
    if "renamed" in says:
        found[found.index(says["renamed"][0])] = says["renamed"][1]
    return found + ([says["come"]] if "come" in says else [])


def generated(sql):
    """Name the columns whose values follow from others'."""
    return [column.name for column in ddl.parse_table(sql).columns if column.generated is not None]


def pick(row, columns, wanted):
    yield row[0]
    for name in wanted:
        place = 1 + 2 * columns.index(name)
        yield from row[place : place + 2]


def rest_is_as_it_was(database, table, before, says):
    """Every other object has its text, every other table its rows, every other column its definition."""
    found, rows = all_of(database)
    for key, sql in before[0].items():
        if key[1] == table or key[1].startswith("sqlite_"):
            continue
        went = key not in found and key[0] == "index" and ("gone" in says or "rebuilt" in says)
        assert went or found[key] == sql, key
    for name, contents_before in before[1].items():
        if name != table and not name.startswith("sqlite_"):
            assert rows[name] == contents_before, name
    was, now = ddl.parse_table(before[0]["table", table]), ddl.parse_table(found["table", table])
    touched = {says.get("gone"), says.get("changed")}
    for column in was.columns:
        if column.name not in touched and "rebuilt" not in says:
            assert now.column(column.name).text == column.text
    assert (now.strict, now.without_rowid) == (was.strict, was.without_rowid)
    if not ddl.name_in(was.primary_key, str(says.get("changed"))):
        assert (now.primary_key, now.autoincrement) == (was.primary_key, was.autoincrement)

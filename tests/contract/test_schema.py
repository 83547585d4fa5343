"""The framework's schema is the same on every engine: nothing of schema.yaml is lost."""

import pytest
import schema_facts
import servers
from inserts import insert, parents_first

from framework_schema import models
from framework_schema.dialects import for_database
from framework_schema.models import MODELS
from framework_schema.report import State

SPECIFIED = schema_facts.specified()
REAL = {"entry_types": "EntryType", "section_order": "EntryLayoutSection"}
REAL["relationship_definitions"] = "RelationshipDefinition"
"""Tables that only SQLite's files refer to, and those whose ids the columns really hold."""


@pytest.fixture(scope="module")
def live(framework):
    database = framework.engine.database()
    with database.connection_context():
        snapshot = for_database(database).snapshot(database, structural=True)
    return {table.name: table for table in snapshot.tables.values()}


def folded(names):
    return frozenset(name.lower() for name in names)


def test_every_script_runs_and_the_second_run_has_nothing_to_do(framework):
    runner = framework.engine.runner()

    assert framework.report.state is State.MIGRATED
    assert len(framework.report.applied) == len(runner.known.migrations)
    assert runner.migrate().state is State.CURRENT
    assert not runner.drift(strict=True)


def test_the_models_make_what_the_scripts_make(framework, tmp_path):
    engine = framework.engine
    expected = engine.runner().expected(engine.runner().known.migrations, True)
    with engine_like(engine, tmp_path) as url:
        database = type(engine)(engine.name, url).database()
        with database.connection_context(), models.database.use(database):
            database.create_tables(MODELS)
            made = for_database(database).snapshot(database, structural=True)

    for key, table in made.tables.items():
        assert list(table.facts()) == list(expected.tables[key].facts())
    assert len(made.tables) == len(MODELS)


def engine_like(engine, tmp_path):
    if engine.name != "sqlite":
        return FreshUrl(servers.Fresh(engine.name))
    return FreshUrl(None, str(tmp_path / "models.db"))


class FreshUrl:
    def __init__(self, fresh, path=None):
        self.fresh, self.path = fresh, path

    def __enter__(self):
        return self.path or self.fresh.__enter__().url

    def __exit__(self, *error):
        if self.fresh:
            self.fresh.__exit__(*error)


@pytest.mark.parametrize("table", SPECIFIED)
def test_a_table_has_all_that_is_specified(framework, live, table):
    want, have = SPECIFIED[table], live[table]

    assert [column.name for column in have.columns.values()] == [name for name, *_ in want["columns"]]
    assert {c.name for c in have.columns.values() if not c.null} >= {
        name for name, _, null, _ in want["columns"] if not null
    }
    assert {c.name for c in have.columns.values() if c.default is not None} == {
        name for name, _, _, default in want["columns"] if default not in (None, "NULL")
    }
    assert folded(have.primary_key) == folded(want["primary_key"])
    assert have.autoincrement == want["autoincrement"]
    assert {folded(unique) for unique in have.uniques} >= {
        folded(unique) for unique in want["uniques"] if folded(unique) != folded(want["primary_key"])
    }
    assert len(have.checks) == len(want["checks"])
    assert set(map(str.lower, have.triggers)) == set(want["triggers"])


@pytest.mark.parametrize("table", [name for name, facts in SPECIFIED.items() if facts["foreign_keys"]])
def test_a_table_has_every_reference(framework, live, table):
    is_sqlite = framework.engine.name == "sqlite"
    wanted = {
        (column.lower(), (to if is_sqlite else REAL.get(to, to)).lower(), there.lower(), action)
        for column, to, there, action in SPECIFIED[table]["foreign_keys"]
    }
    found = {
        (key.columns[0].lower(), key.table.lower(), key.to_columns[0].lower(), key.on_delete)
        for key in live[table].foreign_keys
    }

    # InnoDB knows one kind of refusal: RESTRICT is its NO ACTION.
    if framework.engine.name == "mariadb":
        wanted = {(*key, "NO ACTION" if action == "RESTRICT" else action) for *key, action in wanted}
    assert found == wanted


@pytest.mark.parametrize(
    ("table", "name", "keys", "unique", "where"),
    [
        pytest.param(table, name, *index, id=name)
        for table, facts in SPECIFIED.items()
        for name, index in facts["indexes"].items()
    ],
)
def test_a_named_index_keeps_order_and_rule(framework, live, table, name, keys, unique, where):
    folded_keys = frozenset(key.lstrip("-").lower() for key in keys)
    have = live[table]
    if unique and not where:
        assert folded_keys in {folded(columns) for columns in have.uniques}
        return
    index = next(index for index in have.indexes.values() if index.name.lower() == name.lower())
    labels = [f"{key.lstrip('-').lower()}{' DESC' if key.startswith('-') else ''}" for key in keys]

    assert [label.replace("desc", "DESC") for label in map(str.lower, index.columns)] == labels
    assert index.unique == unique
    if unique or framework.engine.name != "mariadb":
        assert bool(index.where) == bool(where)


def make_type(engine, name):
    engine.sql(f"INSERT INTO \"EntryType\" (name, singular_label, plural_label) VALUES ('{name}', '{name}', '{name}')")
    return engine.value(f"SELECT id FROM \"EntryType\" WHERE name = '{name}'")


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(
            """INSERT INTO "EntryState" (entry_type_id, name, category) VALUES ({type}, 'x', 'done')""", id="category"
        ),
        pytest.param(
            """INSERT INTO "EntryTypeFormField" (entry_type_id, field_name, field_type, field_label, column_width)
            VALUES ({type}, 'x', 'text', 'x', 13)""",
            id="column width",
        ),
        pytest.param(
            """INSERT INTO "EntryTypeRelationship" (from_entry_type_id, to_entry_type_id, relationship_type)
            VALUES ({type}, {type}, 'sideways')""",
            id="relationship",
        ),
        pytest.param("""INSERT INTO "EntryType" (name, singular_label) VALUES ('half', 'x')""", id="not null"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused(framework, statement):
    engine = framework.engine
    kind = make_type(engine, f"rule {abs(hash(statement))}")

    with pytest.raises(engine.error):
        engine.sql(statement.format(type=kind))


def test_a_row_that_leaves_out_what_may_be_left_out_is_taken_by_every_table(framework):
    empty = "() VALUES ()" if framework.engine.name == "mariadb" else "DEFAULT VALUES"

    framework.engine.sql(*(insert(table, "as the app does", empty) for table in parents_first()))

    assert framework.engine.value('SELECT max(days_from_start) FROM "EntryStateMilestone"') == 0


def test_a_second_default_board_is_refused_and_other_boards_are_not(framework):
    engine = framework.engine
    kind = make_type(engine, "boards")
    insert = f"INSERT INTO \"KanbanBoard\" (name, entry_type_id, is_default) VALUES ('{{}}', {kind}, {{}})"
    engine.sql(insert.format("first", 1), insert.format("second", 0), insert.format("third", 0))

    with pytest.raises(engine.error):
        engine.sql(insert.format("fourth", 1))


def test_names_that_differ_in_case_are_two_names(framework):
    make_type(framework.engine, "Kg")
    make_type(framework.engine, "kg")

    assert framework.engine.value("SELECT count(*) FROM \"EntryType\" WHERE name IN ('Kg', 'kg')") == 2


def test_the_database_fills_in_what_is_left_out_in_utc(framework):
    engine = framework.engine
    engine.sql("INSERT INTO \"Dashboard\" (name) VALUES ('home')")
    created, config = engine.sql("SELECT created_at, layout_config FROM \"Dashboard\" WHERE name = 'home'")[0]
    now = {
        "sqlite": "SELECT datetime('now')",
        "postgresql": "SELECT (now() AT TIME ZONE 'UTC')::text",
        "mariadb": "SELECT UTC_TIMESTAMP()",
    }[engine.name]

    assert config == '{"cols": 12, "rowHeight": 100}'
    assert str(created)[:15] == str(engine.value(now))[:15]
    assert str(created)[19:] in ("", ".000000")


def test_changing_a_sensor_script_stamps_it(framework):
    engine = framework.engine
    engine.sql(
        "INSERT INTO \"SensorRegistration\" (sensor_id, sensor_type) VALUES ('s1', 'esp32')",
        'INSERT INTO "SensorScripts" (sensor_id, script_content, updated_at) '
        "VALUES ('s1', 'a', '2020-01-01 00:00:00')",
        "UPDATE \"SensorScripts\" SET script_content = 'b'",
    )

    assert not str(engine.value('SELECT updated_at FROM "SensorScripts"')).startswith("2020")


def test_deleting_a_type_deletes_its_states(framework):
    engine = framework.engine
    if engine.name == "sqlite":
        pytest.skip("the framework runs SQLite with foreign keys off")
    kind = make_type(engine, "short-lived")
    engine.sql(
        f"INSERT INTO \"EntryState\" (entry_type_id, name, category) VALUES ({kind}, 'x', 'active')",
        f'DELETE FROM "EntryType" WHERE id = {kind}',
    )

    assert engine.value(f'SELECT count(*) FROM "EntryState" WHERE entry_type_id = {kind}') == 0

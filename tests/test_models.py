import subprocess
import sys
import threading
from types import SimpleNamespace

import peewee as pw
import pytest
import schema_facts
from flask import Flask

from framework_schema import models
from framework_schema.models import (
    MODELS,
    Dashboard,
    DashboardWidget,
    Entry,
    EntryRelationship,
    EntryType,
    NoDatabase,
    SensorRegistration,
    SensorScripts,
)

SPECIFIED = schema_facts.specified()


@pytest.fixture
def database(tmp_path):
    database = pw.SqliteDatabase(tmp_path / "framework.db", pragmas={"foreign_keys": 1})
    with models.database.use(database):
        with database.atomic():
            database.create_tables(MODELS)
        yield database
    database.close()


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    database = pw.SqliteDatabase(tmp_path_factory.mktemp("models") / "framework.db")
    with models.database.use(database), database.atomic():
        database.create_tables(MODELS)
    database.close()
    return schema_facts.read(database.database)


@pytest.fixture
def own_database():
    """Give every test the proxy as it is before anyone named a database."""
    yield models.database
    models.database.initialize(None)


def make_app(path):
    app = Flask(path.stem)
    app.extensions["framework_schema"] = SimpleNamespace(database=pw.SqliteDatabase(path))
    return app


def make_type(name):
    return EntryType.create(name=name, singular_label=name, plural_label=name)


@pytest.mark.parametrize("table", SPECIFIED)
def test_a_table_made_from_its_model_is_the_specified_one(facts, table):
    assert facts[table] == SPECIFIED[table]


def test_the_models_cover_the_specification_and_nothing_else(facts):
    tables = facts.values()
    counts = schema_facts.SPEC["source"]["counts"]

    assert {model._meta.table_name for model in MODELS} == set(SPECIFIED)
    assert len(tables) == len(MODELS) == counts["tables"]
    assert sum(len(table["columns"]) for table in tables) == counts["columns"] + 7  # seven that only code expects
    assert sum(len(table["foreign_keys"]) for table in tables) == counts["foreign_keys"]
    assert sum(len(table["indexes"]) for table in tables) == counts["named_indexes"]
    assert sum(len(table["checks"]) for table in tables) == counts["checks"]


def test_tables_are_created_once_however_often_asked(database):
    before = schema_facts.read(database.database)

    database.create_tables(MODELS)

    assert schema_facts.read(database.database) == before


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        pytest.param(
            "INSERT INTO EntryState (entry_type_id, name, category) VALUES (1, '', ?)",
            ("done",),
            id="category",
        ),
        pytest.param(
            "INSERT INTO RelationshipDefinition (name, entry_type_id_from, entry_type_id_to, cardinality_from,"
            " cardinality_to, label_from_side, label_to_side, template_inheritance_direction)"
            " VALUES ('x', 1, 1, 'one', 'one', 'x', 'x', ?)",
            ("sideways",),
            id="inheritance direction",
        ),
        pytest.param(
            "INSERT INTO SensorDataEntryRanges (entry_id, sensor_type, start_sensor_id, end_sensor_id)"
            " VALUES (1, 'x', 2, ?)",
            (1,),
            id="range",
        ),
        pytest.param(
            "INSERT INTO EntryTypeFormField (entry_type_id, field_name, field_type, field_label)"
            " VALUES (1, 'x', ?, 'x')",
            ("colour",),
            id="field type",
        ),
        pytest.param(
            "INSERT INTO EntryTypeFormField (entry_type_id, field_name, field_type, field_label,"
            " column_width) VALUES (1, 'x', 'text', 'x', ?)",
            (13,),
            id="column width",
        ),
        pytest.param(
            "INSERT INTO EntryStateMilestone (entry_id, target_state_id, days_from_start) VALUES (1, 1, ?)",
            (-1,),
            id="days",
        ),
        pytest.param(
            "INSERT INTO EntryTypeRelationship (from_entry_type_id, to_entry_type_id, relationship_type)"
            " VALUES (1, 1, ?)",
            ("sideways",),
            id="type relationship",
        ),
    ],
)
def test_a_check_refuses_what_it_excludes(database, statement, values):
    database.pragma("foreign_keys", 0)

    with pytest.raises(pw.IntegrityError, match="CHECK constraint failed"):
        database.execute_sql(statement, values)


def test_a_second_default_board_is_refused(database):
    kind = make_type("book")
    models.KanbanBoard.create(name="one", entry_type=kind, is_default=1)
    models.KanbanBoard.create(name="two", entry_type=kind)

    with pytest.raises(pw.IntegrityError, match="UNIQUE constraint failed"):
        models.KanbanBoard.create(name="three", entry_type=kind, is_default=1)


def test_changing_a_sensor_script_stamps_it(database):
    SensorRegistration.create(sensor_id="s1", sensor_type="esp32")
    script = SensorScripts.create(sensor="s1", script_content="old", updated_at="2020-01-01 00:00:00")

    SensorScripts.update(script_content="new").execute()

    assert SensorScripts.get_by_id(script.id).updated_at.year > 2020


def test_the_database_fills_what_python_leaves_out(database):
    created = Dashboard.get_by_id(Dashboard.create(name="home").id)
    database.execute_sql("INSERT INTO Dashboard (name) VALUES ('away')")
    inserted = Dashboard.get(name="away")

    assert created.created_at is not None
    assert created.layout_config == inserted.layout_config == '{"cols": 12, "rowHeight": 100}'


def test_a_row_id_is_never_given_out_twice(database):
    first = make_type("book")
    first.delete_instance()

    assert make_type("film").id == first.id + 1


def test_a_model_comes_after_those_it_refers_to():
    seen = set()
    for model in MODELS:
        assert set(model._meta.refs.values()) <= seen
        seen.add(model)


def test_backrefs_hide_nothing():
    for model in MODELS:
        names = [key.backref for key in model._meta.backrefs]
        assert len(names) == len(set(names))
        assert not set(names) & (set(model._meta.combined) | set(dir(pw.Model)))


def test_a_relationship_knows_its_kind_as_object_and_as_id(database):
    kind = make_type("book")
    definition = models.RelationshipDefinition.create(
        name="sequel",
        entry_type_from=kind,
        entry_type_to=kind,
        cardinality_from="one",
        cardinality_to="one",
        label_from_side="sequel of",
        label_to_side="followed by",
    )
    one, two = (Entry.create(title=title, entry_type=kind, created_at="2026-01-01") for title in ("a", "b"))
    EntryRelationship.create(source_entry=one, target_entry=two, relationship_type=definition)

    relationship = EntryRelationship.get()
    assert relationship.relationship_type == definition
    assert relationship.relationship_type_id == definition.id


def test_exported_names_are_sorted_and_complete():
    def isort(name):
        return (not name.isupper(), not name[0].isupper(), name)

    assert models.__all__ == sorted(models.__all__, key=isort)
    assert {model.__name__ for model in MODELS} < set(models.__all__)


def test_models_do_not_import_flask():
    code = "import sys, framework_schema.models; sys.exit('flask' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Which database


def test_without_a_database_the_error_names_both_ways(own_database):
    with pytest.raises(NoDatabase, match=r"init_app\(app\).*initialize\(database\)"):
        list(EntryType.select())


def test_an_app_context_without_the_extension_is_no_database(own_database):
    with Flask("other").app_context(), pytest.raises(NoDatabase):
        EntryType.select().count()


def test_an_app_whose_database_is_the_proxy_itself_does_not_recurse(own_database, tmp_path):
    app = Flask("circular")
    app.extensions["framework_schema"] = SimpleNamespace(database=own_database)

    with app.app_context(), pytest.raises(NoDatabase):
        EntryType.select().count()


def test_two_apps_in_many_threads_each_reach_their_own_database(tmp_path):
    apps = [make_app(tmp_path / "homebrew.db"), make_app(tmp_path / "recipes.db")]
    for app in apps:
        with app.app_context(), models.database:
            models.database.create_tables(MODELS)
    errors = []

    def work(app, number):
        try:
            with app.app_context():
                with models.database.connection_context(), models.database.atomic("IMMEDIATE"):
                    board = Dashboard.create(name=f"{app.name} {number}")
                    DashboardWidget.create(dashboard=board, widget_type="list", title=app.name)
                with models.database.connection_context():
                    assert [widget.title for widget in board.widgets] == [app.name]
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(app, number)) for number in range(8) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    for app in apps:
        with app.app_context(), models.database.connection_context():
            assert {widget.title for widget in DashboardWidget.select()} == {app.name}
            assert Dashboard.select().count() == 8


def test_the_app_comes_before_the_initialized_database_and_use_before_both(own_database, tmp_path):
    given = pw.SqliteDatabase(tmp_path / "given.db")
    used = pw.SqliteDatabase(tmp_path / "used.db")
    app = make_app(tmp_path / "app.db")
    own_database.initialize(given)

    assert own_database.obj is given
    with app.app_context():
        assert own_database.obj is app.extensions["framework_schema"].database
        with own_database.use(used):
            assert own_database.obj is used
    assert own_database.obj is given


def test_an_atomic_block_that_fails_leaves_nothing(database):
    with pytest.raises(ZeroDivisionError), models.database.atomic():
        make_type("book")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), models.database:
        make_type("film")
        raise ZeroDivisionError

    assert EntryType.select().count() == 0


def test_models_can_be_bound_to_another_database_for_a_while(database, tmp_path):
    other = pw.SqliteDatabase(tmp_path / "other.db")
    with other.bind_ctx(MODELS), other.atomic():
        other.create_tables(MODELS)
        make_type("there")
    other.close()

    assert EntryType.select().count() == 0
    assert schema_facts.read(other.database) == schema_facts.read(database.database)


def test_a_subclass_keeps_columns_and_indexes_to_itself(database):
    class Book(Entry):
        author = pw.TextField(null=True)

        class Meta:
            table_name = "Entry"

    Book._meta.indexes.append((("author",), False))

    assert len(Book._meta.fields_to_index()) == len(Entry._meta.fields_to_index()) + 1
    assert "author" not in Entry._meta.fields
    database.create_tables([Entry])

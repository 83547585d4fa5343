import ast
import importlib.util
import inspect
import re
import sqlite3
from pathlib import Path

import peewee as pw
import pytest
import schema_facts
from peewee_migrate import Migrator
from peewee_migrate.auto import diff_many

from framework_schema.models import MODELS

FOLDER = Path(__file__).parents[1] / "migrations"
SCRIPTS = sorted(path for path in FOLDER.glob("[0-9]*.py"))


class NoRows(pw.SqliteDatabase):
    """A database that answers every query with nothing, as one does in a replay."""

    def execute_sql(self, sql, params=None):
        return sqlite3.connect(":memory:").execute("SELECT 1 WHERE 0")


@pytest.fixture
def database(tmp_path):
    database = pw.SqliteDatabase(tmp_path / "framework.db", pragmas={"foreign_keys": 1})
    yield database
    database.close()


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(name):
    (path,) = (path for path in SCRIPTS if path.stem.partition("_")[2] == name)
    return load(path)


def migrate(database, scripts=SCRIPTS):
    migrator = Migrator(database)
    with database.atomic():
        for path in scripts:
            load(path).migrate(migrator, database)
            migrator()
    return migrator


def rollback(database, migrator, scripts=SCRIPTS):
    with database.atomic():
        for path in reversed(scripts):
            load(path).rollback(migrator, database)
            migrator()


def parameters(database):
    return dict(database.execute_sql("SELECT parameter_name, parameter_value FROM SystemParameters"))


def count(database, table):
    return database.execute_sql(f"SELECT COUNT(*) FROM {table}").fetchone()[0]


# The scripts as files


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_has_both_directions_and_a_subject(path):
    script = load(path)

    for direction in (script.migrate, script.rollback):
        parameters = inspect.signature(direction).parameters
        assert list(parameters) == ["migrator", "database", "fake"]
        assert parameters["fake"].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters["fake"].default is False
    assert script.__doc__


def test_every_script_has_a_number_of_its_own():
    assert all(re.fullmatch(r"\d{3,}_\w+", path.stem) for path in SCRIPTS)
    assert len({path.name.partition("_")[0] for path in SCRIPTS}) == len(SCRIPTS)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_imports_only_what_stays_as_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert imported <= {
        "__future__",
        "typing",
        "peewee",
        "peewee_migrate",
        "framework_schema.fields",
        "framework_schema.rows",
    }


# What they build


def test_scripts_build_the_specified_schema(database):
    migrate(database)
    specified = schema_facts.specified()
    del specified["schema_migrations"]  # the runner's history makes it

    assert schema_facts.read(database.database) == specified


def test_auto_finds_nothing_to_change(database):
    migrator = migrate(database)
    active = [model for model in MODELS if model._meta.table_name != "schema_migrations"]

    assert diff_many(active, list(migrator.orm), migrator) == []


def test_a_script_run_twice_changes_nothing(database):
    migrate(database)
    before = "\n".join(sqlite3.connect(database.database).iterdump())

    migrate(database)

    assert "\n".join(sqlite3.connect(database.database).iterdump()) == before


def test_rollback_of_all_leaves_nothing(database):
    rollback(database, migrate(database))

    assert schema_facts.read(database.database) == {}


@pytest.mark.parametrize("direction", ["migrate", "rollback"])
def test_a_replay_defines_the_models_and_touches_no_row(direction):
    database = NoRows(":memory:")
    migrator = Migrator(database)
    with migrator.fake():
        for path in SCRIPTS:
            load(path).migrate(migrator, database, fake=True)
        if direction == "rollback":
            for path in reversed(SCRIPTS):
                load(path).rollback(migrator, database, fake=True)

    assert len(list(migrator)) == (len(MODELS) - 1 if direction == "migrate" else 0)


# Default rows


def test_a_new_database_has_the_specified_default_rows(database):
    migrate(database)
    rows = schema_facts.SPEC["default_rows"]
    wanted = rows["SystemParameters"] | {
        name: text for name, text in rows["SystemParameters_on_first_read"].items() if isinstance(text, str)
    }
    for by_script in rows["SystemParameters_by_script"].values():
        wanted |= {name: text for name, text in by_script.items() if isinstance(text, str)}
    wanted["default_result_limit"] = "10000"
    units = [(unit, category) for category, units in rows["units"].items() for unit in units]

    assert parameters(database) == wanted
    assert database.execute_sql(
        "SELECT name, category, display_order, is_active FROM units ORDER BY id"
    ).fetchall() == [(unit, category, place, 1) for place, (unit, category) in enumerate(units, start=1)]
    preferences = database.execute_sql("SELECT preference_name, preference_value FROM UserPreferences")
    assert dict(preferences) == {
        "default_view_type": "all",
        "default_entry_type_filter": "",
        "default_status_filter": "all",
        "default_result_limit": "10000",
    }
    functions = database.execute_sql("SELECT function_name FROM SensorDataRangeFunctions ORDER BY id")
    assert [name for (name,) in functions] == rows["SensorDataRangeFunctions"]


def test_rows_that_are_there_stay_as_they_are(database):
    tables = [path for path in SCRIPTS if path.name < "020"]
    migrator = migrate(database, tables)
    database.execute_sql("INSERT INTO SystemParameters VALUES ('project_name', 'My Brewery')")
    database.execute_sql("INSERT INTO SystemParameters VALUES ('theme_dark_mode', NULL)")
    database.execute_sql("INSERT INTO units (name, category, is_active) VALUES ('kg', 'weight', 0)")
    rows = [path for path in SCRIPTS if "020" <= path.name < "041"]

    migrate(database, rows)

    assert parameters(database)["project_name"] == "My Brewery"
    assert parameters(database)["theme_dark_mode"] is None
    assert database.execute_sql("SELECT category, is_active FROM units WHERE name = 'kg'").fetchall() == [("weight", 0)]

    rollback(database, migrator, rows)

    assert parameters(database) == {"project_name": "My Brewery", "theme_dark_mode": None}
    assert count(database, "units") == 1
    assert count(database, "UserPreferences") == 0


def make_old_parameters(database):
    """Make the table of July 2025, converged: new columns appended, nothing else changed."""
    database.execute_sql(
        'CREATE TABLE SystemParameters (id INTEGER PRIMARY KEY AUTOINCREMENT, "key" TEXT NOT NULL UNIQUE,'
        ' "value" TEXT, updated_at TEXT, parameter_name TEXT, parameter_value TEXT)'
    )
    database.execute_sql(
        "INSERT INTO SystemParameters (\"key\", \"value\") VALUES ('project_name', 'My Brewery'), ('own', '1')"
    )


def test_parameters_of_july_2025_are_taken_over_and_filled_up(database):
    make_old_parameters(database)
    script = named("default_parameters")

    script.migrate(Migrator(database), database)
    script.migrate(Migrator(database), database)

    assert parameters(database) == script.PARAMETERS | {"project_name": "My Brewery", "own": "1"}
    assert count(database, "SystemParameters") == len(script.PARAMETERS) + 1
    assert count(database, 'SystemParameters WHERE parameter_name IS NOT "key"') == 0


def test_a_parameter_saved_under_its_new_name_wins_over_the_old(database):
    make_old_parameters(database)
    database.execute_sql(
        'INSERT INTO SystemParameters ("key", "value", parameter_name, parameter_value)'
        " VALUES ('other', '', 'project_name', 'My Pub')"
    )

    named("default_parameters").migrate(Migrator(database), database)

    assert parameters(database)["project_name"] == "My Pub"
    assert count(database, "SystemParameters WHERE parameter_name = 'project_name'") == 1


def test_only_entry_types_without_a_state_get_the_two(database):
    migrator = migrate(database, [path for path in SCRIPTS if path.name < "020"])
    database.execute_sql(
        "INSERT INTO EntryType (id, name, singular_label, plural_label) VALUES (1, 'a', 'a', 'a'), (2, 'b', 'b', 'b')"
    )
    database.execute_sql("INSERT INTO EntryState (entry_type_id, name, category) VALUES (2, 'Brewing', 'active')")

    named("default_states").migrate(migrator, database)

    states = "SELECT entry_type_id, name, category, color, display_order, is_default FROM EntryState ORDER BY 1, 5"
    assert database.execute_sql(states).fetchall() == [
        (1, "Active", "active", "#28a745", 0, 1),
        (1, "Inactive", "inactive", "#6c757d", 1, 0),
        (2, "Brewing", "active", "#6c757d", 0, 0),
    ]


def test_rollback_keeps_a_state_that_was_changed_or_that_a_milestone_names(database):
    migrator = migrate(database)
    database.execute_sql("INSERT INTO EntryType (id, name, singular_label, plural_label) VALUES (1, 'a', 'a', 'a')")
    database.execute_sql("INSERT INTO EntryType (id, name, singular_label, plural_label) VALUES (2, 'b', 'b', 'b')")
    script = named("default_states")
    script.migrate(migrator, database)
    database.execute_sql("UPDATE EntryState SET color = 'red' WHERE entry_type_id = 1 AND name = 'Active'")
    database.execute_sql("INSERT INTO Entry (id, title, entry_type_id, created_at) VALUES (1, 'x', 2, '2026-01-01')")
    database.execute_sql(
        "INSERT INTO EntryStateMilestone (entry_id, target_state_id, days_from_start)"
        " SELECT 1, id, 7 FROM EntryState WHERE entry_type_id = 2 AND name = 'Inactive'"
    )

    script.rollback(migrator, database)

    states = database.execute_sql("SELECT entry_type_id, name FROM EntryState ORDER BY 1").fetchall()
    assert states == [(1, "Active"), (2, "Inactive")]
    assert count(database, "EntryStateMilestone") == 1


def test_range_functions_run_and_answer_for_one_entry(database):
    migrate(database)
    database.execute_sql("INSERT INTO EntryType (id, name, singular_label, plural_label) VALUES (1, 'a', 'a', 'a')")
    database.execute_sql("INSERT INTO Entry (id, title, entry_type_id, created_at) VALUES (1, 'x', 1, '2026-01-01')")
    for number, kind in enumerate(["temp", "temp", "ph", "temp"], start=1):
        database.execute_sql(
            "INSERT INTO SharedSensorData (id, sensor_type, value, recorded_at) VALUES (?, ?, ?, ?)",
            (number, kind, f"{number}.0", f"2026-01-0{number}"),
        )
    database.execute_sql(
        "INSERT INTO SensorDataEntryRanges (entry_id, sensor_type, start_sensor_id, end_sensor_id)"
        " VALUES (1, 'temp', 1, 3)"
    )
    templates = dict(database.execute_sql("SELECT function_name, sql_template FROM SensorDataRangeFunctions"))

    def answer(name, sensor_type):
        cursor = database.connection().execute(templates[name], {"entry_id": 1, "sensor_type": sensor_type})
        return [dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor]

    assert [row["value"] for row in answer("get_sensor_data_for_entry_range", "temp")] == ["1.0", "2.0"]
    assert answer("get_sensor_data_for_entry_range", "ph") == []
    (summary,) = answer("get_range_summary_for_entry", "temp")
    assert (summary["readings"], summary["first_recorded_at"], summary["last_recorded_at"]) == (
        2,
        "2026-01-01",
        "2026-01-02",
    )

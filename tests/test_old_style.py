"""Old-style scripts of an app: their own tests and old rows are heeded, and nothing of the framework's is taken out."""

import json
from dataclasses import replace

import pytest
import sqlite_files as files
from click.testing import CliRunner
from flask import Flask
from flask.cli import FlaskGroup
from script_texts import creates, script

import framework_schema
from framework_schema.cli import main
from framework_schema.config import Config
from framework_schema.errors import MigrationFailed
from framework_schema.report import State
from framework_schema.runner import Runner
from framework_schema.sources import collect, framework

ADDS = """
{test}

def apply_migration(cursor):
    cursor.execute("ALTER TABLE Entry ADD COLUMN colour TEXT")
    cursor.execute("UPDATE Entry SET colour = 'red'")
"""
LIKE = "return 'colour' in [row[1] for row in {}.execute('PRAGMA table_info(Entry)')]"


def failure(runner):
    with pytest.raises(MigrationFailed) as caught:
        runner.migrate()
    return caught.value.report


@pytest.fixture
def app_folder(folder):
    def make(scripts, of="migrations"):
        return replace(folder(scripts, of=of), depends_on=("framework",))

    return make


@pytest.fixture
def migrated(path):
    """Make a database that has the framework's schema."""
    Runner(path, [framework()]).migrate()
    files.run(path, "INSERT INTO EntryType (id, singular_label, plural_label, name) VALUES (71, 'a', 'b', 'c')")
    files.run(path, "INSERT INTO Entry (id, title, entry_type_id, created_at) VALUES (91, 'mine', 71, '2025')")
    return path


@pytest.mark.parametrize(
    "test",
    [
        pytest.param(f"def migration_already_applied(cursor): {LIKE.format('cursor')}", id="a cursor"),
        pytest.param(f"def is_applied(conn): {LIKE.format('conn')}", id="a connection"),
        pytest.param("def needs_migration(c): " + LIKE.format("c").replace("' in", "' not in"), id="needed"),
        pytest.param(f"def already_applied(cur): {LIKE.format('cur')}, 'told'", id="an answer with a word"),
        pytest.param(
            "def migration_already_applied(cursor, migration_name):\n    return cursor.execute("
            "'SELECT 1 FROM old_record WHERE name = ?', (migration_name,)).fetchone() is not None",
            id="a name to look up",
        ),
    ],
)
@pytest.mark.parametrize("place", ["migrations", "app/migrations"])
def test_the_scripts_own_test_is_heeded(migrated, app_folder, test, place):
    files.run(
        migrated,
        """ALTER TABLE Entry ADD COLUMN colour TEXT; UPDATE Entry SET colour = 'blue';
        CREATE TABLE old_record (name TEXT); INSERT INTO old_record VALUES ('add_colour.py')""",
    )

    report = Runner(migrated, [framework(), app_folder({"add_colour": ADDS.format(test=test)}, place)]).migrate()

    assert report.adopted == ["app/add_colour"]
    assert files.query(migrated, "SELECT colour FROM Entry") == [("blue",)]


def test_a_script_whose_test_says_no_is_run(migrated, app_folder):
    test = f"def migration_already_applied(cursor): {LIKE.format('cursor')}"

    report = Runner(migrated, [framework(), app_folder({"add_colour": ADDS.format(test=test)})]).migrate()

    assert report.applied == ["app/add_colour"]
    assert files.query(migrated, "SELECT colour FROM Entry") == [("red",)]


def test_a_test_that_takes_no_connection_is_not_asked(migrated, app_folder):
    test = "def migration_already_applied(): raise SystemExit('it would open a database by itself')"

    assert Runner(migrated, [framework(), app_folder({"add_colour": ADDS.format(test=test)})]).migrate().applied


@pytest.mark.parametrize("name", ["add_colour", "add_colour.py"])
@pytest.mark.parametrize("success", [1, 0])
def test_an_old_row_of_its_name_counts_where_it_says_success(migrated, app_folder, name, success):
    files.run(migrated, f"INSERT INTO schema_migrations (migration_name, success) VALUES ('{name}', {success})")
    runner = Runner(migrated, [framework(), app_folder({"add_colour": ADDS.format(test="")})])

    report = runner.migrate()

    assert (report.adopted if success else report.applied) == ["app/add_colour"]
    assert runner.status().state is State.CURRENT
    assert files.query(migrated, f"SELECT success FROM schema_migrations WHERE migration_name = '{name}'") == [
        (success,)
    ]


@pytest.mark.parametrize("name", ["_migration_template", "_helpers", "__init__", "__main__"])
@pytest.mark.parametrize("text", [ADDS.format(test=""), creates("nobodys")])
def test_a_name_that_begins_with_an_underscore_is_no_script(path, folder, name, text):
    source = folder({name: text, "add_x": "def apply_migration(cursor):\n    cursor.execute('CREATE TABLE x (a)')"})

    report = Runner(path, [source]).migrate()

    assert report.applied == ["app/add_x"]
    assert report.notes == ()


def test_a_column_that_is_there_already_is_passed_over_and_rows_are_left(migrated, app_folder):
    files.run(migrated, "ALTER TABLE Entry ADD COLUMN colour TEXT; UPDATE Entry SET colour = 'blue'")
    shape = ADDS.format(test="").split('    cursor.execute("UPDATE')[0] + (
        "    cursor.execute('CREATE TABLE wheel (a)')\n"
        "    cursor.execute(\"INSERT INTO schema_migrations (migration_name) VALUES ('add_colour')\")\n"
    )
    source = app_folder({"add_colour": ADDS.format(test=""), "add_shape": shape})

    report = failure(Runner(migrated, [framework(), source]))

    assert report.applied == ["app/add_shape"]
    (failed,) = [step for step in report.steps if step.error]
    assert failed.key == "app/add_colour"
    assert "duplicate column name: colour; it goes on to change rows" in failed.error
    assert files.query(migrated, "SELECT colour FROM Entry") == [("blue",)]


def test_one_old_script_holds_no_other_back(path, folder):
    fails, works = "def apply_migration(cursor):\n    1 / 0", "def apply_migration(cursor):\n    cursor.execute('{}')"
    source = folder(
        {"add_a": fails, "add_b": works.format("CREATE TABLE b (x)"), "add_c": works.format("CREATE TABLE c (x)")}
    )

    report = failure(Runner(path, [source]))

    assert report.applied == ["app/add_b", "app/add_c"]


def test_numbered_scripts_stay_a_chain(path, folder):
    old = "def apply_migration(cursor):\n    1 / 0"
    source = folder({"000_a": old, "001_b": creates("b"), "add_c": old.replace("1 / 0", "pass")})

    report = failure(Runner(path, [source]))

    assert [str(step.outcome) for step in report.steps] == ["failed", "blocked", "applied"]


KEPT = ", ".join(["id", "sensor_id", "sensor_name"])
TAKES = {
    "rebuilds with fewer columns": (
        "CREATE TABLE SensorRegistration_new AS SELECT id, sensor_id FROM SensorRegistration;"
        "DROP TABLE SensorRegistration;ALTER TABLE SensorRegistration_new RENAME TO SensorRegistration",
        "SensorRegistration.board_type",
    ),
    "drops a column": ("ALTER TABLE SensorRegistration DROP COLUMN board_type", "SensorRegistration.board_type"),
    "drops a table": ("DROP TABLE SensorRegistration", "table SensorRegistration"),
    "renames a column": (
        "ALTER TABLE SensorRegistration RENAME COLUMN board_type TO board", "SensorRegistration.board_type"
    ),
    "renames a table": ("ALTER TABLE SensorRegistration RENAME TO Sensors", "table SensorRegistration"),
    "builds again without the values": (
        "CREATE TABLE copied AS SELECT * FROM SensorRegistration;UPDATE copied SET board_type = NULL;"
        "DROP TABLE SensorRegistration;ALTER TABLE copied RENAME TO SensorRegistration",
        "SensorRegistration.board_type",
    ),
}  # fmt: skip


def old(statements):
    lines = "".join(f"    cursor.execute({sql!r})\n" for sql in statements.split(";"))
    return f"def apply_migration(cursor):\n    cursor.execute('CREATE TABLE beside (a)')\n{lines}"


def new(statements):
    lines = "\n".join(f"migrator.sql({sql!r})" for sql in ["CREATE TABLE beside (a)", *statements.split(";")])
    return script(lines)


@pytest.mark.parametrize("takes", TAKES)
@pytest.mark.parametrize(("name", "text"), [("fix_sensors", old), ("001_fix_sensors", new)], ids=["old", "new"])
def test_a_script_that_takes_out_what_the_framework_defines_is_refused(migrated, app_folder, takes, name, text):
    sensors = (
        "INSERT INTO SensorRegistration (sensor_id, sensor_name, sensor_type, hardware_info, board_type)"
        " VALUES ('s', 'mine', 't', 'h', 'esp32')"
    )
    files.run(migrated, sensors)
    before = files.tables(migrated)
    rows = files.rows(migrated, "SensorRegistration")
    statements, what = TAKES[takes]
    source = app_folder(
        {name: text(statements), "add_z": "def apply_migration(cursor):\n    cursor.execute('CREATE TABLE z (a)')"}
    )
    runner = Runner(migrated, [framework(), source])

    report = failure(runner)

    (failed,) = [step for step in report.steps if step.error]
    assert failed.key == f"app/{name}" and what in failed.error and "the framework's scripts define" in failed.error
    assert report.applied == ["app/add_z"]
    after = files.tables(migrated)
    assert "beside" not in after
    assert {table: after[table] for table in before} == before
    assert files.rows(migrated, "SensorRegistration") == rows
    assert [
        found.text for found in runner.drift(strict=True).differences if not (found.extra or found.name == "beside")
    ] == []
    assert Runner(migrated, [framework()]).status().state is State.CURRENT


@pytest.mark.parametrize("settings", [{}, {"template": False}], ids=["with template", "without"])
def test_the_expected_schema_keeps_every_rule_of_the_frameworks(path, app_folder, settings):
    own = Runner(path, [framework()], config=Config(**settings))
    own.migrate()
    rebuilds = script("""
        import framework_schema
        sql = [s for (s,) in database.execute_sql("SELECT sql FROM sqlite_master WHERE name = 'SensorRegistration'")]
        columns = [row[1] for row in database.execute_sql("PRAGMA table_info(SensorRegistration)")]
        database.execute_sql("CREATE TABLE fresh (" + ", ".join(columns) + ", extra)")
        database.execute_sql("DROP TABLE SensorRegistration")
        database.execute_sql("ALTER TABLE fresh RENAME TO SensorRegistration")
    """)
    source = app_folder({"001_rebuilds": rebuilds, "002_adds": creates("of_the_app")})
    both = Runner(path, [framework(), source], config=Config(**settings))

    both.migrate()

    seen = {d.text for d in both.drift(strict=True).differences if not d.extra}
    assert seen == {d.text for d in own.drift(strict=True).differences if not d.extra} != set()
    assert "of_the_app" in both.expected(both.known.migrations).tables


def test_an_app_may_add_to_the_frameworks_tables(migrated, app_folder):
    source = app_folder({"add_colour": ADDS.format(test="")})
    runner = Runner(migrated, [framework(), source])

    runner.migrate()
    files.run(migrated, "ALTER TABLE Entry DROP COLUMN colour")

    assert runner.migrate().aligned == ("column Entry.colour",)


def test_the_apps_own_habits_under_one_line(tmp_path, copy_of):
    path = copy_of("auto-newest-on-5289dd3", tmp_path / "template.db")
    for place, name, text in (
        ("migrations", "_migration_template", "def apply_migration(cursor):\n    raise SystemExit"),
        ("migrations", "fix_sensor_registration_foreign_key", old(TAKES["rebuilds with fewer columns"][0])),
        ("app/migrations", "add_board_type_column",
         "def migration_already_applied(cursor):\n    return 'board_type' in [r[1] for r in"
         " cursor.execute('PRAGMA table_info(SensorRegistration)')]\n"
         "def apply_migration(cursor):\n"
         "    cursor.execute('ALTER TABLE SensorRegistration ADD COLUMN board_type TEXT')"),
    ):  # fmt: skip
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / f"{name}.py").write_text(text)
    app = Flask("template", root_path=str(tmp_path))
    app.config.update(DATABASE="template.db", DATABASE_PATH=str(path))
    app.add_url_rule("/", view_func=lambda: "served")
    framework_schema.init_app(app)

    assert app.test_client().get("/").status_code == 200

    assert "board_type" in files.columns(path, "SensorRegistration")
    assert dict(files.history(path))["app/add_board_type_column"]
    assert not dict(files.history(path))["app/fix_sensor_registration_foreign_key"]
    assert [d for d in Runner(path, [framework()]).drift().differences if not d.extra] == []


def test_old_scripts_need_no_number_and_no_other(folder):
    source = folder({"add_a": "def apply_migration(cursor): pass", "add_b": "def apply_migration(cursor): pass"})

    known = collect([source])

    assert {key: set(needs) for key, needs in known.depends_on.items()} == {"app/add_a": set(), "app/add_b": set()}


@pytest.mark.parametrize("is_near", [True, False], ids=["in the project", "on a volume"])
def test_two_views_of_one_database_never_disagree(is_near, migrated, app_folder, tmp_path_factory, monkeypatch):
    """The command finds the app's scripts above the file; of one that lies elsewhere it says which it does not know."""
    app_folder({"001_adds": creates("of_the_app"), "fix_sensors": old(TAKES["rebuilds with fewer columns"][0])})
    app = Flask("template", root_path=str(migrated.parent))
    file = migrated if is_near else migrated.rename(tmp_path_factory.mktemp("volume") / "homebrew.db")
    app.config["DATABASE_PATH"] = str(file)
    framework_schema.init_app(app)
    app.add_url_rule("/", view_func=lambda: "served")
    app.test_client().get("/")
    files.run(file, "ALTER TABLE Entry DROP COLUMN template_name")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    def seen(*words):
        """Return what the app's own command says, and what the other one says of the file."""
        ours = CliRunner().invoke(FlaskGroup(create_app=lambda: app), ["schema", *words])
        theirs = CliRunner().invoke(main, [*words, str(file)])
        return ours, theirs

    for words in (["status"], ["check"], ["check", "--strict"]):
        ours, theirs = (json.loads(done.stdout)["databases"][0] for done in seen(*words, "--json"))
        assert ours["drift"] == theirs["drift"] != []
        assert [step["key"] for step in ours["failed"]] == ["app/fix_sensors"]
        unknown = {note.partition(" ")[0].rstrip(",") for note in theirs["notes"]}
        if is_near:
            assert (theirs["failed"], theirs["state"], theirs["at"]) == (ours["failed"], ours["state"], ours["at"])
        else:
            assert {"app/001_adds", "app/fix_sensors"} <= unknown
        for told in seen(*words):
            assert "app/fix_sensors" in told.output
            assert ("Entry: column template_name is missing" in told.output) is (words[0] == "check")

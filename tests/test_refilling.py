"""Data that a column held comes back with the column: the data step that filled it runs again."""

import histories
import pytest
import sqlite_files as files
from script_texts import script

from framework_schema.errors import MigrationFailed, SourceError
from framework_schema.fleet import migrate_fleet
from framework_schema.migration import Migration
from framework_schema.rehearsal import rehearse
from framework_schema.report import State
from framework_schema.runner import Runner
from framework_schema.sources import collect, installed

FRAMEWORK = collect(installed()).migrations
FILLED = [(migration, what) for migration in FRAMEWORK for what in migration.fills]
FILLS_NOTHING = {
    "framework/035_single_default_board": "clears flags, and which boards had them is not known any more",
    "framework/036_label_printing": "renames what is there",
    "framework/040_themes": "mends what is there",
    "framework/041_milestone_default": "changes a definition",
    "framework/042_assigned_script": "adds a column that is empty at first",
}
STATES = "SELECT target_state_name, target_state_color FROM EntryStateMilestone ORDER BY id"
SOURCES = """
    INSERT INTO EntryType (id, name, singular_label, plural_label) VALUES (901, 'Beer', 'Beer', 'Beers');
    INSERT INTO EntryState (id, entry_type_id, name, category, color)
        VALUES (901, 901, 'Brewing', 'active', '#123456'), (902, 901, 'Done', 'inactive', '#654321');
    INSERT INTO Entry (id, title, entry_type_id, created_at) VALUES (901, 'Stout', 901, '2026-01-01');
    INSERT INTO EntryStateMilestone (id, entry_id, target_state_id, days_from_start)
        VALUES (901, 901, 901, 3), (902, 901, 902, 10);
    INSERT INTO Note (id, entry_id, note_text, created_at) VALUES (901, 901, 'x', '2026-01-01');
    INSERT INTO SensorRegistration (sensor_id, sensor_type) VALUES ('s1', 'esp32 C6'), ('s2', 'esp32');
    INSERT INTO SensorScripts (sensor_id, script_content) VALUES ('s1', 'loop()');
    INSERT INTO SensorData (entry_id, sensor_type, value) VALUES (901, 'temp', '21.5');
"""
OLD_COLUMNS = """
    ALTER TABLE Note ADD COLUMN image_paths TEXT; ALTER TABLE Note ADD COLUMN urls TEXT;
    ALTER TABLE Note ADD COLUMN content TEXT; ALTER TABLE Note ADD COLUMN parent_id INTEGER;
    ALTER TABLE Note ADD COLUMN parent_type TEXT; ALTER TABLE Entry ADD COLUMN type TEXT;
    UPDATE Note SET image_paths = '["a.jpg"]', urls = '["https://example.org/x"]', content = note_text,
        parent_id = entry_id, parent_type = 'entry';
    UPDATE Entry SET type = 'Beer';
"""


def drop(path, *columns):
    """Drop columns as an old script does, with the indexes on them."""
    for column in columns:
        table, _, name = column.partition(".")
        for index, text in files.indexes(path).items():
            if f'"{table}"' in text and f'"{name}"' in text:
                files.run(path, f'DROP INDEX "{index}"')
        files.run(path, f'PRAGMA foreign_keys = OFF; ALTER TABLE "{table}" DROP COLUMN "{name}"')


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A current database whose data steps had something to do."""
    path = tmp_path_factory.mktemp("filled") / "filled.db"
    Runner(path).migrate(to="framework/019_units")
    files.run(path, SOURCES + OLD_COLUMNS)
    Runner(path).migrate()
    return path


def test_every_data_step_says_what_it_fills_or_why_that_cannot_come_back():
    steps = {migration.key: bool(migration.fills) for migration in FRAMEWORK if migration.name >= "020"}

    assert steps == {key: key not in FILLS_NOTHING for key in steps}
    assert FILLS_NOTHING.keys() < steps.keys()


def test_an_old_script_that_drops_columns_at_every_start_costs_no_data(filled, path):
    path.write_bytes(filled.read_bytes())
    for _ in range(3):
        drop(path, "EntryStateMilestone.target_state_name", "EntryStateMilestone.target_state_color")

        report = Runner(path).migrate()

        assert files.query(path, STATES) == [("Brewing", "#123456"), ("Done", "#654321")]
        assert (report.state, report.applied) == (State.MIGRATED, ["framework/031_milestone_states"])
        assert Runner(path).migrate().state is State.CURRENT
    events = [event for event in Runner(path).history(events=True) if event["kind"] == "refilled"]
    assert [event["migration_name"] for event in events] == ["framework/031_milestone_states"] * 3
    assert "EntryStateMilestone.target_state_name" in events[0]["detail"]


COLUMNS = [(migration, what) for migration, what in FILLED if "." in what]
TIED = {"EntryStateMilestone.duration_days": ["EntryStateMilestone.order_position"]}
"""Columns that follow from a third one together: they come back when both are lost."""
KEYS = {"Note.entry_id", "Entry.entry_type_id"}
"""Foreign keys, which SQLite's DROP COLUMN does not drop."""


@pytest.mark.parametrize("what", [what for _, what in COLUMNS if what not in KEYS])
def test_what_a_data_step_filled_comes_back_with_its_column(filled, path, what):
    path.write_bytes(filled.read_bytes())
    table, columns = what.partition(".")[0], [name.partition(".")[2] for name in (what, *TIED.get(what, []))]
    before = files.rows(path, table, columns)
    assert any(row[columns[0]] not in (None, "", "[]") for row in before.values())
    drop(path, what, *TIED.get(what, []))

    Runner(path).migrate()

    assert files.rows(path, table, columns) == before


@pytest.mark.parametrize("what", sorted(KEYS))
def test_a_reference_comes_back_with_its_column(filled, path, what):
    path.write_bytes(filled.read_bytes())
    table, _, column = what.partition(".")
    names = [name for name in files.columns(path, table) if name != column]
    before = files.rows(path, table, [column])
    files.run(
        path,
        f'CREATE TABLE other AS SELECT {", ".join(names)} FROM "{table}"; DROP TABLE "{table}";'
        f'CREATE TABLE "{table}" (id INTEGER PRIMARY KEY); INSERT INTO "{table}" SELECT id FROM other;',
    )
    for name in names:
        if name != "id":
            files.run(path, f'ALTER TABLE "{table}" ADD COLUMN {name} TEXT')
            files.run(path, f'UPDATE "{table}" SET {name} = (SELECT {name} FROM other WHERE other.id = "{table}".id)')

    Runner(path).migrate()

    assert files.rows(path, table, [column]) == before


@pytest.mark.parametrize("table", ["SystemParameters", "UserPreferences", "units", "SensorDataRangeFunctions"])
def test_first_rows_come_back_with_their_table(filled, path, table):
    path.write_bytes(filled.read_bytes())
    names = [name for name in files.columns(path, table) if name not in ("created_at", "updated_at")]
    before = list(files.rows(path, table, names).values())
    files.run(path, f'DROP TABLE "{table}"')

    Runner(path).migrate()

    assert list(files.rows(path, table, names).values()) == before


def test_layouts_come_back_whole(filled, path):
    path.write_bytes(filled.read_bytes())
    tables = ("EntryTypeLayout", "EntryLayoutSection", "EntryLayoutTab")
    before = {table: len(files.rows(path, table)) for table in tables}
    files.run(path, "".join(f"DROP TABLE {table};" for table in tables))

    Runner(path).migrate()

    assert {table: len(files.rows(path, table)) for table in tables} == before


@pytest.mark.parametrize("name", histories.IDS)
def test_no_data_step_runs_twice_in_a_first_run(copy_of, name):
    path = copy_of(name)

    report = Runner(path).migrate()

    assert len(report.steps) == len({step.key for step in report.steps})
    assert not [event for event in Runner(path).history(events=True) if event["kind"] == "refilled"]


def test_a_dry_run_shows_the_step_and_writes_nothing(filled, path):
    path.write_bytes(filled.read_bytes())
    drop(path, "EntryStateMilestone.target_state_name")
    before = files.digest(path)

    rehearsal = rehearse(Runner(path))

    assert any("UPDATE" in statement and "target_state_name" in statement for statement in rehearsal.sql)
    assert files.digest(path) == before


def test_members_of_a_fleet_all_get_their_data_back(filled, tmp_path):
    paths = [tmp_path / f"{number}.db" for number in range(4)]
    for path in paths:
        path.write_bytes(filled.read_bytes())
        drop(path, "EntryStateMilestone.target_state_name", "EntryStateMilestone.target_state_color")

    migrate_fleet(paths, jobs=1)

    for path in paths:
        assert files.query(path, STATES) == [("Brewing", "#123456"), ("Done", "#654321")]


# Scripts of others

BEERS = script(
    """
    @migrator.create_model
    class Beer(pw.Model):
        name = pw.TextField()
        class Meta:
            table_name = "Beer"
    Beer.insert(name="Stout").execute()
    """
)
SLUGS = """
import peewee as pw

fills = ["Beer.slug"]


def migrate(migrator, database, *, fake=False):
    migrator.add_fields("Beer", slug=pw.TextField(null=True))
    if not fake:
        migrator.sql("UPDATE Beer SET slug = lower(name) WHERE slug IS NULL")


def rollback(migrator, database, *, fake=False):
    migrator.remove_fields("Beer", "slug")
"""
DROPS = """
def apply_migration(cursor):
    cursor.execute("ALTER TABLE Beer DROP COLUMN slug")
"""


@pytest.fixture
def beers(folder, runner):
    return lambda scripts: runner(folder({"001_beers": BEERS, "002_slugs": SLUGS, **scripts}))


def test_a_plugin_s_data_step_runs_again_too(beers, path):
    beers({}).migrate()
    drop(path, "Beer.slug")

    report = beers({}).migrate()

    assert files.query(path, "SELECT slug FROM Beer") == [("stout",)]
    assert report.applied == ["app/002_slugs"]


def test_what_a_script_of_the_same_run_drops_comes_back_with_its_data(beers, path):
    beers({}).migrate()

    beers({"003_drops": DROPS}).migrate()

    assert files.query(path, "SELECT slug FROM Beer") == [("stout",)]


def test_a_value_of_a_user_s_stays_when_another_column_comes_back(beers, path):
    beers({"003_more": SLUGS.replace("slug", "short")}).migrate()
    files.run(path, "UPDATE Beer SET slug = 'mine'")
    drop(path, "Beer.short")

    beers({"003_more": SLUGS.replace("slug", "short")}).migrate()

    assert files.query(path, "SELECT slug, short FROM Beer") == [("mine", "stout")]


def test_a_data_step_that_fails_is_a_failure_until_it_has_run(beers, path):
    beers({}).migrate()
    drop(path, "Beer.slug")
    files.run(path, "CREATE TRIGGER no BEFORE UPDATE ON Beer BEGIN SELECT RAISE(ABORT, 'not now'); END")

    with pytest.raises(MigrationFailed) as failed:
        beers({}).migrate()
    standing = beers({}).status()
    files.run(path, "DROP TRIGGER no")
    report = beers({}).migrate()

    assert "not now" in str(failed.value)
    assert (standing.state, standing.failed) == (State.FAILED, ["app/002_slugs"])
    assert files.query(path, "SELECT slug FROM Beer") == [("stout",)]
    assert report.state is State.MIGRATED and beers({}).status().state is State.CURRENT


# What a script says


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("fills = 'Beer.slug'", "fills is 'Beer.slug'", id="a text"),
        pytest.param("fills = [1]", "fills is [1]", id="no names"),
        pytest.param("fills = names()", "not a literal", id="computed"),
        pytest.param("fills = ['Beer.slug']\natomic = False", "refuses a transaction", id="outside of a transaction"),
    ],
)
def test_what_a_script_fills_is_a_plain_list(tmp_path, text, problem):
    migration = Migration("app", "001_x", text.encode(), tmp_path / "001_x.py")

    with pytest.raises(SourceError, match=problem.replace("[", r"\[")):
        _ = migration.fills


def test_to_say_what_a_script_fills_is_no_change_of_it(tmp_path):
    texts = [SLUGS, SLUGS.replace('fills = ["Beer.slug"]\n', "")]
    plain, other = (Migration("app", "001_x", text.encode(), tmp_path / "001_x.py") for text in texts)

    assert plain.fills and not other.fills
    assert plain.checksum == other.checksum

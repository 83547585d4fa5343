import json
from importlib import import_module
from pkgutil import iter_modules

import histories
import peewee as pw
import pytest
import schema_facts
import sqlite_files as files

from framework_schema import Runner, migrations

FIRST, LAST = "025", "040"
"""The number of the first script that speaks of rows and not of tables or default rows."""

SPEC = schema_facts.SPEC["default_rows"]

TYPE = "INSERT INTO EntryType (id, name, singular_label, plural_label) VALUES (1, 'brew', 'Brew', 'Brews');"
ENTRY = f"{TYPE} INSERT INTO Entry (id, title, entry_type_id, created_at) VALUES (1, 'Ale', 1, '2025-10-01T09:30:00');"


@pytest.fixture
def old(path):
    """Make a database of the past from statements, and migrate it."""

    def make(statements):
        files.run(path, statements)
        Runner(path).migrate()
        return path

    return make


@pytest.fixture
def present(path):
    """Fill a database that has all tables and no data migration yet, and migrate it."""

    def make(statements):
        Runner(path).migrate(to="framework/024_default_states")
        return fill(statements)

    def fill(statements):
        files.run(path, statements)
        Runner(path).migrate()
        return path

    return make


def rows(path, sql):
    return files.query(path, sql)


def content(path):
    """Return all rows of all tables but the history's."""
    return {table: files.rows(path, table) for table in files.tables(path) if not table.startswith("schema_migration")}


def run_again(path):
    """Forget that the data migrations ran, and run them."""
    files.run(
        path,
        f"DELETE FROM schema_migrations WHERE migration_name >= 'framework/{FIRST}';"
        "DELETE FROM schema_migration_events;",
    )
    return Runner(path).migrate()


def assert_settled(path):
    """A second run of all data migrations changes no row."""
    before = content(path)

    run_again(path)

    assert content(path) == before


def values(*found):
    return ", ".join("(" + ", ".join(map(literal, row)) + ")" for row in found)


def literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"CAST(x'{value.hex()}' AS TEXT)"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


NO_TEXT = literal(b"\xff")

MALFORMED = [
    pytest.param(None, id="nothing"),
    pytest.param("", id="empty"),
    pytest.param("not json", id="not JSON"),
    pytest.param("[", id="cut off"),
    pytest.param("5", id="number"),
    pytest.param("null", id="null"),
    pytest.param('{"a": 1}', id="object"),
    pytest.param("[]", id="empty list"),
    pytest.param("[null, 5, true, [], {}, '']".replace("'", '"'), id="list of other things"),
    pytest.param("[" * 100_000 + "]" * 100_000, id="nested too deep"),
    pytest.param("1" * 10_000, id="number too long"),
    pytest.param(b'["\xff\xfe"]', id="bytes that are no text"),
]


# Notes


def old_note(column, text, **present):
    """Return the statements that make the notes of an older release, with one note."""
    columns = {"entry_id": 1, "note_text": "Yeast", "created_at": "2025-07-01", column: text, **present}
    return f"""
        CREATE TABLE Note (id INTEGER PRIMARY KEY AUTOINCREMENT, entry_id INTEGER NOT NULL, note_text TEXT NOT NULL,
            created_at TEXT NOT NULL, {", ".join(f"{name} TEXT" for name in list(columns)[3:])});
        INSERT INTO Note ({", ".join(columns)}) VALUES {values(tuple(columns.values()))};"""


@pytest.mark.parametrize("files_before", [None, "", "[]", pytest.param(..., id="no column")])
def test_a_note_without_files_gets_its_images(old, files_before):
    images = '["uploads/1.jpg",  "uploads/\u00fc.jpg"]'
    present = {} if files_before is ... else {"file_paths": files_before}

    path = old(old_note("image_paths", images, **present))

    assert rows(path, "SELECT file_paths, image_paths FROM Note") == [(images, images)]
    assert_settled(path)


def test_a_note_with_files_of_its_own_keeps_them(old):
    path = old(old_note("image_paths", '["uploads/1.jpg"]', file_paths='["plan.pdf"]'))

    assert rows(path, "SELECT file_paths, image_paths FROM Note") == [('["plan.pdf"]', '["uploads/1.jpg"]')]


@pytest.mark.parametrize("images", MALFORMED)
def test_images_that_are_no_list_of_paths_are_left(old, images):
    path = old(old_note("image_paths", images))

    assert rows(path, "SELECT file_paths FROM Note") == [("[]",)]


@pytest.mark.parametrize(
    ("urls", "bookmarks"),
    [
        pytest.param(["https://example.org/a?b#c"], [("https://example.org/a?b#c", "example.org")], id="text"),
        pytest.param([{"url": "https://x.org", "friendly_name": "X"}], [("https://x.org", "X")], id="object"),
        pytest.param([{"url": "http://x.org:8080/"}], [("http://x.org:8080/", "x.org:8080")], id="object, no name"),
        pytest.param([{"url": "http://u:p@x.org", "friendly_name": 5}], [("http://u:p@x.org", "x.org")], id="bad name"),
        pytest.param(["example.org/a"], [("example.org/a", "example.org")], id="no scheme"),
        pytest.param(["http://[::1/"], [("http://[::1/", "[::1")], id="broken address"),
        pytest.param(
            ["https://b\u00fccher.example/\U0001f37a"],
            [("https://b\u00fccher.example/\U0001f37a", "b\u00fccher.example")],
            id="unicode",
        ),
        pytest.param(["https://x.org/\ud800"], [("https://x.org/\ud800", "x.org")], id="half a character"),
        pytest.param([None, "https://x.org", 5, {}, [], ""], [("https://x.org", "x.org")], id="good among bad"),
    ],
)
def test_urls_become_bookmarks(old, urls, bookmarks):
    path = old(old_note("urls", json.dumps(urls)))

    ((text, kept),) = rows(path, "SELECT url_bookmarks, urls FROM Note")
    assert json.loads(text) == [{"url": url, "friendly_name": name} for url, name in bookmarks]
    assert kept == json.dumps(urls)
    assert_settled(path)


@pytest.mark.parametrize("urls", MALFORMED)
def test_urls_that_are_no_list_of_addresses_are_left(old, urls):
    path = old(old_note("urls", urls))

    assert rows(path, "SELECT url_bookmarks FROM Note") == [("[]",)]


def test_a_note_with_bookmarks_of_its_own_keeps_them(old):
    path = old(old_note("urls", '["https://x.org"]', url_bookmarks='[{"url": "https://y.org"}]'))

    assert rows(path, "SELECT url_bookmarks FROM Note") == [('[{"url": "https://y.org"}]',)]


def test_more_notes_than_one_batch_are_all_converted(old):
    many = (
        old_note("urls", "[]")
        + """
        WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 1200)
        INSERT INTO Note (entry_id, note_text, created_at, urls) SELECT 1, n, n, '["http://h/' || n || '"]'
        FROM number;"""
    )

    path = old(many)

    wanted = """'[{"url": "http://h/' || note_text || '", "friendly_name": "h"}]'"""
    assert rows(path, f"SELECT count(*) FROM Note WHERE url_bookmarks = {wanted}") == [(1200,)]


JULY = """
    CREATE TABLE Entry (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, type TEXT,
        created_at TEXT DEFAULT CURRENT_TIMESTAMP);
    CREATE TABLE Note (id INTEGER PRIMARY KEY AUTOINCREMENT, parent_id INTEGER, parent_type TEXT, type TEXT,
        content TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP);
    INSERT INTO Entry (id, title, type, created_at) VALUES (1, 'Ale', 'brew', '2025-07-01'), (2, NULL, NULL, NULL);
"""


@pytest.mark.parametrize(
    ("parent", "content", "entry", "text"),
    [
        pytest.param((1, "entry"), "Yeast", 1, "Yeast", id="an entry"),
        pytest.param((1, "Entry"), "", 1, "", id="an entry in capitals, no text"),
        pytest.param((1, "brew"), "Yeast", 1, "Yeast", id="the entry of that type"),
        pytest.param((2, "brew"), "Yeast", None, "Yeast", id="an entry of another type"),
        pytest.param((9, "entry"), "Yeast", None, "Yeast", id="an entry that is gone"),
        pytest.param((None, "entry"), None, None, None, id="nothing"),
        pytest.param(("x", b"\xff"), b"\xff", None, ..., id="bytes that are no text"),
    ],
)
def test_a_note_of_july_2025_gets_text_and_entry(old, parent, content, entry, text):
    path = old(f"{JULY} INSERT INTO Note (parent_id, parent_type, content) VALUES {values((*parent, content))};")

    assert rows(path, "SELECT entry_id FROM Note") == [(entry,)]
    assert rows(path, "SELECT note_text IS content FROM Note") == [(1,)]
    if text is not ...:
        assert rows(path, "SELECT note_text FROM Note") == [(text,)]
    assert_settled(path) if text is not ... else run_again(path)


def test_a_note_with_text_and_entry_keeps_them(old):
    path = old(f"""{JULY}
        ALTER TABLE Note ADD COLUMN entry_id INTEGER; ALTER TABLE Note ADD COLUMN note_text TEXT;
        INSERT INTO Note (parent_id, parent_type, content, entry_id, note_text)
            VALUES (1, 'entry', 'old', 2, 'new');""")

    assert rows(path, "SELECT entry_id, note_text, content FROM Note") == [(2, "new", "old")]


# Entries


def test_an_entry_gets_the_type_of_that_name_and_no_other(old):
    path = old(f"""{JULY}
        CREATE TABLE EntryType (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE NOT NULL,
            singular_label TEXT NOT NULL, plural_label TEXT NOT NULL);
        INSERT INTO EntryType VALUES (7, 'brew', 'Brew', 'Brews');
        INSERT INTO Entry (id, title, type) VALUES (3, 'Pie', 'recipe'), (4, 'x', {NO_TEXT});""")

    assert rows(path, "SELECT id, entry_type_id FROM Entry ORDER BY id") == [(1, 7), (2, None), (3, None), (4, None)]
    assert rows(path, "SELECT name FROM EntryType") == [("brew",)]


def test_entries_from_before_the_column_commenced_when_created(old):
    path = old(JULY + "INSERT INTO Entry (id, created_at) VALUES (3, ''), (4, 'soon');")

    found = rows(path, "SELECT id, commenced_at FROM Entry ORDER BY id")
    assert found == [(1, "2025-07-01"), (2, None), (3, None), (4, "soon")]
    assert_settled(path)


def test_once_entries_commence_the_others_have_not(present):
    path = present(f"""{ENTRY}
        INSERT INTO Entry (id, title, entry_type_id, created_at, commenced_at)
            VALUES (2, 'b', 1, '2026-01-01', '2026-02-01');""")

    assert rows(path, "SELECT commenced_at FROM Entry ORDER BY id") == [(None,), ("2026-02-01",)]


# Milestones

BY_DATE = f"""
    CREATE TABLE EntryType (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE NOT NULL,
        singular_label TEXT NOT NULL, plural_label TEXT NOT NULL);
    CREATE TABLE Entry (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, entry_type_id INTEGER NOT NULL,
        created_at TEXT NOT NULL);
    CREATE TABLE EntryState (id INTEGER PRIMARY KEY AUTOINCREMENT, entry_type_id INTEGER NOT NULL, name TEXT NOT NULL,
        category TEXT NOT NULL, color TEXT);
    CREATE TABLE EntryStateMilestone (id INTEGER PRIMARY KEY AUTOINCREMENT, entry_id INTEGER NOT NULL,
        target_state_id INTEGER NOT NULL, target_date TEXT NOT NULL, notes TEXT, is_completed INTEGER DEFAULT 0,
        completed_at TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP, updated_at TEXT DEFAULT CURRENT_TIMESTAMP);
    {ENTRY}
    INSERT INTO EntryState VALUES (1, 1, 'Brewing', 'active', '#123456'), (2, 1, 'Bottled', 'inactive', NULL);
"""
BY_DURATION = BY_DATE.replace(
    "target_date TEXT NOT NULL",
    "target_state_name TEXT NOT NULL, target_state_color TEXT, order_position INTEGER NOT NULL DEFAULT 1,"
    " duration_days INTEGER NOT NULL CHECK (duration_days > 0)",
)
NUMBERS = "SELECT id, order_position, duration_days, days_from_start FROM EntryStateMilestone ORDER BY id"


def test_milestones_by_date_get_days_order_and_durations(old):
    path = old(f"""{BY_DATE} INSERT INTO EntryStateMilestone (id, entry_id, target_state_id, target_date) VALUES
        (1, 1, 2, '2025-10-31'), (2, 1, 1, '2025-10-15T23:59:00Z'), (3, 1, 1, '2025-10-15'),
        (4, 1, 1, '2025-09-01');""")

    assert rows(path, NUMBERS) == [(1, 4, 15, 30), (2, 2, 13, 14), (3, 3, 1, 14), (4, 1, 1, 0)]
    assert rows(path, "SELECT target_date FROM EntryStateMilestone WHERE id = 1") == [("2025-10-31",)]
    assert_settled(path)


@pytest.mark.parametrize("date", ["", "soon", "2025-02-30", b"\xff", 5])
def test_a_milestone_without_a_real_date_has_no_days(old, date):
    path = old(f"""{BY_DATE} INSERT INTO EntryStateMilestone (id, entry_id, target_state_id, target_date) VALUES
        (1, 1, 1, '2025-10-08'), (2, 1, 1, {literal(date)});""")

    assert rows(path, NUMBERS) == [(1, 0, 7, 7), (2, 0, 7, None)]


@pytest.mark.parametrize("entry", [pytest.param(9, id="is gone"), pytest.param(2, id="has no date")])
def test_a_milestone_of_an_entry_without_a_start_has_no_days(old, entry):
    path = old(f"""{BY_DATE} INSERT INTO Entry VALUES (2, 'x', 1, 'once');
        INSERT INTO EntryStateMilestone (id, entry_id, target_state_id, target_date)
            VALUES (1, {entry}, 1, '2025-10-08');""")

    assert rows(path, NUMBERS) == [(1, 0, 7, None)]


def test_milestones_by_duration_get_the_days_they_add_up_to(old):
    path = old(f"""{BY_DURATION}
        INSERT INTO EntryStateMilestone
            (id, entry_id, target_state_id, target_state_name, order_position, duration_days) VALUES
            (1, 1, 1, 'Mine', 2, 14), (2, 1, 2, '', 1, 2), (3, 1, 1, '', 3, 'long'), (4, 9, 1, 'x', 1, 7);""")

    assert rows(path, NUMBERS) == [(1, 2, 14, None), (2, 1, 2, None), (3, 3, "long", None), (4, 1, 7, 7)]

    files.run(path, "UPDATE EntryStateMilestone SET duration_days = 7 WHERE id = 3")
    run_again(path)

    assert rows(path, NUMBERS) == [(1, 2, 14, 16), (2, 1, 2, 2), (3, 3, 7, 23), (4, 1, 7, 7)]
    assert_settled(path)


def milestones(*found):
    """Return the statement for milestones of the present schema: entry, state, days, order, duration, changed at."""
    columns = "entry_id, target_state_id, days_from_start, order_position, duration_days, updated_at, created_at"
    rows = values(*((*row, "2025-11-01") for row in found))
    return f"""{ENTRY} INSERT INTO EntryState (id, entry_type_id, name, category, color) VALUES
        (11, 1, 'Brewing', 'active', '#123456'), (12, 1, 'Bottled', 'inactive', NULL);
        INSERT INTO EntryStateMilestone ({columns}) VALUES {rows};"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param([(30, 0, 7), (10, 0, 7)], [(30, 2, 20), (10, 1, 10)], id="days alone"),
        pytest.param([(30, None, None), (10, None, None)], [(30, 2, 20), (10, 1, 10)], id="days alone, nothing else"),
        pytest.param([(7, 0, 7), (7, 0, 7)], [(7, 0, 7), (7, 0, 7)], id="what an old script gave all"),
        pytest.param([(30, 2, 7), (10, 1, 7)], [(30, 2, 7), (10, 1, 7)], id="ordered"),
        pytest.param([(30, 0, 9), (10, 0, 7)], [(30, 0, 9), (10, 0, 7)], id="a duration of its own"),
    ],
)
def test_an_order_and_durations_follow_from_days_where_nobody_gave_any(present, before, after):
    path = present(milestones(*((1, 11, *row, "2025-11-01") for row in before)))

    found = rows(path, "SELECT days_from_start, order_position, duration_days FROM EntryStateMilestone ORDER BY id")
    assert found == after
    assert_settled(path)


def test_a_duration_in_a_row_that_was_changed_counts_as_given(present):
    path = present(milestones((1, 11, 30, 0, 7, "2025-12-24")))

    assert rows(path, NUMBERS) == [(1, 0, 7, 30)]


def test_a_milestone_names_its_state_and_colour_where_it_names_none(present):
    path = present(
        milestones(*[(1, state, 5, 1, 5, "2025-11-01") for state in (11, 11, 12, 99)])
        + "UPDATE EntryStateMilestone SET target_state_name = 'Mine', target_state_color = 'red' WHERE id = 2;"
    )

    found = rows(path, "SELECT target_state_name, target_state_color FROM EntryStateMilestone ORDER BY id")
    assert found == [("Brewing", "#123456"), ("Mine", "red"), ("Bottled", None), (None, None)]
    assert_settled(path)


# Readings

READINGS = "SELECT sensor_type, value, recorded_at, source_type, source_id, metadata FROM SharedSensorData ORDER BY id"
LINKS = "SELECT shared_sensor_data_id, entry_id, link_type FROM SensorDataEntryLinks ORDER BY id"


def reading(*found):
    return f"{ENTRY} INSERT INTO SensorData (id, entry_id, sensor_type, value, recorded_at) VALUES {values(*found)};"


def test_a_reading_is_copied_and_linked_once_and_stays(present):
    path = present(reading((5, 1, "temp", "21.5", "2025-11-01"), (7, 1, "temp", "21.5", "2025-11-01")))

    old_id = '{"migrated_from_sensor_data_id": %d}'
    assert rows(path, READINGS) == [
        ("temp", "21.5", "2025-11-01", "migrated", None, old_id % 5),
        ("temp", "21.5", "2025-11-01", "migrated", None, old_id % 7),
    ]
    assert rows(path, LINKS) == [(1, 1, "primary"), (2, 1, "primary")]
    assert rows(path, "SELECT count(*) FROM SensorData") == [(2,)]
    assert rows(path, "SELECT count(*) FROM SensorDataEntryLinks WHERE created_at IS NULL") == [(0,)]
    assert_settled(path)

    files.run(path, "INSERT INTO SensorData (entry_id, sensor_type, value, recorded_at) VALUES (1, 'ph', 'n/a', NULL)")
    run_again(path)

    assert rows(path, READINGS)[2:] == [("ph", "n/a", None, "migrated", None, old_id % 8)]
    assert rows(path, LINKS)[2:] == [(3, 1, "primary")]
    assert_settled(path)


def test_a_reading_that_the_framework_copied_is_not_copied_again(present):
    path = present(
        reading((1, 1, "temp", "21.5", "2025-11-01"), (2, 1, "temp", "22.0", "2025-11-02"))
        + """
        INSERT INTO SharedSensorData (sensor_type, value, recorded_at, source_type, metadata) VALUES
            ('temp', '21.5', '2025-11-01', 'migrated', '{"migrated_from_sensor_data_id": 1}'),
            ('temp', '3.0', '2025-03-01', 'migrated', '{"migrated_from_sensor_data_id": 2}');"""
    )

    assert [row[1] for row in rows(path, READINGS)] == ["21.5", "3.0", "22.0"]
    assert rows(path, LINKS) == [(3, 1, "primary")]  # the user removed the link of the first
    assert_settled(path)


def test_a_reading_of_an_entry_that_is_gone_stays_where_it_is(present):
    path = present(reading((1, 99, "temp", "21.5", "2025-11-01")))

    assert rows(path, READINGS) == []
    assert files.orphans(path) == {("SensorData", 1, "Entry", 0)}


def test_readings_of_an_old_table_that_say_nothing_are_left(old):
    path = old(f"""{JULY} CREATE TABLE SensorData (id INTEGER PRIMARY KEY, entry_id INTEGER, sensor_type TEXT,
            value TEXT, recorded_at TEXT);
        INSERT INTO SensorData (entry_id, sensor_type, value) VALUES
            (1, NULL, '1'), (1, 'ph', NULL), (NULL, 'ph', '1'), (1, {NO_TEXT}, {NO_TEXT}),
            (1, '', '');""")

    assert rows(path, "SELECT hex(sensor_type), hex(value) FROM SharedSensorData") == [("FF", "FF"), ("", "")]
    run_again(path)
    assert rows(path, "SELECT count(*) FROM SharedSensorData") == [(2,)]


def test_nothing_is_made_up_for_a_column_of_another_past(old):
    path = old(f"""{BY_DATE} CREATE TABLE SensorDataEntryLinks (id INTEGER PRIMARY KEY, shared_sensor_data_id INTEGER,
            entry_id INTEGER, linked_by TEXT NOT NULL);
        CREATE TABLE SensorData (id INTEGER PRIMARY KEY, entry_id INTEGER, sensor_type TEXT, value TEXT,
            recorded_at TEXT);
        INSERT INTO SensorData VALUES (1, 1, 'ph', '4', NULL);""")

    assert rows(path, READINGS) == rows(path, LINKS) == []


# Sensors


def test_a_sensor_without_a_board_gets_the_one_its_type_tells(present):
    path = present("""INSERT INTO SensorRegistration (sensor_id, sensor_type, board_type) VALUES
        ('a', 'ESP32_C6_probe', NULL), ('b', 'FireBeetle 2', NULL), ('c', 'esp32_fermentation', NULL),
        ('d', 'c6', 'own board'), ('e', 'c6', '');""")

    assert rows(path, "SELECT board_type FROM SensorRegistration ORDER BY sensor_id") == [
        ("firebeetle2_esp32c6",),
        ("firebeetle2_esp32c6",),
        ("esp32_wroom32",),
        ("own board",),
        ("",),
    ]
    assert_settled(path)


def test_each_script_of_a_sensor_is_in_the_library_once(present):
    path = present("""
        INSERT INTO SensorRegistration (sensor_id, sensor_type) VALUES ('a', 'x');
        INSERT INTO ScriptLibrary (name, script_content, script_type) VALUES ('Mine', 'known', 'arduino');
        INSERT INTO SensorScripts (id, sensor_id, script_content, script_type, script_version, description) VALUES
            (1, 'a', 'blink', 'arduino', '2.0', 'Blink'), (2, 'a', 'blink', 'arduino', '3.0', 'Again'),
            (3, 'a', 'blink', 'python', '1', '  '), (4, 'a', 'known', 'arduino', '9', 'known'),
            (5, 'a', '', 'arduino', '1', 'empty'), (6, 'a', 'loop', NULL, NULL, NULL),
            (7, 'a', 'loop', NULL, '2', NULL), (8, 'a', 'long', 'arduino', '1', printf('%.*c', 80, 'x'));""")

    found = rows(path, "SELECT name, script_content, script_type, script_version FROM ScriptLibrary ORDER BY id")
    assert found == [
        ("Mine", "known", "arduino", "1.0.0"),
        ("Blink", "blink", "arduino", "2.0"),
        ("Imported Script 3", "blink", "python", "1"),
        ("Imported Script 6", "loop", None, None),
        ("x" * 50, "long", "arduino", "1"),
    ]
    assert rows(path, "SELECT count(*) FROM SensorScripts") == [(8,)]
    assert_settled(path)


# Boards

BOARDS = f"""
    CREATE TABLE EntryType (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE NOT NULL,
        singular_label TEXT NOT NULL, plural_label TEXT NOT NULL);
    {TYPE}
    CREATE TABLE KanbanBoard (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, description TEXT,
        entry_type_id INTEGER NOT NULL, is_default INTEGER DEFAULT 0, created_at TIMESTAMP, updated_at TIMESTAMP);
"""


@pytest.mark.parametrize(
    ("made", "stays"),
    [
        pytest.param(["2026-01-01", "2026-03-01", "2026-02-01"], 2, id="the newest"),
        pytest.param(["2026-01-01", "2026-01-01", None], 2, id="the later of two"),
        pytest.param([None, None, None], 3, id="no date"),
        pytest.param([5, b"\xff", ""], 2, id="no real date"),
        pytest.param(["2026-01-01"], 1, id="one"),
    ],
)
def test_one_default_board_stays_and_the_index_is_made_in_the_same_run(path, made, stays):
    boards = values(*((f"b{number}", 1, 1, when) for number, when in enumerate(made, start=1)), ("other", 1, 0, None))
    files.run(path, f"{BOARDS} INSERT INTO KanbanBoard (name, entry_type_id, is_default, created_at) VALUES {boards};")

    report = Runner(path).migrate()

    assert rows(path, "SELECT id FROM KanbanBoard WHERE is_default = 1") == [(stays,)]
    assert "idx_kanban_board_single_default" in files.indexes(path)
    assert report.left == ()


def test_no_board_becomes_the_default_by_itself(old):
    path = old(
        f"{BOARDS} INSERT INTO KanbanBoard (name, entry_type_id, is_default) VALUES ('a', 1, 0), ('b', 1, NULL);"
    )

    assert rows(path, "SELECT is_default FROM KanbanBoard ORDER BY id") == [(0,), (None,)]


# Layouts

SECTION_TYPES = "SELECT section_type FROM EntryLayoutSection WHERE layout_id = 1 ORDER BY id"


def layout(*sections):
    """Return the statements for a type whose layout has these sections."""
    found = values(*((1, section, place, f"My {section}") for place, section in enumerate(sections, start=1)))
    return f"""{TYPE} INSERT INTO EntryTypeLayout (id, entry_type_id, layout_config) VALUES (1, 1, 'mine');
        INSERT INTO EntryLayoutSection (layout_id, section_type, position_y, title) VALUES {found};"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["labels", "notes"], ["label_printing", "notes"]),
        (["labels", "label_printing"], ["labels", "label_printing"]),
        (["labels", "labels"], ["label_printing", "labels"]),
        (["notes"], ["notes"]),
    ],
)
def test_a_layout_has_at_most_one_section_for_label_printing(present, before, after):
    path = present(layout(*before))

    assert rows(path, SECTION_TYPES)[:-1] == [(section,) for section in after]
    assert rows(path, "SELECT title FROM EntryLayoutSection WHERE id = 1") == [(f"My {before[0]}",)]
    assert_settled(path)


@pytest.mark.parametrize(
    ("labels", "sensors", "hidden"),
    [
        (1, 1, set()),
        (0, 1, {"labels"}),
        (1, 0, {"sensors"}),
        (0, 0, {"labels", "sensors"}),
        ("?", None, {"labels", "sensors"}),
    ],
)
def test_a_type_without_a_layout_gets_one_with_the_sections_it_shows(old, labels, sensors, hidden):
    path = old(f"""
        CREATE TABLE EntryType (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE NOT NULL, singular_label TEXT
            NOT NULL, plural_label TEXT NOT NULL, show_labels_section BOOLEAN, has_sensors BOOLEAN);
        INSERT INTO EntryType VALUES (1, 'brew', 'b', 'b', {literal(labels)}, {literal(sensors)});""")

    specified = [tuple(section) for section in SPEC["EntryLayoutSection"] if section[0] not in hidden]
    diagram = ("drawio", "Draw.io Diagram", 0, 34, 12, 6, 0, 1, 0, 14)
    columns = (
        "section_type, title, position_x, position_y, width, height, is_visible, is_collapsible, default_collapsed,"
        " display_order"
    )
    found = rows(path, f"SELECT {columns} FROM EntryLayoutSection WHERE layout_id = 1 ORDER BY display_order")
    assert found == [*specified, diagram]
    config = SPEC["EntryTypeLayout"]["layout_config"]
    assert rows(path, "SELECT entry_type_id, layout_config FROM EntryTypeLayout") == [(1, config)]
    assert rows(
        path, "SELECT layout_id, tab_id, tab_label, tab_icon, display_order, is_visible FROM EntryLayoutTab"
    ) == [(1, "main", "Overview", "fa-home", 0, 1)]
    assert rows(path, "SELECT count(*) FROM EntryLayoutSection WHERE created_at IS NULL OR updated_at IS NULL") == [
        (0,)
    ]
    assert_settled(path)


def test_a_layout_that_is_there_gets_a_diagram_and_a_tab_and_nothing_else(present):
    path = present(
        layout("notes") + "INSERT INTO EntryLayoutTab (layout_id, tab_id, tab_label) VALUES (1, 'mine', 'Mine');"
    )

    columns = "section_type, position_y, display_order, is_visible"
    assert rows(path, f"SELECT {columns} FROM EntryLayoutSection ORDER BY id") == [
        ("notes", 1, 0, 1),
        ("drawio", 5, 1, 0),
    ]
    assert rows(path, "SELECT tab_id, tab_label FROM EntryLayoutTab ORDER BY id") == [
        ("mine", "Mine"),
        ("main", "Overview"),
    ]
    assert rows(path, "SELECT layout_config FROM EntryTypeLayout") == [("mine",)]


def test_a_diagram_or_tab_that_a_user_arranged_stays(present):
    path = present(f"""{layout("drawio")}
        INSERT INTO EntryLayoutTab (layout_id, tab_id, tab_label) VALUES (1, 'main', 'Beer');""")

    assert rows(path, "SELECT title, is_visible FROM EntryLayoutSection") == [("My drawio", 1)]
    assert rows(path, "SELECT tab_label FROM EntryLayoutTab") == [("Beer",)]


def test_a_layout_whose_sections_have_no_place_gets_its_diagram(present):
    path = present(layout("notes") + "UPDATE EntryLayoutSection SET position_y = 'low', display_order = NULL;")

    found = rows(path, "SELECT position_y, display_order FROM EntryLayoutSection WHERE section_type = 'drawio'")
    assert found == [(4, 1)]


# Parameters


def parameter(path, name):
    return [
        value
        for (value,) in rows(path, f"SELECT parameter_value FROM SystemParameters WHERE parameter_name = '{name}'")
    ]


def set_parameter(name, value):
    return f"UPDATE SystemParameters SET parameter_value = {literal(value)} WHERE parameter_name = '{name}';"


@pytest.mark.parametrize(("scheme", "after"), [("default", "casaos"), ("forest", "forest"), (None, None), ("", "")])
def test_only_the_scheme_called_default_is_renamed(present, scheme, after):
    path = present(set_parameter("theme_color_scheme", scheme))

    assert parameter(path, "theme_color_scheme") == [after]


STYLES = '{"border_style": "rounded", "spacing": "normal", "background": "subtle"}'


@pytest.mark.parametrize(
    ("styles", "after", "kept"),
    [
        ('{"border_style": "sharp"}', '{"border_style": "sharp"}', []),
        ("[]", "[]", []),
        (None, STYLES, []),
        ("", STYLES, []),
        ("rounded", STYLES, ["rounded"]),
        ("{'a': 1}", STYLES, ["{'a': 1}"]),
    ],
)
def test_styles_that_are_no_json_get_the_default_and_are_kept(present, styles, after, kept):
    path = present(set_parameter("theme_section_styles", styles))

    assert parameter(path, "theme_section_styles") == [after]
    assert parameter(path, "theme_section_styles_replaced") == kept
    assert_settled(path)


def test_styles_that_are_no_text_are_left(present):
    path = present(set_parameter("theme_section_styles", b"\xff"))

    assert rows(
        path, "SELECT hex(parameter_value) FROM SystemParameters WHERE parameter_name = 'theme_section_styles'"
    ) == [("FF",)]


@pytest.mark.parametrize(
    "table",
    [
        pytest.param('id INTEGER PRIMARY KEY AUTOINCREMENT, "key" TEXT UNIQUE NOT NULL, "value" TEXT', id="July 2025"),
        pytest.param(
            "id INTEGER PRIMARY KEY AUTOINCREMENT, parameter_name TEXT UNIQUE, parameter_value TEXT", id="with id"
        ),
        pytest.param("parameter_name TEXT PRIMARY KEY, parameter_value TEXT", id="as specified"),
    ],
)
def test_parameters_of_every_past_end_alike(old, table):
    name, value = ('"key"', '"value"') if "key" in table else ("parameter_name", "parameter_value")
    path = old(f"""CREATE TABLE SystemParameters ({table});
        INSERT INTO SystemParameters ({name}, {value}) VALUES ('project_name', 'My Brewery'), ('own', NULL),
            ('theme_color_scheme', 'default'), ('theme_section_styles', 'rounded'),
            ('max_file_size', '\u00fc\U0001f37a');""")

    assert parameter(path, "project_name") == ["My Brewery"]
    assert parameter(path, "own") == [None]
    assert parameter(path, "theme_color_scheme") == ["casaos"]
    assert parameter(path, "theme_section_styles_replaced") == ["rounded"]
    assert parameter(path, "max_file_size") == ["\u00fc\U0001f37a"]
    assert parameter(path, "default_result_limit") == ["10000"]
    assert rows(path, "SELECT count(*) - count(DISTINCT parameter_name) FROM SystemParameters") == [(0,)]
    assert_settled(path)


def test_a_result_limit_of_50_stays_since_a_user_may_have_set_it(present):
    path = present(
        set_parameter("default_result_limit", "50")
        + """
        UPDATE UserPreferences SET preference_value = '50' WHERE preference_name = 'default_result_limit';
        INSERT INTO SavedSearch (name, result_limit) VALUES ('mine', '50');"""
    )

    assert parameter(path, "default_result_limit") == ["50"]
    assert rows(path, "SELECT result_limit FROM SavedSearch") == [("50",)]
    assert rows(path, "SELECT preference_value FROM UserPreferences WHERE preference_name LIKE '%limit'") == [("50",)]


# All of them


def test_on_a_new_database_no_data_migration_writes_a_row(path):
    Runner(path).migrate(to="framework/024_default_states")
    before = content(path)

    Runner(path).migrate()

    assert content(path) == before


@pytest.mark.parametrize("name", histories.IDS)
def test_a_second_run_changes_no_row_of_a_history(copy_of, name):
    path = copy_of(name)
    Runner(path).migrate()

    assert_settled(path)


def test_rollback_loses_no_row(copy_of):
    path = copy_of("hand-221ceb4-milestone-ordering-deleted")
    Runner(path).migrate()
    before = content(path)
    names = [module.name for module in iter_modules(migrations.__path__) if FIRST <= module.name[:3] <= LAST]

    with pw.SqliteDatabase(path).connection_context() as database:
        for name in reversed(names):
            import_module(f"{migrations.__name__}.{name}").rollback(None, database)

    assert content(path) == before


TIMES = {"created_at", "updated_at"}


def timeless(path):
    """Return all rows without the columns that hold the time of an insert."""
    return {
        table: [{name: row[name] for name in sorted(row.keys() - TIMES)} for _, row in sorted(found.items())]
        for table, found in content(path).items()
    }


@pytest.mark.parametrize("name", histories.IDS)
def test_rows_end_alike_whether_strictness_comes_at_once_or_later(copy_of, tmp_path, name):
    at_once, later = copy_of(name, tmp_path / "at_once.db"), copy_of(name, tmp_path / "later.db")

    Runner(at_once).migrate(strict=True)
    Runner(later).migrate()
    Runner(later).migrate(strict=True)

    assert timeless(at_once) == timeless(later)


def test_copies_of_readings_are_numbered_beyond_links_that_outlived_theirs(copy_of):
    path = copy_of("init-a0eedd2")
    files.run(path, "DROP TABLE SharedSensorData")
    links = files.query(path, "SELECT shared_sensor_data_id, entry_id FROM SensorDataEntryLinks")

    report = Runner(path).migrate()

    assert report.failed == []
    assert set(links) < set(files.query(path, "SELECT shared_sensor_data_id, entry_id FROM SensorDataEntryLinks"))
    assert files.query(path, "SELECT min(id) FROM SharedSensorData") > [(max(number for number, _ in links),)]
    copied = "SELECT count(*) FROM SharedSensorData s JOIN SensorDataEntryLinks l ON l.shared_sensor_data_id = s.id"
    assert files.query(path, copied) == files.query(path, "SELECT count(*) FROM SensorData")

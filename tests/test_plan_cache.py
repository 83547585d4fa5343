"""What was proven on two databases is repeated on the others, and what cannot be proven never is."""

import os
import sqlite3
from contextlib import closing, contextmanager
from textwrap import dedent

import histories
import peewee as pw
import pytest
import sqlite_files as files
from script_texts import creates, script, sql

from framework_schema import fleet, plan_cache
from framework_schema.config import Config
from framework_schema.plan_cache import PlanCache, is_repeatable
from framework_schema.report import State
from framework_schema.runner import Runner
from framework_schema.sources import collect, framework
from framework_schema.sqlite import SqliteDialect

pytestmark = pytest.mark.skipif(
    os.environ.get("FRAMEWORK_SCHEMA_TEST_SHORTCUTS") == "off", reason="the plan cache is switched off"
)
ON, OFF = Config(template=False), Config(template=False, plan_cache=False)
TWO = "SELECT 1 FROM schema_migrations WHERE migration_name = 'app/002_x'"
ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, note TEXT)"
MEMBERS = 5


@pytest.fixture
def cache(monkeypatch):
    """The plans of the next fleet run."""
    plans = PlanCache()
    monkeypatch.setattr(fleet, "_plans", lambda *run: plans)
    return plans


@pytest.fixture
def run(tmp_path, folder, cache):
    """Build databases with one script and rows that differ, then migrate them all with more scripts."""

    def migrate(scripts, *, first=None, config=ON, prepare=lambda number, connection: None):
        before = {"001_item": sql(ITEM) if first is None else first}
        source = folder(before)
        paths = built(tmp_path, source, prepare)
        source = folder(before | {f"{n:03d}_x": text for n, text in enumerate(scripts, start=2)})
        report = fleet.migrate_fleet(paths, [source], jobs=1, config=config)
        return paths, report

    return migrate


def built(place, source, prepare):
    """Migrate some databases, whose rows differ, and prepare each."""
    place.mkdir(exist_ok=True)
    paths = [place / f"{number}.db" for number in range(MEMBERS)]
    for number, path in enumerate(paths):
        Runner(path, [source], config=OFF).migrate()
        with closing(sqlite3.connect(path)) as connection, connection:
            for row in range(number + 1):
                connection.execute("INSERT INTO item (name) VALUES (?)", (f"{number} {row}",))
            prepare(number, connection)
    return paths


def alive(cache):
    """Return the steps that run through their script on every database, of the one group there is."""
    (group,) = cache._groups.values()
    return None if group.proven is None else [step.key for step in group.proven.steps if step.statements is None]


def test_what_two_agree_on_is_repeated_on_the_others(run, cache):
    paths, report = run(
        [creates("other"), sql("ALTER TABLE item ADD COLUMN more", "UPDATE item SET more = name || '!'")]
    )

    assert cache.repeated == MEMBERS - 2
    assert alive(cache) == []
    assert {member.state for member in report.reports} == {State.MIGRATED}
    assert len({tuple(member.applied) for member in report.reports}) == 1
    for number, path in enumerate(paths):
        assert files.history(path) == [("app/001_item", True), ("app/002_x", True), ("app/003_x", True)]
        assert files.query(path, "SELECT more FROM item") == [(f"{number} {row}!",) for row in range(number + 1)]
    assert len({tuple(files.query(path, "SELECT type, name, sql FROM sqlite_master")) for path in paths}) == 1


def test_what_was_repeated_is_proven_and_current(run, cache):
    paths, _ = run([creates("other")])

    again = fleet.migrate_fleet(paths, [fleet.Folder(paths[0].parent / "scripts")], jobs=1, config=ON)

    assert {member.state for member in again.reports} == {State.CURRENT}
    marks = [files.query(path, "SELECT kind FROM schema_migration_events ORDER BY id DESC LIMIT 1") for path in paths]
    assert marks == [[("verified",)]] * MEMBERS


def test_the_events_of_a_repeated_run_are_those_of_a_run(run, cache):
    paths, _ = run([creates("other"), sql("ALTER TABLE item ADD COLUMN more")])

    events = "SELECT kind, migration_name, outcome, detail, checksum FROM schema_migration_events ORDER BY id"
    assert cache.repeated
    assert files.query(paths[-1], events) == files.query(paths[0], events)


TRAPS = {
    "uuid": ("import uuid", "migrator.sql('UPDATE item SET note = ?', str(uuid.uuid4()))"),
    "a clock": ("import time", "migrator.sql('UPDATE item SET note = ?', time.perf_counter_ns())"),
    "a clock by another name": ("", "migrator.sql('UPDATE item SET note = ?', pw.datetime.datetime.now())"),
    "values that are counted": (
        "import json\nfrom peewee import *",
        "try:\n    json.counted += 1\nexcept AttributeError:\n    json.counted = 1\n"
        "migrator.sql('UPDATE item SET note = ?', json.counted)",
    ),
    "rows that are read": (
        "",
        "rows = database.execute_sql('SELECT count(*) FROM item').fetchone()[0]\n"
        "migrator.sql('UPDATE item SET note = ?', rows)",
    ),
    "rows read by a function": (
        "",
        "def work():\n"
        "    rows = database.execute_sql('SELECT max(name) FROM item').fetchone()[0]\n"
        "    database.execute_sql('UPDATE item SET note = ?', (rows,))\n"
        "migrator.run(work)",
    ),
    "rows read by RETURNING": (
        "",
        "names = database.execute_sql('UPDATE item SET note = 1 RETURNING name').fetchall()\n"
        "migrator.sql('UPDATE item SET note = ?', str(names))",
    ),
    "the id of a row": (
        "",
        "class Item(pw.Model):\n"
        "    name = pw.TextField()\n"
        "    class Meta:\n"
        "        table_name, database = 'item', migrator.operations.database\n"
        "made = Item.create(name='made')\n"
        "migrator.sql('UPDATE item SET note = ? WHERE id = ?', str(made.id), made.id)",
    ),
    "the id of a row from a raw cursor": (
        "",
        "cursor = database.connection().execute(\"INSERT INTO item (name) VALUES ('made')\")\n"
        "migrator.sql('UPDATE item SET note = ?', cursor.lastrowid)",
    ),
    "the file's name": ("", "migrator.sql('UPDATE item SET note = ?', str(database.database))"),
    "the file's name by PRAGMA": (
        "",
        "name = database.execute_sql('PRAGMA database_list').fetchone()[2]\n"
        "migrator.sql('UPDATE item SET note = ?', name)",
    ),
    "the raw connection, round the record": (
        "",
        "import sqlite3\nsqlite3.Cursor(database.connection()).execute('UPDATE item SET note = name')",
    ),
    "a plain cursor": (
        "",
        "kind = type(database.cursor()).__mro__[1]\nkind(database.connection()).execute('UPDATE item SET note = name')",
    ),
    "a function of its own": (
        "",
        "database.connection().create_function('mine', 1, lambda name: name)\n"
        "migrator.sql('UPDATE item SET note = mine(name)')",
    ),
    "many at once": (
        "",
        "database.cursor().executemany('UPDATE item SET note = name WHERE id = ?', [(1,), (2,), (3,), (4,), (5,)])",
    ),
    "a PRAGMA": ("", "migrator.sql('UPDATE item SET note = ?', database.user_version)\ndatabase.user_version = 7"),
    "a file": ("", "with open('/proc/self/stat') as file:\n    migrator.sql('UPDATE item SET note = ?', file.read())"),
    "the environment": ("import os", "migrator.sql('UPDATE item SET note = ?', os.getpid())"),
    "its own word": ("cacheable = False", "migrator.sql('UPDATE item SET note = name')"),
    "chance in SQL that is read": (
        "",
        "migrator.sql('UPDATE item SET note = ?', database.execute_sql('SELECT random()').fetchone()[0])",
    ),
    "the history": ("", "migrator.sql('DELETE FROM schema_migrations WHERE migration_name = ?', 'old')"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_script_that_cannot_be_repeated_runs_on_every_database(run, cache, trap):
    head, body = TRAPS[trap]

    paths, report = run([creates("other"), script(body, head=head), sql("ALTER TABLE item ADD COLUMN more")])

    assert [member.error for member in report.reports] == [None] * MEMBERS
    if trap == "the history":  # rows that a script deletes are counted on each database, so nothing is recorded
        assert not cache._groups
    else:
        assert alive(cache) == ["app/003_x"]
    for number, path in enumerate(paths):
        notes = [note for (note,) in files.query(path, "SELECT note FROM item")]
        assert "other" in files.tables(path)
        if trap in ("uuid", "the file's name", "the file's name by PRAGMA"):
            others = [files.query(other, "SELECT note FROM item LIMIT 1")[0][0] for other in paths if other != path]
            assert notes[0] not in others
        if trap.startswith("rows that"):
            assert set(notes) == {str(number + 1)}
        if trap.startswith("the id of a row"):
            assert str(number + 2) in map(str, notes)
        if trap == "the raw connection, round the record":
            assert notes == [f"{number} {row}" for row in range(number + 1)]


def test_what_depends_on_a_table_being_empty_goes_the_slow_way(run, cache):
    def prepare(number, connection):
        if number == MEMBERS - 1:
            connection.execute("DELETE FROM item")

    paths, report = run(
        [
            script(
                "migrator.add_fields('item', made=pw.DateTimeField(constraints=[pw.SQL('DEFAULT CURRENT_TIMESTAMP')]))"
            )
        ],
        prepare=prepare,
    )

    assert [member.state for member in report.reports] == [State.MIGRATED] * MEMBERS
    assert all("made" in files.columns(path, "item") for path in paths)
    slow = Runner(paths[-1], [fleet.Folder(paths[0].parent / "scripts")], config=OFF)
    assert not slow.drift().additive


def test_another_number_of_rows_goes_the_slow_way_when_the_script_looks_at_it(run, cache):
    body = """
        changed = database.rows_affected(database.execute_sql("UPDATE item SET note = 'x' WHERE id > 3"))
        if changed:
            database.execute_sql("UPDATE item SET note = 'changed'")
    """

    paths, _ = run([script(body)])

    assert alive(cache) == []
    found = [files.query(path, "SELECT DISTINCT note FROM item") for path in paths]
    assert found == [[(None,)], [(None,)], [(None,)], [("changed",)], [("changed",)]]
    assert cache.repeated == 1


def test_a_constraint_that_only_one_database_breaks_is_told_as_ever(run, cache):
    def prepare(number, connection):
        if number == MEMBERS - 1:
            connection.execute("UPDATE item SET name = 'same'")

    paths, report = run([sql("CREATE UNIQUE INDEX one_name ON item (name)"), creates("other")], prepare=prepare)

    assert [member.state for member in report.reports] == [*[State.MIGRATED] * 4, State.FAILED]
    assert "app/002_x" in report.reports[-1].error
    assert files.history(paths[-1]) == [("app/001_item", True), ("app/002_x", False)]
    assert cache.repeated == 2


def test_orphans_that_only_one_database_gets_are_told_as_ever(run, cache):
    first = sql(ITEM, "CREATE TABLE kind (id INTEGER PRIMARY KEY)", "INSERT INTO kind VALUES (1)")
    add = sql(
        "ALTER TABLE item ADD COLUMN kind_id INTEGER REFERENCES kind (id)", "UPDATE item SET kind_id = id WHERE id > 4"
    )

    paths, report = run([add], first=first)

    assert [member.state for member in report.reports] == [*[State.MIGRATED] * 4, State.FAILED]
    assert "kind_id" not in files.columns(paths[-1], "item")


def test_another_schema_in_the_end_goes_the_slow_way(run, cache, monkeypatch):
    real, calls = plan_cache._again, []

    def again(connection, statements):
        real(connection, statements)
        calls.append(connection)
        connection.execute("CREATE TABLE extra_by_accident (a)") if len(calls) == 2 else None

    monkeypatch.setattr(plan_cache, "_again", again)

    paths, report = run([creates("other")])

    assert {member.state for member in report.reports} == {State.MIGRATED}
    assert all("extra_by_accident" not in files.tables(path) for path in paths)


def test_a_group_that_keeps_going_wrong_is_given_up(run, cache, monkeypatch):
    tried = []

    def again(connection, statements):
        tried.append(connection)
        raise plan_cache.Doubt("on purpose")

    monkeypatch.setattr(plan_cache, "_again", again)
    monkeypatch.setattr(plan_cache, "DOUBTS", 2)

    _, report = run([creates("other")])

    assert {member.state for member in report.reports} == {State.MIGRATED}
    assert len(tried) == 2
    assert cache.repeated == 0


def statements_of(cache):
    """Return what is repeated on a database of the one group there is, stretch by stretch."""
    (group,) = cache._groups.values()
    return [[statement.sql for statement in stretch.statements] for stretch in group.proven.stretches]


GROWING = (
    sql("CREATE TABLE kind (id INTEGER PRIMARY KEY AUTOINCREMENT)", "ALTER TABLE item ADD COLUMN kind REFERENCES kind"),
    sql("ALTER TABLE kind ADD COLUMN name TEXT DEFAULT 'x'", "ALTER TABLE item ADD COLUMN more"),
    sql("ALTER TABLE kind RENAME TO sort", "CREATE INDEX sort_name ON sort (name)"),
)


def test_a_table_that_the_plan_makes_and_alters_is_made_once(run, cache):
    scripts = [sql("CREATE TABLE kind (id)", "ALTER TABLE kind ADD COLUMN a"), sql("ALTER TABLE kind RENAME TO sort")]

    paths, report = run([*scripts, sql("ALTER TABLE item ADD COLUMN more")])

    assert statements_of(cache) == [["ALTER TABLE item ADD COLUMN more", 'CREATE TABLE "sort" (id, a)']]
    assert cache.repeated == MEMBERS - 2
    assert len({tuple(member.applied) for member in report.reports}) == 1
    assert len({tuple(files.query(path, "SELECT type, name, sql FROM sqlite_master")) for path in paths}) == 1
    assert [len(files.query(path, "SELECT more FROM item")) for path in paths] == [1, 2, 3, 4, 5]


def test_nothing_is_moved_over_a_script_that_runs_everywhere(run, cache):
    counts = "rows = database.execute_sql('SELECT count(*) FROM item').fetchone()[0]\n"
    alive_one = script(counts + "database.execute_sql('INSERT INTO kind (id) VALUES (?)', (rows,))")
    first = sql("CREATE TABLE kind (id)", "ALTER TABLE kind ADD COLUMN a DEFAULT 'a'")
    last = sql("ALTER TABLE kind ADD COLUMN b DEFAULT 'b'", "CREATE TABLE more (id)", "ALTER TABLE more ADD COLUMN c")

    paths, _ = run([first, alive_one, last])

    assert alive(cache) == ["app/003_x"]
    assert statements_of(cache) == [
        ["CREATE TABLE kind (id, a DEFAULT 'a')"],
        ["ALTER TABLE kind ADD COLUMN b DEFAULT 'b'", "CREATE TABLE more (id, c)"],
    ]
    assert cache.repeated == MEMBERS - 2
    assert [files.query(path, "SELECT * FROM kind") for path in paths] == [[(n + 1, "a", "b")] for n in range(MEMBERS)]


def test_rows_that_a_plan_puts_into_its_own_table_are_there_with_their_defaults(run, cache):
    paths, _ = run([
        sql("CREATE TABLE kind (id)", "ALTER TABLE kind ADD COLUMN a DEFAULT 'old'"),
        sql("INSERT INTO kind (id) SELECT id FROM item", "ALTER TABLE kind ADD COLUMN b DEFAULT 'new'"),
    ])  # fmt: skip

    assert cache.repeated == MEMBERS - 2
    for number, path in enumerate(paths):
        assert files.query(path, "SELECT * FROM kind") == [(row + 1, "old", "new") for row in range(number + 1)]


@pytest.mark.parametrize("extra", ["CREATE TABLE wrong (a)", "ALTER TABLE item RENAME COLUMN note TO wrong"])
def test_a_folding_that_leads_elsewhere_is_undone_and_given_up(run, cache, monkeypatch, extra):
    def wrong(statements, before):
        return (*statements, plan_cache.Statement(extra))

    monkeypatch.setattr(plan_cache, "folded", wrong)

    paths, report = run(GROWING)

    (group,) = cache._groups.values()
    assert (cache.repeated, group.doubts) == (MEMBERS - 3, 0)
    assert {member.state for member in report.reports} == {State.MIGRATED}
    assert len({tuple(files.query(path, "SELECT type, name, sql FROM sqlite_master")) for path in paths}) == 1
    assert all("wrong" not in {*files.tables(path), *files.columns(path, "item")} for path in paths)


def test_a_folding_that_sqlite_refuses_costs_only_time(run, cache, monkeypatch):
    monkeypatch.setattr(plan_cache, "folded", lambda statements, before: (plan_cache.Statement("DROP TABLE no"),))

    paths, report = run(GROWING)

    assert cache.repeated == 0
    assert {member.state for member in report.reports} == {State.MIGRATED}
    assert len({tuple(files.query(path, "SELECT type, name, sql FROM sqlite_master")) for path in paths}) == 1


def test_databases_that_differ_in_a_space_are_not_of_a_kind(run, cache):
    def prepare(number, connection):
        connection.execute(f"CREATE TABLE own (a{' ' * number} INT)")

    run([creates("other")], prepare=prepare)

    assert len(cache._groups) == MEMBERS
    assert cache.repeated == 0


def test_a_database_that_another_process_migrated_before_the_lock_is_not_migrated_twice(
    run, cache, monkeypatch, tmp_path, folder
):
    real, last = SqliteDialect.exclusive, f"{MEMBERS - 1}.db"
    doubles = sql("UPDATE item SET note = note * 2")

    @contextmanager
    def exclusive(self, database, name):
        if name.endswith(last) and cache.repeated and not files.query(tmp_path / last, TWO):
            monkeypatch.setattr(SqliteDialect, "exclusive", real)
            Runner(tmp_path / last, [folder({"001_item": sql(ITEM), "002_x": doubles})], config=OFF).migrate()
        with real(self, database, name):
            yield

    monkeypatch.setattr(SqliteDialect, "exclusive", exclusive)
    paths, report = run([doubles], prepare=lambda number, connection: connection.execute("UPDATE item SET note = 1"))

    assert (cache.repeated, {member.state for member in report.reports}) == (
        MEMBERS - 3,
        {State.MIGRATED, State.CURRENT},
    )
    assert {value for path in paths for (value,) in files.query(path, "SELECT note FROM item")} == {"2"}


def test_off_is_off(run, cache):
    _, report = run([creates("other")], config=OFF)

    assert (cache.repeated, cache._groups) == (0, {})
    assert {member.state for member in report.reports} == {State.MIGRATED}


def test_a_script_never_runs_on_a_connection_that_can_only_look(run, tmp_path):
    ran = tmp_path / "ran"
    body = f"if ':memory:' not in database.database:\n    with open({str(ran)!r}, 'a') as file: file.write('x')"

    run([script(body)], config=OFF)

    assert ran.read_text() == "x" * MEMBERS


def test_a_fleet_of_histories_ends_the_same_with_and_without(historical, copy_of, tmp_path, cache):
    def fleet_of(name, config):
        paths = []
        for history in histories.IDS:
            for number in range(3):
                place = tmp_path / name / f"{history}-{number}.db"
                place.parent.mkdir(exist_ok=True)
                paths.append(copy_of(history, place))
        return paths, fleet.migrate_fleet(paths, [framework()], jobs=1, config=config)

    fast, with_cache = fleet_of("fast", Config(backup="never"))
    slow, without = fleet_of("slow", Config(backup="never", plan_cache=False, template=False))

    assert cache.repeated == len(histories.IDS)
    assert [r.state for r in with_cache.reports] == [r.state for r in without.reports]
    assert [r.applied for r in with_cache.reports] == [r.applied for r in without.reports]
    assert [r.adopted for r in with_cache.reports] == [r.adopted for r in without.reports]
    assert [r.aligned for r in with_cache.reports] == [r.aligned for r in without.reports]
    for one, other in zip(fast, slow, strict=True):
        schema = "SELECT type, name, tbl_name, sql FROM sqlite_master"
        assert files.query(one, schema) == files.query(other, schema), one.name
        assert files.history(one) == files.history(other)
        events = "SELECT kind, migration_name, outcome, detail, checksum FROM schema_migration_events ORDER BY id"
        assert files.query(one, events) == files.query(other, events), one.name


def seeds(*statements):
    """Prepare each database with these statements, the same in all."""
    return lambda number, connection: [connection.execute(statement) for statement in statements]


def doubled_in_two(number, connection):
    connection.execute("CREATE TABLE u (e)")
    connection.execute(f"INSERT INTO u VALUES (1), ({1 if number < 2 else 2})")


def analyzed_from_the_third_on(number, connection):
    connection.execute("CREATE INDEX item_name ON item (name)")
    connection.execute("ANALYZE") if number > 1 else None


def with_free_pages_from_the_third_on(number, connection):
    tables = [f"passing{n}" for n in range(3)] if number > 1 else []
    for table in [*tables, "more"]:
        connection.execute(f"CREATE TABLE {table} (x)")
    for table in tables:
        connection.execute(f"DROP TABLE {table}")


def left_alone(number, connection):
    """Prepare nothing."""


SEEN = "CREATE TABLE seen (what)"
HIDDEN = {
    "an operation that failed": (
        doubled_in_two,
        [script("try: migrator.add_index('u', 'e', unique=True)\nexcept pw.IntegrityError: pass")],
    ),
    "a statement that failed": (
        doubled_in_two,
        [script("try: migrator.sql('CREATE UNIQUE INDEX one ON u (e)')\nexcept pw.IntegrityError: pass")],
    ),
    "rows put in by one that failed": (
        seeds("CREATE TABLE one (id INTEGER PRIMARY KEY)", "INSERT INTO one VALUES (2)"),
        [script("try: migrator.sql('INSERT OR FAIL INTO one VALUES (1), (2)')\nexcept pw.IntegrityError: pass")],
    ),
    "changes that are counted": (
        left_alone,
        [
            script(
                "connection = database.connection()\nbefore = connection.total_changes\n"
                "migrator.sql(\"UPDATE item SET note = 1 WHERE name LIKE '0 %' OR name LIKE '1 %'\")\n"
                "if connection.total_changes > before: migrator.sql(\"INSERT INTO item (name) VALUES ('more')\")"
            )
        ],
    ),
    "changes before": (left_alone, [sql(SEEN), sql("INSERT INTO seen SELECT changes()")]),
    "the id before": (left_alone, [sql(SEEN), sql("INSERT INTO seen SELECT last_insert_rowid()")]),
    "the events": (left_alone, [sql(SEEN), sql("INSERT INTO seen SELECT count(*) FROM schema_migration_events")]),
    "a view of the history": (
        left_alone,
        [
            sql(SEEN, "CREATE VIEW done AS SELECT count(*) AS n FROM schema_migrations"),
            sql("INSERT INTO seen VALUES (0)"),
            sql("INSERT INTO seen SELECT n FROM done"),
        ],
    ),
    "a trigger on the history": (
        left_alone,
        [
            sql(
                SEEN, "CREATE TRIGGER told AFTER INSERT ON schema_migrations BEGIN "
                "INSERT INTO seen SELECT new.migration_name; END"
            ),
            sql("INSERT INTO seen VALUES ('b')"),
            sql("INSERT INTO seen VALUES ('c')"),
        ],
    ),
    "a trigger that was there": (
        seeds(
            SEEN,
            "CREATE TRIGGER told AFTER INSERT ON schema_migrations "
            "BEGIN INSERT INTO seen SELECT new.migration_name; END",
        ),
        [sql("INSERT INTO seen VALUES ('b')"), sql("INSERT INTO seen VALUES ('c')")],
    ),
    "statistics among the tables": (
        analyzed_from_the_third_on,
        [sql(SEEN), script("for name in database.get_tables(): migrator.sql('INSERT INTO seen VALUES (?)', name)")],
    ),
    "the page of a table": (
        with_free_pages_from_the_third_on,
        [
            sql(SEEN),
            script(
                "page = database.execute_sql(\"SELECT rootpage FROM sqlite_master WHERE name = 'more'\").fetchone()\n"
                "migrator.sql('INSERT INTO seen VALUES (?)', page[0])"
            ),
        ],
    ),
    "a counter that was left": (
        seeds("INSERT INTO sqlite_sequence VALUES ('a', 40)"),
        [sql("CREATE TABLE a (id INTEGER PRIMARY KEY)", "ALTER TABLE a RENAME TO b")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HIDDEN)
def test_what_looks_alike_ends_as_its_scripts_would_have_ended(folder, cache, tmp_path, case):
    prepare, scripts = HIDDEN[case]
    source = folder({"001_item": sql(ITEM)})
    fleets = [built(tmp_path / name, source, prepare) for name in ("fast", "slow")]
    scripts = [creates("other"), *scripts]  # something that is repeated all the same
    source = folder({"001_item": sql(ITEM)} | {f"{n:03d}_x": text for n, text in enumerate(scripts, start=2)})

    ends = []
    for paths, config in zip(fleets, (ON, OFF), strict=True):
        report = fleet.migrate_fleet(paths, [source], jobs=1, config=config)
        ends.append(([everything_in(path) for path in paths], [(r.state, r.applied) for r in report.reports]))

    assert ends[0] == ends[1]


def everything_in(path):
    """Return schema and rows but for times, and counters in any order."""
    found = {"": files.query(path, "SELECT type, name, tbl_name, sql FROM sqlite_master")}
    for table in files.tables(path):
        if not table.startswith(("schema_migration", "sqlite_")):
            found[table] = files.query(path, f'SELECT * FROM "{table}"')
    return found | {
        "history": files.history(path),
        "counters": files.query(path, "SELECT name, seq FROM sqlite_sequence ORDER BY name"),
    }


@pytest.mark.parametrize(
    ("text", "is_inward"),
    [
        ("import peewee as pw", True),
        ("from contextlib import suppress", True),
        ("from framework_schema.fields import now", True),
        ("import playhouse.postgres_ext as pw_pext", True),
        ("from playhouse.migrate import SqliteMigrator", True),
        ("import peewee as pw\nx = isinstance(1, pw.SqliteDatabase) or isinstance(2, (pw.MySQLDatabase, int))", True),
        ("import peewee as pw\ndef migrate(migrator, database: pw.Database): pass", True),
        ("import peewee as pw\nx = pw.SqliteDatabase('x.db')", False),
        ("from peewee import SqliteDatabase as Other", False),
        ("import playhouse.db_url", False),
        ("from playhouse.db_url import connect", False),
        ("from playhouse.dataset import DataSet", False),
        ("import datetime as dt", False),
        ("from peewee import datetime", False),
        ("from peewee import *", False),
        ("from framework_schema.runner import os", False),
        ("from . import helper", False),
        ("import peewee as pw\nx = pw.uuid", False),
        ("import peewee as pw\nx = getattr(pw, 'da' + 'tetime')", False),
        ("x = __import__('os')", False),
        ("x = eval('1')", False),
    ],
)
def test_what_a_script_can_reach_is_seen_in_its_text(folder, text, is_inward):
    (migration,) = collect(
        [folder({"001_x": f"{dedent(text)}\n\ndef migrate(migrator, database, **kw): pass\n"})]
    ).migrations

    assert is_repeatable(migration) is is_inward


def test_a_run_that_was_not_committed_proves_nothing(run, cache, monkeypatch):
    exclusive = SqliteDialect.exclusive
    failing = ["the first database"]

    @contextmanager
    def first_one_lost(self, database, name):
        with exclusive(self, database, name):
            yield
            if failing:
                raise pw.OperationalError(f"disk I/O error of {failing.pop()}")

    def prepare(number, connection):
        if number == MEMBERS - 1:
            monkeypatch.setattr(SqliteDialect, "exclusive", first_one_lost)

    _, report = run([creates("other")], prepare=prepare)

    assert [member.state for member in report.reports] == [State.UNREADABLE] + [State.MIGRATED] * (MEMBERS - 1)
    assert cache.repeated == MEMBERS - 3

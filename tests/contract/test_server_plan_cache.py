"""What was proven on two databases of a server is repeated on the others, and what cannot be proven never is."""

import itertools
import os
from contextlib import ExitStack, suppress
from textwrap import dedent

import pymysql
import pytest
import servers
from conftest import Engine
from script_texts import creates, script, sql

from framework_schema import fleet, server_plan
from framework_schema.config import Config
from framework_schema.inventory import Member
from framework_schema.plan_cache import Doubt, PlanCache
from framework_schema.report import State
from framework_schema.runner import Runner
from framework_schema.server_watched import is_contained
from framework_schema.shelf import Shelf
from framework_schema.sources import collect, framework

pytestmark = pytest.mark.skipif(
    os.environ.get("FRAMEWORK_SCHEMA_TEST_SHORTCUTS") == "off", reason="the plan cache is switched off"
)
ON, OFF = Config(backup="never", timeout=20), Config(backup="never", timeout=20, plan_cache=False)
ITEM = """
@migrator.create_model
class Item(pw.Model):
    name = pw.CharField(max_length=40, null=True)
    note = pw.CharField(max_length=200, null=True)
    class Meta:
        table_name = "item"
"""
MORE = script("migrator.add_fields('item', more=pw.CharField(max_length=40, null=True))")


@pytest.fixture(params=["postgresql", "mariadb"])
def engine_name(request):
    return request.param


@pytest.fixture
def cache(monkeypatch):
    """The plans of the next fleet run."""
    plans = PlanCache()
    monkeypatch.setattr(fleet, "_plans", lambda *run: plans)
    return plans


@pytest.fixture
def members(engine_name):
    """Make databases, as many as asked for, and drop them at the end."""
    with ExitStack() as stack:
        yield lambda number: [
            Engine(engine_name, stack.enter_context(servers.Fresh(engine_name)).url) for _ in range(number)
        ]


@pytest.fixture
def run(members, folder, cache):
    """Build databases with one script and rows that differ, then migrate them all with more scripts."""

    def migrate(scripts, *, count=3, first=None, config=ON, prepare=lambda number, engine: None):
        before = {"001_item": script(ITEM) if first is None else first}
        source = folder(before)
        found = members(count)
        for number, engine in enumerate(found):
            Runner(engine.url, [source], config=OFF).migrate()
            for row in range(number + 1):
                engine.sql(f"INSERT INTO item (name) VALUES ('{number} {row}')")
            prepare(number, engine)
        source = folder(before | {f"{n:03d}_x": text for n, text in enumerate(scripts, start=2)})
        report = fleet.migrate_fleet([engine.url for engine in found], [source], jobs=1, config=config)
        return found, report

    return migrate


def alive(cache):
    """Return the steps that run through their script on every database, or None where nothing is repeated."""
    group = next(iter(cache._groups.values()), None)
    assert len(cache._groups) <= 1
    return (
        None
        if group is None or group.proven is None
        else [step.key for step in group.proven.steps if step.statements is None]
    )


def notes(engine):
    return [note for (note,) in engine.sql("SELECT note FROM item ORDER BY id")]


def history(engine):
    return [(k, bool(s)) for k, s in engine.sql("SELECT migration_name, success FROM schema_migrations ORDER BY id")]


def events(engine):
    return engine.sql(
        "SELECT kind, migration_name, outcome, detail, checksum FROM schema_migration_events "
        "WHERE kind <> 'progress' ORDER BY id"
    )


def schema(engine):
    runner = engine.runner()
    with runner.target.connected() as database:
        return runner.dialect.snapshot(database, structural=True)


def test_what_two_agree_on_is_repeated_on_the_others(run, cache):
    raw = sql("ALTER TABLE item ADD COLUMN raw VARCHAR(50)", "UPDATE item SET raw = CONCAT(name, '!')")

    found, report = run([creates("other"), MORE, raw, script("migrator.add_index('item', 'more')")], count=4)

    assert (cache.repeated, alive(cache)) == (2, [])
    assert {member.state for member in report.reports} == {State.MIGRATED}
    assert len({tuple(member.applied) for member in report.reports}) == 1
    for number, engine in enumerate(found):
        assert history(engine) == [(f"app/00{n}_{'x' if n > 1 else 'item'}", True) for n in range(1, 6)]
        assert engine.sql("SELECT raw FROM item ORDER BY id") == [(f"{number} {row}!",) for row in range(number + 1)]
        assert schema(engine) == schema(found[0])
        assert events(engine) == events(found[0])


def test_what_was_repeated_is_current(run, cache, folder):
    found, _ = run([creates("other"), MORE])

    again = fleet.migrate_fleet([e.url for e in found], [folder({})], jobs=1, config=ON)

    assert cache.repeated == 1
    assert {member.state for member in again.reports} == {State.CURRENT}
    assert [events(engine)[-1][0] for engine in found] == ["verified"] * 3


def test_a_database_that_is_empty_gets_the_history_too(members, folder, cache):
    found, source = members(3), folder({"001_item": script(ITEM), "002_x": creates("other"), "003_x": MORE})

    report = fleet.migrate_fleet([engine.url for engine in found], [source], jobs=1, config=ON)

    assert cache.repeated == 1
    assert [member.state for member in report.reports] == [State.MIGRATED] * 3
    assert schema(found[2]) == schema(found[0])
    assert events(found[2]) == events(found[0])


TRAPS = {
    "uuid": ("import uuid", "migrator.sql('UPDATE item SET note = %s', str(uuid.uuid4()))"),
    "a clock": ("import time", "migrator.sql('UPDATE item SET note = %s', time.perf_counter_ns())"),
    "values that are counted": (
        "import json",
        "try:\n    json.counted += 1\nexcept AttributeError:\n    json.counted = 1\n"
        "migrator.sql('UPDATE item SET note = %s', json.counted)",
    ),
    "rows that are read": (
        "",
        "rows = database.execute_sql('SELECT count(*) FROM item').fetchone()[0]\n"
        "migrator.sql('UPDATE item SET note = %s', rows)",
    ),
    "rows that are read by a model": (
        "",
        "Item = migrator.orm['item']\nmigrator.sql('UPDATE item SET note = %s', Item.select().count())",
    ),
    "rows that RETURNING reads": (
        "",
        "made = database.execute_sql(\"INSERT INTO item (name) VALUES ('made') RETURNING id\").fetchone()[0]\n"
        "migrator.sql('UPDATE item SET note = %s', made)",
    ),
    "the id of a row": (
        "",
        "class Item(pw.Model):\n"
        "    name = pw.TextField()\n"
        "    class Meta:\n"
        "        table_name = 'item'\n"
        "Item._meta.set_database(database)\n"
        "made = Item.create(name='made')\n"
        "migrator.sql('UPDATE item SET note = %s', made.id)",
    ),
    "the id of a row from a cursor": (
        "",
        "cursor = database.execute_sql(\"INSERT INTO item (name) VALUES ('made')\")\n"
        "migrator.sql('UPDATE item SET note = %s', cursor.lastrowid)",
    ),
    "the database's name": ("", "migrator.sql('UPDATE item SET note = %s', str(database.database))"),
    "the database's name in SQL that is read": (
        "",
        "name = database.execute_sql('SELECT table_catalog, table_schema FROM information_schema.tables').fetchone()\n"
        "migrator.sql('UPDATE item SET note = %s', str(name))",
    ),
    "where it is": ("", "migrator.sql('UPDATE item SET note = %s', str(database.connect_params))"),
    "the driver's connection": ("", "database.connection().cursor().execute('UPDATE item SET note = name')"),
    "the driver's cursor": ("", "database.cursor().execute('UPDATE item SET note = name')"),
    "the driver's cursor, kept": (
        "",
        "cursor = database.cursor()\ncursor.execute('UPDATE item SET note = name')\ncursor.execute('SELECT 1')",
    ),
    "the class of the database": ("", "pw.Database.execute_sql(database, 'UPDATE item SET note = name')"),
    "the state of the database": ("", "database._state.conn.cursor().execute('UPDATE item SET note = name')"),
    "a name made up": ("", "getattr(database, 'cur' + 'sor')().execute('UPDATE item SET note = name')"),
    "many at once": ("", "database.cursor().executemany('UPDATE item SET note = name WHERE id = %s', [(1,), (2,)])"),
    "a setting": ("", "database.execute_sql(SET)"),
    "a file": (
        "",
        "with open('/proc/self/stat') as file:\n    migrator.sql('UPDATE item SET note = %s', file.read(20))",
    ),
    "the environment": ("import os", "migrator.sql('UPDATE item SET note = %s', os.getpid())"),
    "its own word": ("cacheable = False", "migrator.sql('UPDATE item SET note = name')"),
    "chance in SQL that is read": (
        "",
        "migrator.sql('UPDATE item SET note = %s', str(database.execute_sql(CHANCE).fetchone()[0]))",
    ),
    "a statement that fails": (
        "",
        "try:\n    database.execute_sql('ALTER TABLE nowhere ADD COLUMN x INTEGER')\n"
        "except pw.PeeweeException:\n    migrator.sql('UPDATE item SET note = name')",
    ),
    "the history": ("", "migrator.sql('DELETE FROM schema_migrations WHERE migration_name = %s', 'old')"),
    "the time of the database in a value": (
        "",
        "migrator.sql('UPDATE item SET note = %s', str(database.execute_sql('SELECT now()').fetchone()[0]))",
    ),
}
WORDS = {
    "postgresql": {"(SET)": "(\"SET LOCAL DateStyle = 'German'\")", "CHANCE": "'SELECT random()'"},
    "mariadb": {"(SET)": "(\"SET SESSION time_zone = '+03:00'\")", "CHANCE": "'SELECT rand()'"},
}


def said(text, name):
    for ours, theirs in WORDS[name].items():
        text = text.replace(ours, theirs)
    return text


@pytest.mark.parametrize("trap", TRAPS)
def test_a_script_that_cannot_be_repeated_runs_on_every_database(run, cache, engine_name, trap):
    head, body = TRAPS[trap]
    if "lastrowid" in body and engine_name == "postgresql":
        pytest.skip("its driver tells none")

    found, report = run([creates("other"), script(said(body, engine_name), head=head), MORE])

    assert [member.error for member in report.reports] == [None] * 3
    # A value that nothing but the comparison shows leaves no proof of the schema before it: then nothing is repeated.
    assert alive(cache) in (["app/003_x"], None)
    # Rows that a script deletes are counted on each database, so nothing of that run is recorded.
    assert (alive(cache) is None) == (trap in ("values that are counted", "the history"))
    for number, engine in enumerate(found):
        assert history(engine) == [("app/001_item", True), *((f"app/00{n}_x", True) for n in (2, 3, 4))]
        if trap in ("uuid", "the database's name", "a clock", "chance in SQL that is read"):
            others = [notes(other)[0] for other in found if other is not engine]
            assert notes(engine)[0] is not None
            assert notes(engine)[0] not in others
        if trap.startswith("rows that are"):
            assert set(notes(engine)) == {str(number + 1)}
        if trap in ("the id of a row", "rows that RETURNING reads"):
            assert set(notes(engine)) == {str(number + 2)}
        if "driver's" in trap or "of the database" in trap or trap in ("a name made up", "a statement that fails"):
            named = [name for (name,) in engine.sql("SELECT name FROM item ORDER BY id")]
            assert trap == "the time of the database in a value" or notes(engine) == named


def test_what_the_server_makes_up_it_makes_up_again(run, cache, engine_name):
    chance = "random()" if engine_name == "postgresql" else "rand()"

    found, _ = run([sql(f"UPDATE item SET note = {chance}"), sql("INSERT INTO item (name) VALUES ('made')")])

    assert (cache.repeated, alive(cache)) == (1, [])
    assert len({notes(engine)[0] for engine in found}) == 3
    ids = [engine.value("SELECT id FROM item WHERE name = 'made'") for engine in found]
    assert ids == [2, 3, 4]


def test_what_depends_on_a_table_being_empty_goes_the_slow_way(run, cache):
    def prepare(number, engine):
        if number == 2:
            engine.sql("DELETE FROM item")

    filled = script("migrator.add_fields('item', more=pw.CharField(max_length=40, default='x'))")
    found, report = run([creates("other"), filled], prepare=prepare)

    assert [member.state for member in report.reports] == [State.MIGRATED] * 3
    assert cache.repeated == 0
    assert schema(found[2]) == schema(found[0])
    assert len({tuple(member.applied) for member in report.reports}) == 1


def test_a_column_that_may_be_null_does_not_depend_on_a_table_being_empty(run, cache):
    found, _ = run([MORE], prepare=lambda number, engine: number == 2 and engine.sql("DELETE FROM item"))

    assert cache.repeated == 1
    assert schema(found[2]) == schema(found[0])


def test_another_number_of_rows_goes_the_slow_way_when_the_script_looks_at_it(run, cache):
    body = """
        changed = database.rows_affected(database.execute_sql("UPDATE item SET note = 'x' WHERE id > 3"))
        if changed:
            database.execute_sql("UPDATE item SET note = 'changed'")
    """

    found, _ = run([script(body)], count=5)

    assert alive(cache) == []
    assert [set(notes(engine)) for engine in found] == [{None}, {None}, {None}, {"changed"}, {"changed"}]
    assert cache.repeated == 1


def test_a_rule_that_only_one_database_breaks_is_told_as_ever(run, cache):
    def prepare(number, engine):
        if number == 3:
            engine.sql("UPDATE item SET name = 'same'")

    more = sql("UPDATE item SET note = 'once'")
    found, report = run([more, sql("CREATE UNIQUE INDEX one ON item (name)"), MORE], count=4, prepare=prepare)

    assert [member.state for member in report.reports] == [*[State.MIGRATED] * 3, State.FAILED]
    assert report.reports[-1].applied == ["app/002_x"]
    assert "app/003_x" in report.reports[-1].error
    assert history(found[3]) == [("app/001_item", True), ("app/002_x", True), ("app/003_x", False)]
    assert cache.repeated == 1


def test_a_script_that_fails_on_one_database_is_told_once(run, cache):
    body = "if database.execute_sql('SELECT count(*) FROM item').fetchone()[0] > 2:\n    raise ValueError('too many')"

    found, report = run([creates("other"), script(body), MORE])

    assert [member.state for member in report.reports] == [State.MIGRATED, State.MIGRATED, State.FAILED]
    assert report.reports[-1].applied == ["app/002_x"]
    assert [kind for kind, *_ in events(found[2])].count("failed") == 1


def test_a_rule_that_is_looked_at_in_the_end_of_a_transaction_undoes_the_plan(run, cache, engine_name):
    if engine_name == "mariadb":
        pytest.skip("it has no deferred rules")
    first = sql(
        "CREATE TABLE kind (id INTEGER PRIMARY KEY)",
        "CREATE TABLE item (id SERIAL PRIMARY KEY, name VARCHAR(9), note VARCHAR(9), kind_id INTEGER "
        "REFERENCES kind (id) DEFERRABLE INITIALLY DEFERRED)",
    )

    found, report = run([sql("UPDATE item SET kind_id = id WHERE id > 2"), creates("other")], first=first)

    assert [member.state for member in report.reports[:2]] == [State.MIGRATED] * 2
    assert report.reports[2].state is State.FAILED
    assert found[2].sql("SELECT kind_id FROM item") == [(None,)] * 3
    assert ("app/003_x", True) not in history(found[2])


def test_another_schema_in_the_end_goes_the_slow_way(run, cache, monkeypatch):
    real = server_plan.Repetition.record

    def record(self, steps):
        real(self, steps)
        self.database.execute_sql("CREATE TABLE IF NOT EXISTS extra_by_accident (a INTEGER)")

    monkeypatch.setattr(server_plan.Repetition, "record", record)

    found, report = run([creates("other"), MORE])

    assert {member.state for member in report.reports} == {State.MIGRATED}
    assert len({tuple(member.applied) for member in report.reports}) == 1
    assert cache.repeated == 0
    if found[2].undoes_ddl:
        assert schema(found[2]) == schema(found[0])
    assert [event for event in events(found[2]) if event[0] == "applied"] == [
        event for event in events(found[0]) if event[0] == "applied"
    ]


GROWING = {
    "001_item": script(ITEM),
    "002_x": creates("other"),
    "003_x": MORE,
    "004_x": script("migrator.add_index('item', 'more', unique=True)"),
    "005_x": script("migrator.rename_field('item', 'more', 'most')"),
    "006_x": creates("last"),
    "007_x": script("migrator.add_fields('last', size=pw.IntegerField(default=3))"),
}


@pytest.mark.parametrize("engine_name", ["mariadb"], indirect=True)
def test_what_was_gathered_wrongly_is_not_gathered_again(members, folder, cache, monkeypatch):
    real, asked = server_plan.gathered, []

    def less(steps):
        asked.extend([steps] if steps else [])
        return [[] if "`other`" in str(part) else part for part in real(steps)]

    monkeypatch.setattr(server_plan, "gathered", less)
    found = members(5)

    report = fleet.migrate_fleet([e.url for e in found], [folder(GROWING)], jobs=1, config=ON)

    assert {member.state for member in report.reports} == {State.MIGRATED}
    assert len(asked) == 2, "two stretches of the one database that it was tried on"
    assert cache.repeated == 2
    for engine in found:
        assert schema(engine) == schema(found[0])
        assert history(engine) == history(found[0])


@pytest.mark.parametrize("engine_name", ["mariadb"], indirect=True)
def test_a_repeated_plan_that_ends_at_any_statement_is_finished_by_the_scripts(members, folder, cache, monkeypatch):
    """As when the process was killed; what else can be killed, and how PostgreSQL takes it, is in ``test_kills``."""
    source, connection = folder(GROWING), pymysql.connections.Connection
    whole = members(2)
    fleet.migrate_fleet([e.url for e in whole], [source], jobs=1, config=ON)
    real, left = connection.query, [1000]

    def query(self, sql, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            self._force_close()
            raise Killed
        return real(self, sql, *args, **kwargs)

    monkeypatch.setattr(connection, "query", query)
    killed = 0
    for lives in itertools.count(8, 3):
        (engine,) = members(1)
        left[0] = lives
        with suppress(Killed):
            fleet.migrate_fleet([engine.url], [source], jobs=1, config=ON)
        left[0] = 1000
        if cache.repeated:
            break
        killed += 1

        Runner(engine.url, [source], config=OFF).migrate()

        assert schema(engine) == schema(whole[0])
        assert history(engine) == history(whole[0])
    assert killed > 8


class Killed(BaseException):
    """The end of a process."""


def test_a_group_that_keeps_going_wrong_is_given_up(run, cache, monkeypatch):
    tried = []

    def again(self):
        tried.append(self)
        raise Doubt("on purpose")

    monkeypatch.setattr(server_plan.Repetition, "run", again)
    monkeypatch.setattr("framework_schema.plan_cache.DOUBTS", 1)

    _, report = run([creates("other")], count=4)

    assert {member.state for member in report.reports} == {State.MIGRATED}
    assert len(tried) == 1


OTHERS = {
    "a column's type": "CREATE TABLE own (a VARCHAR({number}))",
    "a default": "CREATE TABLE own (a INTEGER DEFAULT {number})",
    "a CHECK": "CREATE TABLE own (a INTEGER CHECK (a > {number}))",
    "an index": "CREATE INDEX own{number} ON item (note)",
    "a view": "CREATE VIEW own AS SELECT id + {number} AS a FROM item",
    "the order of columns": "ALTER TABLE item ADD COLUMN own{number} INTEGER",
}
OF_POSTGRES = {
    "a function": "CREATE FUNCTION own() RETURNS INTEGER LANGUAGE sql AS 'SELECT {number}'",
    "a domain": "CREATE DOMAIN own AS INTEGER CHECK (VALUE > {number})",
    "an enum": "CREATE TYPE own AS ENUM ('a', 'b{number}')",
    "a sequence": "CREATE SEQUENCE own INCREMENT {number}",
    "a policy": "CREATE POLICY own ON item USING (id > {number})",
    "a rule": "CREATE RULE own AS ON DELETE TO item DO ALSO SELECT {number}",
    "a comment": "COMMENT ON COLUMN item.name IS '{number}'",
    "a setting of the database": "ALTER DATABASE \"{database}\" SET DateStyle = 'ISO, {word}'",
}
OF_MARIADB = {
    "a trigger": "CREATE TRIGGER own BEFORE INSERT ON item FOR EACH ROW SET NEW.note = '{number}'",
    "a routine": "CREATE FUNCTION own() RETURNS INTEGER DETERMINISTIC RETURN {number}",
    "a sequence": "CREATE SEQUENCE own INCREMENT {number}",
    "a comment": "ALTER TABLE item COMMENT '{number}'",
    "the collation": "ALTER DATABASE COLLATE {collation}",
}


@pytest.mark.parametrize(("engine_name", "statement"), [
    pytest.param(name, statement, id=f"{what}, {name}")
    for name, own in (("postgresql", OF_POSTGRES), ("mariadb", OF_MARIADB))
    for what, statement in (OTHERS | own).items()
])  # fmt: skip
def test_databases_that_differ_are_not_of_a_kind(run, cache, engine_name, statement):
    def prepare(number, engine):
        name = engine.url.rpartition("/")[2]
        word, collation = (
            ["MDY", "DMY", "YMD"][number],
            ["utf8mb4_bin", "utf8mb4_unicode_ci", "utf8mb4_general_ci"][number],
        )
        engine.sql(statement.format(number=number + 1, database=name, word=word, collation=collation))

    run([creates("other")], prepare=prepare)

    assert len(cache._groups) == 3
    assert cache.repeated == 0


def test_a_counter_s_value_makes_no_difference(run, cache):
    run([creates("other")])

    assert len(cache._groups) == 1


def test_a_script_that_was_begun_on_mariadb_is_gone_on_with_by_itself(run, cache, engine_name):
    if engine_name == "postgresql":
        pytest.skip("it undoes what was begun")

    def prepare(number, engine):
        if number == 2:
            engine.sql(
                "INSERT INTO schema_migration_events (at, kind, migration_name, outcome, detail, host, process, "
                "package_version) VALUES (UTC_TIMESTAMP(), 'progress', 'app/002_x', 'ok', "
                "JSON_OBJECT('done', JSON_ARRAY(), 'doubt', NULL), '', 0, '')"
            )

    _, report = run([creates("other")], prepare=prepare)

    assert [member.state for member in report.reports] == [State.MIGRATED] * 3
    assert cache.repeated == 0


def test_off_is_off(run, cache):
    _, report = run([creates("other")], config=OFF)

    assert (cache.repeated, cache._groups) == (0, {})
    assert {member.state for member in report.reports} == {State.MIGRATED}


def test_a_lock_that_another_has_is_waited_for_by_the_scripts(run, cache):
    with ExitStack() as held:

        def prepare(number, engine):
            if number == 2:
                other = Runner(engine.url, [], config=ON)
                database = held.enter_context(other.target.connected())
                held.enter_context(other.dialect.exclusive(database, "held"))

        _, report = run([creates("other")], prepare=prepare, config=Config(backup="never", timeout=0.5))

    assert [member.state for member in report.reports] == [State.MIGRATED, State.MIGRATED, State.LOCKED]
    assert "another process" in report.reports[2].error
    assert cache.repeated == 0


def test_the_framework_s_schema_ends_the_same_with_and_without(members, cache):
    fast, slow = members(3), members(2)

    with_cache = fleet.migrate_fleet([e.url for e in fast], [framework()], jobs=1, config=ON)
    without = fleet.migrate_fleet([e.url for e in slow], [framework()], jobs=1, config=OFF)

    assert cache.repeated == 1
    assert {report.state for report in (*with_cache.reports, *without.reports)} == {State.MIGRATED}
    assert with_cache.reports[-1].applied == without.reports[-1].applied
    assert schema(fast[-1]) == schema(slow[0])
    assert history(fast[-1]) == history(slow[0])
    assert events(fast[-1]) == events(slow[0])
    for table in schema(slow[0]).tables.values():
        if not table.name.startswith("schema_migration"):
            count = f'SELECT count(*) FROM "{table.name}"'
            assert fast[-1].value(count) == slow[0].value(count), table.name


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("import peewee as pw", True),
        ("class A(pw.Model):\n    type = pw.CharField()\nA.type.default = 'x'", True),
        ("def f(database: pw.Database): pass", True),
        ("def f(self): return super().save()", True),
        ("x = model._meta.table_name", True),
        ("x = database._state", False),
        ("x = type(database)", False),
        ("x = database.__class__", False),
        ("x = pw.Database.cursor(database)", False),
        ("x = pw.MySQLDatabase('x')", False),
        ("from peewee import PostgresqlDatabase", False),
        ("from playhouse.db_url import connect", False),
        ("from playhouse import pool", False),
        ("from operator import attrgetter\nx = attrgetter('_state')", False),
        ("import operator\nx = operator.methodcaller('cursor')", False),
        ("x = getattr(database, '_sta' + 'te')", False),
        ("x = getattr(database, '_state')", False),
        ("x = super(A, database).execute_sql", False),
        ("match database:\n    case pw.Model(_state=x): pass", False),
        ("def f(x: pw.Database.cursor(database)): pass", False),
        ("x = pw.psycopg", False),
    ],
)
def test_what_a_script_can_reach_is_seen_in_its_text(folder, text, is_so):
    body = f"{dedent(text)}\n\ndef migrate(migrator, database, **kw): pass\n"
    (migration,) = collect([folder({"001_x": body})]).migrations

    assert is_contained(migration) is is_so


# Several processes


def test_what_two_processes_agree_on_is_repeated_in_both(run, monkeypatch, tmp_path):
    (tmp_path / "shelf").mkdir()
    caches = [PlanCache(Shelf(tmp_path / "shelf")) for _ in range(2)]
    turns = itertools.cycle(caches)
    monkeypatch.setattr(fleet, "_plans", lambda *run: next(turns))

    found, report = run([creates("other"), MORE], count=4)

    assert [cache.repeated for cache in caches] == [1, 1]
    assert {member.state for member in report.reports} == {State.MIGRATED}
    for engine in found:
        assert schema(engine) == schema(found[0])
        assert events(engine) == events(found[0])


def test_real_processes_lend_each_other(members, folder, tmp_path):
    found = members(3)
    source = folder({"001_item": script(ITEM), "002_other": creates("other"), "003_more": MORE})
    tasks = [
        fleet.Task("migrate", Member(engine.url, engine.url), (source,), ON, run="one", shelf=str(tmp_path / "shelf"))
        for engine in found
    ]
    (tmp_path / "shelf").mkdir()
    with ExitStack() as stack:
        here, there = (stack.enter_context(fleet._Processes(1)) for _ in range(2))
        turns = zip((here, there, here), tasks, strict=True)
        reports = [crew.executor.submit(fleet.run_member, task).result() for crew, task in turns]

    assert [report.state for report in reports] == [State.MIGRATED] * 3
    took = [
        [ms for (ms,) in engine.sql("SELECT duration_ms FROM schema_migration_events WHERE kind = 'applied'")]
        for engine in found
    ]
    assert any(took[0])
    assert any(took[1])
    assert not any(took[2])  # what is repeated takes no time of its own
    for engine in found:
        assert schema(engine) == schema(found[0])
        assert events(engine) == events(found[0])


def test_a_history_of_old_is_known_again_too(run, cache):
    def prepare(number, engine):
        for column in ("success", "error_message", "execution_time_ms"):
            engine.sql(f"ALTER TABLE schema_migrations DROP COLUMN {column}")

    _, report = run([creates("other"), MORE], count=4, prepare=prepare)

    assert cache.repeated == 2
    assert {member.state for member in report.reports} == {State.MIGRATED}

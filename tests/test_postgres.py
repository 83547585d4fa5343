import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress

import peewee as pw
import pytest
import servers
from playhouse.pool import PooledPostgresqlDatabase
from script_texts import creates, script, sql

from framework_schema import applying, databases, fleet, postgres
from framework_schema.catalog import Catalog
from framework_schema.config import Config
from framework_schema.databases import open_target
from framework_schema.errors import ConfigError, MigrationFailed, SchemaError, Unreadable
from framework_schema.expected import _made as made
from framework_schema.postgres_snapshot import PostgresReader
from framework_schema.rehearsal import rehearse
from framework_schema.report import State
from framework_schema.runner import Runner


@pytest.fixture
def fresh():
    with servers.Fresh("postgresql") as fresh:
        yield fresh


def rest_of(url):
    return url.partition("://")[2]


def quick(fresh, source, **settings):
    return Runner(fresh.url, [source], config=Config(backup="never", **{"timeout": 20, **settings}))


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "psycopg", "postgresql+pool", "postgres+pool", "psycopg+pool"]
)
def test_every_scheme_is_a_plain_connection(fresh, folder, scheme):
    runner = Runner(f"{scheme}://{rest_of(fresh.url)}", [folder({"001_a": creates("A")})])

    assert runner.migrate().state is State.MIGRATED
    assert type(runner.target.database) is postgres.OwnPostgres
    assert runner.target.database.is_closed()


def test_a_name_with_anything_in_it_is_decoded(folder):
    with servers.Fresh("postgresql", name=f"{servers.PREFIX}a b%@/ü") as fresh:
        assert Runner(fresh.url, [folder({"001_a": creates("A")})]).migrate().state is State.MIGRATED


@pytest.mark.parametrize("how", ["?schema=other", "?search_path=other", "?options=-c%20search_path%3Dother"])
def test_a_schema_can_be_named(fresh, folder, how):
    servers.run("postgresql", fresh.url, "CREATE SCHEMA other", 'CREATE TABLE "A" (x int)')
    source = folder({"001_a": creates("A")})

    report = Runner(fresh.url + how, [source]).migrate()

    assert report.applied == ["app/001_a"]
    found = servers.run("postgresql", fresh.url, "SELECT schemaname FROM pg_tables WHERE tablename = 'A' ORDER BY 1")
    assert found == [("other",), ("public",)]
    assert not Runner(fresh.url + how, [source]).drift(strict=True)


def test_an_apps_pooled_database_is_left_alone(fresh, folder):
    host = servers.need("postgresql").partition("://")[2]
    user, _, place = host.rpartition("@")
    address, _, port = place.partition(":")
    pool = PooledPostgresqlDatabase(
        fresh.name, host=address, port=port or 5432, user=user, max_connections=2, prefer_psycopg3=True
    )

    report = Runner(pool, [folder({"001_a": creates("A")})]).migrate()

    assert report.state is State.MIGRATED
    assert pool.is_closed() and not pool._connections and not pool._in_use


def test_a_missing_driver_names_the_extra(monkeypatch):
    monkeypatch.setattr(databases, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"framework-schema\[postgres\]"):
        open_target("postgresql://localhost/x")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bob:se/kret@localhost/x",
        "postgresql://bob:sekret@localhost:port/x",
        "postgresql://bob:sekret@localhost",
        "oracle://bob:sekret@localhost/x",
        "postgresql://bob:sekret@127.0.0.1:1/x",
        "postgresql://bob@127.0.0.1:1/x?password=sekret",
    ],
)
def test_no_error_shows_a_password(url):
    with pytest.raises((ConfigError, Unreadable)) as refused:
        Runner(url).status()

    shown = f"{refused.value} {refused.value!r} {refused.value.__cause__!r}"
    assert "kret" not in shown


def test_a_missing_database_is_said_with_what_to_do(fresh):
    with pytest.raises(Unreadable, match="Create the database first"):
        Runner(fresh.url + "_no").status()


def test_ddl_behind_a_reader_waits_in_short_tries_and_lets_others_read(fresh, folder):
    source = folder({"001_a": creates("A")})
    quick(fresh, source).migrate()
    folder({"002_b": sql('ALTER TABLE "A" ADD COLUMN y INTEGER')})
    reader = servers.connect("postgresql", fresh.url)
    reader.autocommit = False
    reader.execute('SELECT * FROM "A"')
    waits = []

    def read_for(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            started = time.monotonic()
            servers.run("postgresql", fresh.url, 'SELECT * FROM "A"')
            waits.append(time.monotonic() - started)
            time.sleep(0.05)
        reader.rollback()

    thread = threading.Thread(target=read_for, args=(4,))
    thread.start()
    report = quick(fresh, source).migrate()
    thread.join()
    reader.close()

    assert report.applied == ["app/002_b"]
    assert max(waits) < postgres.LOCK_WAIT + 1 and len(waits) > 3


def test_a_reader_that_never_ends_is_given_up_after_the_timeout(fresh, folder):
    source = folder({"001_a": creates("A")})
    quick(fresh, source).migrate()
    folder({"002_b": sql('ALTER TABLE "A" ADD COLUMN y INTEGER')})
    reader = servers.connect("postgresql", fresh.url)
    reader.autocommit = False
    reader.execute('SELECT * FROM "A"')

    with pytest.raises(MigrationFailed, match=r"app/002_b: .*lock timeout"):
        quick(fresh, source, timeout=0.5).migrate()
    reader.close()

    assert quick(fresh, source).migrate().applied == ["app/002_b"]


def test_a_proxy_that_changes_servers_between_statements_is_refused(fresh, folder, monkeypatch):
    """Stand-in for pgbouncer in transaction mode: after the lock, another server process answers."""
    source = folder({"001_a": creates("A")})
    real = postgres._holds
    monkeypatch.setattr(postgres, "_holds", lambda database, half, pid: real(database, half, pid + 1))

    with pytest.raises(Unreadable, match="session mode"):
        quick(fresh, source).migrate()

    assert servers.run("postgresql", fresh.url, "SELECT count(*) FROM pg_tables WHERE tablename = 'A'") == [(0,)]


def test_each_script_is_a_transaction_with_its_row(fresh, folder):
    """What a later script cannot take back is there for others while that one still runs."""
    seen = []
    source = folder({"001_a": creates("A"), "002_b": sql("SELECT pg_sleep(1.5)")})

    def look():
        time.sleep(1.2)
        seen.extend(servers.run("postgresql", fresh.url, "SELECT migration_name FROM schema_migrations"))

    quick(fresh, source).status()
    thread = threading.Thread(target=look)
    thread.start()
    quick(fresh, source).migrate()
    thread.join()

    assert seen == [("app/001_a",)]


def test_constraints_are_added_in_two_steps(fresh, folder):
    scripts = {"001_a": creates("A"), "002_b": sql('ALTER TABLE "A" ADD CONSTRAINT c CHECK (id > 0)')}
    quick(fresh, folder(scripts)).migrate()
    servers.run("postgresql", fresh.url, 'ALTER TABLE "A" DROP CONSTRAINT c')
    runner = quick(fresh, folder(scripts))

    runner.migrate(strict=True)

    details = [event["detail"] or "" for event in runner.history(events=True)]
    assert any("NOT VALID" in detail and "VALIDATE CONSTRAINT" in detail for detail in details)
    assert not runner.drift(strict=True)


def test_names_that_differ_in_case_are_two_tables(fresh, folder):
    servers.run("postgresql", fresh.url, "CREATE TABLE a (x int)", "INSERT INTO a VALUES (1)")
    source = folder({"001_a": creates("A")})

    report = quick(fresh, source).migrate()

    assert report.applied == ["app/001_a"]
    assert servers.run("postgresql", fresh.url, "SELECT x FROM a") == [(1,)]


class StandIn(postgres.OwnCockroach):
    """PostgreSQL that is taken for CockroachDB 24.1."""

    def _set_server_version(self, conn):
        self.server_version = 240100


def test_cockroachdb_by_a_stand_in(fresh, folder, monkeypatch):
    """The class, the URL and the SQL are covered; CockroachDB itself is not."""
    monkeypatch.setattr(postgres, "OwnCockroach", StandIn)
    place = rest_of(fresh.url)
    place = place if ":" in place else place.replace("/", ":5432/", 1)
    url = f"cockroachdb://{place}"
    source = folder({"001_a": creates("A"), "002_b": creates("B")})

    report = Runner(url, [source]).migrate()

    assert report.engine == "cockroachdb" and report.applied == ["app/001_a", "app/002_b"]
    assert Runner(url, [source]).migrate().state is State.CURRENT


AGAIN = """
import peewee as pw
def migrate(migrator, database, *, fake=False):
    migrator.sql("INSERT INTO tries VALUES (1)")
    migrator.sql(
        "DO $$ BEGIN IF nextval('tried') <= 3 THEN RAISE EXCEPTION 'restart transaction' USING ERRCODE = '40001'; "
        "END IF; END $$"
    )
"""


@pytest.mark.parametrize("scheme", ["postgresql", "cockroachdb"])
@pytest.mark.parametrize("starts_at", [1, -100])
def test_what_the_server_asks_to_begin_again_is_begun_again_a_few_times(fresh, folder, monkeypatch, scheme, starts_at):
    """A sequence counts the tries, for no transaction undoes it; CockroachDB by its stand-in."""
    monkeypatch.setattr(postgres, "OwnCockroach", StandIn)
    place = rest_of(fresh.url)
    url = f"{scheme}://{place if ':' in place else place.replace('/', ':5432/', 1)}"
    setup = sql("CREATE TABLE tries (x INTEGER)", f"CREATE SEQUENCE tried MINVALUE -1000 START {starts_at}")
    source = folder({"001_a": creates("A"), "002_setup": setup, "003_again": AGAIN})
    servers.run("postgresql", fresh.url, "CREATE TABLE unrelated (x int)")

    if starts_at > 0:
        assert Runner(url, [source]).migrate().applied == ["app/001_a", "app/002_setup", "app/003_again"]
        assert servers.run("postgresql", fresh.url, "SELECT x FROM tries") == [(1,)]
        return
    with pytest.raises(MigrationFailed, match="restart transaction") as failed:
        Runner(url, [source]).migrate()
    report = failed.value.report
    assert (report.state, report.applied) == (State.LOCKED, ["app/001_a", "app/002_setup"])
    assert report.pending == ("app/003_again",) and Runner(url, [source]).history(failed=True) == []
    tried = servers.run("postgresql", fresh.url, "SELECT last_value - (-100) + 1 FROM tried")[0][0]
    assert tried == applying.TRIES


def test_a_deferred_database_is_refused():
    with pytest.raises(ConfigError, match="init"):
        open_target(pw.PostgresqlDatabase(None))


ENDS = [
    "database.cursor().execute('COMMIT')",
    "database.connection().commit()",
    "database.connection().rollback()",
    "database.execute_sql('SELECT 1; COMMIT')",
]


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("ask", [Runner.status, rehearse], ids=["status", "dry run"])
def test_a_script_that_leaves_its_transaction_changes_nothing_where_nothing_is_to_change(fresh, folder, ends, ask):
    """It runs in a scratch schema and in a dry run too; behind its COMMIT it would work on the live tables."""
    quick(fresh, folder({"001_a": creates("a")}, of="old")).migrate()
    body = f"migrator.sql('CREATE TABLE b (x INTEGER)')\ntry:\n    {ends}\nexcept Exception:\n    pass\n"
    source = folder({"001_a": creates("a"), "002_b": script(f"{body}migrator.sql('DROP TABLE a')")})

    with suppress(SchemaError):
        ask(quick(fresh, source))

    tables = "SELECT tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)' ORDER BY 1"
    assert servers.run("postgresql", fresh.url, tables) == [
        ("a",),
        ("schema_migration_events",),
        ("schema_migrations",),
    ]
    assert quick(fresh, source).history()[0]["migration_name"] == "app/001_a"


# Prepared looks


PREPARED = "SELECT count(*) FROM pg_prepared_statements"


def test_our_looks_are_prepared_under_the_lock_and_nothing_else_is(fresh, folder):
    runner = quick(fresh, folder({"001_a": creates("A")}))
    runner.migrate()
    with runner.target.connected() as database:
        runner.dialect.snapshot(database, table="A")
        assert database.execute_sql(PREPARED).fetchone() == (0,)
        with runner.dialect.exclusive(database, "x"):
            runner.dialect.snapshot(database, table="A")
            looks = database.execute_sql(PREPARED).fetchone()
            for _ in range(10):
                database.execute_sql('SELECT * FROM "A"').fetchall()

            assert looks > (0,)
            assert database.execute_sql(PREPARED).fetchone() == looks
            assert database.connection().prepare_threshold is None


def test_a_script_may_read_a_table_before_and_after_it_changes(fresh, folder):
    reads = "for _ in range(8): database.execute_sql('SELECT * FROM \"A\"').fetchall()"
    more = "migrator.add_fields('A', more=pw.IntegerField(null=True))"

    report = quick(fresh, folder({"001_a": creates("A"), "002_b": script("\n".join([reads, more, reads]))})).migrate()

    assert report.applied == ["app/001_a", "app/002_b"]


@pytest.mark.parametrize("name", ["A", "B", 'a "b" %s'])
def test_a_prepared_look_sees_what_a_plain_one_does(fresh, folder, name):
    scripts = {"001_a": creates("A", "name", "more"), "002_b": creates("B")}
    runner = quick(fresh, folder(scripts))
    runner.migrate()
    with runner.target.connected() as database:
        plain = runner.dialect.snapshot(database, table=name)
        with runner.dialect.exclusive(database, "x"):
            for _ in range(8):
                assert runner.dialect.snapshot(database, table=name) == plain
            database.execute_sql('ALTER TABLE "A" ADD COLUMN late integer')
            assert ("late" in runner.dialect.snapshot(database, table="A").tables["A"].columns) is True


@pytest.mark.parametrize(
    "statement",
    [
        "DEALLOCATE ALL",
        "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$",
        pytest.param("cursor", id="by a cursor of its own"),
    ],
)
def test_a_script_may_deallocate_what_was_prepared(fresh, folder, statement):
    ends = f"database.execute_sql({statement!r})" if " " in statement else "database.cursor().execute('DEALLOCATE ALL')"
    more = "migrator.add_fields('A', {}=pw.IntegerField(null=True))"
    scripts = {
        "001_a": creates("A"),
        "002_b": script("\n".join([more.format("b"), ends, more.format("c")])),
        "003_d": script(more.format("d")),
    }
    runner = quick(fresh, folder(scripts))

    assert rehearse(quick(fresh, folder(scripts))).state is State.PENDING
    assert runner.migrate().applied == ["app/001_a", "app/002_b", "app/003_d"]
    assert not runner.drift(strict=True).structural


@pytest.mark.parametrize("statement", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_so_may_one_that_refuses_a_transaction(fresh, folder, statement):
    more = script("migrator.add_fields('A', b=pw.IntegerField(null=True))")
    alone = f"atomic = False\n{sql(statement)}"

    scripts = {"001_a": creates("A"), "002_b": more, "003_c": alone, "004_d": creates("D")}

    report = quick(fresh, folder(scripts)).migrate()

    assert report.applied == ["app/001_a", "app/002_b", "app/003_c", "app/004_d"]


@pytest.mark.parametrize(
    ("body", "is_foreign"),
    [
        ("migrator.rename_field('A', 'name', 'title')", False),
        ("migrator.rename_table('A', 'B')", True),  # its counter of ids is asked for and renamed with it
        ("migrator.change_fields('A', name=pw.CharField(null=True))", False),
        ("migrator.remove_fields('A', 'name')", False),
        ("migrator.add_not_null('A', 'name')", False),
        ("migrator.add_fields('A', more=pw.IntegerField(default=1))", True),
        ("migrator.add_default('A', 'name', 'x')", True),
        ("migrator.sql('SELECT 1')", True),
    ],
)
def test_a_session_is_ours_until_a_statement_or_a_row_s_trigger_of_somebody_else_may_run(
    fresh, folder, body, is_foreign
):
    runner = quick(fresh, folder({"001_a": creates("A")}))
    runner.migrate()
    servers.run("postgresql", fresh.url, "INSERT INTO \"A\" (name) VALUES ('one')")

    runner = quick(fresh, folder({"001_a": creates("A"), "002_b": script(body)}))

    assert runner.migrate().applied == ["app/002_b"]
    assert runner.target.database.script_was_here is is_foreign


# The scratch


def test_new_tables_are_made_without_a_look_at_those_there_are(fresh, folder, monkeypatch):
    reads = []
    read = PostgresReader.read
    monkeypatch.setattr(
        PostgresReader, "read", lambda self, *how, **more: (reads.append(self.only), read(self, *how, **more))[1]
    )

    def looks_with(count):
        with servers.Fresh("postgresql") as other:
            reads.clear()
            quick(other, folder({f"{n:03d}_t": creates(f"T{n}") for n in range(1, count + 1)})).migrate()
            return list(reads)

    few = looks_with(2)

    assert looks_with(30) == few


def test_a_dry_run_knows_that_a_script_cannot_go_on_after_an_operation_that_failed(fresh, folder):
    scripts = {"001_a": creates("A")}
    quick(fresh, folder(scripts)).migrate()
    servers.run("postgresql", fresh.url, *["INSERT INTO \"A\" (name) VALUES ('one')"] * 2)
    tries = "try: migrator.add_index('A', 'name', unique=True)\nexcept pw.PeeweeException: pass\n"
    scripts["002_b"] = script(tries + "migrator.add_fields('A', more=pw.IntegerField(null=True))")

    assert rehearse(quick(fresh, folder(scripts))).state is State.FAILED
    with pytest.raises(MigrationFailed):
        quick(fresh, folder(scripts)).migrate()


def test_what_is_expected_is_the_same_whether_the_scratch_s_tables_are_kept_or_not(fresh, folder, monkeypatch):
    hits = []
    table = Catalog.table

    def told(self, name, read):
        missed = []
        found = table(self, name, lambda: (missed.append(name), read())[1])
        hits.extend([name] * (not missed and found is not None))
        return found

    known = folder({
        "001_a": creates("A", "name", "more"),
        "002_raw": script(
            "database.execute_sql('ALTER TABLE \"A\" ADD COLUMN raw integer')\n"
            "migrator.add_fields('A', b=pw.IntegerField(null=True), raw=pw.IntegerField(null=True))"
        ),
        "003_fails": script("migrator.add_fields('A', c=pw.IntegerField(null=True))\nraise ValueError"),
        "004_c": script("migrator.add_fields('A', c=pw.TextField(null=True))\nmigrator.add_index('A', 'c')"),
        "005_renamed": script(
            "migrator.rename_table('A', 'B')\nmigrator.add_fields('B', d=pw.IntegerField(null=True))\n"
            "migrator.rename_field('B', 'd', 'e')\nmigrator.add_index('B', 'e', unique=True)"
        ),
        "006_function": sql(
            "CREATE FUNCTION more() RETURNS void LANGUAGE plpgsql AS "
            "$$ BEGIN ALTER TABLE \"B\" ADD COLUMN f integer; END $$",
        ),
        "007_called": script(
            "database.execute_sql('SELECT more()')\nmigrator.add_fields('B', f=pw.IntegerField(null=True))\n"
            "migrator.add_index('B', 'f')"
        ),
        "008_gone": script(
            "migrator.remove_model('B')\n@migrator.create_model\nclass B(pw.Model):\n    g = pw.TextField()"
        ),
    })  # fmt: skip
    runner = quick(fresh, known)
    monkeypatch.setattr(Catalog, "table", told)
    with runner.target.connected():
        expected = runner.expected(runner.known.migrations, True)
    assert hits
    made.cache_clear()
    monkeypatch.setattr(postgres.PostgresDialect, "keeping", lambda *_: nullcontext())
    with runner.target.connected():
        assert runner.expected(runner.known.migrations, True) == expected
    assert "B" not in expected.tables
    assert set(expected.tables["b"].columns) == {"id", "g"}


CAUGHT = "try:\n    {}\nexcept pw.PeeweeException: pass\nmigrator.add_fields('A', more=pw.IntegerField(null=True))"
OWN_TABLE = """
class B(pw.Model):
    n = pw.TextField(constraints=[pw.SQL('CHECK (no_function(n))')])
    @classmethod
    def create_table(cls, safe=True, **options):
        super().create_table(safe, **options)
"""


@pytest.mark.parametrize(
    ("head", "tried", "goes_on"),
    [
        ("", "migrator.add_default('A', 'name', 'x')", False),
        ("", "migrator.add_fields('A', b=pw.IntegerField(constraints=[pw.SQL('CHECK (no_function(b))')]))", False),
        ("", "migrator.add_fields('A', b=pw.IntegerField(default=1, constraints=[pw.SQL('CHECK (no(b))')]))", False),
        (OWN_TABLE, "migrator.create_model(B)", False),
        ("", "migrator.sql('ALTER TABLE \"A\" ADD name int')", True),
    ],
)
@pytest.mark.parametrize("rows", [0, 2])
def test_a_dry_run_fails_where_a_run_does(fresh, folder, head, tried, goes_on, rows):
    if rows == 0 and "add_default" in tried:
        goes_on = True  # there is nothing to fill
    scripts = {"001_a": creates("A")}
    quick(fresh, folder(scripts)).migrate()
    servers.run("postgresql", fresh.url, *['INSERT INTO "A" DEFAULT VALUES'] * rows)
    servers.run("postgresql", fresh.url, "ALTER TABLE \"A\" ADD CONSTRAINT k CHECK (name <> 'x')")
    scripts["002_b"] = script(CAUGHT.format(tried), head=head)
    dry, runner = rehearse(quick(fresh, folder(scripts))), quick(fresh, folder(scripts))

    if goes_on:
        assert runner.migrate().applied == dry.applied == ["app/002_b"]
    else:
        with pytest.raises(MigrationFailed) as failed:
            runner.migrate()
        assert failed.value.report.failed == dry.failed == ["app/002_b"]


def test_a_constraint_that_is_put_off_fails_the_script_that_breaks_it(fresh, folder):
    keys = sql(
        "CREATE TABLE p (id int PRIMARY KEY)",
        "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    )
    late = sql("INSERT INTO c VALUES (2, 5)", "INSERT INTO p VALUES (5)")
    scripts = {
        "001_keys": keys,
        "002_late": late,
        "003_bad": sql("INSERT INTO c VALUES (1, 99)"),
        "004_d": creates("D"),
    }

    with pytest.raises(MigrationFailed) as failed:
        quick(fresh, folder(scripts)).migrate()

    assert failed.value.report.failed == ["app/003_bad"]
    assert servers.run("postgresql", fresh.url, "SELECT id FROM c") == [(2,)]
    with pytest.raises(MigrationFailed) as failed:
        quick(fresh, folder({name: scripts[name] for name in list(scripts)[:3]})).migrate()
    assert failed.value.report.failed == ["app/003_bad"]


@pytest.mark.parametrize("there", [['"Item"'], ['"Item"', "item"]])
def test_a_name_in_another_case_is_another_table(fresh, folder, there):
    servers.run("postgresql", fresh.url, *[f"CREATE TABLE {name} (id serial PRIMARY KEY)" for name in there])
    servers.run("postgresql", fresh.url, 'INSERT INTO "Item" DEFAULT VALUES')

    with suppress(MigrationFailed):
        quick(fresh, folder({"001_x": script("migrator.remove_model('item')")})).migrate()

    assert servers.run("postgresql", fresh.url, 'SELECT id FROM "Item"') == [(1,)]
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename ILIKE 'item'"
    assert servers.run("postgresql", fresh.url, tables) == [("Item",)]


def test_what_is_expected_waits_for_nobody(fresh, folder):
    quick(fresh, folder({"001_a": creates("A")})).migrate()
    source = folder({"001_a": creates("A"), "002_b": sql('ALTER TABLE public."A" ADD COLUMN more int')})
    with servers.connect("postgresql", fresh.url) as reader:
        reader.cursor().execute('BEGIN; SELECT * FROM "A"')
        started = time.monotonic()
        quick(fresh, source).drift()

        assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    "body",
    [
        "migrator.add_fields('A', v=pw.IntegerField(null=True, constraints=[pw.SQL('DEFAULT more()')]))",
        "migrator.add_fields('A', v=pw.IntegerField(default=1, constraints=[pw.SQL('CHECK (more() = 1)')]))",
    ],
)
def test_a_function_in_a_column_may_change_another_table(fresh, folder, body):
    more = (
        "CREATE FUNCTION more() RETURNS int LANGUAGE plpgsql AS "
        '$$ BEGIN ALTER TABLE "B" ADD COLUMN IF NOT EXISTS extra text; RETURN 1; END $$'
    )
    scripts = {"001_a": creates("A"), "002_b": creates("B"), "003_more": sql(more)}
    quick(fresh, folder(scripts)).migrate()
    servers.run("postgresql", fresh.url, 'INSERT INTO "A" DEFAULT VALUES')
    look, extra = "migrator.add_fields('B', name=pw.TextField(null=True))", "extra=pw.TextField(null=True)"
    scripts["004_c"] = script("\n".join([look, body, f"migrator.add_fields('B', {extra})"]))

    assert quick(fresh, folder(scripts)).migrate().applied == ["app/004_c"]


def test_a_search_path_of_one_transaction_is_not_the_next_one_s(fresh, folder):
    other = "database.execute_sql('CREATE SCHEMA other')\ndatabase.execute_sql('SET LOCAL search_path = other, public')"
    made = "@migrator.create_model\nclass A(pw.Model):\n    x = pw.TextField()\n    class Meta: table_name = 'A'"
    again = f"{made}\ndatabase.execute_sql('INSERT INTO public.\"A\" (x) VALUES (1)')"
    looks = "migrator.add_fields('A', x=pw.TextField())"

    report = quick(fresh, folder({"001_a": script(f"{other}\n{made}\n{looks}"), "002_b": script(again)})).migrate()

    assert report.applied == ["app/001_a", "app/002_b"]


def test_a_check_in_the_server_s_own_words_is_told_apart(fresh, folder):
    runner = quick(fresh, folder({"001_a": creates("A")}))
    runner.migrate()
    changes = "ADD bad text", "ADD CONSTRAINT k CHECK (name <> 'x')", "ADD CONSTRAINT l CHECK (bad <> 'x')"
    servers.run("postgresql", fresh.url, *[f'ALTER TABLE "A" {change}' for change in changes])

    checks = {d.name: d.extra for d in runner.drift(strict=True).differences if d.kind == "check"}

    assert checks == {"(name <> 'x'::text)": False, "(bad <> 'x'::text)": True}


# Workers


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGKILL])
def test_a_fleet_run_that_is_killed_leaves_no_shelf(fresh, folder, tmp_path, ends):
    source = folder({"001_slow": script("database.execute_sql('SELECT pg_sleep(5)').fetchall()")})
    with servers.Fresh("postgresql") as other:
        program = (
            "from framework_schema import Config, Folder, migrate_fleet\n"
            "if __name__ == '__main__':\n"
            f"    migrate_fleet({[fresh.url, other.url]!r}, [Folder({str(source.path)!r}, 'app')], jobs=2,"
            " config=Config(backup='never'))\n"
        )
        (tmp_path / "program.py").write_text(program)
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        with subprocess.Popen(
            [sys.executable, tmp_path / "program.py"],
            env=os.environ | {"TMPDIR": str(temporary)},
            stderr=subprocess.DEVNULL,
        ) as process:
            wait_until(lambda: list(temporary.glob(f"{fleet.SHELVES}*")))
            time.sleep(2)  # until its workers are there
            process.send_signal(ends)
        wait_until(lambda: not list(temporary.glob(f"{fleet.SHELVES}*")))


def wait_until(is_so):
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)

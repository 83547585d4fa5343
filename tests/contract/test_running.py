"""Applying, failing, going on, waiting: the same on every engine, as far as the engine can."""

import json
import os
import signal
import time

import pytest
from conftest import Engine
from processes import start
from script_texts import creates, script, sql

from framework_schema import migrate_fleet
from framework_schema.errors import DatabaseError, Locked, MigrationFailed, PlanRefused
from framework_schema.report import State

COUNTS = """\
@migrator.create_model
class Count(pw.Model):
    name = pw.CharField(max_length=20, primary_key=True)
    value = pw.IntegerField(default=0)
    class Meta:
        table_name = "Count"
"""


def counting(*names):
    """Return scripts of which each adds one to a row of its own, which only the first script makes."""
    rows = "\n".join(f"Count.insert(name={name!r}, value=0).execute()" for name in names)
    scripts = {"001_counts": script(COUNTS + rows, rollback='migrator.remove_model("Count")')}
    for number, name in enumerate(names, start=2):
        body = f"""migrator.sql({'UPDATE "Count" SET value = value + 1 WHERE name = ' + repr(name)!r})"""
        scripts[f"{number:03}_{name}"] = script(body)
    return scripts


def worded(engine, scripts):
    """Put the table's name in the quotes of the engine."""
    return {
        name: text.replace('UPDATE "Count"', "UPDATE `Count`") if engine.name == "mariadb" else text
        for name, text in scripts.items()
    }


def test_scripts_run_once_in_order_and_are_recorded(engine, folder):
    source = folder(worded(engine, counting("a", "b")))

    first = engine.runner(source).migrate()
    second = engine.runner(source).migrate()

    assert first.applied == ["app/001_counts", "app/002_a", "app/003_b"]
    assert second.state is State.CURRENT
    assert engine.sql('SELECT name, value FROM "Count" ORDER BY name') == [("a", 1), ("b", 1)]
    assert [row["migration_name"] for row in engine.runner(source).history()][::-1] == first.applied


def test_reading_writes_nothing(engine, folder):
    source = folder({"001_a": creates("A")})
    if engine.name == "sqlite":
        engine.sql("CREATE TABLE other (x)", "DROP TABLE other")

    report = engine.runner(source).status()

    assert report.state is State.PENDING
    assert report.pending == ("app/001_a",)
    database = engine.database()
    with database.connection_context():
        assert database.get_tables() == []


def test_a_failed_script_is_recorded_and_runs_to_its_end_when_mended(engine, folder):
    scripts = {
        "001_a": creates("A"),
        "002_b": script(
            """
            migrator.sql("CREATE TABLE b (x INTEGER)")
            migrator.sql("INSERT INTO b VALUES (1)")
            migrator.sql("ALTER TABLE b ADD COLUMN y INTEGER")
            migrator.sql("INSERT INTO b VALUES (2, 2)")
            raise ValueError("no")
            """
        ),
        "003_c": creates("C"),
    }
    with pytest.raises(MigrationFailed) as failed:
        engine.runner(folder(scripts)).migrate()
    report = failed.value.report

    assert report.applied == ["app/001_a"]
    assert report.failed == ["app/002_b"]
    assert "app/003_c" in report.error
    assert engine.runner(folder(scripts)).status().state is State.FAILED
    if not engine.undoes_ddl:
        assert "CREATE TABLE b" in report.error and "ALTER TABLE b ADD COLUMN y" in report.error

    scripts["002_b"] = scripts["002_b"].replace('raise ValueError("no")', "pass")
    mended = engine.runner(folder(scripts)).migrate()

    assert mended.state is State.MIGRATED
    assert engine.sql("SELECT x, y FROM b ORDER BY x") == [(1, None), (2, 2)]


def test_a_failed_script_leaves_nothing_where_ddl_can_be_undone(engine, folder):
    if not engine.undoes_ddl:
        pytest.skip("MariaDB cannot undo DDL")
    source = folder({"001_a": sql("CREATE TABLE a (x INTEGER)", "INSERT INTO a VALUES (1)", "nonsense")})

    with pytest.raises(MigrationFailed):
        engine.runner(source).migrate()

    database = engine.database()
    with database.connection_context():
        assert "a" not in database.get_tables()


@pytest.mark.parametrize(
    "call",
    ["database.commit()", "database.rollback()", "database.execute_sql('COMMIT')", "database.execute_sql('BEGIN')"],
)
def test_a_script_that_ends_the_transaction_is_refused(engine, folder, call):
    source = folder({"001_a": script(f"migrator.sql('CREATE TABLE a (x INTEGER)')\n{call}")})

    with pytest.raises(MigrationFailed, match="would cut its work from its record"):
        engine.runner(source).migrate()

    assert engine.runner(source).status().failed == ["app/001_a"]


def test_a_transaction_inside_a_script_is_a_savepoint(engine, folder):
    body = """
    migrator.sql("CREATE TABLE a (x INTEGER)")
    with database.atomic():
        database.execute_sql("INSERT INTO a VALUES (1)")
    try:
        with database.atomic():
            database.execute_sql("INSERT INTO a VALUES (2)")
            raise KeyError
    except KeyError:
        pass
    """
    engine.runner(folder({"001_a": script(body)})).migrate()

    assert engine.sql("SELECT x FROM a") == [(1,)]


def test_what_is_missing_is_made_again_and_no_row_is_lost(engine, folder):
    source = folder(
        {
            "001_a": script(
                """
                @migrator.create_model
                class Parent(pw.Model):
                    name = pw.CharField(unique=True)
                    class Meta:
                        table_name = "Parent"
                @migrator.create_model
                class Child(pw.Model):
                    parent = pw.ForeignKeyField(Parent, on_delete="CASCADE", null=True)
                    title = pw.CharField(index=True)
                    size = pw.IntegerField(constraints=[pw.SQL("DEFAULT 7")])
                    class Meta:
                        table_name = "Child"
                """
            )
        }
    )
    engine.runner(source).migrate()
    engine.sql(
        "INSERT INTO \"Child\" (title) VALUES ('x')",
        'ALTER TABLE "Child" DROP COLUMN size',
        {
            "mariadb": 'DROP INDEX "child_title" ON "Child"',
            "sqlite": 'DROP INDEX "child_title"',
            "postgresql": 'DROP INDEX "child_title"',
        }[engine.name],
    )

    report = engine.runner(source).migrate()

    assert report.state is State.MIGRATED
    assert len(report.aligned) == 2
    assert engine.sql('SELECT title, size FROM "Child"') == [("x", 7)]
    assert not engine.runner(source).drift(strict=True).additive
    assert engine.runner(source).migrate().state is State.CURRENT


STRICT = script(
    """
    @migrator.create_model
    class Parent(pw.Model):
        name = pw.CharField(unique=True)
        class Meta:
            table_name = "Parent"
    @migrator.create_model
    class Child(pw.Model):
        parent = pw.ForeignKeyField(Parent, on_delete="CASCADE", null=True)
        title = pw.CharField(constraints=[pw.SQL("DEFAULT 'none'")])
        size = pw.IntegerField(null=True, constraints=[pw.SQL("DEFAULT 7"), pw.Check("size > 0")])
        code = pw.CharField(null=True, unique=True)
        class Meta:
            table_name = "Child"
            indexes = [(("title", "size"), False)]
    """
)
LOOSE = {
    "sqlite": """CREATE TABLE "Child" (id INTEGER NOT NULL PRIMARY KEY, parent_id INTEGER, title VARCHAR(255),
        size VARCHAR(20), code VARCHAR(255), own TEXT)""",
    "postgresql": """CREATE TABLE "Child" (id SERIAL NOT NULL PRIMARY KEY, parent_id INTEGER, title VARCHAR(255),
        size VARCHAR(20), code VARCHAR(255), own TEXT)""",
    "mariadb": """CREATE TABLE "Child" (id INTEGER AUTO_INCREMENT NOT NULL PRIMARY KEY, parent_id INTEGER,
        title VARCHAR(255), size VARCHAR(20), code VARCHAR(255), own TEXT)""",
}


def loosened(engine, source, *rows):
    engine.runner(source).migrate()
    engine.sql('DROP TABLE "Child"', LOOSE[engine.name], *rows)


def test_strict_brings_a_loose_table_to_the_definition_and_keeps_rows_and_extras(engine, folder):
    source = folder({"001_a": STRICT})
    insert = 'INSERT INTO "Child" (id, parent_id, title, size, code, own) VALUES '
    loosened(engine, source, f"{insert}(5, NULL, 'a', '12', 'c', 'mine')")

    before = engine.runner(source).drift(strict=True)
    report = engine.runner(source).migrate(strict=True)

    kinds = {d.kind for d in before.structural}
    assert kinds >= {"type", "null", "default", "foreign key", "check"}
    assert not engine.runner(source).drift(strict=True)
    assert report.state is State.MIGRATED and not report.left
    assert engine.sql('SELECT id, parent_id, title, size, code, own FROM "Child"') == [(5, None, "a", 12, "c", "mine")]
    assert engine.runner(source).migrate(strict=True).state is State.CURRENT


def test_what_rows_forbid_is_left_and_named_with_a_query_and_repaired_on_request(engine, folder):
    source = folder({"001_a": STRICT})
    insert = 'INSERT INTO "Child" (id, parent_id, title, size, code) VALUES '
    loosened(
        engine,
        source,
        f"{insert}(1, NULL, 'a', '1', 'one')",
        f"{insert}(2, 99, 'b', '2', 'two')",
        f"{insert}(3, NULL, NULL, '3', 'same')",
        f"{insert}(4, NULL, NULL, '3', 'same')",
    )

    report = engine.runner(source).migrate(strict=True)

    left = {item["what"].split(":")[0].split(" ")[0] + str(item["rows"]): item for item in report.left}
    rows = sorted(item["rows"] for item in report.left)
    assert len(report.left) == 3, left
    assert rows[-1] == 2
    for item in report.left:
        assert len(engine.sql(item["query"].replace("`", '"'))) == item["rows"]

    repaired = engine.runner(source).migrate(strict=True, repair=True)

    assert not repaired.left
    assert not engine.runner(source).drift(strict=True)
    assert engine.sql('SELECT id, title FROM "Child" ORDER BY id') == [(1, "a"), (2, "b"), (3, "none")]


def test_strict_takes_away_rules_that_are_not_expected(engine, folder):
    source = folder({"001_a": script(COUNTS)})
    engine.runner(source).migrate()
    if engine.name == "sqlite":
        engine.sql(
            'DROP TABLE "Count"',
            'CREATE TABLE "Count" (name VARCHAR(20) NOT NULL PRIMARY KEY, value INTEGER NOT NULL UNIQUE '
            "DEFAULT 3 CHECK (value < 100))",
        )
    else:
        engine.sql(
            'ALTER TABLE "Count" ADD CONSTRAINT c1 CHECK (value < 100)',
            'ALTER TABLE "Count" ADD CONSTRAINT u1 UNIQUE (value)',
            'ALTER TABLE "Count" ALTER COLUMN value SET DEFAULT 3',
        )

    engine.runner(source).migrate(strict=True)

    assert not engine.runner(source).drift(strict=True)


REFUSING = {
    "mariadb": [
        'ALTER TABLE "Count" ADD COLUMN at TEXT NOT NULL',
        'ALTER TABLE "Count" ADD CONSTRAINT c1 CHECK (value < 100)',
        'CREATE UNIQUE INDEX own ON "Count" (value, name(3))',
    ],
    "sqlite": [
        'DROP TABLE "Count"',
        'CREATE TABLE "Count" (name VARCHAR(20) NOT NULL PRIMARY KEY, value INTEGER NOT NULL CHECK (value < 100), '
        "at TEXT NOT NULL)",
        'CREATE UNIQUE INDEX own ON "Count" (value) WHERE value > 5',
    ],
}
REFUSING["postgresql"] = [*REFUSING["mariadb"][:2], REFUSING["sqlite"][-1]]


def test_what_refuses_rows_is_told_apart_and_taken_away_by_strict(engine, folder):
    source = folder({"001_a": script(COUNTS)})
    engine.runner(source).migrate()
    assert not engine.runner(source).drift(strict=True).refusing
    engine.sql(*REFUSING[engine.name])

    refusing = {d.kind for d in engine.runner(source).drift(strict=True).refusing}
    report = engine.runner(source).migrate(strict=True)
    engine.sql("INSERT INTO \"Count\" (name, value) VALUES ('row one', 700), ('row two', 700)")

    assert refusing == {"extra column", "check", "index"}
    assert not report.left
    assert not engine.runner(source).drift(strict=True)


OPERATIONS = script(
    """
    @migrator.create_model
    class Parent(pw.Model):
        class Meta:
            table_name = "Parent"
    @migrator.create_model
    class Thing(pw.Model):
        name = pw.CharField(null=True)
        old = pw.IntegerField(null=True)
        gone = pw.IntegerField(null=True, index=True)
        class Meta:
            table_name = "Thing"
    Thing.insert(name="x", old=1, gone=1).execute()
    Thing.insert(name=None, old=2, gone=2).execute()
    migrator.add_fields("Thing", added=pw.CharField(default="new"), parent=pw.ForeignKeyField(Parent, null=True))
    migrator.rename_field("Thing", "old", "fresh")
    migrator.remove_fields("Thing", "gone")
    migrator.change_fields("Thing", name=pw.TextField(null=True))
    migrator.add_default("Thing", "name", "nobody")
    migrator.add_not_null("Thing", "name")
    migrator.drop_not_null("Thing", "added")
    migrator.add_index("Thing", "fresh", "parent")
    migrator.add_index("Thing", "added", "fresh", unique=True)
    migrator.drop_index("Thing", "fresh", "parent")
    migrator.add_constraint("Thing", "positive", pw.Check("fresh > 0"))
    migrator.rename_table("Thing", "Object")
    """
)


def test_the_operations_of_a_script_do_what_they_say(engine, folder):
    engine.runner(folder({"001_a": OPERATIONS})).migrate()
    database = engine.database()
    with database.connection_context():
        columns = {column.name: column.null for column in database.get_columns("Object")}
        indexes = {(tuple(index.columns), index.unique) for index in database.get_indexes("Object")}
        keys = [(key.column, key.dest_table) for key in database.get_foreign_keys("Object")]

    assert columns == {"id": False, "name": False, "fresh": True, "added": True, "parent_id": True}
    assert (("added", "fresh"), True) in indexes and (("fresh", "parent_id"), False) not in indexes
    assert keys == [("parent_id", "Parent")]
    assert engine.sql('SELECT name, fresh, added FROM "Object" ORDER BY id') == [("x", 1, "new"), ("nobody", 2, "new")]
    with pytest.raises(engine.error):
        engine.sql("INSERT INTO \"Object\" (name, fresh) VALUES ('y', -1)")


def test_operations_find_what_is_there(engine, folder):
    first = folder({"001_a": OPERATIONS.replace('migrator.rename_table("Thing", "Object")', "")})
    engine.runner(first).migrate()
    again = """
    @migrator.create_model
    class Thing(pw.Model):
        name = pw.TextField()
        fresh = pw.IntegerField(null=True)
        class Meta:
            table_name = "Thing"
    migrator.add_fields("Thing", added=pw.CharField(default="new", null=True))
    migrator.add_index("Thing", "added", "fresh", unique=True)
    migrator.add_not_null("Thing", "name")
    migrator.add_constraint("Thing", "positive", pw.Check("fresh > 0"))
    migrator.drop_constraints("Thing", "nothing")
    """
    second = folder({"001_b": script(again)}, of="second", source="second")

    report = engine.runner(first, second).migrate()

    assert report.adopted == ["second/001_b"]


def test_a_rollback_undoes_and_migrate_applies_again(engine, folder):
    source = folder({"001_a": creates("A"), "002_b": creates("B")})
    engine.runner(source).migrate()

    undone = engine.runner(source).rollback(steps=1)
    database = engine.database()
    with database.connection_context():
        assert database.table_exists("A") and not database.table_exists("B")
    again = engine.runner(source).migrate()

    assert undone.as_dict()["rolled_back"] == ["app/002_b"]
    assert again.applied == ["app/002_b"]


HOLD = """
import sys, time
from framework_schema.config import Config
from framework_schema.runner import Runner
runner = Runner(sys.argv[1], sources=[])
with runner.target.connected() as database, runner.dialect.exclusive(database, "x"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_held_lock_is_waited_for_and_then_named_and_dies_with_its_holder(engine, folder):
    source = folder({"001_a": creates("A")})
    with start(HOLD, engine.url) as holder:
        assert holder.stdout.readline() == "held\n"

        with pytest.raises(Locked) as refused:
            engine.runner(source, timeout=0.5).migrate()

        holder.kill()
    assert engine.name == "sqlite" or "server" in str(refused.value)
    assert engine.runner(source).migrate().state is State.MIGRATED


MIGRATE = """
import sys, time
from framework_schema.config import Config
from framework_schema.errors import MigrationFailed
from framework_schema.runner import Runner
from framework_schema.sources import Folder
runner = Runner(sys.argv[1], sources=[Folder(sys.argv[2], "app")], config=Config(timeout=60, backup="never"))
time.sleep(max(0, float(sys.argv[3]) - time.time()))
print(runner.migrate().state)
"""


ROUNDS = range(int(os.environ.get("FRAMEWORK_SCHEMA_TEST_ROUNDS", "2")))


@pytest.mark.parametrize("round", ROUNDS)
def test_eight_processes_at_once_run_every_script_once(engine, folder, round):
    eight_at_once(engine, folder)


@pytest.mark.parametrize("round", ROUNDS)
def test_eight_processes_at_once_on_a_file_with_a_log(tmp_path, folder, round):
    engine = Engine("sqlite", str(tmp_path / "app.db"))
    engine.sql("PRAGMA journal_mode = WAL", "CREATE TABLE own (x)")

    eight_at_once(engine, folder)

    assert engine.value("PRAGMA journal_mode") == "wal"


def eight_at_once(engine, folder):
    names = ["a", "b", "c"]
    folder(worded(engine, counting(*names)), of="counts")
    source = folder({}, of="counts")
    at = time.time() + 1.5

    processes = [start(MIGRATE, engine.url, source.path, at) for _ in range(8)]
    answers = [process.communicate(timeout=120) for process in processes]

    assert [process.returncode for process in processes] == [0] * 8, [error[-400:] for _, error in answers if error]
    assert sorted(out.strip() for out, _ in answers) == ["current"] * 7 + ["migrated"]
    assert engine.sql('SELECT name, value FROM "Count" ORDER BY name') == [(name, 1) for name in names]


RETRY = """
import sys, time
from framework_schema.config import Config
from framework_schema.errors import FailedBefore, MigrationFailed
from framework_schema.runner import Runner
from framework_schema.sources import Folder
runner = Runner(sys.argv[1], sources=[Folder(sys.argv[2], "app")], config=Config(timeout=60, backup="never"))
time.sleep(max(0, float(sys.argv[3]) - time.time()))
try:
    runner.migrate(retry_after=60)
except (FailedBefore, MigrationFailed) as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("head", ["atomic = True", "atomic = False"])
def test_a_failure_is_not_repeated_by_those_who_were_waiting_for_the_lock(engine, folder, head):
    fails = """
    import time
    if database.execute_sql("SELECT count(*) FROM schema_migrations").fetchone()[0]:  # not where scripts are tried
        time.sleep(2.5)
        raise ValueError("no such luck")
    """
    source = folder({"001_a": creates("A"), "002_fails": script(fails, head=head)})
    at = time.time() + 1.5

    processes = [start(RETRY, engine.url, source.path, at) for _ in range(8)]
    answers = [process.communicate(timeout=120) for process in processes]

    assert sorted(out.strip() for out, _ in answers) == ["FailedBefore"] * 7 + ["MigrationFailed"], answers
    events = engine.runner(source).history(events=True)
    assert [e["migration_name"] for e in events if e["kind"] == "failed"] == ["app/002_fails"]
    folder({"002_fails": script(head=head)})
    assert engine.runner(source).migrate(retry_after=60).applied == ["app/002_fails"]


def test_errors_name_no_password(server):
    from framework_schema.runner import Runner

    scheme, _, rest = server.url.partition("://")
    url = f"{scheme}://nobody:se%40kret@{rest.rpartition('@')[2]}"
    for target in (url, url.replace("127.0.0.1", "127.0.0.1:1").replace(":1:", ":1"), url.replace("/fs_", "/no_")):
        try:
            report = Runner(target).status()
            text = json.dumps(report.as_dict())
        except DatabaseError as error:
            text = f"{error} {error!r} {error.__cause__!r} {error.__context__!r}"
        assert "kret" not in text


def test_a_killed_run_is_finished_by_the_next(engine, folder):
    scripts = worded(engine, counting("a", "b"))
    scripts["004_slow"] = script(
        """
        migrator.sql("CREATE TABLE slow (x INTEGER)")
        migrator.sql("INSERT INTO slow VALUES (1)")
        migrator.sql("ALTER TABLE slow ADD COLUMN y INTEGER")
        import time, os
        migrator.sql("INSERT INTO slow VALUES (2, 2)")
        is_tried_out = not database.execute_sql("SELECT count(*) FROM schema_migrations").fetchone()[0]
        if os.environ.get("SLOW") and not is_tried_out:
            print("there", flush=True)
            time.sleep(30)
        """
    )
    source = folder(scripts)
    os.environ["SLOW"] = "1"
    try:
        process = start(MIGRATE, engine.url, source.path, 0)
    finally:
        del os.environ["SLOW"]
    with process:
        for line in process.stdout:
            if "there" in line:
                break
        os.kill(process.pid, signal.SIGKILL)

    report = engine.runner(source).migrate()

    assert report.state is State.MIGRATED
    assert engine.sql("SELECT x, y FROM slow ORDER BY x") == [(1, None), (2, 2)]
    assert engine.sql('SELECT name, value FROM "Count" ORDER BY name') == [("a", 1), ("b", 1)]


def test_a_fleet_migrates_what_is_pending(engine, folder):
    """The command line's way, which keeps proven plans for SQLite files."""
    source = folder({"001_a": creates("a"), "002_b": creates("b")})
    target = f"sqlite:///{engine.url}" if engine.name == "sqlite" else engine.url

    report = migrate_fleet([target], sources=[source], jobs=1)

    assert [item.state for item in report.reports] == [State.MIGRATED], report.reports[0].error
    assert engine.sql("SELECT count(*) FROM b") == [(0,)]
    assert migrate_fleet([target], sources=[source], jobs=1).reports[0].state is State.CURRENT


def test_an_old_style_script_is_refused_on_a_server_before_anything_runs(server, folder):
    old = "def apply_migration(cursor):\n    cursor.execute('CREATE TABLE x (a INTEGER)')\n"
    source = folder({"001_a": creates("A"), "002_old": old})

    with pytest.raises(PlanRefused, match=r"app/002_old is an old-style script.*Nothing was run"):
        server.runner(source).migrate()

    database = server.database()
    with database.connection_context():
        assert database.get_tables() == []

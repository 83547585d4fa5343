"""What peewee_migrate.Router does to databases, each shown not to happen here."""

import logging
import sys
import threading
from pathlib import Path

import peewee as pw
import pytest
import sqlite_files as files
from script_texts import creates, script, sql

from framework_schema.errors import MigrationFailed
from framework_schema.report import Outcome, State
from framework_schema.runner import Runner

PARENT = """
CREATE TABLE parent (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, kind TEXT NOT NULL DEFAULT 'x',
    above INTEGER REFERENCES parent (id) ON DELETE CASCADE);
CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER NOT NULL REFERENCES parent (id) ON DELETE CASCADE);
CREATE TABLE grandchild (id INTEGER PRIMARY KEY, child_id INTEGER NOT NULL REFERENCES child (id) ON DELETE CASCADE);
CREATE TABLE friend (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent (id) ON DELETE SET NULL);
CREATE TABLE strict_child (id INTEGER PRIMARY KEY, parent_id INTEGER NOT NULL REFERENCES parent (id));
INSERT INTO parent (name, above) VALUES ('a', NULL), ('b', 1), ('c', 2);
INSERT INTO child (parent_id) VALUES (1), (2), (3);
INSERT INTO grandchild (child_id) VALUES (1), (2), (3);
INSERT INTO friend (parent_id) VALUES (1), (2), (3);
INSERT INTO strict_child (parent_id) VALUES (1), (2), (3);
"""


def failure(runner):
    """Migrate, and return the report of the failure that must come of it."""
    with pytest.raises(MigrationFailed) as caught:
        runner.migrate()
    return caught.value.report


# One history class for all databases


def test_two_runners_taking_turns_keep_their_own_history(tmp_path, folder):
    first, second = folder({"001_first": creates("first")}), folder({"001_second": creates("second")}, of="other")
    one, two = Runner(tmp_path / "one.db", [first]), Runner(tmp_path / "two.db", [second])

    one.migrate()
    two.migrate()
    folder({"002_more": creates("more")})
    again = Runner(tmp_path / "one.db", [first])
    two.migrate()
    again.migrate()

    assert files.history(tmp_path / "one.db") == [("app/001_first", True), ("app/002_more", True)]
    assert files.history(tmp_path / "two.db") == [("app/001_second", True)]


def test_eight_databases_in_eight_threads_get_their_own_rows_and_tables(tmp_path, folder):
    sources = {n: folder({f"00{n}_only": creates(f"only{n}")}, of=f"of{n}") for n in range(1, 9)}
    start = threading.Barrier(8)
    errors = []

    def work(number):
        try:
            start.wait()
            Runner(tmp_path / f"{number}.db", [sources[number]]).migrate()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    for number in sources:
        found = files.tables(tmp_path / f"{number}.db").keys()
        assert {name for name in found if name.startswith("only")} == {f"only{number}"}
        assert files.history(tmp_path / f"{number}.db") == [(f"app/00{number}_only", True)]


# The replay of applied scripts, with peewee mocked for the whole process


def test_no_write_of_another_thread_is_lost_while_old_scripts_are_replayed(path, tmp_path, folder):
    slow = "import time\ntime.sleep(0.02)"
    source = folder({f"{n:03}_old": script(f"{slow}\ndatabase.execute_sql('SELECT 1')") for n in range(1, 9)})
    Runner(path, [source]).migrate()
    folder({"009_new": script("assert migrator.orm.find('nothing') is None")})
    other = pw.SqliteDatabase(tmp_path / "other.db", timeout=30)
    other.execute_sql("CREATE TABLE written (n INTEGER)")
    real, seen, acknowledged, done = pw.Database.execute_sql, set(), [], threading.Event()

    def write():
        while not done.is_set():
            other.execute_sql("INSERT INTO written VALUES (?)", (len(acknowledged),))
            acknowledged.append(len(acknowledged))
            seen.update((pw.Database.execute_sql, pw.SqliteDatabase.execute_sql))
        other.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        report = Runner(path, [source]).migrate()
    finally:
        done.set()
        thread.join()
        other.close()

    assert report.applied == ["app/009_new"]
    assert seen == {real}
    assert pw.Database.execute_sql is real
    assert len(acknowledged) > 1
    assert files.query(other.database, "SELECT n FROM written ORDER BY n") == [(n,) for n in acknowledged]


def test_a_replay_of_old_scripts_runs_none_of_their_statements(path, folder):
    source = folder({"001_old": creates("item"), "002_add": sql("INSERT INTO item (name) VALUES ('once')")})
    Runner(path, [source]).migrate()
    folder({"003_new": script("migrator.orm['item'].insert(name='new').execute()")})

    Runner(path, [source]).migrate()

    assert files.query(path, "SELECT name FROM item") == [("once",), ("new",)]


@pytest.mark.parametrize(
    "then",
    [
        pytest.param("import a_module_that_is_gone", id="lost import at the top"),
        pytest.param("raise SystemExit('no')", id="exit at the top"),
    ],
)
def test_an_applied_script_that_can_no_longer_be_replayed_blocks_nothing(path, folder, then):
    source = folder({"001_old": creates("item")})
    Runner(path, [source]).migrate()
    folder({
        "001_old": f"{then}\n{creates('item')}",
        "002_new": script("migrator.add_fields('item', age=pw.IntegerField(null=True))"),
    })  # fmt: skip

    report = Runner(path, [source]).migrate()

    assert report.applied == ["app/002_new"]
    assert files.columns(path, "item") == ["id", "name", "age"]


def test_an_applied_script_that_reads_data_blocks_nothing_and_its_tables_are_read_from_the_database(path, folder):
    files.run(path, "CREATE TABLE setting (value TEXT); INSERT INTO setting VALUES ('x')")
    reads = "assert database.execute_sql('SELECT value FROM setting').fetchone()[0] == 'x'"
    made = "database.execute_sql('CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)')"
    source = folder({"001_old": script(f"{reads}\n{made}")})
    Runner(path, [source]).migrate()
    folder({"002_new": script("item = migrator.orm['item']\nitem.insert(name='new').execute()")})

    Runner(path, [source]).migrate()

    assert files.query(path, "SELECT name FROM item") == [("new",)]


def test_an_applied_script_that_runs_statements_of_its_own_still_defines_its_models(path, folder):
    body = """
        database.execute_sql('SELECT 1').fetchall()
        for row in database.execute_sql('SELECT 1'):
            pass
        @migrator.create_model
        class Item(pw.Model):
            colour = pw.TextField(column_name='c')
            class Meta:
                table_name = 'item'
        Item.insert(colour='old').execute()
        assert fake or Item.select().count() == 1
    """
    source = folder({"001_old": script(body)})
    Runner(path, [source]).migrate()
    uses = "migrator.orm['item'].insert(colour='new').execute()\nmigrator.orm.Item.select().count()"
    folder({"002_new": script(uses)})

    Runner(path, [source]).migrate()

    assert files.query(path, "SELECT c FROM item") == [("old",), ("new",)]


# Files read in the locale's encoding


def test_a_script_is_read_as_utf8_whatever_the_locale(path, folder, python):
    path = path.with_name("größe.db")
    source = folder({"001_größe": sql("CREATE TABLE größe (name TEXT DEFAULT 'ü — 漢')")})
    text = """
        import sys
        from framework_schema import Folder, Runner
        print(Runner(sys.argv[1], [Folder(sys.argv[2])]).migrate().state)
    """

    done = python(text, path, source.path, env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})

    assert done.stdout.strip() == "migrated"
    assert files.query(path, "INSERT INTO größe DEFAULT VALUES RETURNING name") == [("ü — 漢",)]
    assert files.history(path) == [("app/001_größe", True)]


def test_a_script_in_another_encoding_is_read_as_it_declares(path, folder):
    source = folder({})
    text = "# -*- coding: latin-1 -*-\n" + script("database.execute_sql(\"CREATE TABLE item (name TEXT DEFAULT 'ü')\")")
    Path(source.path, "001_x.py").write_bytes(text.encode("latin-1"))

    Runner(path, [source]).migrate()

    assert files.query(path, "INSERT INTO item DEFAULT VALUES RETURNING name") == [("ü",)]


# Scripts run as <string>


def test_an_error_names_the_file_and_the_line(path, folder):
    source = folder({"001_x": script("x = 1\nraise RuntimeError('this went wrong')")})

    report = failure(Runner(path, [source]))

    line = Path(source.path, "001_x.py").read_text().splitlines().index("    raise RuntimeError('this went wrong')") + 1
    assert report.steps[0].error == f"RuntimeError: this went wrong (001_x.py, line {line})"
    assert str(path) in report.error


def test_a_traceback_shows_the_script_and_its_text(path, folder, caplog):
    source = folder({"001_x": script("raise RuntimeError('this went wrong')")})

    with caplog.at_level("DEBUG", "framework_schema"):
        failure(Runner(path, [source]))

    assert f'File "{source.path}/001_x.py"' in caplog.text
    assert "raise RuntimeError('this went wrong')" in caplog.text


# Foreign keys switched off too late


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param("migrator.add_fields('parent', size=pw.IntegerField(default=0))", id="add a NOT NULL column"),
        pytest.param("migrator.change_fields('parent', name=pw.CharField(max_length=99, null=True))", id="change"),
        pytest.param("migrator.add_not_null('parent', 'name')", id="add NOT NULL"),
        pytest.param("migrator.drop_not_null('parent', 'kind')", id="drop NOT NULL"),
        pytest.param("migrator.add_default('parent', 'name', 'x')", id="default"),
        pytest.param("migrator.add_constraint('parent', 'short', pw.SQL('CHECK (length(name) < 9)'))", id="CHECK"),
        pytest.param("migrator.remove_fields('parent', 'kind')", id="drop a column"),
        pytest.param("migrator.rename_table('parent', 'parents')", id="rename"),
    ],
)
def test_changing_a_parent_deletes_no_row_that_refers_to_it(path, folder, operation):
    files.run(path, PARENT)
    source = folder({"001_x": script(operation)})
    before = {table: files.rows(path, table) for table in ("child", "grandchild", "friend", "strict_child")}
    parents = files.rows(path, "parent", ["id", "name", "above"])
    database = pw.SqliteDatabase(path, pragmas={"foreign_keys": 1})

    report = Runner(database, [source]).migrate()

    assert report.applied == ["app/001_x"]
    table = "parents" if "rename" in operation else "parent"
    assert files.rows(path, table, ["id", "name", "above"]) == parents
    assert {table: files.rows(path, table) for table in before} == before
    assert files.orphans(path) == set()


def test_changing_a_parent_deletes_no_row_where_foreign_keys_are_on_in_the_connection_itself(folder):
    database = pw.SqliteDatabase(":memory:", pragmas={"foreign_keys": 1})
    database.connection().executescript(PARENT)
    source = folder({"001_x": script("migrator.add_fields('parent', size=pw.IntegerField(default=0))\n"
                                     "migrator.add_not_null('parent', 'name')")})  # fmt: skip

    assert Runner(database, [source]).migrate().applied == ["app/001_x"]

    for table in ("parent", "child", "grandchild", "strict_child"):
        assert database.execute_sql(f"SELECT count(*) FROM {table}").fetchone() == (3,)
    assert database.execute_sql("SELECT count(parent_id) FROM friend").fetchone() == (3,)
    assert database.pragma("foreign_keys") == 1
    database.close()


def test_foreign_keys_still_work_after_a_rebuild(path, folder):
    files.run(path, PARENT)

    Runner(path, [folder({"001_x": script("migrator.add_not_null('parent', 'name')")})]).migrate()
    files.run(path, "PRAGMA foreign_keys = 1; DELETE FROM strict_child; DELETE FROM parent WHERE id = 1")

    assert files.rows(path, "parent") == files.rows(path, "child") == files.rows(path, "grandchild") == {}
    assert files.query(path, "SELECT DISTINCT parent_id FROM friend") == [(None,)]


def test_a_script_that_orphans_rows_is_undone_and_named(path, folder):
    files.run(path, PARENT)
    source = folder({"001_good": creates("item"), "002_bad": sql("DELETE FROM parent WHERE id = 1")})
    before = files.rows(path, "parent")

    report = failure(Runner(path, [source]))

    assert [(step.key, step.outcome) for step in report.steps] == [
        ("app/001_good", Outcome.APPLIED),
        ("app/002_bad", Outcome.FAILED),
    ]
    assert "parent" in report.steps[1].error
    assert files.rows(path, "parent") == before


# add_default


def test_add_default_fills_what_is_null_and_overwrites_nothing(path, folder):
    files.run(path, "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);"
                    "INSERT INTO item (name) VALUES ('mine'), (NULL), ('')")  # fmt: skip

    Runner(path, [folder({"001_x": script("migrator.add_default('item', 'name', 'theirs')")})]).migrate()
    files.run(path, "INSERT INTO item (id) VALUES (4)")

    assert files.query(path, "SELECT name FROM item ORDER BY id") == [("mine",), ("theirs",), ("",), ("theirs",)]


# A script that ends the transaction


ENDINGS = {
    "commit": "database.commit()",
    "rollback": "database.rollback()",
    "begin": "database.begin()",
    "COMMIT": "database.execute_sql('COMMIT')",
    "END in a comment's shadow": "database.execute_sql('/* x */ end')",
    "ROLLBACK": "database.execute_sql('ROLLBACK')",
    "BEGIN": "database.execute_sql('BEGIN')",
    "executescript": "database.connection().executescript('CREATE TABLE script (a); INSERT INTO script VALUES (1)')",
    "the connection's commit": "database.connection().commit()",
    "migrator.sql": "migrator.sql('COMMIT')",
}


@pytest.mark.parametrize("caught", [False, True], ids=["", "caught by the script"])
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_script_that_ends_the_transaction_is_refused_and_undone(path, folder, ending, caught):
    if caught:
        inner = ending.replace("\n", "\n    ")
        ending = f"try:\n    {inner}\nexcept Exception:\n    pass"
    body = f"database.execute_sql('CREATE TABLE half (a)')\n{ending}\ndatabase.execute_sql('CREATE TABLE rest (a)')"
    source = folder({"001_good": creates("good"), "002_bad": script(body)})

    report = failure(Runner(path, [source]))

    assert [step.outcome for step in report.steps] == [Outcome.APPLIED, Outcome.FAILED]
    assert not {"half", "rest", "script"} & files.tables(path).keys()
    assert "good" in files.tables(path)
    assert files.history(path) == [("app/001_good", True), ("app/002_bad", False)]
    assert "atomic" in report.error


def test_a_script_cannot_take_the_transaction_into_its_own_hands(path, folder):
    body = "migrator.sql('CREATE TABLE half (a)')\nwith database.manual_commit():\n    database.commit()"

    report = failure(Runner(path, [folder({"001_x": script(body)})]))

    assert "transaction" in report.error
    assert "half" not in files.tables(path)


@pytest.mark.parametrize(
    "body",
    ["database.close()", "database.connect()", "with database: pass", "with database.connection_context(): pass"],
)
def test_a_script_that_opens_or_closes_the_connection_is_undone(path, folder, body):
    source = folder({"001_x": script(f"migrator.sql('CREATE TABLE half (a)')\n{body}"), "002_y": creates("y")})

    report = failure(Runner(path, [source]))

    assert [step.outcome for step in report.steps] == [Outcome.FAILED, Outcome.BLOCKED]
    assert not {"half", "y"} & files.tables(path).keys()
    assert files.history(path) == [("app/001_x", False)]


def test_a_script_may_use_savepoints(path, folder):
    body = """
        database.execute_sql('CREATE TABLE item (a)')
        try:
            with database.atomic():
                database.execute_sql('INSERT INTO item VALUES (1)')
                raise KeyError
        except KeyError:
            with database.savepoint():
                database.execute_sql('INSERT INTO item VALUES (2)')
    """

    Runner(path, [folder({"001_x": script(body)})]).migrate()

    assert files.query(path, "SELECT a FROM item") == [(2,)]


# What is no migration


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "empty", id="empty file"),
        pytest.param("# nothing yet\n", "empty", id="comment only"),
        pytest.param("def migrat(migrator, database, *, fake=False): pass", "neither", id="misspelt"),
        pytest.param("def migrate(): pass", "opens a database by itself", id="no arguments"),
        pytest.param("def main(): pass", "opens a database by itself", id="main"),
        pytest.param("async def migrate(migrator, database): pass", "neither", id="async"),
        pytest.param("class migrate: pass", "neither", id="class"),
    ],
)
def test_a_script_without_migrate_fails_each_time_and_holds_back_what_comes_after(path, folder, text, says):
    source = folder({"001_good": creates("good"), "002_bad": text, "003_after": creates("after")})

    for _ in range(2):
        with pytest.raises(MigrationFailed, match=f"app/002_bad.*{says}"):
            Runner(path, [source]).migrate()

    report = Runner(path, [source]).status()
    assert (report.state, report.pending) == ("failed", ("app/002_bad", "app/003_after"))
    assert files.history(path) == [("app/001_good", True), ("app/002_bad", False)]
    assert "after" not in files.tables(path)


@pytest.mark.parametrize("name", ["0001_x", "1000_x", "123456_x", "001_a b", "001_-x", "001_naïve", "001_a+b"])
def test_a_script_with_any_name_after_its_number_is_run(path, folder, name):
    report = Runner(path, [folder({name: creates("item")})]).migrate()

    assert report.applied == [f"app/{name}"]


@pytest.mark.parametrize("name", ["01_x", "001-x", "1_x", "x", "001", "001_", "001 x", "v001_x"])
def test_a_script_whose_name_has_no_place_in_the_order_is_a_failure_each_time(path, folder, name):
    runner = Runner(path, [folder({"001_good": creates("good"), name: creates("item")})])

    for _ in range(2):
        with pytest.raises(MigrationFailed, match=f"app/{name} is not run: its name is not NNN_name.py") as failed:
            runner.migrate()

    assert failed.value.report.state == runner.status().state == "failed"
    assert files.history(path) == [("app/001_good", True)]


# Operations that wait


def test_one_script_can_create_a_table_add_to_it_index_it_and_fill_it(path, folder):
    body = """
        @migrator.create_model
        class Item(pw.Model):
            name = pw.TextField()
            class Meta:
                table_name = 'item'

        Item.insert(name='before').execute()
        migrator.add_fields('item', age=pw.IntegerField(default=7), nick=pw.TextField(null=True))
        migrator.add_index('item', 'age', 'name', unique=True)
        migrator.orm['item'].insert(name='after', age=8, nick='n').execute()
        migrator.rename_field('item', 'nick', 'short')
        Item.update(short='b').where(Item.name == 'before').execute()
    """

    Runner(path, [folder({"001_x": script(body)})]).migrate()

    assert files.query(path, "SELECT name, age, short FROM item") == [("before", 7, "b"), ("after", 8, "n")]
    assert files.query(path, "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE UNIQUE INDEX%'") != []


def test_what_a_script_reads_after_an_operation_is_its_effect(path, folder):
    body = """
        migrator.sql("INSERT INTO item (name) VALUES ('x')")
        assert database.execute_sql('SELECT count(*) FROM item').fetchone()[0] == 1
        called = []
        migrator.run(called.append, 1)
        assert called == [1]
    """
    source = folder({"001_item": creates("item"), "002_x": script(body)})

    assert Runner(path, [source]).migrate().state is State.MIGRATED


# State that outlives a run


def test_a_model_at_module_level_goes_to_each_database_in_turn(tmp_path, folder):
    head = """
        class Item(pw.Model):
            name = pw.TextField()
            class Meta:
                table_name = 'item'
    """
    source = folder({"001_x": script("migrator.create_model(Item)\nItem.insert(name='x').execute()", head=head)})

    for name in ("one.db", "two.db"):
        Runner(tmp_path / name, [source]).migrate()

    for name in ("one.db", "two.db"):
        assert files.query(tmp_path / name, "SELECT name FROM item") == [("x",)]


def test_a_model_that_names_a_database_of_its_own_goes_to_the_one_that_is_migrated(path, folder, tmp_path):
    head = f"""
        class Item(pw.Model):
            name = pw.TextField()
            class Meta:
                table_name = 'item'
                database = pw.SqliteDatabase({str(tmp_path / "other.db")!r})
    """
    source = folder({"001_x": script("migrator.create_model(Item)\nItem.insert(name='x').execute()", head=head)})

    Runner(path, [source]).migrate()

    assert files.query(path, "SELECT name FROM item") == [("x",)]
    assert not (tmp_path / "other.db").exists()


def test_a_second_try_after_the_script_was_mended_succeeds(path, folder):
    good = sql("CREATE TABLE item (a)")
    source = folder({"001_x": f"{good}    raise RuntimeError('half-way')"})
    failure(Runner(path, [source]))
    failure(Runner(path, [source]))
    assert files.history(path) == [("app/001_x", False)]
    folder({"001_x": good})

    report = Runner(path, [source]).migrate()

    assert report.applied == ["app/001_x"]
    assert files.history(path) == [("app/001_x", True)]
    assert [kind for kind, *_ in files.events(path, "failed", "applied")] == [
        "failed",
        "applied",
    ]  # the same is counted


def test_the_same_runner_tries_again_and_fails_no_other_way(path, folder):
    source = folder({"001_x": script("migrator.sql('CREATE TABLE half (a)')\nraise RuntimeError('half-way')")})
    runner = Runner(path, [source])

    first, second = failure(runner), failure(runner)

    assert first.steps[0].error == second.steps[0].error
    assert "half" not in files.tables(path)


def test_modules_loggers_and_globals_are_as_they_were(path, folder):
    before = set(sys.modules), set(logging.root.manager.loggerDict), list(logging.root.handlers)
    head = "import wave\nglobals()['leaked'] = 1"

    Runner(path, [folder({"001_x": script(head=head)})]).migrate()

    assert set(sys.modules) - before[0] <= {"wave", "chunk", "audioop"}
    assert set(logging.root.manager.loggerDict) == before[1]
    assert logging.root.handlers == before[2]
    assert threading.active_count() == 1


# Leaving in the middle


def test_sys_exit_in_a_script_is_a_failure_and_undone(path, folder):
    leaves = script("migrator.sql('CREATE TABLE half (a)')\nraise SystemExit(0)")
    source = folder({"001_x": leaves, "002_y": creates("y")})

    report = failure(Runner(path, [source]))

    assert [step.outcome for step in report.steps] == [Outcome.FAILED, Outcome.BLOCKED]
    assert "SystemExit" in report.steps[0].error
    assert not {"half", "y"} & files.tables(path).keys()


def test_ctrl_c_in_a_script_is_let_through_and_all_is_undone(path, folder):
    files.run(path, "CREATE TABLE mine (a); INSERT INTO mine VALUES (1)")
    before = files.digest(path)
    leaves = script("migrator.sql('CREATE TABLE half (a)')\nraise KeyboardInterrupt")
    source = folder({"001_x": creates("x"), "002_y": leaves})

    with pytest.raises(KeyboardInterrupt):
        Runner(path, [source]).migrate()

    assert files.tables(path).keys() == {"mine"}
    assert files.digest(path) == before
    folder({"002_y": creates("y")})
    assert Runner(path, [source]).migrate().applied == ["app/001_x", "app/002_y"]


def test_a_killed_run_leaves_nothing_half_done_and_the_next_completes(path, folder, python):
    source = folder({
        "001_x": creates("x"),
        "002_y": script("migrator.sql('CREATE TABLE half (a)')\nimport os\nos.kill(os.getpid(), 9)"),
    })  # fmt: skip
    text = """
        import sys
        from framework_schema import Folder, Runner
        Runner(sys.argv[1], [Folder(sys.argv[2])]).migrate()
    """

    killed = python(text, path, source.path, check=False)

    assert killed.returncode == -9
    folder({"002_y": creates("y")})
    assert Runner(path, [source]).migrate().applied == ["app/001_x", "app/002_y"]
    assert files.integrity(path) == ["ok"]
    assert "half" not in files.tables(path)

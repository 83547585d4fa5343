"""A fresh database is a copy of a ready one, and nobody can tell but by the clock."""

import os
import shutil
import sqlite3
import threading
from pathlib import Path

import peewee as pw
import pytest
import sqlite_files as files
from script_texts import creates, script, sql

from framework_schema import template
from framework_schema.config import Config
from framework_schema.report import State
from framework_schema.runner import Runner
from framework_schema.sources import framework
from framework_schema.sqlite_snapshot import of_database

SLOW = Config(template=False)
DEFAULTS = "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT, made TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"

pytestmark = pytest.mark.skipif(
    os.environ.get("FRAMEWORK_SCHEMA_TEST_SHORTCUTS") == "off", reason="the template is switched off"
)


@pytest.fixture
def placed(monkeypatch):
    """The files that a template was copied to."""
    found = []
    real = template.place

    def place(content, path):
        done = real(content, path)
        found.extend([path] * done)
        return done

    monkeypatch.setattr(template, "place", place)
    return found


def test_a_copy_is_what_the_slow_way_makes(tmp_path, placed):
    fast, slow = tmp_path / "fast.db", tmp_path / "slow.db"

    copied = Runner(fast, [framework()]).migrate()
    built = Runner(slow, [framework()], config=SLOW).migrate()

    assert placed == [fast]
    assert copied.applied == built.applied
    assert (copied.state, copied.at, copied.notes, copied.pending) == (
        built.state, built.at, built.notes, built.pending,
    )  # fmt: skip
    with pw.SqliteDatabase(fast) as one, pw.SqliteDatabase(slow) as other:
        assert of_database(one, structural=True).digest == of_database(other, structural=True).digest
    for table in files.tables(fast):
        if not table.startswith(("schema_migration", "sqlite_")):
            count = f'SELECT count(*) FROM "{table}"'
            assert files.query(fast, count) == files.query(slow, count), table
    assert files.history(fast) == files.history(slow)


def test_a_copy_is_current_and_true_at_the_next_look(path, placed):
    Runner(path, [framework()]).migrate()

    assert placed
    assert Runner(path, [framework()]).migrate().state is State.CURRENT
    assert not Runner(path, [framework()]).drift(strict=True).additive
    assert Runner(path, [framework()]).migrate(strict=True).state is State.CURRENT


def test_the_times_of_a_copy_are_its_own(tmp_path, folder, placed):
    source = folder(
        {"001_note": script(f"migrator.sql({DEFAULTS!r})\nmigrator.sql(\"INSERT INTO note (body) VALUES ('x')\")")}
    )
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    Runner(first, [source]).migrate()
    before = files.query(first, "SELECT CURRENT_TIMESTAMP")[0][0]

    Runner(second, [source]).migrate()

    assert placed == [first, second]
    events = "schema_migration_events"
    times = files.query(second, f"SELECT applied_at FROM schema_migrations UNION SELECT at FROM {events}")
    times += files.query(second, "SELECT made FROM note")
    assert all(time >= before for (time,) in times)
    assert files.query(second, f"SELECT DISTINCT process FROM {events}") == [(os.getpid(),)]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("import uuid\nmigrator.sql('INSERT INTO note (body) VALUES (?)', str(uuid.uuid4()))", id="uuid"),
        pytest.param("import datetime\nmigrator.sql('SELECT ?', str(datetime.datetime.now()))", id="now"),
        pytest.param("migrator.sql('INSERT INTO note (body) VALUES (hex(randomblob(8)))')", id="chance in SQL"),
        pytest.param("migrator.sql(\"INSERT INTO note (body) VALUES (datetime('now'))\")", id="now in SQL"),
        pytest.param(
            "migrator.sql(\"INSERT INTO note (body) VALUES ('at ' || CURRENT_TIMESTAMP)\")", id="time in a text"
        ),
        pytest.param("migrator.sql('INSERT INTO note (body) VALUES (substr(CURRENT_DATE, 1, 4))')", id="a year"),
        pytest.param("migrator.sql(\"INSERT INTO note (body) VALUES (CURRENT_DATE > '2020')\")", id="a comparison"),
        pytest.param(
            "migrator.sql(\"INSERT INTO note (body, made) VALUES ('old', '1999-01-01'), ('new', CURRENT_TIMESTAMP)\")\n"
            "migrator.sql('CREATE TABLE newest AS SELECT body FROM note ORDER BY made DESC LIMIT 1')",
            id="an order",
        ),
        pytest.param(
            "now = database.execute_sql('SELECT CURRENT_TIMESTAMP').fetchone()[0]\n"
            "migrator.sql('INSERT INTO note (body) VALUES (?)', now[:4])",
            id="a time that is read",
        ),
        pytest.param("migrator.sql(\"INSERT INTO note (made) VALUES ('0001-02-03')\")", id="the standing clock's time"),
        pytest.param("migrator.sql('INSERT INTO note (body) VALUES (?)', str(database.database))", id="its own name"),
        pytest.param(
            "migrator.sql(\"INSERT INTO note (body) SELECT file FROM pragma_database_list WHERE name = 'main'\")",
            id="its own name in SQL",
        ),
        pytest.param("migrator.sql('INSERT INTO note (body) VALUES (?)', database.journal_mode)", id="its settings"),
        pytest.param(
            'migrator.sql("CREATE TRIGGER guard BEFORE UPDATE ON schema_migration_events '
            "BEGIN SELECT RAISE(ABORT, 'only grows'); END\")",
            id="a trigger on the history",
        ),
        pytest.param("open('/dev/null').close()", id="a file"),
        pytest.param("raise KeyError", id="a failure"),
    ],
)
def test_what_is_not_the_same_every_time_goes_the_slow_way(path, folder, placed, body):
    source = folder({"001_note": sql(DEFAULTS), "002_row": script(body)})

    try:
        Runner(path, [source]).migrate()
    except Exception:
        assert "KeyError" in body

    assert placed == []
    assert "note" in files.tables(path)


def with_a_function(database):
    database.register_function(str.casefold, "lower", 1)


def with_a_collation(database):
    database.register_collation(lambda one, other: 0, "nocase")


@pytest.mark.parametrize("registers", [with_a_function, with_a_collation])
def test_what_an_app_registers_goes_the_slow_way(path, folder, placed, registers):
    source = folder(
        {"001_note": sql(DEFAULTS, "INSERT INTO note (body) VALUES (lower('Ä') || ('x' = 'y' COLLATE nocase))")}
    )
    database = pw.SqliteDatabase(path)
    registers(database)

    Runner(database, [source]).migrate()

    assert placed == []
    assert files.query(path, "SELECT body FROM note") == [("ä0" if registers is with_a_function else "Ä1",)]


def test_so_do_recursive_triggers(path, folder, placed):
    Runner(pw.SqliteDatabase(path, pragmas={"recursive_triggers": 1}), [folder({"001_note": sql(DEFAULTS)})]).migrate()

    assert placed == []


@pytest.mark.parametrize("text", ["cacheable = False\n", "atomic = False\n"])
def test_a_script_can_opt_out(path, folder, placed, text):
    source = folder({"001_item": text + creates("item")})

    Runner(path, [source]).migrate()

    assert placed == []
    assert "item" in files.tables(path)


@pytest.mark.parametrize("there", ["", "-journal", "-wal", "-shm"])
def test_nothing_is_copied_where_there_is_something(path, folder, placed, there):
    Path(f"{path}{there}").touch()

    Runner(path, [folder({"001_item": creates("item")})]).migrate()

    assert placed == []


def test_an_open_file_without_content_is_kept_and_filled(path, folder, placed):
    reader = sqlite3.connect(path)
    reader.execute("PRAGMA user_version").fetchone()
    path.touch()
    inode = path.stat().st_ino

    Runner(path, [folder({"001_item": creates("item")})]).migrate()

    assert placed == []
    assert path.stat().st_ino == inode
    assert reader.execute("SELECT count(*) FROM item").fetchone() == (0,)
    reader.close()


def test_a_file_that_appears_meanwhile_is_not_replaced(path, folder, monkeypatch):
    source = folder({"001_item": creates("item")})
    monkeypatch.setattr(template, "is_vacant", lambda path: True)
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()

    Runner(path, [source]).migrate()

    assert {"item", "theirs"} <= files.tables(path).keys()
    assert list(path.parent.glob(".*partial")) == []


def test_two_that_come_at_once_make_one_database(path, folder):
    source = folder({"001_item": creates("item")})
    states = []
    threads = [threading.Thread(target=lambda: states.append(Runner(path, [source]).migrate().state)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(states) == [State.CURRENT] * 3 + [State.MIGRATED]
    assert files.history(path) == [("app/001_item", True)]


def test_a_dangling_link_is_left_to_sqlite(path, folder, placed, tmp_path):
    path.symlink_to(tmp_path / "elsewhere.db")

    Runner(path, [folder({"001_item": creates("item")})]).migrate()

    assert placed == []
    assert path.is_symlink()
    assert "item" in files.tables(tmp_path / "elsewhere.db")


@pytest.mark.parametrize(
    ("pragmas", "is_copied", "question", "answer"),
    [
        ({"journal_mode": "wal"}, True, "journal_mode", "wal"),
        ({"page_size": 8192}, False, "page_size", 8192),
        ({"auto_vacuum": 1}, False, "auto_vacuum", 1),
        ({"encoding": "'UTF-16le'"}, False, "encoding", "UTF-16le"),
        ({"foreign_keys": 1}, True, "page_size", 4096),
    ],
)
def test_the_file_is_as_the_apps_own_connection_makes_it(path, folder, placed, pragmas, is_copied, question, answer):
    Runner(pw.SqliteDatabase(path, pragmas=pragmas), [folder({"001_item": creates("item")})]).migrate()

    assert bool(placed) is is_copied
    assert files.query(path, f"PRAGMA {question}") == [(answer,)]


def test_another_process_takes_it_from_the_cache_folder(tmp_path, folder, python, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = folder({"001_item": creates("item")})
    text = """
        import sys
        from framework_schema import Folder, Runner, template
        if sys.argv[3] == "second":
            template.built = None
        print(Runner(sys.argv[1], [Folder(sys.argv[2])]).migrate().applied)
    """

    first = python(text, tmp_path / "first.db", source.path, "first")
    second = python(text, tmp_path / "second.db", source.path, "second")

    assert first.stdout == second.stdout
    assert (tmp_path / "cache" / "framework-schema").stat().st_mode & 0o777 == 0o700
    assert files.history(tmp_path / "second.db") == [("app/001_item", True)]


def test_a_cache_that_others_may_write_or_that_is_damaged_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = template.Template(b"content", (), ())
    template.store("ab", made)
    file = tmp_path / "framework-schema" / "ab"
    assert template.stored("ab") == made

    file.write_bytes(file.read_bytes() + b"x")
    assert template.stored("ab") is None
    template.store("ab", made)
    file.chmod(0o666)
    assert template.stored("ab") is None
    file.chmod(0o600)
    file.parent.chmod(0o777)
    assert template.stored("ab") is None
    shutil.rmtree(file.parent)


@pytest.mark.parametrize("structural", [False, True])
def test_the_ready_schema_is_the_one_that_is_expected(tmp_path, structural):
    Runner(tmp_path / "fresh.db", [framework()]).migrate()
    runner, slow = (Runner(tmp_path / "x.db", [framework()], config=config) for config in (Config(), SLOW))
    known = runner.known.migrations

    assert template.at_hand(template.key_of(runner.fingerprint, runner.config.table, "all")).is_of(known)
    assert runner.expected(known, structural) == slow.expected(known, structural)
    assert runner.expected(known[:5], structural) == slow.expected(known[:5], structural)


def test_no_template_is_made_to_tell_what_is_expected(path, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files.run(path, "CREATE TABLE own (a)")

    Runner(path, [folder({"001_item": creates("item")})]).migrate()

    assert not list((tmp_path / "cache").glob("*/*"))


def test_the_cache_folder_does_not_grow(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(template.KEPT + 3):
        template.store(f"{number:040x}", template.Template(b"content", (), ()))

    assert len(list((tmp_path / "framework-schema").iterdir())) == template.KEPT


def test_every_thing_a_template_depends_on_is_in_its_name(monkeypatch):
    names = {template.key_of("a", "t", "all"), template.key_of("b", "t", "all"), template.key_of("a", "u", "all")}
    names.add(template.key_of("a", "t", "carried"))
    template._code.cache_clear()
    monkeypatch.setattr(sqlite3, "sqlite_version", "9.9.9")
    names.add(template.key_of("a", "t", "all"))
    template._code.cache_clear()

    assert len(names) == 5


def test_off_is_off(path, folder, placed):
    Runner(path, [folder({"001_item": creates("item")})], config=SLOW).migrate()

    assert placed == []

"""Killed, crowded, out of room: the database is as it was or as it should be, and the next run finishes.

``FRAMEWORK_SCHEMA_KILLS`` is how often to kill, 40 by default, spread over five actions and two kinds of journal.
"""

import os
import random
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import peewee as pw
import pytest
import sqlite_files as files
import zygote
from script_texts import creates, script, sql

from framework_schema.errors import Locked, MigrationFailed, Unreadable
from framework_schema.report import State
from framework_schema.runner import Runner
from framework_schema.sqlite_snapshot import of_database

KILLS = int(os.environ.get("FRAMEWORK_SCHEMA_KILLS", "40"))
NOW = re.compile(r"20(2[6-9]|[3-9]\d)-\d\d-\d\d[ T]\d\d:\d\d:\d\d.*")
"""A time no row of the histories has."""


@pytest.fixture(scope="module")
def processes():
    """What forks children that do an action, and kills them."""
    with zygote.started() as run:
        yield run


def content(path):
    """Return schema and rows; what was written just now counts as the same whenever that was."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = lambda cursor, row: tuple("now" if is_now(value) else value for value in row)
        master = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        found = {"": connection.execute(master).fetchall()}
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = "migration_name, success" if name == "schema_migrations" else "*"
            if name not in ("schema_migration_events", "sqlite_sequence"):
                found[name] = connection.execute(f'SELECT {columns} FROM "{name}"').fetchall()
    return found


def is_now(value):
    return isinstance(value, str) and NOW.fullmatch(value) is not None


def no_lock_is_left(path):
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("ROLLBACK")
    return True


def copies(path, end=".backup"):
    return sorted(path.parent.glob(f"backups/*{end}"))


# kill -9


@pytest.fixture(scope="module")
def start(historical, tmp_path_factory):
    """Where each action starts from: a history with rows and rebuilds ahead of it, or the same, migrated."""
    folder = tmp_path_factory.mktemp("start")
    old, done = folder / "old.db", folder / "done.db"
    shutil.copy(historical["boot-fresh-newest-1"], old)
    with closing(sqlite3.connect(old)) as connection, connection:
        rows = [("x" * 300,) for _ in range(3000)]
        connection.execute("CREATE TABLE ballast (text TEXT)")
        connection.executemany("INSERT INTO ballast VALUES (?)", rows)
    shutil.copy(old, done)
    Runner(done).migrate(strict=True, backup=False)
    return {"migrate": old, "strict": old, "backup": done, "rollback": done, "restore": done}, old


@pytest.mark.slow
@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("action", ["migrate", "strict", "backup", "rollback", "restore"])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_and_the_next_run_finishes(
    processes, start, tmp_path, action, journal
):
    origins, made = start

    def fresh(name):
        folder = tmp_path / name
        folder.mkdir()
        path = Path(shutil.copy(origins[action], folder / "homebrew.db"))
        shutil.copy(made, f"{path}.made")
        files.query(path, f"PRAGMA journal_mode={journal}")
        return path

    path = fresh("whole")
    old, broken = content(path), files.orphans(path)
    processes(action, fresh("warm"))
    ends, duration, *_ = processes(action, path)
    assert ends == [0]
    new = content(path)
    dice = random.Random(f"{action} {journal}")
    seen = Counter()
    while seen["killed"] < max(KILLS // 10, 1) and seen["too late"] < KILLS + 20:
        path = fresh(str(seen.total()))
        ends, *_ = processes(action, path, kill_after=dice.random() * duration)
        is_killed = ends == [-9]
        seen["killed" if is_killed else "too late"] += 1
        duration *= 1.03 if is_killed else 0.8

        assert files.integrity(path) == ["ok"]
        assert files.orphans(path) <= broken | (files.orphans(tmp_path / "whole" / "homebrew.db"))
        found = content(path)
        assert found in (old, new), action
        seen["old" if found == old else "new"] += 1
        assert no_lock_is_left(path)
        for copy in copies(path):
            assert files.integrity(copy) == ["ok"]
            assert content(copy) == old or action == "restore"

        if action != "rollback" or found == old:
            assert processes(action, path)[0] == [0]
        assert content(path) == new
        Runner(path).backup()
        assert copies(path, ".partial*") == []
        shutil.rmtree(path.parent)
    print(f"{action} {journal}: {dict(seen)}")
    assert seen["killed"] >= KILLS // 10


@pytest.mark.slow
@pytest.mark.parametrize("shortcuts", [True, False], ids=["shortcuts", "no shortcuts"])
def test_a_fleet_killed_at_any_moment_has_old_and_new_members_only(processes, start, tmp_path, shortcuts):
    """Members of one kind, so that plans are repeated, and new ones, which are copies of the template."""
    origin = start[0]["migrate"]
    settings = {"plan_cache": shortcuts, "template": shortcuts, "backup": "never"}

    def fresh(name):
        folder = tmp_path / name
        folder.mkdir()
        there = [Path(shutil.copy(origin, folder / f"{number}.db")) for number in range(5)]
        new = [folder / f"new{number}.db" for number in range(3)]
        return there, new, [*map(str, there), *(f"sqlite:///{path}" for path in new)]

    there, new, members = fresh("whole")
    old = content(there[0])
    processes("fleet", tmp_path, members=fresh("warm")[2], settings=settings)
    ends, duration, *_ = processes("fleet", tmp_path, members=members, settings=settings)
    assert ends == [0]
    done, made = content(there[0]), content(new[0])
    dice = random.Random(f"fleet {shortcuts}")
    seen = Counter()
    while seen["killed"] < max(KILLS // 10, 1) and seen["too late"] < KILLS + 20:
        there, new, members = fresh(str(seen.total()))
        ends, *_ = processes("fleet", tmp_path, members=members, settings=settings, kill_after=dice.random() * duration)
        is_killed = ends == [-9]
        seen["killed" if is_killed else "too late"] += 1
        duration *= 1.03 if is_killed else 0.8

        for path in there:
            assert files.integrity(path) == ["ok"]
            assert content(path) in (old, done)
        for path in new:
            assert not path.exists() or content(path) in ({"": []}, made)
        assert processes("fleet", tmp_path, members=members, settings=settings)[0] == [0]
        assert {path.name for path in there[0].parent.iterdir()} == {path.name for path in (*there, *new)}
        assert all(content(path) == done for path in there)
        assert all(content(path) == made for path in new)
        shutil.rmtree(there[0].parent)
    print(f"fleet {shortcuts}: {dict(seen)}")
    assert seen["killed"] >= KILLS // 10


MOMENTS = {
    "before the record": ('INSERT INTO "schema_migrations"', "old"),
    "before the events": ('INSERT INTO "schema_migration_events"', "old"),
    "before the commit": ("COMMIT", "old"),
    "after the commit": ("PRAGMA foreign_keys = 1", "new"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_there_is_no_moment_between_the_work_and_its_record(path, folder, python, moment):
    source = folder({"001_item": creates("item"), "002_rows": sql("INSERT INTO item (name) VALUES ('x')")})
    statement, wanted = MOMENTS[moment]
    text = """
        import os, sqlite3, sys
        import peewee as pw
        from framework_schema.runner import Runner
        from framework_schema.sources import Folder

        class Fatal(sqlite3.Connection):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.execute("PRAGMA foreign_keys = ON")
                self.set_trace_callback(self.look)

            def look(self, sql):
                if sql.startswith(sys.argv[3]):
                    os.kill(os.getpid(), 9)

        Runner(pw.SqliteDatabase(sys.argv[1], factory=Fatal), [Folder(sys.argv[2])]).migrate()
    """

    done = python(text, path, source.path, statement, check=False)

    assert done.returncode == -9, done.stderr
    has_work = "item" in files.tables(path)
    has_record = "schema_migrations" in files.tables(path) and len(files.history(path)) == 2
    assert (has_work, has_record) == ((True, True) if wanted == "new" else (False, False))
    assert Runner(path, [source]).migrate().state is (State.CURRENT if wanted == "new" else State.MIGRATED)
    assert files.query(path, "SELECT name FROM item") == [("x",)]


# No room


def fill(count):
    return f'migrator.sql("INSERT INTO item (name) SELECT hex(zeroblob(2000)) FROM pragma_function_list LIMIT {count}")'


@pytest.fixture
def growing(folder, path):
    """Two scripts applied and, pending, one that needs room, before one that does not."""
    source = folder({"001_item": creates("item")})
    Runner(path, [source]).migrate()
    folder({"002_more": script("\n".join([fill(100)] * 3)), "003_note": creates("note")})
    return source


def full(path, run):
    """Let it run out of room; nothing changed."""
    before = content(path)
    with pytest.raises((Unreadable, MigrationFailed), match="full") as caught:
        run()
    assert content(path) == before or isinstance(caught.value, MigrationFailed)
    assert files.integrity(path) == ["ok"]
    assert files.query(path, "SELECT count(*) FROM item") == [(0,)]
    assert no_lock_is_left(path)


@pytest.mark.parametrize("room", [1, 5, 50, 120])
@pytest.mark.parametrize("cache", [-2000, 5])
def test_a_full_database_stays_as_it_was_and_goes_on_when_there_is_room(path, growing, room, cache):
    (pages,) = files.query(path, "PRAGMA page_count")[0]
    database = pw.SqliteDatabase(path, pragmas={"max_page_count": pages + room, "cache_size": cache})

    full(path, lambda: Runner(database, [growing]).migrate())

    report = Runner(path, [growing]).migrate()
    assert report.applied == ["app/002_more", "app/003_note"]
    assert files.history(path) == [("app/001_item", True), ("app/002_more", True), ("app/003_note", True)]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("action", ["migrate", "backup", "rollback", "strict"])
@pytest.mark.parametrize("room", [8, 30, 100])
def test_on_a_full_disk_nothing_changes_and_all_goes_on_when_there_is_room(
    small_disk, path, folder, growing, action, room
):
    folder({"002_more": script("\n".join([fill(20)] * 3), rollback="migrator.sql('DELETE FROM item')")})
    place = Path(shutil.copy(path, small_disk / "homebrew.db"))
    runner = Runner(place, [growing])
    if action != "migrate":
        runner.migrate()
    if action == "strict":
        files.run(place, "DROP TABLE note; CREATE TABLE note (id INTEGER PRIMARY KEY NOT NULL, name VARCHAR(9))")
    before, ballast = content(place), small_disk / "ballast"
    free = shutil.disk_usage(small_disk).free
    ballast.write_bytes(b"x" * max(free - room * 1024, 0))
    run = {
        "migrate": runner.migrate,
        "backup": runner.backup,
        "rollback": lambda: runner.rollback(steps=2),
        "strict": lambda: runner.migrate(strict=True),
    }[action]

    with pytest.raises(Exception, match=r"full|free") as caught:
        run()

    assert content(place) == before or isinstance(caught.value, MigrationFailed)
    assert files.integrity(place) == ["ok"]
    assert copies(place, "") == []
    ballast.unlink()
    if action in ("backup", "strict"):
        runner = Runner(place, [growing])
        with pytest.raises(Exception, match="free"):  # a copy and the spare megabyte are too much for this disk
            run()
        assert runner.migrate(strict=True, backup=False).is_wanted
    elif action == "rollback":
        assert runner.rollback(steps=2, backup=False).is_wanted
    else:
        assert run().is_wanted
    assert files.integrity(place) == ["ok"]


# Crowds


CROWD = {
    "001_item": creates("item", "legs"),
    "002_rows": sql("INSERT INTO item (legs) VALUES (5)"),
    "003_double": sql("UPDATE item SET legs = legs * 2"),
    "004_more": script("migrator.add_fields('item', more=pw.TextField(default='x'))"),
    "005_note": creates("note"),
    "006_double": sql("UPDATE item SET legs = legs * 2"),
}


def is_whole(path):
    assert files.query(path, "SELECT legs FROM item") == [("20",)]
    assert files.history(path) == [(f"app/{name}", True) for name in CROWD]
    assert len(files.events(path, "applied")) == len(CROWD)
    assert files.events(path, "failed") == []
    assert files.integrity(path) == ["ok"]


@pytest.mark.slow
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_eight_processes_at_once_apply_each_migration_once_and_none_sees_an_error(processes, tmp_path, folder, journal):
    source = folder(CROWD)
    for number in range(25):
        path = tmp_path / f"{number}.db"
        files.query(path, f"PRAGMA journal_mode={journal}")

        ends, *_ = processes("migrate", *[path] * 8, folder=source.path)

        assert ends == [0] * 8
        is_whole(path)


@pytest.mark.slow
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_eight_threads_at_once_apply_each_migration_once_and_none_sees_an_error(tmp_path, folder, journal):
    source = folder(CROWD)
    for number in range(25):
        path = tmp_path / f"{number}.db"
        files.query(path, f"PRAGMA journal_mode={journal}")
        together, states, errors = threading.Barrier(8), [], []

        def run(path=path, together=together, states=states, errors=errors):
            try:
                together.wait()
                states.append(Runner(path, [source]).migrate().state)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert errors == []
        assert Counter(states) == {State.MIGRATED: 1, State.CURRENT: 7}
        is_whole(path)


@pytest.mark.slow
def test_eight_processes_that_are_killed_leave_the_ninth_nothing_to_mend(processes, tmp_path, folder):
    source, dice = folder(CROWD), random.Random(6)
    for number in range(10):
        path = tmp_path / f"{number}.db"
        processes("migrate", *[path] * 8, folder=source.path, kill_after=dice.random() * 0.1)

        assert processes("migrate", path, folder=source.path)[0] == [0]

        is_whole(path)


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("action", ["migrate", "strict", "rollback", "destructive"])
def test_a_writer_that_does_not_let_go_is_waited_for_then_named(path, runner, folder, journal, action):
    source = folder({"001_item": creates("item")})
    runner(source).migrate()
    files.query(path, f"PRAGMA journal_mode={journal}")
    folder({"002_note": script("pass", head="destructive = True") if action == "destructive" else creates("note")})
    before = content(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO item (name) VALUES ('mine')")
        make = runner(source, timeout=0.2)

        with pytest.raises(Locked, match="Nothing was changed"):
            make.rollback() if action == "rollback" else make.migrate(strict=action == "strict")

        assert copies(path, "") == []
        writer.execute("ROLLBACK")
    assert content(path) == before
    assert runner(source).migrate().state is State.MIGRATED


@pytest.mark.slow
def test_readers_of_a_wal_database_read_on_while_it_is_migrated(copy_of):
    path = copy_of("boot-fresh-newest-1")
    files.query(path, "PRAGMA journal_mode=wal")
    (rows,) = files.query(path, "SELECT count(*) FROM Note")[0]
    stop, counts, errors = threading.Event(), Counter(), []

    def read():
        with closing(sqlite3.connect(path, timeout=0)) as reader:
            while not stop.is_set():
                try:
                    counts[reader.execute("SELECT count(*) FROM Note").fetchone()[0]] += 1
                except sqlite3.Error as error:
                    errors.append(error)
                time.sleep(0.001)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        Runner(path).migrate(strict=True)
        Runner(path).rollback(force=True)
        Runner(path).migrate()
    finally:
        stop.set()
        thread.join()

    assert errors == []
    assert set(counts) == {rows}


def test_a_migration_that_fails_is_recorded_and_its_row_turns_when_it_is_mended(path, runner, folder):
    text = script(
        "migrator.sql('CREATE TABLE half (x)')\n"
        "migrator.sql('INSERT INTO item (name) VALUES (1)')\n"
        "raise RuntimeError('no')"
    )
    source = folder({"001_item": creates("item"), "002_bad": text, "003_after": creates("later")})
    other = folder({"001_free": creates("free")}, of="other", source="other")

    with pytest.raises(MigrationFailed) as caught:
        runner(source, other).migrate()

    assert caught.value.report.failed == ["app/002_bad"]
    assert files.tables(path).keys() & {"item", "half", "later", "free"} == {"item", "free"}
    assert files.query(path, "SELECT count(*) FROM item") == [(0,)]
    assert sorted(files.history(path)) == [("app/001_item", True), ("app/002_bad", False), ("other/001_free", True)]
    folder({"002_bad": creates("half")})
    assert runner(source, other).migrate().applied == ["app/002_bad", "app/003_after"]
    assert all(success for _, success in files.history(path))
    with runner(source, other).target.connected() as database:
        assert {"half", "later"} <= of_database(database).tables.keys()

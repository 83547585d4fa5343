"""Nothing of a database changes when it is read or rehearsed, and what is rehearsed is what happens."""

import ctypes
import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import sqlite_files as files
from script_texts import creates, script, sql

from framework_schema import rehearsal
from framework_schema.config import Config
from framework_schema.errors import Ahead, Locked, NeedsWriting, Unreadable
from framework_schema.rehearsal import RecordingConnection, Tape, Way, look, rehearse, way_to_read
from framework_schema.report import State
from framework_schema.runner import Runner

ROWS = "CREATE TABLE Entry (id INTEGER PRIMARY KEY, title TEXT); INSERT INTO Entry (title) VALUES ('secret brew');"


def footprint(folder):
    """All that a look could change: every file's name, bytes, mode and times, and the folder's own time."""
    found = {}
    for path in sorted(Path(folder).iterdir()):
        stat = path.stat()
        found[path.name] = (hashlib.sha256(path.read_bytes()).hexdigest(), stat.st_mtime_ns, stat.st_mode, stat.st_ino)
    return found, Path(folder).stat().st_mtime_ns


@pytest.fixture
def data(tmp_path):
    """A folder that holds databases and nothing else."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def rollback_journal(path):
    files.run(path, ROWS)


def wal_closed(path):
    files.run(path, f"PRAGMA journal_mode = wal; {ROWS}")


def crashed(path, body):
    """Leave a database as a process that died with an open connection leaves it."""
    text = f"import os, sqlite3\nc = sqlite3.connect({str(path)!r}, isolation_level=None)\n{body}\nos._exit(0)"
    subprocess.run([sys.executable, "-c", text], check=True)


def wal_crashed(path):
    crashed(path, f"c.executescript('PRAGMA journal_mode = wal; ' + {ROWS!r})")
    assert Path(f"{path}-wal").stat().st_size


def wal_crashed_without_index(path):
    wal_crashed(path)
    Path(f"{path}-shm").unlink(missing_ok=True)


def wal_copied_with_empty_log(path):
    wal_closed(path)
    Path(f"{path}-wal").touch()


def hot_journal(path):
    files.run(path, ROWS)
    crashed(
        path,
        "c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN')\n"
        'for _ in range(500): c.execute("INSERT INTO Entry (title) VALUES (hex(randomblob(500)))")',
    )
    assert Path(f"{path}-journal").stat().st_size


PASTS = pytest.mark.parametrize(
    "past",
    [rollback_journal, wal_closed, wal_crashed, wal_crashed_without_index, wal_copied_with_empty_log, hot_journal],
)


@PASTS
@pytest.mark.parametrize("ask", ["status", "drift", "history", "plan", "rehearse"])
def test_looking_changes_no_byte_no_time_and_no_side_file(past, ask, data, folder):
    past(data / "a.db")
    before = footprint(data)
    runner = Runner(data / "a.db", [folder({"001_a": creates("a")})], create=False)

    rehearse(runner) if ask == "rehearse" else look(runner, lambda reader: getattr(reader, ask)())

    assert footprint(data) == before


@PASTS
def test_what_is_committed_is_seen_whatever_the_journal(past, data, folder):
    past(data / "a.db")
    runner = Runner(data / "a.db", [folder({"001_a": creates("a")})], create=False)

    drift = look(runner, Runner.drift)

    assert [d.text for d in drift.extra] == ["table Entry is extra"]


def test_a_wal_database_in_use_is_read_with_its_log_and_stays_as_it_is(data, folder):
    with closing(sqlite3.connect(data / "a.db", isolation_level=None)) as app:
        app.executescript(f"PRAGMA journal_mode = wal; {ROWS}")
        app.execute("BEGIN IMMEDIATE")
        app.execute("INSERT INTO Entry (title) VALUES ('not committed')")
        before = footprint(data)
        runner = Runner(data / "a.db", [folder({"001_a": creates("a")})], create=False)

        report = rehearse(runner)

        assert report.applied == ["app/001_a"]
        assert footprint(data) == before
        app.execute("COMMIT")
    assert len(files.query(data / "a.db", "SELECT * FROM Entry")) == 2


@pytest.mark.parametrize(
    ("past", "way"),
    [
        (rollback_journal, Way.LOCKED),
        (wal_closed, Way.STILL),
        (wal_copied_with_empty_log, Way.STILL),
        (wal_crashed_without_index, Way.COPIED),
        (hot_journal, Way.COPIED),
    ],
)
def test_the_way_to_read_follows_from_what_stands_beside_the_file(past, way, data):
    past(data / "a.db")

    assert way_to_read(data / "a.db") is way


def test_asking_for_the_way_keeps_the_locks_of_this_process(data):
    rollback_journal(data / "a.db")
    with closing(sqlite3.connect(data / "a.db", isolation_level=None)) as app:
        app.execute("BEGIN IMMEDIATE")

        way_to_read(data / "a.db")

        text = f"import sqlite3; sqlite3.connect({str(data / 'a.db')!r}, timeout=0).execute('BEGIN IMMEDIATE')"
        other = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
        assert "database is locked" in other.stderr


def test_a_database_that_changes_under_a_look_is_looked_at_again(data, folder):
    wal_closed(data / "a.db")
    runner = Runner(data / "a.db", [folder({"001_a": creates("a")})], create=False)
    seen = []

    def use(reader):
        seen.append({d.table for d in reader.drift().extra})
        if len(seen) == 1:
            files.run(data / "a.db", "CREATE TABLE late (a)")
        return seen[-1]

    assert look(runner, use) == {"Entry", "late"}
    assert len(seen) == 2


def test_a_database_that_never_stands_still_is_locked(data, folder):
    wal_closed(data / "a.db")
    runner = Runner(data / "a.db", [folder({"001_a": creates("a")})], config=Config(timeout=0.1), create=False)

    with pytest.raises(Locked, match="written all the time"):
        look(runner, lambda reader: files.run(data / "a.db", "INSERT INTO Entry (title) VALUES ('again')"))


@PASTS
def test_a_look_cannot_migrate(past, data, folder):
    past(data / "a.db")
    runner = Runner(data / "a.db", [folder({"001_a": creates("a")})], create=False)
    before = {path.name: path.read_bytes() for path in data.iterdir() if not path.name.endswith("-shm")}

    with pytest.raises(NeedsWriting):
        look(runner, Runner.migrate, copies=False)

    assert {path.name: path.read_bytes() for path in data.iterdir() if not path.name.endswith("-shm")} == before


def test_a_database_held_by_a_writer_is_locked_and_not_misread(data, folder):
    rollback_journal(data / "a.db")
    runner = Runner(data / "a.db", [folder({"001_a": creates("a")})], config=Config(timeout=0.1), create=False)
    with closing(sqlite3.connect(data / "a.db", isolation_level=None)) as app:
        app.execute("BEGIN EXCLUSIVE")

        with pytest.raises(Locked):
            look(runner, Runner.status)
        with pytest.raises(Locked):
            rehearse(runner)


# Rehearsing


EVERY_KIND = {
    "001_tables": creates("brew", "name", "style"),
    "002_fills": script(
        "for number in range(3):\n"
        "    database.execute_sql('INSERT INTO brew (name) VALUES (?)', (f'brew {number}',))"
    ),
    "003_raw": script(
        "cursor = database.cursor()\n"
        "cursor.execute('CREATE INDEX brew_name ON brew (name)')\n"
        "cursor.executemany('INSERT INTO brew (style) VALUES (?)', [('a',), ('b',)])\n"
        "database.connection().execute('UPDATE brew SET style = 1')"
    ),
    "004_with": script("migrator.sql('WITH n AS (SELECT 1 AS a) INSERT INTO brew (name) SELECT a FROM n')"),
    "005_reads": script("database.execute_sql('SELECT * FROM brew').fetchall()"),
}  # fmt: skip


def recorded(runner):
    """Migrate for real, with the same ear on the connection."""
    tape = Tape()
    twin = rehearsal._twin(
        runner, rehearsal.uri_of(runner.target.path, "mode=rwc"), factory=partial(RecordingConnection, tape)
    )
    twin.migrate()
    return tape.statements


@PASTS
def test_the_rehearsed_sql_is_what_the_real_run_executes(past, data, folder):
    past(data / "a.db")
    runner = Runner(data / "a.db", [folder(EVERY_KIND)], create=False)

    report = rehearse(runner)

    assert list(report.sql) == recorded(runner)


def test_a_historical_database_is_rehearsed_as_it_is_migrated(copy_of):
    path = copy_of("fleet-pre-homebrew")
    runner = Runner(path, create=False)

    report = rehearse(runner)
    done = Runner(path, create=False)

    assert list(report.sql) == recorded(done)
    assert len(report.sql) > 100


def test_a_rehearsal_tells_rows_disk_and_what_would_be_done(data, folder):
    rollback_journal(data / "a.db")

    report = rehearse(
        Runner(data / "a.db", [folder({"001_e": sql("UPDATE Entry SET title = 'x'"), "002_b": creates("b")})])
    )

    assert report.state is State.PENDING
    assert report.applied == ["app/001_e", "app/002_b"]
    assert report.pending == ("app/001_e", "app/002_b")
    assert report.rows > 1
    assert report.disk_bytes > 4096
    assert {"dry_run": True, "rows": report.rows, "disk_bytes": report.disk_bytes}.items() <= report.as_dict().items()


def test_a_rehearsal_shows_no_value_of_any_row(data, folder):
    rollback_journal(data / "a.db")
    body = (
        "title = database.execute_sql('SELECT title FROM Entry').fetchone()[0]\n"
        "database.execute_sql('UPDATE Entry SET title = ?', (title + '!',))"
    )

    report = rehearse(Runner(data / "a.db", [folder({"001_a": script(body)})]))

    assert "UPDATE Entry SET title = ?  -- 1 parameter" in report.sql
    assert "secret" not in repr(report)


def test_a_current_database_has_no_sql(data, folder):
    source = folder({"001_a": creates("a")})
    Runner(data / "a.db", [source]).migrate()
    before = footprint(data)

    report = rehearse(Runner(data / "a.db", [source]))

    assert (report.state, report.sql, report.rows) == (State.CURRENT, (), 0)
    assert footprint(data) == before


def test_a_script_that_would_fail_fails_in_the_rehearsal_alone(data, folder):
    rollback_journal(data / "a.db")
    before = footprint(data)

    report = rehearse(Runner(data / "a.db", [folder({"001_a": creates("a"), "002_b": script("1 / 0")})]))

    assert report.state is State.FAILED
    assert "ZeroDivisionError" in report.error
    assert footprint(data) == before


def test_a_database_ahead_is_refused_in_the_rehearsal_too(data, folder):
    Runner(data / "a.db", [folder({"001_a": creates("a"), "002_b": creates("b")})]).migrate()
    before = footprint(data)

    with pytest.raises(Ahead):
        rehearse(Runner(data / "a.db", [folder({"001_a": creates("a")}, of="older")]))

    assert footprint(data) == before


def test_a_rehearsal_of_what_is_no_database_says_so(data, folder):
    (data / "a.db").write_bytes(b"x" * 5000)
    before = footprint(data)

    with pytest.raises(Unreadable, match="not a SQLite database"):
        rehearse(Runner(data / "a.db", [folder({"001_a": creates("a")})], create=False))

    assert footprint(data) == before


def test_a_rehearsal_of_a_database_to_be_made_makes_none(data, folder):
    report = rehearse(Runner(data / "a.db", [folder({"001_a": creates("a")})]))

    assert report.applied == ["app/001_a"]
    assert list(data.iterdir()) == []


def test_a_snapshot_leaves_nothing_in_the_temporary_folder(data, folder, tmp_path, monkeypatch):
    rollback_journal(data / "a.db")
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(rehearsal.tempfile, "tempdir", str(place))

    rehearse(Runner(data / "a.db", [folder({"001_a": creates("a"), "002_b": script("1 / 0")})]))

    assert list(place.iterdir()) == []


def without_root_rights():
    """Give up what lets root write where its own files' modes forbid it (CAP_DAC_OVERRIDE)."""
    if os.getuid() == 0:
        drop_from_bounding_set, override = 24, 1
        ctypes.CDLL(None).prctl(drop_from_bounding_set, override, 0, 0, 0)


@PASTS
def test_a_read_only_folder_is_rehearsed_by_a_user_who_may_only_read(past, data, folder):
    past(data / "a.db")
    scripts = folder({"001_a": creates("a")}).path
    for path in data.iterdir():
        path.chmod(0o444)
    data.chmod(0o555)
    before = footprint(data)
    text = f"""
from framework_schema.rehearsal import look, rehearse
from framework_schema.runner import Runner
from framework_schema.sources import Folder
try:
    open({str(data / "other")!r}, "w")
except PermissionError:
    print("read-only")
runner = Runner({str(data / "a.db")!r}, [Folder({str(scripts)!r})], create=False)
print(look(runner, Runner.status).state)
report = rehearse(runner)
print(report.applied, report.notes)
"""

    done = subprocess.run(
        [sys.executable, "-c", text], preexec_fn=without_root_rights, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("read-only\npending\n['app/001_a']")
    assert "a real run would fail: this user may not write" in done.stdout
    assert footprint(data) == before
    data.chmod(0o755)


@pytest.mark.parametrize(
    ("statement", "reads"),
    [
        ("SELECT 1", True),
        ("  -- a remark\n/* two */ select 1", True),
        ("PRAGMA table_info(x)", True),
        ("PRAGMA foreign_keys = 0", False),
        ("EXPLAIN DELETE FROM x", True),
        ("WITH a AS (SELECT 1) SELECT * FROM a", True),
        ("with a as (select 1) insert into x select * from a", False),
        ("SAVEPOINT a", True),
        ("ROLLBACK TO a", True),
        ("ROLLBACK", False),
        ("", True),
        ("CREATE TABLE x (a)", False),
        ("reindex", False),
    ],
)
def test_statements_that_only_read_are_left_off_the_tape(statement, reads):
    assert rehearsal.only_reads(statement) is reads

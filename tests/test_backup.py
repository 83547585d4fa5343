"""A copy is whole or not there; what is put back is what was copied; nothing that anyone wrote goes unkept."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import peewee as pw
import pytest
import sqlite_files as files
from click.testing import CliRunner
from script_texts import creates, script, sql

from framework_schema import backup
from framework_schema.cli import main
from framework_schema.config import Config
from framework_schema.databases import open_target
from framework_schema.errors import BackupFailed, DatabaseError, Locked, MigrationFailed, Unreadable
from framework_schema.inventory import read_targets
from framework_schema.report import State
from framework_schema.runner import Runner

FILLED = """
CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT);
CREATE TABLE loose (name TEXT);
CREATE TABLE note (id INTEGER PRIMARY KEY, item_id INTEGER REFERENCES item (id), text TEXT);
CREATE INDEX by_text ON note (text DESC) WHERE text IS NOT NULL;
INSERT INTO item (id, name) VALUES (1, 'a'), (2, 'b'), (900, 'c');
DELETE FROM item WHERE id = 900;
INSERT INTO loose (rowid, name) VALUES (5, 'five'), (7000, 'seven thousand');
INSERT INTO note (item_id, text) VALUES (1, 'one'), (2, NULL);
"""


@pytest.fixture
def filled(path):
    return files.run(path, FILLED)


@pytest.fixture
def source(folder):
    return folder({"001_item": creates("item"), "002_extra": creates("extra")})


def content(path):
    """Return every row with its rowid, the counters and the schema."""
    with closing(sqlite3.connect(path)) as connection:
        found = {"schema": connection.execute("SELECT * FROM sqlite_master ORDER BY rowid").fetchall()}
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE '%ROWID'")
        for (name,) in names.fetchall():
            found[name] = connection.execute(f'SELECT rowid, * FROM "{name}"').fetchall()
    return found


def without_history(found):
    return {name: rows for name, rows in found.items() if not name.startswith(("schema", "sqlite"))}


def copies(path):
    return sorted(found.name for found in (path.parent / "backups").glob("*"))


# Making one


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_backup_holds_every_row_and_rowid_and_the_wal_and_needs_no_file_beside_it(filled, source, journal):
    with closing(sqlite3.connect(filled, isolation_level=None)) as app:
        app.execute(f"PRAGMA journal_mode={journal}")
        app.execute("PRAGMA wal_autocheckpoint=0")
        app.execute("INSERT INTO loose (rowid, name) VALUES (99, 'only in the log')")

        made = Runner(filled, [source]).backup()

        assert content(made) == content(filled)
    assert copies(filled) == [made.name]
    assert files.integrity(made) == ["ok"]
    assert files.query(made, "PRAGMA journal_mode") == [("delete",)]
    with closing(sqlite3.connect(f"file:{made}?mode=ro&immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT name FROM loose WHERE rowid = 99").fetchall() == [("only in the log",)]


def test_what_only_the_app_registers_is_no_hindrance(filled, source):
    database = pw.SqliteDatabase(filled)
    database.register_collation(lambda a, b: (a > b) - (a < b), "mine")
    database.register_function(lambda text: text and text[::-1], "backwards", 1, deterministic=True)
    with database.connection_context():
        database.execute_sql("CREATE INDEX mine ON loose (name COLLATE mine, backwards(name))")

    made = Runner(database, [source]).backup()

    assert files.query(made, "SELECT rowid FROM loose ORDER BY rowid") == [(5,), (7000,)]


def test_an_open_transaction_of_another_process_is_not_in_the_backup(filled, runner, source):
    with closing(sqlite3.connect(filled, isolation_level=None)) as app:
        app.execute("BEGIN IMMEDIATE")
        app.execute("INSERT INTO loose (name) VALUES ('not yet')")

        made = runner(source).backup()

    assert files.query(made, "SELECT count(*) FROM loose") == [(2,)]


def test_a_backup_is_private_from_its_first_byte(filled, source, monkeypatch):
    seen = []
    copy = backup.copy_sqlite

    def spy(target, partial):
        seen.append(oct(partial.stat().st_mode & 0o777))
        copy(target, partial)
        seen.append(oct(partial.stat().st_mode & 0o777))

    monkeypatch.setattr(backup, "copy_sqlite", spy)
    was = os.umask(0)
    try:
        made = Runner(filled, [source]).backup()
    finally:
        os.umask(was)

    assert seen == ["0o600", "0o600"]
    assert oct(made.stat().st_mode & 0o777) == "0o600"
    assert oct(made.parent.stat().st_mode & 0o777) == "0o700"


def test_a_file_that_is_there_is_never_overwritten(filled, source, tmp_path):
    mine = tmp_path / "mine.db"
    mine.write_bytes(b"mine")

    with pytest.raises(BackupFailed, match="is there already"):
        Runner(filled, [source]).backup(mine)

    assert mine.read_bytes() == b"mine"
    assert list(tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize("into", ["named.db", "elsewhere"])
def test_a_backup_goes_where_it_is_told(filled, source, tmp_path, into):
    (tmp_path / "elsewhere").mkdir()

    made = [Runner(filled, [source]).backup(tmp_path / into) for _ in range(1 if into == "named.db" else 5)]

    assert all(content(file) == content(filled) for file in made)
    assert made[0] == tmp_path / into or len(list((tmp_path / "elsewhere").iterdir())) == 5


def test_the_newest_are_kept_and_nothing_else_is_touched(filled):
    folder = filled.parent / "backups"
    folder.mkdir()
    others = ["homebrew.db", "homebrew.db.backup", "homebrew.db.20200101T000000000000Z.backup.gz", "notes.txt",
              "other.db.20200101T000000000000Z.backup", "homebrew.db.yesterday.backup"]  # fmt: skip
    for name in others:
        (folder / name).write_text("mine")
    (folder / "homebrew.db.20200101T000000000000Z.backup").write_text("old")

    made = [backup.make(open_target(filled), Config(backup_keep=2)) for _ in range(4)]

    assert copies(filled) == sorted([*others, *(file.name for file in made[-2:])])
    assert backup.listed(open_target(filled), Config()) == (made[3], made[2])


def test_databases_of_one_name_share_a_folder_and_prune_only_their_own(tmp_path):
    settings = Config(backup_dir=str(tmp_path / "all"), backup_keep=1)
    paths = [tmp_path / place / "app.db" for place in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        files.run(path, FILLED)
        files.run(path, f"INSERT INTO loose VALUES ('{path.parent.name}')")

    made = [backup.make(open_target(path), settings) for path in (*paths, *paths)]

    assert sorted((tmp_path / "all").iterdir()) == sorted(made[2:])
    assert [files.query(file, "SELECT max(name) FROM loose")[0][0] for file in made[2:]] == ["seven thousand", "two"]


def test_a_backup_is_no_member_of_the_fleet(filled, source):
    Runner(filled, [source]).backup()

    assert [member.path for member in read_targets([filled.parent]).members] == [filled]


# Not made


def refuses(runner, match, kind=BackupFailed):
    path = runner.target.path
    before = files.digest(path)
    with pytest.raises(kind, match=match):
        runner.backup()
    assert files.digest(path) == before
    assert [name for name in copies(path) if "partial" in name] == []


def test_without_room_it_is_refused_before_a_byte_is_written(filled, runner, source, monkeypatch):
    made = runner(source).backup()
    monkeypatch.setattr(backup.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))

    refuses(runner(source, backup_keep=1), r"needs 1\.\d MB and \S+/backups has 1\.0 KB free")

    assert copies(filled) == [made.name]


def test_a_damaged_database_gives_no_backup_that_looks_sound(filled, runner, source):
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.executemany("INSERT INTO loose VALUES (?)", [("x" * 900,) for _ in range(100)])
    data = bytearray(filled.read_bytes())
    data[-4096 * 3 : -4096 * 2] = os.urandom(4096)
    filled.write_bytes(data)

    refuses(runner(source), "damaged", Unreadable)


def test_a_copy_that_is_cut_off_is_thrown_away(filled, runner, source, monkeypatch):
    copy = backup._copy

    def cut(database, target, partial, *, check):
        copy(database, target, partial, check=check)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_copy", cut)

    refuses(runner(source), "No space left")


def test_a_folder_that_cannot_be_made_is_refused(filled, runner, source):
    (filled.parent / "backups").write_text("a file")

    with pytest.raises(BackupFailed):
        runner(source).backup()


def test_what_a_killed_run_left_goes_and_what_another_makes_stays(filled, runner, source):
    folder = filled.parent / "backups"
    folder.mkdir()
    dead, alive, foreign = (
        folder / f"{name}.20200101T00000000000{n}Z.backup.partial"
        for n, name in enumerate(["homebrew.db", "homebrew.db", "other.db"])
    )
    for file in (dead, alive, foreign):
        file.write_text("half")
    Path(f"{dead}-wal").write_text("half")
    hold = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", hold, alive], text=True, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        made = runner(source).backup()
        other.kill()

    assert copies(filled) == sorted([made.name, alive.name, foreign.name])


# Before what may lose something


DROPS = script("migrator.remove_fields('extra', 'name')", rollback="pass")
SAYS = script("pass", head="destructive = True")


@pytest.mark.parametrize(
    ("policy", "text", "strict", "wanted"),
    [
        pytest.param("auto", creates("new"), False, 0, id="auto, additive"),
        pytest.param("auto", SAYS, False, 1, id="auto, destructive"),
        pytest.param("auto", DROPS, False, 1, id="auto, drops a column"),
        pytest.param("auto", sql("DELETE FROM extra"), False, 1, id="auto, deletes"),
        pytest.param(
            "auto", script("pass", rollback="migrator.remove_model('extra')"), False, 0, id="auto, only undoes"
        ),
        pytest.param("auto", script("pass"), True, 1, id="auto, rebuild"),
        pytest.param("never", SAYS, True, 0, id="never"),
        pytest.param("always", creates("new"), False, 1, id="always"),
    ],
)
def test_a_copy_is_made_before_what_may_lose_something(path, runner, source, folder, policy, text, strict, wanted):
    runner(source).migrate()
    if strict:
        files.run(path, "DROP TABLE extra; CREATE TABLE extra (id INTEGER PRIMARY KEY NOT NULL, name VARCHAR(9))")
    before = content(path)
    folder({"003_next": text})

    report = runner(source, backup=policy).migrate(strict=strict)

    assert report.state is State.MIGRATED
    assert len(copies(path) if wanted else list(path.parent.glob("backups/*"))) == wanted
    if wanted:
        assert content(report.backup) == before
        assert report.as_dict()["backup"] == report.backup
    else:
        assert report.backup is None


@pytest.mark.parametrize("asked", [True, False])
def test_what_is_asked_for_goes_before_the_config(path, runner, source, folder, asked):
    runner(source).migrate()
    folder({"003_next": creates("new") if asked else SAYS})

    report = runner(source, backup="never" if asked else "always").migrate(backup=asked)

    assert (report.backup is not None) is asked


def test_a_new_or_current_database_needs_no_copy(path, runner, source):
    reports = [runner(source, backup="always").migrate() for _ in range(2)]

    assert [(report.state, report.backup) for report in reports] == [(State.MIGRATED, None), (State.CURRENT, None)]
    assert not (path.parent / "backups").exists()


def test_a_rule_that_rows_forbid_costs_no_copy_each_time(path, runner, folder):
    head = "class Item(pw.Model):\n    name = pw.TextField()\n    class Meta:\n        table_name = 'item'"
    source = folder({"001_item": script("migrator.create_model(Item)", head=head)})
    files.run(
        path, "CREATE TABLE item (id INTEGER NOT NULL PRIMARY KEY, name TEXT); INSERT INTO item (name) VALUES (NULL)"
    )
    runner(source).migrate(strict=True)
    before = list(path.parent.glob("backups/*"))

    report = runner(source).migrate(strict=True)

    assert report.left
    assert report.backup is None
    assert list(path.parent.glob("backups/*")) == before


def test_without_its_copy_nothing_is_begun(path, runner, source, folder, monkeypatch):
    runner(source).migrate()
    folder({"003_next": SAYS})
    before = files.digest(path)
    monkeypatch.setattr(backup.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))

    with pytest.raises(BackupFailed, match="Nothing was changed"):
        runner(source).migrate()

    assert files.digest(path) == before


def test_nobody_writes_between_the_copy_and_the_migration(path, runner, source, folder, monkeypatch):
    runner(source).migrate()
    folder({"003_next": SAYS})
    refused = []
    copy = backup.copy_sqlite

    def intruder(target, partial):
        copy(target, partial)
        with closing(sqlite3.connect(path, timeout=0)) as other, pytest.raises(sqlite3.OperationalError) as caught:
            other.execute("INSERT INTO item (name) VALUES ('late')")
        refused.append(str(caught.value))

    monkeypatch.setattr(backup, "copy_sqlite", intruder)
    runner(source).migrate()

    assert refused == ["database is locked"]


# The way back


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("name", ["auto-newest-on-5289dd3", "boot-fresh-newest-1"])
def test_what_comes_back_is_what_was_copied_and_what_it_replaces_is_kept(copy_of, journal, name):
    path = copy_of(name)
    files.query(path, f"PRAGMA journal_mode={journal}")
    old = content(path)
    made = Runner(path).backup()
    Runner(path).migrate(strict=True)
    new = content(path)

    report = Runner(path).restore(made)

    assert without_history(content(path)) == without_history(old)
    assert content(report.backup) == new
    assert files.integrity(path) == ["ok"]
    assert files.query(path, "PRAGMA journal_mode") == [(journal,)]
    assert report.state is State.PENDING
    assert files.events(path)[-1] == ("restored", None, "ok")
    assert Runner(path).migrate(strict=True).state is State.MIGRATED
    assert without_history(content(path))["Entry"] == new["Entry"]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_open_connections_see_the_restored_rows(filled, runner, source, journal):
    files.query(filled, f"PRAGMA journal_mode={journal}")
    made = runner(source).backup()
    with closing(sqlite3.connect(filled, isolation_level=None)) as app:
        app.execute("DELETE FROM loose")
        app.execute("ALTER TABLE item ADD COLUMN more")
        app.execute("SELECT more FROM item").fetchall()

        runner(source).restore(made)

        assert app.execute("SELECT count(*) FROM loose").fetchall() == [(2,)]
        assert app.execute("SELECT * FROM item WHERE id = 1").fetchall() == [(1, "a")]
        app.execute("INSERT INTO loose (name) VALUES ('goes on')")
    assert files.integrity(filled) == ["ok"]


def test_a_database_that_is_gone_comes_back_private(filled, runner, source):
    old, made = content(filled), runner(source).backup()
    filled.unlink()

    report = runner(source).restore(made)

    assert without_history(content(filled)) == without_history(old)
    assert report.backup is None
    assert oct(filled.stat().st_mode & 0o777) == "0o600"


def test_a_damaged_database_is_kept_and_replaced(filled, runner, source):
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.executemany("INSERT INTO loose VALUES (?)", [("x" * 900,) for _ in range(100)])
    made = runner(source).backup()
    data = bytearray(filled.read_bytes())
    data[-4096 * 3 : -4096 * 2] = b"\xff" * 4096
    filled.write_bytes(data)

    report = runner(source).restore(made)

    assert files.integrity(filled) == ["ok"]
    assert without_history(content(filled)) == without_history(content(made))
    assert Path(report.backup).stat().st_size == len(data)


def untrusted(tmp_path, filled, kind):
    file = tmp_path / "untrusted"
    if kind == "text":
        file.write_text("not a database, by far")
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "half":
        file.write_bytes(filled.read_bytes()[: filled.stat().st_size // 2])
    elif kind == "damaged":
        data = bytearray(filled.read_bytes())
        data[4096 * 2 : 4096 * 2 + 200] = os.urandom(200)
        file.write_bytes(data)
    elif kind == "an index that lacks rows":  # SQLite reads and copies it without a word
        shutil.copy(filled, file)
        files.run(file, """
            CREATE INDEX lacking ON loose (name);
            PRAGMA writable_schema = 1;
            UPDATE sqlite_master SET sql = 'CREATE INDEX lacking ON loose (name || 1)' WHERE name = 'lacking';
        """)  # fmt: skip
    elif kind == "itself":
        return filled
    elif kind == "folder":
        file.mkdir()
    return file


@pytest.mark.parametrize(
    "kind", ["missing", "text", "empty", "half", "damaged", "an index that lacks rows", "itself", "folder"]
)
def test_a_backup_that_cannot_be_trusted_replaces_nothing(filled, runner, source, tmp_path, kind):
    file = untrusted(tmp_path, filled, kind)
    before = files.digest(filled)

    with pytest.raises(DatabaseError, match="Nothing was changed"):
        runner(source).restore(file)

    assert files.digest(filled) == before


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_nothing_is_replaced_while_another_process_writes(filled, runner, source, journal):
    files.query(filled, f"PRAGMA journal_mode={journal}")
    made = runner(source).backup()
    with closing(sqlite3.connect(filled, isolation_level=None)) as app:
        app.execute("BEGIN IMMEDIATE")
        app.execute("INSERT INTO loose (name) VALUES ('mine')")

        with pytest.raises(Locked, match="Nothing was changed"):
            runner(source, timeout=0.3).restore(made)

        app.execute("COMMIT")
    assert files.query(filled, "SELECT count(*) FROM loose") == [(3,)]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_nothing_is_replaced_while_a_script_runs_outside_of_a_transaction(filled, runner, source, folder, journal):
    files.query(filled, f"PRAGMA journal_mode={journal}")
    made = runner(source).backup()
    said = filled.with_suffix(".txt")
    tries = f"""
        from pathlib import Path
        from framework_schema import Config, Locked, Runner
        try:
            Runner({str(filled)!r}, [], config=Config(timeout=0.3)).restore({str(made)!r})
        except Locked as error:
            Path({str(said)!r}).write_text(str(error))
    """
    runner(folder({"001_alone": script(tries, head="atomic = False")}, of="alone")).migrate()

    assert "atomic = False" in said.read_text() and "Nothing was changed" in said.read_text()
    assert files.history(filled) == [("app/001_alone", True)]
    assert runner(source).restore(made).backup


@pytest.mark.slow
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_every_write_of_others_is_in_the_copy_that_is_kept_or_in_the_database(filled, runner, source, journal):
    files.query(filled, f"PRAGMA journal_mode={journal}")
    made = runner(source).backup()
    acknowledged, stop = [], threading.Event()

    def write():
        with closing(sqlite3.connect(filled, isolation_level=None, timeout=30)) as app:
            number = 0
            while not stop.is_set():
                number += 1
                app.execute("INSERT INTO loose (name) VALUES (?)", (f"w{number}",))
                acknowledged.append(f"w{number}")
                time.sleep(0.005)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        kept = []
        for _ in range(5):
            time.sleep(0.05)
            with suppress(Locked):  # a busy writer may starve us; then nothing was replaced
                kept.append(runner(source, timeout=2).restore(made).backup)
            time.sleep(0.05)
    finally:
        stop.set()
        writer.join()

    found = {name for file in (*kept, filled) for (name,) in files.query(file, "SELECT name FROM loose")}
    assert kept
    assert set(acknowledged) <= found


# Servers


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@127.0.0.1:1/brewery", "mariadb://me:s3cret@127.0.0.1:1/brewery"]
)
def test_a_server_without_its_tool_is_told_what_to_install(tmp_path, monkeypatch, url):
    monkeypatch.setenv("PATH", str(tmp_path))
    pytest.importorskip("psycopg")
    pytest.importorskip("pymysql")

    with pytest.raises(BackupFailed, match=r"dump.* is not installed") as caught:
        backup.make(open_target(url), Config(backup_dir=str(tmp_path / "backups")))

    assert "s3cret" not in str(caught.value)
    assert list((tmp_path / "backups").iterdir()) == []


# Attempts that fail


REBUILDS = "migrator.sql('ALTER TABLE item DROP COLUMN name')\nmigrator.sql('CREATE TABLE made (id INTEGER)')\n"
FAILS = script("migrator.sql('DROP TABLE note')\nraise RuntimeError('no such luck')", head="destructive = True")


def attempt(runner):
    with suppress(MigrationFailed):
        runner.migrate()


@pytest.mark.parametrize("wal", [False, True])
def test_retries_never_push_out_the_copy_from_before_the_change(filled, folder, runner, wal):
    if wal:
        files.run(filled, "PRAGMA journal_mode = wal")
    runner(folder({"001_works": script(REBUILDS)}), backup="always").migrate()
    (first,) = copies(filled)
    source = folder({"001_works": script(REBUILDS), "002_fails": FAILS})

    for number in range(6):
        files.run(filled, f"INSERT INTO loose (name) VALUES ('the app goes on {number}')")
        attempt(runner(source))

    assert copies(filled) == [first]
    assert files.query(filled.parent / "backups" / first, "SELECT name FROM item") != []
    (source.path / "002_fails.py").write_text(script("migrator.sql('DROP TABLE made')"))
    report = runner(source).migrate()
    assert copies(filled) == sorted([first, Path(report.backup).name])


def test_a_failed_run_that_changed_something_keeps_its_copy(filled, folder, runner):
    attempt(runner(folder({"001_works": script(REBUILDS), "002_fails": FAILS})))

    (copy,) = copies(filled)
    assert files.query(filled.parent / "backups" / copy, "SELECT name FROM item") != []


def test_what_is_half_done_outside_of_a_transaction_keeps_the_copy_from_before_it(filled, folder, runner):
    half = script("database.execute_sql('DELETE FROM loose')\n1 / 0", head="atomic = False\ndestructive = True")

    for _ in range(8):
        attempt(runner(folder({"001_half": half})))

    kept = copies(filled)
    assert len(kept) <= 6
    assert files.query(filled.parent / "backups" / kept[0], "SELECT count(*) FROM loose") == [(2,)]


def test_a_failure_that_is_the_same_as_the_last_is_counted(filled, folder, runner):
    source = folder({"001_fails": FAILS})

    for _ in range(4):
        attempt(runner(source))
    (source.path / "001_fails.py").write_text(FAILS.replace("luck", "chance"))
    for _ in range(2):
        attempt(runner(source))

    events = [event for event in runner(source).history(events=True) if event["kind"] == "failed"]
    assert [event["detail"].partition(",")[0] for event in events] == ["2 times", "4 times"]
    assert "no such chance" in events[0]["error"] and "no such luck" in events[1]["error"]
    shown = CliRunner().invoke(main, ["history", str(filled), "--events"], env={"COLUMNS": "300"})
    assert "4 times, the last at " in shown.stdout


def test_a_copy_made_by_hand_is_never_pushed_out(path, folder, runner):
    source = folder({"001_x": creates("x")})
    runner(source).migrate()
    by_hand = runner(source).backup()
    folder({"002_bad": "destructive = True\n" + script("1 / 0")})

    for _ in range(5):
        with pytest.raises(MigrationFailed):
            runner(source, backup_keep=1).migrate(backup=True)

    assert by_hand.is_file()
    replaced = Path(str(runner(source).restore(by_hand).backup))
    for _ in range(3):
        with pytest.raises(MigrationFailed):
            runner(source, backup_keep=1).migrate(backup=True)
    assert replaced.is_file() and by_hand.is_file()

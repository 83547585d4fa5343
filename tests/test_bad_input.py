"""Databases and scripts nobody should have: a clear message, the state, the next step, and not a byte changed."""

import os
import random
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_files as files
from script_texts import creates, script, sql

from framework_schema.errors import (
    Ahead,
    ConfigError,
    ForeignDatabase,
    ForeignHistory,
    Locked,
    MigrationFailed,
    PlanRefused,
    Unreadable,
)
from framework_schema.report import State
from framework_schema.runner import Runner

NOBODY = 65534


@pytest.fixture
def source(folder):
    return folder({"001_item": creates("item"), "002_note": creates("note")})


@pytest.fixture
def filled(path):
    """A database of several pages with rows of somebody's."""
    files.run(path, "CREATE TABLE mine (id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX by_text ON mine (text)")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO mine (text) VALUES (?)", [(f"{n} " * 99,) for n in range(200)])
    return path


def refusal(path, source, kind, **options):
    """Let every method of a runner be refused, nothing changed; return the message."""
    before = files.digest(path)
    said = set()
    for name in ("migrate", "status", "plan", "drift", "history"):
        with pytest.raises(kind) as caught:
            getattr(Runner(path, [source], **options), name)()
        said.add(str(caught.value))
    assert files.digest(path) == before
    (message,) = said
    return message


# Files that are no database


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"xy", id="two bytes"),
        pytest.param(b"x" * 50, id="fifty bytes"),
        pytest.param(b"Dear diary,\n" * 400, id="text"),
        pytest.param(random.Random(1).randbytes(8192), id="noise"),
        pytest.param(b"SQLite format 3\0" + b"\xff" * 4080, id="only the header"),
        pytest.param(b"\0" * 4096, id="zeros"),
    ],
)
def test_what_is_no_database_is_refused(path, source, content):
    path.write_bytes(content)

    message = refusal(path, source, Unreadable)

    assert message.startswith(f"{path}: the file is not a SQLite database. Nothing was changed. ")
    assert "backup" in message


def test_an_empty_file_is_a_new_database(path, source):
    path.touch()

    assert Runner(path, [source]).status().pending == ("app/001_item", "app/002_note")
    assert path.stat().st_size == 0
    assert Runner(path, [source]).migrate().applied == ["app/001_item", "app/002_note"]


def test_a_directory_is_refused(path, source):
    path.mkdir()

    with pytest.raises(Unreadable, match=r"homebrew\.db: this is a directory, not a database file\..*Name the file"):
        Runner(path, [source])
    assert list(path.iterdir()) == []


def test_a_missing_file_is_refused_where_none_is_to_be_made(path, source):
    with pytest.raises(Unreadable, match=r"homebrew\.db: there is no such file\. Nothing was changed\. Check the name"):
        Runner(path, [source], create=False)
    assert not path.exists()


@pytest.mark.parametrize("look", ["status", "plan", "drift", "history"])
def test_looking_makes_no_file(path, source, look):
    with pytest.raises(Unreadable, match="there is no such file"):
        getattr(Runner(path, [source]), look)()
    assert not path.exists()


def test_a_missing_folder_is_refused(tmp_path, source):
    with pytest.raises(Unreadable, match=r"there is no folder .*/no.*Create the folder"):
        Runner(tmp_path / "no" / "homebrew.db", [source])


def test_a_loop_of_links_is_refused(tmp_path, source):
    for one, other in (("a.db", "b.db"), ("b.db", "a.db")):
        Path(tmp_path, one).symlink_to(tmp_path / other)

    with pytest.raises(Unreadable, match=r"a\.db: .*Nothing was changed\. "):
        Runner(tmp_path / "a.db", [source]).migrate()


@pytest.mark.parametrize("name", ["x" * 300 + ".db", "a\0b.db"], ids=["too long", "null byte"])
def test_a_name_no_file_can_have_is_refused(tmp_path, source, name):
    with pytest.raises((Unreadable, ConfigError), match=r"Nothing was (changed|opened)"):
        Runner(f"{tmp_path}/{name}", [source]).migrate()
    assert list(tmp_path.glob("*.db")) == list(tmp_path.glob("a")) == []


def test_a_link_leads_to_its_database(tmp_path, path, source):
    files.run(path, "CREATE TABLE mine (a)")
    Path(tmp_path, "link.db").symlink_to(path)

    Runner(tmp_path / "link.db", [source]).migrate()

    assert files.tables(path).keys() >= {"mine", "item", "note"}
    assert Path(tmp_path, "link.db").is_symlink()


# Damage


def test_a_damaged_page_is_refused_before_the_first_write(filled, source):
    page = 4096 * 3
    content = bytearray(filled.read_bytes())
    content[page : page + 2000] = random.Random(2).randbytes(2000)
    filled.write_bytes(content)
    before = files.digest(filled)

    with pytest.raises(Unreadable, match=r"(?s)homebrew\.db: the database.* is damaged.*Nothing was changed.*backup"):
        Runner(filled, [source]).migrate()
    assert files.digest(filled) == before


@pytest.mark.parametrize("seed", range(8))
def test_damage_anywhere_is_refused_or_harmless_and_never_migrated_over(filled, source, seed):
    rng = random.Random(seed)
    content = bytearray(filled.read_bytes())
    start = rng.randrange(100, len(content) - 600)
    content[start : start + 500] = rng.randbytes(500)
    filled.write_bytes(content)
    before = files.digest(filled)
    with closing(sqlite3.connect(filled)) as connection:
        try:
            is_whole = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        except sqlite3.DatabaseError:
            is_whole = False

    if is_whole:
        assert Runner(filled, [source]).migrate().state is State.MIGRATED
        return
    with pytest.raises(Unreadable, match=r"Nothing was changed"):
        Runner(filled, [source]).migrate()
    assert files.digest(filled) == before


def test_an_index_that_lacks_rows_is_refused(filled, source):
    files.run(filled, """
        PRAGMA writable_schema = 1;
        UPDATE sqlite_master SET sql = 'CREATE INDEX by_text ON mine (id)' WHERE name = 'by_text';
    """)  # fmt: skip
    before = files.digest(filled)

    with pytest.raises(Unreadable, match=r"damaged \(integrity_check: .*by_text\)\. Nothing was changed"):
        Runner(filled, [source]).migrate()
    assert files.digest(filled) == before


@pytest.mark.parametrize("keep", [1000, 4096, 0.5, -4096])
def test_a_truncated_file_is_refused(filled, source, keep):
    size = filled.stat().st_size
    os.truncate(filled, keep if keep > 1 else round(size * keep) if keep > 0 else size + keep)
    before = files.digest(filled)

    with pytest.raises(Unreadable, match=r"Nothing was changed"):
        Runner(filled, [source]).migrate()
    assert files.digest(filled) == before


def test_an_interrupted_write_of_another_program_is_rolled_back_not_lost(filled, tmp_path, source):
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.execute("UPDATE mine SET text = 'half'")
        shutil.copy(filled, tmp_path / "left.db")
        shutil.copy(f"{filled}-journal", tmp_path / "left.db-journal")

    Runner(tmp_path / "left.db", [source]).migrate()

    assert files.query(tmp_path / "left.db", "SELECT count(*) FROM mine WHERE text = 'half'") == [(0,)]
    assert files.integrity(tmp_path / "left.db") == ["ok"]


# No permission


@pytest.fixture
def shared():
    """A folder that another user can reach, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for place in (folder, *folder.rglob("*")):
        place.chmod(0o700)
    shutil.rmtree(folder)


AS_NOBODY = f"""
import os, sys
from framework_schema.config import Config
from framework_schema.errors import SchemaError
from framework_schema.runner import Runner
from framework_schema.sources import Folder
path, scripts = sys.argv[1:]
warm = Runner(os.path.join(os.path.dirname(path), "warm.db"), [Folder(scripts)], config=Config(template=False))
warm.migrate()  # imports what nobody may not read
sources = [Folder(scripts)]
Runner(path, sources, create=False).known
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
try:
    runner = Runner(path, sources)
    print(runner.migrate().state)
except SchemaError as error:
    print(type(error).__name__, error, sep=": ")
"""


@pytest.mark.parametrize(
    ("of_file", "of_folder", "says"),
    [
        pytest.param(
            0o000, 0o755, "the file cannot be opened: no permission to write {file}, {folder}", id="unreadable file"
        ),
        pytest.param(
            0o444,
            0o555,
            "the database is read-only for this user: no permission to write {file}, {folder}",
            id="read-only file",
        ),
        pytest.param(
            0o666,
            0o555,
            "the database is read-only for this user: no permission to write {folder}",
            id="read-only folder",
        ),
        pytest.param(0o666, 0o000, "the file cannot be reached (Permission denied)", id="unreadable folder"),
    ],
)
def test_what_this_user_may_not_touch_is_refused(shared, source, python, of_file, of_folder, says):
    path = files.run(shared / "homebrew.db", "CREATE TABLE mine (a); INSERT INTO mine VALUES (1)")
    shutil.copytree(source.path, shared / "scripts")
    before = files.digest(path)
    path.chmod(of_file)
    text = AS_NOBODY.replace("if os.geteuid", f"os.chmod(os.path.dirname(path), {of_folder})\nif os.geteuid")

    done = python(text, path, shared / "scripts")

    shared.chmod(0o755)
    told = says.format(file=f"{path} (of root)", folder=f"{shared} (of root)")
    assert done.stdout.startswith(f"Unreadable: {path}: {told}. Nothing was changed. ")
    assert files.digest(path) == before


def test_a_read_only_database_that_is_current_needs_no_write(shared, source, python):
    shutil.copytree(source.path, shared / "scripts")
    path = shared / "homebrew.db"
    Runner(path, [type(source)(shared / "scripts")]).migrate()
    path.chmod(0o444)

    assert python(AS_NOBODY, path, shared / "scripts").stdout.strip() == "current"


@pytest.mark.parametrize("of_folder", [0o555, 0o000], ids=["read-only", "unreadable"])
@pytest.mark.parametrize("action", ["migrate(backup=True)", "backup()", "rollback()"])
def test_without_a_backup_folder_this_user_may_write_nothing_is_begun(shared, source, python, action, of_folder):
    shutil.copytree(source.path, shared / "scripts")
    path = shared / "homebrew.db"
    Runner(path, [type(source)(shared / "scripts")]).migrate()
    (shared / "scripts" / "009_last.py").write_text(creates("last"))
    copies = shared / "copies"
    copies.mkdir()
    shared.chmod(0o777)
    path.chmod(0o666)
    before = files.digest(path)
    config = "__import__('framework_schema').Config(backup_dir=os.path.dirname(path) + '/copies')"
    text = AS_NOBODY.replace("Runner(path, sources)\n", f"Runner(path, sources, config={config})\n")
    text = text.replace("print(runner.migrate().state)", f"print(runner.{action})")
    copies.chmod(of_folder)

    done = python(text, path, shared / "scripts")

    copies.chmod(0o755)
    assert done.stdout.startswith(f"BackupFailed: {path}: the backup could not be made ("), done.stdout
    assert "Permission denied" in done.stdout
    assert "Nothing was changed." in done.stdout
    assert "FRAMEWORK_SCHEMA_BACKUP_DIR" in done.stdout
    assert files.digest(path) == before
    assert list(copies.iterdir()) == []


# Held by somebody else


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_locked_database_is_waited_for_then_refused(filled, runner, source, journal):
    files.run(filled, f"PRAGMA journal_mode = {journal}")
    holder = sqlite3.connect(filled, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    with pytest.raises(Locked, match=r"another process holds the database and did not let go in time.*--timeout") as e:
        runner(source, timeout=0.2).migrate()
    assert (e.value.state, e.value.database) == ("locked", str(filled))
    assert "item" not in files.tables(filled)

    holder.execute("ROLLBACK")
    holder.close()
    assert runner(source).migrate().state is State.MIGRATED


def test_looking_needs_no_lock(filled, source):
    with closing(sqlite3.connect(filled, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")

        assert Runner(filled, [source]).status().state is State.PENDING


# Histories of others, and of tomorrow


FOREIGN = {
    "Rails": "CREATE TABLE schema_migrations (version VARCHAR NOT NULL PRIMARY KEY)",
    "golang-migrate": "CREATE TABLE schema_migrations (version UINT64, dirty BOOL)",
    "dbmate": "CREATE TABLE schema_migrations (version VARCHAR(128) PRIMARY KEY)",
    "Ecto": "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, inserted_at TEXT)",
}


@pytest.mark.parametrize("create", FOREIGN.values(), ids=FOREIGN)
def test_a_history_of_another_tool_is_refused(path, source, create):
    files.run(path, f"{create}; INSERT INTO schema_migrations (version) VALUES (20200101)")

    message = refusal(path, source, ForeignHistory)

    assert "its table schema_migrations has the columns" in message
    assert "FRAMEWORK_SCHEMA_TABLE" in message


@pytest.mark.parametrize("create", FOREIGN.values(), ids=FOREIGN)
def test_a_history_of_another_tool_stays_as_it_is_beside_ours(path, runner, source, create):
    files.run(path, f"{create}; INSERT INTO schema_migrations (version) VALUES (20200101)")
    before = files.rows(path, "schema_migrations")

    report = runner(source, table="framework_history").migrate()

    assert report.state is State.MIGRATED
    assert files.rows(path, "schema_migrations") == before
    assert files.query(path, "SELECT count(*) FROM framework_history") == [(2,)]
    assert "schema_migration_events" not in files.tables(path)
    assert runner(source, table="framework_history").migrate().state is State.CURRENT


def test_a_view_of_the_historys_name_is_refused(path, source):
    files.run(path, "CREATE TABLE mine (a); CREATE VIEW schema_migrations AS SELECT a FROM mine")
    before = files.digest(path)

    with pytest.raises(ForeignHistory, match=r"schema_migrations is a view.*Nothing was changed.*SCHEMA_TABLE"):
        Runner(path, [source]).migrate()
    assert files.digest(path) == before


def test_a_database_newer_than_the_code_is_refused_and_shown(path, folder, source):
    newer = folder({"001_item": creates("item"), "002_note": creates("note"), "003_new": creates("new")}, of="newer")
    Runner(path, [newer]).migrate()
    before = files.digest(path)

    with pytest.raises(Ahead, match=r"app/003_new.*Nothing was changed\. Install the newer release") as caught:
        Runner(path, [source]).migrate()
    assert caught.value.state == "ahead"
    assert Runner(path, [source]).status().state is State.AHEAD
    assert Runner(path, [newer]).migrate().state is State.CURRENT
    assert files.digest(path) == before


def test_a_database_ahead_gets_no_pending_script_of_another_source_either(path, folder, source):
    Runner(path, [folder({"001_item": creates("item"), "003_new": creates("new")}, of="newer")]).migrate()
    other = folder({"001_other": creates("other")}, of="other", source="other")

    with pytest.raises(Ahead):
        Runner(path, [source, other]).migrate()
    assert not {"other", "note"} & files.tables(path).keys()


def test_somebody_elses_database_is_refused_in_a_fleet_and_shown(filled):
    before = files.digest(filled)

    with pytest.raises(ForeignDatabase, match=r"none of its 1 tables is the framework's.*--adopt-foreign"):
        Runner(filled, adopt_foreign=False).migrate()
    assert Runner(filled, adopt_foreign=False).status().state is State.FOREIGN
    assert files.digest(filled) == before


def test_somebody_elses_database_is_migrated_when_it_is_named(filled):
    rows = files.rows(filled, "mine")

    assert Runner(filled).migrate().state is State.MIGRATED
    assert files.rows(filled, "mine") == rows


# Scripts


def test_a_script_with_a_syntax_error_stops_its_source_only(path, folder):
    broken = folder({"001_good": creates("good"), "002_bad": "def migrate(:\n"}, of="broken", source="broken")
    sound = folder({"001_item": creates("item")}, of="sound", source="sound")

    with pytest.raises(MigrationFailed) as failed:
        Runner(path, [broken, sound]).migrate()

    report = failed.value.report
    assert report.applied == ["sound/001_item"]
    (note,) = [note for note in report.notes if "broken" in note]
    assert "broken/002_bad" in note
    assert "002_bad.py, line 1: SyntaxError" in note
    assert "Mend the script" in note
    assert "good" not in files.tables(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"x = 'a\0b'\n", id="a null byte"),
        pytest.param(b"x = '\xff'\n", id="no UTF-8"),
        pytest.param(b"# -*- coding: klingon -*-\n", id="unknown encoding"),
        pytest.param(b"x = " + b"(" * 300 + b")" * 300, id="too deep"),
        pytest.param(b"x = " + b"-" * 100_000 + b"1", id="far too deep"),
        pytest.param(b"depends_on = [x]\ndef migrate(m, d): pass", id="depends_on that must be run"),
        pytest.param(b"atomic = 1 + x\ndef migrate(m, d): pass", id="atomic that must be run"),
        pytest.param(b"depends_on = 7\ndef migrate(m, d): pass", id="depends_on that is a number"),
    ],
)
def test_a_file_that_is_no_python_stops_its_source_only(path, folder, content):
    broken = folder({}, of="broken", source="broken")
    Path(broken.path, "001_bad.py").write_bytes(content)

    with pytest.raises(MigrationFailed) as failed:
        Runner(path, [broken, folder({"001_item": creates("item")})]).migrate()

    report = failed.value.report
    assert report.applied == ["app/001_item"]
    assert [note for note in report.notes if note.startswith("broken/001_bad: ")]


def test_a_script_that_raises_half_way_is_undone_and_the_others_are_done(path, folder):
    half = """
        migrator.add_fields('item', age=pw.IntegerField(default=1))
        migrator.sql("INSERT INTO item (name, age) VALUES ('half', 1)")
        raise ValueError('half-way')
    """
    source = folder({"001_item": creates("item"), "002_half": script(half), "003_later": creates("later")})
    other = folder({"001_other": creates("other")}, of="other", source="other")
    needy = folder({"001_needy": creates("needy")}, of="needy", source="needy", depends_on=["app"])

    with pytest.raises(MigrationFailed) as caught:
        Runner(path, [source, other, needy]).migrate()

    report = caught.value.report
    assert (report.state, report.applied, report.failed) == (
        State.FAILED, ["app/001_item", "other/001_other"], ["app/002_half"],
    )  # fmt: skip
    assert report.pending == ("app/002_half", "app/003_later", "needy/001_needy")
    message = str(caught.value)
    assert message.startswith(f"{path}: app/002_half failed and was undone: ValueError: half-way (002_half.py, line ")
    assert "Not run, since they need it: app/003_later, needy/001_needy." in message
    assert message.endswith("Mend the script and run migrate again.")
    assert files.columns(path, "item") == ["id", "name"]
    assert files.query(path, "SELECT count(*) FROM item") == [(0,)]
    assert not {"later", "needy"} & files.tables(path).keys()
    assert "other" in files.tables(path)


def test_a_failure_is_on_record_until_it_succeeds(path, folder):
    source = folder({"001_bad": sql("SELECT absent")})
    for _ in range(2):
        with pytest.raises(MigrationFailed):
            Runner(path, [source]).migrate()
    row = Runner(path, [source]).history(failed=True)

    assert [(r["migration_name"], r["success"]) for r in row] == [("app/001_bad", 0)]
    assert "no such column: absent" in row[0]["error_message"]
    assert Runner(path, [source]).status().state is State.FAILED


def test_an_unknown_target_is_refused_with_what_may_be_meant(path, source):
    with pytest.raises(PlanRefused, match=r"no migration note\. Nothing was run\. Did you mean: app/002_note\?"):
        Runner(path, [source]).migrate(to="note")
    assert not path.exists() or path.stat().st_size == 0


@pytest.mark.parametrize("url", ["mongodb://u:secret@h/d", "oracle://u:secret@h/d", "http://u:secret@example.org/x"])
def test_an_engine_nobody_knows_is_refused_without_its_password(source, url):
    with pytest.raises(ConfigError, match="not supported") as caught:
        Runner(url, [source])
    assert "secret" not in str(caught.value)


# Names


@pytest.mark.parametrize(
    "name",
    ["a b.db", "a'b.db", 'a"b.db', "a?b.db", "a#b.db", "a%b.db", "a%20b.db", "a\nb.db", "größe 漢.db", "-leading.db",
     "--help", "a;b.db", "a\\b.db", "file:a.db", "a:memory:.db", "noextension", ".hidden", "a&mode=memory"],
)  # fmt: skip
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_a_file_of_any_name_is_the_one_that_is_migrated(tmp_path, source, monkeypatch, name, relative):
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = Path(name) if relative else folder / name

    assert Runner(str(path), [source]).migrate().state is State.MIGRATED
    assert [found.name for found in folder.iterdir()] == [name]
    assert Runner(str(path), [source]).migrate().state is State.CURRENT
    assert files.tables(path).keys() >= {"item", "note"}

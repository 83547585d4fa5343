"""Each trouble is named with its place and the command that mends it, and looking leaves no trace."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import histories
import pytest
import sqlite_files as files
from script_texts import creates, script

from framework_schema import doctor
from framework_schema.doctor import diagnose
from framework_schema.errors import MigrationFailed
from framework_schema.runner import Runner
from framework_schema.sizes import size


@pytest.fixture
def source(folder):
    return folder({"001_item": creates("item"), "002_note": creates("note")})


@pytest.fixture
def migrated(path, source):
    Runner(path, [source]).migrate()
    path.chmod(0o600)
    return path


@pytest.fixture
def findings(path, runner, source):
    """Examine ``path``; return what was found as ``{where: (level, what, remedy)}``, no byte changed."""

    def examine(*sources, **settings):
        before = files.digest(path), path.stat().st_mtime_ns, sorted(path.parent.iterdir())
        found = diagnose(runner(*(sources or (source,)), **settings))
        assert (files.digest(path), path.stat().st_mtime_ns, sorted(path.parent.iterdir())) == before
        assert all(finding.remedy for finding in found)
        return {finding.where: (finding.level, finding.what, finding.remedy) for finding in found}

    return examine


def problems(found):
    return {where: told for where, told in found.items() if told[0] != "info"}


def test_a_healthy_database_has_no_problem(migrated, findings):
    found = findings()

    assert problems(found) == {}
    assert found["journal_mode"][0] == "info"


@pytest.mark.parametrize("is_open", [True, False])
def test_a_wal_database_gets_no_advice_and_no_side_files(migrated, findings, is_open):
    files.query(migrated, "PRAGMA journal_mode=wal")
    with closing(sqlite3.connect(migrated, isolation_level=None)) as app:
        app.execute("SELECT * FROM item").fetchall() if is_open else app.close()
        found = findings()

    assert "journal_mode" not in found
    assert problems(found) == {}


def test_a_database_that_is_not_there_or_none_at_all_is_a_finding(path, runner, source):
    (absent,) = diagnose(runner(source))
    path.write_text("this is no database")
    text = [finding for finding in diagnose(runner(source)) if finding.level == "error"]

    assert "no such file" in absent.what
    assert "not a SQLite database" in text[0].what
    assert not absent.where.endswith(".partial")


def test_damage_is_an_error_and_leads_to_a_backup(migrated, runner, findings):
    with closing(sqlite3.connect(migrated)) as connection, connection:
        connection.executemany("INSERT INTO note (name) VALUES (?)", [("x" * 900,) for _ in range(100)])
    data = bytearray(migrated.read_bytes())
    data[-4096 * 3 : -4096 * 2] = b"\xff" * 4096
    migrated.write_bytes(data)

    level, what, remedy = findings()[str(migrated)]

    assert (level, "damaged" in what, "restore" in remedy) == ("error", True, True)


def test_orphans_come_with_their_number_and_a_query_that_shows_them(path, folder, findings):
    files.run(
        path,
        'CREATE TABLE "par ent" (id INTEGER PRIMARY KEY); CREATE TABLE child (p REFERENCES "par ent" (id));'
        "INSERT INTO child VALUES (1), (2), (NULL);"
        "CREATE TABLE lost (p REFERENCES nowhere (id)); INSERT INTO lost VALUES (3)",
    )
    source = folder({"001_none": script("pass")}, of="other")
    Runner(path, [source]).migrate()

    found = findings(source)

    level, what, _ = found["child"]
    assert (level, what[:6]) == ("error", "2 rows")
    assert len(files.query(path, what.partition(": ")[2])) == 2
    assert "table nowhere that is not there" in found["lost"][1]


@pytest.mark.parametrize("name", ["item_new", "item_backup_20250101", "ITEM__tmp__", "item_old"])
def test_leftovers_of_broken_rebuilds_are_named_and_not_dropped(migrated, findings, name):
    files.run(migrated, f"CREATE TABLE {name} (id, name)")

    level, what, remedy = findings()[name]

    assert (level, "leftover" in what, "backup" in remedy) == ("warning", True, True)


def test_a_table_of_the_users_own_is_no_leftover(migrated, findings):
    files.run(migrated, "CREATE TABLE brand_new (x); CREATE TABLE tape_backup (x); CREATE TABLE old (x)")

    assert problems(findings()) == {}


def test_a_passing_table_of_ours_is_named(migrated, findings):
    files.run(migrated, "CREATE TABLE framework_schema_1 (x)")

    assert "outlived" in findings()["framework_schema_1"][1]


def test_what_the_history_claims_and_the_schema_lacks_is_an_error(migrated, findings):
    files.run(migrated, "DROP TABLE note")

    level, what, remedy = findings()["schema_migrations"]

    assert (level, "table note is missing" in what) == ("error", True)
    assert remedy.startswith("framework-schema migrate")


def test_old_rows_prove_nothing(copy_of):
    path = copy_of("boot-fresh-newest-1")

    told = [finding for finding in diagnose(Runner(path)) if "prove nothing" in finding.what]

    assert len(told) == 1
    assert "migrate" in told[0].remedy
    Runner(path).migrate()
    assert not [finding for finding in diagnose(Runner(path)) if "prove nothing" in finding.what]


def test_every_trouble_of_the_history_is_named(migrated, runner, source, folder, findings):
    folder({"004_late": creates("late"), "005_newest": creates("newest")})
    Runner(migrated, [source]).migrate()
    files.run(
        migrated,
        "INSERT INTO schema_migrations (migration_name, success, error_message) VALUES"
        " ('app/003_gone', 1, NULL), ('app/009_newer', 1, NULL), ('other/001_x', 1, NULL),"
        " ('old_tool.py', 0, 'no such column');"
        "DELETE FROM schema_migrations WHERE migration_name = 'app/004_late'",
    )
    folder({"001_item": creates("item", "name", "more"), "005_again": creates("again")})

    found = findings()

    expected = {
        "app/003_gone": ("warning", "its script is gone"),
        "app/009_newer": ("error", "newer"),
        "other/001_x": ("info", "not installed"),
        "old_tool.py": ("info", "no such column"),
        "app/001_item": ("warning", "edited"),
        "app/005_again, app/005_newest": ("warning", "same number"),
    }
    for where, (level, part) in expected.items():
        assert found[where][0] == level, where
        assert part in found[where][1], where
    assert "older than one already applied" in found["app/004_late"][1]


def test_a_failure_is_told_with_its_error(path, runner, folder, findings):
    source = folder({"001_bad": script("raise RuntimeError('half-way')")}, of="bad")
    with pytest.raises(MigrationFailed):
        runner(source).migrate()

    level, what, _ = findings(source)["app/001_bad"]

    assert (level, "half-way" in what) == ("error", True)


def test_a_broken_source_is_named(migrated, source, folder, findings):
    broken = folder({"001_x": "def migrate(:"}, of="broken", source="plugin")

    assert "SyntaxError" in findings(source, broken)["plugin/001_x"][1]


def test_rules_that_rows_forbid_come_with_a_query(path, folder, findings):
    head = "class Item(pw.Model):\n    name = pw.TextField()\n    class Meta:\n        table_name = 'item'"
    source = folder({"001_item": script("migrator.create_model(Item)", head=head)}, of="strict")
    files.run(
        path, "CREATE TABLE item (id INTEGER NOT NULL PRIMARY KEY, name TEXT); INSERT INTO item (name) VALUES (NULL)"
    )
    Runner(path, [source]).migrate()

    level, what, remedy = findings(source)["item"]

    said, _, query = what.rstrip(")").partition(" (")
    assert (level, said) == ("warning", "item.name cannot become NOT NULL yet: 1 row holds NULL")
    assert len(files.query(path, query)) == 1
    assert remedy.endswith("--strict --repair")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_everyone_may_write_is_named(migrated, findings, what):
    place = migrated if what == "file" else migrated.parent
    mode = place.stat().st_mode
    place.chmod(mode | stat.S_IWOTH)
    try:
        found = findings()
    finally:
        place.chmod(mode)

    assert found[str(place)] == ("warning", "every user of this machine may write here", f"chmod o-w {place}")


def test_little_room_is_named(migrated, findings, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: SimpleNamespace(free=4096))

    length = migrated.stat().st_size
    assert findings()[str(migrated.parent)][1] == (
        f"4.1 KB are free; a backup and a rebuild of {size(length)} need twice that, {size(2 * length)}"
    )


def test_a_half_made_backup_is_named(migrated, findings):
    folder = migrated.parent / "backups"
    folder.mkdir()
    partial = folder / "homebrew.db.20250101T000000000000Z.backup.partial"
    partial.write_text("half")

    assert findings()[str(partial)][0] == "info"


def test_a_journal_of_a_crash_is_not_rolled_back_by_looking(migrated, findings, python):
    python(
        """
        import os, sqlite3, sys
        app = sqlite3.connect(sys.argv[1], isolation_level=None)
        app.execute("PRAGMA cache_size=1")
        app.execute("BEGIN IMMEDIATE")
        app.executemany("INSERT INTO item (name) VALUES (?)", [("x" * 900,) for _ in range(500)])
        os._exit(0)
        """,
        migrated,
    )
    journal = f"{migrated}-journal"
    assert Path(journal).stat().st_size

    found = findings()

    assert found[journal][0] == "info"
    assert "Never delete" in found[journal][2]
    assert files.query(migrated, "SELECT count(*) FROM item") == [(0,)]


@pytest.mark.slow
@pytest.mark.parametrize("name", histories.IDS)
def test_every_history_can_be_examined_and_all_that_is_ours_is_mended(copy_of, name):
    path = copy_of(name)
    path.chmod(0o600)
    before = files.digest(path)
    found = diagnose(Runner(path))
    assert files.digest(path) == before
    assert any(finding.is_problem and "migrate" in finding.remedy for finding in found)

    left = Runner(path).migrate(strict=True, repair=True).left

    for finding in diagnose(Runner(path)):
        is_named = finding.where in {item["table"] for item in left}
        is_theirs = "leftover" in finding.what or "of your own" in finding.remedy
        assert not finding.is_problem or is_named or is_theirs, finding

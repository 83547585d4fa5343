"""A dump is whole or not there, nobody sees a password, and a restore keeps what it replaces."""

import os
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import servers
from click.testing import CliRunner
from script_texts import creates, script

from framework_schema import server_backup
from framework_schema.cli import main
from framework_schema.config import Config
from framework_schema.databases import open_target
from framework_schema.errors import BackupFailed, DatabaseError, MigrationFailed, SchemaError, Unreadable
from framework_schema.runner import Runner

SECRET = "we ird#;'\"\\%$="

TABLES = script(
    """
    @migrator.create_model
    class Parent(pw.Model):
        name = pw.CharField(unique=True)
        class Meta:
            table_name = "Parent"
    @migrator.create_model
    class Child(pw.Model):
        parent = pw.ForeignKeyField(Parent, on_delete="CASCADE", null=True)
        note = pw.TextField(null=True, index=True)
        data = pw.BlobField(null=True)
        class Meta:
            table_name = "Child"
    """,
    rollback="migrator.remove_model('Child')\nmigrator.remove_model('Parent')",
)
NOTE = "line\nCOPY x FROM stdin;\n\\.\n\\restrict a\tüñ 'quoted'"


@pytest.fixture
def backups(tmp_path):
    return tmp_path / "backups"


@pytest.fixture
def filled(server, folder, backups):
    """A runner of a database with rows that are hard to dump, a view and a trigger's worth of objects."""
    source = folder({"001_tables": TABLES})
    runner = server.runner(source, backup="auto", backup_dir=str(backups))
    runner.migrate()
    with runner.target.connected() as database:
        quoted = server.said
        database.execute_sql(quoted("INSERT INTO \"Parent\" (id, name) VALUES (7, 'p')"))
        database.execute_sql(
            quoted('INSERT INTO "Child" (id, parent_id, note, data) VALUES (3, 7, %s, %s)'), (NOTE, bytes(range(256)))
        )
        database.execute_sql(quoted('CREATE VIEW "Both" AS SELECT c.note FROM "Child" c JOIN "Parent" p ON p.id = 7'))
    return runner


def state(server, runner):
    with runner.target.connected() as database:
        schema = runner.dialect.snapshot(database, structural=True)
    rows = server.sql('SELECT id, parent_id, note FROM "Child" ORDER BY id')
    data = [bytes(row[0]) for row in server.sql('SELECT data FROM "Child" ORDER BY id')]
    return schema.digest, schema.views, rows, data, server.sql('SELECT id, name FROM "Parent" ORDER BY id')


def test_a_dump_brings_back_all_there_was_and_what_it_replaced_is_kept(server, filled, folder):
    before = state(server, filled)
    made = filled.backup()
    server.sql(
        'DELETE FROM "Child"',
        "INSERT INTO \"Parent\" (id, name) VALUES (8, 'late')",
        'CREATE TABLE "Later" (id INTEGER PRIMARY KEY)',
        'DROP VIEW "Both"',
    )
    changed = state(server, filled)

    report = filled.restore(made)

    assert state(server, filled) == before
    assert server.sql('SELECT note FROM "Both"') == [(NOTE,)]
    assert oct(made.stat().st_mode & 0o777) == "0o600"
    assert filled.history(events=True)[0]["kind"] == "restored"
    server.sql("INSERT INTO \"Parent\" (name) VALUES ('next')")
    filled.restore(report.backup)
    assert state(server, filled) == changed
    assert len(filled.history(events=True)) > 1


def test_a_copy_is_made_before_a_script_that_drops_and_brings_its_rows_back(server, filled, folder):
    drops = folder({"002_drops": script("migrator.remove_model('Child')", head="destructive = True")})
    server.sql('DROP VIEW "Both"')
    runner = server.runner(drops, backup="auto", backup_dir=filled.config.backup_dir)
    report = runner.migrate()

    assert report.applied == ["app/002_drops"]
    filled.restore(report.backup)
    assert server.sql('SELECT id FROM "Child"') == [(3,)]


def test_a_rollback_makes_a_copy_first_and_takes_it_back(server, filled):
    server.sql('DROP VIEW "Both"')
    before = state(server, filled)

    report = filled.rollback()

    assert {item["table"]: item["rows"] for item in report.lost} == {"Child": 1, "Parent": 1}
    filled.restore(report.backup)
    assert state(server, filled) == before


def spoil_half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def spoil_all(file):
    file.write_bytes(b"no dump at all")


@pytest.mark.parametrize("spoil", [spoil_half, spoil_all])
def test_a_backup_that_cannot_be_trusted_changes_nothing(server, filled, tmp_path, spoil):
    made = filled.backup(tmp_path / "spoiled")
    spoil(made)
    before = state(server, filled)

    with pytest.raises(SchemaError) as refused:
        filled.restore(made)

    assert "Nothing was changed" in str(refused.value)
    assert state(server, filled) == before


def test_a_backup_whose_statements_fail_changes_nothing(server, filled, tmp_path):
    if server.name == "postgresql":
        pytest.importorskip("psycopg")
        made = filled.backup(tmp_path / "made")
        servers.run("postgresql", server.url, "CREATE SCHEMA other", 'CREATE VIEW other.v AS SELECT id FROM "Child"')
    else:
        made = filled.backup(tmp_path / "made")
        text = made.read_text()
        made.write_text(text.replace("-- Dump completed", "nonsense;\n-- Dump completed"))
    before = state(server, filled)

    with pytest.raises(DatabaseError, match="Nothing was changed"):
        filled.restore(made)

    assert state(server, filled) == before


def test_without_a_folder_a_copy_goes_to_the_users_data_folder(server, filled, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "of-user"))
    made = filled.backup(tmp_path / "made")

    kept = server.runner(folder({"001_tables": TABLES})).restore(made).backup

    assert Path(kept).parent == tmp_path / "of-user" / "framework-schema" / "backups"
    assert Path(kept).stat().st_mode & 0o777 == 0o600


def test_no_copy_no_rollback_unless_that_is_asked_for(server, tmp_path, monkeypatch):
    assert CliRunner().invoke(main, ["migrate", server.url, "-q"]).exit_code == 0
    server.sql("INSERT INTO \"Dashboard\" (name) VALUES ('mine')")
    words = ["rollback", server.url, "--to", "framework/004_dashboards", "--yes"]
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))

    refused = CliRunner().invoke(main, words)

    assert refused.exit_code == 3, refused.output
    assert "is not installed" in refused.output
    assert server.sql('SELECT name FROM "Dashboard"') == [("mine",)]
    monkeypatch.setenv("PATH", path)
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert Path(done.stdout.partition("copy made first: ")[2].split()[0]).is_file()


# Passwords and tools


@pytest.fixture(params=["postgresql", "mariadb"])
def guarded(request):
    """The URL of a database for a user with a password that is hard to quote."""
    with servers.guarded(request.param, SECRET) as url:
        servers.run(request.param, url, "CREATE TABLE a (x INTEGER)")
        yield url


def wrong(url):
    return url.replace(quote(SECRET, safe=""), "wr0ngsecret")


def test_a_password_goes_to_the_tools_unseen(guarded, tmp_path, monkeypatch):
    spied = tmp_path / "bin"
    spied.mkdir()
    for name in ("pg_dump", "pg_restore", "mariadb-dump", "mariadb"):
        spy(spied / name, tmp_path / "seen")
    monkeypatch.setenv("PATH", f"{spied}:{os.environ['PATH']}")
    made = tmp_path / "made"

    done = CliRunner().invoke(main, ["backup", guarded, "--into", str(made), "-v"])

    seen = (tmp_path / "seen").read_text()
    assert done.exit_code == 0, done.output
    assert made.stat().st_size > 500
    assert "dump" in seen and SECRET not in seen and "ird#" not in seen + done.output
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name not in ("made", "seen")]
    assert not [path for path in left if b"ird#" in path.read_bytes()]


def spy(place, seen):
    """Put a program in the way that notes the arguments of the real one, and its own environment's names."""
    place.write_text(
        f"#!{sys.executable}\nimport os, sys\nopen({str(seen)!r}, 'a').write(repr(sys.argv))\n"
        f"os.execv({str(shutil.which(place.name))!r}, sys.argv)\n"
    )
    place.chmod(0o755)


def test_a_wrong_password_leaves_no_file_and_is_not_shown(guarded, tmp_path):
    place = tmp_path / "made"

    done = CliRunner().invoke(main, ["backup", wrong(guarded), "--into", str(place), "-v"])

    assert done.exit_code == 3
    assert "password" in done.output and "wr0ng" not in done.output
    assert not list(tmp_path.glob("made*"))


def test_a_wrong_password_given_to_the_tool_alone_leaves_no_partial_dump(guarded, tmp_path):
    """The password may change between our look and the tool's."""
    target = open_target(wrong(guarded))

    with pytest.raises(BackupFailed, match="failed: ") as failed:
        if target.engine == "postgresql":
            server_backup._dump_with(target, tmp_path / "made", "public")
        else:
            server_backup.dump_mysql(target, tmp_path / "made")

    assert "wr0ng" not in str(failed.value)


def test_a_missing_tool_is_named_and_nothing_is_begun(server, filled, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    before = state(server, filled)

    with pytest.raises(BackupFailed, match="is not installed"):
        filled.backup()
    with pytest.raises((BackupFailed, MigrationFailed), match="is not installed"):
        filled.rollback(backup=True)

    assert state(server, filled) == before
    assert list(Path(filled.config.backup_dir).iterdir()) == []


def test_a_missing_tool_is_named_by_restore(server, filled, monkeypatch, tmp_path):
    made = filled.backup()
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BackupFailed, match="is not installed"):
        filled.restore(made)


def test_what_a_full_disk_cuts_off_never_gets_its_name(server, filled, tmp_path, monkeypatch):
    spied = tmp_path / "bin"
    spied.mkdir()
    for name in ("pg_dump", "mariadb-dump"):
        text = '#!/bin/sh\nfor a in "$@"; do case $a in --file=*|--result-file=*) echo half > "${a#*=}";; esac; done\n'
        (spied / name).write_text(text)
        (spied / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{spied}:{os.environ['PATH']}")

    with pytest.raises(DatabaseError):
        filled.backup()

    assert list(Path(filled.config.backup_dir).iterdir()) == []


def test_backup_and_restore_by_command_line(server, filled, monkeypatch, backups):
    monkeypatch.setenv("FRAMEWORK_SCHEMA_BACKUP_DIR", str(backups))
    made = CliRunner().invoke(main, ["backup", server.url])
    assert made.exit_code == 0, made.output
    server.sql('DELETE FROM "Child"')

    done = CliRunner().invoke(main, ["restore", made.output.strip(), server.url, "--yes", "--json"])

    assert done.exit_code == 0, done.output
    assert server.sql('SELECT id FROM "Child"') == [(3,)]


def test_of_two_schemas_one_is_restored(folder, backups):
    """A dump holds the schema the URL leads to; what is beside it is another app's."""
    with servers.Fresh("postgresql") as fresh:
        servers.run("postgresql", fresh.url, 'CREATE SCHEMA "o ne"', "CREATE TABLE beside (x int)")
        config = Config(backup_dir=str(backups))
        runner = Runner(fresh.url + "?schema=%22o%20ne%22", [folder({"001_a": creates("A")})], config=config)
        runner.migrate()
        made = runner.backup()
        servers.run(
            "postgresql", fresh.url, "INSERT INTO beside VALUES (1)", 'INSERT INTO "o ne"."A" (name) VALUES (\'x\')'
        )

        runner.restore(made)

        assert servers.run("postgresql", fresh.url, "SELECT x FROM beside") == [(1,)]
        assert servers.run("postgresql", fresh.url, 'SELECT name FROM "o ne"."A"') == []
        with pytest.raises(Unreadable, match="holds no table of the schema 'public'"):
            Runner(fresh.url, [], config=config).restore(made)

"""Undone newest first, never what was there before us, never what something applied needs, and a copy first."""

import sqlite3
from contextlib import closing

import pytest
import sqlite_files as files
from script_texts import creates, script, sql

from framework_schema.errors import Ahead, MigrationFailed, PlanRefused, Unreadable
from framework_schema.rehearsal import rehearse_rollback
from framework_schema.report import Outcome, State
from framework_schema.runner import Runner
from framework_schema.sources import framework
from framework_schema.sqlite_snapshot import of_database


@pytest.fixture
def source(folder):
    return folder({f"{n:03}_{table}": creates(table) for n, table in enumerate(("a", "b", "c"), 1)})


@pytest.fixture
def migrated(path, source):
    Runner(path, [source]).migrate()
    return path


def schema(runner):
    with runner.target.connected() as database:
        return of_database(database, structural=True).digest


def default_rows(path):
    """Return all rows but the history's, times and counted ids aside: AUTOINCREMENT never gives one twice."""
    found = {}
    for table, columns in files.tables(path).items():
        if not table.startswith("schema_migration"):
            names = ", ".join(f'"{name}"' for name in columns if name != "id" and not name.endswith("_at"))
            found[table] = files.query(path, f'SELECT {names or 1} FROM "{table}"')
    return found


def undone(report):
    return report.keys(Outcome.ROLLED_BACK)


# Every script that ships


@pytest.mark.slow
def test_each_shipped_script_goes_up_down_and_up_to_the_same_schema_and_rows(path, runner):
    make = runner(framework(), backup="never")
    make.migrate(to=make.known.migrations[0].key)
    make.rollback()
    below = schema(make), default_rows(path)
    for migration in make.known.migrations:
        make.migrate(to=migration.key)
        above = schema(make), default_rows(path)

        down = make.rollback()
        assert (undone(down), schema(make), default_rows(path)) == ([migration.key], *below), migration.key

        up = make.migrate(to=migration.key)
        assert (up.applied, schema(make), default_rows(path)) == ([migration.key], *above), migration.key
        below = above
    assert files.integrity(path) == ["ok"]
    assert make.migrate().state is State.CURRENT


@pytest.mark.slow
def test_all_shipped_scripts_go_down_at_once_and_up_again(path, runner):
    make = runner(framework())
    make.migrate()
    whole = schema(make)
    first = make.known.migrations[0].key

    report = make.rollback(to=first)

    assert undone(report) == [m.key for m in reversed(make.known.migrations)]
    assert set(files.tables(path)) == {"schema_migrations", "schema_migration_events"}
    assert files.history(path) == []
    assert make.migrate().state is State.MIGRATED
    assert schema(make) == whole


# What is undone


@pytest.mark.parametrize(
    ("asked", "gone"),
    [
        pytest.param({}, "c", id="the last one"),
        pytest.param({"steps": 2}, "cb", id="steps"),
        pytest.param({"steps": 9}, "cba", id="more steps than there are"),
        pytest.param({"steps": 0}, "", id="no step"),
        pytest.param({"to": "app/002_b"}, "cb", id="down to and including a key"),
        pytest.param({"to": "app/003_c"}, "c", id="to the newest"),
    ],
)
def test_migrations_are_undone_newest_first(migrated, runner, source, asked, gone):
    report = runner(source).rollback(**asked)

    left = [table for table in "abc" if table not in gone]
    assert [key[-1] for key in undone(report)] == list(gone)
    assert [key[-1] for key, _ in files.history(migrated)] == left
    assert [table for table in "abc" if table in files.tables(migrated)] == left
    assert report.state is (State.MIGRATED if gone else State.CURRENT)


def test_the_row_goes_the_events_stay_and_the_next_migrate_applies_again(migrated, runner, source):
    runner(source).rollback()

    assert files.events(migrated)[-1] == ("rolled back", "app/003_c", "ok")
    assert ("applied", "app/003_c", "ok") in files.events(migrated)
    assert runner(source).status().pending == ("app/003_c",)
    assert runner(source).migrate().applied == ["app/003_c"]
    assert runner(source).migrate().state is State.CURRENT


def test_rows_alone_undone_leave_no_mark_that_all_is_well(migrated, runner, source, folder):
    folder(
        {
            "004_rows": script(
                "migrator.sql(\"INSERT INTO a (name) VALUES ('x')\")", rollback="migrator.sql('DELETE FROM a')"
            )
        }
    )
    runner(source).migrate()
    runner(source).rollback()

    assert runner(source).migrate().applied == ["app/004_rows"]


def test_what_went_is_told_with_its_rows(migrated, runner, source, folder):
    folder(
        {
            "004_more": script(
                "migrator.add_fields('a', extra=pw.TextField(null=True))",
                rollback="migrator.remove_fields('a', 'extra')",
            )
        }
    )
    runner(source).migrate()
    files.run(migrated, "INSERT INTO a (name, extra) VALUES ('x', 'y'), ('y', NULL); INSERT INTO c (name) VALUES ('z')")

    report = runner(source).rollback(steps=2)

    assert report.lost == (
        {"table": "a", "column": "extra", "rows": 1, "dropped": True},
        {"table": "c", "rows": 1, "dropped": True},
    )
    assert report.as_dict()["lost"] == list(report.lost)


def test_rows_that_a_rollback_removes_are_told_too(migrated, runner, source, folder):
    folder(
        {
            "004_rows": script(
                "migrator.sql(\"INSERT INTO a (name) VALUES ('x')\")", rollback="migrator.sql('DELETE FROM a')"
            )
        }
    )
    runner(source).migrate()
    files.run(migrated, "INSERT INTO a (name) VALUES ('y')")

    assert runner(source).rollback().lost == ({"table": "a", "rows": 2, "dropped": False},)


def test_a_rehearsal_tells_the_same_and_writes_no_byte(migrated, runner, source):
    files.run(migrated, "INSERT INTO c (name) VALUES ('z')")
    before = files.digest(migrated), migrated.stat().st_mtime_ns

    told = rehearse_rollback(runner(source), steps=2)

    assert (files.digest(migrated), migrated.stat().st_mtime_ns) == before
    assert list(migrated.parent.glob("backups")) == []
    assert [step.key for step in told.steps] == ["app/003_c", "app/002_b"]
    assert told.lost == runner(source).rollback(steps=2).lost
    assert any("DROP TABLE" in statement for statement in told.sql)


def test_a_copy_is_made_first_unless_forbidden(migrated, runner, source):
    files.run(migrated, "INSERT INTO c (name) VALUES ('z')")

    first = runner(source).rollback()
    second = runner(source).rollback(backup=False)

    assert files.query(first.backup, "SELECT name FROM c") == [("z",)]
    assert second.backup is None
    assert runner(source).restore(first.backup).state is State.CURRENT
    assert files.query(migrated, "SELECT name FROM c") == [("z",)]


# Of one source


@pytest.fixture
def plugins(folder, source):
    needs = folder({"001_x": creates("x")}, of="needs", source="needs", depends_on=["app"])
    free = folder({"001_y": creates("y")}, of="free", source="free")
    return source, needs, free


def test_an_independent_source_stays_and_what_needs_the_key_goes_first(path, runner, plugins):
    runner(*plugins).migrate()

    report = runner(*plugins).rollback(to="app/003_c")

    assert undone(report) == ["needs/001_x", "app/003_c"]
    assert "y" in files.tables(path)


def test_of_one_source_what_another_needs_is_refused(path, runner, plugins):
    runner(*plugins).migrate()
    before = files.digest(path)

    with pytest.raises(PlanRefused, match="app/003_c is needed by needs/001_x; undo that first"):
        runner(*plugins).rollback(source="app")

    assert files.digest(path) == before
    assert undone(runner(*plugins).rollback(source="needs")) == ["needs/001_x"]
    assert undone(runner(*plugins).rollback(source="app", steps=2)) == ["app/003_c", "app/002_b"]
    assert undone(runner(*plugins).rollback(source="free")) == ["free/001_y"]


# Refused, all at once, before anything is run


def refuses(runner, match, **asked):
    path = runner.target.path
    before, copies = files.digest(path), list(path.parent.glob("backups/*"))
    with pytest.raises(PlanRefused, match=match):
        runner.rollback(**asked)
    assert files.digest(path) == before
    assert list(path.parent.glob("backups/*")) == copies


def test_a_script_without_rollback_stops_all(migrated, runner, source, folder):
    folder({"004_final": sql("CREATE TABLE d (x)"), "005_e": creates("e")})
    runner(source).migrate()

    refuses(runner(source), "app/004_final has no rollback", steps=3)

    assert undone(runner(source).rollback()) == ["app/005_e"]


@pytest.mark.parametrize(
    "asked",
    [{"to": "app/009_none"}, {"to": "app/004_pending"}, {"source": "nobody"}, {"to": "app/001_a", "source": "free"}],
)
def test_what_is_not_applied_cannot_be_undone(migrated, runner, source, folder, asked):
    folder({"004_pending": creates("pending")})
    free = folder({"001_y": creates("y")}, of="free", source="free")

    refuses(runner(source, free), "Nothing was (undone|run)", **asked)


@pytest.mark.parametrize("there", ["whole", "part"])
def test_what_was_there_before_us_is_never_dropped_without_force(path, runner, folder, there):
    two = creates("mine") + "    migrator.sql('CREATE TABLE IF NOT EXISTS second (x)')\n" * (there == "part")
    text = two if there == "whole" else script(
        "for name in ('mine', 'second'):\n"
        "    class Model(pw.Model):\n        class Meta:\n            table_name = name\n"
        "    migrator.create_model(Model)",
        rollback="migrator.remove_model('second')\nmigrator.remove_model('mine')",
    )  # fmt: skip
    source = folder({"001_mine": text})
    files.run(
        path, "CREATE TABLE mine (id INTEGER NOT NULL PRIMARY KEY, name TEXT); INSERT INTO mine (name) VALUES ('x')"
    )
    report = runner(source).migrate()
    assert (report.adopted if there == "whole" else report.applied) == ["app/001_mine"]

    refuses(runner(source), "was not its own")

    assert undone(runner(source).rollback(force=True)) == ["app/001_mine"]
    assert "mine" not in files.tables(path)
    assert runner(source).migrate().applied == ["app/001_mine"]
    assert undone(runner(source).rollback()) == ["app/001_mine"]


def test_no_history_is_rolled_back_over_tables_that_were_there(copy_of):
    path = copy_of("boot-fresh-newest-1")
    make = Runner(path)
    make.migrate()

    refuses(make, "framework/004_dashboards found a part", to="framework/004_dashboards")


def test_a_script_that_is_gone_may_need_the_one_before(migrated, runner, source, folder):
    (source.path / "002_b.py").unlink()

    refuses(runner(source), "app/001_a may be needed by app/002_b", steps=2)

    assert undone(runner(source).rollback()) == ["app/003_c"]
    assert undone(runner(source).rollback(force=True)) == ["app/001_a"]


def test_a_database_ahead_is_not_undone(migrated, runner, source):
    (source.path / "003_c.py").unlink()
    before = files.digest(migrated)

    with pytest.raises(Ahead):
        runner(source).rollback()

    assert files.digest(migrated) == before


def test_a_database_that_is_not_there_is_not_made(path, runner, source):
    with pytest.raises(Unreadable):
        runner(source).rollback()

    assert not path.exists()


# Going wrong


def test_a_rollback_that_fails_is_undone_and_those_before_stand(migrated, runner, source, folder):
    text = script(
        "migrator.sql('CREATE TABLE d (x)')", rollback="migrator.sql('DROP TABLE d')\nraise RuntimeError('half')"
    )
    folder({"004_d": text, "005_e": creates("e")})
    runner(source).migrate()

    with pytest.raises(MigrationFailed, match=r"app/004_d was not rolled back: RuntimeError: half") as caught:
        runner(source).rollback(steps=3)

    report = caught.value.report
    assert (undone(report), report.failed) == (["app/005_e"], ["app/004_d"])
    assert files.tables(migrated).keys() & {"c", "d", "e"} == {"c", "d"}
    assert files.history(migrated)[-1] == ("app/004_d", True)
    assert files.events(migrated)[-1] == ("rolled back", "app/004_d", "failed")


def test_a_rollback_that_orphans_rows_is_undone(path, runner, folder):
    source = folder({"001_a": creates("a"), "002_b": script("pass", rollback="migrator.sql('DELETE FROM a')")})
    runner(source).migrate()
    files.run(
        path, "CREATE TABLE child (a_id REFERENCES a (id)); INSERT INTO a (id) VALUES (1); INSERT INTO child VALUES (1)"
    )

    with pytest.raises(Exception, match="would leave rows without the row they refer to"):
        runner(source).rollback()

    assert files.query(path, "SELECT count(*) FROM a") == [(1,)]
    assert files.history(path)[-1] == ("app/002_b", True)


def test_a_script_that_refuses_a_transaction_is_undone_outside_of_one(path, runner, folder):
    text = script("database.execute_sql('VACUUM')", rollback="database.execute_sql('VACUUM')", head="atomic = False")
    source = folder({"001_a": creates("a"), "002_vacuum": text, "003_c": creates("c")})
    runner(source).migrate()

    report = runner(source).rollback(steps=3)

    assert undone(report) == ["app/003_c", "app/002_vacuum", "app/001_a"]
    assert files.history(path) == []


def test_a_locked_database_is_left_as_it_is(migrated, runner, source):
    with closing(sqlite3.connect(migrated, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Exception, match="Nothing was changed"):
            runner(source, timeout=0.2).rollback()

    assert len(files.history(migrated)) == 3

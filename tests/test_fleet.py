"""Many databases: each on its own, all in the report, wherever the work is done."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import fleet_of_1000
import pytest
import sqlite_files as files
from script_texts import creates, script

from framework_schema import fleet, migrate_fleet
from framework_schema.config import Config
from framework_schema.errors import ConfigError
from framework_schema.fleet import FAILURES, plan_tasks, run, run_member
from framework_schema.inventory import Member, read_targets
from framework_schema.report import State
from framework_schema.runner import Runner
from framework_schema.sources import Folder

ENTRY = "CREATE TABLE Entry (id INTEGER PRIMARY KEY, title TEXT); INSERT INTO Entry (title) VALUES ('one')"


@pytest.fixture
def data(tmp_path):
    """Make a folder of databases with one table each."""

    def make(*names):
        place = tmp_path / "data"
        place.mkdir(exist_ok=True)
        for name in names or ("a.db", "b.db", "c.db", "d.db"):
            files.run(place / name, ENTRY)
        return place

    return make


@pytest.fixture
def entries(folder):
    """A source that knows the table Entry, so that these databases are not foreign to it."""
    return folder({"001_entry": creates("Entry", "title"), "002_notes": creates("notes")})


def states(report):
    return {Path(item.name).name: str(item.state) for item in report.reports}


@pytest.fixture
def two_processes():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


# Everyone is in the report


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_that_fails_stops_no_other_and_all_are_in_the_report(jobs, data, entries):
    place = data()
    (place / "b.db").write_text("not a database" * 500)
    (place / "e.db").mkdir()

    report = migrate_fleet([place], [entries], jobs=jobs)

    assert states(report) == {
        "a.db": "migrated",
        "b.db": "unreadable",
        "c.db": "migrated",
        "d.db": "migrated",
        "e.db": "unreadable",
    }
    assert "notes" in files.tables(place / "d.db")


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_report_keeps_the_order_of_the_members(jobs, data, entries):
    place = data(*(f"{letter}.db" for letter in "hgfedcba"))

    report = migrate_fleet([place], [entries], jobs=jobs)

    assert [Path(item.name).name for item in report.reports] == [f"{letter}.db" for letter in "abcdefgh"]


def test_reports_come_as_they_are_done(data, entries):
    seen = []

    migrate_fleet([data()], [entries], jobs=1, on_report=lambda item: seen.append(Path(item.name).name))

    assert seen == ["a.db", "b.db", "c.db", "d.db"]


def test_a_current_database_is_not_written_to(data, entries):
    place = data()
    files.run(place / "a.db", "PRAGMA journal_mode = wal")
    migrate_fleet([place], [entries], jobs=1)
    before = fleet_of_1000.footprint(place), place.stat().st_mtime_ns

    report = migrate_fleet([place], [entries], jobs=1)

    assert set(states(report).values()) == {"current"}
    assert (fleet_of_1000.footprint(place), place.stat().st_mtime_ns) == before


def test_a_database_that_crashed_is_recovered_by_migrate(data, entries):
    place = data()
    text = (
        f"import os, sqlite3\nc = sqlite3.connect({str(place / 'a.db')!r}, isolation_level=None)\n"
        "c.execute('PRAGMA journal_mode = wal'); c.execute(\"INSERT INTO Entry (title) VALUES ('two')\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", text], check=True)
    Path(f"{place / 'a.db'}-shm").unlink()

    report = migrate_fleet([place], [entries], jobs=1)

    assert set(states(report).values()) == {"migrated"}
    assert len(files.query(place / "a.db", "SELECT * FROM Entry")) == 2


@pytest.mark.parametrize("name", ["-v.db", "two words.db", "line\nbreak.db", "quo'te\".db", "a?b=c#d%41.db", "ü.db"])
def test_any_file_name_is_migrated(name, data, entries):
    place = data(name)

    report = migrate_fleet([place], [entries], jobs=1)

    assert states(report) == {name: "migrated"}
    assert sorted(path.name for path in place.iterdir()) == [name]


# Foreign, empty, absent


def test_a_foreign_database_in_a_folder_is_left_alone_and_no_failure(data, entries):
    place = data("a.db")
    files.run(place / "wordpress.db", "CREATE TABLE wp_posts (id)")
    before = files.digest(place / "wordpress.db")

    report = migrate_fleet([place], jobs=1)

    assert states(report) == {"a.db": "migrated", "wordpress.db": "foreign"}
    assert report.failed == ()
    assert files.digest(place / "wordpress.db") == before


@pytest.mark.parametrize("how", ["named", "asked"])
def test_a_foreign_database_is_migrated_when_it_is_named_or_asked_for(how, data):
    place = data("a.db")
    files.run(place / "wordpress.db", "CREATE TABLE wp_posts (id)")

    if how == "named":
        report = migrate_fleet([place / "wordpress.db"], jobs=1)
    else:
        report = migrate_fleet([place], jobs=1, adopt_foreign=True)

    assert states(report)["wordpress.db"] == "migrated"
    assert "wp_posts" in files.tables(place / "wordpress.db")


def test_an_empty_file_in_a_folder_is_suspect_and_one_that_is_named_is_filled(data, entries):
    place = data("a.db")
    (place / "b.db").touch()

    assert states(migrate_fleet([place], [entries], jobs=1))["b.db"] == "unreadable"
    assert states(migrate_fleet([place / "b.db"], [entries], jobs=1)) == {"b.db": "migrated"}


def test_a_path_that_is_not_there_is_not_made_and_a_url_is(tmp_path, entries):
    report = migrate_fleet([tmp_path / "a.db", f"sqlite:///{tmp_path / 'b.db'}"], [entries], jobs=1)

    assert [item.state for item in report.reports] == [State.UNREADABLE, State.MIGRATED]
    assert not (tmp_path / "a.db").exists()


def test_an_engine_that_is_not_known_is_a_member_that_failed(data, entries):
    report = migrate_fleet(["oracle://ops:secret@db1/crm", data("a.db")], [entries], jobs=1)

    assert [item.state for item in report.reports] == [State.UNREADABLE, State.MIGRATED]
    assert "secret" not in repr(report)


# Sources


def test_an_inventory_gives_a_database_its_own_scripts_and_plugins(data, folder, tmp_path):
    place = data("a.db", "b.db")
    base = folder({"001_entry": creates("Entry")}, of="base", source="framework")
    plugin = folder({"001_brews": creates("brews")}, of="plugin", source="homebrew", depends_on=["framework"])
    folder({"001_own": creates("own")}, of="own")
    members = [
        Member("a", str(place / "a.db"), plugins=("homebrew",), folders=(str(tmp_path / "own"),)),
        Member("b", str(place / "b.db")),
    ]

    report = run(plan_tasks("migrate", members, [base, plugin], Config()), jobs=1)

    assert {item.name: item.applied for item in report.reports} == {
        "a": ["framework/001_entry", "homebrew/001_brews", "app/001_own"],
        "b": ["framework/001_entry"],
    }


def test_a_plugin_whose_rows_a_database_carries_goes_on_without_being_named(data, folder):
    place = data("a.db")
    base = folder({"001_entry": creates("Entry")}, of="base", source="framework")
    plugin = folder({"001_brews": creates("brews")}, of="plugin", source="homebrew")
    run(
        plan_tasks("migrate", [Member("a", str(place / "a.db"), plugins=("homebrew",))], [base, plugin], Config()),
        jobs=1,
    )
    folder({"002_casks": creates("casks")}, of="plugin")

    report = run(plan_tasks("migrate", read_targets([place]).members, [base, plugin], Config()), jobs=1)

    assert report.reports[0].applied == ["homebrew/002_casks"]


def test_a_plugin_that_is_named_and_not_installed_is_said(data, entries):
    place = data("a.db")

    report = run(
        plan_tasks("migrate", [Member("a", str(place / "a.db"), plugins=("gone",))], [entries], Config()), jobs=1
    )

    assert "plugin gone, which is not installed" in report.reports[0].error


# Ending early


@pytest.fixture
def with_broken_first(data):
    place = data()
    (place / "a.db").write_text("x" * 5000)
    (place / "b.db").write_text("x" * 5000)
    return place


@pytest.mark.parametrize(("most", "begun"), [(1, 1), (2, 2), (3, 4)])
def test_a_run_stops_when_so_many_have_failed(most, begun, with_broken_first, entries):
    report = migrate_fleet([with_broken_first], [entries], jobs=1, max_failures=most)

    assert len(report.reports) - len(report.not_started) == begun
    assert bool(report.stopped) is (begun < 4)
    assert all(item.state is State.PENDING for item in report.not_started)


def test_a_canary_that_fails_stops_the_rest(with_broken_first, entries):
    report = migrate_fleet([with_broken_first], [entries], jobs=1, canary=1)

    assert len(report.not_started) == 3
    assert "a canary failed" in report.stopped
    assert "notes" not in files.tables(with_broken_first / "d.db")


def test_canaries_that_do_well_let_the_rest_go(data, entries):
    report = migrate_fleet([data()], [entries], jobs=1, canary=2)

    assert set(states(report).values()) == {"migrated"}
    assert report.stopped is None


def test_a_stopped_run_ends_after_what_is_in_flight_and_a_rerun_goes_on(data, entries):
    place, stop = data(), threading.Event()

    first = migrate_fleet([place], [entries], jobs=1, stop=stop, on_report=lambda item: stop.set())
    second = migrate_fleet([place], [entries], jobs=1)

    assert list(states(first).values()) == ["migrated", "pending", "pending", "pending"]
    assert list(states(second).values()) == ["current", "migrated", "migrated", "migrated"]


def test_shards_do_all_the_work_between_them(data, entries):
    place = data()

    for part in ("1/2", "2/2"):
        assert len(migrate_fleet([place], [entries], jobs=1, part=part).reports) == 2

    assert set(states(migrate_fleet([place], [entries], jobs=1)).values()) == {"current"}


# Workers


def test_a_task_travels(data, entries):
    (task,) = plan_tasks("migrate", read_targets([data("a.db")]).members, [entries], Config())

    report = run_member(pickle.loads(pickle.dumps(task)))

    assert pickle.loads(pickle.dumps(report)) == report
    assert report.state is State.MIGRATED


def test_any_executor_will_do(data, entries, two_processes):
    place = data()

    processes = migrate_fleet([place], [entries], executor=two_processes)
    with ThreadPoolExecutor(2) as threads:
        again = migrate_fleet([place], [entries], executor=threads)

    assert set(states(processes).values()) == {"migrated"}
    assert set(states(again).values()) == {"current"}


def test_a_worker_that_dies_costs_its_own_database_alone(data, folder):
    place = data()
    kills = (
        "import os\nif '/b.db' in database.database:\n    os._exit(9)\ndatabase.execute_sql('CREATE TABLE made (a)')"
    )
    source = folder({"001_entry": creates("Entry"), "002_kills": script(kills)})

    report = migrate_fleet([place], [source], jobs=2)

    assert states(report).pop("b.db") == "failed"
    assert len(report.failed) == 1  # what was done when its worker died with it is found current
    assert "the worker process died" in report.reports[1].error
    assert all("made" in files.tables(place / name) for name in ("a.db", "c.db", "d.db"))
    assert "made" not in files.tables(place / "b.db")


def test_a_script_is_read_anew_for_every_run(data, folder):
    place = data("a.db")
    source = folder({"001_entry": creates("Entry")})
    migrate_fleet([place], [source], jobs=1)
    folder({"002_more": creates("more")})

    assert migrate_fleet([place], [source], jobs=1).reports[0].applied == ["app/002_more"]


def test_a_dry_run_of_a_fleet_changes_nothing(data, entries):
    place = data()
    (place / "b.db").write_text("x" * 5000)
    before = fleet_of_1000.footprint(place)

    report = migrate_fleet([place], [entries], jobs=1, dry_run=True)

    assert states(report) == {"a.db": "pending", "b.db": "unreadable", "c.db": "pending", "d.db": "pending"}
    assert any("CREATE TABLE" in statement for statement in report.reports[0].sql)
    assert fleet_of_1000.footprint(place) == before


def test_targets_that_cannot_be_meant_are_the_only_thing_that_raises(tmp_path):
    with pytest.raises(ConfigError):
        migrate_fleet([tmp_path / "none-*.db"])


def test_a_fleet_as_json_has_one_shape(data, entries):
    found = migrate_fleet([data("a.db")], [entries], jobs=1).as_dict()

    assert (found["version"], found["command"]) == (1, "migrate")
    assert {"name", "url", "engine", "state", "applied", "adopted", "aligned", "pending", "failed", "drift", "error",
            "duration_ms"} <= found["databases"][0].keys()  # fmt: skip
    assert found["summary"]["migrated"] == found["summary"]["databases"] == 1
    assert set(FAILURES) <= set(State)


# As a command: signals, Dask, a large fleet


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_what_is_in_flight_and_reports(sign, jobs, data, folder, tmp_path):
    place = data(*(f"{number}.db" for number in range(9)))
    folder({"001_entry": creates("Entry"), "002_slow": script("import time\ntime.sleep(0.5)\n" + "pass")})
    lines = tmp_path / "lines"
    command = [sys.executable, "-m", "framework_schema", "migrate", str(place), "--folder", str(tmp_path / "scripts"),
               "--jobs", str(jobs), "--report", str(lines)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while time.monotonic() < until and not (lines.exists() and lines.read_text()):
            time.sleep(0.05)
        process.send_signal(sign)
        out, err = process.communicate(timeout=60)

    assert process.returncode == 3, err
    assert "not started" in out
    assert "stopped: it was interrupted" in out
    done = [path for path in place.iterdir() if "schema_migrations" in files.tables(path)]
    assert len(done) == len(lines.read_text().splitlines()) < 9
    assert all(("app/002_slow", True) in files.history(path) for path in done)


@pytest.mark.slow
def test_a_dask_cluster_of_two_processes_does_the_work(data, entries, tmp_path):
    pytest.importorskip("distributed")
    place = data(*(f"{number}.db" for number in range(8)))
    cluster = tmp_path / "cluster.py"
    cluster.write_text(
        "import subprocess, sys\n"
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:\n"
        "        url = cluster.scheduler_address.replace('tcp://', 'dask://')\n"
        "        sys.exit(subprocess.run([sys.executable, '-m', 'framework_schema', 'migrate', *sys.argv[1:],\n"
        "                                 '--executor', url]).returncode)\n"
    )

    done = subprocess.run(
        [sys.executable, str(cluster), "data", "--folder", str(Path(entries.path))],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "8 databases · 8 migrated" in done.stdout
    processes = {
        process
        for path in place.iterdir()
        for (process,) in files.query(path, "SELECT process FROM schema_migration_events")
    }
    assert len(processes) == 2
    assert os.getpid() not in processes


@pytest.mark.slow
def test_a_mixed_fleet_ends_aligned_but_for_the_broken_ones(tmp_path):
    lines = list(fleet_of_1000.check(tmp_path / "data", 30, 2))

    assert [line for line, is_good in lines if not is_good] == []
    shutil.rmtree(tmp_path / "data")


def test_a_folder_source_is_a_key_whatever_it_was_made_with(tmp_path):
    (task,) = plan_tasks("migrate", [Member("a", "a.db")], [Folder([tmp_path / "x"])], Config())

    assert hash(task.sources) == hash(pickle.loads(pickle.dumps(task.sources)))


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_that_another_process_writes_to_is_locked(mode, data, entries):
    place = data("a.db")
    files.run(place / "a.db", f"PRAGMA journal_mode = {mode}")

    with fleet_of_1000.held(place / "a.db"):
        report = migrate_fleet([place], [entries], jobs=1, config=Config(timeout=0.2))

    assert states(report) == {"a.db": "locked"}
    assert set(states(migrate_fleet([place], [entries], jobs=1)).values()) == {"migrated"}


def test_a_script_that_comes_while_a_fleet_is_read_is_run_by_the_next_one(tmp_path, folder, monkeypatch):
    source, real = folder({"001_x": creates("one")}), fleet.collect

    def collect(readings):
        found = real(readings)
        folder({"001_x": creates("one"), "002_y": creates("two")})
        return found

    monkeypatch.setattr(fleet, "collect", collect)
    config = Config(template=False)
    (first,) = fleet.migrate_fleet([f"sqlite:///{tmp_path / 'a.db'}"], [source], jobs=1, config=config).reports
    assert first.applied == ["app/001_x"]

    assert Runner(tmp_path / "a.db", [source], config=config).migrate().applied == ["app/002_y"]

"""Behind a real pgbouncer: sessions and transactions may be pooled, statements not."""

import time
from contextlib import ExitStack

import pytest
import servers
from pgbouncer import pooled
from processes import start
from script_texts import creates, script, sql

from framework_schema import fleet
from framework_schema.config import Config
from framework_schema.errors import Locked, SchemaError
from framework_schema.plan_cache import PlanCache
from framework_schema.report import State
from framework_schema.runner import Runner

RUN = """
import sys, time
from framework_schema.config import Config
from framework_schema.runner import Runner
from framework_schema.sources import Folder
runner = Runner(sys.argv[1], sources=[Folder(sys.argv[2], "app")], config=Config(timeout=60, backup="never"))
time.sleep(max(0, float(sys.argv[3]) - time.time()))
print(runner.migrate().state)
"""
ALONE = script(
    """
    import time
    database.execute_sql("INSERT INTO notes (x) VALUES (4)")
    time.sleep(0.5)
    database.execute_sql("INSERT INTO notes (x) VALUES (5)")
    database.execute_sql("CREATE INDEX CONCURRENTLY by_x ON notes (x)")
    """,
    head="atomic = False",
)
SCRIPTS = {
    "001_notes": sql("CREATE TABLE notes (x INTEGER)"),
    **{f"{n:03}_row": sql(f"INSERT INTO notes (x) VALUES ({n})", "SELECT pg_sleep(0.05)") for n in (2, 3)},
    "004_alone": ALONE,
    "006_row": sql("INSERT INTO notes (x) VALUES (6)"),
}


@pytest.fixture
def fresh():
    with servers.Fresh("postgresql") as fresh:
        yield fresh


def quick(url, source, **settings):
    return Runner(url, [source] if source else [], config=Config(backup="never", **{"timeout": 20, **settings}))


def session_locks(fresh):
    return servers.run(
        "postgresql",
        fresh.url,
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
        f"WHERE locktype = 'advisory' AND d.datname = '{fresh.name}'",
    )[0][0]


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_eight_processes_at_once_run_every_script_once(fresh, folder, mode):
    source = folder(SCRIPTS)
    with pooled(fresh, mode, default_pool_size=30) as url:
        at = time.time() + 1.5
        # Half of them go round it: both ways have to keep each other out.
        processes = [start(RUN, fresh.url if n % 2 else url, source.path, at) for n in range(8)]
        answers = [process.communicate(timeout=120) for process in processes]

        assert [process.returncode for process in processes] == [0] * 8, [error[-600:] for _, error in answers if error]
        assert servers.run("postgresql", fresh.url, "SELECT x FROM notes ORDER BY x") == [(n,) for n in range(2, 7)]
        assert session_locks(fresh) == 0
        assert quick(url, source).migrate().state is State.CURRENT
        left = servers.run("postgresql", url, "SHOW lock_timeout")
    assert left == [("0",)]


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_it_migrates_aligns_and_rolls_back(fresh, folder, mode):
    scripts = {"001_a": creates("A", "name", "more"), "002_b": creates("B")}
    source = folder(scripts)
    with pooled(fresh, mode) as url:
        assert quick(url, source).migrate().applied == ["app/001_a", "app/002_b"]
        servers.run("postgresql", fresh.url, 'ALTER TABLE "A" DROP COLUMN more')
        assert quick(url, source).migrate(strict=True).aligned == ("column A.more",)
        assert quick(url, source).rollback().as_dict()["rolled_back"] == ["app/002_b"]
        assert not quick(url, source).drift(strict=True).structural


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_fleet_repeats_what_it_proved(folder, mode, monkeypatch):
    plans = PlanCache()
    monkeypatch.setattr(fleet, "_plans", lambda *run: plans)
    rows = script("database.execute_sql('INSERT INTO counted SELECT count(*) FROM a RETURNING x').fetchall()")
    source = folder({
        "001_a": sql("CREATE TABLE a (x INTEGER)", "INSERT INTO a VALUES (1)"),
        "002_counted": sql("CREATE TABLE counted (x BIGINT)"),
        "003_rows": rows,
        "004_more": sql("INSERT INTO a VALUES (2)"),
    })  # fmt: skip
    with ExitStack() as stack:
        found = [stack.enter_context(servers.Fresh("postgresql")) for _ in range(3)]
        urls = [stack.enter_context(pooled(place, mode)) for place in found]
        config = Config(backup="never", timeout=20, plan_cache=True)
        report = fleet.migrate_fleet(urls, [source], jobs=1, config=config)

        assert [member.state for member in report.reports] == [State.MIGRATED] * 3
        assert plans.repeated == 1
        assert [step.key for g in plans._groups.values() for step in g.proven.steps if step.statements is None] == [
            "app/003_rows"
        ]
        for place in found:
            assert servers.run("postgresql", place.url, "SELECT x FROM a ORDER BY x") == [(1,), (2,)]
            assert servers.run("postgresql", place.url, "SELECT x FROM counted") == [(1,)]
            assert session_locks(place) == 0


def test_who_holds_the_lock_is_waited_for_from_behind_a_pool_of_transactions(fresh, folder):
    source = folder({"001_a": creates("A")})
    holder = quick(fresh.url, source)
    with pooled(fresh, "transaction") as url:
        with holder.target.connected() as database, holder.dialect.exclusive(database, "x"):
            with pytest.raises(Locked, match="server process"):
                quick(url, source, timeout=0.5).migrate()
            assert session_locks(fresh) == 1
        assert quick(url, source).migrate().applied == ["app/001_a"]


def test_a_lock_held_for_a_script_alone_keeps_no_snapshot(fresh):
    """CREATE INDEX CONCURRENTLY waits for all snapshots older than itself, and would wait for its own lock."""
    with pooled(fresh, "transaction") as url:
        runner = quick(url, None)
        with runner.target.connected() as database, runner.dialect.alone(database, "x"):
            activity = f"FROM pg_stat_activity WHERE datname = '{fresh.name}' AND state = 'idle in transaction'"
            found = servers.run("postgresql", fresh.url, f"SELECT backend_xmin {activity}")
    assert found == [(None,)]


def test_a_pool_of_statements_is_refused(fresh, folder):
    source = folder({"001_a": creates("A")})
    with pooled(fresh, "statement") as url, pytest.raises(SchemaError, match="session mode"):
        quick(url, source).migrate()
    assert servers.run("postgresql", fresh.url, "SELECT count(*) FROM pg_tables WHERE tablename = 'A'") == [(0,)]

"""A Galera cluster: one lock for all nodes, conflicts begun again, a node that dies."""

import json
import os
import time

import galera
import pytest
import servers
from processes import start
from script_texts import creates, script

from framework_schema import cluster_lock, mysql
from framework_schema.cluster_lock import ClusterLock
from framework_schema.config import Config
from framework_schema.databases import open_target
from framework_schema.errors import Locked
from framework_schema.report import State
from framework_schema.runner import Runner

NODES = 3
AT_ONCE = 8
ROUNDS = range(int(os.environ.get("FRAMEWORK_SCHEMA_TEST_ROUNDS", "2")))


@pytest.fixture(scope="module")
def cluster():
    return galera.need(NODES)


@pytest.fixture
def urls(cluster):
    """A new database, by the URL that it has on each node."""
    name = f"{servers.PREFIX}{os.urandom(5).hex()}"
    servers.run("mariadb", cluster.nodes[0].url, f"CREATE DATABASE {name}")
    yield [f"{node.url}/{name}" for node in cluster.nodes]
    servers.run("mariadb", cluster.nodes[0].url, f"DROP DATABASE {name}")


def runner(url, source, **settings):
    return Runner(url, [source], config=Config(backup="never", **{"timeout": 60, **settings}))


def rows(url, sql):
    return servers.run("mariadb", url, "SET SESSION wsrep_sync_wait = 15", sql)


COUNTED = {
    "001_ran": script("migrator.sql('CREATE TABLE ran (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(9), n INT)')"),
    **{
        f"{number:03}_step": script(
            f"""
            migrator.sql("INSERT INTO ran (name, n) VALUES ('{number}', 0)")
            migrator.sql("CREATE TABLE t{number} (id INT AUTO_INCREMENT PRIMARY KEY, a INT)")
            migrator.sql("UPDATE ran SET n = n + 1 WHERE name = '{number}'")
            migrator.sql("ALTER TABLE t{number} ADD COLUMN b INT")
            migrator.sql("INSERT INTO t{number} (a, b) VALUES (1, 2)")
            """
        )
        for number in (2, 3, 4)
    },
}
FORK = """
import json, os, sys, time
from framework_schema.config import Config
from framework_schema.runner import Runner
from framework_schema.sources import Folder
urls, folder, many = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
at, pipes = time.time() + 1, []
for number in range(many):
    out, into = os.pipe()
    if not os.fork():
        try:
            url = urls[number % len(urls)]
            runner = Runner(url, [Folder(folder, "app")], config=Config(timeout=90, backup="never"))
            time.sleep(max(0, at - time.time()))
            said = str(runner.migrate().state)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(into, said[:4000].encode())
        os._exit(0)
    os.close(into)
    pipes.append(out)
answers = []
for out in pipes:
    with os.fdopen(out) as told:
        answers.append(told.read())
print(json.dumps({"answers": answers, "seconds": round(time.time() - at, 1)}))
"""


@pytest.mark.parametrize("round", ROUNDS)
def test_eight_runs_over_three_nodes_run_every_script_once(urls, folder, round):
    source = folder(COUNTED)

    with start(FORK, json.dumps(urls), source.path, AT_ONCE) as process:
        said, error = process.communicate(timeout=180)

    assert process.returncode == 0, error[-2000:]
    told = json.loads(said)
    assert sorted(told["answers"]) == ["current"] * (AT_ONCE - 1) + ["migrated"]
    for url in urls:
        assert rows(url, "SELECT name, n FROM ran ORDER BY name") == (("2", 1), ("3", 1), ("4", 1))
        assert [rows(url, f"SELECT a, b FROM t{number}") for number in (2, 3, 4)] == [((1, 2),)] * 3
    history = rows(urls[0], "SELECT kind, migration_name, count(*) FROM schema_migration_events GROUP BY 1, 2")
    assert [(name, count) for kind, name, count in history if kind == "applied"] == [
        (f"app/{name}", 1) for name in COUNTED
    ]


HELD = """
import sys
from framework_schema.runner import Runner
runner = Runner(sys.argv[1], sources=[])
with runner.target.connected() as database, runner.dialect.exclusive(database, "x"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_lock_held_on_one_node_is_waited_for_on_another_and_dies_with_its_holder(urls, folder):
    source = folder({"001_a": creates("A")})
    with start(HELD, urls[0]) as holder:
        assert holder.stdout.readline() == "held\n"

        with pytest.raises(Locked, match=f"process {holder.pid} on ") as refused:
            runner(urls[1], source, timeout=2).migrate()

        assert "cluster" in str(refused.value)
        holder.kill()
    assert runner(urls[1], source, timeout=5).migrate().state is State.MIGRATED


def test_a_run_that_loses_the_lock_writes_nothing_more_and_is_begun_again(urls, folder):
    text = """
    if not database.table_exists("tries"):
        migrator.sql("CREATE TABLE tries (id INT AUTO_INCREMENT PRIMARY KEY, a INT)")
        database.execute_sql(f"KILL {database.cluster_lock.connection.connection().thread_id()}")
    migrator.sql("INSERT INTO tries (a) VALUES (1)")
    """

    report = runner(urls[0], folder({"001_a": script(text)})).migrate()

    assert report.state is State.MIGRATED
    assert rows(urls[1], "SELECT a FROM tries") == ((1,),)
    told = rows(urls[1], "SELECT count(*) FROM schema_migration_events WHERE kind = 'failed'")
    assert told == ((0,),)


def test_a_run_goes_on_from_another_node_when_its_own_is_killed(urls, folder, cluster):
    node = cluster.nodes[2]
    slow = COUNTED | {
        "005_slow": script(
            f"""
            import time
            migrator.sql("INSERT INTO ran (name, n) VALUES ('5', 0)")
            migrator.sql("CREATE TABLE t5 (id INT AUTO_INCREMENT PRIMARY KEY, a INT)")
            migrator.sql("UPDATE ran SET n = n + 1 WHERE name = '5'")
            if database.connect_params["port"] == {node.port}:
                time.sleep(60)
            migrator.sql("CREATE TABLE t6 (id INT AUTO_INCREMENT PRIMARY KEY, a INT)")
            """
        )
    }
    source = folder(slow)
    with start(FORK, json.dumps(urls[2:]), source.path, 1) as process:
        for _ in range(300):
            if rows(urls[0], "SHOW TABLES LIKE 't5'"):
                break
            time.sleep(0.1)
        node.kill()
        report = runner(urls[0], source).migrate()
        process.kill()

    assert report.state is State.MIGRATED
    assert rows(urls[1], "SELECT name, n FROM ran ORDER BY name") == tuple((str(n), 1) for n in (2, 3, 4, 5))
    assert rows(urls[1], "SHOW TABLES LIKE 't6'")
    node.start(cluster.members, cluster.provider)
    assert runner(urls[2], source).migrate().state is State.CURRENT


def test_the_scratch_of_another_node_is_left_alone_and_that_of_a_dead_one_dropped(urls, folder, cluster):
    with open_target(urls[1]).connected() as database:
        theirs = mysql.SCRATCH + mysql._tag(cluster_lock.node_of(database)) + "01234567"
    dead = mysql.SCRATCH + "0" * 16
    for name in (theirs, dead):
        servers.run("mariadb", cluster.nodes[0].url, f"CREATE DATABASE {name}")

    runner(urls[0], folder({"001_a": creates("A", f"c{os.getpid()}")})).migrate()

    left = {name for (name,) in servers.run("mariadb", cluster.nodes[0].url, "SHOW DATABASES")}
    servers.run("mariadb", cluster.nodes[0].url, f"DROP DATABASE {theirs}")
    assert theirs in left and dead not in left


def test_a_conflict_with_an_apps_commit_on_another_node_is_begun_again(urls, folder):
    """The app changes the row that a script has changed and not committed: the script gives way, and runs again."""
    servers.run("mariadb", urls[0], "CREATE TABLE stock (id INT PRIMARY KEY, n INT)", "INSERT INTO stock VALUES (1, 0)")
    port, name = urls[1].rpartition(":")[2].split("/")
    text = f"""
    import pymysql
    database.execute_sql("UPDATE stock SET n = n + 1 WHERE id = 1")
    if not database.execute_sql("SELECT n FROM stock WHERE id = 1").fetchone()[0] > 10:
        other = pymysql.connect(host="127.0.0.1", port={port}, user="root", database={name!r}, autocommit=True)
        with other.cursor() as cursor:
            cursor.execute("UPDATE stock SET n = n + 10 WHERE id = 1")
        other.close()
        import time; time.sleep(1)
    """

    report = runner(urls[0], folder({"001_a": script(text)})).migrate()

    assert report.state is State.MIGRATED
    assert rows(urls[2], "SELECT n FROM stock") == ((11,),)


def test_the_lock_leaves_nothing_that_a_schema_shows(urls, folder):
    source = folder({"001_a": creates("A")})
    run = runner(urls[0], source)
    run.migrate()

    assert not [d for d in run.drift(strict=True).differences if "lock" in d.text]
    assert rows(urls[1], f"SELECT id, holder FROM {cluster_lock.TABLE}") == ((1, None),)


def test_a_lock_that_is_no_longer_ours_is_told_before_anything_is_written(urls):
    with open_target(urls[0]).connected() as database:
        lock = ClusterLock(mysql.OwnMysql(str(database.database), **database.connect_params))
        with lock.held(5) as is_ours:
            assert is_ours
            lock.check()
            lock.connection.execute_sql("ROLLBACK")

            with pytest.raises(cluster_lock.LockLost):
                lock.check()

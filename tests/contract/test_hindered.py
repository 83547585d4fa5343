"""Other connections in the way: what gives way is done again, a lock not had in time is told, nothing is half done."""

import threading
import time
from contextlib import closing, contextmanager

import pytest
import servers
from script_texts import creates, script, sql

from framework_schema.errors import MigrationFailed
from framework_schema.report import State


@contextmanager
def idle_in_a_transaction(server, *statements):
    """Hold what these statements lock, and do nothing."""
    with closing(servers.connect(server.name, server.url)) as other:
        cursor = other.cursor()
        cursor.execute("BEGIN")
        for statement in statements:
            cursor.execute(server.said(statement))
        yield other


def is_failed(server, source):
    return [row["migration_name"] for row in server.runner(source).history(failed=True)]


@pytest.mark.parametrize("held", ['SELECT * FROM "A"', "INSERT INTO \"A\" (name) VALUES ('own')"])
def test_a_lock_that_is_not_had_in_time_is_locked_and_leaves_nothing_half_done(server, folder, held):
    scripts = {"001_a": creates("A")}
    server.runner(folder(scripts)).migrate()
    scripts["002_b"] = creates("B")
    scripts["003_c"] = sql(server.said("INSERT INTO \"B\" (name) VALUES ('x')"),
                           server.said('ALTER TABLE "A" ADD COLUMN y INTEGER'))  # fmt: skip
    source = folder(scripts)

    with idle_in_a_transaction(server, held):
        started = time.monotonic()
        with pytest.raises(MigrationFailed) as refused:
            server.runner(source, timeout=1).migrate()
        took = time.monotonic() - started
    report = refused.value.report

    assert report.state is State.LOCKED and took < 20
    assert report.applied == ["app/002_b"] and report.pending == ("app/003_c",)
    assert "app/003_c" in report.error and "Applied before that: app/002_b." in report.error
    assert server.name == "mariadb" or "Idle in a transaction: server process" in report.error
    assert is_failed(server, source) == []
    if server.undoes_ddl:
        assert server.sql('SELECT name FROM "B"') == [] and "Nothing else was changed." in report.error
    else:
        assert "this stands: the data that 1 statement(s) wrote" in report.error

    assert server.runner(source).migrate().applied == ["app/003_c"]
    assert server.sql('SELECT name FROM "B"') == [("x",)]


def test_a_column_that_is_missing_waits_for_the_lock_too(server, folder):
    source = folder({"001_a": creates("A", "name", "more")})
    server.runner(source).migrate()
    server.sql('ALTER TABLE "A" DROP COLUMN more')

    with idle_in_a_transaction(server, 'SELECT * FROM "A"'), pytest.raises(MigrationFailed) as refused:
        server.runner(source, timeout=1).migrate()

    assert refused.value.report.state is State.LOCKED
    assert server.runner(source).migrate().aligned == ("column A.more",)


def test_what_a_deadlock_undid_is_done_again(server, folder):
    """Two transactions take two rows in turn; the engine ends ours, which is the lighter or looks first."""
    source = folder({"001_a": script(
        """
        migrator.sql("CREATE TABLE pair (id INTEGER PRIMARY KEY, x INTEGER)")
        migrator.sql("CREATE TABLE weight (x INTEGER)")
        migrator.sql("INSERT INTO pair VALUES (1, 0), (2, 0)")
        """
    )})  # fmt: skip
    server.runner(source).migrate()
    folder({"002_b": script(
        """
        import time
        migrator.sql("UPDATE pair SET x = x + 1 WHERE id = 1")
        time.sleep(1)
        migrator.sql("UPDATE pair SET x = x + 1 WHERE id = 2")
        """
    )})  # fmt: skip
    heavy = ["INSERT INTO weight VALUES " + ", ".join(["(1)"] * 500)]
    if server.name == "postgresql":
        heavy.append("SET deadlock_timeout = '30s'")

    with idle_in_a_transaction(server, *heavy, "UPDATE pair SET x = x + 10 WHERE id = 2") as other:

        def cross():
            end = time.monotonic() + 20
            while time.monotonic() < end:  # when the script has the first row
                with closing(servers.connect(server.name, server.url)) as probe, closing(probe.cursor()) as cursor:
                    try:
                        cursor.execute("BEGIN")
                        cursor.execute("SELECT x FROM pair WHERE id = 1 FOR UPDATE NOWAIT")
                    except Exception:
                        break
                time.sleep(0.05)
            other.cursor().execute("UPDATE pair SET x = x + 10 WHERE id = 1")
            other.cursor().execute("COMMIT")

        thread = threading.Thread(target=cross)
        thread.start()
        report = server.runner(source).migrate()
        thread.join()

    assert report.applied == ["app/002_b"]
    assert server.sql("SELECT x FROM pair ORDER BY id") == [(11,), (11,)]
    assert [e["kind"] for e in server.runner(source).history(events=True) if e["outcome"] == "failed"] == []

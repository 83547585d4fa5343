"""A dry run tells what would happen, and leaves nothing behind."""

import pytest
from script_texts import creates, script

from framework_schema.errors import MigrationFailed
from framework_schema.server_rehearsal import rehearsing


def facts(engine):
    database = engine.database()
    with database.connection_context():
        snapshot = engine.runner().dialect.snapshot(database, structural=True)
    return snapshot.digest


def databases(engine):
    query = {"postgresql": "SELECT nspname FROM pg_namespace", "mariadb": "SHOW DATABASES"}[engine.name]
    return sorted(name for (name,) in engine.sql(query) if "test" not in name)


@pytest.mark.parametrize("first", [(), ("001_a",)], ids=["new", "behind"])
def test_a_rehearsal_does_it_all_and_nothing_stays(server, folder, first):
    scripts = {"001_a": creates("A"), "002_b": creates("B", "x", "y")}
    if first:
        server.runner(folder({name: scripts[name] for name in first}, of="old")).migrate()
    before, others = facts(server), databases(server)
    seen = []

    with rehearsing(server.runner(folder(scripts)), lambda sql, params: seen.append(sql)) as twin:
        report = twin.migrate()

    assert report.applied == [f"app/{name}" for name in scripts if name not in first]
    assert any("CREATE TABLE" in sql and "B" in sql for sql in seen)
    assert facts(server) == before
    assert [name for name in databases(server) if "scratch" in name] == [n for n in others if "scratch" in n]
    assert server.runner(folder(scripts)).status().pending == tuple(report.applied)


def test_a_script_that_would_fail_is_named(server, folder):
    source = folder({"001_a": creates("A"), "002_b": script("migrator.sql('nonsense')")})

    with (
        rehearsing(server.runner(source), lambda sql, params: None) as twin,
        pytest.raises(MigrationFailed) as failed,
    ):
        twin.migrate()

    assert failed.value.report.failed == ["app/002_b"]
    database = server.database()
    with database.connection_context():
        assert database.get_tables() == []

"""Least rights on PostgreSQL: looking needs the right to read, migrating that to change the schema it works in."""

import uuid

import pytest
import servers
import ship_schema
from script_texts import creates

from framework_schema import shipped
from framework_schema.config import Config
from framework_schema.doctor import diagnose
from framework_schema.expected import _made as made
from framework_schema.rehearsal import rehearse
from framework_schema.report import State
from framework_schema.runner import Runner
from framework_schema.sources import FRAMEWORK

SCRATCH = "GRANT CREATE ON DATABASE"


@pytest.fixture
def fresh():
    with servers.Fresh("postgresql") as fresh:
        yield fresh


@pytest.fixture(autouse=True)
def nothing_tried():
    """Forget what a scratch of another user's showed in this process."""
    made.cache_clear()


@pytest.fixture
def role(fresh):
    """A role that may log in and nothing else; how it is called, and the URL."""
    name = f"fs_role_{uuid.uuid4().hex[:8]}"
    servers.run("postgresql", fresh.url, f"CREATE ROLE {name} LOGIN")
    yield name, fresh.url.replace("://postgres@", f"://{name}@")
    servers.run("postgresql", fresh.url, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def runner_of(url, *sources):
    return Runner(url, list(sources) or None, config=Config(backup="never", timeout=20))


def test_what_ships_is_what_the_scripts_make_on_this_server(fresh):
    found, ships = ship_schema.read(fresh.url), shipped.shipped("postgresql")
    if found.version != ships.version:
        pytest.skip(
            f"what ships was read from PostgreSQL {ships.version}, this is {found.version}, which tries for itself"
        )

    assert shipped.dump(found) == shipped.dump(ships), "run: python tests/ship_schema.py postgresql"


def test_what_ships_is_known_as_far_as_scripts_ran_and_not_of_others(fresh, folder):
    ships, runner = shipped.shipped("postgresql"), runner_of(fresh.url)
    known = [m for m in runner.known.migrations if m.source == FRAMEWORK]

    assert "Dashboard" not in ships.snapshot(known[:3], "schema_migrations").tables
    assert set(ships.snapshot([], "schema_migrations").tables) == {"schema_migrations", "schema_migration_events"}
    pairs = [(one, two) for one in ships.steps[1:] for two in ships.steps if one.tables.keys() & two.tables.keys()]
    first = next(one for one, two in pairs if ships.steps.index(one) < ships.steps.index(two))
    assert ships.snapshot([m for m in known if m.key != first.key], "schema_migrations") is None
    assert ships.snapshot(known, "other_name") is None
    others = runner_of(fresh.url, folder({"001_a": creates("A")})).known.migrations
    assert ships.snapshot(others, "schema_migrations") is None


@pytest.mark.parametrize("state", ["migrated", "with a pending script", "empty"])
@pytest.mark.parametrize("own", [False, True], ids=["framework", "and an app"])
def test_looking_needs_no_more_than_the_right_to_read(fresh, role, folder, state, own):
    name, url = role
    source = folder({"001_a": creates("A")})
    sources = [*runner_of(fresh.url).sources, source] if own else []
    if state != "empty":
        to = "framework/030_milestone_days" if state == "with a pending script" else None
        runner_of(fresh.url, *sources).migrate(to=to)
    servers.run("postgresql", fresh.url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    made.cache_clear()
    runner, wanted = runner_of(url, *sources), State.CURRENT if state == "migrated" else State.PENDING

    report, drift, dry = runner.status(), runner.drift(strict=True), rehearse(runner_of(url, *sources))

    assert report.state is wanted and dry.state is wanted
    assert any(SCRATCH in note for note in report.notes) is own
    assert state != "migrated" or not drift
    assert bool(runner.plan()) is (wanted is State.PENDING)
    assert state == "empty" or len(runner.history()) > 10
    assert [finding for finding in diagnose(runner) if "permission" in finding.what] == []
    assert any("may only read" in note for note in dry.notes) is (wanted is State.PENDING)


@pytest.mark.parametrize("own", [False, True], ids=["framework", "and an app"])
def test_migrating_needs_no_more_than_the_right_to_change_the_schema(fresh, role, folder, own):
    name, url = role
    servers.run("postgresql", fresh.url, f"GRANT CREATE, USAGE ON SCHEMA public TO {name}")
    sources = [*runner_of(url).sources, folder({"001_a": creates("A")})] if own else []

    report = runner_of(url, *sources).migrate(strict=True)

    assert report.state is State.MIGRATED and not report.left
    assert any(SCRATCH in note for note in report.notes) is own
    assert runner_of(url, *sources).migrate(strict=True).state is State.CURRENT
    servers.run("postgresql", url, 'DROP TABLE "SavedSearch"')
    assert runner_of(url, *sources).migrate().aligned == ("table SavedSearch",)


def test_a_table_of_somebody_else_is_left_and_the_owner_is_asked_for(fresh, role):
    name, url = role
    runner_of(fresh.url).migrate()
    servers.run(
        "postgresql", fresh.url, 'ALTER TABLE "Note" ALTER note_text DROP NOT NULL', 'DROP TABLE "SavedSearch"',
        f"GRANT CREATE ON SCHEMA public TO {name}", f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}",
    )  # fmt: skip

    report = runner_of(url).migrate(strict=True)

    assert "table SavedSearch" in report.aligned
    assert [item["table"] for item in report.left] == ["Note"]
    assert "owner of the table" in report.left[0]["reason"]

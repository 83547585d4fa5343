"""Any past on MariaDB: every historical database, moved by a public tool or written by hand, ends with one schema."""

import re
from collections import Counter

import pasts_mariadb as pasts
import pytest
import servers
from histories import IDS

from framework_schema.config import Config
from framework_schema.report import State
from framework_schema.runner import Runner

OWN = re.compile(r"schema_migration|_set_aside|_repaired")


@pytest.fixture
def past():
    with servers.Fresh("mariadb") as fresh:
        yield fresh.url


@pytest.fixture(scope="module")
def one_schema():
    """The hash of a database that never was anything else."""
    with servers.Fresh("mariadb") as fresh:
        runner(fresh.url).migrate(strict=True)
        return runner(fresh.url).drift(strict=True).digest


def runner(url):
    return Runner(url, config=Config(backup="never", timeout=20))


@pytest.mark.parametrize("name", IDS)
def test_a_history_moved_by_a_public_tool_ends_with_the_one_schema(past, historical, name, one_schema):
    pasts.move(historical[name], past)

    ends_as_it_should(past, one_schema)


COMBINED = [(form, IDS[number % len(IDS)]) for number, form in enumerate(pasts.FORMS)]


@pytest.mark.parametrize(("form", "name"), COMBINED)
def test_a_history_written_by_hand_ends_with_the_one_schema(past, historical, form, name, one_schema):
    pasts.write(historical[name], past, pasts.FORMS[form])

    ends_as_it_should(past, one_schema)


def ends_as_it_should(url, one_schema):
    """Plain, then strict, then nothing to do; and no row is lost on the way."""
    before = pasts.contents(url)

    first = runner(url).migrate()

    assert first.state is State.MIGRATED and not first.failed
    lost(before, pasts.contents(url), whole=False)
    middle = pasts.contents(url)
    strict = runner(url).migrate(strict=True, repair=True)
    assert not strict.left, [(item["what"], item["rows"], item["reason"]) for item in strict.left]
    lost(middle, pasts.contents(url), whole=True)
    assert not runner(url).drift(strict=True), [d.text for d in runner(url).drift(strict=True).structural]
    assert runner(url).drift(strict=True).digest == one_schema
    rested = events(url)
    assert runner(url).migrate(strict=True, repair=True).state is State.CURRENT
    assert runner(url).migrate().state is State.CURRENT
    assert events(url) == rested


def lost(before, after, *, whole):
    """Find no row of before that is not there after, here or set aside; ``whole`` compares every value."""
    kept = Counter()
    for table, found in after.items():
        name = re.sub(r"_(set_aside|repaired)(_\d+)?\Z", "", table)
        kept[name] += len(found)
    for table, rows in before.items():
        if OWN.search(table):
            continue
        assert kept[table] >= len(rows), table
        if whole:
            there = after[table] + [r for name, found in after.items() if name.startswith(f"{table}_") for r in found]
            columns = list(rows[0]) if rows else []
            known = Counter(tuple(str(row.get(c)) for c in columns) for row in there if set(columns) <= row.keys())
            wanted = Counter(tuple(str(row[c]) for c in columns) for row in rows)
            missing = wanted - known
            assert not missing, (table, columns, list(missing)[:2])


def events(url):
    return servers.run("mariadb", url, "SELECT count(*), max(id) FROM schema_migration_events")

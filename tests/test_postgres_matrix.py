"""Every history as a PostgreSQL database: moved by pgloader, and as somebody would have written it by hand."""

import os
import shutil
import subprocess
from collections import Counter
from datetime import datetime
from decimal import Decimal

import by_hand
import histories
import pytest
import servers
import sqlite_files as files
from test_histories import MAY_CHANGE

from framework_schema.config import Config
from framework_schema.report import State
from framework_schema.runner import Runner

CONFIG = Config(backup="never", timeout=30)
KEPT = ("_set_aside", "_repaired")
"""What the tables are called that hold what --repair set aside."""


def need_pgloader():
    """Skip where the mover is missing, unless it is required."""
    if shutil.which("pgloader"):
        return
    if "pgloader" in os.environ.get("FRAMEWORK_SCHEMA_TEST_REQUIRE", "").split(","):
        pytest.fail("pgloader is required (apt install pgloader)")
    pytest.skip("no pgloader (apt install pgloader)")


def moved(path, url):
    done = subprocess.run(
        ["pgloader", "--with", "quote identifiers", f"sqlite://{path}", url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def written(path, url):
    by_hand.build("postgresql", path, url)


FORMS = {"pgloader": moved, "by hand": written}


def plain(value):
    """Bring a value of either engine to one form."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).replace(tzinfo=None)
        except ValueError:
            return value
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    return float(f"{value:.6g}") if isinstance(value, bool | int | float | Decimal) else value


def rows_of(url, table, columns):
    listed = ", ".join(f'"{column}"' for column in columns)
    return servers.run("postgresql", url, f'SELECT {listed} FROM "{table}"')


def tables_of(url):
    query = (
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    return [name for (name,) in servers.run("postgresql", url, query)]


def content(path, url):
    """Return the rows that the mover brought, the columns aside that a data migration fills."""
    found = {}
    for table, columns in files.tables(path).items():
        same = [column for column in columns if f"{table}.{column}" not in MAY_CHANGE]
        found[table, tuple(same)] = Counter(tuple(map(plain, row)) for row in rows_of(url, table, same))
    return found


def lost(before, url):
    """Yield every row that the database no longer has, be it set aside."""
    names = tables_of(url)
    for (table, columns), rows in before.items():
        places = [name for name in names if name == table or any(name.startswith(table + kept) for kept in KEPT)]
        now = Counter(tuple(map(plain, row)) for place in places for row in rows_of(url, place, columns))
        for row in rows - now:
            yield table, row


def state_of(url):
    """All that a run could have written, the history's own tables too."""
    query = 'SELECT count(*), coalesce(sum(hashtext(t::text || xmin::text)::bigint), 0) FROM "{}" AS t'
    return {name: servers.run("postgresql", url, query.format(name)) for name in tables_of(url)}


@pytest.fixture(scope="module")
def wanted():
    """The hash that a database has which the scripts alone have made."""
    with servers.Fresh("postgresql") as fresh:
        Runner(fresh.url, config=CONFIG).migrate()
        return Runner(fresh.url, config=CONFIG).drift(strict=True).digest


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", histories.IDS)
def test_every_past_ends_with_one_schema_and_no_row_lost(historical, wanted, name, form):
    servers.need("postgresql")
    if form == "pgloader":
        need_pgloader()
    with servers.Fresh("postgresql") as fresh:
        FORMS[form](historical[name], fresh.url)
        before = content(historical[name], fresh.url)
        assert {table: sum(rows.values()) for (table, _), rows in before.items()} == {
            table: len(files.rows(historical[name], table)) for table in files.tables(historical[name])
        }

        report = Runner(fresh.url, config=CONFIG).migrate()
        assert report.state is State.MIGRATED and list(lost(before, fresh.url)) == []

        strict = Runner(fresh.url, config=CONFIG).migrate(strict=True)
        assert [item["text"] for item in strict.left if not item["rows"]] == []
        repaired = Runner(fresh.url, config=CONFIG).migrate(strict=True, repair=True)
        assert [item["text"] for item in repaired.left] == []
        drift = Runner(fresh.url, config=CONFIG).drift(strict=True)
        assert ([d.text for d in drift.differences if not d.extra], drift.digest) == ([], wanted)
        assert list(lost(before, fresh.url)) == []

        state = state_of(fresh.url)
        assert Runner(fresh.url, config=CONFIG).migrate(strict=True).state is State.CURRENT
        assert state_of(fresh.url) == state

"""A type that differs: which values a strict run keeps by converting the column, and which keep the column as it is."""

import itertools
import sqlite3
from contextlib import closing

import pytest
import sqlite_files as files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from script_texts import sql

TYPES = ("TEXT", "INTEGER", "REAL", "NUMERIC", "BOOLEAN", "TIMESTAMP", "BLOB", "")

VALUES = (
    "'00710'", "'1.10'", "'2'", "' 12 '", "'1e3'", "'abc'", "''", "'0x10'", "'2024-01-01'", "'true'", "'-0'", "'5.0'",
    "0", "1", "-1", "2.5", "3.0", "1e300", "0.1", "0.30000000000000004", "9007199254740993", "-9223372036854775808",
    "x'3132'", "x''", "NULL",
)  # fmt: skip
LOSSLESS = {
    ("TEXT", "INTEGER"): {"'2'", "'abc'", "''", "'0x10'", "'2024-01-01'", "'true'"},
    ("TEXT", "REAL"): {"'abc'", "''", "'0x10'", "'2024-01-01'", "'true'", "'5.0'"},
    ("INTEGER", "REAL"): {"0", "1", "-1", "2.5", "3.0", "1e300", "0.1", "0.30000000000000004", "'abc'", "''"},
    ("REAL", "TEXT"): {"2.5", "3.0", "0.1", "0", "1"},
    ("INTEGER", "TEXT"): {"0", "1", "-1", "9007199254740993", "-9223372036854775808", "'abc'", "2.5"},
}
"""Some pairs spelled out, so that the rule is not only tested against itself."""
LOSSY = {
    ("TEXT", "INTEGER"): {"'00710'", "'1.10'", "' 12 '", "'1e3'", "'-0'", "'5.0'"},
    ("TEXT", "REAL"): {"'00710'", "'1.10'", "' 12 '", "'1e3'", "'2'"},
    ("INTEGER", "REAL"): {"9007199254740993"},
    ("REAL", "TEXT"): {"0.30000000000000004"},
    ("INTEGER", "TEXT"): {"0.30000000000000004"},
}


def migrated(folder, runner, path, old, new, values):
    """Return the values before and after a strict run over a column of another type, and the report."""
    path.unlink(missing_ok=True)
    files.run(path, f"CREATE TABLE part (id INTEGER PRIMARY KEY, code {old})")
    for value in values:
        files.run(path, f"INSERT INTO part (code) VALUES ({value})")
    before = stored(path)
    source = folder({"001_part": sql(f"CREATE TABLE IF NOT EXISTS part (id INTEGER PRIMARY KEY, code {new})")})
    report = runner(source).migrate(strict=True)
    return before, stored(path), report


def stored(path):
    return files.query(path, "SELECT code, typeof(code), CAST(code AS TEXT) FROM part ORDER BY id")


def through(kind, value):
    """Return what a column of a type makes of a value, and the storage class that it has there."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE probe (value {kind})")
        connection.execute("INSERT INTO probe VALUES (?)", (value,))
        return connection.execute("SELECT value, typeof(value) FROM probe").fetchone()


def type_of(path):
    return files.query(path, "SELECT type FROM pragma_table_info('part') WHERE name = 'code'")[0][0]


@pytest.mark.parametrize(("pair", "value"), [(pair, v) for pair, values in LOSSLESS.items() for v in sorted(values)])
def test_a_value_that_comes_back_as_it_was_lets_the_type_change(folder, runner, path, pair, value):
    _, _, report = migrated(folder, runner, path, *pair, [value])

    assert report.left == ()
    assert type_of(path) == pair[1]


@pytest.mark.parametrize(("pair", "value"), [(pair, v) for pair, values in LOSSY.items() for v in sorted(values)])
def test_a_value_that_would_not_keeps_the_type_and_is_named(folder, runner, path, pair, value):
    before, after, report = migrated(folder, runner, path, *pair, ["NULL", value])

    assert after == before
    assert type_of(path) == pair[0]
    (left,) = report.left
    assert (left["kind"], left["rows"], left["repair"]) == ("type", 1, True)
    assert files.query(path, left["query"]) == [(before[1][0],)]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pair=st.sampled_from(list(itertools.permutations(TYPES, 2))),
    values=st.lists(
        st.one_of(
            st.sampled_from(VALUES),
            st.integers(-(2**63), 2**63 - 1).map(str),
            st.floats(allow_nan=False, allow_infinity=False).map(repr),
            st.integers(0, 10**20).map(lambda number: f"'{number}'"),
            st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda number: f"'{number}'"),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_no_value_changes_its_text_unless_its_old_type_gives_it_back(folder, runner, path, pair, values):
    before, after, report = migrated(folder, runner, path, *pair, values)

    for (was, kind, text), (now, _, new_text) in zip(before, after, strict=True):
        assert (was, kind) == through(pair[0], now) or (kind == "text" and text == new_text)
    assert bool(report.left) == (type_of(path) == pair[0])

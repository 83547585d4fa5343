"""Memory must not grow with the rows of a table."""

import pytest
import sqlite_files as files

MEMORY = """
    import resource, sys
    from framework_schema.runner import Runner

    Runner(sys.argv[1]).migrate(strict=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
SMALL, LARGE = 1_000, 1_000_000
ALLOWANCE_KB = 24 * 1024
"""SQLite's page cache, 2 MB a connection, the sorter of an index, and the noise of two processes."""


def entries(path, rows):
    """Make an ``Entry`` of the past: other types, no foreign key, no index, ``rows`` rows."""
    files.run(path, "CREATE TABLE EntryType (id INTEGER PRIMARY KEY, name, singular_label, plural_label)")
    files.run(path, "INSERT INTO EntryType VALUES (1, 'a', 'b', 'c')")
    files.run(path, "CREATE TABLE Entry (id INTEGER PRIMARY KEY, title VARCHAR(500), entry_type_id INT, created_at)")
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
    files.run(path, f"INSERT INTO Entry {numbers} SELECT i, 'entry ' || i, 1, '2025-01-01 10:00:00' FROM n")
    return path


@pytest.mark.slow
def test_a_million_rows_are_rebuilt_in_the_memory_of_a_thousand(tmp_path, python):
    small, large = (entries(tmp_path / f"{rows}.db", rows) for rows in (SMALL, LARGE))

    needed = [int(python(MEMORY, path).stdout) for path in (small, large)]

    assert files.query(large, "SELECT count(*), max(title) FROM Entry") == [(LARGE, "entry 999999")]
    assert "REFERENCES" in files.query(large, "SELECT sql FROM sqlite_master WHERE name = 'Entry'")[0][0]
    assert needed[1] - needed[0] < ALLOWANCE_KB

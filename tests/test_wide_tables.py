"""Tables with as many columns as SQLite takes, 2,000 (https://www.sqlite.org/limits.html)."""

import time

import pytest
import sqlite_files as files
from script_texts import sql

from framework_schema.runner import Runner

EXTRA = ", ".join(f"c{number} TEXT" for number in range(1998))


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("id INTEGER PRIMARY KEY", id="rowid"),
        pytest.param("id INTEGER PRIMARY KEY AUTOINCREMENT", id="autoincrement"),
        pytest.param("id TEXT PRIMARY KEY NOT NULL", id="without rowid"),
    ],
)
def test_a_table_as_wide_as_can_be_is_made_strict_in_seconds(path, folder, key):
    options = "WITHOUT ROWID" if "TEXT" in key else ""
    wanted = folder({"001_wide": sql(f"CREATE TABLE wide ({key}, a TEXT NOT NULL) {options}")})
    Runner(path, [wanted]).migrate()
    files.run(
        path,
        f"""DROP TABLE wide; CREATE TABLE wide ({key}, a TEXT, {EXTRA}) {options};
        INSERT INTO wide (id, a, c7, c1997) VALUES (3, 'x', 'y', 'z')""",
    )
    begun = time.perf_counter()

    report = Runner(path, [wanted]).migrate(strict=True)

    assert time.perf_counter() - begun < 20  # 1.2 s on two cores; 120 s did not do where each column was an edit
    assert (report.aligned, report.left) == (("rebuilt table wide",), ())
    assert files.query(path, "SELECT CAST(id AS INT), a, c7, c1997 FROM wide") == [(3, "x", "y", "z")]
    assert len(files.columns(path, "wide")) == 2000

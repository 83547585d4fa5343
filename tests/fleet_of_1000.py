"""A fleet of many databases with mixed histories, ten of them broken in ten ways: build it, migrate it, check it.

    python tests/fleet_of_1000.py DIRECTORY [--number 1000] [--jobs 1]

Each database is one of the fifteen historical ones with accidents of its own:
rows gone, an index dropped, foreign tables and columns, a table lost, another
journal mode, names recorded that had no effect. Prints what came out, and
exits with 1 when anything is not as it must be.
"""

import argparse
import ctypes
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path

import histories

COMMAND = (sys.executable, "-m", "framework_schema")


def build(folder, number, seed=1000):
    """Write ``number`` databases; the last ten are broken. Returns the broken ones' cause by name."""
    folder.mkdir(parents=True)
    templates = folder.parent / "templates"
    originals = sorted(histories.build_all(templates))
    for place in range(number):
        path = folder / f"app{place:04}.db"
        shutil.copyfile(originals[place % len(originals)], path)
        rng = random.Random(seed + place)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for accident in rng.sample(ACCIDENTS, rng.randint(0, 3)):
                accident(connection, rng)
    shutil.rmtree(templates)
    paths = sorted(folder.iterdir())[-len(BREAKS) :] if number >= len(BREAKS) else []
    for path, (breaks, _) in zip(paths, BREAKS.values(), strict=True):
        breaks(path)
    return {path.name: cause for path, (_, cause) in zip(paths, BREAKS.values(), strict=True)}


def tables(connection):
    sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    return [name for (name,) in connection.execute(sql)]


def loses_rows(connection, rng):
    connection.execute(f'DELETE FROM "{rng.choice(tables(connection))}" WHERE rowid % 2 = 0')


def loses_an_index(connection, rng):
    sql = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    found = [name for (name,) in connection.execute(sql)]
    if found:
        connection.execute(f'DROP INDEX "{rng.choice(found)}"')


def loses_a_table(connection, rng):
    connection.execute(f'DROP TABLE "{rng.choice(tables(connection))}"')


def gains_a_table(connection, rng):
    connection.execute(f"CREATE TABLE plugin_{rng.randrange(100)} (a TEXT PRIMARY KEY, b)")


def gains_a_column(connection, rng):
    connection.execute(f'ALTER TABLE "{rng.choice(tables(connection))}" ADD COLUMN "own column" TEXT DEFAULT \'x\'')


def turns_to_wal(connection, rng):
    connection.execute("PRAGMA journal_mode = wal").fetchone()


def records_what_had_no_effect(connection, rng):
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, migration_name TEXT "
        "UNIQUE NOT NULL, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, success BOOLEAN DEFAULT TRUE, "
        "error_message TEXT, execution_time_ms INTEGER)"
    )
    connection.execute("INSERT OR IGNORE INTO schema_migrations (migration_name) VALUES ('add_dashboard_tables.py')")


ACCIDENTS = [
    loses_rows,
    loses_an_index,
    loses_a_table,
    gains_a_table,
    gains_a_column,
    turns_to_wal,
    records_what_had_no_effect,
]


def runs(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def is_text(path):
    path.write_text("these are notes, not rows\n" * 500)


def is_empty(path):
    path.write_bytes(b"")


def is_cut(path):
    os.truncate(path, path.stat().st_size // 2)


def is_folder(path):
    path.unlink()
    path.mkdir()


def is_pipe(path):
    path.unlink()
    os.mkfifo(path)


def is_ahead(path):
    records_what_had_no_effect(connection := sqlite3.connect(path, isolation_level=None), None)
    connection.execute("INSERT INTO schema_migrations (migration_name) VALUES ('framework/999_future')")
    connection.close()


def is_of_rails(path):
    runs(path, "DROP TABLE IF EXISTS schema_migrations", "CREATE TABLE schema_migrations (version varchar PRIMARY KEY)")


def has_a_view_in_the_way(path):
    runs(path, "DROP TABLE IF EXISTS AISummaryCache", "CREATE VIEW AISummaryCache AS SELECT 1 AS id")


def is_read_only(path):
    path.chmod(0o444)


def is_held(path):
    """Nothing is changed: another process holds it while the fleet runs."""


BREAKS = {
    "text": (is_text, ("unreadable", "not a SQLite database")),
    "empty": (is_empty, ("unreadable", "empty (0 bytes)")),
    "cut": (is_cut, ("unreadable", "damaged")),
    "folder": (is_folder, ("unreadable", "is a directory")),
    "pipe": (is_pipe, ("unreadable", "no regular file")),
    "ahead": (is_ahead, ("ahead", "framework/999_future")),
    "rails": (is_of_rails, ("failed", "belongs to another tool")),
    "view": (has_a_view_in_the_way, ("failed", "AISummaryCache")),
    "read-only": (is_read_only, ("unreadable", "read-only")),
    "held": (is_held, ("locked", "another process holds")),
}


@contextmanager
def held(path):
    """Hold one database's lock from another process."""
    text = (
        f"import sqlite3, sys\nc = sqlite3.connect({str(path)!r}, isolation_level=None)\n"
        "c.execute('BEGIN EXCLUSIVE'); print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        yield
        holder.stdin.close()


def as_a_plain_user():
    """Give up root's right to write what is read-only."""
    if os.getuid() == 0:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


def run(*words):
    """Run the command as a plain user; return its exit code, its JSON and the seconds it took."""
    started = time.perf_counter()
    done = subprocess.run(
        [*COMMAND, *words, "--json", "-q"], capture_output=True, preexec_fn=as_a_plain_user, check=False
    )
    return done.returncode, json.loads(done.stdout), time.perf_counter() - started, done.stderr.decode()


def footprint(folder):
    """Hash every file with its time, and the folder's listing."""
    found = {}
    for path in sorted(folder.iterdir()):
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        found[path.name] = (content, path.stat().st_mtime_ns)
    return found


def problems(report, causes):
    """Return what is not as it must be after the first run."""
    for item in report["databases"]:
        name = Path(item["name"]).name
        state, text = causes.get(name, ("migrated", ""))
        if item["state"] != state or text not in str(item["error"]):
            yield f"{name}: {item['state']}: {item['error']}, and it should be {state}: {text}"


def check(folder, number, jobs):
    """Build, migrate twice, and compare; yield lines for people and return whether all is as it must be."""
    causes = build(folder, number)
    broken = sorted(folder.iterdir())[-1]
    size = sum(path.stat().st_size for path in folder.iterdir()) // 2**20
    yield f"built {number} databases, {size} MB, {len(causes)} of them broken", True
    with held(broken):
        code, report, spent, errors = run("migrate", str(folder), "--jobs", str(jobs), "--timeout", "1")
        wrong = list(problems(report, causes))
        states = dict(Counter(item["state"] for item in report["databases"]))
        yield (
            f"first run, {jobs} jobs: {spent:.1f} s, {1000 * spent / number:.0f} ms each, exit {code}, {states}",
            code == 3,
        )
        yield from ((line, False) for line in wrong)
        yield f"stderr: {errors[:300]!r}", not errors
        tried_again = {item["name"] for item in report["databases"] if item["failed"]}
        before = footprint(folder)
        code, report, spent, _ = run("migrate", str(folder), "--jobs", str(jobs), "--timeout", "1")
        states = dict(Counter(item["state"] for item in report["databases"]))
        yield f"second run: {spent:.1f} s, {1000 * spent / number:.1f} ms each, exit {code}, {states}", code == 3
        changed = {name for name, value in footprint(folder).items() if before.get(name) != value}
        changed -= {Path(name).name for name in tried_again}
        yield (
            f"second run changed {changed or 'no byte, no time, no file'}, failed scripts tried again aside",
            not changed,
        )
    code, report, spent, _ = run("check", str(folder), "--jobs", str(jobs), "--timeout", "1")
    lacking = [item["name"] for item in report["databases"] if any(d["additive"] for d in item["drift"])]
    lacking = [name for name in lacking if Path(name).name not in causes]
    yield f"check: {spent:.1f} s, {lacking or 'none'} of the healthy ones lacks anything", not lacking


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    good = True
    for line, is_good in check(asked.directory / "data", asked.number, asked.jobs):
        good &= is_good
        print("ok  " if is_good else "BAD ", line, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

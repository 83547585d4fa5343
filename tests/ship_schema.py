"""Read from a server what the framework's scripts define there, and write it where the package ships it.

    python tests/ship_schema.py postgresql [URL]

A test compares what ships with what the server at hand says.
"""

import sys
from pathlib import Path

import servers

from framework_schema import shipped
from framework_schema.dialects import for_database
from framework_schema.expected import call, orm_of
from framework_schema.history import History
from framework_schema.marks import TABLE
from framework_schema.runner import Runner
from framework_schema.snapshot import Snapshot
from framework_schema.sources import FRAMEWORK


def read(url):
    """Run the framework's scripts one by one in a scratch of this server, and see what each leaves."""
    runner = Runner(url)
    known = [migration for migration in runner.known.migrations if migration.source == FRAMEWORK]
    with runner.target.connected() as live, runner.dialect.scratch(live).opened() as database:
        dialect, steps, before = for_database(database), [], Snapshot({})
        version = int(str(database.server_version)[:2])
        for migration in [None, *known]:
            if migration is None:
                History(database, TABLE).ensure_tables()
            else:
                with dialect.step(database, migration.key):
                    call(migration, database, dialect.operations(database), orm_of((), database))
            with dialect.reading_scratch(database):
                after = dialect.snapshot(database, structural=True)
            key, checksum = (migration.key, migration.checksum) if migration else ("", "")
            steps.append(shipped.Step(key, checksum, *shipped.steps_between(before, after)))
            before = after
    return shipped.Shipped(version, tuple(steps))


if __name__ == "__main__":
    engine = sys.argv[1]
    with servers.Fresh(engine) as fresh:
        text = shipped.dump(read(sys.argv[2] if len(sys.argv) > 2 else fresh.url))
    place = Path(shipped.__file__).with_name(f"shipped_{engine}.json")
    place.write_text(text, encoding="utf-8")
    print(len(text), "characters in", place)

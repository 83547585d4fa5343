"""``kill -9`` on servers: the next run finishes, nothing is lost, done twice, or left behind.

``FRAMEWORK_SCHEMA_KILLS`` is how often to kill on each engine, 12 by default, spread over what can be done. Half of the
kills are at a statement, which are gone through evenly, half at a moment.
"""

import itertools
import json
import os
import random
from collections import Counter
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest
import servers
import sqlite_files as files
import zygote
from conftest import Engine
from script_texts import script

from framework_schema.mysql import SCRATCH
from framework_schema.transfer import PROGRESS_TABLE

ACTIONS = ["migrate", "strict", "undo", "fleet", "backup", "copy to", "copy from"]
KILLS = int(os.environ.get("FRAMEWORK_SCHEMA_KILLS", "12")) // len(ACTIONS)
PARENTS, CHILDREN = 60, 400

FIRST = """
@migrator.create_model
class Parent(pw.Model):
    name = pw.CharField(max_length=20, unique=True)
    class Meta:
        table_name = "Parent"
@migrator.create_model
class Child(pw.Model):
    parent = pw.ForeignKeyField(Parent, null=True, on_delete="CASCADE")
    size = pw.IntegerField(null=True)
    code = pw.CharField(max_length=8, null=True)
    class Meta:
        table_name = "Child"
@migrator.create_model
class Count(pw.Model):
    name = pw.CharField(max_length=20, primary_key=True)
    value = pw.IntegerField(default=0)
    class Meta:
        table_name = "Count"
"""
COUNTED = """
Count = migrator.orm["Count"]
Count.insert(name={name!r}, value=0).execute()
Count.update(value=Count.value + 1).where(Count.name == {name!r}).execute()
"""
UNCOUNTED = """
Count = migrator.orm["Count"]
Count.delete().where(Count.name == {name!r}).execute()
"""
SCRIPTS = {
    "001_first": script(FIRST),
    "002_count": script(COUNTED.format(name="a"), rollback=UNCOUNTED.format(name="a")),
    "003_columns": script(
        "migrator.add_fields('Child', note=pw.CharField(max_length=20, default='x'), is_on=pw.BooleanField(null=True))",
        rollback="migrator.remove_fields('Child', 'note', 'is_on')",
    ),
    "004_data": script(
        "Child = migrator.orm['Child']\nChild.update(size=Child.size + 1).execute()",
        rollback="Child = migrator.orm['Child']\nChild.update(size=Child.size - 1).execute()",
    ),
    "005_rename": script(
        "migrator.rename_field('Child', 'code', 'label')", rollback="migrator.rename_field('Child', 'label', 'code')"
    ),
    "006_index": script(
        "migrator.add_index('Child', 'label', 'size')", rollback="migrator.drop_index('Child', 'label', 'size')"
    ),
    "007_table": script(
        """
        @migrator.create_model
        class Extra(pw.Model):
            name = pw.CharField(max_length=20)
            class Meta:
                table_name = "Extra"
        Parent = migrator.orm["Parent"]
        for number, name in Parent.select(Parent.id, Parent.name).tuples():
            Extra.insert(id=number, name=name).execute()
        """,
        rollback="migrator.remove_model('Extra')",
    ),
    "008_null": script("migrator.add_not_null('Child', 'size')", rollback="migrator.drop_not_null('Child', 'size')"),
    "009_count": script(COUNTED.format(name="b"), rollback=UNCOUNTED.format(name="b")),
}
HEAD = {"001_first": SCRIPTS["001_first"]}
COPIED = {"001_first": SCRIPTS["001_first"]}
LOOSE = (
    'ALTER TABLE "Child" DROP COLUMN note',
    "ALTER TABLE \"Child\" ADD COLUMN own VARCHAR(20) DEFAULT 'mine'",
    {
        "postgresql": 'ALTER TABLE "Child" ALTER COLUMN size TYPE VARCHAR(20), ALTER COLUMN size DROP NOT NULL',
        "mariadb": 'ALTER TABLE "Child" MODIFY COLUMN size VARCHAR(20) NULL',
    },
    'DROP TABLE "Extra"',
)


@pytest.fixture(scope="module")
def processes():
    with zygote.started() as run:
        yield run


def filled(engine, folder):
    """Apply the first script and write rows, as an app would have."""
    engine.runner(folder(HEAD, of="head")).migrate()
    parents = ", ".join(f"({n}, 'parent {n}')" for n in range(1, PARENTS + 1))
    children = ", ".join(f"({n}, {n % PARENTS + 1}, {n}, 'c{n}')" for n in range(1, CHILDREN + 1))
    engine.sql(
        f'INSERT INTO "Parent" (id, name) VALUES {parents}',
        f'INSERT INTO "Child" (id, parent_id, size, code) VALUES {children}',
    )


def loosened(engine):
    engine.sql(*(part if isinstance(part, str) else part[engine.name] for part in LOOSE))


def content(engine, source):
    """Return schema, rows and what the history says; ids and times of the record and of rows set aside apart."""
    with engine.runner(source).target.connected() as database:
        schema = engine.runner(source).dialect.snapshot(database, structural=True)
    found = {"schema": schema.tables}
    for table in schema.tables.values():
        if not table.name.startswith("schema_migration"):
            names = ", ".join(f'"{c.name}"' for c in table.columns.values() if c.name != "set_aside_at")
            found[table.name] = sorted(engine.sql(f'SELECT {names} FROM "{table.name}"'), key=repr)
    rows = 'SELECT migration_name, success FROM "schema_migrations"'
    found["history"] = sorted((key, bool(success)) for key, success in engine.sql(rows))
    return found


def is_between(engine, source, before, after):
    """Whatever was killed: no row of the app is gone, and what the history calls done is done."""
    found = content(engine, source)
    assert {row[0] for row in found["Child"]} == set(range(1, CHILDREN + 1))
    assert len(found["Parent"]) == PARENTS
    done = {key.removeprefix("app/") for key, success in found["history"] if success}
    columns = found["schema"][child_of(found)].columns
    counts = dict(found["Count"])
    # Where a column stands in a row changes with the scripts, its value not.
    sizes = {row[0]: value for row in found["Child"] for value in row[2:3]}
    effects = {
        "002_count": counts.get("a"),
        "003_columns": "note" in columns or None,
        "004_data": {int(size) - key for key, size in sizes.items()} == {1} or None,
        "005_rename": "label" in columns or None,
        "009_count": counts.get("b"),
    }
    for name, effect in effects.items():
        if engine.undoes_ddl:
            assert (effect is not None) == (name in done), name
        elif name in done and before["history"] <= after["history"]:
            assert effect is not None, name
        assert effect in (None, 1, True), name
    return found


def child_of(found):
    return "Child" if "Child" in found["schema"] else "child"


def moments(dice, duration, statements):
    """Yield where to kill: at a moment, then at a statement, and again."""
    number = 0
    while True:
        if number % 2 and statements:
            yield {"kill_at": 2 + int((number / 2 / max(KILLS / 2, 1) % 1) * statements)}
        else:
            yield {"kill_after": dice.random() * duration[0]}
        number += 1


@pytest.mark.slow
@pytest.mark.parametrize("action", ["migrate", "strict", "undo"])
def test_a_run_killed_at_any_moment_is_finished_by_the_next(processes, server, folder, action):
    source = folder(SCRIPTS)

    def fresh(fresh_server):
        engine = Engine(server.name, fresh_server.url)
        filled(engine, folder)
        if action != "migrate":
            engine.runner(source).migrate()
        if action == "strict":
            loosened(engine)
        return engine

    def do(engine, **how):
        return processes(action, engine.url, folder=source.path, to="app/002_count", settings=NEVER, **how)

    with servers.Fresh(server.name) as place:
        engine = fresh(place)
        before = content(engine, source)
        ends, seconds, statements, _ = do(engine)
        assert ends == [0]
        after = content(engine, source)
        assert before != after
    dice, duration, seen = random.Random(f"{action} {server.name}"), [seconds], Counter()
    for moment in moments(dice, duration, statements):
        with servers.Fresh(server.name) as place:
            engine = fresh(place)
            is_killed = do(engine, **moment)[0] == [-9]
            duration[0] *= 1.03 if is_killed else 0.9
            seen["killed" if is_killed else "too late"] += 1
            if action != "strict":
                found = is_between(engine, source, before, after)
                seen["old" if found == before else "new" if found == after else "between"] += 1
            if action != "undo" or any("002_count" in key for key, _ in content(engine, source)["history"]):
                assert do(engine)[0] == [0]
            assert content(engine, source) == after
            assert no_lock_is_left(engine, source)
        if seen["killed"] >= KILLS or seen["too late"] > 3 * KILLS + 10:
            break
    print(f"{action} {server.name}: {dict(seen)}")
    assert seen["killed"] >= KILLS
    assert scratches(server, source) == []


@pytest.mark.slow
def test_a_fleet_killed_at_any_moment_is_finished_by_the_next(processes, server, folder):
    """The first two go through the scripts, the other two get what was proven on them; mostly these are killed."""
    source, count = folder(SCRIPTS), 4

    def fresh(stack):
        engines = [Engine(server.name, stack.enter_context(servers.Fresh(server.name)).url) for _ in range(count)]
        for engine in engines:
            filled(engine, folder)
        return engines

    def do(engines, **how):
        members = [engine.url for engine in engines]
        return processes("fleet", "fleet", folder=source.path, members=members, settings=NEVER, **how)

    with ExitStack() as stack:
        engines = fresh(stack)
        before = content(engines[-1], source)
        ends, seconds, statements, _ = do(engines)
        assert ends == [0]
        after = content(engines[-1], source)
        assert before != after
        _, _, of_scripts, _ = do(fresh(stack)[:2])
        assert statements < 2 * of_scripts, "nothing was repeated"
    dice, duration, seen = random.Random(f"fleet {server.name}"), [seconds], Counter()
    for number in itertools.count():
        if number % 4 == 3:
            moment = {"kill_after": dice.random() * duration[0]}
        else:
            moment = {"kill_at": of_scripts + int(dice.random() * (statements - of_scripts))}
        with ExitStack() as stack:
            engines = fresh(stack)
            is_killed = do(engines, **moment)[0] == [-9]
            seen["killed" if is_killed else "too late"] += 1
            for engine in engines:
                found = is_between(engine, source, before, after)
                seen["old" if found == before else "new" if found == after else "between"] += 1
            assert do(engines)[0] == [0]
            for engine in engines:
                assert content(engine, source) == after, moment
                assert no_lock_is_left(engine, source)
        if seen["killed"] >= KILLS or seen["too late"] > 3 * KILLS + 10:
            break
    print(f"fleet {server.name}: {dict(seen)}")
    assert seen["killed"] >= KILLS


NEVER = {"backup": "never"}


def no_lock_is_left(engine, source):
    """Another run, which will not wait, has the lock at once."""
    runner = engine.runner(source, timeout=1)
    with runner.target.connected() as database, runner.dialect.exclusive(database, "mine"):
        return True


def scratches(server, source):
    """Name the scratch databases that nobody uses and that are there after one more run of anything."""
    with servers.Fresh(server.name) as place:
        Engine(server.name, place.url).runner(source).migrate()
    if server.name == "mariadb":
        named = "SELECT schema_name FROM information_schema.schemata WHERE IS_FREE_LOCK(schema_name)"
        return [name for (name,) in servers.run("mariadb", place.server, named) if SCRATCH in name]
    return server.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'framework_schema%'")


@pytest.mark.slow
def test_a_killed_backup_leaves_no_half_and_the_next_is_whole(processes, server, folder, tmp_path):
    filled(server, folder)
    source = folder(HEAD, of="head")
    settings = {"backup_dir": str(tmp_path / "copies"), "backup_keep": 2}
    ends, seconds, *_ = processes("backup", server.url, folder=source.path, settings=settings)
    assert ends == [0]
    dice, seen = random.Random(server.name), Counter()
    while seen["killed"] < KILLS and seen["too late"] < 3 * KILLS + 10:
        after = dice.random() * seconds
        is_killed = processes("backup", server.url, folder=source.path, settings=settings, kill_after=after)[0] == [-9]
        seen["killed" if is_killed else "too late"] += 1
        seconds *= 1.03 if is_killed else 0.9

        assert processes("backup", server.url, folder=source.path, settings=settings)[0] == [0]
        copies = list((tmp_path / "copies").glob("*.backup"))
        assert copies
        assert all(is_whole(server, copy) for copy in copies)
    print(f"backup {server.name}: {dict(seen)}")
    assert seen["killed"] >= KILLS
    assert list((tmp_path / "copies").glob("*.partial")) == []


def is_whole(server, copy):
    text = copy.read_bytes()
    return text.startswith(b"PGDMP") if server.name == "postgresql" else b"-- Dump completed" in text[-200:]


def is_copied(engine, source):
    """Tell whether the copy had come to its end before the kill; then the target is full, and refused."""
    if engine.name == "sqlite" and not Path(engine.url).exists():
        return False
    return "copied" in {event["kind"] for event in engine.runner(source).history(events=True)}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["to", "from"])
def test_a_killed_copy_is_gone_on_with_and_every_row_is_in_the_target_or_the_reject_file(
    processes, server, folder, tmp_path, way
):
    """Rows that do not fit, and rows without the one they refer to, go to the reject file, killed or not."""
    source, path = folder(COPIED), tmp_path / "app.db"
    local = Engine("sqlite", str(path))
    origin = local if way == "to" else server
    filled(origin, folder)
    if way == "to":
        files.run(path, "UPDATE Child SET code = 'much too long' WHERE id % 97 = 0")
        files.run(path, "PRAGMA foreign_keys = 0; DELETE FROM Parent WHERE id % 20 = 0")
    rejects = tmp_path / "no.jsonl"

    def do(engine, **how):
        more = {"source": str(origin.url), "rejects": str(rejects), "folder": source.path}
        return processes("copy", engine.url, **more, **how)

    def place(number):
        if way == "to":
            return servers.Fresh(server.name)
        return nullcontext()

    def target(number, made):
        return Engine(server.name, made.url) if way == "to" else Engine("sqlite", str(tmp_path / f"{number}.db"))

    def refused():
        lines = rejects.read_text().splitlines() if rejects.exists() else []
        rejects.unlink(missing_ok=True)
        return {(row["table"], row["row"]["id"]) for row in map(json.loads, lines)}

    with place(0) as made:
        engine = target("whole", made)
        ends, seconds, statements, _ = do(engine)
        assert ends == [0]
        after, out = content(engine, source), refused()
        assert bool(out) == (way == "to")
        assert len(after["Child"]) + sum(table == "Child" for table, _ in out) == CHILDREN
    dice, duration, seen = random.Random(f"copy {way} {server.name}"), [seconds], Counter()
    for moment in moments(dice, duration, statements):
        with place(seen.total()) as made:
            engine = target(seen.total(), made)
            is_killed = do(engine, **moment)[0] == [-9]
            duration[0] *= 1.03 if is_killed else 0.9
            seen["killed" if is_killed else "too late"] += 1
            if is_killed and not is_copied(engine, source):
                assert do(engine)[0] == [0], moment
            assert content(engine, source) == after, moment
            assert refused() == out, moment
            assert no_lock_is_left(engine, source)
        if seen["killed"] >= KILLS or seen["too late"] > 3 * KILLS + 10:
            break
    print(f"copy {way} {server.name}: {dict(seen)}")
    assert seen["killed"] >= KILLS
    assert PROGRESS_TABLE not in after["schema"]
    assert not list(Path(tmp_path).glob("*-journal"))

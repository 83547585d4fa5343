"""peewee_migrate's own Router and we run the same chains, and the same tables and rows come out."""

import logging
from contextlib import ExitStack, contextmanager

import pw_chains
import pytest
import servers
from peewee_migrate import Router

from framework_schema import Folder, Runner
from framework_schema.config import Config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*(has been renamed|deprecated in favor):DeprecationWarning"),
]
CHAINS = pw_chains.chains()
HISTORIES = ("migratehistory", "schema_migrations", "schema_migration_events")
CATALOGS = {
    "postgresql": {
        "columns": """SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
            FROM information_schema.columns WHERE table_schema = 'public'""",
        "indexes": "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "rules": """SELECT r.relname, pg_get_constraintdef(c.oid) FROM pg_constraint c
            JOIN pg_class r ON r.oid = c.conrelid WHERE c.contype <> 'n'""",
    },
    "mariadb": {
        "columns": """SELECT table_name, column_name, column_type, is_nullable, column_default, extra
            FROM information_schema.columns WHERE table_schema = DATABASE()""",
        "indexes": """SELECT table_name, index_name, non_unique, group_concat(column_name ORDER BY seq_in_index)
            FROM information_schema.statistics WHERE table_schema = DATABASE() GROUP BY 1, 2, 3""",
        "rules": """SELECT k.table_name, group_concat(k.column_name ORDER BY k.ordinal_position),
                k.referenced_table_name, group_concat(k.referenced_column_name ORDER BY k.ordinal_position),
                r.delete_rule, r.update_rule
            FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r
              ON r.constraint_schema = k.table_schema AND r.constraint_name = k.constraint_name
            WHERE k.table_schema = DATABASE() GROUP BY k.constraint_name, k.table_name, 3, 5, 6""",
    },
}


class There:
    """A database that Router migrates."""

    def __init__(self, database, folder):
        self.database, self.folder = database, folder
        self.names = sorted(path.stem for path in folder.glob("*.py"))

    def migrate(self, to=None):
        Router(self.database, migrate_dir=self.folder).run(to)

    def rollback(self, steps=1):
        for _ in range(steps):
            Router(self.database, migrate_dir=self.folder).rollback()


class Here(There):
    """A database that we migrate."""

    def __init__(self, database, folder, url):
        super().__init__(database, folder)
        self.runner = Runner(url, sources=[Folder(folder)], config=Config(timeout=20, backup="never"))

    def migrate(self, to=None):
        self.runner.migrate(to=to and f"app/{to}")

    def rollback(self, steps=1):
        self.runner.rollback(steps, force=True)


@pytest.fixture(params=CHAINS)
def chain(request, tmp_path):
    """The scripts of one chain, in a folder."""
    logging.getLogger("peewee_migrate").setLevel(logging.CRITICAL)
    return pw_chains.write(CHAINS[request.param], tmp_path / request.param)


@pytest.fixture
def both(engine, tmp_path, chain):
    """The same engine twice: one database for Router, one for us."""
    with ExitStack() as stack:
        other = str(tmp_path / "there.db")
        if engine.name != "sqlite":
            other = stack.enter_context(servers.Fresh(engine.name)).url
        pair = (
            There(stack.enter_context(opened(other)), chain),
            Here(stack.enter_context(opened(engine.url)), chain, engine.url),
        )
        yield pair


@contextmanager
def opened(url):
    """Connect as an app does."""
    database = Runner(url).target.database
    with database.connection_context():
        yield database


def picture(database, engine):
    """Return tables, indexes, rules and rows, as the engine's own catalog tells them."""
    tables = [name for name in database.get_tables() if name not in HISTORIES and not name.startswith("sqlite_")]
    if engine in CATALOGS:
        found = {
            what: sorted(
                (tuple(map(str, row)) for row in database.execute_sql(sql).fetchall() if row[0] in tables), key=repr
            )
            for what, sql in CATALOGS[engine].items()
        }
    else:
        found = {what: pragma(database, tables, what) for what in ("table_xinfo", "index_list", "foreign_key_list")}
    quoted = database.quote[0]
    rows = {t: sorted(map(repr, database.execute_sql(f"SELECT * FROM {quoted}{t}{quoted}").fetchall())) for t in tables}
    return found | {"rows": rows}


def pragma(database, tables, what):
    """Ask SQLite about every table, without what only numbers the answers."""
    found = []
    for table in tables:
        for row in database.execute_sql(f"SELECT * FROM pragma_{what}(?)", (table,)).fetchall():
            index = row[1:4:2] if what == "index_list" else ()
            parts = database.execute_sql("SELECT name FROM pragma_index_info(?)", (row[1],)).fetchall() if index else []
            known = {"table_xinfo": row, "index_list": (row[1], *row[2:], parts), "foreign_key_list": row[2:]}[what]
            found.append((table, *known))
    return sorted(found, key=repr)


def fill(database):
    """Put three rows into every table, parents first; alike in both databases."""
    tables = [name for name in database.get_tables() if name not in HISTORIES and not name.startswith("sqlite_")]
    done = []
    while len(done) < len(tables):
        before = len(done)
        for table in sorted(set(tables) - set(done)):
            parents = {key.column: key for key in database.get_foreign_keys(table)}
            if all(key.dest_table in (*done, table) for key in parents.values()):
                _fill(database, table, parents)
                done.append(table)
        assert len(done) > before, f"{tables} refer to each other"


def _fill(database, table, parents):
    mark = database.quote[0]
    keys = database.get_primary_keys(table)
    there = database.execute_sql(f"SELECT count(*) FROM {mark}{table}{mark}").fetchone()[0]
    for number in range(there + 1, there + 4):
        values = {}
        for column in database.get_columns(table):
            if [column.name] == keys and "int" in column.data_type.lower():
                continue
            if column.name in parents:
                key = parents[column.name]
                wanted = f"SELECT {mark}{key.dest_column}{mark} FROM {mark}{key.dest_table}{mark} ORDER BY 1"
                known = [value for (value,) in database.execute_sql(wanted).fetchall()]
                values[column.name] = None if key.dest_table == table else known[(number - 1) % len(known)]
            elif not column.null or number % 2:
                values[column.name] = _value(column, number)
        names = ", ".join(f"{mark}{name}{mark}" for name in values)
        marks = ", ".join([database.param] * len(values))
        with database.atomic():
            database.execute_sql(f"INSERT INTO {mark}{table}{mark} ({names}) VALUES ({marks})", tuple(values.values()))


def _value(column, number):
    kind = column.data_type.lower()
    if "char" in kind or "text" in kind:
        return f"v{number}"
    if "bool" in kind or "tinyint" in kind:
        return bool(number % 2)
    if "date" in kind or "time" in kind:
        return f"2020-01-0{number % 9 + 1}" if kind == "date" else f"2020-01-0{number % 9 + 1} 00:00:00"
    if "blob" in kind or "bytea" in kind:
        return bytes([number])
    return str(number) * 32 if "uuid" in kind else number


def test_a_fresh_database_becomes_the_same(both, engine):
    there, here = both

    there.migrate()
    here.migrate()

    assert picture(here.database, engine.name) == picture(there.database, engine.name)


def test_one_half_way_with_rows_becomes_the_same_and_goes_back_the_same(both, engine):
    there, here = both
    half = there.names[len(there.names) // 2]
    for side in both:
        side.migrate(to=half)
        fill(side.database)
        side.migrate()
    assert picture(here.database, engine.name) == picture(there.database, engine.name)

    back = [1] * len(there.names) if engine.name == "sqlite" else [len(there.names) // 2, -(-len(there.names) // 2)]
    for steps in back:
        for side in both:
            side.rollback(steps)
        assert picture(here.database, engine.name) == picture(there.database, engine.name), steps
    assert picture(here.database, engine.name)["rows"] == {}


DIFFER = {
    "NULL is allowed again": (
        "migrator.change_fields('d', a=pw.CharField(max_length=9, null=True, unique=True))",
        "SELECT is_nullable FROM information_schema.columns WHERE table_name = 'd' AND column_name = 'a'",
        {"postgresql": (["NO"], ["YES"])},
    ),
    "a unique stays one": (
        "migrator.change_fields('d', a=pw.CharField(max_length=8, unique=True))",
        "SELECT count(*) FROM information_schema.statistics"
        " WHERE table_schema = DATABASE() AND table_name = 'd' AND index_name <> 'PRIMARY'",
        {"mariadb": ([2], [1])},
    ),
}


@pytest.mark.parametrize("name", DIFFER)
def test_a_difference_on_a_server_is_what_the_docs_say(engine, tmp_path, name):
    body, asked, expected = DIFFER[name]
    if engine.name not in expected:
        return
    field = "a = pw.CharField(max_length=9, unique=True)"
    first = pw_chains.text_of(pw_chains.model("D", "d", field), "pass")
    chain = pw_chains.write({"001_a": first, "002_b": pw_chains.text_of(body, "pass")}, tmp_path / "chain")
    with servers.Fresh(engine.name) as other, opened(other.url) as theirs, opened(engine.url) as ours:
        There(theirs, chain).migrate()
        Here(ours, chain, engine.url).migrate()
        found = tuple([row[0] for row in side.execute_sql(asked).fetchall()] for side in (theirs, ours))

    assert found == expected[engine.name]


def test_the_chains_are_as_many_as_is_said():
    assert len(CHAINS) >= 10
    assert sum(map(len, CHAINS.values())) >= 200

import json
import sqlite3
import stat
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import histories
import pytest
import servers
from script_texts import script

from framework_schema.errors import PlanRefused
from framework_schema.runner import Runner
from framework_schema.snapshot import Column
from framework_schema.sources import Folder
from framework_schema.transfer import PROGRESS_TABLE, NotEmpty, copy
from framework_schema.transfer_ends import copied, family
from framework_schema.transfer_values import NUL, Unfit, converter, digest

TABLES = script(
    """
    from framework_schema.fields import BooleanField, RealField, TextField, TextKeyField, TimestampField
    @migrator.create_model
    class Parent(pw.Model):
        name = TextKeyField(unique=True)
        class Meta:
            table_name = "Parent"
    @migrator.create_model
    class Child(pw.Model):
        parent = pw.ForeignKeyField(Parent, null=True, on_delete="CASCADE")
        above = pw.ForeignKeyField("self", null=True, on_delete="CASCADE")
        code = pw.CharField(max_length=5, null=True, unique=True)
        size = pw.IntegerField(null=True, constraints=[pw.Check("size < 1000")])
        part = RealField(null=True)
        is_on = BooleanField(null=True)
        at = TimestampField(null=True)
        text = TextField(null=True)
        raw = pw.BlobField(null=True)
        class Meta:
            table_name = "Child"
    @migrator.create_model
    class Grandchild(pw.Model):
        child = pw.ForeignKeyField(Child, on_delete="CASCADE")
        class Meta:
            table_name = "Grandchild"
    """
)
COLUMNS = "id, parent_id, above_id, code, size, part, is_on, at, text, raw"


@pytest.fixture
def source(tmp_path, folder):
    """An app's SQLite file, with these scripts, current and empty; returns the file, the scripts and what fills it."""
    scripts = folder({"001_tables": TABLES})
    path = tmp_path / "app.db"
    Runner(path, [scripts]).migrate()

    def fill(table, *rows):
        with closing(sqlite3.connect(path)) as connection, connection:
            for row in rows:
                connection.execute(f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(row))})', row)

    return path, scripts, fill


@pytest.fixture(params=["postgresql", "mariadb"])
def target(request):
    with servers.Fresh(request.param) as fresh:
        yield fresh


def rows(target, statement):
    quoted = statement.replace('"', "`") if target.engine == "mariadb" else statement
    return [tuple(row) for row in servers.run(target.engine, target.url, quoted)]


def rejected(report):
    return [json.loads(line) for line in Path(report.rejects).read_text(encoding="utf-8").splitlines()]


def test_every_row_arrives_with_its_values(source, target, tmp_path):
    path, scripts, fill = source
    fill("Parent", (1, "one"), (0, "zero"))
    fill(
        "Child",
        (7, 1, 9, "abc", 3, 0.1, 1, "2025-01-02T03:04:05.678901Z", "tab\tback\\slash\nnew “ü” '\"", b"\x00\xff\\"),
        (8, 0, None, None, "12", 5, "true", "2025-01-02 03:04:05+02:00", 12, None),
        (9, None, None, "", 3.0, 1e300, 0, "2025-01-02", "", b""),
    )

    report = copy(path, target.url, sources=[scripts], rejects=tmp_path / "no.jsonl")

    assert report.is_wanted and report.rejects is None and not (tmp_path / "no.jsonl").exists()
    found = rows(target, f'SELECT {COLUMNS} FROM "Child" ORDER BY id')
    assert [row[:5] for row in found] == [(7, 1, 9, "abc", 3), (8, 0, None, None, 12), (9, None, None, "", 3)]
    assert [row[5] for row in found] == [0.1, 5.0, 1e300]
    assert [bool(row[6]) for row in found] == [True, True, False]
    assert [str(row[7]) for row in found] == [
        "2025-01-02 03:04:05.678901",
        "2025-01-02 01:04:05",
        "2025-01-02 00:00:00",
    ]
    assert [row[8] for row in found] == ["tab\tback\\slash\nnew “ü” '\"", "12", ""]
    assert [row[9] and bytes(row[9]) for row in found] == [b"\x00\xff\\", None, b""]
    assert not Runner(target.url, [scripts]).drift(strict=True)
    here = "current_schema()" if target.engine == "postgresql" else "DATABASE()"
    known = f"SELECT 1 FROM information_schema.tables WHERE table_schema = {here}"
    assert not rows(target, f"{known} AND table_name = '{PROGRESS_TABLE}'")


def test_the_next_row_id_was_never_given_out(source, target, tmp_path):
    path, scripts, fill = source
    fill("Parent", (41, "one"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM sqlite_sequence")
    copy(path, target.url, sources=[scripts], rejects=tmp_path / "no.jsonl")

    servers.run(target.engine, target.url, quoted(target, "INSERT INTO \"Parent\" (name) VALUES ('next')"))

    assert rows(target, "SELECT id FROM \"Parent\" WHERE name = 'next'") == [(42,)]


def quoted(target, statement):
    return statement.replace('"', "`") if target.engine == "mariadb" else statement


def test_what_does_not_fit_goes_to_the_reject_file_with_the_reason_and_stops_nothing(source, target, tmp_path):
    path, scripts, fill = source
    fill("Parent", (1, "one"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        connection.executemany(
            f'INSERT INTO "Child" ({COLUMNS}) VALUES ({", ".join("?" * 10)})',
            [
                (1, 1, None, "ok", 1, None, None, None, None, None),
                (2, 99, None, "orph", 1, None, None, None, None, None),
                (3, None, 2, "grand", 1, None, None, None, None, None),
                (4, 1, None, "too long", 1, None, None, None, None, None),
                (5, 1, None, "a", "many", None, None, None, None, None),
                (6, 1, None, "b", 5000, None, None, None, None, None),
                (7, 1, None, "c", 1, None, None, "yesterday", None, None),
                (8, 1, None, "d", 2**40, None, None, None, None, None),
                (9, 1, None, "last", 1, None, None, None, None, None),
            ],
        )
        connection.execute('INSERT INTO "Grandchild" VALUES (1, 3), (2, 1)')

    report = copy(path, target.url, sources=[scripts], rejects=tmp_path / "no.jsonl")

    reasons = {(item["table"], item["row"]["id"]): item["reason"] for item in rejected(report)}
    assert not report.is_wanted and report.rejected == 8 and not report.left
    assert all(table.is_equal for table in report.tables)
    assert rows(target, 'SELECT id FROM "Child" ORDER BY id') == [(1,), (9,)]
    assert rows(target, 'SELECT id FROM "Grandchild"') == [(2,)]
    for key, part in {
        ("Child", 2): "no row of", ("Child", 3): "no row of", ("Grandchild", 1): "no row of",
        ("Child", 4): "8 characters where 5 fit", ("Child", 5): "is no number", ("Child", 6): "size",
        ("Child", 7): "is no moment", ("Child", 8): "beyond 32 bits",
    }.items():  # fmt: skip
        assert part in reasons[key].lower() or part in reasons[key]
    assert stat.S_IMODE((tmp_path / "no.jsonl").stat().st_mode) == 0o600


def test_a_target_with_rows_is_refused_unless_they_may_go(source, target, tmp_path):
    path, scripts, fill = source
    fill("Parent", (1, "one"))
    Runner(target.url, [scripts]).migrate()
    servers.run(target.engine, target.url, quoted(target, "INSERT INTO \"Parent\" (name) VALUES ('old')"))

    with pytest.raises(NotEmpty, match="--replace"):
        copy(path, target.url, sources=[scripts])
    report = copy(path, target.url, sources=[scripts], replace_rows=True, rejects=tmp_path / "no.jsonl")

    assert report.is_wanted
    assert rows(target, 'SELECT id, name FROM "Parent"') == [(1, "one")]


def test_a_stopped_copy_goes_on_where_it_was(source, target, tmp_path):
    path, scripts, fill = source
    fill("Parent", (1, "one"))
    fill("Child", *((n, 1, None, None, 1, None, None, None, None, None) for n in range(1, 30)))
    fill("Grandchild", (1, 1))

    def stop(table, done, total):
        if table == "Grandchild":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(path, target.url, sources=[scripts], progress=stop, batch=10, rejects=tmp_path / "no.jsonl")
    report = copy(path, target.url, sources=[scripts], rejects=tmp_path / "no.jsonl")

    assert report.is_wanted
    assert {table.name: table.earlier for table in report.tables} == {
        "Parent": True,
        "Child": True,
        "Grandchild": False,
    }
    assert not Runner(target.url, [scripts]).drift(strict=True)


def test_extras_are_named_and_taken_along_on_request(source, target, tmp_path):
    path, scripts, _ = source
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute('ALTER TABLE "Parent" ADD COLUMN own TEXT')
        connection.execute("CREATE TABLE Mine (id INTEGER PRIMARY KEY, name TEXT UNIQUE, parent_id INTEGER "
                           'REFERENCES "Parent" (id), at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)')  # fmt: skip
        connection.execute("INSERT INTO \"Parent\" VALUES (1, 'one', 'kept')")
        connection.execute("INSERT INTO Mine VALUES (1, 'x', 1, '2025-01-01 00:00:00')")
        connection.execute("CREATE INDEX mine_by_parent ON Mine (parent_id DESC, at)")
        connection.execute('CREATE INDEX parent_own ON "Parent" (own)')
        connection.execute("CREATE INDEX mine_some ON Mine (at) WHERE name IS NOT NULL")

    plain = copy(path, target.url, sources=[scripts], rejects=tmp_path / "no.jsonl")
    full = copy(path, target.url, sources=[scripts], replace_rows=True, extras=True, rejects=tmp_path / "no.jsonl")

    assert set(plain.left_out) == {"table Mine", "column Parent.own"}
    assert full.is_wanted and not full.left_out
    assert rows(target, 'SELECT own FROM "Parent"') == [("kept",)]
    assert rows(target, 'SELECT name, parent_id FROM "Mine"') == [("x", 1)]
    database = Runner(target.url, [scripts]).target.database
    with database.connection_context():
        assert [key.dest_table for key in database.get_foreign_keys("Mine")] == ["Parent"]
        made = {index.name: index.columns for place in ("Mine", "Parent") for index in database.get_indexes(place)}
    assert {"mine_by_parent", "parent_own"} <= set(made) and "mine_some" not in made
    assert copy(path, target.url, sources=[scripts], replace_rows=True, extras=True, rejects=tmp_path / "n").is_wanted


def test_it_goes_from_server_to_server_and_back_to_a_file(source, tmp_path):
    path, scripts, fill = source
    fill("Parent", (1, "one"))
    fill("Child", (7, 1, 7, "abc", 3, 0.1, 1, "2025-01-02 03:04:05.678901", "text ü", b"\x00\xff"))
    with servers.Fresh("postgresql") as postgres, servers.Fresh("mariadb") as mariadb:
        chain = [path, postgres.url, mariadb.url, tmp_path / "back.db"]
        for here, there in pairwise(chain):
            assert copy(here, there, sources=[scripts], rejects=tmp_path / "no.jsonl").is_wanted

    with closing(sqlite3.connect(path)) as first, closing(sqlite3.connect(tmp_path / "back.db")) as last:
        select = f'SELECT {COLUMNS} FROM "Child"'
        assert first.execute(select).fetchall() == last.execute(select).fetchall()


def test_an_old_file_is_migrated_in_a_copy_and_stays_as_it_is(target, tmp_path):
    path = histories.build_one("hand-a0eedd2-old", tmp_path / "old.db")
    before = path.read_bytes()

    report = copy(path, target.url, rejects=tmp_path / "no.jsonl")

    assert report.is_wanted
    assert path.read_bytes() == before
    assert sum(table.written for table in report.tables) > 1000


def test_a_server_that_is_not_current_is_to_be_migrated_first(target, folder, tmp_path):
    with pytest.raises(PlanRefused, match="framework-schema migrate"):
        copy(target.url, tmp_path / "new.db", sources=[folder({"001_tables": TABLES})])


def test_a_file_is_not_copied_onto_itself(source):
    path, scripts, _ = source
    with pytest.raises(PlanRefused, match="source and target"):
        copy(path, path, sources=[Folder(scripts.path)], replace_rows=True)


@pytest.mark.parametrize(
    ("engine", "kind", "value", "expected"),
    [
        ("postgresql", "text", "a\0b", f"a{NUL}b"),
        ("mariadb", "longtext", "a\0b", "a\0b"),
        ("postgresql", "boolean", "off", False),
        ("postgresql", "boolean", 2, Unfit),
        ("postgresql", "integer", "0012", 12),
        ("postgresql", "integer", "1e2", 100),
        ("postgresql", "integer", 1.5, Unfit),
        ("postgresql", "integer", "", None),
        ("postgresql", "double precision", float("inf"), Unfit),
        ("postgresql", "timestamp without time zone", 1700000000, Unfit),
        ("postgresql", "jsonb", '{"b": 1,"a":2}', '{"a": 2, "b": 1}'),
        ("postgresql", "jsonb", "{", Unfit),
        ("postgresql", "text", b"caf\xc3\xa9", "café"),
        ("postgresql", "text", b"\xff", Unfit),
        ("postgresql", "text", "\udcff", Unfit),
        ("postgresql", "bytea", "text", b"text"),
        ("mariadb", "tinyint(1)", "t", True),
        ("mariadb", "varchar(3)", "abcd", Unfit),
        ("mariadb", "datetime(6)", "2025-06-01T12:00:00.5-01:00", "2025-06-01 13:00:00.500000"),
        ("sqlite", "BOOLEAN", True, 1),
    ],
)
def test_a_value_is_converted_or_refused(engine, kind, value, expected):
    convert = converter(engine, Column("x", kind))
    if expected is Unfit:
        with pytest.raises(Unfit):
            convert(value)
        return

    found = convert(value)

    assert (str(found) if "datetime" in kind else found) == expected
    assert digest([convert(found)]) == digest([found])


def test_null_is_refused_where_it_may_not_be():
    with pytest.raises(Unfit, match="NOT NULL"):
        converter("postgresql", Column("x", "integer", null=False))("")


@pytest.mark.parametrize(("value", "text"), [(None, "\\N"), ("a\tb\\", "a\\tb\\\\"), (b"\x01", "\\\\x01"), (True, "t")])
def test_values_are_written_for_copy(value, text):
    assert copied(value) == text


@pytest.mark.parametrize(
    ("kind", "found"),
    [("VARCHAR(20)", "text"), ("INTEGER", "bigint"), ("tinyint(1)", "boolean"), ("DATETIME", "moment"), ("", "text")],
)
def test_a_declared_type_has_a_family(kind, found):
    assert family(kind) == found

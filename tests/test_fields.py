import peewee as pw
import pytest

from framework_schema.fields import (
    KEY_TEXT,
    UTC_NOW,
    AutoIncrementField,
    BooleanField,
    CharKeyField,
    RealField,
    Reference,
    TextField,
    TextForeignKeyField,
    TextKeyField,
    TimestampField,
    default,
    index,
    now,
)

ENGINES = {
    "sqlite": pw.SqliteDatabase(None),
    "postgresql": pw.PostgresqlDatabase(None),
    "mysql": pw.MySQLDatabase(None),
}


class Sensor(pw.Model):
    name = TextKeyField(unique=True)


def declared(engine, field):
    """Return the declaration of a column ``x``, without its name."""

    class Thing(pw.Model):
        x = field

        class Meta:
            primary_key = False if not field.primary_key else None

    context = ENGINES[engine].get_sql_context()
    sql, params = context.sql(field.ddl(context)).query()
    assert not params
    return sql.partition(" ")[2]


def written(engine, node):
    sql, params = ENGINES[engine].get_sql_context().sql(node).query()
    assert not params
    return sql


@pytest.mark.parametrize(
    ("engine", "field", "expected"),
    [
        ("sqlite", AutoIncrementField(), "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT"),
        ("postgresql", AutoIncrementField(), "SERIAL NOT NULL PRIMARY KEY"),
        ("mysql", AutoIncrementField(), "INTEGER AUTO_INCREMENT NOT NULL PRIMARY KEY"),
        ("sqlite", BooleanField(**default(0)), "BOOLEAN NOT NULL DEFAULT 0"),
        ("postgresql", BooleanField(**default(0)), "BOOLEAN NOT NULL DEFAULT FALSE"),
        ("postgresql", BooleanField(null=True, **default(True)), "BOOLEAN DEFAULT TRUE"),
        ("mysql", BooleanField(**default(1)), "BOOL NOT NULL DEFAULT (TRUE)"),
        ("sqlite", TimestampField(null=True, **now()), "TIMESTAMP DEFAULT CURRENT_TIMESTAMP"),
        ("postgresql", TimestampField(null=True, **now()), f"TIMESTAMP DEFAULT {UTC_NOW['postgresql']}"),
        ("mysql", TimestampField(null=True, **now()), "DATETIME(6) DEFAULT (UTC_TIMESTAMP())"),
        ("sqlite", RealField(null=True), "REAL"),
        ("postgresql", RealField(null=True), "DOUBLE PRECISION"),
        ("sqlite", TextKeyField(), "TEXT NOT NULL"),
        ("mysql", TextKeyField(), f"VARCHAR(255) {KEY_TEXT} NOT NULL"),
        ("mysql", CharKeyField(), f"VARCHAR(255) {KEY_TEXT} NOT NULL"),
        ("sqlite", CharKeyField(), "VARCHAR(255) NOT NULL"),
        ("sqlite", TextField(), "TEXT NOT NULL"),
        ("postgresql", TextField(), "TEXT NOT NULL"),
        ("mysql", TextField(), "LONGTEXT CHARACTER SET utf8mb4 NOT NULL"),
        ("sqlite", TextForeignKeyField(Sensor, field="name"), "TEXT NOT NULL"),
        ("mysql", TextForeignKeyField(Sensor, field="name"), f"VARCHAR(255) {KEY_TEXT} NOT NULL"),
        ("sqlite", pw.TextField(null=True, **default("it's")), "TEXT DEFAULT 'it''s'"),
        ("mysql", pw.TextField(null=True, **default("it's")), "TEXT DEFAULT ('it''s')"),
        ("sqlite", pw.TextField(null=True, **default(None)), "TEXT DEFAULT NULL"),
        ("sqlite", pw.TextField(null=True, **default("7")), "TEXT DEFAULT '7'"),
        ("sqlite", RealField(null=True, **default(100000.0)), "REAL DEFAULT 100000.0"),
        ("sqlite", pw.IntegerField(**default(1, check="x < 9")), "INTEGER NOT NULL DEFAULT 1 CHECK (x < 9)"),
    ],
)
def test_a_field_is_declared_as_its_engine_wants_it(engine, field, expected):
    assert declared(engine, field) == expected


@pytest.mark.parametrize("value", ["", "it's", 0, 12, 1.5, True])
def test_python_and_the_database_have_the_same_default(value, tmp_path):
    class Thing(pw.Model):
        x = pw.BareField(null=True, **default(value))

    database = pw.SqliteDatabase(tmp_path / "default.db")
    with database.bind_ctx([Thing]):
        Thing.create_table()
        database.execute_sql("INSERT INTO thing DEFAULT VALUES")
        assert Thing.get().x == Thing().x == value
    database.close()


@pytest.mark.parametrize(
    ("engine", "node", "expected"),
    [
        ("sqlite", index("i", "T", "a", "-b"), 'CREATE INDEX "i" ON "T" ("a", "b" DESC)'),
        ("mysql", index("i", "T", "a", "-b"), "CREATE INDEX `i` ON `T` (`a`, `b` DESC)"),
        (
            "postgresql",
            index("i", "T", "a", unique=True, where="a = 1"),
            'CREATE UNIQUE INDEX "i" ON "T" ("a") WHERE a = 1',
        ),
        ("mysql", index("i", "T", "a", where="a = 1"), "CREATE INDEX `i` ON `T` (`a`)"),
        (
            "mysql",
            index("i", "T", "a", unique=True, where="a = 1"),
            "ALTER TABLE `T` ADD COLUMN `i_applies` TINYINT GENERATED ALWAYS AS (CASE WHEN a = 1 THEN 1 END) VIRTUAL "
            "INVISIBLE, ADD UNIQUE INDEX `i` (`a`, `i_applies`)",
        ),
        ("sqlite", index("i", "T", "a").safe(), 'CREATE INDEX IF NOT EXISTS "i" ON "T" ("a")'),
    ],
)
def test_an_index_is_written_as_its_engine_wants_it(engine, node, expected):
    assert written(engine, node) == expected


def test_the_text_of_an_index_makes_it_again():
    described = index("i", "T", "a", "-b", unique=True, where="a = 'x'")

    assert written("sqlite", eval(repr(described))) == written("sqlite", described)


def test_a_reference_may_name_another_table_on_sqlite():
    reference = Reference("x_id", "Real", on_delete="CASCADE", on_sqlite="imagined")

    assert written("sqlite", reference) == ('FOREIGN KEY ("x_id") REFERENCES "imagined" ("id") ON DELETE CASCADE')
    assert written("mysql", reference) == "FOREIGN KEY (`x_id`) REFERENCES `Real` (`id`) ON DELETE CASCADE"

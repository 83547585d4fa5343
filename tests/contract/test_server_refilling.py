"""A data step runs again when its column is made anew, on every engine, whatever ends the run."""

import pytest
from script_texts import script

from framework_schema.report import State

BEERS = script(
    """
    @migrator.create_model
    class Beer(pw.Model):
        name = pw.CharField(max_length=20)
        class Meta:
            table_name = "Beer"
    Beer.insert(name="STOUT").execute()
    migrator.add_fields("Beer", slug=pw.CharField(max_length=20, null=True))
    """
)
SLUGS = """
fills = ["Beer.slug"]


def migrate(migrator, database, *, fake=False):
    import os

    if os.environ.get("DIE_IN_DATA_STEP") and not fake:
        is_tried_out = not database.execute_sql("SELECT count(*) FROM schema_migrations").fetchone()[0]
        if not is_tried_out:
            os._exit(9)
    beers = migrator.orm["Beer"]
    beers.update(slug=migrator.orm["Beer"].name).where(beers.slug.is_null()).execute()


def rollback(migrator, database, *, fake=False):
    pass
"""
MIGRATE = """
import sys
from framework_schema.config import Config
from framework_schema.runner import Runner
from framework_schema.sources import Folder
Runner(sys.argv[1], sources=[Folder(sys.argv[2], "app")], config=Config(timeout=20, backup="never")).migrate()
"""


@pytest.fixture
def source(engine, folder):
    source = folder({"001_beers": BEERS, "002_slugs": SLUGS})
    engine.runner(source).migrate()
    engine.sql('ALTER TABLE "Beer" DROP COLUMN slug')
    return source


def test_what_a_data_step_filled_comes_back_with_its_column(engine, source):
    report = engine.runner(source).migrate()

    assert engine.sql('SELECT name, slug FROM "Beer"') == [("STOUT", "STOUT")]
    assert (report.state, report.applied) == (State.MIGRATED, ["app/002_slugs"])
    assert engine.runner(source).migrate().state is State.CURRENT
    kinds = [event["kind"] for event in engine.runner(source).history(events=True)]
    assert kinds.count("refilled") == 1


def test_a_run_that_is_killed_before_its_data_step_leaves_it_to_the_next(engine, source, python):
    killed = python(MIGRATE, engine.url, source.path, env={"DIE_IN_DATA_STEP": "1"}, check=False)
    assert killed.returncode == 9
    is_made = any(column.name == "slug" for column in columns(engine))

    engine.runner(source).migrate()

    assert is_made is (engine.name != "sqlite")  # SQLite undoes all of the run, PostgreSQL what was not committed
    assert engine.sql('SELECT name, slug FROM "Beer"') == [("STOUT", "STOUT")]
    assert engine.runner(source).migrate().state is State.CURRENT


def columns(engine):
    database = engine.database()
    with database.connection_context():
        return database.get_columns("Beer")

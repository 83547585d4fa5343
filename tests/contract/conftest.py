import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest
import servers

from framework_schema.config import Config
from framework_schema.runner import Runner


class Engine:
    """One engine with a new database: what tests say to it in its own words, behind one face."""

    def __init__(self, name, url):
        self.name, self.url = name, url

    @property
    def undoes_ddl(self):
        return self.name != "mariadb"

    def sql(self, *statements):
        """Run statements, in which names stand in double quotes, and return the rows of the last."""
        statements = [self.said(statement) for statement in statements]
        if self.name != "sqlite":
            return [tuple(row) for row in servers.run(self.name, self.url, *statements) or ()]
        with closing(sqlite3.connect(self.url, isolation_level=None)) as connection:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
        return rows

    def said(self, statement):
        return statement.replace('"', "`") if self.name == "mariadb" else statement

    def value(self, statement):
        return self.sql(statement)[0][0]

    def runner(self, *sources, **settings):
        config = Config(**{"timeout": 20, "backup": "never", **settings})
        return Runner(self.url, sources=sources or None, config=config)

    def database(self):
        return self.runner().target.database

    @property
    def error(self):
        """What the driver raises for a row that breaks a rule."""
        import psycopg
        import pymysql

        mysql = (pymysql.err.IntegrityError, pymysql.err.OperationalError)
        return (sqlite3.IntegrityError, psycopg.IntegrityError, *mysql)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def engine(request, tmp_path):
    """A new database, empty, on each engine in turn."""
    yield from _new(request.param, tmp_path)


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request, tmp_path):
    """A new database, empty, on each server in turn."""
    yield from _new(request.param, tmp_path)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def framework(request, tmp_path_factory):
    """A database with the framework's schema, for a module of tests that only add rows of their own."""
    for engine in _new(request.param, tmp_path_factory.mktemp("framework")):
        report = engine.runner().migrate()
        yield SimpleNamespace(engine=engine, report=report)


def _new(name, folder):
    if name == "sqlite":
        yield Engine(name, str(folder / "app.db"))
        return
    with servers.Fresh(name) as fresh:
        yield Engine(name, fresh.url)

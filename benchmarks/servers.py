"""W8, in a process of its own: a fleet of databases on a server, for every tool that speaks to it, as JSON.

``python -m benchmarks.servers ENGINE COUNT ROUNDS``. Half of the databases are
empty, half stand at migration 20; all end at 30, and are compared with the
plan. The server is the one of ``FRAMEWORK_SCHEMA_TEST_POSTGRESQL`` or
``FRAMEWORK_SCHEMA_TEST_MARIADB``, by default of this machine; what is made on it is dropped.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import peewee as pw

from benchmarks.contenders.alembics import Alembic as AlembicScripts
from benchmarks.contenders.peewees import write_scripts
from benchmarks.harness import Wrong, shuffled
from benchmarks.plan import Plan, main_plan, sql_of, wanted_shape
from framework_schema import Config, Folder, migrate_fleet

HALF = 20
SERVERS = {
    "postgresql": os.environ.get("FRAMEWORK_SCHEMA_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432"),
    "mariadb": os.environ.get("FRAMEWORK_SCHEMA_TEST_MARIADB", "mariadb://root@127.0.0.1:3306"),
}


class Tool(ABC):
    """One contender on one server."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder, self.engine = folder, engine

    @abstractmethod
    def write(self, plan: Plan) -> None:
        """Write the plan as scripts."""

    @abstractmethod
    def migrate(self, names: Sequence[str]) -> None:
        """Bring these databases to the newest script."""


class Floor(Tool):
    """The driver alone and the plan's SQL: all of it in one transaction where the engine has that for a schema."""

    def write(self, plan: Plan) -> None:
        self.steps = [(step.name, [self._own(text) for text in sql_of(step)]) for step in plan]

    def migrate(self, names: Sequence[str]) -> None:
        for name in names:
            with closing(_connect(self.engine, name, autocommit=self.engine == "mariadb")) as connection:
                cursor = connection.cursor()
                cursor.execute("CREATE TABLE IF NOT EXISTS done (name VARCHAR(99) PRIMARY KEY)")
                cursor.execute("SELECT name FROM done")
                done = {step for (step,) in cursor.fetchall()}
                for step, texts in self.steps:
                    if step not in done:
                        for text in texts:
                            cursor.execute(text)
                        cursor.execute("INSERT INTO done VALUES (%s)", (step,))
                connection.commit()

    def _own(self, text: str) -> str:
        id_, in_one = '"id" INTEGER NOT NULL PRIMARY KEY', '"id" INTEGER AUTO_INCREMENT NOT NULL PRIMARY KEY'
        if self.engine == "mariadb":
            return text.replace(id_, in_one).replace('"', "`")
        return text.replace(id_, '"id" SERIAL PRIMARY KEY').replace(" DATETIME", " TIMESTAMP")


class Ours(Tool):
    jobs: ClassVar[int] = 1

    def write(self, plan: Plan) -> None:
        write_scripts(self.folder, plan)

    def migrate(self, names: Sequence[str]) -> None:
        urls = [f"{SERVERS[self.engine]}/{name}" for name in names]
        config = Config(backup="never")
        report = migrate_fleet(urls, [Folder(self.folder, "app")], jobs=self.jobs, config=config)
        assert not report.failed, [failed.error for failed in report.failed]


class OursParallel(Ours):
    jobs = os.cpu_count() or 1


class PeeweeMigrate(Tool):
    def write(self, plan: Plan) -> None:
        logging.getLogger("peewee_migrate").setLevel(logging.ERROR)
        write_scripts(self.folder, plan)

    def migrate(self, names: Sequence[str]) -> None:
        from peewee_migrate import Router

        for name in names:
            database = _peewee(self.engine, name)
            with database.connection_context():
                Router(database, migrate_dir=self.folder).run()


class Alembic(Tool):
    def write(self, plan: Plan) -> None:
        AlembicScripts(self.folder).prepare(plan)

    def migrate(self, names: Sequence[str]) -> None:
        from alembic import command
        from alembic.config import Config as AlembicConfig

        driver = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}[self.engine]
        for name in names:
            config = AlembicConfig()
            config.set_main_option("script_location", str(self.folder))
            config.set_main_option("sqlalchemy.url", f"{driver}://{urlsplit(SERVERS[self.engine]).netloc}/{name}")
            command.upgrade(config, "head")


TOOLS: dict[str, type[Tool]] = {
    "F": Floor,
    "framework-schema": Ours,
    f"framework-schema, {OursParallel.jobs} processes": OursParallel,
    "peewee-migrate": PeeweeMigrate,
    "Alembic": Alembic,
}


def main(engine: str, count: int, rounds: int) -> None:
    """Print seconds a database, a number a round, and who was wrong."""
    found: dict[str, list[float]] = {name: [] for name in TOOLS}
    wrong: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _, name in shuffled([*TOOLS], rounds):
            if name not in wrong:
                try:
                    found[name].append(_turn(TOOLS[name](Path(folder, name), engine), count))
                except Exception as error:
                    wrong[name] = f"{type(error).__name__}: {error}"[:300]
    print(json.dumps({"rounds": {name: seconds for name, seconds in found.items() if seconds}, "wrong": wrong}))


def _turn(tool: Tool, count: int) -> float:
    plan = main_plan()
    with _databases(tool.engine, count) as names:
        tool.write(plan[:HALF])
        tool.migrate(names[: count // 2])
        tool.write(plan)
        started = time.perf_counter()
        tool.migrate(names)
        spent = time.perf_counter() - started
        for name in names:
            _check(tool.engine, name, plan)
    return spent / count


@contextmanager
def _databases(engine: str, count: int) -> Iterator[list[str]]:
    names = [f"fs_bench_{uuid.uuid4().hex[:10]}" for _ in range(count)]
    try:
        for name in names:
            _run(engine, None, f"CREATE DATABASE {name}")
        yield names
    finally:
        for name in names:
            _run(engine, None, f"DROP DATABASE IF EXISTS {name}")


def _check(engine: str, name: str, plan: Plan) -> None:
    schema = "current_schema()" if engine == "postgresql" else "DATABASE()"
    columns = _run(
        engine, name, f"SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = {schema}"
    )
    for table, (wanted, *_) in wanted_shape(plan).tables.items():
        if {column for owner, column in columns if owner == table} != {column for column, *_ in wanted}:
            raise Wrong(f"{name}: {table} is not as the plan says")


def _run(engine: str, name: str | None, sql: str) -> list[Any]:
    with closing(_connect(engine, name, autocommit=True)) as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


def _connect(engine: str, name: str | None, *, autocommit: bool) -> Any:
    if engine == "postgresql":
        import psycopg

        return psycopg.connect(dbname=name or "postgres", autocommit=autocommit, **_place(engine))
    import pymysql

    return pymysql.connect(database=name, autocommit=autocommit, **_place(engine))


def _peewee(engine: str, name: str) -> pw.Database:
    if engine == "postgresql":
        return pw.PostgresqlDatabase(name, prefer_psycopg3=True, **_place(engine))
    return pw.MySQLDatabase(name, **_place(engine))


def _place(engine: str) -> dict[str, Any]:
    parts = urlsplit(SERVERS[engine])
    return {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password or ""}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

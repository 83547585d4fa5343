"""Alembic, alone and through Flask-Migrate."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from benchmarks.contenders.base import Contender, python
from benchmarks.plan import Add, Column, Create, Drop, Index, Operation, RenameColumn, RenameTable

TYPES = {"text": "sa.Text()", "int": "sa.Integer()", "real": "sa.Float()", "moment": "sa.DateTime()"}
ENV = """
from alembic import context
import sqlalchemy as sa

engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=sa.pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""
COMMAND = """
import sys
from alembic import command
from alembic.config import Config
config = Config()
config.set_main_option("script_location", sys.argv[2])
config.set_main_option("sqlalchemy.url", "sqlite:///" + sys.argv[1])
command.upgrade(config, "head")
"""
FLASK = """
import sys
from flask import Flask
from flask_migrate import Migrate, upgrade
from flask_sqlalchemy import SQLAlchemy
app = Flask("bench")
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///" + sys.argv[1]
Migrate(app, SQLAlchemy(app), directory=sys.argv[2])
with app.app_context():
    upgrade()
"""


class Alembic(Contender):
    module = "alembic.command"
    env = ENV

    def write(self) -> None:
        logging.getLogger("alembic").setLevel(logging.ERROR)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "versions").mkdir(parents=True)
        (self.folder / "env.py").write_text(self.env, encoding="utf-8")
        before = None
        for step in self.plan:
            revision = step.name[:3]
            lines = "\n".join(f"    {_op(operation)}" for operation in step.operations)
            text = (
                "import sqlalchemy as sa\nfrom alembic import op\n\n"
                f"revision = {revision!r}\ndown_revision = {before!r}\n\n\ndef upgrade():\n{lines}\n"
            )
            (self.folder / "versions" / f"{step.name}.py").write_text(text, encoding="utf-8")
            before = revision

    def migrate(self, path: Path) -> None:
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(self.folder))
        config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
        command.upgrade(config, "head")

    def command(self, path: Path) -> list[str]:
        return python("-c", COMMAND, path, self.folder)


class FlaskMigrate(Alembic):
    module = "flask_migrate"
    env = """
from alembic import context
from flask import current_app

engine = current_app.extensions["migrate"].db.engine
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""

    def write(self) -> None:
        super().write()
        (self.folder / "alembic.ini").write_text("[alembic]\n", encoding="utf-8")

    def migrate(self, path: Path) -> None:
        from flask import Flask
        from flask_migrate import Migrate, upgrade
        from flask_sqlalchemy import SQLAlchemy

        app = Flask("bench")
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{path}"
        db = SQLAlchemy(app)
        Migrate(app, db, directory=str(self.folder))
        with app.app_context():
            upgrade()
            db.engine.dispose()

    def command(self, path: Path) -> list[str]:
        return python("-c", FLASK, path, self.folder)


def _column(column: Column) -> str:
    parts = [repr(column.name), TYPES[column.type]]
    parts += [f"sa.ForeignKey('{column.to}.id')"] if column.to else []
    parts += [f"nullable={column.null}"]
    parts += [f"server_default={str(column.default)!r}"] if column.default is not None else []
    return f"sa.Column({', '.join(parts)})"


def _op(operation: Operation) -> str:
    match operation:
        case Create(table, columns):
            inner = ", ".join(map(_column, columns))
            return f"op.create_table({table!r}, sa.Column('id', sa.Integer(), primary_key=True), {inner})"
        case Add(table, column):
            return f"op.add_column({table!r}, {_column(column)})"
        case Index(table, column):
            return f"op.create_index('{table}_{column}', {table!r}, [{column!r}])"
        case RenameColumn(table, column, new_name):
            return f"op.alter_column({table!r}, {column!r}, new_column_name={new_name!r}, existing_type=sa.Text())"
        case RenameTable(table, new_name):
            return f"op.rename_table({table!r}, {new_name!r})"
        case Drop(table, column):
            return f"op.drop_column({table!r}, {column!r})"

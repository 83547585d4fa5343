"""peewee-migrate's Router, and the runner that came with Peewee 4; our own scripts are written as the former's."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import peewee as pw

from benchmarks.contenders.base import Contender, python
from benchmarks.plan import Add, Column, Create, Drop, Index, Operation, Plan, RenameColumn, RenameTable

FIELDS = {"text": "TextField", "int": "IntegerField", "real": "FloatField", "moment": "DateTimeField"}
HEAD = "import peewee as pw\n\n\n"
COMMAND = """
import sys, peewee
from peewee_migrate import Router
Router(peewee.SqliteDatabase(sys.argv[1]), migrate_dir=sys.argv[2]).run()
"""
PLAYHOUSE = """
import sys, peewee
from playhouse.migrations import Runner
Runner(peewee.SqliteDatabase(sys.argv[1]), sys.argv[2]).up()
"""


def write_scripts(folder: Path, plan: Plan) -> None:
    """Write the plan as peewee-migrate scripts.

    An index on a column of the same script is written as the field's own:
    peewee-migrate cannot do both in one script (it makes the index twice).
    """
    _clear(folder)
    for step in plan:
        made = {(o.table, o.column) for o in step.operations if isinstance(o, Index)}
        lines = [f"    {_migrator(o, made)}" for o in step.operations if not _is_own(o, step.operations)]
        body = "\n".join(lines)
        text = f"{HEAD}def migrate(migrator, database, *, fake=False):\n{body}\n"
        (folder / f"{step.name}.py").write_text(text, encoding="utf-8")


class PeeweeMigrate(Contender):
    module = "peewee_migrate"

    def write(self) -> None:
        logging.getLogger("peewee_migrate").setLevel(logging.ERROR)
        write_scripts(self.folder, self.plan)

    def migrate(self, path: Path) -> None:
        from peewee_migrate import Router

        database = pw.SqliteDatabase(path)
        with database.connection_context():
            Router(database, migrate_dir=self.folder).run()

    def command(self, path: Path) -> list[str]:
        return python("-c", COMMAND, path, self.folder)


class Playhouse(Contender):
    module = "playhouse.migrations"

    def write(self) -> None:
        _clear(self.folder)
        for step in self.plan:
            body = "\n".join(f"    {_playhouse(operation)}" for operation in step.operations)
            text = f"{HEAD}def up(migrator, db):\n{body}\n"
            (self.folder / f"{step.name}.py").write_text(text, encoding="utf-8")

    def migrate(self, path: Path) -> None:
        from playhouse.migrations import Runner

        database = pw.SqliteDatabase(path)
        with database.connection_context():
            Runner(database, str(self.folder)).up()

    def command(self, path: Path) -> list[str]:
        return python("-c", PLAYHOUSE, path, self.folder)


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _is_own(operation: Operation, operations: Sequence[Operation]) -> bool:
    """Tell whether this is an index on a column that the same script makes."""
    made = {(o.table, column.name) for o in operations if isinstance(o, Create) for column in o.columns}
    made |= {(o.table, o.column.name) for o in operations if isinstance(o, Add)}
    return isinstance(operation, Index) and (operation.table, operation.column) in made


def _field(column: Column, index: bool = False) -> str:
    parts = ["null=True"] if column.null else []
    parts += [f"default={column.default!r}"] if column.default is not None else []
    parts += ["index=True"] if index else []
    return f"pw.{FIELDS[column.type]}({', '.join(parts)})"


def _model(create: Create, refer: str, indexed: Collection[tuple[str, str]] = ()) -> str:
    lines = [f"class {create.table.title()}(pw.Model):", "    id = pw.AutoField()"]
    for column in create.columns:
        if column.to is None:
            lines.append(f"    {column.name} = {_field(column, (create.table, column.name) in indexed)}")
        else:
            target = refer.format(table=column.to)
            lines.append(
                f"    {column.name} = pw.ForeignKeyField({target}, null=True, index=False, column_name='{column.name}')"
            )
    lines += ["", "    class Meta:", f"        table_name = '{create.table}'"]
    return "\n    ".join(lines)


def _migrator(operation: Operation, indexed: Collection[tuple[str, str]]) -> str:
    match operation:
        case Create():
            made = f"migrator.create_model({operation.table.title()})"
            return f"{_model(operation, 'migrator.orm[{table!r}]', indexed)}\n    {made}"
        case Add(table, column):
            field = _field(column, (table, column.name) in indexed)
            return f"migrator.add_fields({table!r}, {column.name}={field})"
        case Index(table, column):
            return f"migrator.add_index({table!r}, {column!r})"
        case RenameColumn(table, column, new_name):
            return f"migrator.rename_field({table!r}, {column!r}, {new_name!r})"
        case RenameTable(table, new_name):
            return f"migrator.rename_table({table!r}, {new_name!r})"
        case Drop(table, column):
            return f"migrator.remove_fields({table!r}, {column!r})"


def _playhouse(operation: Operation) -> str:
    match operation:
        case Create():
            name = operation.table.title()
            stubs = "".join(_stub(column.to) for column in operation.columns if column.to is not None)
            made = f"with db.bind_ctx([{name}]):\n        db.create_tables([{name}])"
            return f"{stubs}{_model(operation, _Title())}\n    {made}"
        case Add(table, column):
            call = f"add_column({table!r}, {column.name!r}, {_field(column)})"
        case Index(table, column):
            call = f"add_index({table!r}, ({column!r},), False)"
        case RenameColumn(table, column, new_name):
            call = f"rename_column({table!r}, {column!r}, {new_name!r})"
        case RenameTable(table, new_name):
            call = f"rename_table({table!r}, {new_name!r})"
        case Drop(table, column):
            call = f"drop_column({table!r}, {column!r})"
    return f"migrator.migrate(migrator.{call})"


def _stub(table: str) -> str:
    return f"class {table.title()}(pw.Model):\n        class Meta:\n            table_name = {table!r}\n    "


class _Title(str):
    """Names a model's class after its table."""

    __slots__ = ()

    def format(self, *args: object, table: str) -> str:  # type: ignore[override]
        return table.title()

"""Django's migrations."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.contenders.base import Contender, python
from benchmarks.plan import Add, Column, Create, Drop, Index, Operation, RenameColumn, RenameTable

FIELDS = {"text": "TextField", "int": "IntegerField", "real": "FloatField", "moment": "DateTimeField"}
COMMAND = """
import sys
sys.path.insert(0, sys.argv[2])
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["bench_app"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
"""


class Django(Contender):
    module = "django.db.migrations.executor"

    def write(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        package = self.folder / "bench_app" / "migrations"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package.parent / "__init__.py").touch()
        before = None
        for step in self.plan:
            (package / f"{step.name}.py").write_text(_script(step.operations, before), encoding="utf-8")
            before = step.name
        self._forget()

    def migrate(self, path: Path) -> None:
        connection = self._connection(path)
        from django.db.migrations.executor import MigrationExecutor

        try:
            executor = MigrationExecutor(connection)
            executor.migrate(executor.loader.graph.leaf_nodes())
        finally:
            connection.close()

    def look(self, path: Path) -> None:
        connection = self._connection(path)
        from django.db.migrations.executor import MigrationExecutor

        try:
            executor = MigrationExecutor(connection)
            assert not executor.migration_plan(executor.loader.graph.leaf_nodes())
        finally:
            connection.close()

    def command(self, path: Path) -> list[str]:
        return python("-c", COMMAND, path, self.folder)

    def _connection(self, path: Path) -> Any:
        import django
        from django.conf import settings

        if not settings.configured:
            settings.configure(
                INSTALLED_APPS=["bench_app"],
                DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}},
                DEFAULT_AUTO_FIELD="django.db.models.AutoField",
            )
            django.setup()
        from django.db import connection

        connection.close()
        connection.settings_dict["NAME"] = str(path)
        return connection

    def _forget(self) -> None:
        """Let the next loader read these scripts, not those of the plan before."""
        if str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))
        for name in [name for name in sys.modules if name.startswith("bench_app.migrations")]:
            del sys.modules[name]
        importlib.invalidate_caches()


def _script(operations: tuple[Operation, ...], before: str | None) -> str:
    lines = "".join(f"        {_operation(operation)},\n" for operation in operations)
    needs = f"[('bench_app', {before!r})]" if before else "[]"
    return (
        "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n"
        f"    dependencies = {needs}\n    operations = [\n{lines}    ]\n"
    )


def _field(column: Column) -> str:
    parts = [f"null={column.null}"]
    parts += [f"default={column.default!r}"] if column.default is not None else []
    if column.to is not None:
        name = f"db_column={column.name!r}, db_index=False"
        return f"models.ForeignKey('bench_app.{column.to}', models.DO_NOTHING, {name}, {', '.join(parts)})"
    return f"models.{FIELDS[column.type]}({', '.join(parts)})"


def _operation(operation: Operation) -> str:
    match operation:
        case Create(table, columns):
            fields = ", ".join(f"({c.name.removesuffix('_id')!r}, {_field(c)})" for c in columns)
            key = "('id', models.AutoField(primary_key=True))"
            return f"migrations.CreateModel({table!r}, [{key}, {fields}], options={{'db_table': {table!r}}})"
        case Add(table, column):
            return f"migrations.AddField({table!r}, {column.name!r}, {_field(column)})"
        case Index(table, column):
            return f"migrations.AddIndex({table!r}, models.Index(fields=[{column!r}], name='{table}_{column}'))"
        case RenameColumn(table, column, new_name):
            return f"migrations.RenameField({table!r}, {column!r}, {new_name!r})"
        case RenameTable(table, new_name):
            return f"migrations.AlterModelTable({table!r}, {new_name!r})"
        case Drop(table, column):
            return f"migrations.RemoveField({table!r}, {column!r})"

"""A new migration script, as ``pw_migrate create`` writes it."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import peewee as pw
from peewee_migrate.router import Router, load_models

from framework_schema.errors import ConfigError
from framework_schema.script_files import own_folder

IGNORED = ["frameworkmodel", "schemamigration"]
"""The abstract base and the history: no script makes them."""
OWN_MODELS = "framework_schema.models"
BARE = "."
"""What ``--auto`` without a value stands for."""
NOTHING = "Nothing was written."


def create_script(name: str, directory: str, models: str | None = None) -> Path | None:
    """Write ``NNN_name.py`` and return its path, or None when ``models`` hold nothing that the scripts lack.

    ``models`` is a dotted module; the scripts there are replayed to compare
    with them, in a database in memory. The framework's own models count in the
    framework's own folder only.

    Raises ``ConfigError`` for a folder or name that cannot be, and for models
    that cannot be imported.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}. {NOTHING} Create it, or give --directory.")
    if (folder / "env.py").is_file():
        raise ConfigError(
            f"{folder} is Alembic's (it has an env.py), and nothing of it is run. {NOTHING} Make a folder"
            " of your own, such as app/migrations, and give --directory."
        )
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ConfigError(f"{name!r} is no name for a script. {NOTHING} Use letters, digits and _.")
    found = None if models is None else _models(models, folder)
    database = pw.SqliteDatabase(":memory:")
    with database.connection_context():
        made = Router(database, migrate_dir=folder, ignore=IGNORED).create(name, auto=found or False)
    return None if made is None else folder / f"{made}.py"


def _models(name: str, folder: Path) -> list[type[pw.Model]]:
    """Import the models of a module, those that were imported from the framework's aside."""
    if name == BARE:
        if folder.resolve() != Path(own_folder()).resolve():
            raise ConfigError(f"--auto needs the module of your models here: --auto app.models. {NOTHING}")
        name = OWN_MODELS
    wanted = _dotted(name)
    if wanted != name:
        raise ConfigError(f"--auto takes a module as in an import, not {name!r}. {NOTHING} Try: --auto {wanted}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = load_models(name)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"--auto {name}: its models cannot be imported ({type(error).__name__}: {error}). {NOTHING} Give a module"
            f" that `python -c 'import {name}'` finds from here."
        ) from error
    ours = name.partition(".")[0] == OWN_MODELS.partition(".")[0]
    kept = [model for model in found if ours or not model.__module__.startswith(OWN_MODELS)]
    if not kept:
        raise ConfigError(f"--auto {name}: it holds no Peewee model of its own. {NOTHING} Give the module with models.")
    return sorted(kept, key=lambda model: str(model._meta.table_name))


def _dotted(name: str) -> str:
    """Return what somebody meant who wrote a path, or a class of a module."""
    path = name.partition(":")[0].replace(os.sep, "/").removesuffix(".py")
    return ".".join(part for part in path.split("/") if part not in ("", "."))


# What a script takes away


def takings(script: Path) -> Iterator[str]:
    """Say which columns and tables a script's ``migrate`` takes away, with their values, and what may be a rename."""
    tree = ast.parse(script.read_bytes())
    body = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "migrate"), None)
    removed: dict[str, list[str]] = {}
    added: dict[str, list[str]] = {}
    for node in () if body is None else ast.walk(body):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        model, *fields = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)] or [""]
        if node.func.attr == "remove_fields":
            removed.setdefault(model, []).extend(fields)
        elif node.func.attr == "add_fields":
            added.setdefault(model, []).extend(str(keyword.arg) for keyword in node.keywords)
        elif node.func.attr == "remove_model":
            yield f"it drops the table of {model or 'a model'}, with its rows"
    for model, fields in removed.items():
        for field in fields:
            new = added.get(model, [])
            rename = f"migrator.rename_field({model!r}, {field!r}, {new[0]!r})" if new else ""
            instead = f"; if {new[0]} is its new name, write {rename} in the place of both" if new else ""
            yield f"it drops {model}.{field}, with its values{instead}"

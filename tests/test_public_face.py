"""What importing the package brings, and what it does not."""

import ast
import importlib
import json
import pkgutil
from pathlib import Path

import pytest

import framework_schema

PACKAGE = Path(framework_schema.__file__).parent
DRIVERS = {"psycopg", "psycopg2", "pymysql", "MySQLdb"}
"""Peewee brings those that are installed; nothing else may."""


def brought_by(python, statement):
    """Return the top-level modules that a statement brings into a fresh interpreter."""
    done = python(f"import json, sys\n{statement}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))")
    return set(json.loads(done.stdout))


def imports_of(path):
    """Return the top-level names that a module imports anywhere, typing aside."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


MODULES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("name", framework_schema.__all__)
def test_every_public_name_imports(name):
    assert getattr(framework_schema, name) is not None


def test_the_public_names_are_sorted_and_once_each():
    assert framework_schema.__all__ == sorted(set(framework_schema.__all__))


def test_a_type_checker_sees_the_same_names_as_the_interpreter():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}

    assert seen | {"__version__"} == set(framework_schema.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        framework_schema.no_such_name  # noqa: B018


def test_importing_the_package_brings_next_to_nothing(python):
    brought = brought_by(python, "import framework_schema")

    assert not brought & {"flask", "click", "rich", "peewee", "playhouse", "peewee_migrate", "logging", *DRIVERS}


def test_importing_the_extension_brings_only_what_serving_needs(python):
    brought = brought_by(python, "import framework_schema.extension") - brought_by(python, "import flask, peewee")

    assert not brought & {"rich", "peewee_migrate", "multiprocessing", *DRIVERS}


def test_running_a_migration_brings_no_web_and_no_terminal(python, tmp_path):
    statement = f"from framework_schema import Runner; Runner({str(tmp_path / 'x.db')!r}).migrate()"

    brought = brought_by(python, statement) - brought_by(python, "import peewee")

    assert not brought & {"flask", "rich", *DRIVERS}


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        pytest.param("rich", {"console"}, id="rich in console"),
        pytest.param("flask", {"app_database", "extension", "log_lines", "web", "demo", "cli"}, id="flask at the edge"),
        pytest.param("click", {"cli", "options", "upkeep", "habits", "extension", "__main__"}, id="click at the edge"),
    ],
)
def test_a_library_of_the_edge_is_imported_there_only(library, allowed):
    importing = {name.split(".")[0] for name, path in MODULES.items() if library in imports_of(path)}

    assert importing <= allowed


def test_every_module_of_the_package_imports():
    for module in pkgutil.walk_packages([str(PACKAGE)], "framework_schema."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__main__"])
def test_no_module_prints_or_reads_the_environment_when_imported(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    loose = [node for node in tree.body if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)]

    assert [ast.unparse(node) for node in loose] == []

"""The package as others get it: wheel, sdist, editable install, on every supported Python found here."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import venv
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
APP = """
from flask import Flask
import framework_schema

app = Flask(__name__)
app.config["DATABASE_PATH"] = "homebrew.db"
framework_schema.init_app(app)


@app.get("/")
def home():
    return "home"
"""


def run(*command, cwd, env=None, check=True):
    """Run a command as a user would: nothing of this checkout on the path."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "FRAMEWORK_SCHEMA_", "DATABASE"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean | (env or {}), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def listed(*under):
    """Return the files that git keeps, or would keep, below these folders."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout: the wheel is compared with `git ls-files`")
    found = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *under, cwd=ROOT).stdout
    return sorted(name for name in found.split("\0") if name and (ROOT / name).is_file())


def copy_checkout(to):
    for name in listed():
        place = to / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place)
    return to


def make_environment(python, folder, *install):
    """Make a virtual environment, install into it from the package index, and return its folder of programs."""
    if python == sys.executable:
        venv.create(folder, with_pip=True, symlinks=True)
    else:
        run(python, "-m", "venv", folder, cwd=folder.parent)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    run(programs / "python", "-m", "pip", "install", "-q", *install, cwd=folder.parent)
    return programs


def find_python(version):
    """Return a Python of this version that runs, from PATH or from pyenv, or skip."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for python in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))):
        if python and not subprocess.run([python, "-c", "import ensurepip"], capture_output=True).returncode:
            return str(python)
    pytest.skip(f"needs Python {version}: none on PATH, none in pyenv")


def make_old_database(path):
    """Build a file of the days before dashboards: two tables, one lacking columns, one record that proves nothing."""
    with closing(sqlite3.connect(path)) as old, old:
        old.executescript("""
            CREATE TABLE EntryType (id INTEGER PRIMARY KEY AUTOINCREMENT, singular_label TEXT NOT NULL,
                                    plural_label TEXT NOT NULL);
            CREATE TABLE Entry (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, entry_type_id INTEGER);
            CREATE TABLE schema_migrations (
                id INTEGER PRIMARY KEY AUTOINCREMENT, migration_name TEXT UNIQUE NOT NULL,
                applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, success BOOLEAN DEFAULT TRUE,
                error_message TEXT, execution_time_ms INTEGER
            );
            INSERT INTO EntryType VALUES (7, 'Beer', 'Beers');
            INSERT INTO Entry VALUES (3, 'Märzen', 7);
            INSERT INTO schema_migrations (migration_name) VALUES ('add_dashboard_tables.py');
        """)
    return path


def query(path, sql):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the tree without its .git, as a release's builder has it."""
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory):
    """The sdist, the wheel made from it, and the wheel made from the tree."""
    pytest.importorskip("build", reason="needs the build package (extra test)")
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, checkout, cwd=out)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out / "direct", checkout, cwd=out)
    (sdist,), (wheel,), (direct,) = out.glob("*.tar.gz"), out.glob("*.whl"), out.glob("direct/*.whl")
    return {"sdist": sdist, "wheel": wheel, "direct": direct}


def files_of(wheel):
    return sorted(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_every_file_of_the_package_and_every_script(built):
    expected = [*listed("framework_schema"), *(f"framework_schema/{name}" for name in listed("migrations"))]

    found = [name for name in files_of(built["wheel"]) if ".dist-info/" not in name]

    assert found == sorted(expected)
    assert "framework_schema/py.typed" in found


def test_the_wheel_brings_no_top_level_package_but_its_own(built):
    tops = {name.split("/")[0] for name in files_of(built["wheel"])}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"framework_schema"}


def test_the_wheel_from_the_sdist_equals_the_one_from_the_tree(built):
    assert files_of(built["wheel"]) == files_of(built["direct"])


def test_the_sdist_holds_all_that_building_and_testing_need(built):
    with tarfile.open(built["sdist"]) as sdist:
        found = {name.partition("/")[2] for name in sdist.getnames()}

    missing = [name for name in listed() if name not in found and not name.startswith((".", "benchmarks/"))]
    assert missing == []


def test_the_wheel_names_its_commands_and_its_source_of_scripts(built):
    with zipfile.ZipFile(built["wheel"]) as wheel:
        (points,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith("entry_points.txt"))

    lines = points.splitlines()
    assert "framework-schema = framework_schema.__main__:start" in lines
    assert "schema = framework_schema.cli:schema" in lines
    assert "framework = framework_schema.migrations" in lines


@pytest.fixture(scope="module", params=["3.11", "3.12", "3.13"])
def installed(request, built, tmp_path_factory):
    """The wheel installed in a fresh environment; returns its folder of programs."""
    folder = tmp_path_factory.mktemp("wheel") / "venv"
    return make_environment(find_python(request.param), folder, built["wheel"])


def test_an_installed_wheel_migrates_an_old_database(installed, tmp_path):
    path = make_old_database(tmp_path / "homebrew.db")

    done = run(installed / "framework-schema", "migrate", path, "--json", cwd=tmp_path)

    (report,) = json.loads(done.stdout)["databases"]
    assert report["state"] == "migrated"
    assert report["pending"] == report["failed"] == []
    assert query(path, "SELECT id, title, entry_type_id FROM Entry") == [(3, "Märzen", 7)]
    assert query(path, "SELECT count(*) FROM DashboardWidget") == [(0,)]
    scripts = [name for name in listed("migrations") if Path(name).name[:3].isdigit()]
    assert query(path, "SELECT count(*) FROM schema_migrations WHERE migration_name LIKE 'framework/%'") == [
        (len(scripts),)
    ]


def test_an_installed_wheel_tells_its_version_in_both_ways(installed, tmp_path):
    version = run(installed / "framework-schema", "--version", cwd=tmp_path).stdout

    assert version == run(installed / "python", "-m", "framework_schema", "--version", cwd=tmp_path).stdout
    (found,) = (line.split()[1] for line in run(installed / "python", "-m", "pip", "show", "framework-schema",
                cwd=tmp_path).stdout.splitlines() if line.startswith("Version:"))  # fmt: skip
    assert found in version


def test_the_module_is_the_same_command(installed, tmp_path):
    path = make_old_database(tmp_path / "homebrew.db")

    run(installed / "python", "-m", "framework_schema", "migrate", path, cwd=tmp_path)

    status = run(installed / "framework-schema", "status", path, "--json", cwd=tmp_path)
    assert json.loads(status.stdout)["databases"][0]["state"] == "current"


def test_flask_routes_lists_an_app_and_opens_no_database(installed, tmp_path):
    (tmp_path / "hello.py").write_text(APP, encoding="utf-8")

    routes = run(installed / "flask", "--app", "hello", "routes", cwd=tmp_path)

    assert "home" in routes.stdout
    assert not (tmp_path / "homebrew.db").exists()


def test_flask_has_the_commands_for_the_apps_own_database(installed, tmp_path):
    (tmp_path / "hello.py").write_text(APP, encoding="utf-8")
    path = make_old_database(tmp_path / "homebrew.db")

    run(installed / "flask", "--app", "hello", "schema", "migrate", cwd=tmp_path)

    assert query(path, "SELECT count(*) FROM DashboardWidget") == [(0,)]


def test_the_checkout_it_was_installed_from_is_not_taken_for_an_app(installed, checkout):
    demo = run(installed / "framework-schema", "demo", cwd=checkout)
    (following,) = (line for line in demo.stdout.splitlines() if line.startswith("next: "))

    status = run(installed / "framework-schema", *following.split()[2:], "--json", cwd=checkout, check=False)

    assert {database["state"] for database in json.loads(status.stdout)["databases"]} == {"current"}
    assert status.returncode == 0


@pytest.fixture(scope="module")
def editable(tmp_path_factory):
    """A copy of the checkout, installed editable; returns it and its folder of programs."""
    checkout = copy_checkout(tmp_path_factory.mktemp("editable"))
    programs = make_environment(sys.executable, tmp_path_factory.mktemp("programs") / "venv", "-e", checkout)
    return checkout, programs


def test_an_editable_install_carries_the_scripts(editable, tmp_path):
    checkout, programs = editable
    text = "import framework_schema as f; r = f.Runner('new.db'); r.migrate(); print(r.known.migrations[0].path)"

    done = run(programs / "python", "-c", text, cwd=tmp_path)

    assert Path(done.stdout.strip()).parent.resolve() == (checkout / "migrations").resolve()
    assert query(tmp_path / "new.db", "SELECT count(*) FROM DashboardWidget") == [(0,)]


def test_no_install_brings_a_package_called_migrations(editable, installed, tmp_path):
    text = "import importlib.util as u; print(u.find_spec('migrations'))"

    for programs in (installed, editable[1]):
        assert run(programs / "python", "-c", text, cwd=tmp_path).stdout.strip() == "None"


@pytest.fixture
def workplace(editable):
    """The editable checkout, in which a test may add scripts and models; put back after."""
    checkout, programs = editable
    models = checkout / "framework_schema" / "models" / "dashboards.py"
    before, text = set(checkout.rglob("*")), models.read_text(encoding="utf-8")
    yield checkout, programs
    models.write_text(text, encoding="utf-8")
    for path in set(checkout.rglob("*")) - before:
        if path.is_file():
            path.unlink()


def new_scripts(checkout):
    return {path.name for path in (checkout / "migrations").glob("*.py")} - {
        Path(name).name for name in listed("migrations")
    }


def databases_in(checkout):
    return [path for path in checkout.rglob("*") if path.suffix in (".db", ".sqlite", ".sqlite3")]


def test_pw_migrate_create_makes_the_next_script_without_a_flag(workplace):
    checkout, programs = workplace

    run(programs / "pw_migrate", "create", "add_position", cwd=checkout)

    number = len([name for name in listed("migrations") if Path(name).name[:3].isdigit()]) + 1
    assert new_scripts(checkout) == {f"{number:03}_add_position.py"}
    assert databases_in(checkout) == []


def test_pw_migrate_auto_finds_no_change_in_the_shipped_models(workplace):
    checkout, programs = workplace

    done = run(programs / "pw_migrate", "create", "nothing", "--auto", cwd=checkout)

    assert "No changes found" in done.stderr
    assert new_scripts(checkout) == set()


def test_pw_migrate_auto_writes_a_script_for_a_changed_model_and_it_runs(workplace, tmp_path):
    checkout, programs = workplace
    models = checkout / "framework_schema" / "models" / "dashboards.py"
    text, line = models.read_text(encoding="utf-8"), '    class Meta:\n        table_name = "DashboardWidget"\n'
    assert line in text
    models.write_text(text.replace(line, f"    colour = pw.TextField(null=True)\n\n{line}"), encoding="utf-8")

    run(programs / "pw_migrate", "create", "add_colour", "--auto", cwd=checkout)
    (script,) = new_scripts(checkout)
    run(programs / "framework-schema", "migrate", make_old_database(tmp_path / "homebrew.db"), cwd=tmp_path)

    assert script.endswith("_add_colour.py")
    assert databases_in(checkout) == []
    columns = query(tmp_path / "homebrew.db", "SELECT name FROM pragma_table_info('DashboardWidget')")
    assert ("colour",) in columns


def test_pw_migrate_never_ticks_scripts_on_a_database_in_memory(workplace):
    checkout, programs = workplace

    done = run(programs / "pw_migrate", "migrate", cwd=checkout, check=False)

    assert done.returncode == 2
    assert "framework-schema migrate" in done.stderr
    assert "[x]" not in done.stdout

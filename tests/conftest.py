import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import histories
import pytest

from framework_schema.config import Config
from framework_schema.runner import Runner
from framework_schema.sources import Folder


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Keep templates in a folder of the test run, never in the user's."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("dumps")))
    if os.environ.get("FRAMEWORK_SCHEMA_TEST_SHORTCUTS") == "off":  # in this process, and in those of commands
        patch.setenv("FRAMEWORK_SCHEMA_TEMPLATE", "off")
        patch.setenv("FRAMEWORK_SCHEMA_PLAN_CACHE", "off")
        patch.setattr(Runner, "_copied", lambda self, order: None)
        patch.setattr(Runner, "_plan_key", lambda self, database, order: None)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def historical(tmp_path_factory):
    """The fifteen historical databases by id; to be copied, never changed."""
    directory = tmp_path_factory.mktemp("histories")
    return {path.stem: path for path in histories.build_all(directory)}


@pytest.fixture
def copy_of(historical, tmp_path):
    """Make a copy of one historical database in ``tmp_path``."""

    def copy(name, to=None):
        return Path(shutil.copy(historical[name], to or tmp_path / f"{name}.db"))

    return copy


@pytest.fixture
def path(tmp_path):
    """Name a database that is not there yet."""
    return tmp_path / "homebrew.db"


@pytest.fixture
def folder(tmp_path):
    """Write scripts, as ``{name: text}``, into a folder of ``tmp_path``, and return it as a source."""

    def write(scripts, *, of="scripts", source="app", depends_on=()):
        directory = tmp_path / of
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in scripts.items():
            (directory / f"{name}.py").write_text(dedent(text), encoding="utf-8")
        return Folder(directory, source, tuple(depends_on))

    return write


@pytest.fixture
def runner(path):
    """Make a runner for ``path`` that knows these sources only."""

    def make(*sources, database=None, **settings):
        return Runner(database or path, sources=sources, config=Config(**{"timeout": 5, **settings}))

    return make


@pytest.fixture
def python():
    """Run a Python text in a process of its own; ``user`` is whom it runs as, where we are root."""

    def run(text, *args, executable=sys.executable, env=None, user=None, check=True):
        root = str(Path(__file__).parents[1])
        environment = os.environ | {"PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"} | (env or {})
        as_user = {"user": user, "group": user, "extra_groups": []} if user and os.geteuid() == 0 else {}
        done = subprocess.run(
            [executable, "-c", dedent(text), *map(str, args)],
            env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False, **as_user,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


ON_SERVERS = re.compile(r"tests/(contract/|test_(mysql|pgbouncer|postgres|transfer)\w*\.py)")


def server_of(nodeid):
    """Name the database server a test works on, by the engines it is named after."""
    if not ON_SERVERS.match(nodeid):
        return None
    told = re.findall("mariadb|mysql|postgres|pgbouncer|sqlite", nodeid.partition("::")[0] + nodeid.partition("[")[2])
    if set(told) & {"mariadb", "mysql"} or not told:
        return "mariadb"
    return None if set(told) == {"sqlite"} else "postgresql"


def pytest_xdist_make_scheduler(config, log):
    """Keep the tests on one server in one worker: what is on a server is seen by all.

    By hand, since groups of pytest-xdist 3.8 are not seen by pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByServer(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return server_of(nodeid) or nodeid

    return ByServer(config, log)

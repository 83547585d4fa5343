"""A real pgbouncer before the tests' PostgreSQL, in one of its pool modes, for as long as the body runs."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import servers


@contextmanager
def pooled(fresh, mode, **settings):
    """Start one for a database and give the URL to connect to; skips where there is no pgbouncer on the path."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        if "pgbouncer" in os.environ.get("FRAMEWORK_SCHEMA_TEST_REQUIRE", "").split(","):
            pytest.fail("pgbouncer is required and not on the path")
        pytest.skip("no pgbouncer on the path")
    server, port = urlsplit(fresh.server), servers._free_port()
    folder = Path(tempfile.mkdtemp(prefix="framework-schema-pgbouncer-"))
    (folder / "users.txt").write_text(f'"{server.username}" "{server.password or ""}"\n')
    options = {
        "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "pool_mode": mode, "auth_type": "trust",
        "auth_file": folder / "users.txt", "default_pool_size": 10, "logfile": folder / "pgbouncer.log",
        "ignore_startup_parameters": "extra_float_digits", "server_round_robin": 1, **settings,
    }  # fmt: skip
    lines = [f"{name} = {value}" for name, value in options.items()]
    place = f"host={server.hostname} port={server.port or 5432} dbname={fresh.name}"
    config = folder / "pgbouncer.ini"
    config.write_text("\n".join(["[databases]", f"{fresh.name} = {place}", "[pgbouncer]", *lines, ""]))
    who = {}
    if os.geteuid() == 0:  # which it refuses to run as
        nobody = pwd.getpwnam("nobody")
        who = {"user": "nobody", "group": nobody.pw_gid, "extra_groups": []}
        for path in (folder, *folder.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    with (folder / "out").open("w") as out:
        process = subprocess.Popen([program, "-q", config], stdout=out, stderr=out, **who)
    url = f"postgresql://{server.username}@127.0.0.1:{port}/{fresh.name}"
    try:
        for _ in range(100):
            with suppress(Exception):
                servers.run("postgresql", url, "SELECT 1")
                break
            assert process.poll() is None, (folder / "out").read_text()
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)

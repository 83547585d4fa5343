"""A Galera cluster of several nodes on loopback, for the tests that ask for one.

Its nodes are ``mariadbd`` from the path with the provider of the package
``galera-4``, and take each other's data by rsync. What is missing skips the
test, or fails it where ``FRAMEWORK_SCHEMA_TEST_REQUIRE`` names galera.
"""

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import pytest
import servers

PROVIDERS = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")


def need(nodes):
    """Return a running cluster, one for the session, or skip the test saying what is missing."""
    try:
        return _cluster(nodes)
    except servers.Missing as missing:
        if "galera" in os.environ.get("FRAMEWORK_SCHEMA_TEST_REQUIRE", "").split(","):
            pytest.fail(f"galera is required: {missing}")
        return pytest.skip(f"no galera: {missing}")


@lru_cache
def _cluster(nodes):
    return Cluster(nodes)


class Node:
    """One server of a cluster."""

    def __init__(self, home, number, user):
        self.home, self.number, self.user = Path(home) / f"node{number}", number, user
        self.port, self.group, self.transfer = servers._free_port(), servers._free_port(), servers._free_port()
        self.process = None

    @property
    def url(self):
        return f"mariadb://root@127.0.0.1:{self.port}"

    @property
    def common(self):
        return ["--no-defaults", f"--datadir={self.home}/data", f"--user={self.user}", "--skip-name-resolve"]

    def install(self):
        self.home.mkdir()
        shutil.chown(self.home, self.user)
        subprocess.run(
            ["mariadb-install-db", *self.common, "--auth-root-authentication-method=normal", "--skip-test-db",
             "--innodb-log-file-size=8M"],
            check=True, capture_output=True,
        )  # fmt: skip

    def start(self, members, provider, *, first=False):
        """Start it, as the first of a new cluster or as one more of those that run."""
        options = [
            *self.common, f"--socket={self.home}/s.sock", f"--port={self.port}", "--bind-address=127.0.0.1",
            f"--pid-file={self.home}/pid", "--performance-schema=0", "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", "--innodb-use-native-aio=0",
            "--innodb-flush-method=nosync", "--binlog-format=ROW", "--default-storage-engine=InnoDB",
            "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", f"--wsrep-provider={provider}",
            "--wsrep-cluster-name=framework-schema-tests", f"--wsrep-node-name=node{self.number}",
            "--wsrep-node-address=127.0.0.1", "--wsrep-sst-method=rsync",
            f"--wsrep-sst-receive-address=127.0.0.1:{self.transfer}",
            f"--wsrep-cluster-address=gcomm://{'' if first else ','.join(members)}",
            "--wsrep-provider-options=" + ";".join([
                f"gmcast.listen_addr=tcp://127.0.0.1:{self.group}", f"base_port={self.group}",
                f"ist.recv_addr=127.0.0.1:{servers._free_port()}", "gcache.size=32M", "evs.suspect_timeout=PT2S",
                "evs.inactive_timeout=PT4S", "evs.keepalive_period=PT0.5S", "evs.inactive_check_period=PT0.5S",
            ]),
        ]  # fmt: skip
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(["mariadbd", *options], cwd=self.home, stdout=log, stderr=log)
        for _ in range(600):
            if self.process.poll() is not None:
                break
            with suppress(Exception):
                if self.status("wsrep_ready") == "ON":
                    return self
            time.sleep(0.1)
        raise servers.Missing(f"a node did not come up; the end of its log: {self.log()}")

    def status(self, name):
        return servers.run("mariadb", self.url, f"SHOW STATUS LIKE '{name}'")[0][1]

    def log(self):
        return (self.home / "log").read_text(encoding="utf-8", errors="replace")[-1500:]

    def kill(self):
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Cluster:
    """Nodes that hold the same data."""

    def __init__(self, nodes):
        self.provider = next((path for path in PROVIDERS if Path(path).exists()), None)
        wanted = ("mariadbd", "mariadb-install-db", "rsync", "wsrep_sst_rsync")
        lacking = [program for program in wanted if not shutil.which(program)]
        if lacking or self.provider is None:
            raise servers.Missing(f"{', '.join(lacking) or 'the provider libgalera_smm.so'} is not installed")
        user = "mysql" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.home = Path(tempfile.mkdtemp(prefix="framework-schema-galera-"))
        shutil.chown(self.home, user)
        self.nodes = [Node(self.home, number, user) for number in range(nodes)]
        self.members = [f"127.0.0.1:{node.group}" for node in self.nodes]
        atexit.register(self.stop)
        for node in self.nodes:
            node.install()
            node.start(self.members, self.provider, first=node.number == 0)

    def stop(self):
        for node in self.nodes:
            if node.process is not None:
                node.process.send_signal(signal.SIGKILL)
                node.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

"""The migration lock of a Galera cluster, which all of its nodes heed and which dies with its holder.

GET_LOCK is local to a node. Here the lock is a row that a transaction of its own
connection has changed and not committed, and whose change is sent to all nodes at
once, since it is streamed (https://mariadb.com/kb/en/using-streaming-replication-for-large-transactions/):
the cluster certifies it, so no two have it; on every node the row is locked. The
server rolls it back when the connection ends, and the other nodes do when the
node is gone. Nothing has to be renewed, and nothing is left to be taken over.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peewee as pw

TABLE = "schema_migration_lock"
"""Holds the one row; it is there on clusters only, and always empty of news once the run is over."""

PAUSE = 0.2
"""Seconds between two tries; a try itself waits for the row up to a second."""
DEADLOCK, LOCK_TIMEOUT, IS_THERE, UNKNOWN_VARIABLE = 1213, 1205, 1062, 1193
AGAIN = {DEADLOCK, LOCK_TIMEOUT, IS_THERE}

logger = logging.getLogger(__name__)


class LockLost(pw.OperationalError):
    """The lock's connection is gone: another node may hold it. Numbered as a conflict, so the run is begun again."""

    def __init__(self) -> None:
        super().__init__(DEADLOCK, "the cluster's migration lock was lost with its connection")


def is_cluster(database: pw.Database) -> bool:
    """Tell whether this server is a node of a Galera cluster."""
    return _variable(database, "VARIABLES", "wsrep_on") == "ON"


def node_of(database: pw.Database) -> str:
    """Return what tells this node from the others."""
    return _variable(database, "STATUS", "wsrep_gcomm_uuid")


def other_nodes(database: pw.Database) -> frozenset[str] | None:
    """Return the other nodes of the cluster; None where its list may not be read."""
    try:
        rows = database.execute_sql("SELECT node_uuid FROM mysql.wsrep_cluster_members").fetchall()
    except pw.DatabaseError:
        return None
    return frozenset(str(uuid) for (uuid,) in rows) - {node_of(database)}


class ClusterLock:
    """The lock as one process holds it, on a connection of its own."""

    def __init__(self, connection: pw.Database) -> None:
        self.connection = connection
        self.mark = f"process {os.getpid()} on {socket.gethostname()}"

    @contextmanager
    def held(self, wait: float) -> Iterator[bool]:
        """Hold it in the body; tells whether it was had in time."""
        with self.connection.connection_context():
            try:
                yield self._take(time.monotonic() + wait)
            finally:
                if not self.connection.is_closed():
                    self._let_go()

    def check(self) -> None:
        """Raise ``LockLost`` unless it is still ours: before each statement that writes."""
        try:
            found = self.connection.execute_sql(f"SELECT holder FROM {TABLE} WHERE id = 1").fetchone()
        except pw.PeeweeException as error:
            raise LockLost from error
        if not found or found[0] != self.mark:
            raise LockLost

    def holder(self) -> str:
        """Say who holds it, as far as this node has heard."""
        self.connection.execute_sql("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
        found = self.connection.execute_sql(f"SELECT holder FROM {TABLE} WHERE id = 1").fetchone()
        who = f": {found[0]}" if found and found[0] else ""
        return f"another process of the cluster migrates it and did not finish in time{who}"

    def _take(self, end: float) -> bool:
        self.connection.execute_sql(
            "SET SESSION wsrep_trx_fragment_unit = 'statements', wsrep_trx_fragment_size = 1, "
            "innodb_lock_wait_timeout = 1, wait_timeout = 2147483"
        )
        while not self._try():
            if time.monotonic() >= end:
                return False
            time.sleep(PAUSE)
        return True

    def _try(self) -> bool:
        try:
            self._make_row()
            self.connection.execute_sql("BEGIN")
            self.connection.execute_sql(f"UPDATE {TABLE} SET holder = %s WHERE id = 1", (self.mark,))
            self.check()
        except pw.PeeweeException as error:
            self._let_go()
            if isinstance(error, LockLost) or _number(error) in AGAIN:
                return False
            raise
        return True

    def _make_row(self) -> None:
        """Make the table and its row, once for the cluster; looking first, for to create is every node's affair."""
        there = "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s"
        if self.connection.execute_sql(there, (TABLE,)).fetchone() is None:
            self.connection.execute_sql(
                f"CREATE TABLE IF NOT EXISTS {TABLE} (id INTEGER PRIMARY KEY, holder VARCHAR(255)) ENGINE=InnoDB"
            )
        if self.connection.execute_sql(f"SELECT 1 FROM {TABLE} WHERE id = 1").fetchone() is None:
            self.connection.execute_sql(f"INSERT INTO {TABLE} VALUES (1, NULL)")

    def _let_go(self) -> None:
        try:
            self.connection.execute_sql("ROLLBACK")
        except pw.PeeweeException as error:
            logger.debug("the lock's connection was gone already: %s", error)


def _variable(database: pw.Database, what: str, name: str) -> str:
    found = database.execute_sql(f"SHOW GLOBAL {what} LIKE '{name}'").fetchone()
    return str(found[1]) if found else ""


def _number(error: Any) -> int | None:
    args = getattr(error, "args", ())
    return args[0] if args and isinstance(args[0], int) else None

"""From what a user calls a database to a connection of our own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import peewee as pw

from framework_schema.errors import ConfigError, DatabaseError, Locked, Unreadable

SECRET_QUERY = re.compile(r"(?i)([?&](?:password|passwd|sslpassword|token|key)=)[^&#]*")
SECRET_LOGIN = re.compile(r"(?<=://)([^:@/?#]*):[^/?#]*@")
URL = re.compile(r"[a-z][a-z0-9+]*://", re.I)


@dataclass(frozen=True)
class Target:
    """One database: what to call it, and a closed Peewee database that is ours.

    ``database`` is never the app's own object, but for one in memory, which
    lives in a single connection; then ``borrowed`` is true and it stays open.
    """

    name: str
    url: str
    engine: str
    database: pw.Database
    path: Path | None = None
    borrowed: bool = False

    @contextmanager
    def connected(self) -> Iterator[pw.Database]:
        """Open the connection for the body, and close it again."""
        with translated(self):
            self.database.connect(reuse_if_open=self.borrowed)
        try:
            with translated(self):
                yield self.database
        finally:
            if not self.borrowed:
                self.database.close()


def open_target(
    target: str | os.PathLike[str] | pw.Database | pw.Proxy, *, create: bool = True, timeout: float = 30
) -> Target:
    """Return a path, URL or Peewee database as a ``Target``; opens nothing.

    A path is a SQLite file whatever its name holds; what has ``scheme://`` is
    a URL. ``create`` allows a file that is not there yet. ``timeout`` is how
    long, in seconds, to wait for other connections.

    Raises ``ConfigError`` for what is neither, ``Unreadable`` for a path that
    cannot be a database.
    """
    if isinstance(target, pw.Proxy):
        if target.obj is None:
            raise ConfigError("the database proxy was not initialised; call its initialize() first")
        target = target.obj
    if isinstance(target, pw.Database):
        return _of_database(target, timeout)
    if isinstance(target, os.PathLike) or not URL.match(str(target)):
        return _of_path(Path(target), create, timeout)
    return _of_url(str(target), create, timeout)


def hide_password(url: str) -> str:
    """Return the URL, or a text that holds URLs, without any password."""
    return SECRET_QUERY.sub(r"\1***", SECRET_LOGIN.sub(r"\1:***@", url))


@contextmanager
def translated(target: Target) -> Iterator[None]:
    """Turn what the driver raises into our errors, with the database's name and a remedy."""
    try:
        yield
    except pw.DatabaseError as error:
        known = translate(target.name, error)
        if known is None:
            raise
        raise known from error


def translate(name: str, error: pw.DatabaseError) -> DatabaseError | None:
    """Return our error for a driver's complaint about the database itself, None for any other."""
    text = hide_password(str(error))
    for pattern, kind, problem, remedy in COMPLAINTS:
        if pattern in text:
            return kind(name, problem or text, remedy)
    return None


COMPLAINTS: tuple[tuple[str, type[DatabaseError], str, str], ...] = (
    ("file is not a database", Unreadable, "the file is not a SQLite database",
     "Look what the file is (`file NAME`), or restore it from a backup."),
    ("malformed", Unreadable, "the database file is damaged",
     "Restore a backup, or save what can be read with `sqlite3 FILE .recover`."),
    ("unable to open database file", Unreadable, "the file cannot be opened",
     "Check that its folder exists and that this user may read and write both."),
    ("readonly database", Unreadable, "the database is read-only for this user",
     "Give this user write permission on the file and its folder."),
    ("disk is full", Unreadable, "the disk is full", "Free some space and run again."),
    ("disk I/O error", Unreadable, "the disk reported an error", "Check disk and file system, then run again."),
    ("database is locked", Locked, "another process holds the database and did not let go in time",
     "Try again when it is done, or wait longer (--timeout)."),
    ("database table is locked", Locked, "another connection holds a table of this database",
     "Try again when it is done."),
)  # fmt: skip


def _of_path(path: Path, create: bool, timeout: float) -> Target:
    name = str(path)
    if name == ":memory:":
        return Target(name, "sqlite:///:memory:", "sqlite", pw.SqliteDatabase(":memory:"), borrowed=True)
    if path.is_dir():
        raise Unreadable(
            name, "this is a directory, not a database file", "Name the file, or the folder that holds it."
        )
    if not create and not path.exists():
        raise Unreadable(name, "there is no such file", "Check the name; a new database is made by sqlite:///NAME.")
    if not path.absolute().parent.is_dir():
        raise Unreadable(name, f"there is no folder {path.absolute().parent}", "Create the folder first.")
    return Target(name, f"sqlite:///{name}", "sqlite", _sqlite(path, create, timeout), path)


def _sqlite(path: Path, create: bool, timeout: float) -> pw.SqliteDatabase:
    uri = f"file:{quote(str(path.absolute()))}?mode={'rwc' if create else 'rw'}"
    return pw.SqliteDatabase(uri, uri=True, timeout=timeout)


def _of_url(url: str, create: bool, timeout: float) -> Target:
    scheme, _, rest = url.partition("://")
    if scheme.lower().removesuffix("+pool") in ("sqlite", "sqliteext"):
        place = unquote(rest.partition("?")[0].removeprefix("/"))
        return _of_path(Path(place or ":memory:"), create, timeout)
    raise ConfigError(
        f"{hide_password(url)}: the engine {scheme!r} is not supported by this release. Nothing was opened. "
        "Use a SQLite path or sqlite:/// URL."
    )


def _of_database(database: pw.Database, timeout: float) -> Target:
    if not isinstance(database, pw.SqliteDatabase):
        raise ConfigError(f"{type(database).__name__} is not supported by this release; use a SQLite database")
    place = str(database.database)
    if database.database is None:
        raise ConfigError("the Peewee database has no name yet; call its init() first")
    if ":memory:" in place or "mode=memory" in place:
        return Target(":memory:", "sqlite:///:memory:", "sqlite", database, borrowed=True)
    path = None if place.startswith("file:") else Path(place)
    name = place if path is None else str(path)
    return Target(name, f"sqlite:///{name}", "sqlite", _own_copy(database, timeout), path)


def _own_copy(database: pw.SqliteDatabase, timeout: float) -> pw.SqliteDatabase:
    """Return a database like the app's, unpooled and closed, that sees what the app's sees.

    What the app registered on its connections (functions, collations,
    extensions, attached files) may be named by its triggers and indexes.
    """
    params: dict[str, Any] = dict(database.connect_params) | {"timeout": timeout}
    kind = pw.SqliteDatabase
    if type(database).__module__ == "playhouse.sqlcipher_ext":
        kind = type(database)
    pragmas = [
        (name, value) for name, value in getattr(database, "_pragmas", ()) if str(name).lower() != "foreign_keys"
    ]
    copy = kind(database.database, pragmas=pragmas, **params)
    for registry in (
        "_aggregates",
        "_collations",
        "_functions",
        "_window_functions",
        "_extensions",
        "_attached",
    ):
        setattr(copy, registry, type(getattr(database, registry))(getattr(database, registry)))
    return copy

"""From what a user calls a database to a connection of our own."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import peewee as pw
from playhouse import db_url

from framework_schema import permissions
from framework_schema.errors import ConfigError, DatabaseError, Locked, Unreadable

SECRET_QUERY = re.compile(r"(?i)([?&](?:password|passwd|sslpassword|token|key)=)[^&#]*")
SECRET_LOGIN = re.compile(r"(?<=://)([^:@/?#\s]*):\S*@")
"""To the last @, whatever is between: a password with a / that nobody encoded must not show either."""
URL = re.compile(r"[a-z][a-z0-9+]*://", re.I)
SCHEMES = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "psycopg": "postgresql",
    "psycopg3": "postgresql",
    "mysql": "mariadb",
    "mariadb": "mariadb",
    "cockroachdb": "cockroachdb",
}


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
    def connected(self, opened: sqlite3.Connection | None = None) -> Iterator[pw.Database]:
        """Open the connection for the body, or go on with one of ``opened_plainly``, and close it again."""
        with translated(self):
            if opened is not None and isinstance(self.database, OwnSqlite):
                self.database.take(opened)
            elif self.engine == "sqlite":
                self.database.connect(reuse_if_open=self.borrowed)
            else:
                _reach(self)
            try:
                yield self.database
            except pw.DatabaseError as error:
                from framework_schema import registered  # reads SQL, which only a failure needs

                known = registered.lacking(self.database, self.name, error)
                if known is None:
                    raise
                raise known from error
            finally:
                if not self.borrowed:
                    self.database.close()

    def opened_plainly(self) -> sqlite3.Connection | None:
        """Open a file without Peewee; None where something of an app has to be registered first, or it fails."""
        if not isinstance(self.database, OwnSqlite):
            return None
        try:
            return self.database.open()
        except sqlite3.Error:
            return None


class OwnSqlite(pw.SqliteDatabase):
    """A plain connection of ours to a SQLite file."""

    def open(self) -> sqlite3.Connection:
        """Open it without what Peewee registers, which no statement of a first look names."""
        params: dict[str, Any] = self.connect_params
        connection: sqlite3.Connection
        connection = sqlite3.connect(self.database, timeout=self.timeout, isolation_level=None, **params)
        return connection

    def take(self, connection: sqlite3.Connection) -> None:
        """Go on with a connection that ``open`` returned."""
        peewee: Any = self
        peewee._add_conn_hooks(connection)
        peewee._state.set_connection(connection)


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


def open_file(target: str | os.PathLike[str] | pw.Database, timeout: float) -> sqlite3.Connection | None:
    """Open the SQLite file that a path, URL or Peewee database names, without anything that an app registers.

    None for any other database; the driver's error, or ours, for a file that is not there.
    """
    name = str(target.database) if isinstance(target, pw.SqliteDatabase) else target
    if isinstance(name, pw.Database) or ":memory:" in str(name) or str(name).startswith("file:"):
        return None
    path = open_target(name, create=False).path if URL.match(str(name)) else Path(name)
    if path is None:
        return None
    return sqlite3.connect(_uri(path, "rw"), uri=True, timeout=timeout, isolation_level=None)


def hide_password(url: str) -> str:
    """Return the URL, or a text that holds URLs, without any password."""
    if "@" not in url and "=" not in url:
        return url
    return SECRET_QUERY.sub(r"\1***", SECRET_LOGIN.sub(r"\1:***@", url))


REGISTRIES = ("_aggregates", "_collations", "_functions", "_window_functions", "_extensions", "_attached")
"""Where Peewee keeps what an app gave its SQLite connections."""


@contextmanager
def translated(target: Target) -> Iterator[None]:
    """Turn what the driver raises into our errors, with the database's name and a remedy."""
    try:
        yield
    except pw.DatabaseError as error:
        known = translate(target.name, error, target.path)
        if known is None:
            raise
        raise known from error


def translate(name: str, error: pw.DatabaseError, path: Path | None = None) -> DatabaseError | None:
    """Return our error for a driver's complaint about the database itself, None for any other.

    SQLite does not say which file it was not let at; with the ``path`` of the database it is looked for.
    """
    text = hide_password(str(error))
    for pattern, kind, problem, remedy in COMPLAINTS:
        if pattern in text:
            places = permissions.barred(path) if path is not None and pattern in BARRED else ()
            if places:
                found = f"{problem or text}: {permissions.problem(places)}"
                return kind(name, found, f"As root or their owner: {permissions.remedy(places)}")
            return kind(name, problem or text, remedy)
    return None


BARRED = ("unable to open database file", "readonly database", "disk I/O error")
"""What SQLite says where it may not open or write the database, or a file beside it."""


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
    if "\0" in name:
        raise ConfigError(f"{name!r} is no name for a file. Nothing was opened.")
    try:
        mode = _mode(path)
        has_folder = mode is not None or path.absolute().parent.is_dir()
    except OSError as error:
        problem = f"the file cannot be reached ({error.strerror})"
        raise Unreadable(name, problem, "Check the name, and that this user may enter its folders.") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise Unreadable(
            name, "this is a directory, not a database file", "Name the file, or the folder that holds it."
        )
    if not create and mode is None:
        raise Unreadable(name, "there is no such file", "Check the name; a new database is made by sqlite:///NAME.")
    if not has_folder:
        raise Unreadable(name, f"there is no folder {path.absolute().parent}", "Create the folder first.")
    return Target(name, f"sqlite:///{name}", "sqlite", _sqlite(path, create, timeout), path)


def _mode(path: Path) -> int | None:
    """Return what ``stat`` says of a file, or None where there is none."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name that no file can have
        return None


def _sqlite(path: Path, create: bool, timeout: float) -> OwnSqlite:
    return OwnSqlite(_uri(path, "rwc" if create else "rw"), uri=True, timeout=timeout)


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"


def _of_url(url: str, create: bool, timeout: float) -> Target:
    file = file_of(url)
    return _of_server_url(url, timeout) if file is None else _of_path(Path(file), create, timeout)


def file_of(url: str) -> str | None:
    """Return the path in a SQLite URL, ``:memory:`` if it has none; None for a server's URL."""
    scheme, _, rest = url.partition("://")
    if scheme.lower().removesuffix("+pool") not in ("sqlite", "sqliteext"):
        return None
    return unquote(rest.partition("?")[0].removeprefix("/")) or ":memory:"


def _of_server_url(url: str, timeout: float) -> Target:
    """Read a server's URL; ``+pool`` is left out, since our connection is one that is opened and closed."""
    scheme = url.partition("://")[0].lower().removesuffix("+pool")
    engine = SCHEMES.get(scheme)
    if engine is None:
        raise ConfigError(
            f"{hide_password(url)}: the engine {scheme!r} is not supported. Nothing was opened. "
            f"Use a path, or a URL that begins with sqlite, {', '.join(SCHEMES)}."
        )
    try:
        given = db_url.parse(url, unquote_password=True, unquote_user=True)
    except ValueError:
        problem = "the URL cannot be read; percent-encode what is special in user and password"
        raise ConfigError(f"{hide_password(url)}: {problem}. Nothing was opened.") from None
    name = unquote(str(given.pop("database") or ""))
    if not name:
        raise ConfigError(f"{hide_password(url)}: the URL names no database. Nothing was opened.")
    return _of_server(engine, name, given, timeout)


def _of_server(engine: str, name: str, params: dict[str, Any], timeout: float) -> Target:
    _require_driver(engine)
    schema = params.pop("schema", None) or params.pop("search_path", None)
    if schema is not None:
        params["options"] = f"{params.get('options', '')} -c search_path={_escaped(str(schema))}".strip()
    database = own_server(engine, name, params)
    database.wait = timeout
    password = params.get("password", params.get("passwd"))
    who = f"{quote(str(params['user']), safe='')}{':***' if password else ''}@" if params.get("user") else ""
    port = f":{params['port']}" if params.get("port") else ""
    tail = f"{params.get('host') or 'localhost'}{port}/{name}" + (f"?schema={schema}" if schema else "")
    label = f"{who.replace(':***', '')}{tail}"
    return Target(f"{engine}://{label}", f"{engine}://{who}{tail}", engine, database)


def own_server(engine: str, name: str, params: dict[str, Any]) -> Any:
    """Make a plain connection, closed; prepared statements do not outlive a pooling proxy's transaction."""
    if engine == "mariadb":
        from framework_schema.mysql import OwnMysql

        return OwnMysql(name, **params)
    from framework_schema.postgres import OwnCockroach, OwnPostgres

    usual: dict[str, Any] = {"connect_timeout": 10, "application_name": "framework-schema"}
    if find_spec("psycopg"):
        usual["prepare_threshold"] = None
    return (OwnCockroach if engine == "cockroachdb" else OwnPostgres)(name, **{**usual, **params})


def clone(database: pw.Database) -> Any:
    """Return a connection of our own like this one, closed: for a scratch, or beside one that is busy."""
    engine = engine_of(database)
    copy = own_server(engine, str(database.database), dict(database.connect_params))
    copy.wait = getattr(database, "wait", 30)
    return copy


def engine_of(database: pw.Database) -> str:
    """Name the engine of a Peewee database."""
    if isinstance(database, pw.MySQLDatabase):
        return "mariadb"
    if isinstance(database, pw.PostgresqlDatabase):
        return "cockroachdb" if "cockroach" in type(database).__name__.lower() else "postgresql"
    if isinstance(database, pw.SqliteDatabase):
        return "sqlite"
    raise ConfigError(
        f"{type(database).__name__} is not supported; use a SQLite, PostgreSQL, MariaDB or CockroachDB database"
    )


def _require_driver(engine: str) -> None:
    """Raise ``ConfigError`` naming the extra when no driver is installed."""
    drivers, extra = (("pymysql", "MySQLdb"), "mysql") if engine == "mariadb" else (("psycopg", "psycopg2"), "postgres")
    if not any(find_spec(driver) for driver in drivers):
        raise ConfigError(
            f"{engine} needs a driver that is not installed. Nothing was opened. "
            f"Run: pip install 'framework-schema[{extra}]'"
        )


def _escaped(value: str) -> str:
    """Escape a value for libpq's ``options``: https://www.postgresql.org/docs/current/libpq-connect.html."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _reach(target: Target) -> None:
    """Connect to a server; its or the driver's refusal becomes one clear line, without a password."""
    try:
        target.database.connect()
    except (pw.DatabaseError, pw.InterfaceError, ValueError, TypeError) as error:
        text = " ".join(hide_password(str(error)).split())
        for secret in ("password", "passwd"):
            value = target.database.connect_params.get(secret)
            text = text.replace(str(value), "***") if value else text
        raise Unreadable(target.name, f"no connection ({text})", _remedy(text)) from None


def _remedy(text: str) -> str:
    lower = text.lower()
    if "does not exist" in lower or "unknown database" in lower:
        return "Create the database first, or check its name."
    if "password" in lower or "access denied" in lower or "authentication" in lower:
        return "Check user and password."
    return "Check that the server runs, and host and port."


def _of_database(database: pw.Database, timeout: float) -> Target:
    engine = engine_of(database)
    if database.database is None:
        raise ConfigError("the Peewee database has no name yet; call its init() first")
    if engine != "sqlite":
        name = str(database.database)
        if "://" in name:
            return open_target(name, timeout=timeout)
        return _of_server(engine, name, dict(database.connect_params), timeout)
    assert isinstance(database, pw.SqliteDatabase)
    place = str(database.database)
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
    for registry in REGISTRIES:
        setattr(copy, registry, type(getattr(database, registry))(getattr(database, registry)))
    return copy

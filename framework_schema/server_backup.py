"""Verified dumps of a server's database by the server's own tools, and the way back.

A dump of PostgreSQL holds one schema, the one the connection is in, and a dump
of MariaDB one database: what else is on the server belongs to others. Passwords
go to the tools by ``PGPASSWORD``, which other users cannot see, and by a pipe
that MariaDB's tools read as their option file; never by arguments or a file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import peewee as pw

from framework_schema.databases import Target, clone, hide_password
from framework_schema.dialects import for_database
from framework_schema.errors import BackupFailed, Locked, SchemaError, Unreadable
from framework_schema.server_snapshot import my_quote, pg_quote

Keep = Callable[[], Path]
"""Makes a copy of what is about to be replaced, and returns its path."""
Record = Callable[[pw.Database, Path | None], None]

LIBPQ = (
    "host", "hostaddr", "port", "user", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile", "service",
    "options", "gssencmode", "krbsrvname", "channel_binding", "target_session_attrs", "connect_timeout",
)  # fmt: skip
"""What of a connection's parameters the tools are told."""

MARIADB = {
    "host": "host", "port": "port", "user": "user", "password": "password", "passwd": "password",
    "unix_socket": "socket", "ssl_ca": "ssl-ca", "ssl_cert": "ssl-cert", "ssl_key": "ssl-key",
}  # fmt: skip

COPY = re.compile(rb"COPY [^;]* FROM stdin;\n")
ELSEWHERE = re.compile(rb"(USE |CREATE DATABASE )")
ENDS_WITH = b"-- Dump completed"

OBJECTS = """
WITH here AS (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
    WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, c.oid::regclass::text, c.oid, 'pg_class'
FROM pg_class c, here WHERE c.relnamespace = here.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
UNION ALL SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
    p.oid::regprocedure::text, p.oid, 'pg_proc'
FROM pg_proc p, here WHERE p.pronamespace = here.oid
UNION ALL SELECT CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, t.oid::regtype::text, t.oid, 'pg_type'
FROM here, pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typnamespace = here.oid AND t.typtype IN ('c', 'd', 'e', 'r')
    AND (t.typtype <> 'c' OR c.relkind = 'c')
"""


def dump(target: Target, partial: Path) -> None:
    """Write a dump into a file and prove that it is whole.

    Raises ``BackupFailed`` when a tool is missing or fails.
    """
    dump_postgres(target, partial) if target.engine.startswith("postgres") else dump_mysql(target, partial)


def restore(target: Target, file: Path, keep: Keep, record: Record) -> Path | None:
    """Put the content of a dump in the place of the database's, and return a dump of what was there.

    PostgreSQL: in one transaction, in which others can read and not write until
    the old is dropped. MariaDB, where no transaction undoes DDL: the dump is
    loaded into a scratch database first, so that one that cannot be loaded does
    no harm; then tables are dropped and loaded. Stop what writes before.

    Raises ``Unreadable`` for a dump that cannot be trusted and ``BackupFailed``
    when what there is could not be kept; then nothing was changed.
    """
    if target.engine not in ("postgresql", "mariadb"):
        raise BackupFailed(target.name, f"restore is not possible on {target.engine}", "Use the server's own tools.")
    put_back = _restore_postgres if target.engine == "postgresql" else _restore_mysql
    with target.connected() as database, for_database(database).exclusive(database, target.name):
        return put_back(target, database, file, keep, record)


# PostgreSQL


def dump_postgres(target: Target, partial: Path) -> None:
    """Write a dump of the current schema in pg_dump's own format, and let pg_restore read all of it."""
    _tool(target, "pg_dump")
    _dump_with(target, partial, _schema(target))
    _run(target, [_tool(target, "pg_restore"), f"--file={os.devnull}", str(partial)])


def _dump_with(target: Target, partial: Path, schema: str) -> None:
    params: Mapping[str, Any] = target.database.connect_params
    place = {"dbname": target.database.database} | {name: params[name] for name in LIBPQ if params.get(name)}
    password = params.get("password")
    environment = {} if password is None else {"PGPASSWORD": str(password)}
    _run(
        target,
        [
            _tool(target, "pg_dump"), "--format=custom", "--no-password", f"--schema={pg_quote(schema)}",
            f"--lock-wait-timeout={int(_wait(target) * 1000)}", f"--file={partial}", f"--dbname={_conninfo(place)}",
        ],
        environment,
    )  # fmt: skip


def _schema(target: Target) -> str:
    with replace(target, database=clone(target.database)).connected() as database:
        return str(database.execute_sql("SELECT current_schema()").fetchone()[0])


def _wait(target: Target) -> float:
    return float(getattr(target.database, "wait", 30))


def _conninfo(params: Mapping[str, Any]) -> str:
    """Write a connection string: https://www.postgresql.org/docs/current/libpq-connect.html."""
    escaped = {name: str(value).replace("\\", "\\\\").replace("'", "\\'") for name, value in params.items()}
    return " ".join(f"{name}='{value}'" for name, value in escaped.items())


def _restore_postgres(target: Target, database: pw.Database, file: Path, keep: Keep, record: Record) -> Path | None:
    schema = str(database.execute_sql("SELECT current_schema()").fetchone()[0])
    held = bytes(_run(target, [_tool(target, "pg_restore"), "--list", str(file)], on=file)).decode(errors="replace")
    if not re.search(rf"^\d+; \d+ \d+ TABLE {re.escape(schema)} ", held, re.M):
        raise Unreadable(str(file), f"the backup holds no table of the schema {schema!r}", "Name another one.")
    kept = None
    tables = [pg_quote(name) for name in database.get_tables()]
    if tables:
        database.execute_sql(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")
        kept = keep()
    _drop_objects(target, database)
    command = [_tool(target, "pg_restore"), f"--schema={schema}", "--file=-", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tool:
        assert tool.stdout is not None and tool.stderr is not None
        _load(target, database.connection(), tool.stdout)
        if tool.wait():
            raise Unreadable(
                str(file), f"pg_restore failed: {tool.stderr.read().decode().strip()}", "Name another one."
            )
    database.execute_sql("RESET ALL")
    record(database, kept)
    return kept


def _drop_objects(target: Target, database: pw.Database) -> None:
    """Drop what is in the schema and no extension's, in whatever order it can be; nothing outside of it."""
    query = (
        f"SELECT kind, name FROM ({OBJECTS}) AS o (kind, name, oid, catalog) WHERE NOT EXISTS (SELECT 1 FROM "
        "pg_depend d WHERE d.classid = catalog::regclass AND d.objid = o.oid AND d.deptype IN ('e', 'i', 'a'))"
    )
    left = [(str(kind), str(name)) for kind, name in database.execute_sql(query).fetchall()]
    while left:
        again: list[tuple[str, str]] = []
        why: pw.PeeweeException | None = None
        for kind, names in _together(left):
            try:
                with database.savepoint():
                    database.execute_sql(f"DROP {kind} {', '.join(names)}")
            except pw.PeeweeException as error:
                why, again = error, again + [(kind, name) for name in names]
        if len(again) == len(left):
            assert why is not None
            if "lock timeout" in str(why):
                raise Locked(target.name, "another connection reads its tables all the time", "Stop it and try again.")
            raise BackupFailed(target.name, f"what is there could not be dropped ({why})", "Mend that.") from why
        left = again


def _together(objects: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Name all tables in one statement, for they may refer to each other in a circle; the rest one by one."""
    tables = [name for kind, name in objects if kind == "TABLE"]
    others = [(kind, [name]) for kind, name in objects if kind != "TABLE"]
    return [*others, ("TABLE", tables)] if tables else others


def _load(target: Target, connection: Any, script: IO[bytes]) -> None:
    """Run a script of pg_restore's on a connection, rows by COPY.

    psql's own commands are none of it, but for the two lines that guard psql.
    """
    cursor = connection.cursor()
    lines: list[bytes] = []
    for line in script:
        if COPY.match(line):
            _execute(target, cursor, b"".join(lines))
            lines = []
            with cursor.copy(line) as copy:
                for row in iter(script.readline, b""):
                    if row == b"\\.\n":
                        break
                    copy.write(row)
        elif not line.startswith((b"\\restrict ", b"\\unrestrict ")):
            lines.append(line)
    _execute(target, cursor, b"".join(lines))


def _execute(target: Target, cursor: Any, script: bytes) -> None:
    try:
        cursor.execute(script)
    except Exception as error:
        raise BackupFailed(
            target.name, f"the backup could not be loaded ({error})", "Mend that, or use pg_restore by hand."
        ) from error


# MariaDB


def dump_mysql(target: Target, partial: Path) -> None:
    """Write a dump as SQL; its last line says that it is whole."""
    tool = _tool(target, "mariadb-dump", "mysqldump")
    options = ["--single-transaction", "--routines", "--events", "--hex-blob", "--no-tablespaces"]
    with _option_file(target) as (first, pipe):
        _run(target, [tool, first, *options, f"--result-file={partial}", str(target.database.database)], pipes=[pipe])
    if not _is_whole(partial):
        raise BackupFailed(target.name, "the dump is cut off", "Check the disk, then try again.")


def _is_whole(file: Path) -> bool:
    with file.open("rb") as dump:
        dump.seek(max(file.stat().st_size - 200, 0))
        return ENDS_WITH in dump.read()


def _restore_mysql(target: Target, database: pw.Database, file: Path, keep: Keep, record: Record) -> Path | None:
    if not _is_whole(file):
        raise Unreadable(str(file), "the backup is no dump, or cut off", "Name another one.")
    with file.open("rb") as dump:
        if any(ELSEWHERE.match(line) for line in dump):
            raise Unreadable(str(file), "the backup names the database it is for", "Make it without --databases.")
    with for_database(database).scratch(database).opened() as scratch:
        name = str(scratch.execute_sql("SELECT DATABASE()").fetchone()[0])
        _load_mysql(target, name, file)
        if not scratch.get_tables():
            raise Unreadable(str(file), "the backup holds no table", "Name another one.")
    kept = keep() if database.get_tables() else None
    try:
        _drop_all(database)
        _load_mysql(target, str(database.database), file)
    except (SchemaError, pw.DatabaseError) as error:
        raise SchemaError(
            f"{target.name}: the backup was loaded in part only, after the old tables were dropped ({error}). "
            f"What was there is in {kept}. Mend the cause and restore one of the two again."
        ) from error
    record(database, kept)
    return kept


def _load_mysql(target: Target, name: str, file: Path) -> None:
    with _option_file(target) as (first, pipe), file.open("rb") as dump:
        _run(target, [_tool(target, "mariadb", "mysql"), first, name], pipes=[pipe], given=dump, on=file)


def _drop_all(database: pw.Database) -> None:
    rows = database.execute_sql(
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = DATABASE()"
    ).fetchall()
    kinds = {"VIEW": "VIEW", "SEQUENCE": "SEQUENCE"}
    database.execute_sql("SET SESSION foreign_key_checks = 0")
    try:
        for name, kind in sorted(rows, key=lambda row: row[1] != "VIEW"):
            database.execute_sql(f"DROP {kinds.get(kind, 'TABLE')} {my_quote(name)}")
    finally:
        database.execute_sql("SET SESSION foreign_key_checks = 1")


@contextmanager
def _option_file(target: Target) -> Iterator[tuple[str, int]]:
    """Write the connection's settings into a pipe, and yield the option that names it, and its number.

    Not one of the user's own option files is read then.
    """
    params: Mapping[str, Any] = target.database.connect_params
    found = {MARIADB[name]: params[name] for name in MARIADB if params.get(name) is not None}
    if "socket" not in found:
        found |= {"protocol": "tcp", "host": found.get("host", "localhost")}
    quoted = (f'{name}="{_quoted(str(value))}"\n' for name, value in found.items())
    read, write = os.pipe()
    try:
        with os.fdopen(write, "w", encoding="utf-8") as pipe:
            pipe.write("".join(("[client]\n", *quoted)))
        yield f"--defaults-file=/dev/fd/{read}", read
    finally:
        os.close(read)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


# Tools


def _tool(target: Target, *names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    raise BackupFailed(
        target.name,
        f"{' or '.join(names)} is not installed, so that no backup can be made or restored here",
        "Install it, or make the backup the way your server's operator does and run with --no-backup.",
    )


def _run(
    target: Target,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    pipes: Sequence[int] = (),
    given: IO[bytes] | None = None,
    on: Path | None = None,
) -> bytes:
    """Run a server's tool; what fails is the backup's fault where it works ``on`` one."""
    done = subprocess.run(
        command, env=os.environ | dict(environment or {}), pass_fds=pipes, capture_output=True, check=False,
        stdin=given or subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode == 0:
        return done.stdout
    lines = [line for line in done.stderr.decode(errors="replace").strip().splitlines() if "hint" not in line.lower()]
    said = hide_password("; ".join(lines[-2:]) or "no message")
    problem = f"{Path(command[0]).name} failed: {said}"
    if on is not None:
        raise Unreadable(f"{target.name}, {on}", f"{problem}", "Look at the backup, or name another one.")
    raise BackupFailed(target.name, problem, "Mend that and try again.")

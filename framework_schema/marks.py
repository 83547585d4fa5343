"""The mark in the newest event: this database was found to be as it should be, with these scripts.

It holds for as long as the scripts are the same byte for byte, the history has
the same rows, and the schema is the version it was. This imports neither Peewee
nor the scripts' parser: most starts of a process need no more.
"""

from __future__ import annotations

from hashlib import sha256

from framework_schema._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    State = tuple[Sequence[tuple[Any, ...]], str]
    """The history's rows with whether each succeeded, the schema's version."""
    Seen = tuple[str | None, str | None, State]
    """The mark, the newest migration then, and the state."""

TABLE = "schema_migrations"


def events_of(table: str) -> str:
    """Name the append-only table beside a history."""
    return f"{table.removesuffix('s') if table == TABLE else table}_events"


def see(execute: Callable[[str], Any], table: str = TABLE) -> Seen:
    """Read what a mark is compared with: SQLite's schema version, two small reads; the driver's error without a table.

    The first statement is not finished before the others: so all read the same
    state, and the lock is taken once (https://www.sqlite.org/lang_transaction.html#implicit_versus_explicit_transactions).
    """
    schema = execute("PRAGMA schema_version")
    try:
        rows = _rows(execute, table)
        newest = f"SELECT mark, migration_name FROM {_quoted(events_of(table))} ORDER BY id DESC LIMIT 1"
        mark, at = execute(newest).fetchone() or (None, None)
    finally:
        ((version,),) = schema.fetchall()
    return mark, at, (rows, str(version))


def state(execute: Callable[[str], Any], table: str = TABLE) -> State:
    """Read, in a transaction, what a mark ties scripts to."""
    return _rows(execute, table), str(execute("PRAGMA schema_version").fetchone()[0])


def made(level: str, plugins: str, fingerprint: str | None, state: State) -> str:
    """Return the mark to leave on a database in this state."""
    return f"{level}:{plugins}:{_proof(fingerprint, state)}"


def holds(level: str, plugins: str, fingerprint: str | None, seen: Seen) -> bool:
    """Tell whether nothing has to be done: what was found strictly, or with all plugins, holds for less too."""
    if seen[0] is None or fingerprint is None:
        return False
    proof = _proof(fingerprint, seen[2])
    enough = [f"{found}:{those}:{proof}" for found in (level, "strict") for those in (plugins, "all")]
    return seen[0] in enough


def fingerprint(sources: Iterable[tuple[str, tuple[str, ...], Iterable[tuple[str, bytes]]]]) -> str:
    """Hash scripts byte for byte: for each source its name, what it depends on, and its files' names and contents."""
    parts = [__version__.encode()]
    for source, depends_on, files in sources:
        parts.append(f"{source} {depends_on}".encode())
        for name, content in files:
            parts += f"{name} {len(content)} ".encode(), content
    return sha256(b"".join(parts)).hexdigest()[:32]


def _rows(execute: Callable[[str], Any], table: str) -> Sequence[tuple[Any, ...]]:
    rows: Sequence[tuple[Any, ...]] = execute(f"SELECT migration_name, success FROM {_quoted(table)}").fetchall()
    return rows


def _proof(fingerprint: str | None, state: State) -> str:
    rows, version = state
    text = "\0".join([f"{success} {name}" for name, success in rows])
    digest = sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
    return f"{fingerprint}:{digest}:{version}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""``framework-schema migrate FILE``, when there is nothing to do: answered from the database's mark alone.

Most runs of the command find everything done: at every start of a container, in
every cron job. So this module imports neither Peewee nor Click nor the scripts'
parser. It knows one case only, databases of the framework's schema without
plugins, in files that nobody writes to, and returns None for every other, which
then goes the whole way.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time

from framework_schema import marks
from framework_schema.plugins import are_installed
from framework_schema.script_files import own_folder, read_scripts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LEVELS = 4
"""Folders above a database that may hold its app's scripts, as in ``nearby``, whose imports take too long."""
WIDTH = 60
"""Letters of a name above which the table is laid out by the whole command."""


def answer(arguments: Sequence[str]) -> str | None:
    """Return what the command would print, or None when it has to run."""
    if arguments[:1] != ["migrate"] or _is_told_otherwise():
        return None
    started = time.perf_counter()
    names = [name for name in arguments[1:] if name not in ("-q", "--quiet")]
    is_quiet = len(names) < len(arguments) - 1
    if not names or len(set(map(os.path.realpath, names))) < len(names) or not all(map(_is_file, names)):
        return None
    if any(map(_has_own_scripts, names)):
        return None
    if not is_quiet and (sys.stdout.isatty() or sys.stderr.isatty() or len(names) > 25):
        return None
    try:
        wanted = fingerprint()
        times = [_look(name, wanted) for name in names]
    except (OSError, sqlite3.Error, _NotCurrent):
        return None
    total = f"{len(names)} database{'s' * (len(names) != 1)} · {len(names)} current · {_since(started)}"
    return total if is_quiet else "\n".join([*_table(names, times), total])


def fingerprint() -> str:
    """Hash the framework's scripts, as ``sources.fingerprint`` does."""
    return marks.fingerprint([("framework", (), ((name, content) for name, _, content in read_scripts(own_folder())))])


class _NotCurrent(Exception):
    pass


def _look(path: str, wanted: str) -> str:
    """Compare the mark with the scripts, the history's rows and the schema as they are now; return the time it took."""
    started = time.perf_counter()
    connection = sqlite3.connect(f"file:{_quoted(os.path.abspath(path))}?mode=ro", uri=True, timeout=0)
    try:
        seen = marks.see(connection.execute)
    finally:
        connection.close()
    if not marks.holds("additive", "all", wanted, seen):
        raise _NotCurrent
    return _since(started)


def _is_file(name: str) -> bool:
    """Tell whether this is a database file at rest, in rollback mode, under a name that is nothing but its path."""
    if name.startswith(("-", "@")) or name.endswith(".toml") or "://" in name or not name.isascii():
        return False
    if not name.isprintable() or any(char in "*?[]" for char in name) or len(name) > WIDTH:
        return False
    if not os.path.isfile(name) or any(os.path.lexists(f"{name}{end}") for end in ("-journal", "-wal", "-shm")):
        return False
    with open(name, "rb") as file:  # no connection of this process is there that could lose its locks
        head = file.read(20)
    return head[:16] == b"SQLite format 3\0" and head[18:20] == b"\1\1"


def _is_told_otherwise() -> bool:
    """Tell whether settings or plugins have a say."""
    return any(name.startswith("FRAMEWORK_SCHEMA_") for name in os.environ) or are_installed()


def _has_own_scripts(name: str) -> bool:
    """Tell whether there may be scripts of the app's own near a database file; see ``nearby``."""
    place = os.path.dirname(os.path.realpath(name))
    for _ in range(LEVELS):
        if os.path.exists(os.path.join(place, "migrations")) or os.path.exists(os.path.join(place, "app/migrations")):
            return True
        place = os.path.dirname(place)
    return False


def _table(names: Sequence[str], times: Sequence[str]) -> Iterator[str]:
    first, last = max(8, *map(len, names)), max(4, *map(len, times))
    yield f"{'Database':<{first}}  Applied  Adopted  Aligned  Left  {'Time':>{last}}  State"
    for name, took in zip(names, times, strict=True):
        yield f"{name:<{first}}  {'-':>7}  {'-':>7}  {'-':>7}  {'-':>4}  {took:>{last}}  current"


def _since(started: float) -> str:
    return f"{round((time.perf_counter() - started) * 1000)} ms"


def _quoted(path: str) -> str:
    return "".join(char if char.isalnum() or char in "/_.-~" else f"%{ord(char):02X}" for char in path)

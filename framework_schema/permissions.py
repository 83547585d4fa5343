"""Whether this user may write all that SQLite writes for one database, and the command that mends it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

SIDES = ("-wal", "-shm", "-journal")
"""The files SQLite keeps beside a database: https://www.sqlite.org/tempfiles.html"""


def barred(path: Path) -> tuple[Path, ...]:
    """Return those of a database file, the files beside it and its folder that this user may not read and write.

    A volume whose owner changed often has a single one of them, left by a process of the owner before.
    """
    files = [path, *(Path(f"{path}{end}") for end in SIDES)]
    found = [file for file in files if os.path.lexists(file) and not _may(file, os.R_OK | os.W_OK)]
    folder = path.absolute().parent
    return (*found, *([] if _may(folder, os.W_OK | os.X_OK) else [folder]))


def _may(place: Path, mode: int) -> bool:
    return os.access(place, mode, effective_ids=os.access in os.supports_effective_ids)


def problem(places: Sequence[Path]) -> str:
    """Say which these are and whose."""
    return "no permission to write " + ", ".join(f"{place} (of {_owner(place)})" for place in places)


def remedy(places: Sequence[Path]) -> str:
    """Return the command that gives them to this user."""
    return f"chown {_name(os.geteuid())} {' '.join(shlex.quote(str(place)) for place in places)}"


def _owner(place: Path) -> str:
    try:
        return _name(place.lstat().st_uid)
    except OSError:
        return "another user"


def _name(user: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(user).pw_name
    except (ImportError, KeyError):  # a user that only the container's host knows
        return str(user)

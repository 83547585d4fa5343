"""The app's own scripts that belong to a database: those of the project its file lies in, wherever one stands.

The nearest folder above the file that has scripts in ``migrations/`` or
``app/migrations/`` counts, four levels up at most and not beyond the root of a
project. Scripts are code: those of another user, or where anybody may write,
are left alone, as git leaves alone a repository of another user.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from framework_schema.inventory import Member
from framework_schema.sources import Folder, app_folders

LEVELS = 4
ROOTS = (".git", "pyproject.toml", "setup.py", "setup.cfg")
"""What only the root of a project holds."""


def with_own_folders(members: Iterable[Member], notes: list[str]) -> tuple[Member, ...]:
    """Give each member that was given no script folders those of its project; say which were left alone."""
    return tuple(
        member if member.folders else replace(member, folders=tuple(_trusted(member, notes))) for member in members
    )


def remark_on_servers(members: Iterable[Member], notes: list[str]) -> None:
    """Say that the scripts of the folder one stands in are not applied to a server's database by themselves."""
    here = app_folders(Path())
    servers = [member.name for member in members if member.path is None and not member.folders]
    if here and servers:
        (source,) = here
        flags = " ".join(f"--folder {path}" for path in source.paths) if isinstance(source, Folder) else ""
        notes.append(f"the scripts here are not taken for those of {', '.join(servers)}; if they are: {flags}")


def folders_near(file: Path) -> tuple[Path, ...]:
    """Return the script folders of the project that a database file lies in."""
    place = file.resolve().parent
    for root in (place, *place.parents)[:LEVELS]:
        found = app_folders(root)
        if found:
            (source,) = found
            return source.paths if isinstance(source, Folder) else ()
        if root == Path.home() or any((root / name).exists() for name in ROOTS):
            return ()
    return ()


def _trusted(member: Member, notes: list[str]) -> Iterator[str]:
    for folder in () if member.path is None else folders_near(member.path):
        reason = _distrust(folder)
        if reason is None:
            yield str(folder)
        else:
            note = f"the scripts in {folder} are left alone, since {reason}; if you trust them: --folder {folder}"
            notes += [note] if note not in notes else []


def _distrust(folder: Path) -> str | None:
    """Say why the code in a folder is not run unasked."""
    if not hasattr(os, "geteuid"):
        return None
    facts = folder.stat()
    if facts.st_uid not in (os.geteuid(), 0) and not Path.cwd().is_relative_to(folder.parent):
        return "they are another user's"
    if facts.st_mode & stat.S_IWOTH:
        return "every user of this machine may write there"
    return None

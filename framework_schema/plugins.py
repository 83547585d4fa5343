"""Whether any plugin is installed, found without ``importlib.metadata``, whose import alone takes longer."""

from __future__ import annotations

import os
import sys
import time
from functools import lru_cache

from framework_schema.script_files import read

GROUP = b"[framework_schema.migrations]"
OWN = b"framework = framework_schema.migrations"
AT_REST = 2_000_000_000
"""Nanoseconds after which two states of a folder cannot have one time of change, on FAT either."""
ENDINGS = (".dist-info", ".egg-info", ".egg")


def are_installed() -> bool:
    """Return False only where no installed package but our own registers scripts; True where that cannot be told.

    A folder is looked into again when it changed: ``importlib.metadata`` keeps
    what it found in the same way.
    """
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_distributions")]
    others = [finder for finder in finders if getattr(finder, "__name__", "") != "PathFinder"]
    return bool(others) or any(map(_holds_one, sys.path))


def _holds_one(place: str) -> bool:
    try:
        facts = os.stat(place or ".")
    except (OSError, ValueError):
        return is_in(place)
    if time.time_ns() - facts.st_mtime_ns < AT_REST:
        return is_in(place)
    return _held_one(place, facts.st_dev, facts.st_ino, facts.st_mtime_ns)


@lru_cache(maxsize=64)
def _held_one(place: str, *_: int) -> bool:
    return is_in(place)


def is_in(place: str) -> bool:
    """Tell whether a folder of ``sys.path`` holds a package with entry points of our group."""
    try:
        folders = [os.path.join(place, name) for name in os.listdir(place or ".") if name.endswith(ENDINGS)]
    except NotADirectoryError:  # an archive, perhaps
        return True
    except OSError:
        return False
    return any(map(_registers, folders))


def _registers(folder: str) -> bool:
    try:
        text = read(os.path.join(folder, "entry_points.txt"))
    except OSError:
        return folder.endswith(".egg")
    return GROUP in text and text.partition(GROUP)[2].partition(b"[")[0].split() != OWN.split()

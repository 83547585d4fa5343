"""Whether any plugin is installed, found without ``importlib.metadata``, whose import alone takes longer."""

from __future__ import annotations

import os
import sys

from framework_schema.script_files import read

GROUP = b"[framework_schema.migrations]"
OWN = b"framework = framework_schema.migrations"
ENDINGS = (".dist-info", ".egg-info", ".egg")


def are_installed() -> bool:
    """Return False only where no installed package but our own registers scripts; True where that cannot be told."""
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_distributions")]
    others = [finder for finder in finders if getattr(finder, "__name__", "") != "PathFinder"]
    return bool(others) or any(map(is_in, sys.path))


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

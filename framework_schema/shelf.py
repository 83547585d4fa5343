"""Recordings that the processes of one fleet run lend each other, in a folder that lives as long as the run.

Two databases of a group prove its plan, wherever each was migrated: so two
processes that took one each need no second one. That pays where a run through
the scripts takes long, which is on a server. A file's recording names its
schemas by hashes of one process, and stays there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framework_schema.plan_cache import Recording

logger = logging.getLogger(__name__)


class Shelf:
    """The folder, as one process sees it. What lies there is unpickled: the run makes it for its user alone (0700)."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._me = uuid.uuid4().hex
        self._known: set[str] = set()

    def put(self, recording: Recording) -> None:
        """Lend a recording; it appears whole or not at all."""
        name = f"{_digest(recording.key)}-{self._me}"
        if name in self._known:
            return
        self._known.add(name)
        part = self._folder / f"{name}.part"
        try:
            part.write_bytes(pickle.dumps(recording))
            part.replace(self._folder / name)
        except Exception as error:  # a value of a kind of its own, a full disk: then it is not lent
            logger.debug("a recording is not lent: %s", error)

    def others(self, key: Any) -> Iterator[Recording]:
        """Yield what other processes lent for this key, each recording once."""
        for name in self._new(f"{_digest(key)}-"):
            self._known.add(name)
            try:
                recording: Recording = pickle.loads((self._folder / name).read_bytes())
                is_meant = recording.key == key
            except Exception as error:
                logger.debug("a recording is not borrowed: %s", error)
            else:
                if is_meant:
                    yield recording

    @property
    def is_of_use(self) -> bool:
        """True when another process lent something that was not taken yet."""
        return bool(self._new())

    def _new(self, beginning: str = "") -> list[str]:
        try:
            names = {file.name for file in self._folder.iterdir()}
        except OSError:  # the run is over
            return []
        return sorted(name for name in names - self._known if name.startswith(beginning) and "." not in name)


def _digest(key: Any) -> str:
    return hashlib.sha256(repr(key).encode("utf-8", "backslashreplace")).hexdigest()[:32]

"""What was read of the tables behind a connection, kept as long as nothing can have changed it.

An operation looks before it acts, and a server's catalogs take longer to
answer than most ALTERs. So under the migration lock a table is read once, and
again when it can have changed: by an operation of ours, which says what it
changes, or by whatever else passes, for it may be DDL in a function's clothes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import peewee as pw

from framework_schema.snapshot import Table

HARMLESS = re.compile(r"\s*(SELECT|SHOW|SET|INSERT|UPDATE|DELETE|SAVEPOINT|RELEASE|BEGIN|COMMIT)\b", re.I)
"""What changes no table when it is ours, outside of a script."""

PATCHY = 8
"""Tables that can be read one by one in the time in which all are; a table has a few queries of its own."""


class Catalog:
    """The tables of one connection under one lock; ``fold`` gives the key of a table's name.

    ``fits`` tells whether a change of one table is that table's only.
    Where it is not (on PostgreSQL an event trigger may change others, and a
    parent's children follow it), nothing is kept, and every look is a look.
    """

    def __init__(self, fits: Callable[[], bool], fold: Callable[[str], str]) -> None:
        self._fits, self._fold = fits, fold
        self._does_fit: bool | None = None
        self._tables: dict[str, Table | None] = {}
        self._unknown: set[str] = set()
        self._is_whole = self._is_shut = False
        self._changed: str | None = None
        self._is_looking = self._is_changing = self._is_foreign = False

    def knows(self, name: str) -> bool:
        """Tell whether a look at this table, or at the want of it, is to be had without asking the server."""
        key = self._fold(name)
        return key in self._tables or (self._is_whole and key not in self._unknown)

    def table(self, name: str, read: Callable[[], Table | None]) -> Table | None:
        """Return a table, None for one that is not there; ``read`` looks for it."""
        key = self._fold(name)
        if self.knows(name):
            return self._tables.get(key)
        with self.looking():
            if self._does_fit is None:
                self._does_fit = self._fits()
            found = read()
        if self._keeps:
            self._tables[key] = found
        return found

    def fill(self, tables: Mapping[str, Table]) -> None:
        """Keep all tables there are, which have just been read."""
        with self.looking():
            if self._does_fit is None:
                self._does_fit = self._fits()
        if self._keeps:
            self._tables, self._unknown, self._is_whole = dict(tables), set(), True

    @property
    def is_looking(self) -> bool:
        """True while what passes is ours and reads."""
        return self._is_looking

    @property
    def is_ours(self) -> bool:
        """True while what passes is ours, and so known to do nothing else."""
        return self._is_looking or self._is_changing

    @property
    def is_patchy(self) -> bool:
        """True when so many tables have changed that to read all at once is less than to read those one by one."""
        return self._is_whole and len(self._unknown) >= PATCHY

    @property
    def _keeps(self) -> bool:
        return bool(self._does_fit) and not self._is_shut

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Mark the body's statements as ours, and as such that change no table."""
        was, self._is_looking = self._is_looking, True
        try:
            yield
        finally:
            self._is_looking = was

    @contextmanager
    def changing(self, name: str | None) -> Iterator[None]:
        """Mark the body's statements as DDL of ours that changes this table and no other; None for any."""
        was = self._is_changing, self._changed
        self._is_changing, self._changed = True, None if name is None else self._fold(name)
        try:
            yield
        finally:
            self._is_changing, self._changed = was

    def passed(self, sql: str, *, in_script: bool) -> None:
        """Forget what a statement may change; called for each, before it runs."""
        if self._is_looking or (not in_script and HARMLESS.match(sql)):
            return
        self._is_foreign |= not self._is_changing
        if self._changed is None:
            self.forget()
            return
        self._tables.pop(self._changed, None)
        self._unknown.add(self._changed)

    def committed(self) -> None:
        """Forget all where a script's statement passed: a trigger that was put off runs now, a SET LOCAL ends."""
        if self._is_foreign:
            self.forget()
        self._is_foreign = False

    def forget(self) -> None:
        """Forget all."""
        self._tables, self._unknown, self._is_whole, self._does_fit = {}, set(), False, None

    def shut(self) -> None:
        """Keep nothing any more: somebody has the driver's connection, whose statements do not pass here."""
        self.forget()
        self._is_shut = True


def looking(database: pw.Database) -> AbstractContextManager[None]:
    """Mark the body's statements as ours, and as such that change no table, where what was read is kept."""
    catalog: Catalog | None = getattr(database, "catalog", None)
    return nullcontext() if catalog is None else catalog.looking()


def changing(database: pw.Database, table: str) -> AbstractContextManager[None]:
    """Mark the body's statements as ours, and as such that change this table only, where what was read is kept."""
    catalog: Catalog | None = getattr(database, "catalog", None)
    return nullcontext() if catalog is None else catalog.changing(table)

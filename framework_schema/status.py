"""The scripts we know against the rows one database holds; values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framework_schema.history import AppliedMigration
from framework_schema.migration import Migration, order_of


@dataclass(frozen=True, slots=True)
class Status:
    """What the history of one database says, compared with the known scripts.

    ``applied`` and ``pending`` keep run order. ``failed`` rows are pending too.
    ``missing`` rows name a script that a known source no longer has, ``ahead``
    those of them newer than all it has, ``orphaned`` rows belong to a source
    that is not installed, and ``legacy`` rows were recorded before there were
    sources: they prove nothing.
    """

    applied: tuple[Migration, ...] = ()
    pending: tuple[Migration, ...] = ()
    changed: tuple[Migration, ...] = ()
    failed: tuple[AppliedMigration, ...] = ()
    missing: tuple[AppliedMigration, ...] = ()
    ahead: tuple[AppliedMigration, ...] = ()
    orphaned: tuple[AppliedMigration, ...] = ()
    legacy: tuple[AppliedMigration, ...] = ()
    out_of_order: tuple[Migration, ...] = ()

    @property
    def is_current(self) -> bool:
        """True when the history leaves nothing to run. It does not prove the schema."""
        return not (self.pending or self.ahead)

    @property
    def at(self) -> str | None:
        """Return the key of the newest applied migration in run order."""
        return self.applied[-1].key if self.applied else None


def compare(
    known: Sequence[Migration], applied: Sequence[AppliedMigration], sources: Sequence[str] | None = None
) -> Status:
    """Set the migrations we know against the rows one database holds.

    ``known`` is in run order and the result keeps that order. ``sources`` are
    the sources that could be read, by default those of ``known``. A checksum
    is computed only where the row has one to compare it with.
    """
    names = set(sources) if sources is not None else {m.source for m in known}
    done = {row.key: row for row in applied if row.success}
    keys = {m.key for m in known}
    newest = _newest(known)
    unknown = [row for row in applied if row.key not in keys and row.source is not None]
    stray = [row for row in unknown if row.source in names]
    pending = tuple(m for m in known if m.key not in done)
    reached = _newest([m for m in known if m.key in done])
    return Status(
        applied=tuple(m for m in known if m.key in done),
        pending=pending,
        changed=tuple(m for m in known if _is_changed(m, done.get(m.key))),
        failed=tuple(row for row in applied if row.key in keys and not row.success),
        missing=tuple(row for row in stray if not _is_newer(row, newest)),
        ahead=tuple(row for row in stray if row.success and _is_newer(row, newest)),
        orphaned=tuple(row for row in unknown if row.source not in names),
        legacy=tuple(row for row in applied if row.source is None),
        out_of_order=tuple(m for m in pending if _is_late(m, reached)),
    )


def _is_changed(migration: Migration, row: AppliedMigration | None) -> bool:
    return row is not None and row.checksum is not None and row.checksum != migration.checksum


def _newest(known: Sequence[Migration]) -> dict[str, tuple[int, str]]:
    newest: dict[str, tuple[int, str]] = {}
    for migration in known:
        place = order_of(migration.name)
        newest[migration.source] = max(place, newest.get(migration.source, place))
    return newest


def _is_newer(row: AppliedMigration, newest: Mapping[str, tuple[int, str]]) -> bool:
    source, name = row.key.split("/", 1)
    return source in newest and order_of(name) > newest[source]


def _is_late(migration: Migration, reached: Mapping[str, tuple[int, str]]) -> bool:
    return migration.source in reached and order_of(migration.name) < reached[migration.source]

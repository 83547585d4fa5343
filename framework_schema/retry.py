"""When to leave a script alone that failed a moment ago, here or in another process."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from framework_schema.errors import FailedBefore
from framework_schema.history import AppliedMigration
from framework_schema.migration import Migration


def refuse_early_retry(
    database: str, failed: Iterable[AppliedMigration], known: Mapping[str, Migration], seconds: float, now: datetime
) -> None:
    """Raise ``FailedBefore`` when one of the failed rows is younger than ``seconds`` and its script is the same still.

    A script that was mended since, or is gone, is no reason to wait, nor is a
    row that an older tool wrote, for it has no checksum.
    """
    for row in failed:
        migration, age = known.get(row.key), _age(row.applied_at, now)
        if migration is not None and 0 <= age < seconds and row.checksum == migration.checksum:
            raise FailedBefore(database, row.key, age, seconds - age, str(row.error))


def _age(moment: str | None, now: datetime) -> float:
    """Return the seconds since a time as the history records it, in UTC; what cannot be read is long ago."""
    try:
        then = datetime.fromisoformat(str(moment))
    except ValueError:
        return math.inf
    return (now - then.replace(tzinfo=then.tzinfo or UTC)).total_seconds()

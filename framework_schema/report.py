"""What happened to one database, as values."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, replace
from typing import Any


class State(enum.StrEnum):
    """How a database ended, or how it was found."""

    MIGRATED = "migrated"
    CURRENT = "current"
    PENDING = "pending"
    FAILED = "failed"
    AHEAD = "ahead"
    UNREADABLE = "unreadable"
    LOCKED = "locked"
    FOREIGN = "foreign"


class Outcome(enum.StrEnum):
    """How one step ended."""

    APPLIED = "applied"
    ADOPTED = "adopted"
    FAILED = "failed"
    BLOCKED = "blocked"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class StepResult:
    """One migration of a run: what became of it, and which tables and columns it made."""

    key: str
    outcome: Outcome
    duration_ms: int = 0
    error: str | None = None
    made: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """One database: what was done, what stands, what is left.

    ``aligned`` names what was created or changed because the schema lacked it,
    ``drift`` what still differs, ``schema`` the hash of the schema as found,
    ``left`` what could not be tightened (with row count and query), ``notes``
    remarks on sources and scripts. ``lost`` names the tables and columns that
    a rollback or a script takes, with the rows or values in them, ``backup`` the copy that was made,
    ``sources`` where the scripts come from.
    """

    name: str
    url: str
    engine: str
    state: State
    at: str | None = None
    steps: tuple[StepResult, ...] = ()
    aligned: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    drift: tuple[dict[str, Any], ...] = ()
    schema: str | None = None
    left: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    sql: tuple[str, ...] = ()
    lost: tuple[dict[str, Any], ...] = ()
    backup: str | None = None
    sources: tuple[str, ...] = ()
    error: str | None = None
    duration_ms: int = 0

    def keys(self, outcome: Outcome) -> list[str]:
        """Return the migrations that ended this way, in run order."""
        return [step.key for step in self.steps if step.outcome is outcome]

    @property
    def applied(self) -> list[str]:
        """Migrations that ran."""
        return self.keys(Outcome.APPLIED)

    @property
    def adopted(self) -> list[str]:
        """Migrations recorded since their whole effect was there already."""
        return self.keys(Outcome.ADOPTED)

    @property
    def failed(self) -> list[str]:
        """Migrations that failed; their effects are undone."""
        return self.keys(Outcome.FAILED)

    @property
    def is_wanted(self) -> bool:
        """True when the database is as it should be."""
        return self.state in (State.MIGRATED, State.CURRENT)

    def with_duration(self, milliseconds: int) -> Report:
        """Return the same report with its duration."""
        return replace(self, duration_ms=milliseconds)

    def as_dict(self) -> dict[str, Any]:
        """Return the database's part of ``--json``."""
        return {
            "name": self.name,
            "url": self.url,
            "engine": self.engine,
            "state": str(self.state),
            "at": self.at,
            "applied": self.applied,
            "adopted": self.adopted,
            "aligned": list(self.aligned),
            "pending": list(self.pending),
            "failed": [
                asdict(step) | {"outcome": str(step.outcome)} for step in self.steps if step.outcome is Outcome.FAILED
            ],
            "blocked": self.keys(Outcome.BLOCKED),
            "rolled_back": self.keys(Outcome.ROLLED_BACK),
            "drift": list(self.drift),
            **({"schema": self.schema} if self.schema else {}),
            "left": list(self.left),
            "notes": list(self.notes),
            **({"sql": list(self.sql)} if self.sql else {}),
            "lost": list(self.lost),
            **({"sources": list(self.sources)} if self.sources else {}),
            **({"backup": self.backup} if self.backup else {}),
            "error": self.error,
            "duration_ms": self.duration_ms,
        }

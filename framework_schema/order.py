"""What a run is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """What ``migrate`` was asked for."""

    to: str | None = None
    strict: bool = False
    repair: bool = False
    backup: str = "auto"
    allow_ahead: bool = False
    retry_after: float = 0

    @property
    def level(self) -> str:
        """Name how far the schema is aligned; a mark holds for its level only."""
        return "strict" if self.strict else "additive"

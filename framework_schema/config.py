"""Settings, gathered once at the edge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from framework_schema.errors import ConfigError
from framework_schema.marks import TABLE

PREFIX = "FRAMEWORK_SCHEMA_"
TESTS = f"{PREFIX}TEST_"
"""How the keys begin that only this project's own tests read."""
ELSEWHERE = ("DATABASE", "STATUS_URL", "STATUS_GUARD")
"""Keys that the extension reads itself."""
CHOICES = {
    "mode": ("first_request", "startup", "check", "off"),
    "on_error": ("continue", "unavailable"),
    "align": ("additive", "strict", "off"),
    "backup": ("auto", "always", "never"),
    "integrity": ("auto", "always"),
    "out_of_order": ("apply", "refuse"),
}


@dataclass(frozen=True, slots=True)
class Config:
    """What can be set, with its defaults; docs/reference/configuration.md says what each does."""

    mode: str = "first_request"
    on_error: str = "continue"
    wait: float = 10
    retry_after: float = 60
    align: str = "additive"
    backup: str = "auto"
    backup_dir: str | None = None
    backup_keep: int = 3
    integrity: str = "auto"
    """Whether a large SQLite file is always checked whole first, or only before its first row is touched."""
    out_of_order: str = "apply"
    """What to do with a script that came after a newer one of its source was applied."""
    table: str = TABLE
    sources: tuple[str, ...] | None = None
    folders: tuple[str, ...] | None = None
    timeout: float = 30
    """Seconds to wait for another process's lock, outside of a request."""
    plan_cache: bool = True
    """Let a fleet run repeat on many databases what it proved on two of the same kind."""
    template: bool = True
    """Let a database that is not there yet be a copy of one that was made before."""

    def __post_init__(self) -> None:
        """Refuse a value that is none of the choices."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                found = f"{PREFIX}{name.upper()} is {getattr(self, name)!r}"
                raise ConfigError(f"{found}; it can be {', '.join(choices)}. Nothing was opened.")


def layered(settings: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the ``FRAMEWORK_SCHEMA_*`` keys of an app's config with those of the environment over them.

    What is empty in the environment is not set. Raises ``ConfigError`` for a key that means nothing.
    """
    ours = {key: value for key, value in settings.items() if _is_ours(key)}
    over = {key: value for key, value in environment.items() if _is_ours(key) and value != ""}
    _refuse_unknown(ours, "the app's config")
    _refuse_unknown(over, "the environment")
    return ours | over


def _is_ours(key: Any) -> bool:
    return isinstance(key, str) and key.startswith(PREFIX) and not key.startswith(TESTS)


def _refuse_unknown(settings: Mapping[str, Any], place: str) -> None:
    known = [PREFIX + name.upper() for name in KINDS] + [PREFIX + name for name in ELSEWHERE]
    for key in settings:
        if key not in known:
            close = get_close_matches(key, known, 1, 0.7)
            hint = f"Did you mean {close[0]}?" if close else "docs/reference/configuration.md lists the keys."
            raise ConfigError(f"{key} in {place} means nothing. Nothing was opened. {hint}")


def from_mapping(settings: Mapping[str, Any]) -> Config:
    """Read the ``FRAMEWORK_SCHEMA_*`` keys of an app's config or of the environment."""
    found: dict[str, Any] = {}
    for name, kind in KINDS.items():
        value = settings.get(PREFIX + name.upper())
        if value is not None:
            try:
                found[name] = kind(value)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"{PREFIX}{name.upper()} is {value!r}, which cannot be read") from error
    return Config(**found)


def names(value: Any) -> tuple[str, ...]:
    """Read a list of names, or a text that separates them by commas."""
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(str(part).strip() for part in parts if str(part).strip())


def truth(value: Any) -> bool:
    """Read a switch as people write it in an environment."""
    text = str(value).strip().lower()
    if text not in YES | NO:
        raise ValueError(value)
    return text in YES


YES, NO = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})

KINDS: dict[str, Callable[[Any], Any]] = {
    "mode": str,
    "on_error": str,
    "wait": float,
    "retry_after": float,
    "align": str,
    "backup": str,
    "backup_dir": str,
    "backup_keep": int,
    "integrity": str,
    "out_of_order": str,
    "table": str,
    "sources": names,
    "folders": names,
    "timeout": float,
    "plan_cache": truth,
    "template": truth,
}

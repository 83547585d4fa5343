"""One schema for every database of a Flask and Peewee framework: migrate, align, prove.

A list of names, no logic: each is imported when first used, so that importing
this package brings no Flask, no rich, no peewee_migrate and no driver.
"""

from __future__ import annotations

from framework_schema._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is not imported: it takes as long as all of this
    from framework_schema.config import Config
    from framework_schema.errors import (
        Ahead,
        BackupFailed,
        ConfigError,
        DatabaseError,
        ForeignDatabase,
        ForeignHistory,
        Locked,
        MigrationFailed,
        PlanRefused,
        SchemaError,
        SourceError,
        Unreadable,
    )
    from framework_schema.extension import FrameworkSchema, init_app
    from framework_schema.fleet import migrate_fleet
    from framework_schema.migration import Migration
    from framework_schema.report import Outcome, Report, State, StepResult
    from framework_schema.runner import Runner
    from framework_schema.sources import Folder, Package, collect, installed

__all__ = [
    "Ahead",
    "BackupFailed",
    "Config",
    "ConfigError",
    "DatabaseError",
    "Folder",
    "ForeignDatabase",
    "ForeignHistory",
    "FrameworkSchema",
    "Locked",
    "Migration",
    "MigrationFailed",
    "Outcome",
    "Package",
    "PlanRefused",
    "Report",
    "Runner",
    "SchemaError",
    "SourceError",
    "State",
    "StepResult",
    "Unreadable",
    "__version__",
    "collect",
    "init_app",
    "installed",
    "migrate_fleet",
]

_HOMES = {
    "config": ("Config",),
    "errors": (
        "Ahead",
        "BackupFailed",
        "ConfigError",
        "DatabaseError",
        "ForeignDatabase",
        "ForeignHistory",
        "Locked",
        "MigrationFailed",
        "PlanRefused",
        "SchemaError",
        "SourceError",
        "Unreadable",
    ),
    "extension": ("FrameworkSchema", "init_app"),
    "fleet": ("migrate_fleet",),
    "migration": ("Migration",),
    "report": ("Outcome", "Report", "State", "StepResult"),
    "runner": ("Runner",),
    "sources": ("Folder", "Package", "collect", "installed"),
}


def __getattr__(name: str) -> object:
    """Import a public name from its module (PEP 562)."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

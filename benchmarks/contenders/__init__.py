"""The contenders: each writes the plan as scripts of its own and applies them to files."""

from __future__ import annotations

from importlib import import_module

from benchmarks.contenders.base import Contender

PLACES = {
    "F": "floor.Floor",
    "framework-schema": "ours.FrameworkSchema",
    "framework-schema, no cache": "ours.Uncached",
    "peewee-migrate": "peewees.PeeweeMigrate",
    "playhouse.migrations": "peewees.Playhouse",
    "Alembic": "alembics.Alembic",
    "Flask-Migrate": "alembics.FlaskMigrate",
    "yoyo": "yoyos.Yoyo",
    "Django": "djangos.Django",
    "sqlite-utils": "utils.SqliteUtils",
    "dbmate": "dbmates.Dbmate",
}


def find(name: str) -> type[Contender]:
    """Import a contender; raises ``ImportError`` when its tool is not installed."""
    module, _, kind = PLACES[name].partition(".")
    found: type[Contender] = getattr(import_module(f"{__name__}.{module}"), kind)
    return found

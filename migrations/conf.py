"""Settings for ``pw_migrate`` in this folder: ``pw_migrate create NAME [--auto]`` needs no flag. Inert elsewhere."""

import os

import click

_context = click.get_current_context(silent=True)
_asked = _context.params.get("database") if _context else None

if _context and _context.info_name != "create" and not (_asked or os.environ.get("DATABASE_URL")):
    raise click.UsageError(
        f"pw_migrate {_context.info_name} needs a database here: --database sqlite:///data/homebrew.db."
        " Better: framework-schema migrate data/homebrew.db, which keeps the framework's history."
    )

# What the command line says wins; without it a database that costs nothing, since --auto replays all scripts.
DATABASE = _asked or os.environ.get("DATABASE_URL") or "sqlite:///:memory:"

# The abstract base, and the history that the runner keeps, need no script.
IGNORE = ["frameworkmodel", "schemamigration"]

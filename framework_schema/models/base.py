"""Which database the models work on.

In order: the one given to ``database.use`` around the call, that of the current
Flask app, the one given to ``database.initialize``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import peewee as pw

from framework_schema.errors import ConfigError

_used: ContextVar[pw.Database | None] = ContextVar("framework_schema_database", default=None)


class NoDatabase(ConfigError, AttributeError):
    """The models were used before anyone said which database is theirs."""


class CurrentDatabase(pw.DatabaseProxy):
    """A proxy that finds its database anew at every use.

    Several apps in one process, and several threads in each, reach their own
    database through the same models. Flask is asked only if it is imported.
    """

    @property
    def obj(self) -> Any:
        """Return the database to work on now, or None."""
        return _used.get() or self._of_app() or super().obj

    @obj.setter
    def obj(self, value: pw.Database | None) -> None:
        pw.DatabaseProxy.obj.__set__(self, value)  # type: ignore[misc]

    @contextmanager
    def use(self, database: pw.Database) -> Iterator[None]:
        """Work on ``database`` in this block, in this thread or task only."""
        token = _used.set(database)
        try:
            yield
        finally:
            _used.reset(token)

    def _of_app(self) -> pw.Database | None:
        flask = sys.modules.get("flask")
        if flask is None or not flask.has_app_context():
            return None
        extension = flask.current_app.extensions.get("framework_schema")
        found: Any = getattr(extension, "database", None)
        return None if found is self else found

    def __getattr__(self, name: str) -> Any:
        """Hand everything else on to the database."""
        database = self.obj
        if database is None:
            raise NoDatabase(
                "The models have no database here. Call framework_schema.init_app(app) and work inside an"
                " app context, or call framework_schema.models.database.initialize(database) once."
            )
        return getattr(database, name)

    def __enter__(self) -> Any:
        """Open the database and a transaction on it, as a Peewee database does."""
        return self.__getattr__("__enter__")()

    def __exit__(self, *error: object) -> Any:
        """End what ``__enter__`` began."""
        return self.__getattr__("__exit__")(*error)


database = CurrentDatabase()


class FrameworkModel(pw.Model):
    """Base of the framework's models."""

    class Meta:
        database = database

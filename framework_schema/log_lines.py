"""Makes what operators look for visible where nobody has set logging up; leaves all else of it alone."""

from __future__ import annotations

import logging
from typing import TextIO, cast

from flask.logging import wsgi_errors_stream

FORMAT = "[%(asctime)s] %(levelname)s %(name)s: %(message)s"


class OnlyWhereNobodyListens(logging.Handler):
    """Writes to where Flask writes errors, until anybody else would."""

    def __init__(self) -> None:
        super().__init__()
        self._out: logging.Handler = logging.StreamHandler(cast("TextIO", wsgi_errors_stream))
        self._out.setFormatter(logging.Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, unless the app's own set-up gets it too."""
        if not _is_heard():
            self._out.emit(record)


def be_heard(logger: logging.Logger) -> None:
    """Give the package's logger a handler and the level INFO where neither it nor the root has any.

    ``flask run`` and gunicorn set up loggers of their own and leave the root as
    it is, so that Python would drop all below WARNING.
    """
    if logger.level == logging.NOTSET and not _is_heard() and not any(map(_is_ours, logger.handlers)):
        logger.addHandler(OnlyWhereNobodyListens())
        logger.setLevel(logging.INFO)


def _is_heard() -> bool:
    """Tell whether records of the package reach a handler of somebody's."""
    of_package = logging.getLogger(__package__).handlers
    found = [*of_package, *logging.getLogger().handlers]
    return any(not isinstance(handler, logging.NullHandler | OnlyWhereNobodyListens) for handler in found)


def _is_ours(handler: logging.Handler) -> bool:
    return isinstance(handler, OnlyWhereNobodyListens)

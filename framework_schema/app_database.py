"""Which database an app means: all the ways it can say so, and the choice between them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import peewee as pw
from flask import Flask

from framework_schema.config import PREFIX
from framework_schema.databases import URL, file_of, hide_password, open_target
from framework_schema.errors import ConfigError, SchemaError
from framework_schema.wording import printable

logger = logging.getLogger("framework_schema")

ARGUMENT = "the argument of init_app"
CONFIG_KEYS = ("DATABASE_URL", "DATABASE_URI", "DATABASE_PATH", "DATABASE")
"""An app's own settings, first the one that goes before the others; `DATABASE` is often only a label."""
ENVIRONMENT = ("DATABASE_URL", "DATABASE_PATH")
FLASK_DB = {"playhouse.flask_utils", "flask_peewee.db"}
"""Modules of the classes that open an app's Peewee database with each request."""


@dataclass(frozen=True)
class Candidate:
    """One way of the app to name its database, and what it names."""

    way: str
    value: Any
    place: str | None = None
    """The file's real path or the server's URL without a password, to compare by; None where it cannot be told."""
    is_bare: bool = False
    """A file name without a folder, which may be no more than a label."""
    is_path: bool = False
    """A file's path, with its folder."""
    is_there: bool = False
    """A file that exists, or a server."""


@dataclass(frozen=True)
class Choice:
    """The candidate that was taken, why, and those that name another database."""

    taken: Candidate
    why: str
    others: tuple[Candidate, ...] = ()


def choose(candidates: Sequence[Candidate]) -> Choice:
    """Choose between candidates, of which the first goes before the others.

    A bare file name never wins over a path, and no file is made for it while
    another candidate names one that exists. What is passed to ``init_app``
    was meant for us: only the second half holds for it.
    """
    first = candidates[0]
    taken, why = first, "it is looked at first"
    path = next((other for other in candidates if other.is_path), None)
    there = next((other for other in candidates if other.is_there), None)
    if first.is_bare and first.way != ARGUMENT and path is not None:
        taken, why = path, "a file name without a folder never goes before a path"
    elif first.is_bare and not first.is_there and there is not None:
        taken, why = there, f"there is no file {first.value}, and none is made while another setting names what exists"
    others = [other for other in candidates if other.place is not None and other.place != taken.place]
    return Choice(taken, why, tuple(others) if taken.place is not None else ())


def find_database(app: Flask, argument: Any = None) -> Any:
    """Return what the app calls its database, and log one line where its ways to say so disagree.

    A relative path counts from the working directory, as it does for
    ``sqlite3.connect`` in the app. Raises ``ConfigError``, which lists the
    ways, when none is taken.
    """
    candidates = list(_candidates(app, argument))
    if not candidates:
        raise ConfigError(
            f"the app {app.name!r} does not say which database is its. Nothing was opened. Any of these will do:"
            " framework_schema.init_app(app, database=...) with a Peewee database, FlaskDB, URL or path;"
            f" {_key(PREFIX + 'DATABASE')}; a playhouse.flask_utils.FlaskDB on the app;"
            f" {', '.join(map(_key, CONFIG_KEYS))};"
            f" the environment's {' or '.join(ENVIRONMENT)}."
        )
    choice = choose(candidates)
    if choice.others:
        logger.info("%s", printable(_told(app, choice)))
    return choice.taken.value


def _told(app: Flask, choice: Choice) -> str:
    others = ", ".join(f"{other.way} names {other.place}" for other in choice.others)
    return f"The app {app.name!r} uses {choice.taken.place}, from {choice.taken.way}: {choice.why}. But {others}."


def _key(name: str) -> str:
    return f"app.config[{name!r}]"


def _candidates(app: Flask, argument: Any) -> Iterator[Candidate]:
    """Yield every way the app takes. Functions are called only until one way is clear."""
    ways: tuple[tuple[str, Callable[[], Any]], ...] = (
        (ARGUMENT, lambda: argument),
        (_key(PREFIX + "DATABASE"), partial(app.config.get, PREFIX + "DATABASE")),
        ("the app's FlaskDB", partial(_flask_db, app)),
        *((_key(name), partial(app.config.get, name)) for name in CONFIG_KEYS),
        *((f"the environment's {name}", partial(os.environ.get, name)) for name in ENVIRONMENT),
    )
    is_clear = False
    for way, read in ways:
        value = read()
        if callable(value) and not isinstance(value, pw.Database | pw.Proxy):
            value = None if is_clear else value()
        if value is None or value == "":
            continue
        candidate = _candidate(way, value)
        is_clear = is_clear or not candidate.is_bare
        yield candidate


def _candidate(way: str, value: Any) -> Candidate:
    """Look what a value names. One that cannot be a database is refused only when it is chosen."""
    try:
        meant = unwrap(value)
        file = _file(meant)
        if file is None:
            return Candidate(way, value, _server(meant), is_there=True)
    except (SchemaError, TypeError, ValueError):
        return Candidate(way, value)
    if ":memory:" in file or "mode=memory" in file:
        return Candidate(way, value, ":memory:")
    is_bare = Path(file).name == file and not isinstance(meant, pw.Database | Mapping)
    return Candidate(way, value, os.path.realpath(file), is_bare, not is_bare, _exists(file))


def _file(meant: Any) -> str | None:
    """Return the SQLite file, None for a server."""
    if isinstance(meant, Mapping):
        meant = _of_mapping(dict(meant))
    if isinstance(meant, pw.Database):
        if not isinstance(meant, pw.SqliteDatabase):
            return None
        meant = meant.database or ":memory:"
    text = os.fspath(meant)
    return file_of(text) if isinstance(meant, str) and URL.match(text) else str(text)


def _server(meant: Any) -> str:
    """Return a server's URL without its password; as it is written where, say, its driver is not installed."""
    try:
        return open_target(meant).url
    except SchemaError:
        return hide_password(str(meant)) if isinstance(meant, str) else type(meant).__name__


def _exists(file: str) -> bool:
    try:
        return Path(file).exists()
    except (OSError, ValueError):  # out of reach, or a name that no file can have
        return False


def unwrap(found: Any) -> Any:
    """Return the Database, path, URL or mapping behind a proxy or FlaskDB.

    A proxy is read through its slot: one that asks the current app, as that of
    our models does, would come back here.
    """
    if isinstance(found, pw.Database | str | os.PathLike | Mapping):
        return found
    if isinstance(found, pw.Proxy):
        slot: Any = vars(pw.DatabaseProxy if isinstance(found, pw.DatabaseProxy) else pw.Proxy)["obj"]
        inner = slot.__get__(found)
    elif hasattr(found, "database"):
        inner = found.database
    else:
        raise ConfigError(
            f"a {type(found).__name__} is no database. Nothing was opened."
            " Give a Peewee database, FlaskDB, URL or path."
        )
    if inner is None:
        raise ConfigError(
            f"the {type(found).__name__} has no database yet. Nothing was opened."
            " Initialise it before the app's first request."
        )
    return unwrap(inner)


def _flask_db(app: Flask) -> Any:
    """Find a FlaskDB, or flask-peewee's Database, by the method it registers on the app."""
    owners = (getattr(function, "__self__", None) for function in app.before_request_funcs.get(None, ()))
    return next((owner for owner in owners if FLASK_DB & {kind.__module__ for kind in type(owner).__mro__}), None)


def make_database(given: Any, wait: float) -> pw.Database:
    """Make a database for the models from a path, URL, or mapping as FlaskDB takes it.

    ``wait`` is for how many seconds a request's statement waits while another process migrates.
    """
    if isinstance(given, Mapping):
        return _of_mapping(dict(given))
    target = open_target(given)
    if target.path is None:
        return target.database
    return pw.SqliteDatabase(str(target.path.absolute()), timeout=wait, pragmas={"foreign_keys": 1})


def _of_mapping(settings: dict[str, Any]) -> pw.Database:
    try:
        name = settings.pop("name")
        module, _, kind = str(settings.pop("engine")).rpartition(".")
        made = getattr(import_module(module or "peewee"), kind)(name, **settings)
    except (KeyError, ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"a database as a mapping needs a `name` and an `engine`, such as"
            f" {{'name': 'data/x.db', 'engine': 'peewee.SqliteDatabase'}} ({type(error).__name__}). Nothing was opened."
        ) from error
    if not isinstance(made, pw.Database):
        raise ConfigError(f"the engine {module}.{kind} is no Peewee database. Nothing was opened.")
    return made

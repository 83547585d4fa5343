"""The Flask extension: from its first request on, an app's database has the schema its code expects.

    framework_schema.init_app(app)        # or FrameworkSchema(app), or FrameworkSchema().init_app(app)

Nothing is opened before that request. It runs the migrations before any other
``before_request`` function or view; when the database is current, the hook
takes itself out of the app, so that later requests do not pay for it.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peewee as pw
from flask import Flask, Response, current_app

from framework_schema import habits, marks
from framework_schema.app_database import find_database, make_database, unwrap
from framework_schema.config import PREFIX, Config, from_mapping, layered
from framework_schema.databases import hide_password, open_file, open_target
from framework_schema.errors import Ahead, ConfigError, FailedBefore, Locked, MigrationFailed, SchemaError, SourceError
from framework_schema.log_lines import be_heard
from framework_schema.marks import TABLE
from framework_schema.report import Outcome, Report, State
from framework_schema.sources import (
    APP,
    FRAMEWORK,
    Folder,
    Package,
    Source,
    app_folders,
    chosen,
    fingerprint,
    installed,
)
from framework_schema.wording import printable, say, trace

if TYPE_CHECKING:
    from framework_schema.runner import Runner

logger = logging.getLogger("framework_schema")

EXTENSION = "framework_schema"
"""Key of an app's ``AppSchema`` in ``app.extensions``."""

NOTHING_NEW = "Dashboard tables already exist"
DAY = 86400
"""Seconds that no wait goes beyond, whatever the settings say; SQLite's and the lock's own limits are above it."""
LOOK_AGAIN = 1.0
"""Seconds between two looks at the scripts while a failed migration waits for its next try."""
SHORTEST_WAIT = 0.1
"""Seconds the last of the waiting requests may still wait for another process's lock."""


class AlreadyInitialised(ConfigError, RuntimeError):
    """``init_app`` was called twice for one app."""


class FrameworkSchema:
    """The extension. It holds no app: one object can serve several factories.

    ``database`` is a Peewee database, a proxy of one, a ``FlaskDB``, a URL, a
    path, or a function that returns one of these; by default the app's
    configuration is asked at first use. ``sources`` replaces the default ones,
    which are all installed ones and the app's own folders.
    """

    def __init__(self, app: Flask | None = None, database: Any = None, sources: Sequence[Source] | None = None) -> None:
        self._database, self._sources = database, sources
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, database: Any = None, sources: Sequence[Source] | None = None) -> None:
        """Put the schema of ``app`` under care; opens nothing, but in ``startup`` mode.

        What is given here goes before what the object was made with. Raises
        ``AlreadyInitialised`` on the second call for one app, and
        ``ConfigError`` for a setting that cannot be meant.
        """
        if not isinstance(app, Flask):
            raise ConfigError(
                f"init_app was given a {type(app).__name__} where the Flask app belongs. Nothing was opened. Write"
                " framework_schema.init_app(app), and the database as its second argument: a Peewee database, URL or"
                " path; a connection of sqlite3 has none to name."
            )
        given = self._database if database is None else database
        if isinstance(given, sqlite3.Connection):
            raise ConfigError(
                "init_app was given a connection of sqlite3, which is no database that can be opened again. Nothing was"
                " opened. Give its path: framework_schema.init_app(app, 'data/homebrew.db')."
            )
        if EXTENSION in app.extensions:
            raise AlreadyInitialised(
                f"framework_schema.init_app was called twice for the app {app.name!r}. Nothing was changed by the"
                " second call. Keep one of the two; an app has one database under care."
            )
        schema = AppSchema(
            app,
            self._database if database is None else database,
            self._sources if sources is None else sources,
        )
        mode = schema.config.mode
        schema.refuse_unknown_sources()
        app.extensions[EXTENSION] = schema
        if mode == "off":
            return
        if "db" not in app.cli.commands:
            app.cli.add_command(habits.db)
        first_request = FirstRequest(schema)
        first_request.place()
        if mode == "startup" and not is_flask_command():
            with app.app_context():
                first_request.run()

    def runner(self, **settings: Any) -> Runner:
        """Return a runner for the current app's database."""
        return _current().runner(**settings)

    def status(self) -> Report:
        """Return how the current app's database stands; writes nothing."""
        return _current().status()

    @property
    def database(self) -> pw.Database:
        """The current app's database, as its models use it."""
        return _current().database


def init_app(app: Flask, database: Any = None, sources: Sequence[Source] | None = None) -> FrameworkSchema:
    """Put the schema of ``app`` under care and return the extension; see ``FrameworkSchema``."""
    return FrameworkSchema(app, database, sources)


def _current() -> AppSchema:
    schema = current_app.extensions.get(EXTENSION)
    if schema is None:
        raise ConfigError(f"the app {current_app.name!r} has no schema under care; call framework_schema.init_app(app)")
    assert isinstance(schema, AppSchema)
    return schema


class AppSchema:
    """What one app has in ``app.extensions["framework_schema"]``."""

    def __init__(self, app: Flask, database: Any = None, sources: Sequence[Source] | None = None) -> None:
        self.app = app
        self._argument, self._sources = database, sources
        self._lock = threading.RLock()
        self._found: Any = None
        self._own: pw.Database | None = None

    @property
    def config(self) -> Config:
        """The ``FRAMEWORK_SCHEMA_*`` settings of the environment, then of the app, as they are now."""
        return from_mapping(layered(self.app.config, os.environ))

    @property
    def database(self) -> pw.Database:
        """The database the models use in this app: its own object if it gave one, else one made here.

        The connections of one made here are closed at the end of each app
        context. Raises ``ConfigError`` when the app names no database.
        """
        if self._own is not None:
            return self._own
        given = self._given()
        if isinstance(given, pw.Database):
            return given
        with self._lock:
            if self._own is None:
                self._own = make_database(given, self.config.wait)
                if not open_target(self._own).borrowed:
                    self._close_with_context(self._own)
            return self._own

    def runner(self, **settings: Any) -> Runner:
        """Return a runner for the app's database and scripts; opens nothing.

        ``settings`` go before the app's, as in ``runner(align="strict")``.
        """
        from framework_schema.runner import Runner

        asked = {PREFIX + name.upper(): value for name, value in settings.items()}
        config = from_mapping(layered(self.app.config, os.environ) | asked)
        return Runner(self._target(), self.sources(), config=config)

    def is_marked_current(self, wait: float) -> bool:
        """Tell from the mark in a SQLite file that nothing is to be done, waiting ``wait`` seconds for others at most.

        False leaves it to the runner, which looks closely. Importing that takes
        longer than all else a first request does, so it is not done before.
        """
        config, given = self.config, self._given()
        try:
            connection = open_file(self.database if isinstance(given, Mapping) else given, wait)
            if connection is None:
                return False
            with closing(connection):
                seen = marks.see(connection.execute, config.table)
        except Exception:  # whatever the driver calls it: the runner finds it too, and says what it is
            return False
        scripts = fingerprint(chosen(self.sources(), config.sources))
        return marks.holds("strict" if config.align == "strict" else "additive", "all", scripts, seen)

    def status(self) -> Report:
        """Return how the app's database stands, as a report in which nothing was done."""
        return self.runner().status()

    def sources(self) -> tuple[Source, ...]:
        """Return the sources of the app: those given to ``init_app``, else the installed ones and its own folders."""
        if self._sources is not None:
            return tuple(self._sources)
        everywhere = installed()
        return *everywhere, *own_folders(self.app, self.config, everywhere)

    def refuse_unknown_sources(self) -> None:
        """Raise ``ConfigError`` where the settings name a source that is not there."""
        names = self.config.sources
        if names is not None:
            chosen(self._sources, names)

    def _target(self) -> str | os.PathLike[str] | pw.Database:
        """Return what the runner opens; of a database in memory there is only the app's own connection."""
        given: str | os.PathLike[str] | pw.Database | Mapping[str, Any] = self._given()
        if isinstance(given, Mapping) or (not isinstance(given, pw.Database) and open_target(given).borrowed):
            return self.database
        return given

    def _given(self) -> Any:
        """Return a Database, path, URL or FlaskDB's mapping; looked for once, proxies followed each time."""
        if self._found is None:
            with self._lock:
                self._found = self._found or find_database(self.app, self._argument)
        return unwrap(self._found)

    def _close_with_context(self, database: pw.Database) -> None:
        """Close the connection when an app context ends; a transaction of an outer context stays open.

        The list is replaced: other threads may be iterating over it.
        """

        def close(_: BaseException | None = None) -> None:
            if not database.is_closed() and not database.in_transaction():
                database.close()

        self.app.teardown_appcontext_funcs = [*self.app.teardown_appcontext_funcs, close]


class FirstRequest:
    """The ``before_request`` function that migrates once, and then goes away.

    One thread works, the others wait for it ``WAIT`` seconds at most. A failure
    is remembered: for ``RETRY_AFTER`` seconds no request tries again.
    """

    def __init__(self, schema: AppSchema) -> None:
        self._schema = schema
        self._lock = threading.Lock()
        self._is_done = self._has_failed = self._made_list = False
        self._not_before = self._looked = 0.0
        self._failed_scripts: str | None = None
        self._said: frozenset[str] = frozenset()

    def place(self) -> None:
        """Run before all other functions of the app, those that came earlier too."""
        functions = self._schema.app.before_request_funcs
        self._made_list = None not in functions
        functions[None] = [self.run, *functions.get(None, ())]

    def run(self) -> Response | None:
        """Bring the database up to date; return 503 when the request cannot be served yet."""
        if self._is_done:
            return None
        try:
            config = self._schema.config
        except ConfigError as error:  # changed since init_app
            self._warn(f"Auto-migration failed: {error}")
            return None
        started = time.monotonic()
        if started < self._not_before and not self._is_mended(config, started):
            return self._refuse(config)
        wait = min(max(config.wait, 0), DAY) if self._makes_wait(config) else 0
        if not self._lock.acquire(timeout=wait):
            return _unavailable(config.wait) if self._makes_wait(config) else None
        try:
            if self._is_done:
                return None
            if time.monotonic() < self._not_before:
                return self._refuse(config)
            return self._attempt(config, started + wait)
        finally:
            self._lock.release()

    def _attempt(self, config: Config, deadline: float) -> Response | None:
        """Try once. Whatever goes wrong in here is logged and never reaches the app."""
        be_heard(logger)
        runner: Runner | None = None
        try:
            if config.mode == "check":
                runner = self._schema.runner(timeout=_left(deadline))
                check(runner, self._warn)
            elif config.mode != "off":
                with _announced():
                    if self._schema.is_marked_current(_left(deadline)):
                        logger.info("✓ %s", NOTHING_NEW)
                    else:
                        runner = self._schema.runner(timeout=_left(deadline))
                        migrate(runner, self._warn)
        except Ahead as error:
            self._warn(f"Auto-migration left the database as it is: {error} The app serves on.")
        except Exception as error:
            if config.mode == "check":
                self._warn(f"The schema could not be checked: {_told(error, runner)}")
            elif is_locked(error) and self._makes_wait(config):
                self._warn(f"Auto-migration has to wait: {error}")
                return _unavailable(config.wait)
            else:
                return self._fail(error, config, runner)
        self._finish()
        return None

    def _makes_wait(self, config: Config) -> bool:
        """Tell whether requests wait for a migration: not where they were served without it before."""
        return config.on_error == "unavailable" or not self._has_failed

    def _fail(self, error: Exception, config: Config, runner: Runner | None) -> Response | None:
        logger.debug("auto-migration failed\n%s", trace(error))
        seconds = min(error.seconds if isinstance(error, FailedBefore) else config.retry_after, DAY)
        self._not_before, self._has_failed = time.monotonic() + seconds, True
        self._failed_scripts, self._looked = self._scripts(config), time.monotonic()
        serves = "serves on without it" if config.on_error == "continue" else "answers 503"
        by_hand = "" if runner is None else f" By hand: {command(runner)}"
        self._warn(
            f"Auto-migration failed: {_told(error, runner)}"
            f" The app {serves}; it is tried again in {math.ceil(seconds)} s.{by_hand}",
            causes_of(error),
        )
        return self._refuse(config)

    def _scripts(self, config: Config) -> str | None:
        """Hash the scripts as they are now."""
        try:
            return fingerprint(chosen(self._schema.sources(), config.sources))
        except Exception:  # a source that cannot be read: then no change of it can be seen
            return None

    def _is_mended(self, config: Config, now: float) -> bool:
        """Tell whether a script was changed since the failure; looked at once in a while. Then it is tried at once."""
        if now < self._looked + LOOK_AGAIN or not self._lock.acquire(blocking=False):
            return False
        try:
            self._looked = now
            if self._scripts(config) == self._failed_scripts:
                return False
            self._not_before = 0.0
            return True
        finally:
            self._lock.release()

    def _refuse(self, config: Config) -> Response | None:
        """Answer a request that comes while a failed migration is not to be tried again."""
        if config.on_error == "continue":
            return None
        return _unavailable(self._not_before - time.monotonic())

    def _warn(self, text: str, causes: frozenset[str] = frozenset()) -> None:
        """Log a warning, but not again and again for the same causes."""
        causes = causes or frozenset([text])
        is_news = not causes <= self._said
        logger.log(logging.WARNING if is_news else logging.DEBUG, "%s", printable(hide_password(text)))
        self._said = causes if is_news else self._said

    def _finish(self) -> None:
        """Take the hook out; the list is replaced, since other requests iterate over it."""
        self._is_done = True
        functions = self._schema.app.before_request_funcs
        functions[None] = [function for function in functions.get(None, ()) if function != self.run]
        if self._made_list and not functions[None]:
            del functions[None]


@contextmanager
def _announced() -> Iterator[None]:
    """Write the log lines that operators look for around the body, the last one only if that succeeds."""
    logger.info("Running auto-migration check...")
    logger.info("Checking for critical schema updates...")
    yield
    logger.info("✓ Auto-migration completed")


def _left(deadline: float) -> float:
    """Return the seconds until then, and always some."""
    return max(deadline - time.monotonic(), SHORTEST_WAIT)


def migrate(runner: Runner, warn: Callable[[str], None]) -> None:
    """Migrate and say what changed."""
    path = runner.target.path
    is_new = path is not None and not path.exists()
    report = runner.migrate(retry_after=min(runner.config.retry_after, DAY))
    if path is not None and is_new:
        logger.info("✓ Created database %s, which was not there", printable(str(path.absolute())))
        beside = get_close_matches(
            path.name, [found.name for found in path.parent.glob("*.db") if found != path], 1, 0.85
        )
        if beside:
            warn(f"{path} was not there and is a new, empty database now. Did you mean {beside[0]} beside it?")
    for line in changes_of(report):
        logger.info("✓ %s", line)
    _warn_of_rest(report, runner, warn)


def check(runner: Runner, warn: Callable[[str], None]) -> None:
    """Look, and say in one warning what `migrate` would find to do."""
    logger.info("Running auto-migration check...")
    report = runner.status()
    _warn_of_rest(report, runner, warn)
    if report.is_wanted:
        logger.info("✓ %s", NOTHING_NEW)
        return
    warn(
        f"{report.name} is {report.state}: {len(report.pending)} migrations pending, {len(report.drift)} differences."
        f" Nothing was written ({PREFIX}MODE is check). To migrate: {command(runner)}"
    )


def changes_of(report: Report) -> Iterator[str]:
    """Say what a run changed, a line each."""
    lines: list[str] = []
    for step in report.steps:
        lines += map(_made, step.made)
        lines += [] if step.made or step.outcome is not Outcome.APPLIED else [f"Applied {step.key}"]
    lines += map(_made, dict.fromkeys(report.aligned))
    yield from lines or [NOTHING_NEW]


def _made(what: str) -> str:
    return f"Added {what}" if what.startswith("column ") else f"Created {what}"


def is_locked(error: Exception) -> bool:
    """Tell whether other connections stood in the way, before the run or in it."""
    return isinstance(error, Locked) or (isinstance(error, MigrationFailed) and error.report.state is State.LOCKED)


def causes_of(error: Exception) -> frozenset[str]:
    """Return the scripts that failed, with their errors: the same ones when another process tells of them later."""
    if isinstance(error, FailedBefore):
        return frozenset([f"{error.key}: {error.error}"])
    if isinstance(error, MigrationFailed):
        return frozenset(f"{step.key}: {step.error}" for step in error.report.steps if step.error)
    return frozenset()


def command(runner: Runner, name: str = "migrate") -> str:
    """Return the command that does by hand what the first request does."""
    config = runner.config
    if runner.target.path is None or config.table != TABLE or config.sources is not None or config.folders is not None:
        return f"flask schema {name}"
    return f"framework-schema {name} {shlex.quote(str(runner.target.path))}"


def _warn_of_rest(report: Report, runner: Runner, warn: Callable[[str], None]) -> None:
    """Say what does not stand in the way of the app and yet needs somebody."""
    if report.notes and runner.known.problems:
        warn(f"Some migrations cannot run: {' '.join(problem.error for problem in runner.known.problems)}")
    if report.left:
        what = "; ".join(str(left["text"]) for left in report.left)
        warn(f"{report.name}: {what}. To see more: {command(runner, 'check')}")


def _told(error: Exception, runner: Runner | None) -> str:
    """Return an error as text; what we did not foresee gets its type and the database's name."""
    if isinstance(error, SchemaError):
        return str(error)
    name = "" if runner is None else f"{runner.target.name}: "
    return f"{name}{say(error)}."


def _unavailable(seconds: float) -> Response:
    return Response(
        "The database is not ready yet. Please try again in a moment.\n",
        503,
        {"Retry-After": str(max(1, math.ceil(min(seconds, DAY))))},
        content_type="text/plain; charset=utf-8",
    )


# Which scripts


def own_folders(app: Flask, config: Config, everywhere: Sequence[Source]) -> tuple[Source, ...]:
    """Return the source ``app``: the folders the settings name, else those found at the app's project root.

    A folder that an installed plugin registered is that plugin's, not the app's.
    """
    needs = (FRAMEWORK,) if any(source.name == FRAMEWORK for source in everywhere) else ()
    if config.sources is not None and FRAMEWORK not in config.sources:
        needs = ()
    roots = project_roots(app)
    if config.folders is not None:
        named = [_existing([root / folder for root in roots]) for folder in config.folders]
        return (Folder(named, APP, needs),) if named else ()
    for root in roots:
        found = [path for source in app_folders(root) if isinstance(source, Folder) for path in source.paths]
        if found:
            taken = _folders_of(everywhere)
            free = [path for path in found if path.resolve() not in taken]
            if free:
                return (Folder(free, APP, needs),)
    return ()


def project_roots(app: Flask) -> list[Path]:
    """Return where to look for the app's own scripts, best place first.

    The folder that holds the app's module or top-level package; if that is
    called ``src``, the one above it; then the app's own package. An app that is
    installed among the site packages has its project in the working directory.
    """
    own = Path(app.root_path)
    spec = getattr(sys.modules.get(app.import_name), "__spec__", None)
    package = tuple(spec.parent.split(".")) if spec is not None and spec.parent else ()
    root = own.parents[len(package) - 1] if package and own.parts[-len(package) :] == package else own
    if {"site-packages", "dist-packages"}.intersection(root.parts):
        root = Path.cwd()
    roots = [root, root.parent] if root.name == "src" else [root]
    return [*roots, own] if own not in roots else roots


def _existing(places: Sequence[Path]) -> Path:
    """Return the first place that is a folder; when none is, the first, to be named in the error."""
    return next((place for place in places if place.is_dir()), places[0])


def _folders_of(sources: Sequence[Source]) -> set[Path]:
    folders = set()
    for source in sources:
        if isinstance(source, Package):
            folders |= _folder_of(source)
    return folders


def _folder_of(package: Package) -> set[Path]:
    try:
        return {package.folder.resolve()}
    except SourceError:  # told by name when the scripts are collected
        return set()


# Who is running


def is_flask_command() -> bool:
    """Tell whether the app is being loaded by the ``flask`` command, and not to be served by ``flask run``.

    ``flask run`` with the reloader loads the app twice; only the child serves.
    """
    import click
    from flask.cli import FlaskGroup, run_command
    from flask.helpers import get_debug_flag
    from werkzeug.serving import is_running_from_reloader

    context = click.get_current_context(silent=True)
    if context is None or not isinstance(context.find_root().command, FlaskGroup):
        return False
    if context.command is not run_command:
        return True
    reload = context.params.get("reload")
    return bool(get_debug_flag() if reload is None else reload) and not is_running_from_reloader()

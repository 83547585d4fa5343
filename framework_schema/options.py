"""What every command understands and how each ends: common options, exit codes, errors as one line."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from framework_schema.console import Screen

OK, NOT_AS_WANTED, USAGE, FAILED = 0, 1, 2, 3

META = "framework_schema.options"
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Options:
    """What every command understands, given before or after its name."""

    as_json: bool = False
    quiet: bool = False
    verbose: int = 0
    no_color: bool = False
    timeout: float | None = None
    out: TextIO | None = None
    """Where results go, whatever scripts do with stdout."""
    program: str = "framework-schema"
    """How the commands begin that are said to come next."""

    def over(self, earlier: Options) -> Options:
        """Return these options, with those given before the command's name where these are silent."""
        return Options(
            self.as_json or earlier.as_json,
            self.quiet or earlier.quiet,
            self.verbose or earlier.verbose,
            self.no_color or earlier.no_color,
            earlier.timeout if self.timeout is None else self.timeout,
            sys.stdout,
            program_of(click.get_current_context().obj),
        )

    @property
    def screen(self) -> Screen:
        """Return how to write, as these options say."""
        from framework_schema.console import screen

        color = not self.no_color
        return screen(self.out, as_json=self.as_json, quiet=self.quiet, verbose=self.verbose, color=color)


GIVEN = ("as_json", "quiet", "verbose", "no_color", "timeout")
COMMON = (
    click.option("--json", "as_json", is_flag=True, help="Write one JSON object to stdout."),
    click.option("-q", "--quiet", is_flag=True, help="Write the summary and the failures only."),
    click.option("-v", "--verbose", count=True, help="Write every step; twice: log and tracebacks too."),
    click.option("--no-color", is_flag=True, help="No colours (as with NO_COLOR in the environment)."),
    click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds to wait for a lock [30]."),
)


def with_options(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Put options on a command, in the order of its help."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the common options, as one value, and turn its errors into exit codes."""

    def command(**given: Any) -> None:
        context = click.get_current_context()
        own = Options(**{name: given.pop(name) for name in GIVEN})
        options = own.over(context.meta.get(META, Options()))
        with errors_told(options), printing_to_stderr():
            context.exit(function(options, **given))

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__click_params__ = list(getattr(function, "__click_params__", ()))  # type: ignore[attr-defined]
    return with_options(*COMMON)(command)


def remember(**given: Any) -> None:
    """Keep the common options that were given before the command's name."""
    click.get_current_context().meta[META] = Options(**given)


def program_of(found: Any) -> str:
    """Return how a command begins here: ``flask`` with the app that it was given, where ``flask`` was called."""
    if type(found).__name__ != "ScriptInfo":
        return "framework-schema"
    app = getattr(found, "app_import_path", None)
    return f"flask --app {shlex.quote(app)} schema" if app else "flask schema"


def printing_to_stderr() -> contextlib.AbstractContextManager[Any]:
    """Keep stdout for the result: what scripts print goes to stderr."""
    return contextlib.redirect_stdout(sys.stderr)


@contextmanager
def errors_told(options: Options) -> Iterator[None]:
    """Turn our errors into one line on stderr and an exit code; a traceback only with -v."""
    import logging

    from framework_schema.errors import ConfigError, PlanRefused, SchemaError, SourceError
    from framework_schema.wording import printable, trace

    if options.verbose > 1:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    try:
        yield
    except SchemaError as error:
        if options.verbose:
            logging.getLogger(__name__).error("failed\n%s", trace(error))
        click.echo(f"Error: {printable(str(error))}", err=True)
        raise SystemExit(USAGE if isinstance(error, ConfigError | SourceError | PlanRefused) else FAILED) from error

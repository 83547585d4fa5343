"""The command line: parse, call one function, show, exit code.

Two groups of the same commands: ``main`` is ``framework-schema``, for any
databases; ``schema`` is ``flask schema``, for the app's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from framework_schema._version import __version__
from framework_schema.habits import Commands
from framework_schema.options import (
    COMMON,
    FAILED,
    NOT_AS_WANTED,
    OK,
    USAGE,
    Options,
    common,
    program_of,
    remember,
    with_options,
)

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from framework_schema.config import Config
    from framework_schema.console import Screen
    from framework_schema.fleet import FleetReport, Task
    from framework_schema.inventory import Inventory, Member
    from framework_schema.report import Report
    from framework_schema.runner import Runner
    from framework_schema.sources import Source

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
TARGETS = click.argument("targets", nargs=-1, metavar="[TARGET]...")
CHOICE = (
    click.option("--database", "names", multiple=True, metavar="NAME", help="Only this one, by name or file name."),
    click.option("--source", "source_names", multiple=True, metavar="NAME", help="Only this source's scripts."),
    click.option("--folder", "folders", multiple=True, metavar="DIR", help="The app's own scripts are here."),
)
PARALLEL = (
    click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Worker processes [cores]."),
    click.option("--executor", metavar="URL", help="Run on a Dask cluster: dask://host:port."),
    click.option("--shard", "part", metavar="K/N", help="Every N-th database, from the K-th on."),
)
MIGRATE = (
    click.option("--dry-run", is_flag=True, help="Rehearse on snapshots and print the SQL; change nothing."),
    click.option("--to", metavar="KEY", help="Stop after this migration."),
    click.option("--strict", is_flag=True, help="Also bring types, NULLs, defaults and keys to the definition."),
    click.option("--repair", is_flag=True, help="Mend rows that stand in the way, where nothing is invented."),
    click.option("--allow-ahead", is_flag=True, help="Go on where a database is newer than this release."),
    click.option(
        "--out-of-order",
        type=click.Choice(["apply", "refuse"]),
        help="What to do with a script older than one already applied [apply].",
    ),
    click.option("--backup/--no-backup", default=None, help="Always or never copy first [before a rebuild]."),
)
FLEET = (
    click.option("--adopt-foreign", is_flag=True, help="Migrate databases without any table of the framework too."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first database that fails."),
    click.option("--max-failures", type=click.IntRange(min=1), metavar="N", help="Stop when N have failed."),
    click.option("--canary", type=click.IntRange(min=0), default=0, metavar="N", help="The first N alone, first."),
    click.option("--report", "report_file", metavar="FILE", help="JSON lines, one a database, as it happens."),
)
HISTORY = (
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The newest N only."),
    click.option("--failed", is_flag=True, help="Failures only."),
    click.option("--events", is_flag=True, help="Every attempt, adoption and alignment."),
)
YES = click.option("--yes", is_flag=True, help="Do not ask.")
ROLLBACK = (
    click.option("--steps", type=click.IntRange(min=1), default=1, metavar="N", help="How many, newest first [1]."),
    click.option("--to", metavar="KEY", help="All down to this one, which goes too."),
    click.option("--source", metavar="NAME", help="Only this source's."),
    click.option("--force", is_flag=True, help="Also what was there before us and was only recorded."),
    click.option("--dry-run", is_flag=True, help="Tell what would go; change nothing."),
    YES,
    click.option("--backup/--no-backup", default=None, help="Copy first or not [copy]."),
)
STRICT = click.option("--strict", is_flag=True, help="Types, NULLs, defaults, keys and CHECKs count too.")


@click.group(cls=Commands, context_settings=SETTINGS)
@with_options(*COMMON)
@click.version_option(__version__, prog_name="framework-schema")
def main(**given: Any) -> None:
    """One schema for every database of a Flask and Peewee framework: migrate, align, prove.

    A TARGET is a file, a folder (its *.db), a glob, a URL, @FILE with one target a line, or an
    inventory (*.toml). Without one: fleet.toml if it is here, else data/.

    Exit codes: 0 as wanted, 1 pending or drift, 2 usage or configuration, 3 a database failed.
    """
    remember(**given)


@click.group(cls=Commands, context_settings=SETTINGS)
@with_options(*COMMON)
def schema(**given: Any) -> None:
    """Migrate the app's own database, and tell how it stands."""
    remember(**given)


# framework-schema


@main.command()
@TARGETS
@with_options(*CHOICE, *MIGRATE, *FLEET, *PARALLEL)
@common
def migrate(options: Options, targets: Sequence[str], **asked: Any) -> int:
    """Apply what is pending, make what is missing, record both."""
    asked["limits"] = {"canary": asked.pop("canary"), "max_failures": asked.pop("max_failures")}
    if asked.pop("fail_fast"):
        asked["limits"]["max_failures"] = 1
    return _fleet(options, "rehearse" if asked["dry_run"] else "migrate", targets, **asked)


@main.command()
@TARGETS
@with_options(*CHOICE, *PARALLEL)
@common
def status(options: Options, targets: Sequence[str], **asked: Any) -> int:
    """Tell how each database stands; changes nothing."""
    return _fleet(options, "status", targets, **asked)


@main.command()
@TARGETS
@with_options(*CHOICE, *PARALLEL)
@common
def plan(options: Options, targets: Sequence[str], **asked: Any) -> int:
    """Name the migrations that each database is to get, and what it lacks; changes nothing."""
    return _fleet(options, "plan", targets, **asked)


@main.command()
@TARGETS
@with_options(*CHOICE, STRICT, *PARALLEL)
@common
def check(options: Options, targets: Sequence[str], **asked: Any) -> int:
    """Compare each database with the schema that the scripts define; for CI.

    Told is what is missing, and what refuses rows of the app; with --strict every other difference, too.
    """
    return _fleet(options, "check", targets, **asked)


@main.command()
@TARGETS
@with_options(CHOICE[0], *HISTORY)
@common
def history(
    options: Options, targets: Sequence[str], names: Sequence[str], limit: int | None, failed: bool, events: bool
) -> int:
    """Tell what happened to a database, newest first."""
    from framework_schema.fleet import plan_tasks
    from framework_schema.inventory import read_targets, select

    members = select(read_targets(targets).members, names)
    tasks = plan_tasks("status", members, (), _config())
    return _history(options, tasks, limit=limit, failed=failed, events=events)


@main.command()
@click.option("--directory", default="demo", metavar="DIR", help="Where to build the databases [demo].")
@common
def demo(options: Options, directory: str) -> int:
    """Build seven misaligned databases, migrate them, show before and after."""
    from pathlib import Path

    from framework_schema import console
    from framework_schema.demo import play

    screen = options.screen
    story = play(Path(directory))
    console.show_demo(screen, story)
    return OK if story.is_proven and not story.fleet.failed else FAILED


@main.command()
@click.argument("target")
@with_options(CHOICE[2], *ROLLBACK)
@common
def rollback(options: Options, target: str, folders: Sequence[str], **asked: Any) -> int:
    """Undo migrations of one database, newest first, after telling what would go."""
    from framework_schema import upkeep

    with _runner(options, target, folders) as runner:
        return upkeep.roll_back(options, runner, **asked)


@main.command()
@click.argument("target")
@click.option("--into", metavar="PLACE", help="A new file or a folder [backups/ beside the database].")
@common
def backup(options: Options, target: str, into: str | None) -> int:
    """Make a verified copy of one database and print its path."""
    from framework_schema import upkeep

    with _runner(options, target) as runner:
        return upkeep.back_up(options, runner, into)


@main.command()
@click.argument("file")
@click.argument("target")
@YES
@common
def restore(options: Options, file: str, target: str, yes: bool) -> int:
    """Put a verified backup in the place of a database; a copy of what it replaces is kept."""
    from framework_schema import upkeep

    with _runner(options, target) as runner:
        return upkeep.restore(options, runner, file, yes=yes)


@main.command("restore-rows")
@click.argument("target")
@common
def restore_rows(options: Options, target: str) -> int:
    """Bring rows back that --repair set aside and that fit by now.

    To make them fit, change them in TABLE_set_aside, where they are kept.
    Of SQLite files; on a server it refuses and says what to do by SQL.
    """
    from framework_schema import upkeep

    with _runner(options, target) as runner:
        return upkeep.restore_rows(options, runner)


@main.command()
@click.argument("source")
@click.argument("target")
@click.option("--replace", is_flag=True, help="The target's rows may go.")
@click.option("--extras", is_flag=True, help="Take tables and columns along that no migration makes.")
@click.option("--rejects", metavar="FILE", help="Where rows go that do not fit [NAME-rejected.jsonl].")
@click.option("--dry-run", is_flag=True, help="Tell which rows would be copied; change nothing.")
@common
def copy(
    options: Options, source: str, target: str, replace: bool, extras: bool, rejects: str | None, dry_run: bool
) -> int:
    """Copy an app's rows into another database, engine to engine, and compare both sides."""
    from pathlib import Path

    from framework_schema import console
    from framework_schema.copy_preview import preview
    from framework_schema.inventory import is_url
    from framework_schema.nearby import folders_near
    from framework_schema.sources import APP, FRAMEWORK, Folder, installed
    from framework_schema.transfer import copy as transfer
    from framework_schema.wording import printable

    config = _config()
    near = () if is_url(source) else folders_near(Path(source))
    sources = (*installed(), *([Folder(near, APP, (FRAMEWORK,))] if near else []))
    if dry_run:
        found = preview(source, target, sources, config)
        if options.as_json:
            console.show_json(options.screen, {"version": 1, "command": "copy", "dry_run": True, **found.as_dict()})
        for line in () if options.as_json else found.lines(replace):
            options.screen.say(printable(line))
        return OK
    report = transfer(
        source, target, sources=sources, replace_rows=replace, extras=extras, rejects=rejects, config=config
    )
    console.show_copy(options.screen, report)
    return OK if report.is_wanted else FAILED


@main.command()
@TARGETS
@with_options(CHOICE[0], CHOICE[2])
@common
def doctor(options: Options, targets: Sequence[str], names: Sequence[str], folders: Sequence[str]) -> int:
    """Tell what is wrong with a database, and the command that mends it; changes nothing."""
    from framework_schema import upkeep
    from framework_schema.errors import DatabaseError
    from framework_schema.inventory import read_targets, select

    members = select(read_targets(targets).members, names)
    found: list[tuple[str, Any]] = []
    for member in members:
        try:
            with _runner(options, member, folders) as runner:
                found.append((member.name, upkeep.diagnosed(runner)))
        except DatabaseError as error:
            found.append((member.name, [upkeep.refused(error)]))
    return upkeep.told_findings(options, found)


@main.command()
@click.argument("name")
@click.option(
    "--auto",
    metavar="MODELS",
    is_flag=False,
    flag_value=".",
    help="From this module's models.",
)
@click.option("--directory", default="migrations", metavar="DIR", help="Where the scripts are [migrations].")
@common
def create(options: Options, name: str, auto: str | None, directory: str) -> int:
    """Write a new migration script, empty or from what the models have and the scripts lack."""
    from framework_schema import console
    from framework_schema.scaffold import create_script, takings

    made = create_script(name, directory, auto)
    to = options.screen
    if to.as_json:
        lost = [] if made is None else list(takings(made))
        console.show_json(to, {"version": 1, "command": "create", "script": made and str(made), "warnings": lost})
        return OK
    to.say(str(made) if made else "No changes found.")
    for what in () if made is None else takings(made):
        to.tell(f"warning: {what}")
    return OK


# flask schema


@schema.command("rollback")
@with_options(*ROLLBACK)
@common
def app_rollback(options: Options, **asked: Any) -> int:
    """Undo migrations of the app's database, newest first, after telling what would go."""
    from framework_schema import upkeep

    with _app_runner(_overrides(options)) as runner:
        return upkeep.roll_back(options, runner, **asked)


@schema.command("backup")
@click.option("--into", metavar="PLACE", help="A new file or a folder [backups/ beside the database].")
@common
def app_backup(options: Options, into: str | None) -> int:
    """Make a verified copy of the app's database and print its path."""
    from framework_schema import upkeep

    with _app_runner(_overrides(options)) as runner:
        return upkeep.back_up(options, runner, into)


@schema.command("restore-rows")
@common
def app_restore_rows(options: Options) -> int:
    """Bring rows back that --repair set aside and that fit by now."""
    from framework_schema import upkeep

    with _app_runner(_overrides(options)) as runner:
        return upkeep.restore_rows(options, runner)


@schema.command("restore")
@click.argument("file")
@YES
@common
def app_restore(options: Options, file: str, yes: bool) -> int:
    """Put a verified backup in the place of the app's database; a copy of what it replaces is kept."""
    from framework_schema import upkeep

    with _app_runner(_overrides(options)) as runner:
        return upkeep.restore(options, runner, file, yes=yes)


@schema.command("doctor")
@common
def app_doctor(options: Options) -> int:
    """Tell what is wrong with the app's database, and the command that mends it; changes nothing."""
    from framework_schema import upkeep

    with _app_runner(_overrides(options)) as runner:
        return upkeep.told_findings(options, [(runner.target.name, upkeep.diagnosed(runner))])


@schema.command("migrate")
@with_options(*MIGRATE)
@common
def app_migrate(options: Options, **asked: Any) -> int:
    """Apply what is pending, make what is missing, record both."""
    from framework_schema.rehearsal import rehearse

    dry_run, to = asked["dry_run"], asked["to"]
    wishes = {name: asked[name] for name in ("repair", "allow_ahead")}
    settings = _overrides(options, strict=asked["strict"], backup=asked["backup"], out_of_order=asked["out_of_order"])

    def work(runner: Runner) -> Report:
        return rehearse(runner, to, **wishes) if dry_run else runner.migrate(to, **wishes)

    return _own(options, "migrate", work, settings, dry_run=dry_run)


@schema.command("status")
@common
def app_status(options: Options) -> int:
    """Tell how the app's database stands; changes nothing."""
    from framework_schema.rehearsal import look
    from framework_schema.runner import Runner

    return _own(options, "status", lambda runner: look(runner, Runner.status))


@schema.command("plan")
@common
def app_plan(options: Options) -> int:
    """Name the migrations that the app's database is to get, and what it lacks; changes nothing."""
    from framework_schema.rehearsal import look
    from framework_schema.runner import Runner

    return _own(options, "plan", lambda runner: look(runner, Runner.status))


@schema.command("check")
@with_options(STRICT)
@common
def app_check(options: Options, strict: bool) -> int:
    """Compare the database with the schema that the scripts define; for CI."""
    from framework_schema.fleet import compare_schema
    from framework_schema.rehearsal import look

    return _own(options, "check", lambda runner: look(runner, lambda reader: compare_schema(reader, strict)))


@schema.command("history")
@with_options(*HISTORY)
@common
def app_history(options: Options, limit: int | None, failed: bool, events: bool) -> int:
    """Tell what happened to the app's database, newest first."""
    from framework_schema.fleet import read_history

    with _app_runner(_overrides(options)) as runner:
        found = [read_history(runner, limit, failed=failed, events=events)]
    return _told_history(options, found, events=events, failed=failed)


@contextmanager
def _app_runner(settings: Mapping[str, Any]) -> Iterator[Runner]:
    """Lend the runner of the Flask app that ``flask`` found, in its context."""
    from flask.cli import ScriptInfo

    from framework_schema.errors import ConfigError

    app = click.get_current_context().ensure_object(ScriptInfo).load_app()
    with app.app_context():
        extension = app.extensions.get("framework_schema")
        if extension is None:
            raise ConfigError(
                f"the app {app.name!r} has no framework_schema; add one line to it: framework_schema.init_app(app)"
            )
        runner = extension.runner(**settings)
        runner.program = program_of(click.get_current_context().obj)
        yield runner


def _own(
    options: Options,
    command: str,
    work: Callable[[Runner], Report],
    settings: Mapping[str, Any] | None = None,
    *,
    dry_run: bool = False,
) -> int:
    """Do one thing to the app's own database and show it as a fleet of one."""
    from framework_schema.fleet import FleetReport, attempt
    from framework_schema.fleet_screen import show_fleet, show_plan

    screen = options.screen
    with _app_runner(settings or _overrides(options)) as runner:
        report = attempt(runner, work)
        problems = tuple(problem.error for problem in runner.known.problems)
    fleet = FleetReport(command, (report,), problems=problems, duration_ms=report.duration_ms)
    if command == "plan":
        show_plan(screen, fleet, (), program=options.program)
    else:
        show_fleet(screen, fleet, (), dry_run=dry_run, program=options.program)
    return exit_code(fleet, dry_run=dry_run)


# Work


@contextmanager
def _runner(options: Options, target: str | Member, folders: Sequence[str] = ()) -> Iterator[Runner]:
    """Make the runner of one database, with the sources that belong to it."""
    from framework_schema.errors import ConfigError
    from framework_schema.inventory import Inventory, read_targets

    if not isinstance(target, str):
        members: tuple[Member, ...] = (target,)
    else:
        members = read_targets([target]).members
    if len(members) != 1:
        raise ConfigError(f"{target} stands for {len(members)} databases, and this is for one. Name the one.")
    from framework_schema import fleet

    notes: list[str] = []
    members = _located(members, (), folders, notes)
    sources = _sources(Inventory(members), (), folders)
    (task,) = fleet.plan_tasks("look", members, sources, _config(), overrides=_overrides(options))
    for note in notes:
        options.screen.tell(f"note: {note}")
    yield fleet.runner_of(task, create=False)


def _fleet(
    options: Options,
    command: str,
    targets: Sequence[str],
    *,
    names: Sequence[str] = (),
    source_names: Sequence[str] = (),
    folders: Sequence[str] = (),
    part: str | None = None,
    jobs: int | None = None,
    executor: str | None = None,
    limits: dict[str, Any] | None = None,
    report_file: str | None = None,
    to: str | None = None,
    strict: bool = False,
    repair: bool = False,
    allow_ahead: bool = False,
    out_of_order: str | None = None,
    backup: bool | None = None,
    dry_run: bool = False,
    adopt_foreign: bool = False,
) -> int:
    """Do one thing to many databases: choose them, run, show."""
    from framework_schema import console, fleet
    from framework_schema.fleet_screen import show_fleet, show_plan
    from framework_schema.inventory import Inventory, read_targets, select, shard

    screen = options.screen
    inventory = read_targets(targets)
    notes = list(inventory.notes)
    members = _located(shard(select(inventory.members, names), part), source_names, folders, notes)
    inventory = Inventory(members, tuple(notes))
    sources = _sources(inventory, source_names, folders)
    problems = _problems(fleet.sources_of(members, sources), to)
    of_task = "status" if command == "plan" else command
    tasks = fleet.plan_tasks(
        of_task, inventory.members, sources, _config(), to=to, repair=repair, allow_ahead=allow_ahead,
        adopt_foreign=adopt_foreign,
        only=bool(source_names), overrides=_overrides(options, strict=strict, backup=backup, out_of_order=out_of_order),
    )  # fmt: skip
    stop = threading.Event()
    with (
        _workers(executor) as workers,
        _written(report_file) as write,
        stopping(stop, screen),
        console.progress(screen, len(tasks), command) as shown,
    ):

        def on_report(report: Report) -> None:
            shown.step(report)
            write(report)

        report = fleet.run(
            tasks,
            jobs=jobs,
            executor=workers,
            limits=fleet.Limits(stop=stop, **(limits or {})),
            on_report=on_report,
        )
    name = "migrate" if command == "rehearse" else command
    report = replace(report, command=name, notes=inventory.notes, problems=problems)
    flags = [word for name in source_names for word in ("--source", name)]
    flags += [word for folder in folders for word in ("--folder", folder)]
    flags += [word for name in names for word in ("--database", name)]
    if command == "plan":
        show_plan(screen, report, targets, flags)
    else:
        show_fleet(screen, report, targets, flags, dry_run=dry_run)
    return exit_code(report, dry_run=dry_run)


def exit_code(report: FleetReport, *, dry_run: bool = False) -> int:
    """Return what the shell gets to know: see the design's section 10."""
    from framework_schema.report import State

    states = set(report.counts)
    looks = report.command in ("status", "check", "plan")
    if report.stopped or states & {State.UNREADABLE, State.LOCKED}:
        return FAILED
    if states & {State.FAILED, State.AHEAD}:
        return NOT_AS_WANTED if looks else FAILED
    drifted = report.command == "check" and any(item.drift for item in report.reports)
    if (looks or not dry_run) and (State.PENDING in states or drifted):
        return NOT_AS_WANTED
    return USAGE if report.problems else OK


def _config() -> Config:
    from framework_schema.config import from_mapping, layered

    return from_mapping(layered({}, os.environ))


def _overrides(
    options: Options, *, strict: bool = False, backup: bool | None = None, out_of_order: str | None = None
) -> dict[str, Any]:
    """Return the settings that the command line gives, which go before all others."""
    given: dict[str, Any] = {}
    if options.timeout is not None:
        given["timeout"] = options.timeout
    if strict:
        given["align"] = "strict"
    if backup is not None:
        given["backup"] = "always" if backup else "never"
    if out_of_order is not None:
        given["out_of_order"] = out_of_order
    return given


def _sources(inventory: Inventory, names: Sequence[str], folders: Sequence[str]) -> tuple[Source, ...]:
    """Return the installed sources and the app's own folders, or those of them that were chosen with their needs.

    Raises ``ConfigError`` for an unknown name, for a folder that is not there,
    and for one that holds databases: scripts never come from a data folder.
    """
    from pathlib import Path

    from framework_schema.errors import ConfigError
    from framework_schema.sources import APP, FRAMEWORK, Folder, installed, refuse_unknown

    data = {member.path.resolve().parent for member in inventory.members if member.path is not None}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ConfigError(f"--folder {folder}: there is no such folder. Nothing was opened.")
        if folder.resolve() in data:
            raise ConfigError(
                f"--folder {folder}: it holds the databases, and scripts are never run from there. Nothing was "
                "opened. Move the scripts to a folder of their own."
            )
    if APP in names and not folders and not any(member.folders for member in inventory.members):
        raise ConfigError("there is no script of an app's own near these databases. Nothing was opened. Give --folder.")
    own = (Folder(tuple(folders), APP, (FRAMEWORK,)),) if folders else ()
    found = (*installed(), *own)
    refuse_unknown(_config().sources or (), {source.name for source in found})
    return _chosen(found, [name for name in names if name != APP or folders] or [FRAMEWORK] * bool(names))


def _located(
    members: Sequence[Member], source_names: Sequence[str], folders: Sequence[str], notes: list[str]
) -> tuple[Member, ...]:
    """Give the members the script folders of their projects, unless others were named."""
    from framework_schema.nearby import remark_on_servers, with_own_folders
    from framework_schema.sources import APP

    if folders or (source_names and APP not in source_names):
        return tuple(replace(member, folders=()) if source_names and not folders else member for member in members)
    remark_on_servers(members, notes)
    return with_own_folders(members, notes)


def _chosen(sources: tuple[Source, ...], names: Sequence[str]) -> tuple[Source, ...]:
    from framework_schema.errors import ConfigError, SourceError

    by_name = {source.name: source for source in sources}
    for name in names:
        if name not in by_name:
            raise ConfigError(f"there is no source {name!r}. Nothing was opened. Installed here: {', '.join(by_name)}.")
    wanted, queue = set[str](), list(names) or list(by_name)
    while queue:
        name = queue.pop()
        if name in by_name and name not in wanted:
            wanted.add(name)
            with contextlib.suppress(SourceError):
                queue += [need.partition("/")[0] for need in by_name[name].depends_on]
    return tuple(source for source in sources if source.name in wanted)


def _problems(alternatives: Sequence[Sequence[Source]], to: str | None) -> tuple[str, ...]:
    """Load all scripts once, before any database is opened, and say which sources cannot take part."""
    from difflib import get_close_matches

    from framework_schema.errors import ConfigError
    from framework_schema.plan import meant
    from framework_schema.sources import collect

    collections = [collect(sources) for sources in alternatives]
    keys = list(dict.fromkeys(key for known in collections for key in known.by_key))
    if to is not None and not meant(to, keys):
        close = [key for key in keys if to.lower() in key.lower()] or get_close_matches(to, keys, 5)
        close = close[:5]
        hint = f"Did you mean: {', '.join(close)}?" if close else f"The newest is {[*keys, '-'][-2]}."
        raise ConfigError(f"--to {to}: there is no such migration. Nothing was opened. {hint}")
    return tuple(dict.fromkeys(problem.error for known in collections for problem in known.problems))


def _history(options: Options, tasks: Sequence[Task], *, limit: int | None, failed: bool, events: bool) -> int:
    from framework_schema.fleet import history_of

    found = [history_of(task, limit, failed=failed, events=events) for task in tasks]
    return _told_history(options, found, events=events, failed=failed)


def _told_history(
    options: Options, found: Sequence[tuple[Report, list[dict[str, Any]]]], *, events: bool, failed: bool
) -> int:
    from framework_schema import console

    screen = options.screen
    broken = [item for item, _ in found if item.error]
    if options.as_json:
        databases = [
            {"name": item.name, "url": item.url, "engine": item.engine, "error": item.error, "history": rows}
            for item, rows in found
        ]
        summary = {"databases": len(found), "failed": len(broken)}
        console.show_json(screen, {"version": 1, "command": "history", "databases": databases, "summary": summary})
    else:
        console.show_history(screen, found, events=events, failed=failed)
    return FAILED if broken else OK


@contextmanager
def _workers(url: str | None) -> Iterator[Executor | None]:
    from framework_schema.errors import ConfigError
    from framework_schema.fleet import dask_executor

    if url is None:
        yield None
    elif url.startswith("dask://"):
        with dask_executor(url) as executor:
            yield executor
    else:
        raise ConfigError(f"--executor {url}: only dask://host:port is known. Nothing was opened.")


@contextmanager
def _written(name: str | None) -> Iterator[Callable[[Report], None]]:
    """Write each report to a file as it comes, one line of JSON; only its owner may read it."""
    import json

    from framework_schema.errors import ConfigError

    if name is None:
        yield lambda report: None
        return
    try:
        number = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(number, 0o600)
    except OSError as error:
        raise ConfigError(f"--report {name}: it cannot be written ({error.strerror}). Nothing was opened.") from error

    with os.fdopen(number, "w", encoding="utf-8") as file:

        def write(report: Report) -> None:
            file.write(json.dumps(report.as_dict(), default=str) + "\n")
            file.flush()

        yield write


@contextmanager
def stopping(stop: threading.Event, screen: Screen) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the run after what is in flight; a second Ctrl-C ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()
        os.write(2, b"stopping after what is in flight (Ctrl-C again: at once)\n")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""One function over many databases: in parallel, each on its own, all of them in the report."""

from __future__ import annotations

import logging
import os
import signal
import stat
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from importlib import import_module
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

import peewee as pw

from framework_schema.config import Config
from framework_schema.databases import hide_password
from framework_schema.errors import ConfigError, DatabaseError, MigrationFailed, NeedsWriting, SchemaError, Unreadable
from framework_schema.inventory import Member, is_url, read_targets, shard
from framework_schema.plan_cache import PlanCache
from framework_schema.rehearsal import Way, look, rehearse, way_to_read
from framework_schema.report import Report, State
from framework_schema.runner import Runner
from framework_schema.shelf import Shelf
from framework_schema.sources import (
    APP,
    FRAMEWORK,
    Collection,
    Folder,
    Source,
    chosen,
    collect,
    fingerprint,
    installed,
    read_once,
)
from framework_schema.watched import watched
from framework_schema.wording import say, trace

logger = logging.getLogger(__name__)

FAILURES = frozenset({State.FAILED, State.UNREADABLE, State.LOCKED, State.AHEAD})
"""States in which a database did not end as asked. A foreign one was never asked for."""

PER_WORKER = 8
"""Databases that make it worth while to start another process."""

NOT_STARTED = "not started"

SHELVES = "framework-schema-"
"""What the temporary folders begin with in which workers lend each other recordings."""


@dataclass(frozen=True)
class Task:
    """One member's work, as a value that travels to another process.

    ``sources`` of None are all installed ones. ``run`` names the run, so that
    a worker that outlives it (Dask's do) reads the scripts anew for the next.
    ``shelf`` is the folder of what workers of one machine lend each other.
    """

    command: str
    member: Member
    sources: tuple[Source, ...] | None
    config: Config
    to: str | None = None
    repair: bool = False
    allow_ahead: bool = False
    adopt_foreign: bool = False
    all_plugins: bool = False
    run: str = ""
    shelf: str | None = None


@dataclass(frozen=True)
class FleetReport:
    """What became of every member, in the inventory's order, whatever order they ended in.

    ``stopped`` says why the run ended early; then the members that were never
    begun are in it as ``pending``.
    """

    command: str
    reports: tuple[Report, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    stopped: str | None = None
    duration_ms: int = 0

    @property
    def failed(self) -> tuple[Report, ...]:
        """The databases that did not end as asked."""
        return tuple(report for report in self.reports if report.state in FAILURES)

    @property
    def not_started(self) -> tuple[Report, ...]:
        """The databases a stopped run never came to."""
        return tuple(report for report in self.reports if NOT_STARTED in report.notes)

    @property
    def counts(self) -> Mapping[State, int]:
        """Databases by state, in the order in which states are listed."""
        found = Counter(report.state for report in self.reports)
        return {state: found[state] for state in State if found[state]}

    @property
    def summary(self) -> dict[str, Any]:
        """Return the totals of ``--json``."""
        return {
            "databases": len(self.reports),
            **{str(state): self.counts.get(state, 0) for state in State},
            "drift": sum(bool(report.drift) for report in self.reports),
            "not_started": len(self.not_started),
            "stopped": self.stopped,
            "problems": list(self.problems),
            "notes": list(self.notes),
            "duration_ms": self.duration_ms,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the one object of ``--json``."""
        return {
            "version": 1,
            "command": self.command,
            "databases": [report.as_dict() for report in self.reports],
            "summary": self.summary,
        }


@dataclass(frozen=True)
class Limits:
    """When to stop early. ``max_failures`` of 1 is fail-fast; ``canary`` members run first, alone."""

    canary: int = 0
    max_failures: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)


def migrate_fleet(
    targets: Iterable[str | os.PathLike[str]],
    sources: Sequence[Source] | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    dry_run: bool = False,
    *,
    to: str | None = None,
    repair: bool = False,
    allow_ahead: bool = False,
    config: Config | None = None,
    adopt_foreign: bool = False,
    canary: int = 0,
    max_failures: int | None = None,
    part: str | None = None,
    stop: threading.Event | None = None,
    on_report: Callable[[Report], None] | None = None,
) -> FleetReport:
    """Migrate every database that ``targets`` name; one that fails never stops the others.

    ``sources`` are by default all installed ones. ``jobs`` processes share the
    work, by default as many as there are cores and work for; with 1 it runs in
    this process. ``executor`` can be any ``concurrent.futures.Executor`` and
    stays open. ``part`` is ``K/N``, every N-th member from the K-th on. Set
    ``stop`` to end the run after what is in flight. ``on_report`` is called in
    this thread with each report as it comes.

    Raises ``ConfigError`` when a target cannot be meant; never for a member.
    """
    inventory = read_targets(list(targets))
    members = shard(inventory.members, part)
    tasks = plan_tasks(
        "rehearse" if dry_run else "migrate", members, sources, config or Config(),
        to=to, repair=repair, allow_ahead=allow_ahead, adopt_foreign=adopt_foreign,
    )  # fmt: skip
    limits = Limits(canary, max_failures, stop or threading.Event())
    report = run(tasks, jobs=jobs, executor=executor, limits=limits, on_report=on_report)
    return replace(report, command="migrate", notes=inventory.notes)


def plan_tasks(
    command: str,
    members: Iterable[Member],
    sources: Sequence[Source] | None,
    config: Config,
    *,
    to: str | None = None,
    repair: bool = False,
    allow_ahead: bool = False,
    adopt_foreign: bool = False,
    only: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[Task, ...]:
    """Turn members into tasks: their own settings over ``config``, and ``overrides`` over both.

    ``only`` says that the sources were chosen by name: then they apply to all.
    """
    of_run = uuid.uuid4().hex
    tasks = []
    for member in members:
        own = _own_sources(member, sources)
        tasks.append(
            Task(
                command,
                member,
                None if own is None else tuple(map(_hashable, own)),
                replace(config, **{**dict(member.settings), **(overrides or {})}),
                to,
                repair,
                allow_ahead,
                adopt_foreign or member.adopt_foreign or member.explicit,
                only,
                of_run,
            )
        )
    return tuple(tasks)


def sources_of(members: Iterable[Member], sources: Sequence[Source]) -> list[Sequence[Source]]:
    """Return the different sets of sources that the members have; those given, where there is no member."""
    found = {member.folders: _own_sources(member, sources) for member in members}
    return [own for own in found.values() if own is not None] or [sources]


def _own_sources(member: Member, sources: Sequence[Source] | None) -> Sequence[Source] | None:
    """Give a member with script folders of its own these, in place of the app's."""
    if not member.folders:
        return sources
    others = installed() if sources is None else sources
    return (*(source for source in others if source.name != APP), Folder(member.folders, APP, (FRAMEWORK,)))


def _hashable(source: Source) -> Source:
    """Write a folder so that it can be a key, and means the same in another working directory."""
    return (
        replace(source, path=tuple(path.absolute() for path in source.paths)) if isinstance(source, Folder) else source
    )


def _anywhere(task: Task) -> Task:
    """Write a task so that a worker with another working directory finds the file."""
    member = task.member
    if member.path is None or is_url(member.url):
        return task
    return replace(task, member=replace(member, url=str(member.path.absolute())))


# One member


def run_member(task: Task) -> Report:
    """Do one member's work and tell how it ended; raises nothing.

    It opens its own connection and loads its own scripts, so it runs in any
    process that has this package.
    """
    return _told(task.member, lambda: COMMANDS[task.command](task))


def attempt(runner: Runner, work: Callable[[Runner], Report]) -> Report:
    """Do something with one runner and tell how it ended, as ``run_member`` does."""
    return _told(Member(runner.target.name, runner.target.url), lambda: work(runner))


def history_of(task: Task, limit: int | None, *, failed: bool, events: bool) -> tuple[Report, list[dict[str, Any]]]:
    """Read one member's history, newest first; the report says who it is, and why there is none."""
    rows: list[dict[str, Any]] = []

    def read() -> Report:
        report, found = read_history(runner_of(task), limit, failed=failed, events=events)
        rows.extend(found)
        return report

    return _told(task.member, read), rows


def read_history(
    runner: Runner, limit: int | None, *, failed: bool, events: bool
) -> tuple[Report, list[dict[str, Any]]]:
    """Read the history of a runner's database without leaving a trace."""
    rows = look(runner, lambda reader: reader.history(limit, failed=failed, events=events))
    target = runner.target
    return Report(target.name, hide_password(target.url), target.engine, State.CURRENT), rows


def compare_schema(runner: Runner, strict: bool) -> Report:
    """Return the status with the drift that ``migrate`` mends, or with all that ``migrate --strict`` does.

    What refuses rows of the app is told either way.
    """
    report = runner.status()
    drift = runner.drift(strict=True)
    found = (*drift.additive, *(drift.structural if strict else drift.refusing))
    left = runner.blocked(strict=strict) if found else ()
    return replace(
        report,
        drift=tuple(difference.as_dict() for difference in found),
        left=tuple(item.as_dict() for item in left),
        schema=drift.digest or None if strict else None,
    )


def _told(member: Member, work: Callable[[], Report]) -> Report:
    started = time.perf_counter()
    try:
        report = work()
    except MigrationFailed as error:
        report = error.report
    except DatabaseError as error:
        report = _refused(member, State(error.state), error)
    except ConfigError as error:
        report = _refused(member, State.UNREADABLE, error)
    except SchemaError as error:
        report = _refused(member, State.FAILED, error)
    except OSError as error:
        text = f"{member.name}: it cannot be reached ({error.strerror or error}). Nothing was changed."
        report = _refused(member, State.UNREADABLE, error, f"{text} Check its path and permissions.")
    except Exception as error:
        logger.debug("%s: unexpected\n%s", member.name, trace(error))
        report = _refused(member, State.FAILED, error, f"{member.name}: {say(error)}")
    spent = round((time.perf_counter() - started) * 1000)
    return replace(report, name=member.name, duration_ms=spent)


def _refused(member: Member, state: State, error: Exception, text: str | None = None) -> Report:
    return _empty(member, state, error=hide_password(text or str(error)))


def _empty(member: Member, state: State, **parts: Any) -> Report:
    url = hide_password(member.url) if member.path is None else f"sqlite:///{member.path}"
    engine = "sqlite" if member.path is not None else member.url.partition(":")[0].partition("+")[0]
    return Report(member.name, url, engine, state, **parts)


def _migrate(task: Task) -> Report:
    """Try with a connection that cannot write; only what has something to do is opened to be written.

    A file in rollback mode with nothing beside it is not touched by reading, so that one connection does.
    """
    runner = runner_of(task)
    path = _file(runner.target.path)
    if path is not None and way_to_read(path) is Way.LOCKED:
        return _run(task, runner)
    with suppress(NeedsWriting):
        return look(runner, partial(_run, task), copies=False)
    return _run(task, runner)


def _file(path: Path | None) -> Path | None:
    """Return where a file itself is, beside which SQLite keeps what belongs to it; None where there is no file."""
    if path is None:
        return None
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    if stat.S_ISLNK(mode):
        return path.resolve() if path.is_file() else None
    return path if stat.S_ISREG(mode) else None


def _run(task: Task, runner: Runner) -> Report:
    return runner.migrate(task.to, repair=task.repair, allow_ahead=task.allow_ahead)


def _rehearse(task: Task) -> Report:
    return rehearse(runner_of(task), task.to, repair=task.repair, allow_ahead=task.allow_ahead)


def _status(task: Task) -> Report:
    return _without_wishes(look(runner_of(task), Runner.status))


def _check(task: Task) -> Report:
    return _without_wishes(look(runner_of(task), partial(compare_schema, strict=task.config.align == "strict")))


def _without_wishes(report: Report) -> Report:
    """Leave out of a foreign database's report what it would need to be ours."""
    return replace(report, pending=(), drift=()) if report.state is State.FOREIGN else report


COMMANDS: dict[str, Callable[[Task], Report]] = {
    "migrate": _migrate,
    "rehearse": _rehearse,
    "status": _status,
    "check": _check,
}


def runner_of(task: Task, *, create: bool | None = None) -> Runner:
    """Make the runner of one member, with the sources that belong to it."""
    member = task.member
    _refuse_at_sight(member)
    sources, all_plugins = task.sources, task.all_plugins
    if member.plugins and not all_plugins:
        sources, all_plugins = _with_plugins(task), True
    runner = Runner(
        member.url,
        sources,
        config=task.config,
        create=member.explicit and is_url(member.url) and not _is_there(member) if create is None else create,
        adopt_foreign=task.adopt_foreign,
        all_plugins=all_plugins,
    )
    runner.known, runner.fingerprint = _scripts(sources, task.config.sources, task.run)
    if task.config.plan_cache and task.command == "migrate":
        runner.plans = _plans(task.run, task.shelf)
        runner.target = replace(runner.target, database=_watched(runner.target.database))
    return runner


def _watched(database: pw.Database) -> pw.Database:
    """Return a closed database like this one that can be watched, where its kind can be."""
    if isinstance(database, pw.SqliteDatabase):
        return watched(database)
    from framework_schema.server_watched import watched_server

    return watched_server(database)


def _is_there(member: Member) -> bool:
    return member.path is not None and member.path.is_file()


def _refuse_at_sight(member: Member) -> None:
    """Refuse what no connection has to be opened for."""
    if member.problem:
        remedy = "Set it." if member.url.startswith("env://") else "Name the file, or the folder that holds it."
        raise Unreadable(member.name, member.problem, remedy)
    path = None if member.explicit else member.path
    if path is not None and path.is_file() and path.stat().st_size == 0:
        raise Unreadable(
            member.name,
            "the file is empty (0 bytes), so it may be what is left of a database",
            "Restore a backup, or name the file itself to have the schema built in it.",
        )


def _with_plugins(task: Task) -> tuple[Source, ...]:
    """Return the sources of a member whose plugins the inventory names: these and those it carries."""
    member = task.member
    names = {*member.plugins, FRAMEWORK, APP}
    if _is_there(member):
        rows = look(Runner(member.url, (), config=task.config, create=False), Runner.history)
        names |= {str(row["migration_name"]).partition("/")[0] for row in rows if "/" in str(row["migration_name"])}
    sources = installed() if task.sources is None else task.sources
    absent = set(member.plugins) - {source.name for source in sources}
    if absent:
        raise ConfigError(
            f"{member.name}: the inventory names the plugin {', '.join(sorted(absent))}, which is not "
            "installed. Nothing was opened. Install it, or mend the name."
        )
    return tuple(source for source in sources if source.name in names)


@lru_cache(maxsize=4)
def _scripts(
    sources: tuple[Source, ...] | None, names: tuple[str, ...] | None, run: str
) -> tuple[Collection, str | None]:
    """Load the scripts and hash the very same bytes, once a process and run."""
    readings = tuple(map(read_once, chosen(sources, names)))
    return collect(readings), fingerprint(readings)


@lru_cache(maxsize=2)
def _plans(run: str, shelf: str | None) -> PlanCache:
    """Return what was proven so far, in this process and run."""
    return PlanCache(None if shelf is None else Shelf(shelf))


# Many members


def run(
    tasks: Sequence[Task],
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    limits: Limits | None = None,
    on_report: Callable[[Report], None] | None = None,
) -> FleetReport:
    """Do all tasks and return all reports, in the order of the tasks."""
    limits = limits or Limits()
    tasks = tasks if executor is None else [_anywhere(task) for task in tasks]
    started = time.perf_counter()
    crew = _crew(executor, _jobs(jobs, len(tasks)), tasks)
    found: dict[int, Report] = {}
    stopped = None
    numbers = range(len(tasks))
    waves = [numbers[: limits.canary], numbers[limits.canary :]] if limits.canary else [numbers]
    with crew:
        for wave, part in enumerate(waves):
            for number, report in crew.work({n: tasks[n] for n in part}, lambda: _why_stop(found, limits) is not None):
                found[number] = report
                if on_report is not None:
                    on_report(report)
            stopped = _why_stop(found, limits)
            if limits.canary and wave == 0 and stopped is None and _failures(found):
                stopped = f"a canary failed: {_failures(found)[0].name}"
            if stopped is not None:
                break
    done = len(found) == len(tasks)
    reports = tuple(found[n] if n in found else _not_started(tasks[n], stopped) for n in numbers)
    spent = round((time.perf_counter() - started) * 1000)
    command = tasks[0].command if tasks else ""
    return FleetReport(command, reports, stopped=None if done else stopped, duration_ms=spent)


def _failures(found: Mapping[int, Report]) -> list[Report]:
    return [report for report in found.values() if report.state in FAILURES]


def _why_stop(found: Mapping[int, Report], limits: Limits) -> str | None:
    if limits.stop.is_set():
        return "it was interrupted"
    failures = len(_failures(found))
    if limits.max_failures is not None and failures >= limits.max_failures:
        return f"{failures} database{'s' * (failures != 1)} failed"
    return None


def _not_started(task: Task, why: str | None) -> Report:
    return _empty(task.member, State.PENDING, notes=(NOT_STARTED, f"the run was stopped: {why}"))


def _jobs(jobs: int | None, members: int) -> int:
    if jobs is not None:
        return max(1, jobs)
    return max(1, min(os.cpu_count() or 1, members // PER_WORKER))


def _crew(executor: Executor | None, jobs: int, tasks: Iterable[Task]) -> _Crew:
    if executor is not None:
        return _Given(executor)
    return _Here() if jobs == 1 else _Processes(jobs, lends=any(map(_can_lend, tasks)))


def _can_lend(task: Task) -> bool:
    return task.command == "migrate" and task.config.plan_cache and task.member.path is None


class _Crew:
    """Who does the work. ``work`` yields each number with its report as it comes, until told to stop."""

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        """Let the workers go."""

    def work(self, tasks: Mapping[int, Task], is_over: Callable[[], bool]) -> Iterator[tuple[int, Report]]:
        """Do the tasks; what is in flight when it is over is still yielded."""
        raise NotImplementedError


class _Here(_Crew):
    """This process, one after the other."""

    def work(self, tasks: Mapping[int, Task], is_over: Callable[[], bool]) -> Iterator[tuple[int, Report]]:
        for number, task in tasks.items():
            if is_over():
                return
            yield number, run_member(task)


class _Given(_Crew):
    """An executor of the caller's."""

    window = 256

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def work(self, tasks: Mapping[int, Task], is_over: Callable[[], bool]) -> Iterator[tuple[int, Report]]:
        waiting = list(tasks.items())[::-1]
        flying: dict[Future[Report], int] = {}
        while flying or waiting:
            if is_over():
                waiting.clear()
                flying = {future: number for future, number in flying.items() if not future.cancel()}
            while waiting and len(flying) < self.window:
                number, task = waiting.pop()
                flying[self.executor.submit(run_member, task)] = number
            ended, _ = wait(flying, return_when=FIRST_COMPLETED)
            suspects = []
            for future in sorted(ended, key=flying.__getitem__):
                number = flying.pop(future)
                try:
                    yield number, future.result()
                except BrokenExecutor:
                    suspects.append(number)
                except Exception as error:
                    yield number, _lost(tasks[number], error)
            if suspects:
                suspects += flying.values()
                flying.clear()
                for number in sorted(suspects):
                    yield number, self.again(tasks[number])

    def again(self, task: Task) -> Report:
        """Tell of a task whose worker, or one beside it, died."""
        return _lost(task, None)


class _Processes(_Given):
    """Worker processes of our own. When one dies, the tasks that were in flight run again, each alone.

    ``lends`` gives them a folder in which they lend each other what they recorded.
    """

    def __init__(self, jobs: int, *, lends: bool = False) -> None:
        self.jobs, self.window = jobs, 2 * jobs
        self._shelf: TemporaryDirectory[str] | None = None
        with suppress(OSError):  # nowhere to write: then nobody lends
            self._shelf = TemporaryDirectory(prefix=SHELVES, ignore_cleanup_errors=True) if lends else None
        super().__init__(self._pool(jobs))

    def __exit__(self, *_: object) -> None:
        self.executor.shutdown(cancel_futures=True)
        if self._shelf is not None:
            self._shelf.cleanup()

    def work(self, tasks: Mapping[int, Task], is_over: Callable[[], bool]) -> Iterator[tuple[int, Report]]:
        """Do the tasks, those that can lend told where the shelf is."""
        told = {n: replace(task, shelf=self._place) if _can_lend(task) else task for n, task in tasks.items()}
        return super().work(told, is_over)

    def again(self, task: Task) -> Report:
        with self._pool(1) as alone:
            try:
                report = alone.submit(run_member, task).result()
            except BrokenExecutor:
                report = _lost(task, None)
        self.executor.shutdown(wait=False)
        self.executor = self._pool(self.jobs)
        return report

    @property
    def _place(self) -> str | None:
        return None if self._shelf is None else self._shelf.name

    def _pool(self, jobs: int) -> ProcessPoolExecutor:
        """Start workers from nothing: a fork would copy this process's threads' locks and connections."""
        return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin, initargs=(self._place,))


def _lost(task: Task, error: Exception | None) -> Report:
    text = (
        f"{task.member.name}: the worker process died while it worked on this database. SQLite undoes what was not "
        "committed. Run it alone to see why: --jobs 1"
        if error is None
        else f"{task.member.name}: the worker could not answer ({type(error).__name__}: {error})"
    )
    return _empty(task.member, State.FAILED, error=hide_password(text))


def _begin(shelf: str | None) -> None:
    """Set a worker up: Ctrl-C is its parent's to handle, what scripts print is no result, and it never outlives us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.dup2(2, 1)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel, shelf), daemon=True).start()


def _end_with(sentinel: Any, shelf: str | None) -> None:
    """Wait for the end of the parent, which can no longer tidy up."""
    wait_for([sentinel])
    if shelf is not None:
        rmtree(shelf, ignore_errors=True)
    os._exit(1)


@contextmanager
def dask_executor(url: str) -> Iterator[Executor]:
    """Connect to the scheduler of ``dask://host:port`` and lend its workers as an executor.

    Raises ``ConfigError`` when Dask is not installed or nobody answers.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise ConfigError(
            "--executor dask://... needs Dask. Nothing was opened. Install it: pip install 'framework-schema[dask]'"
        ) from error
    try:
        client = distributed.Client(url.replace("dask://", "tcp://", 1), timeout=10, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ConfigError(f"{url}: no Dask scheduler answers ({error}). Nothing was opened.") from error
    try:
        yield client.get_executor(pure=False)
    finally:
        client.close()

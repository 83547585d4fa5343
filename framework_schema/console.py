"""Values to text for people, or to JSON: the result on stdout, the progress on stderr."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from framework_schema.databases import hide_password
from framework_schema.losses import losses
from framework_schema.report import Report, State
from framework_schema.sizes import size
from framework_schema.wording import printable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.table import Table

    from framework_schema.demo import Demo
    from framework_schema.doctor import Finding
    from framework_schema.fleet import FleetReport
    from framework_schema.transfer import CopyReport

NUMBERS = {"Pending", "Failed", "Drift", "Applied", "Adopted", "Aligned", "Left", "Tables", "Rows", "Time"}
"""Columns that stand to the right."""

MANY = 25
"""Databases above which only those that matter are listed."""
MOST = 10
"""How many causes are listed then."""

COLOURS = {
    State.MIGRATED: "green",
    State.CURRENT: "green",
    State.PENDING: "yellow",
    State.FAILED: "red",
    State.AHEAD: "magenta",
    State.UNREADABLE: "red",
    State.LOCKED: "red",
    State.FOREIGN: "dim",
}
WRONG = (State.FAILED, State.UNREADABLE, State.LOCKED, State.AHEAD)
MEANING = {State.AHEAD: "it has migrations newer than this release knows; it was left as it is"}
"""What a state means where nothing more is known."""


@dataclass(frozen=True, slots=True)
class Screen:
    """How to write: to which streams, how much, and with what.

    Held open is nothing; the streams are those of the process when the command
    began, so that a script that prints cannot get between.
    """

    out: TextIO
    err: TextIO
    as_json: bool = False
    quiet: bool = False
    verbose: int = 0
    color: bool = True

    @property
    def is_terminal(self) -> bool:
        """True when people read along while it runs."""
        return self.err.isatty() and not self.quiet

    def fitted(self, text: str) -> str:
        """Cut a line to the width of the terminal, if it goes to one."""
        width = shutil.get_terminal_size().columns if self.out.isatty() else len(text)
        return text if len(text) <= width else f"{text[: width - 1]}…"

    def say(self, text: str = "") -> None:
        """Write a line of the result."""
        print(text, file=self.out)

    def tell(self, text: str) -> None:
        """Write a line about the run, unless it shall be quiet."""
        if not self.quiet:
            print(text, file=self.err, flush=True)


def screen(
    out: TextIO | None = None, *, as_json: bool = False, quiet: bool = False, verbose: int = 0, color: bool = True
) -> Screen:
    """Return how to write, as the command's options and ``NO_COLOR`` say."""
    out = out or sys.stdout
    for stream in (out, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    return Screen(out, sys.stderr, as_json, quiet, verbose, color and not os.environ.get("NO_COLOR"))


def show_json(to: Screen, value: dict[str, Any]) -> None:
    """Write one JSON object, as ASCII, so that no name can break a terminal or a pipe."""
    to.say(json.dumps(value, indent=2, default=str))


# The fleet


def show_fleet(to: Screen, report: FleetReport, targets: Sequence[str], *, dry_run: bool = False) -> None:
    """Write what became of every database, or at fleet size of those that matter, and what to do next."""
    if to.as_json:
        show_json(to, report.as_dict() | ({"dry_run": True} if dry_run else {}))
        return
    for problem in report.problems:
        to.tell(f"source left out: {printable(problem)}")
    for note in (*report.notes, *_common_notes(report)):
        to.tell(f"note: {printable(note)}")
    if not to.quiet:
        _show_table(to, report, dry_run)
    _show_details(to, report, dry_run)
    to.say(" · ".join(_totals(report, dry_run)))
    if report.stopped:
        to.say(f"stopped: {printable(report.stopped)}")
    following = _next(report, targets, dry_run)
    if following:
        to.say(f"next: {following}")


def _show_table(to: Screen, report: FleetReport, dry_run: bool) -> None:
    """Write a line a database, or at fleet size how many stand alike."""
    if len(report.reports) > MANY and not to.verbose:
        _show_groups(to, report)
        return
    looks = report.command in ("status", "check")
    names = ("Database", "Engine", "At", "Pending", "Failed", "Drift", "State") if looks else _RAN
    if report.command == "check" and any(item.schema for item in report.reports):
        names = ("Database", "Engine", "At", "Pending", "Drift", "Schema", "State")
    table = _table(to, *names)
    for item in report.reports:
        cells = _looked(item) if looks else _ran(item, dry_run)
        if "Schema" in names:
            cells = (*cells[:4], cells[5], item.schema or "-", cells[6])
        table.add_row(*map(_escaped, cells[:-1]), _state(item, cells[-1]))
    _print(to, table)


_RAN = ("Database", "Applied", "Adopted", "Aligned", "Left", "Time", "State")


def _looked(item: Report) -> tuple[str, ...]:
    at = (item.at or "-").removeprefix("framework/")
    return (
        printable(item.name),
        item.engine,
        at,
        _count(item.pending),
        _count(item.failed),
        _count(item.drift),
        str(item.state),
    )


def _ran(item: Report, dry_run: bool) -> tuple[str, ...]:
    state = "would migrate" if dry_run and item.state is State.PENDING else str(item.state)
    return (
        printable(item.name),
        _count(item.applied),
        _count(item.adopted),
        _count(item.aligned),
        _count(item.left),
        seconds(item.duration_ms),
        state,
    )


def _count(items: Sequence[Any]) -> str:
    return str(len(items)) if items else "-"


def _show_groups(to: Screen, report: FleetReport) -> None:
    """Write how many databases stand alike, the most first."""
    groups = Counter((item.state, item.at or "-", len(item.pending)) for item in report.reports)
    table = _table(to, "Databases", "At", "Pending", "State")
    for (state, at, pending), number in groups.most_common(6):
        table.add_row(str(number), at.removeprefix("framework/"), str(pending or "-"), f"[{_colour(state)}]{state}[/]")
    _print(to, table)
    if len(groups) > 6:
        to.say(f"... and {sum(groups.values()) - sum(n for _, n in groups.most_common(6))} in {len(groups) - 6} more")
    to.say()


def _colour(state: State) -> str:
    return COLOURS[state]


def _state(item: Report, text: str) -> str:
    return f"[{_colour(item.state)}]{text}[/]"


def _show_details(to: Screen, report: FleetReport, dry_run: bool) -> None:
    """Write why databases did not end as asked, then what was asked for at length."""
    causes = list(_causes(report.reports))
    most = len(causes) if len(report.reports) <= MANY or to.verbose else MOST
    for cause in causes[:most]:
        to.say(to.fitted(cause) if len(report.reports) > MANY and not to.verbose else cause)
    if len(causes) > most:
        to.say(f"... and {len(causes) - most} more; -v shows them, --json lists all")
    for item in report.reports:
        for line in losses(item.lost, "would lose" if dry_run else "lost") if item.lost else ():
            to.say(f"{printable(item.name)}: {line}")
        if item.lost and item.backup:
            to.say(f"{printable(item.name)}: copy made first: {printable(item.backup)}")
    common = {*_common_notes(report), *report.problems}
    for item in report.reports if len(report.reports) <= MANY or to.verbose else ():
        for left in item.left:
            shown = f" ({left['query']})" if left["query"] else ""
            to.say(f"left: {printable(item.name)}: {printable(str(left['text']) + shown)}")
        for difference in item.drift if report.command == "check" else ():
            to.say(f"drift: {printable(item.name)}: {printable(str(difference['text']))}")
        for note in item.notes:
            if note not in common:
                to.say(f"note: {printable(item.name)}: {printable(note)}")
        if to.verbose:
            for source in item.sources:
                to.say(f"source: {printable(item.name)}: {printable(source)}")
            if report.command in ("status", "check"):
                for key in item.pending:
                    to.say(f"pending: {printable(item.name)}: {printable(key)}")
            _show_steps(to, item)
        if dry_run:
            _show_rehearsal(to, item)
    if dry_run and len(report.reports) > MANY and not to.verbose:
        to.say("the SQL of every database: -v, or --json")


def _causes(reports: Sequence[Report]) -> Iterator[str]:
    """Yield a line for every database that did not end as asked; those with one and the same cause share it."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in reports:
        if item.state in WRONG:
            steps = [f"{step.key}: {step.error}" for step in item.steps if step.error]
            cause = item.error or "; ".join(steps) or MEANING.get(item.state, str(item.state))
            groups.setdefault((str(item.state), cause.removeprefix(f"{item.name}: ")), []).append(printable(item.name))
    for (state, cause), names in groups.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{state}: {names[0]}{others}: {printable(cause)}"


def _show_steps(to: Screen, item: Report) -> None:
    for step in item.steps:
        to.say(f"  {step.outcome}: {step.key} {seconds(step.duration_ms)}")
    for what in item.aligned:
        to.say(f"  aligned: {printable(what)}")


def _show_rehearsal(to: Screen, item: Report) -> None:
    if item.state is State.CURRENT:
        return
    rows, disk = getattr(item, "rows", 0), getattr(item, "disk_bytes", 0)
    to.say(
        f"-- {printable(item.name)}: {len(item.sql)} statements, {rows} rows written, {seconds(item.duration_ms)}"
        + (f", {size(disk)} of disk while it runs" if item.engine == "sqlite" else "")
    )
    for key in item.adopted:
        to.say(f"-- adopted, since its whole effect is there: {key}")
    for statement in item.sql:
        body, mark, note = statement.partition("  -- ")
        to.say(f"{body.rstrip(';')};{mark}{note}")


def _common_notes(report: FleetReport) -> list[str]:
    """Return the remarks that all databases share: those on sources and scripts."""
    counts = Counter(note for item in report.reports for note in dict.fromkeys(item.notes))
    told = sum(bool(item.notes) for item in report.reports)
    return [note for note, number in counts.items() if number == told > 1 and note not in report.problems]


def _totals(report: FleetReport, dry_run: bool) -> Iterator[str]:
    total = len(report.reports)
    yield f"{total} database{'s' * (total != 1)}"
    unstarted = len(report.not_started)
    for state, number in report.counts.items():
        number -= unstarted if state is State.PENDING else 0
        if number:
            yield f"{number} {'would be migrated' if dry_run and state is State.PENDING else state}"
    if unstarted:
        yield f"{unstarted} not started"
    left = sum(bool(item.left) for item in report.reports)
    if left:
        yield f"{left} with something left"
    yield seconds(report.duration_ms)


def _next(report: FleetReport, targets: Sequence[str], dry_run: bool) -> str | None:
    """Return the command that helps, or None when all is well."""
    again = shell("framework-schema", "migrate", *targets)
    counts = report.counts
    if report.stopped:
        return f"{again}  (goes on with the rest)"
    wrong = {item.state: item for item in reversed(report.reports) if item.state in WRONG}
    if State.FAILED in wrong:
        return shell("framework-schema", "history", wrong[State.FAILED].name) + " --failed"
    if State.LOCKED in wrong:
        return f"{again} --timeout 300  (waits longer)"
    if any(item.pending or item.drift for item in report.reports if item.state is State.PENDING):
        return again
    left = [item for database in report.reports for item in database.left]
    if any(item["repair"] for item in left):
        return f"{again} --strict --repair  (sets those rows aside)"
    if report.command == "check" and sum(len(item.drift) for item in report.reports) > len(left):
        return f"{again} --strict"
    if wrong:
        return None
    if report.command == "migrate" and State.MIGRATED in counts:
        return shell("framework-schema", "status", *targets)
    return None


def shell(*words: str) -> str:
    """Write a command as a shell takes it, without passwords; a name with a leading dash comes behind ``--``."""
    command, names = list(words[:2]), [hide_password(word) for word in words[2:]]
    if any(name.startswith("-") for name in names):
        names.insert(0, "--")
    return printable(shlex.join([*command, *names]))


def seconds(milliseconds: int) -> str:
    """Write a time as people say it."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds // 60_000} min {milliseconds // 1000 % 60} s"


# History


def show_history(to: Screen, found: Sequence[tuple[Report, list[dict[str, Any]]]], *, events: bool) -> None:
    """Write what happened to each database, newest first."""
    for item, rows in found:
        if len(found) > 1:
            to.say(f"{printable(item.name)}:")
        if item.error:
            to.say(f"{item.state}: {printable(item.error)}")
            continue
        if not rows:
            to.say("no history yet")
            continue
        table = _table(to, *(("At", "What", "Migration", "Outcome", "Detail") if events else _ROW))
        for row in rows:
            table.add_row(*(_escaped(printable(cell)) for cell in (_event if events else _row)(row)))
        _print(to, table)


_ROW = ("Applied at", "Migration", "Outcome", "Time", "Error")


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    success = row.get("success")
    spent = row.get("execution_time_ms")
    return (
        str(row.get("applied_at") or "-"),
        str(row["migration_name"]),
        "ok" if success is None or success else "failed",
        "-" if spent is None else seconds(int(spent)),
        str(row.get("error_message") or ""),
    )


def _event(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(row["at"]),
        str(row["kind"]),
        str(row["migration_name"] or "-"),
        str(row["outcome"]),
        " · ".join(str(row[name]) for name in ("error", "detail") if row[name]),
    )


# One database


def show_findings(to: Screen, found: Sequence[tuple[str, Sequence[Finding]]]) -> None:
    """Write what the doctor found, worst first, and under each what mends it."""
    for name, findings in found:
        if len(found) > 1 or not findings:
            to.say(f"{printable(name)}: {'' if findings else 'nothing is wrong'}".rstrip())
        for finding in findings:
            if finding.is_problem or not to.quiet:
                to.say(printable(f"{finding.level}: {finding.where}: {finding.what}"))
                to.say(printable(f"  mend: {finding.remedy}"))


def show_copy(to: Screen, report: CopyReport) -> None:
    """Write the tables that hold rows, with the counts and sums of both sides, and what did not fit."""
    if to.as_json:
        show_json(to, {"version": 1, "command": "copy", **report.as_dict()})
        return
    table = _table(to, "Table", "Read", "Written", "Rejected", "Sums")
    for item in report.tables:
        if item.read or item.rows_target:
            sums = "equal" if item.is_equal else f"{item.sum_source} != {item.sum_target}"
            table.add_row(*map(_escaped, (item.name, str(item.read), str(item.written), str(item.rejected), sums)))
    if not to.quiet:
        _print(to, table)
    for name in report.left_out:
        to.say(f"left out: {printable(name)}")
    for rule in report.left:
        shown = f" ({rule['query']})" if rule["query"] else ""
        to.say(printable(f"left: {rule['text']}{shown}"))
    written = sum(item.written for item in report.tables)
    to.say(f"{len(report.tables)} tables · {written} rows written · {report.rejected} rejected")
    if report.rejected:
        to.say(f"next: look at {printable(str(report.rejects))}")


# The demo


def show_demo(to: Screen, demo: Demo) -> None:
    """Write the story: the table before, what was done, the table after."""
    if to.as_json:
        proof = [
            {"name": now.name, "dashboards_before": was.has_dashboards, "widget_before": was.widget,
             "widget_after": now.widget, "tables": [was.tables, now.tables], "rows": [was.rows, now.rows]}
            for was, now in zip(demo.before, demo.after, strict=True)
        ]  # fmt: skip
        show_json(to, demo.fleet.as_dict() | {"command": "demo", "folder": str(demo.folder), "proof": proof})
        return
    _show_looks(to, f"Seven databases in {demo.folder}/, before", demo, after=False)
    to.say()
    _show_looks(to, "After framework-schema migrate", demo, after=True)
    to.say()
    to.say(" · ".join(_totals(demo.fleet, False)))
    for item in demo.fleet.failed:
        to.say(f"{item.state}: {printable(str(item.error))}")
    proven = "A widget was added in each and rolled back again; no row was lost."
    to.say(proven if demo.is_proven else "Not all of them take a widget.")
    to.say(f"next: {shell('framework-schema', 'status', str(demo.folder))}")


def _show_looks(to: Screen, title: str, demo: Demo, *, after: bool) -> None:
    to.say(title)
    table = _table(to, "Database", "Dashboards", "Tables", "Rows", "Add a widget")
    for look in demo.after if after else demo.before:
        good = look.widget == "ok"
        table.add_row(
            look.name,
            "[green]yes[/]" if look.has_dashboards else "[red]no[/]",
            str(look.tables),
            str(look.rows),
            f"[{'green' if good else 'red'}]{_escaped(look.widget)}[/]",
        )
    _print(to, table)


# Progress


class Progress:
    """What is told while a fleet runs: a bar on a terminal, a line a database elsewhere."""

    def __init__(self, to: Screen, total: int, title: str) -> None:
        self.to, self.total, self.title, self.done = to, total, title, 0
        self.is_work = title in ("migrate", "rehearse")
        self._bar: Any = None
        self._task: Any = None

    def step(self, item: Report) -> None:
        """Note that one database is done."""
        self.done += 1
        if self._bar is not None:
            self._bar.update(self._task, advance=1)
            if item.state in WRONG and self.is_work:
                self._bar.console.print(f"[red]{item.state}[/] {_escaped(printable(item.name))}", highlight=False)
        elif self._is_worth_a_line(item):
            self.to.tell(
                f"[{self.done}/{self.total}] {printable(item.name)}: {item.state}, {seconds(item.duration_ms)}"
            )

    def _is_worth_a_line(self, item: Report) -> bool:
        """In a log: each of a few, of many those that went wrong and every tenth part."""
        if self.to.verbose:
            return True
        if not self.is_work or self.total < 2 or self.to.is_terminal:
            return False
        return self.total <= MANY or item.state in WRONG or self.done % (self.total // 10) == 0


@contextmanager
def progress(to: Screen, total: int, title: str) -> Iterator[Progress]:
    """Show progress on stderr for the body; nothing of it stays on a terminal."""
    shown = Progress(to, total, title)
    if not to.is_terminal or total < 2:
        yield shown
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        _Rate(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(
        *columns, console=_rich(to, to.err), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        shown._bar, shown._task = bar, bar.add_task(title, total=total)
        yield shown


def _Rate() -> Any:  # noqa: N802
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.0f}/s" if task.speed else "")

    return Rate()


# rich


def _rich(to: Screen, stream: TextIO) -> RichConsole:
    from rich.console import Console as RichConsole

    terminal = stream.isatty()
    width = shutil.get_terminal_size().columns if terminal else 10_000
    return RichConsole(
        file=stream, no_color=not to.color, width=width, highlight=False, soft_wrap=False, legacy_windows=False
    )


def _table(to: Screen, *names: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold" if to.color else "")
    for name in names:
        right = name in NUMBERS
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=name not in ("Error", "Detail", "Add a widget"),
            overflow="ellipsis",
        )
    return table


def _print(to: Screen, table: Table) -> None:
    """Print a table without the blanks at the ends of its lines."""
    rich = _rich(to, to.out)
    with rich.capture() as captured:
        rich.print(table)
    for line in captured.get().splitlines():
        to.say(line.rstrip())


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def lines(values: Iterable[Report]) -> Iterator[str]:
    """Yield each report as one line of JSON."""
    for value in values:
        yield json.dumps(value.as_dict(), default=str)

"""Values to text for people, or to JSON: the result on stdout, the progress on stderr."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from framework_schema.databases import hide_password
from framework_schema.report import Report, State
from framework_schema.wording import printable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    """Make an empty table with these columns."""
    from rich.table import Table

    from framework_schema.demo import Demo
    from framework_schema.doctor import Finding
    from framework_schema.transfer import CopyReport

NUMBERS = {"Pending", "Failed", "Drift", "Applied", "Adopted", "Aligned", "Left", "Tables", "Rows", "Time"}
"""Columns that stand to the right."""

MANY = 25
"""Databases above which only those that matter are listed."""

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


def show_history(
    to: Screen, found: Sequence[tuple[Report, list[dict[str, Any]]]], *, events: bool, failed: bool = False
) -> None:
    """Write what happened to each database, newest first."""
    for item, rows in found:
        if len(found) > 1:
            to.say(f"{printable(item.name)}:")
        if item.error:
            to.say(f"{item.state}: {printable(item.error)}")
            continue
        if not rows:
            to.say("no failure on record" if failed else "no history yet")
            continue
        table = table_of(to, *(("At", "What", "Migration", "Outcome", "Detail") if events else _ROW))
        for row in rows:
            table.add_row(*(escaped(printable(cell)) for cell in (_event if events else _row)(row)))
        print_table(to, table)


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
    table = table_of(to, "Table", "Read", "Written", "Rejected", "Sums")
    for item in report.tables:
        if item.read or item.rows_target:
            sums = "equal" if item.is_equal else f"{item.sum_source} != {item.sum_target}"
            table.add_row(*map(escaped, (item.name, str(item.read), str(item.written), str(item.rejected), sums)))
    if not to.quiet:
        print_table(to, table)
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
    from framework_schema.fleet_screen import totals

    to.say(" · ".join(totals(demo.fleet, False)))
    for item in demo.fleet.failed:
        to.say(f"{item.state}: {printable(str(item.error))}")
    proven = "A widget was added in each and rolled back again; no row was lost."
    to.say(proven if demo.is_proven else "Not all of them take a widget.")
    to.say(f"next: {shell('framework-schema', 'status', str(demo.folder))}")


def _show_looks(to: Screen, title: str, demo: Demo, *, after: bool) -> None:
    to.say(title)
    table = table_of(to, "Database", "Dashboards", "Tables", "Rows", "Add a widget")
    for look in demo.after if after else demo.before:
        good = look.widget == "ok"
        table.add_row(
            look.name,
            "[green]yes[/]" if look.has_dashboards else "[red]no[/]",
            str(look.tables),
            str(look.rows),
            f"[{'green' if good else 'red'}]{escaped(look.widget)}[/]",
        )
    print_table(to, table)


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
                self._bar.console.print(f"[red]{item.state}[/] {escaped(printable(item.name))}", highlight=False)
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


def table_of(to: Screen, *names: str) -> Table:
    """Make an empty table with these columns."""
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


def print_table(to: Screen, table: Table) -> None:
    """Print a table without the blanks at the ends of its lines."""
    rich = _rich(to, to.out)
    with rich.capture() as captured:
        rich.print(table)
    for line in captured.get().splitlines():
        to.say(line.rstrip())


def escaped(text: str) -> str:
    """Let no text be taken for markup."""
    from rich.markup import escape

    return escape(text)


def lines(values: Iterable[Report]) -> Iterator[str]:
    """Yield each report as one line of JSON."""
    for value in values:
        yield json.dumps(value.as_dict(), default=str)

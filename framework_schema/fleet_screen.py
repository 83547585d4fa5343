"""What became of many databases, told to people: a table, why some are not as they should be, what comes next."""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework_schema.console import (
    COLOURS,
    MANY,
    MEANING,
    WRONG,
    Screen,
    escaped,
    print_table,
    seconds,
    shell,
    show_json,
    table_of,
)
from framework_schema.databases import hide_password
from framework_schema.losses import losses
from framework_schema.rehearsal_screen import show_rehearsal
from framework_schema.report import Report, State
from framework_schema.wording import printable

if TYPE_CHECKING:
    from framework_schema.fleet import FleetReport

LOOKED = ("Database", "Engine", "At", "Pending", "Failed", "Drift", "State")
HASHED = ("Database", "Engine", "At", "Pending", "Drift", "Schema", "State")
RAN = ("Database", "Applied", "Adopted", "Aligned", "Left", "Time", "State")
NAMED = 5
"""Databases that a command names; above that it names the targets."""
SHORTEST = 12
"""Letters of a name that are always shown."""


def show_fleet(
    to: Screen,
    report: FleetReport,
    targets: Sequence[str],
    flags: Sequence[str] = (),
    *,
    dry_run: bool = False,
    program: str = "framework-schema",
) -> None:
    """Write what became of every database, or at fleet size of those off the norm, and what to do next."""
    if to.as_json:
        show_json(to, report.as_dict() | ({"dry_run": True} if dry_run else {}))
        return
    for problem in report.problems:
        to.tell(f"source left out: {printable(problem)}")
    for note in (*report.notes, *_common_notes(report)):
        to.tell(f"note: {printable(note)}")
    if not to.quiet:
        _show_table(to, report, dry_run)
    commands = Commands(program, targets, report, flags)
    if to.quiet or _is_large(to, report):
        _show_off_norm(to, report, commands, dry_run=dry_run)
    else:
        for cause in _causes(report.reports):
            to.say(cause)
    _show_details(to, report, dry_run)
    to.say(" · ".join(totals(report, dry_run)))
    if report.stopped:
        to.say(f"stopped: {printable(report.stopped)}")
    following = commands.following(dry_run)
    if following:
        to.say(f"next: {following}")


def show_plan(
    to: Screen,
    report: FleetReport,
    targets: Sequence[str],
    flags: Sequence[str] = (),
    *,
    program: str = "framework-schema",
) -> None:
    """Write what each database is to get, by name."""
    if to.as_json:
        show_json(to, report.as_dict())
        return
    for item in report.reports:
        to.say(f"{printable(item.name)}: {item.state}{f', {len(item.pending)} pending' if item.pending else ''}")
        for step in (step for step in item.steps if step.error):
            to.say(f"  failed before: {printable(f'{step.key}: {step.error}')}")
        for key in item.pending:
            to.say(f"  {printable(key)}")
        for difference in item.drift:
            to.say(f"  to be made: {printable(str(difference['text']))}")
        if item.error:
            to.say(f"  {printable(item.error)}")
    to.say(" · ".join(totals(report, False)))
    following = Commands(program, targets, report, flags).following(False)
    if following:
        to.say(f"next: {following}")


def _is_large(to: Screen, report: FleetReport) -> bool:
    return len(report.reports) > MANY and not to.verbose


# The table


def _show_table(to: Screen, report: FleetReport, dry_run: bool) -> None:
    """Write a line a database, or at fleet size how many stand alike."""
    if _is_large(to, report):
        _show_groups(to, report)
        return
    looks = report.command in ("status", "check")
    names = LOOKED if looks else RAN
    if report.command == "check" and any(item.schema for item in report.reports):
        names = HASHED
    rows = [_looked(item, names) if looks else _ran(item, dry_run) for item in report.reports]
    width = shutil.get_terminal_size().columns if to.out.isatty() else None
    table = table_of(to, *names)
    for item, cells in zip(report.reports, fitted(names, rows, width), strict=True):
        table.add_row(*map(escaped, cells[:-1]), _state(item, cells[-1]))
    print_table(to, table)


def fitted(names: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[tuple[str, ...]]:
    """Shorten names in the middle until a table fits a terminal; a state, a number and a time are never cut."""
    cells = [tuple(row) for row in rows]
    if width is None or not cells:
        return cells
    for column in ("Schema", "At", "Database"):
        if column in names:
            place = names.index(column)
            widest = [max(len(text) for text in column) for column in zip(names, *cells, strict=True)]
            surplus = sum(widest) + 2 * (len(names) - 1) - width
            most = max(widest[place] - surplus, 8 if column == "Schema" else SHORTEST)
            if surplus > 0:
                cells = [(*row[:place], shortened(row[place], most), *row[place + 1 :]) for row in cells]
    return cells


def shortened(text: str, most: int) -> str:
    """Cut a name in the middle: its beginning and its end tell most."""
    if len(text) <= most:
        return text
    end = (most - 1) * 2 // 3
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def _looked(item: Report, names: Sequence[str]) -> tuple[str, ...]:
    found = {
        "Database": printable(item.name),
        "Engine": item.engine,
        "At": (item.at or "-").removeprefix("framework/"),
        "Pending": _count(item.pending),
        "Failed": _count(item.failed),
        "Drift": _count(item.drift),
        "Schema": item.schema or "-",
        "State": str(item.state),
    }
    return tuple(found[name] for name in names)


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
    has_hash = any(item.schema for item in report.reports)
    groups = Counter(
        (item.state, item.at or "-", len(item.pending), len(item.drift), item.schema or "-") for item in report.reports
    )
    table = table_of(to, "Databases", "At", "Pending", "Drift", *(["Schema"] if has_hash else []), "State")
    for (state, at, pending, drift, schema), number in groups.most_common():
        cells = [str(number), at.removeprefix("framework/"), str(pending or "-"), str(drift or "-")]
        table.add_row(*cells, *([schema] if has_hash else []), f"[{COLOURS[state]}]{state}[/]")
    print_table(to, table)
    to.say()


def _state(item: Report, text: str) -> str:
    return f"[{COLOURS[item.state]}]{text}[/]"


# Why


def _show_off_norm(to: Screen, report: FleetReport, commands: Commands, *, dry_run: bool) -> None:
    """Name every database that is not as it should be, those alike together, with the reason and the command."""
    groups: dict[tuple[str, str], list[Report]] = {}
    for item in report.reports:
        reason = _reason(item, report.command, dry_run)
        if reason is not None:
            groups.setdefault((str(item.state), reason), []).append(item)
    for (state, reason), items in groups.items():
        names = ", ".join(printable(item.name) for item in items)
        to.say(f"{state}: {names}: {printable(reason)}")
        command = commands.of(items)
        if command and len(groups) > 1:
            to.say(f"  mend: {command}")


def _reason(item: Report, command: str, dry_run: bool) -> str | None:
    """Say why a database is off the norm; None where it is not."""
    if item.state in WRONG:
        return _cause(item)
    if item.state is State.PENDING and not dry_run:
        return f"{len(item.pending)} migrations pending" + (f", {len(item.drift)} differences" if item.drift else "")
    if command == "check" and item.drift:
        more = f" and {len(item.drift) - 1} more" if len(item.drift) > 1 else ""
        return f"it differs: {item.drift[0]['text']}{more}"
    if item.left:
        more = f" and {len(item.left) - 1} more" if len(item.left) > 1 else ""
        return f"left as it is: {item.left[0]['text']}{more}"
    return None


def _cause(item: Report) -> str:
    steps = [f"{step.key}: {step.error}" for step in item.steps if step.error]
    cause = item.error or "; ".join(steps) or MEANING.get(item.state, str(item.state))
    return cause.removeprefix(f"{item.name}: ")


def _causes(reports: Sequence[Report]) -> Iterator[str]:
    """Yield a line for every cause for which databases did not end as asked, with all their names."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in reports:
        if item.state in WRONG:
            groups.setdefault((str(item.state), _cause(item)), []).append(printable(item.name))
    for (state, cause), names in groups.items():
        yield f"{state}: {', '.join(names)}: {printable(cause)}"


def _show_details(to: Screen, report: FleetReport, dry_run: bool) -> None:
    """Write what was lost, and what was asked for at length."""
    for item in report.reports:
        for line in losses(item.lost, "would lose" if dry_run else "lost") if item.lost else ():
            to.say(f"{printable(item.name)}: {line}")
        if item.lost and item.backup:
            to.say(f"{printable(item.name)}: copy made first: {printable(item.backup)}")
    common = {*_common_notes(report), *report.problems}
    for item in () if _is_large(to, report) else report.reports:
        for left in item.left:
            shown = f" ({left['query']})" if left["query"] else ""
            to.say(f"left: {printable(item.name)}: {printable(str(left['text']) + shown)}")
        for difference in item.drift if report.command == "check" else ():
            to.say(f"drift: {printable(item.name)}: {printable(str(difference['text']))}")
        for note in item.notes:
            if note not in common:
                to.say(f"note: {printable(item.name)}: {printable(note)}")
        if to.verbose:
            _show_steps(to, report, item)
        if dry_run:
            show_rehearsal(to, item)
    if dry_run and _is_large(to, report):
        to.say("the SQL of every database: -v, or --json")


def _show_steps(to: Screen, report: FleetReport, item: Report) -> None:
    for source in item.sources:
        to.say(f"source: {printable(item.name)}: {printable(source)}")
    for key in item.pending if report.command in ("status", "check") else ():
        to.say(f"pending: {printable(item.name)}: {printable(key)}")
    for step in item.steps:
        to.say(f"  {step.outcome}: {step.key} {seconds(step.duration_ms)}")
    for what in item.aligned:
        to.say(f"  aligned: {printable(what)}")


def _common_notes(report: FleetReport) -> list[str]:
    """Return the remarks that all databases share: those on sources and scripts."""
    counts = Counter(note for item in report.reports for note in dict.fromkeys(item.notes))
    told = sum(bool(item.notes) for item in report.reports)
    return [note for note, number in counts.items() if number == told > 1 and note not in report.problems]


def totals(report: FleetReport, dry_run: bool) -> Iterator[str]:
    """Count the databases by how they stand."""
    total = len(report.reports)
    yield f"{total} database{'s' * (total != 1)}"
    unstarted = len(report.not_started)
    for state, number in report.counts.items():
        number -= unstarted if state is State.PENDING else 0
        if number:
            yield f"{number} {'would be migrated' if dry_run and state is State.PENDING else state}"
    if unstarted:
        yield f"{unstarted} not started"
    differ = sum(bool(item.drift) for item in report.reports) if report.command == "check" else 0
    if differ:
        yield f"{differ} differ{'s' * (differ == 1)} from the schema"
    left = sum(bool(item.left) for item in report.reports)
    if left:
        yield f"{left} with something left"
    yield seconds(report.duration_ms)


# What comes next


class Commands:
    """The commands that lead on, as they can be typed where this one was."""

    def __init__(self, program: str, targets: Sequence[str], report: FleetReport, flags: Sequence[str]) -> None:
        self.program, self.targets, self.report, self.flags = program, tuple(targets), report, tuple(flags)

    def following(self, dry_run: bool) -> str | None:
        """Return the command that helps, or None when all is well."""
        report = self.report
        if report.stopped:
            return f"{self._all('migrate')}  (goes on with the rest)"
        wrong = {item.state: item for item in reversed(report.reports) if item.state in WRONG}
        if State.FAILED in wrong:
            return self._one("doctor", wrong[State.FAILED])
        if State.LOCKED in wrong:
            return f"{self._all('migrate')} --timeout 300  (waits longer)"
        if any(_is_to_migrate(item) for item in report.reports):
            return self._all("migrate")
        if report.command == "check" and any(_is_mended_strictly(item) for item in report.reports):
            repairs = any(left.get("repair") for item in report.reports for left in item.left)
            return f"{self._all('migrate')} --strict{' --repair' * repairs}"
        if wrong:
            return None
        if report.command == "migrate" and State.MIGRATED in report.counts and not dry_run:
            return self._all("status")
        return None

    def of(self, items: Sequence[Report]) -> str | None:
        """Return the command for databases that are alike."""
        item = items[0]
        if item.state is State.FAILED:
            return self._one("doctor", item)
        if item.state is State.LOCKED:
            return f"{self._some('migrate', items)} --timeout 300"
        if _is_to_migrate(item):
            return self._some("migrate", items)
        if item.state not in WRONG and (_is_mended_strictly(item) or any(left.get("repair") for left in item.left)):
            repairs = any(left.get("repair") for item in items for left in item.left)
            return f"{self._some('migrate', items)} --strict{' --repair' * repairs}"
        return None

    def _all(self, verb: str) -> str:
        return self._written(verb, self.targets)

    def _written(self, verb: str, targets: Sequence[str], names: Sequence[str] = ()) -> str:
        """Write a command with the flags of this one that say which databases and scripts are meant."""
        own = self.flags if verb in ("migrate", "status") else _without(self.flags, "--source")
        if targets != self.targets or names:  # those that are named are chosen already
            own = _without(own, "--database")
        flags = [*own, *(word for name in names for word in ("--database", hide_password(name)))]
        command = shell("framework-schema", verb, *targets)
        words = command.split(" ", 2)
        between = f" {shlex.join(flags)}" if flags else ""
        return " ".join([self.program, words[1] + between, *words[2:]])

    def _some(self, verb: str, items: Sequence[Report]) -> str:
        if self.program.startswith("flask") or len(items) == len(self.report.reports) or len(items) > NAMED:
            return self._all(verb)
        if all(_is_target(item.name) for item in items):
            return self._written(verb, [item.name for item in items])
        return self._written(verb, self.targets, [item.name for item in items])

    def _one(self, verb: str, item: Report) -> str:
        if not self.program.startswith("flask") and _is_target(item.name):
            return self._written(verb, [item.name])
        return self._some(verb, [item])


def _is_to_migrate(item: Report) -> bool:
    """Tell whether there is something that the next run does; scripts that are not at hand it cannot run."""
    return item.state is State.PENDING and bool(item.pending or item.drift)


def _is_mended_strictly(item: Report) -> bool:
    """Tell whether a strict run leaves less than there is now."""
    stays = sum(not left.get("repair") for left in item.left)
    return len(item.drift) > stays


def _without(flags: Sequence[str], flag: str) -> tuple[str, ...]:
    pairs = zip(flags[::2], flags[1::2], strict=True)
    return tuple(word for pair in pairs if pair[0] != flag for word in pair)


def _is_target(name: str) -> bool:
    return "://" in name or Path(name).exists()

"""What a rollback takes, and what is left, told to people: before it is done, and after."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from framework_schema.console import Screen, seconds, shell
from framework_schema.losses import losses
from framework_schema.report import Outcome
from framework_schema.wording import printable

if TYPE_CHECKING:
    from framework_schema.report import Report


def show_rollback(
    to: Screen,
    report: Report,
    program: str,
    target: Sequence[str],
    flags: Sequence[str] = (),
    *,
    dry_run: bool = False,
) -> None:
    """Write which migrations go, in which order, with how many rows, and which one is the newest then.

    ``program``, ``target`` and ``flags`` are those of the command, for the one that comes next.
    """
    name, undone = report.name, report.keys(Outcome.ROLLED_BACK)
    if not undone:
        to.say(f"{printable(name)}: nothing to roll back")
        return
    if not to.quiet:
        to.say(f"{printable(name)}: {'would roll back' if dry_run else 'rolled back'}, in this order:")
        for key in undone:
            to.say(f"  {printable(key)}")
        for line in losses(report.lost, "would lose" if dry_run else "lost"):
            to.say(line)
    for note in report.notes:
        to.tell(f"note: {printable(note)}")
    verb = "would be rolled back" if dry_run else "rolled back"
    to.say(f"{len(undone)} migration{'s' * (len(undone) != 1)} {verb} · {_at(report, dry_run)}")
    if report.backup:
        to.say(f"copy made first: {printable(report.backup)}")
    if dry_run:
        to.say(f"next: {_command(program, 'rollback', target, flags)}")
    else:
        to.say(f"next: {_command(program, 'migrate', target)}  (applies again what was rolled back)")


def _command(program: str, verb: str, target: Sequence[str], flags: Sequence[str] = ()) -> str:
    words = [f"{program} {shell('framework-schema', verb, *target).partition(' ')[2]}", shlex.join(flags)]
    return " ".join(word for word in words if word)


def _at(report: Report, dry_run: bool) -> str:
    at = f"the newest {'would be' if dry_run else 'is now'} {report.at}" if report.at else "none is left"
    return f"{at} · {seconds(report.duration_ms)}"

"""What rollback, backup, restore and doctor do with one database: rehearse, tell, ask, do, show."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from framework_schema import console
from framework_schema.fleet_screen import show_fleet
from framework_schema.options import FAILED, NOT_AS_WANTED, OK, Options
from framework_schema.rollback_screen import show_rollback
from framework_schema.wording import printable

if TYPE_CHECKING:
    from framework_schema.doctor import Finding
    from framework_schema.errors import DatabaseError
    from framework_schema.report import Report
    from framework_schema.runner import Runner


def roll_back(
    options: Options,
    runner: Runner,
    *,
    steps: int,
    to: str | None,
    source: str | None,
    force: bool,
    dry_run: bool,
    yes: bool,
    backup: bool | None,
) -> int:
    """Rehearse, tell what would go, ask, and do it; without a terminal only --yes is an answer."""
    from framework_schema.fleet import attempt
    from framework_schema.rehearsal import rehearse_rollback

    flags = _flags(steps=steps, to=to, source=source, force=force, backup=backup)
    rehearsed = attempt(runner, lambda runner: rehearse_rollback(runner, steps, to, source, force=force))
    if dry_run or rehearsed.error or not rehearsed.steps:
        return _told(options, rehearsed, flags, dry_run=True)
    if not yes:
        _told(options, rehearsed, flags, dry_run=True)
        if not (sys.stdin.isatty() and click.confirm("Roll back these migrations?", err=True)):
            raise click.UsageError("nothing was rolled back; --yes says that you mean it")
    done = attempt(runner, lambda runner: runner.rollback(steps, to, source, force=force, backup=backup))
    return _told(options, done, flags, dry_run=False)


def _told(options: Options, report: Report, flags: Sequence[str], *, dry_run: bool) -> int:
    from framework_schema.fleet import FleetReport

    if options.as_json or report.error:
        fleet = FleetReport("rollback", (report,), duration_ms=report.duration_ms)
        show_fleet(options.screen, fleet, _target(options, report), dry_run=dry_run, program=options.program)
    else:
        show_rollback(options.screen, report, options.program, _target(options, report), flags, dry_run=dry_run)
    return FAILED if report.error else OK


def _target(options: Options, report: Report) -> tuple[str, ...]:
    """Return what a command names: nothing in an app, which has one database."""
    return () if options.program.startswith("flask") else (report.name,)


def _flags(*, steps: int, to: str | None, source: str | None, force: bool, backup: bool | None) -> list[str]:
    """Write the flags of a rollback as they were given."""
    flags = ["--to", to] if to else ["--steps", str(steps)] if steps != 1 else []
    flags += ["--source", source] if source else []
    flags += ["--force"] if force else []
    return flags + ([] if backup is None else ["--backup" if backup else "--no-backup"])


def back_up(options: Options, runner: Runner, into: str | None) -> int:
    """Make a copy and write its path."""
    made = str(runner.backup(into))
    if options.as_json:
        console.show_json(options.screen, {"version": 1, "command": "backup", "backup": made})
    else:
        options.screen.say(made)
    return OK


def restore_rows(options: Options, runner: Runner) -> int:
    """Bring rows back and tell which stay set aside, and why."""
    done, kept = runner.restore_rows()
    if options.as_json:
        rows = [{"table": k.table, "kept_in": k.place, "reason": k.reason, "rows": k.rows} for k in kept]
        found = {"version": 1, "command": "restore-rows", "restored": list(done), "set_aside": rows}
        console.show_json(options.screen, found)
    else:
        for line in (*done, *(item.text for item in kept)) or ("no rows are set aside",):
            options.screen.say(printable(line))
    return NOT_AS_WANTED if kept else OK


def restore(options: Options, runner: Runner, file: str, *, yes: bool) -> int:
    """Show the backup beside what it would replace, ask, and put it in place."""
    from framework_schema.backup import refuse_backup_as_target
    from framework_schema.fleet import FleetReport

    to = options.screen
    refuse_backup_as_target(runner.target, runner.config)
    if not yes:
        for line in _both(runner, file):
            to.say(line)
        if not (sys.stdin.isatty() and click.confirm("Replace the database by the backup?", err=True)):
            raise click.UsageError("nothing was restored; --yes says that you mean it")
    report = runner.restore(file)
    fleet = FleetReport("restore", (report,), duration_ms=report.duration_ms)
    show_fleet(to, fleet, _target(options, report), program=options.program)
    if report.backup and not options.as_json:
        to.say(f"what it replaced is kept: {printable(report.backup)}")
    return OK


def _both(runner: Runner, file: str) -> list[str]:
    """Say of the backup and of the database how old each is and what it holds, and what would go."""
    from framework_schema.restoring import compare_both

    return [printable(line) for line in compare_both(runner, Path(file))]


def diagnosed(runner: Runner) -> Sequence[Finding]:
    """Examine one database."""
    from framework_schema.doctor import diagnose

    return diagnose(runner)


def refused(error: DatabaseError) -> Finding:
    """Return as a finding that a database could not be opened at all."""
    from framework_schema.doctor import ERROR, Finding

    return Finding(ERROR, error.problem, error.database, error.remedy)


def told_findings(options: Options, found: Sequence[tuple[str, Sequence[Finding]]]) -> int:
    """Write what the doctor found."""
    problems = sum(finding.is_problem for _, findings in found for finding in findings)
    if options.as_json:
        databases: list[dict[str, Any]] = [
            {"name": name, "findings": [finding.as_dict() for finding in findings]} for name, findings in found
        ]
        summary = {"databases": len(found), "problems": problems}
        console.show_json(
            options.screen, {"version": 1, "command": "doctor", "databases": databases, "summary": summary}
        )
    else:
        console.show_findings(options.screen, found)
    return NOT_AS_WANTED if problems else OK

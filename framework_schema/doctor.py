"""What is wrong with a database, and the command that mends it; reads only."""

from __future__ import annotations

import glob
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import peewee as pw

from framework_schema import permissions
from framework_schema.backup import PARTIAL
from framework_schema.ddl import DDLError, fold, quote
from framework_schema.drift import Difference, Drift, find_drift
from framework_schema.errors import DatabaseError, NeedsWriting, Unreadable
from framework_schema.looking import Found
from framework_schema.plan import duplicate_numbers, is_blocked
from framework_schema.rehearsal import Way, look, way_to_read
from framework_schema.reshape import orphans, reshapings
from framework_schema.runner import Runner
from framework_schema.sizes import size

LEFTOVER = re.compile(r"(.+?)(_new|_old|_temp|_tmp|__tmp__|_backup(_.*)?)", re.I)
"""What home-made rebuilds call the table they copy to, or the one they keep."""
PASSING = ("framework_schema_",)
"""How our own passing names begin; a transaction that ended, either way, leaves none."""
ERROR, WARNING, INFO = "error", "warning", "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know: how bad, what, where in the database, and the command that mends it.

    ``level`` is error (rows or files are at risk), warning (not as it should
    be) or info (worth knowing, no problem).
    """

    level: str
    what: str
    where: str
    remedy: str

    @property
    def is_problem(self) -> bool:
        """True for what ``doctor`` ends with exit code 1 for."""
        return self.level != INFO

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        return asdict(self)


def diagnose(runner: Runner) -> tuple[Finding, ...]:
    """Examine one database, worst findings first; writes nothing, not even what SQLite writes by reading.

    A database that cannot be opened is a finding, and no error.
    """
    found = list(_files(runner))
    try:
        found += look(runner, lambda reader: tuple(_inside(reader)))
    except DatabaseError as error:
        found.append(Finding(ERROR, error.problem, error.database, error.remedy))
    order = (ERROR, WARNING, INFO)
    return tuple(sorted(found, key=lambda finding: order.index(finding.level)))


def _command(runner: Runner, *words: str) -> str:
    verb, *flags = words
    if runner.program is not None:
        return f"{runner.program} {shlex.join([verb, *flags])}"
    return shlex.join(["framework-schema", verb, runner.target.name, *flags])


# The file, seen from outside


def _files(runner: Runner) -> Iterator[Finding]:
    path = runner.target.path
    if path is None or not path.exists():
        return
    yield from _permissions(path)
    length = path.stat().st_size
    free = shutil.disk_usage(path.absolute().parent).free
    if free < 2 * length:
        what = f"{size(free)} are free; a backup and a rebuild of {size(length)} need twice that, {size(2 * length)}"
        yield Finding(WARNING, what, str(path.absolute().parent), "Free some space before the next migration.")
    for end in ("-journal", "-wal"):
        side = Path(f"{path}{end}")
        if side.exists() and side.stat().st_size:
            what = "it holds writes that are in progress, or that a crash interrupted; it belongs to the database"
            remedy = f"Never delete or move it. SQLite recovers by itself: {_command(runner, 'status')}"
            yield Finding(INFO, what, str(side), remedy)
    if way_to_read(path.resolve()) is Way.LOCKED:
        what = "rollback journal: a long migration locks readers out; in WAL mode they read on"
        remedy = f"sqlite3 {shlex.quote(str(path))} 'PRAGMA journal_mode=WAL'"
        yield Finding(INFO, what, "journal_mode", remedy)
    for folder in (path.absolute().parent, path.absolute().parent / "backups"):
        for partial in sorted(folder.glob(f"{glob.escape(path.name)}.*{PARTIAL}")):
            remedy = f"The next backup removes it: {_command(runner, 'backup')}"
            yield Finding(INFO, "a backup in progress, or one that was killed", str(partial), remedy)


def _permissions(path: Path) -> Iterator[Finding]:
    for place in permissions.barred(path):
        yield Finding(ERROR, permissions.problem([place]), str(place), permissions.remedy([place]))
    for place in (path, path.absolute().parent):
        name = shlex.quote(str(place))
        bits = place.stat().st_mode
        if bits & stat.S_IWOTH and not bits & stat.S_ISVTX:
            yield Finding(WARNING, "every user of this machine may write here", str(place), f"chmod o-w {name}")


# The database, through a connection that cannot write


def _inside(runner: Runner) -> Iterator[Finding]:
    with runner.looking() as database:
        damaged = tuple(_health(runner, database))
        yield from damaged
        if damaged:
            return
        found = runner.read(database, structural=True)
        if found.is_foreign and not runner.adopt_foreign:
            what = f"foreign: none of its {len(found.live.tables)} tables is the framework's; it is left alone"
            yield Finding(INFO, what, runner.target.name, f"If it is yours: {_command(runner, 'migrate')}")
            return
        yield from _orphans(runner, database, found)
        yield from _set_aside(runner, database)
        yield from _leftovers(runner, found)
        yield from _history(runner, found)
        yield from _schema(runner, database, found)


def _health(runner: Runner, database: pw.Database) -> Iterator[Finding]:
    try:
        runner.dialect.check_health(database, runner.target.name)
    except NeedsWriting:
        raise
    except Unreadable as error:
        remedy = f"{_command(runner, 'restore')} BACKUP, or save what can be read: sqlite3 FILE .recover"
        yield Finding(ERROR, error.problem, runner.target.name, remedy)


def _orphans(runner: Runner, database: pw.Database, found: Found) -> Iterator[Finding]:
    known = runner.expected(found.known.migrations, True).tables
    mend = _command(runner, "migrate", "--strict", "--repair")
    own = "Look at the rows; only a migration of your own can say what becomes of them."
    mend += ". What that leaves is for a migration of your own to decide."
    for violation, rows in sorted(runner.dialect.violations(database).items(), key=repr):
        if not violation.columns:
            what = f"its foreign keys cannot be checked ({violation.parent})"
            yield Finding(WARNING, what, violation.table, _command(runner, "migrate", "--strict"))
            continue
        columns = ", ".join(violation.columns)
        table = found.live.tables.get(fold(violation.table))
        wanted = tuple(map(fold, violation.columns))
        key = next((k for k in table.foreign_keys if k.columns == wanted), None) if table else None
        is_there = fold(violation.parent) in found.live.tables
        query = (
            orphans(table.name, key, found.live)
            if is_there and table and key
            else f"SELECT * FROM {quote(violation.table)}"
        )
        there = f"{'a row of' if is_there else 'a table'} {violation.parent} that is not there"
        ours = known.get(fold(violation.table))
        is_wanted = ours is None or key is None or key in ours.foreign_keys
        remedy = own if is_wanted or not is_there else mend
        yield Finding(ERROR, f"{rows} rows refer by {columns} to {there}: {query}", violation.table, remedy)


def _set_aside(runner: Runner, database: pw.Database) -> Iterator[Finding]:
    for kept in runner.dialect.kept_rows(database):
        back = f"insert them into {kept.table} by SQL and delete them there"
        then = _command(runner, "restore-rows") if runner.dialect.restores_rows else back
        remedy = f"Change them there until they fit, then {then}"
        yield Finding(INFO, kept.text, kept.table, remedy)


def _leftovers(runner: Runner, found: Found) -> Iterator[Finding]:
    """Name tables that a broken rebuild may have left; whose rows they are only a human can say."""
    known = {fold(name) for name in runner.expected(found.known.migrations).tables}
    for name, table in found.live.tables.items():
        if name.startswith(PASSING):
            what = "a passing table of ours that should not have outlived its transaction"
            yield Finding(WARNING, what, table.name, _command(runner, "backup") + ", look at its rows, then drop it")
            continue
        match = None if name in known else LEFTOVER.fullmatch(table.name)
        if match and (fold(match[1]) in found.live.tables or fold(match[1]) in known):
            here = f"beside {match[1]}" if fold(match[1]) in found.live.tables else f"and {match[1]} is not there"
            what = f"looks like the leftover of a broken rebuild, {here}"
            remedy = f"{_command(runner, 'backup')}, compare its rows with {match[1]}, then drop or rename it"
            yield Finding(WARNING, what, table.name, remedy)


def _history(runner: Runner, found: Found) -> Iterator[Finding]:
    status = found.status
    mend = _command(runner, "migrate")
    for row in status.failed:
        yield Finding(ERROR, f"failed: {row.error}", row.key, f"Mend the script, then {mend}")
    for row in status.legacy:
        if not row.success:
            what = f"an older tool recorded a failure ({row.error or 'no reason given'}); it proves nothing"
            yield Finding(INFO, what, row.key, "Nothing to do: the schema itself is looked at.")
    for row in status.ahead:
        yield Finding(ERROR, "newer than all scripts we know", row.key, "Install the newer release it came with.")
    for row in status.missing:
        yield Finding(WARNING, "recorded, and its script is gone", row.key, "Put the script back into its folder.")
    unread = {problem.source for problem in found.known.problems}
    for row in (row for row in status.orphaned if row.source not in unread):
        what = f"its source {row.source} is not installed"
        yield Finding(INFO, what, row.key, f"Install {row.source}, if this database still needs it.")
    for migration in status.changed:
        what = "its script was edited after it was applied"
        yield Finding(WARNING, what, migration.key, "Put the old text back, and the change into a new migration.")
    failed = {row.key for row in status.failed}
    for migration in (late for late in status.out_of_order if late.key not in failed):
        yield Finding(WARNING, "pending, and older than one already applied", migration.key, mend)
    for keys in duplicate_numbers(found.known.migrations):
        what = "have the same number and run in the order of their names"
        yield Finding(WARNING, what, ", ".join(keys), "Rename one that is applied nowhere yet.")
    for problem in found.known.problems:
        yield Finding(ERROR, problem.error, problem.key, f"Mend or uninstall it, then {mend}")


def _schema(runner: Runner, database: pw.Database, found: Found) -> Iterator[Finding]:
    """Compare the schema with what the scripts make of it, and with what the history claims."""
    additive = _command(runner, "migrate")
    failed = {row.key for row in found.status.failed}
    told = failed | {migration.key for migration in found.status.out_of_order}
    told |= {m.key for m in found.status.pending if is_blocked(m, found.known, failed)}
    pending = [migration.key for migration in found.status.pending if migration.key not in told]
    if pending:
        yield Finding(WARNING, f"{len(pending)} migrations are pending", pending[0], additive)
    claimed = find_drift(runner.expected(found.status.applied), found.live) if found.status.applied else Drift()
    missing = [d.text for d in claimed.additive]
    if missing:
        what = f"the history says that these are there, and they are not: {_listed(missing)}"
        yield Finding(ERROR, what, runner.config.table, additive)
    lacking = [d.text for d in found.drift.additive if d.text not in missing]
    legacy = [row.key for row in found.status.legacy if row.success]
    if legacy and (lacking or missing):
        what = f"{len(legacy)} rows of an older tool prove nothing: the schema lacks {_listed(lacking or missing)}"
        yield Finding(WARNING, what, _listed(legacy), additive)
    for table in sorted({fold(d.table) for d in found.drift.structural}):
        yield from _rules(runner, database, found, [d for d in found.drift.structural if fold(d.table) == table])


def _rules(runner: Runner, database: pw.Database, found: Found, rules: list[Difference]) -> Iterator[Finding]:
    """Tell of one table which rules strict alignment would change, and which its rows forbid."""
    table, strict = rules[0].table, _command(runner, "migrate", "--strict")
    expected = runner.expected(found.known.migrations, True)
    forbidden = []
    if isinstance(database, pw.SqliteDatabase):
        with suppress(pw.DatabaseError, DDLError):
            (reshaping,) = reshapings(database, Drift(tuple(rules)), expected, found.live)
            forbidden = list(reshaping.left)
    for left in forbidden:
        shown = f" ({left.query})" if left.query else ""
        remedy = f"{strict} --repair" if left.can_be_set_aside else left.remedy
        yield Finding(WARNING, f"{left.text}{shown}", table, remedy)
    number = len(rules) - len(forbidden)
    if number > 0:
        yield Finding(WARNING, f"{number} rules are not as expected, such as: {rules[0].text}", table, strict)


def _listed(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

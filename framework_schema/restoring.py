"""What a restore would do, said beforehand: the backup beside the database that it would replace."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from framework_schema.contents import Contents, contents
from framework_schema.errors import Unreadable
from framework_schema.losses import losses
from framework_schema.rehearsal import look
from framework_schema.runner import Runner


def compare_both(runner: Runner, file: Path) -> Iterator[str]:
    """Say of both what they hold and when they were last written, which is older, and which rows would go.

    A server's dump is not opened: of it only the time and size are known.
    """
    if not file.is_file():
        raise Unreadable(str(file), "there is no such backup", "See the folder of the backups.")
    backup_time = _time(file)
    if runner.target.engine != "sqlite":
        now = _held(runner)
        yield f"backup: {file}, made {backup_time:%Y-%m-%d %H:%M:%S} UTC, {file.stat().st_size} bytes"
        yield f"now: {runner.target.name}, {_amount(now)}; all of it would be replaced"
        return
    of_backup = _held(Runner(file, runner.sources, config=runner.config, create=False))
    yield f"backup: {file}, made {backup_time:%Y-%m-%d %H:%M:%S} UTC, {_amount(of_backup)}"
    path = runner.target.path
    if path is None or not path.exists() or not path.stat().st_size:
        yield f"now: {runner.target.name}, which is not there yet or empty"
        return
    live, live_time = _held(runner), _time(path)
    older = "the backup is older" if backup_time < live_time else "the backup is newer"
    yield f"now: {runner.target.name}, written {live_time:%Y-%m-%d %H:%M:%S} UTC, {_amount(live)}; {older}"
    yield from losses(live.lost(of_backup), "would lose")


def _held(runner: Runner) -> Contents:
    def read(reader: Runner) -> Contents:
        with reader.looking() as database:
            return contents(database, reader.dialect)

    return look(runner, read)


def _time(file: Path) -> datetime:
    """Return when a file was written last, a log beside it included."""
    return datetime.fromtimestamp(
        max(place.stat().st_mtime for place in (file, Path(f"{file}-wal")) if place.exists()), UTC
    )


def _amount(held: Contents) -> str:
    rows = sum(held.rows.values())
    return f"{len(held.rows)} tables, {rows} rows"

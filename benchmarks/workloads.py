"""What is measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import find
from benchmarks.harness import FLOOR, Crew, Series, Worker, Wrong, check, environment, fsyncs, has_strace
from benchmarks.plan import STEPS, fill, large_plans, main_plan, rows_of

SLOW = ("framework-schema, no cache", "peewee-migrate")
"""The slow path, and the tool it is compared with."""
FAST = (FLOOR, "framework-schema")
"""Contenders of which a round takes more databases, so that it lasts long enough to be measured."""
MIX = ("fresh", 10, 20, STEPS, 10, "fresh", 20, 10, STEPS, 20)


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rounds: int = 10
    fresh: int = 5
    """Databases a round of the fast contenders; the others make one."""
    fleet: int = 500
    """Databases a round of the fast contenders; the others take ten."""
    fleet_rounds: int = 3
    alone: int = 5
    """Databases a round that are each alone in their group, from each state."""
    alone_rounds: int = 20
    looks: int = 20
    rows: int = 1_000_000
    large_rounds: int = 9
    copies: int = 5
    served: int = 100
    served_rounds: int = 1


SIZES = {
    "small": Size(
        rounds=3, fresh=5, fleet=50, fleet_rounds=1, alone_rounds=3, rows=20_000, large_rounds=1, copies=3, served=4
    ),
    "default": Size(
        rounds=5, fresh=10, fleet=250, fleet_rounds=1, alone_rounds=8, rows=1_000_000, large_rounds=9, copies=5,
        served=20,
    ),
    "full": Size(rounds=10, fresh=5, fleet=500, fleet_rounds=3, rows=1_000_000, large_rounds=15, copies=50, served=100),
}  # fmt: skip


def fresh(crew: Crew, size: Size) -> Series:
    """W1: databases that are not there yet, everything counted from the first on."""
    series = Series("fresh database")
    for number, worker in crew.turns(series, size.rounds):
        count = size.fresh if worker.name in FAST else 1
        paths = [_folder(worker, "fresh") / f"{number}-{n}.db" for n in range(count)]

        def turn(worker: Worker = worker, paths: list[Path] = paths) -> float:
            seconds = worker.ask("migrate", paths=[str(path) for path in paths])["seconds"]
            check(paths[-1])
            return float(sum(seconds) / len(seconds))

        _add(series, worker, turn)
    return series


def look(crew: Crew, size: Size) -> Series:
    """W2: a database that is current, in process."""
    series = Series("look at a current database")
    for _, worker in crew.turns(series, size.rounds):
        times = 3 if worker.name == "dbmate" else size.looks

        def turn(worker: Worker = worker, times: int = times) -> float:
            seconds = worker.ask("look", path=str(crew.start(worker, STEPS)), times=times)["seconds"]
            return float(sorted(seconds)[len(seconds) // 2])

        _add(series, worker, turn)
    return series


def cold(crew: Crew, size: Size) -> Series:
    """W2: the same by a command, a process each time."""
    series = Series("command on a current database")
    for number, worker in crew.turns(series, size.rounds):

        def turn(worker: Worker = worker, number: int = number) -> float:
            path = crew.start(worker, STEPS)
            command = worker.ask("command", path=str(path))["command"]
            if number == 0:
                subprocess.run(command, env=environment(), cwd=worker.folder, capture_output=True, check=False)
            started = time.perf_counter()
            done = subprocess.run(
                command, env=environment(), cwd=worker.folder, capture_output=True, text=True, check=False
            )
            spent = time.perf_counter() - started
            if done.returncode:
                raise Wrong(f"exit code {done.returncode}: {done.stderr[-200:]}")
            return spent

        _add(series, worker, turn)
    return series


def mixed(crew: Crew, size: Size) -> Series:
    """W3: a fleet with data: of ten two fresh, three from step 10, three from step 20, two current."""
    series = Series("mixed fleet, a database")
    for number, worker in crew.turns(series, size.fleet_rounds):
        count = size.fleet if worker.name in FAST else len(MIX)
        folder = _folder(worker, f"fleet{number}")
        paths = [_member(crew, worker, folder, n) for n in range(count)]
        rows = [rows_of(path, main_plan()[: int(MIX[n])]) if path.exists() else 0 for n, path in enumerate(paths[:10])]

        def turn(worker: Worker = worker, paths: list[Path] = paths, rows: list[int] = rows) -> float:
            seconds = worker.ask("fleet", paths=[str(path) for path in paths])["seconds"][0]
            for path, before in zip(paths, rows, strict=False):
                check(path)
                if rows_of(path, main_plan()) != before:
                    raise Wrong(f"{path.name}: rows were lost")
            return float(seconds / len(paths))

        _add(series, worker, turn)
        shutil.rmtree(folder)
    return series


def alone(crew: Crew, size: Size) -> list[Series]:
    """W3's slow path: databases that are each alone in their group, so that every script runs on every one."""
    found = []
    for state in ("fresh", 10, 20):
        series = Series(f"slow path, {state if state == 'fresh' else f'from {state}'}", SLOW[1])
        for number, worker in crew.turns(series, size.alone_rounds):
            if worker.name not in SLOW:
                continue
            folder = _folder(worker, f"alone-{state}-{number}")
            paths = [_copy(crew, worker, state, folder / f"{n}.db") for n in range(size.alone)]
            rows = 0 if state == "fresh" else rows_of(paths[-1], main_plan()[: int(state)])

            def turn(worker: Worker = worker, paths: list[Path] = paths, rows: int = rows) -> float:
                seconds = worker.ask("fleet", paths=[str(path) for path in paths])["seconds"][0]
                check(paths[-1])
                if rows_of(paths[-1], main_plan()) != rows:
                    raise Wrong("rows were lost")
                return float(seconds / len(paths))

            _add(series, worker, turn)
            shutil.rmtree(folder)
        found.append(series)
    return found


def large(crew: Crew, size: Size) -> list[Series]:
    """W4: one change to a table of a million rows, made once by each contender; each turn gets a copy."""
    found, plans = [], large_plans()
    for worker in crew.workers:
        with suppress(Wrong):  # its turns will say so
            _fill_large(worker, size.rows)
    for change, plan in plans.items():
        series = Series(f"{change}, {size.rows:,} rows")
        for _, worker in crew.turns(series, size.large_rounds):
            path = _folder(worker, "large") / "big.db"

            def turn(worker: Worker = worker, path: Path = path, change: str = change, plan: Any = plan) -> float:
                worker.ask("prepare", large=change, upto=2)
                _copied(path.with_name("filled.db"), path)
                seconds = worker.ask("migrate", paths=[str(path)])["seconds"][0]
                check(path, plan)
                if rows_of(path, plan) != size.rows:
                    raise Wrong("rows were lost")
                return float(seconds)

            _add(series, worker, turn)
            path.unlink(missing_ok=True)
        found.append(series)
    for worker in crew.workers:
        _folder(worker, "large").joinpath("filled.db").unlink(missing_ok=True)
        worker.ask("prepare", upto=STEPS)
    return found


def _fill_large(worker: Worker, rows: int) -> None:
    path = _folder(worker, "large") / "filled.db"
    change, plan = next(iter(large_plans().items()))
    worker.ask("prepare", large=change, upto=1)
    worker.ask("migrate", paths=[str(path)])
    fill(path, plan[:1], rows)


def _copied(source: Path, path: Path) -> None:
    """Copy a file and wait for the disk, so that no turn pays for it."""
    if not source.exists():
        raise Wrong("it did not make the table")
    shutil.copy(source, path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def imports(crew: Crew, size: Size) -> Series:
    """W5: what `import` of the tool adds to a bare Python; of Peewee too, which is under three of them."""
    series = Series("import")
    modules = {worker.name: find(worker.name).module for worker in crew.workers}
    modules = {name: module for name, module in modules.items() if module} | {"Peewee": "peewee"}
    for _ in range(size.rounds):
        bare = _import("sys")
        for name, module in modules.items():
            series.rounds.setdefault(name, []).append(max(_import(module) - bare, 1e-6))
    return series


def requests(size: Size) -> dict[str, float]:
    """W6: a bare Flask app's request, and those of one with the extension."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.requests", str(size.rounds)],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def waits(crew: Crew, size: Size) -> dict[str, dict[str, int]]:
    """Count fsync and fdatasync, a database each."""
    found: dict[str, dict[str, int]] = {}
    for worker in crew.workers if has_strace() else ():
        folder = _folder(worker, "waits")
        paths = {}
        for state in ("fresh", 10, 20, STEPS):
            place = folder / str(state)
            place.mkdir()
            paths[str(state)] = place / "database.db"
            if state != "fresh":
                shutil.copy(crew.start(worker, int(state)), paths[str(state)])
        try:
            found[worker.name] = fsyncs(worker.name, paths, folder)
        except Wrong:
            continue
    return found


def counts(crew: Crew, size: Size) -> dict[str, list[int]]:
    """Count statements: fresh, from 10, from 20, current."""
    found = {}
    for worker in crew.workers:
        folder = _folder(worker, "counts")
        paths = [folder / f"{n}.db" for n in range(4)]
        for path, upto in zip(paths[1:], (10, 20, STEPS), strict=True):
            shutil.copy(crew.start(worker, upto), path)
        statements = worker.ask("count", paths=[str(path) for path in paths])["statements"]
        if any(statements):
            found[worker.name] = statements
    return found


def own_schema(size: Size, folder: Path) -> Series:
    """W7: the framework's own schema: its fifteen histories, several copies of each, as one fleet in one process."""
    series = Series("framework's schema, fifteen histories, a database")
    command = [sys.executable, "-m", "benchmarks.own", str(size.copies), str(folder / "own")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        series.wrong["framework-schema"] = done.stderr[-300:]
    else:
        series.rounds = json.loads(done.stdout)
    return series


def servers(size: Size) -> list[Series]:
    """W8: a fleet of databases on PostgreSQL and on MariaDB."""
    found = []
    for engine in ("postgresql", "mariadb"):
        series = Series(f"fleet on {engine}, a database")
        command = [sys.executable, "-m", "benchmarks.servers", engine, str(size.served), str(size.served_rounds)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            series.wrong[engine] = done.stderr[-300:]
        else:
            told = json.loads(done.stdout)
            series.rounds, series.wrong = told["rounds"], told["wrong"]
        found.append(series)
    return found


def _add(series: Series, worker: Worker, turn: Callable[[], float]) -> None:
    try:
        seconds = turn()
    except Wrong as error:
        series.wrong[worker.name] = str(error)
        series.rounds.pop(worker.name, None)
    else:
        series.rounds.setdefault(worker.name, []).append(seconds)


def _folder(worker: Worker, name: str) -> Path:
    folder = worker.folder / name
    folder.mkdir(exist_ok=True)
    return folder


def _member(crew: Crew, worker: Worker, folder: Path, number: int) -> Path:
    return _copy(crew, worker, MIX[number % len(MIX)], folder / f"{number}.db")


def _copy(crew: Crew, worker: Worker, state: str | int, path: Path) -> Path:
    if state != "fresh":
        shutil.copy(crew.start(worker, int(state)), path)
    return path


def _import(module: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, env=environment())
    return time.perf_counter() - started

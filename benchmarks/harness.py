"""Interleaved rounds: every contender gets its turn in each, and its time counts only if its databases are right."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, TypeVar

from benchmarks.plan import STEPS, fill, main_plan, shape_of, wanted_shape

ROOT = Path(__file__).resolve().parent.parent
FLOOR = "F"
Who = TypeVar("Who")


class Wrong(Exception):
    """A contender that cannot take part, or whose result is not what the plan says."""


class Worker:
    """A contender in its own process."""

    def __init__(self, name: str, folder: Path, prefix: Sequence[str] = ()) -> None:
        self.name, self.folder = name, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "benchmarks.worker", name, str(folder / "scripts")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(),
        )  # fmt: skip
        self._answer()
        self.ask("prepare", upto=STEPS)

    def ask(self, do: str, **asked: Any) -> dict[str, Any]:
        """Have one thing done; raises ``Wrong`` when it failed."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **asked}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "it died"}
        if "error" in answer:
            raise Wrong(f"{self.name}: {answer['error']}")
        return answer


@dataclass
class Series:
    """One workload: for each contender its seconds, one number a round. ``floor`` is whom all are compared with."""

    name: str
    floor: str = FLOOR
    rounds: dict[str, list[float]] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def ratios(self, name: str) -> list[float]:
        """Return a contender's ratios to the floor of the same round."""
        return [mine / his for mine, his in zip(self.rounds[name], self.rounds[self.floor], strict=False)]

    def as_dict(self) -> dict[str, Any]:
        """Return medians: seconds, and the ratio to the floor; with it the ratio of the sums."""
        found: dict[str, Any] = {}
        for name, seconds in self.rounds.items():
            if seconds:
                found[name] = {"ms": median(seconds) * 1000, "rounds": len(seconds)}
                if self.rounds.get(self.floor):
                    floor = self.rounds[self.floor][: len(seconds)]
                    found[name] |= {"x": median(self.ratios(name)), "x_total": sum(seconds) / sum(floor)}
        return {"name": self.name, "floor": self.floor, "results": found, "wrong": self.wrong}


class Crew:
    """All contenders that can be had, each with starting points of its own making."""

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self.folder, self.missing = folder, dict[str, str]()
        self.workers: list[Worker] = []
        for name in names:
            try:
                self.workers.append(Worker(name, folder / re.sub(r"\W+", "-", name)))
            except Wrong as error:
                self.missing[name] = str(error)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.close()

    def turns(self, series: Series, rounds: int) -> Iterator[tuple[int, Worker]]:
        """Yield everyone's turns, without those who were wrong."""
        for number, worker in shuffled(self.workers, rounds):
            if worker.name not in series.wrong:
                yield number, worker

    def starts(self) -> None:
        """Let each contender build the databases others start from: after 10, 20 and all steps, with rows."""
        for worker in self.workers:
            for upto in (10, 20):
                worker.ask("prepare", upto=upto)
                path = self.start(worker, upto)
                worker.ask("migrate", paths=[str(path)])
                fill(path, main_plan()[:upto])
            worker.ask("prepare", upto=STEPS)
            current = shutil.copy(path, self.start(worker, STEPS))
            worker.ask("migrate", paths=[str(current)])

    def start(self, worker: Worker, upto: int) -> Path:
        """Name one of these databases."""
        return worker.folder / f"from{upto}.db"


def shuffled(those: Sequence[Who], rounds: int) -> Iterator[tuple[int, Who]]:
    """Yield all of them in each round, in an order of chance that is the same in each run.

    Whoever has had the turn before leaves the caches warm or cold, which was seen to be worth 5 %.
    """
    order = Random(rounds)
    return ((number, one) for number in range(rounds) for one in order.sample(those, len(those)))


def check(path: Path, plan: Any = None) -> None:
    """Compare a database with the plan; raises ``Wrong``."""
    differences = shape_of(path).differences(wanted_shape(plan or main_plan()))
    if differences:
        raise Wrong(f"{path.name}: {', '.join(differences)} not as the plan says")


def fsyncs(name: str, paths: dict[str, Path], folder: Path) -> dict[str, int]:
    """Count the waits for the disk that each database costs, with strace."""
    log = folder / "strace.log"
    worker = Worker(name, folder / "traced", ("strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", str(log)))
    warm = folder / "warm.db"
    worker.ask("migrate", paths=[str(warm)])
    for path in paths.values():
        worker.ask("migrate", paths=[str(path)])
    worker.close()
    text = log.read_text()
    return {state: len(re.findall(rf"\(\d+<{re.escape(str(path.parent))}\W", text)) for state, path in paths.items()}


def environment() -> dict[str, str]:
    """Return the variables for every process: bytecode is kept, and a cache of our own is empty at the start."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    folder = os.environ.get("BENCHMARKS_CACHE", "")
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": f"{folder}/bytecode", "XDG_CACHE_HOME": folder}


def has_strace() -> bool:
    """Tell whether strace can be used here."""
    return shutil.which("strace") is not None


@contextmanager
def workspace() -> Iterator[Path]:
    """Make the folder in which everything happens."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        os.environ["BENCHMARKS_CACHE"] = f"{folder}/cache"
        yield Path(folder)

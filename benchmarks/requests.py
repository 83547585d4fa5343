"""W6, in a process of its own: the requests of a bare Flask app and of one with the extension, as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from flask import Flask

import framework_schema
from benchmarks.contenders.peewees import write_scripts
from benchmarks.plan import main_plan

LATER = 300
KINDS = ("bare", "main", "own")
"""Without the extension; with it and the plan of the other workloads; with it and the framework's own schema."""


def main(rounds: int) -> None:
    """Print medians in milliseconds; the databases are current."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scripts(folder / "scripts", main_plan())
        for kind in KINDS[1:]:
            framework_schema.Runner(folder / f"{kind}.db", [_source(kind, folder)]).migrate()
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            for kind in KINDS:
                app = _app(kind, folder)
                client = app.test_client()
                found.setdefault(f"{kind}, first", []).append(_timed(lambda client=client: client.get("/")))
                later = [_timed(lambda client=client: client.get("/")) for _ in range(LATER)]
                found.setdefault(f"{kind}, later", []).append(median(later))
                found.setdefault(f"{kind}, hooks left", []).append(len(app.before_request_funcs.get(None, ())))
        for _ in range(rounds):
            for kind in KINDS:
                command = [sys.executable, "-m", "benchmarks.requests", kind, name]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found.setdefault(f"{kind}, first of a process", []).append(float(done.stdout))
        print(json.dumps({name: median(values) for name, values in found.items()}))


def first(kind: str, folder: str) -> None:
    """Print the milliseconds of the first request that this process answers, what it imports included."""
    client = _app(kind, Path(folder)).test_client()
    print(_timed(lambda: client.get("/")))


def _app(kind: str, folder: Path) -> Flask:
    app = Flask("bench")
    app.add_url_rule("/", view_func=lambda: "ok")
    if kind != "bare":
        framework_schema.init_app(app, folder / f"{kind}.db", [_source(kind, folder)])
    return app


def _source(kind: str, folder: Path) -> framework_schema.Source:
    return framework_schema.installed()[0] if kind == "own" else framework_schema.Folder(folder / "scripts", "app")


def _timed(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    if len(sys.argv) > 2:
        first(*sys.argv[1:])
    else:
        main(int(sys.argv[1]))

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

LATER = 300


def main(rounds: int) -> None:
    """Print medians in milliseconds; the database is current but for the very first process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "app.db")
        framework_schema.Runner(path, [framework_schema.installed()[0]]).migrate()
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            bare, extended = _app(), _extended(str(path))
            for name, app in (("bare", bare), ("extended", extended)):
                client = app.test_client()
                found.setdefault(f"{name}, first", []).append(_timed(lambda client=client: client.get("/")))
                later = [_timed(lambda client=client: client.get("/")) for _ in range(LATER)]
                found.setdefault(f"{name}, later", []).append(median(later))
            found.setdefault("hooks left", []).append(len(extended.before_request_funcs.get(None, ())))
        for _ in range(rounds):
            for name in ("bare", "extended"):
                command = [sys.executable, "-m", "benchmarks.requests", name, str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found.setdefault(f"{name}, first of a process", []).append(float(done.stdout))
        print(json.dumps({name: median(values) for name, values in found.items()}))


def first(name: str, path: str) -> None:
    """Print the milliseconds of the first request that this process answers, what it imports included."""
    client = (_app() if name == "bare" else _extended(path)).test_client()
    print(_timed(lambda: client.get("/")))


def _extended(path: str) -> Flask:
    app = _app()
    app.config |= {"DATABASE": path, "FRAMEWORK_SCHEMA_SOURCES": ["framework"]}
    framework_schema.init_app(app)
    return app


def _app() -> Flask:
    app = Flask("bench")
    app.add_url_rule("/", view_func=lambda: "ok")
    return app


def _timed(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    if len(sys.argv) > 2:
        first(*sys.argv[1:])
    else:
        main(int(sys.argv[1]))

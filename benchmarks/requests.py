"""W6, in a process of its own: the requests of a bare Flask app and of one with the extension, as JSON."""

from __future__ import annotations

import json
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
            bare, extended = _app(), _app()
            extended.config |= {"DATABASE": str(path), "FRAMEWORK_SCHEMA_SOURCES": ["framework"]}
            framework_schema.init_app(extended)
            for name, app in (("bare", bare), ("extended", extended)):
                client = app.test_client()
                found.setdefault(f"{name}, first", []).append(_timed(lambda client=client: client.get("/")))
                later = [_timed(lambda client=client: client.get("/")) for _ in range(LATER)]
                found.setdefault(f"{name}, later", []).append(median(later))
            found.setdefault("hooks left", []).append(len(extended.before_request_funcs.get(None, ())))
        print(json.dumps({name: median(values) for name, values in found.items()}))


def _app() -> Flask:
    app = Flask("bench")
    app.add_url_rule("/", view_func=lambda: "ok")
    return app


def _timed(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""One contender in a process of its own, so that none pays for or profits from another's modules and patches.

It reads one JSON object a line from stdin and answers with one: ``prepare``,
``migrate``, ``fleet``, ``look``, ``command``, ``count``.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contenders import find
from benchmarks.contenders.base import Contender
from benchmarks.plan import large_plans, main_plan


def main(name: str, folder: str) -> None:
    """Serve until stdin ends; what a tool prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        contender = find(name)(Path(folder))
    except ImportError as error:
        print(json.dumps({"error": str(error)}), file=answers, flush=True)
        return
    print(json.dumps({"ok": True}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = ORDERS[asked["do"]](contender, asked)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


def prepare(contender: Contender, asked: dict[str, Any]) -> dict[str, Any]:
    """Write the scripts of the main plan, or of a change to a large table, up to a step."""
    plan = large_plans()[asked["large"]] if asked.get("large") else main_plan()
    contender.prepare(plan[: asked["upto"]])
    return {"ok": True}


def migrate(contender: Contender, asked: dict[str, Any]) -> dict[str, Any]:
    """Bring databases up one by one; seconds each."""
    return {"seconds": [_timed(lambda path=path: contender.migrate(Path(path))) for path in asked["paths"]]}


def fleet(contender: Contender, asked: dict[str, Any]) -> dict[str, Any]:
    """Bring a fleet up; seconds in all."""
    return {"seconds": [_timed(lambda: contender.migrate_all([Path(path) for path in asked["paths"]]))]}


def look(contender: Contender, asked: dict[str, Any]) -> dict[str, Any]:
    """Look at a current database; seconds each, the first look not counted."""
    path = Path(asked["path"])
    contender.look(path)
    return {"seconds": [_timed(lambda: contender.look(path)) for _ in range(asked["times"])]}


def command(contender: Contender, asked: dict[str, Any]) -> dict[str, Any]:
    """Tell the command line of a no-op."""
    return {"command": contender.command(Path(asked["path"]))}


def count(contender: Contender, asked: dict[str, Any]) -> dict[str, Any]:
    """Count the statements that each of these databases gets."""
    found = []
    for path in asked["paths"]:
        with _traced() as statements:
            contender.migrate(Path(path))
        found.append(len(statements))
    return {"statements": found}


ORDERS: dict[str, Callable[[Contender, dict[str, Any]], dict[str, Any]]] = {
    "prepare": prepare,
    "migrate": migrate,
    "fleet": fleet,
    "look": look,
    "command": command,
    "count": count,
}


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def _traced() -> Iterator[list[str]]:
    """Note every statement of every connection opened in the body."""
    statements: list[str] = []
    real = sqlite3.connect

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = real(*args, **kwargs)
        connection.set_trace_callback(statements.append)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[attr-defined]
    try:
        yield statements
    finally:
        sqlite3.connect = sqlite3.dbapi2.connect = real  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(*sys.argv[1:])

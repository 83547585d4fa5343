"""``python -m benchmarks``: measure, print a table, and on request write the page of the docs and its charts."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import report, workloads
from benchmarks.contenders import PLACES
from benchmarks.harness import Crew, workspace
from benchmarks.workloads import SIZES

WORKLOADS = (
    "fresh", "look", "cold", "mixed", "alone", "large", "imports", "requests", "waits", "counts", "own", "servers",
)  # fmt: skip


def main() -> None:
    """Run the workloads that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="default")
    parser.add_argument("--only", choices=WORKLOADS, action="append", help="this workload only; repeatable")
    parser.add_argument("--contender", choices=[*PLACES], action="append", help="this one only, with F; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--docs", type=Path, metavar="DIR", help="write benchmarks.md and img/*.svg here")
    asked = parser.parse_args()
    names = [name for name in PLACES if not asked.contender or name == "F" or name in asked.contender]
    started = time.perf_counter()
    figures = measure(names, asked.only or WORKLOADS, asked.size)
    figures |= {"size": asked.size, "seconds": round(time.perf_counter() - started)} | report.circumstances()
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    if asked.docs:
        report.write(figures, asked.docs)
    print(report.table(figures))


def measure(names: list[str], wanted: Any, size_name: str) -> dict[str, Any]:
    """Run workloads over contenders and return all figures."""
    size = SIZES[size_name]
    figures: dict[str, Any] = {"series": []}
    with workspace() as folder, Crew(names, folder) as crew:
        figures["missing"] = crew.missing
        crew.starts()
        for name in ("fresh", "look", "cold", "mixed", "imports"):
            if name in wanted:
                _say(name)
                figures["series"].append(getattr(workloads, name)(crew, size).as_dict())
        for name in ("alone", "large"):
            if name in wanted:
                _say(name)
                figures["series"] += [series.as_dict() for series in getattr(workloads, name)(crew, size)]
        for name in ("waits", "counts"):
            if name in wanted:
                _say(name)
                figures[name] = getattr(workloads, name)(crew, size)
        if "own" in wanted:
            _say("own")
            figures["series"].append(workloads.own_schema(size, folder).as_dict())
    if "servers" in wanted:
        _say("servers")
        figures["series"] += [series.as_dict() for series in workloads.servers(size)]
    if "requests" in wanted:
        _say("requests")
        figures["requests"] = workloads.requests(size)
    return figures


def _say(name: str) -> None:
    print(f"{name} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

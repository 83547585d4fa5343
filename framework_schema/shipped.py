"""What the framework's own scripts define on a server, as data that ships with the package.

Looking then needs no more than the right to read: nothing is tried in a scratch
place. The data was read from a real server after each script, by
``tests/ship_schema.py``, and a test keeps it true. It is used for these very
scripts only (by checksum), in whole or as far as one has applied them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from framework_schema.marks import TABLE
from framework_schema.migration import Migration
from framework_schema.server_snapshot import ServerIndex, ServerTable
from framework_schema.snapshot import Carried, Column, ForeignKey, Index, Snapshot, Table

KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (ServerTable, ServerIndex, Index, Column, ForeignKey, Carried)
}


@dataclass(frozen=True)
class Step:
    """What one script changed: the tables and objects as they were behind it, None for what was gone."""

    key: str
    checksum: str
    tables: Mapping[str, Table | None]
    objects: Mapping[str, Carried | None]


@dataclass(frozen=True)
class Shipped:
    """The framework's schema on one engine, script by script; the first step is the history's own tables."""

    version: int
    """The server's major version, whose way of printing it is."""
    steps: tuple[Step, ...]

    def snapshot(self, migrations: Sequence[Migration], table: str) -> Snapshot | None:
        """Return what these scripts define; None where they are not ours, or not as they were then.

        A table is known as the last script left it. So where one is missing
        among those that touched a table, it is not known.
        """
        known, wanted = {step.key: step for step in self.steps}, {m.key: m.checksum for m in migrations}
        if table != TABLE or any(key not in known or known[key].checksum != c for key, c in wanted.items()):
            return None
        tables: dict[str, Table | None] = {}
        objects: dict[str, Carried | None] = {}
        missed: set[str] = set()
        for step in self.steps:
            if step.key and step.key not in wanted:
                missed |= step.tables.keys() | step.objects.keys()
            elif missed & (step.tables.keys() | step.objects.keys()):
                return None
            else:
                tables |= step.tables
                objects |= step.objects
        there = {name: found for name, found in tables.items() if found is not None}
        return Snapshot(there, objects={label: part for label, part in objects.items() if part is not None})


def steps_between(before: Snapshot, after: Snapshot) -> tuple[dict[str, Table | None], dict[str, Carried | None]]:
    """Return what is other in the second snapshot."""
    tables: dict[str, Table | None] = {k: t for k, t in after.tables.items() if before.tables.get(k) != t}
    objects: dict[str, Carried | None] = {k: o for k, o in after.objects.items() if before.objects.get(k) != o}
    tables |= dict.fromkeys(before.tables.keys() - after.tables.keys())
    objects |= dict.fromkeys(before.objects.keys() - after.objects.keys())
    return tables, objects


@lru_cache(maxsize=4)
def shipped(engine: str) -> Shipped | None:
    """Return what ships for an engine, None where nothing does."""
    path = Path(__file__).with_name(f"shipped_{engine}.json")
    if not path.exists():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    steps = tuple(
        Step(step["key"], step["checksum"], _read(step["tables"]), _read(step["objects"])) for step in data["steps"]
    )
    return Shipped(data["version"], steps)


def dump(found: Shipped) -> str:
    """Write it as JSON, a line for each table."""
    lines = []
    for step in found.steps:
        head = f'"key": {json.dumps(step.key)}, "checksum": {json.dumps(step.checksum)}'
        parts = ", ".join(f'"{name}": {_lines(getattr(step, name))}' for name in ("tables", "objects"))
        lines.append(f"{{{head}, {parts}}}")
    return f'{{"version": {found.version}, "steps": [\n' + ",\n".join(lines) + "\n]}\n"


def _lines(values: Mapping[str, Any]) -> str:
    rows = [f"{json.dumps(key)}: {json.dumps(_plain(values[key]))}" for key in sorted(values)]
    return "{" + ",\n ".join(rows) + "}"


def _plain(value: Any) -> Any:
    """Bring a value of a snapshot to what JSON can say; a field that has its default is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        empty = _empty(type(value))
        held = {f.name: getattr(value, f.name) for f in fields(value)}
        return {"is": type(value).__name__} | {k: _plain(v) for k, v in held.items() if k not in empty or v != empty[k]}
    if isinstance(value, frozenset):
        return {"set": sorted((_plain(item) for item in value), key=repr)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {"map": {key: _plain(item) for key, item in value.items()}}
        return {"pairs": sorted(([_plain(key), _plain(item)] for key, item in value.items()), key=repr)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _empty(kind: type[Any]) -> dict[str, Any]:
    """Return the fields of a kind that have a default, with it."""
    needed = {"ServerTable": ("", {}), "ServerIndex": ("", ()), "Index": ("", ()), "Column": ("", "")}
    made = kind(*needed.get(kind.__name__, ((), "", ()) if kind is ForeignKey else ("",)))
    required = len(needed.get(kind.__name__, (1, 2, 3) if kind is ForeignKey else (1,)))
    return {f.name: getattr(made, f.name) for f in fields(kind)[required:]}


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_read(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "is" in value:
        return KINDS[value["is"]](**{key: _read(item) for key, item in value.items() if key != "is"})
    if "set" in value:
        return frozenset(_read(item) for item in value["set"])
    if "pairs" in value:
        return {_read(key): _read(item) for key, item in value["pairs"]}
    return {key: _read(item) for key, item in value.get("map", value).items()}


def loosened(found: Snapshot, structural: bool) -> Snapshot:
    """Return it with its rules to be compared or not."""
    return replace(found, tables={k: replace(t, is_structural=structural) for k, t in found.tables.items()})

"""What goes with a rollback, a script or a restore, said to people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from framework_schema.wording import printable


def losses(lost: Sequence[dict[str, Any]], verb: str) -> Iterator[str]:
    """Say what goes, the most first; what holds nothing is counted in one line."""
    held = sorted((item for item in lost if item["rows"]), key=lambda item: -int(item["rows"]))
    for item in held:
        number = item["rows"]
        what = "value" if item.get("column") else "row"
        place = ".".join(str(item[part]) for part in ("table", "column") if item.get(part))
        whole = f", and the {'column' if item.get('column') else 'table'} with them" if item.get("dropped") else ""
        yield printable(f"{verb} {number} {what}{'s' * (number != 1)} of {place}{whole}")
    empty = len(lost) - len(held)
    would = verb.startswith("would")
    if not held:
        yield "no row would be lost" if would else "no row was lost"
    if empty:
        yield f"and {empty} table{'s' * (empty != 1)} without a row {'would go' if would else 'went'}"

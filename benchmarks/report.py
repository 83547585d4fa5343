"""Figures to a table and to charts; the SVG is written by hand, so that nothing has to be installed for it."""

from __future__ import annotations

import os
import platform
import sqlite3
from datetime import UTC, datetime
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.contenders import PLACES
from benchmarks.harness import FLOOR

BEGIN, END = "<!-- results: written by python -m benchmarks --docs docs -->", "<!-- end of results -->"
CHARTS = {
    "fresh database": "fresh",
    "mixed fleet, a database": "fleet",
    "command on a current database": "command",
}
PACKAGES = ("framework-schema", "peewee", "peewee-migrate", "alembic", "flask-migrate", "yoyo-migrations", "django",
            "sqlite-utils")  # fmt: skip
OURS = "framework-schema"


def circumstances() -> dict[str, Any]:
    """Say where and with what it was measured."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "versions": versions,
    }


def table(figures: dict[str, Any]) -> str:
    """Return all results as Markdown: a row a contender, a column a workload, ratios to its floor, mostly F."""
    compared = [s for s in figures["series"] if s["floor"] in s["results"]]
    apart = ("rows", "fleet on")
    parts = [_ratios([s for s in compared if s["floor"] == FLOOR and not any(name in s["name"] for name in apart)])]
    parts += [_ratios([s for s in compared if name in s["name"]]) for name in apart]
    parts.append(_ratios([s for s in compared if s["floor"] != FLOOR]))
    parts += [_plain(s) for s in figures["series"] if s not in compared]
    parts += [_waits(figures), _requests(figures), _wrong(figures)]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(figures: dict[str, Any], folder: Path) -> None:
    """Put the tables between the marks of ``benchmarks.md``, and the charts beside it."""
    page = folder / "benchmarks.md"
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    (folder / "img").mkdir(exist_ok=True)
    images = []
    for series in figures["series"]:
        name = CHARTS.get(series["name"])
        if name is not None and len(series["results"]) > 1:
            chart = folder / "img" / f"benchmark-{name}.svg"
            chart.write_text(svg(series), encoding="utf-8")
            images.append(f"![{series['name']}: times the floor](img/{chart.name})")
    body = "\n\n".join([_told(figures), *images, table(figures).strip()])
    page.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def svg(series: dict[str, Any]) -> str:
    """Draw bars on a logarithmic scale, the floor's at 1."""
    found = {name: part["x_total"] for name, part in series["results"].items() if name in PLACES}
    rows = sorted(found.items(), key=lambda item: item[1])
    low, high = min(0.1, *found.values()), max(found.values())
    height = 34 + 26 * len(rows)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" font-family="system-ui, sans-serif" '
        f'font-size="13" role="img"><title>{escape(series["name"])}: times the floor F</title>',
        f'<rect width="720" height="{height}" fill="#fff"/>',
        f'<text x="10" y="20" font-weight="600" fill="#222">{escape(series["name"])}: times the floor F '
        "(logarithmic; shorter is faster)</text>",
    ]
    for number, (name, value) in enumerate(rows):
        top = 34 + 26 * number
        width = max(2.0, _log(value, low) / _log(high, low) * 420)
        color = "#00796b" if name == OURS else "#5f6368" if name == FLOOR else "#b0bec5"
        lines.append(f'<text x="190" y="{top + 14}" text-anchor="end" fill="#222">{escape(name)}</text>')
        lines.append(f'<rect x="200" y="{top}" width="{width:.1f}" height="18" rx="2" fill="{color}"/>')
        lines.append(f'<text x="{206 + width:.1f}" y="{top + 14}" fill="#222">{_number(value)}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _log(value: float, low: float) -> float:
    from math import log10

    return log10(value / low * 1.25)


def _number(value: float) -> str:
    return f"{value:.2f}×" if value < 10 else f"{value:.0f}×"


def _told(figures: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    missing = "".join(f" Not here: {reason}." for reason in figures["missing"].values())
    return (
        f"Measured {figures['when']}: Python {figures['python']}, SQLite {figures['sqlite']}, "
        f"{figures['cores']} cores, load {figures['load']} at the end, "
        f"`--size {figures['size']}` ({figures['seconds']} s). {versions}.{missing}"
    )


def _ratios(series: list[dict[str, Any]]) -> str:
    if not series:
        return ""
    names = [
        name for name in dict.fromkeys((*PLACES, *series[0]["results"])) if any(name in s["results"] for s in series)
    ]
    lines = [_row("", *(s["name"] for s in series)), _row("---", *("---:" for _ in series))]
    for name in names:
        cells = []
        for s in series:
            part = s["results"].get(name)
            cells.append("-" if part is None else f"{_number(part['x'])} ({part['ms']:.3g} ms)")
        lines.append(_row(f"**{name}**" if name == OURS else name, *cells))
    return "\n".join(lines)


def _plain(series: dict[str, Any]) -> str:
    lines = [_row("", series["name"]), _row("---", "---:")]
    lines += [_row(name, f"{part['ms']:.3g} ms") for name, part in series["results"].items()]
    return "\n".join(lines)


def _waits(figures: dict[str, Any]) -> str:
    waits, counts = figures.get("waits") or {}, figures.get("counts") or {}
    if not (waits or counts):
        return ""
    lines = [
        _row("", "waits for the disk: fresh / from 10 / from 20 / current", "statements: the same"),
        _row("---", "---:", "---:"),
    ]
    for name in PLACES:
        if name in waits or name in counts:
            left, right = waits.get(name, {}).values(), counts.get(name, [])
            lines.append(_row(name, " / ".join(map(str, left)) or "-", " / ".join(map(str, right)) or "-"))
    return "\n".join(lines)


def _requests(figures: dict[str, Any]) -> str:
    found = figures.get("requests")
    if not found:
        return ""
    heads = {"bare": "bare app", "main": "with the extension, 40 tables", "own": "the same, the framework's 56 tables"}
    lines = [_row("a request", *heads.values()), _row("---", *["---:"] * len(heads))]
    for which in ("first of a process", "first", "later"):
        lines.append(_row(which, *(f"{found[f'{kind}, {which}']:.3f} ms" for kind in heads)))
    hooks = (str(int(found[f"{kind}, hooks left"])) for kind in heads)
    return "\n".join([*lines, _row("hooks left after the first", *hooks)])


def _wrong(figures: dict[str, Any]) -> str:
    wrong = [f"- {s['name']}: {reason}" for s in figures["series"] for reason in s["wrong"].values()]
    return "Not counted, since the result was wrong:\n\n" + "\n".join(wrong) if wrong else ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"

"""Numbers of bytes, as people say them."""

from __future__ import annotations


def size(count: int) -> str:
    """Write a number of bytes as people say it."""
    number, unit = float(count), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{count} bytes" if unit == "bytes" else f"{number:.1f} {unit}"

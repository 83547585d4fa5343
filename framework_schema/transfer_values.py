"""One value of one engine as a value of another, or the reason why it cannot be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any

from framework_schema.snapshot import Column

Convert = Callable[[Any], Any]

NUL = "\u2400"
"""What stands for a NUL character in PostgreSQL's text, which cannot hold one: SYMBOL FOR NULL."""

INTEGERS = {
    "tinyint": 8, "smallint": 16, "int2": 16, "mediumint": 24, "int": 32, "integer": 32, "int4": 32, "serial": 32,
    "bigint": 64, "int8": 64,
}  # fmt: skip
TRUTHS = {"1": True, "true": True, "t": True, "yes": True, "y": True, "on": True}
TRUTHS |= {"0": False, "false": False, "f": False, "no": False, "n": False, "off": False}


class Unfit(ValueError):
    """A value that the column cannot hold; says why."""


@dataclass(frozen=True, slots=True)
class Converter:
    """Makes a value fit a column, or raises ``Unfit``; giving it its own result changes nothing.

    ``leaves`` tells of a whole batch at once, as fast as that can be told,
    that none of its values would be changed; it may say no without need.
    """

    convert: Convert
    leaves: Callable[[Sequence[Any]], bool]
    null: bool

    def __call__(self, value: Any) -> Any:
        """Convert one value."""
        found = self.convert(value)
        if found is None and not self.null:
            raise Unfit("NULL where NOT NULL belongs")
        return found


def converter(engine: str, column: Column) -> Converter:
    """Return the converter of a column."""
    return Converter(_by_type(engine, column), _leaves(engine, column), column.null)


def _leaves(engine: str, column: Column) -> Callable[[Sequence[Any]], bool]:
    """Return the look at a batch, for the types that most rows have."""
    kind, size = _parsed(column.type)
    none = {type(None)} if column.null else set()
    if engine == "sqlite":
        plain = {int, float, str, bytes} | none
        return lambda values: set(map(type, values)) <= plain
    if kind in INTEGERS and not (kind == "tinyint" and size == 1):
        bound = 2 ** (INTEGERS[kind] - 1)
        return lambda values: set(map(type, values)) <= {int} and -bound <= min(values) and max(values) < bound
    if kind in ("text", "longtext", "varchar", "character varying"):
        limit = size if "char" in kind else None
        return lambda values: _are_plain_text(values, none, limit)
    return lambda values: False


def _are_plain_text(values: Sequence[Any], none: set[type], limit: int | None) -> bool:
    """Tell that all are ASCII without NUL, or NULL where that may be, and none too long."""
    if not set(map(type, values)) <= {str} | none:
        return False
    texts = [value for value in values if value is not None] if none else values
    joined = "".join(texts)
    return joined.isascii() and "\0" not in joined and (limit is None or max(map(len, texts), default=0) <= limit)


def _by_type(engine: str, column: Column) -> Convert:
    kind, size = _parsed(column.type)
    if engine == "sqlite":
        return _sqlite_converter(kind)
    if kind in ("boolean", "bool") or (kind == "tinyint" and size == 1):
        return _nullable(_boolean, engine)
    if kind in INTEGERS:
        return _nullable(lambda value: _integer(value, INTEGERS[kind]), engine)
    if kind in ("double", "double precision", "real", "float", "float4", "float8"):
        return _nullable(_real, engine)
    if kind in ("numeric", "decimal"):
        return _nullable(_decimal, engine)
    if kind.startswith(("timestamp", "datetime")):
        with_zone = kind.endswith("with time zone")
        return _nullable(lambda value: _moment(value, with_zone), engine)
    if kind == "date":
        return _nullable(_day, engine)
    if kind in ("bytea", "blob", "longblob", "mediumblob", "tinyblob", "binary", "varbinary"):
        return lambda value: None if value is None else _bytes(value)
    if kind in ("json", "jsonb"):
        return lambda value: None if value is None else _json(value)
    limit = size if kind in ("character varying", "varchar", "char", "character") else None
    without_nul = engine in ("postgresql", "cockroachdb")
    is_text = kind in ("text", "tinytext", "mediumtext", "longtext") or limit is not None
    if not is_text and not kind.startswith(("character", "varchar")):
        return lambda value: value
    return lambda value: None if value is None else _text(value, limit, without_nul)


def _nullable(convert: Convert, engine: str) -> Convert:
    """Take an empty text for NULL: SQLite's columns of any type hold such."""

    def converted(value: Any) -> Any:
        if value is None or value == "" or value == b"":
            return None
        return convert(value)

    return converted


def _sqlite_converter(kind: str) -> Convert:
    """Write what SQLite's column would keep anyway; moments and truths in the form it has them."""

    def converted(value: Any) -> Any:
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, datetime | date | clock):
            return _iso(value)
        if isinstance(value, Decimal):
            return int(value) if value == value.to_integral_value() else float(value)
        if isinstance(value, memoryview | bytearray):
            return bytes(value)
        if isinstance(value, dict | list):
            return json.dumps(value)
        if isinstance(value, timedelta):
            return str(value)
        return value

    return converted


def _parsed(kind: str) -> tuple[str, int | None]:
    text = kind.lower().replace(" without time zone", "")
    name, _, rest = text.partition("(")
    digits = rest.partition(")")[0].partition(",")[0].strip()
    tail = rest.partition(")")[2].strip()
    name = f"{name.strip()} {tail}".strip() if tail == "with time zone" else name.strip()
    return name, int(digits) if digits.isdigit() else None


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal) and value in (0, 1):
        return bool(value)
    truth = TRUTHS.get(_decoded(value).strip().lower()) if isinstance(value, str | bytes) else None
    if truth is None:
        raise Unfit(f"{_shown(value)} is neither true nor false")
    return truth


def _integer(value: Any, bits: int) -> int:
    if isinstance(value, str | bytes):
        value = _number(_decoded(value))
    if isinstance(value, float | Decimal):
        if not math.isfinite(value) or value != int(value):
            raise Unfit(f"{_shown(value)} is no whole number")
    elif not isinstance(value, int):
        raise Unfit(f"{_shown(value)} is no number")
    found = int(value)
    if not -(2 ** (bits - 1)) <= found < 2 ** (bits - 1):
        raise Unfit(f"{found} is beyond {bits} bits")
    return found


def _number(text: str) -> int | Decimal:
    stripped = text.strip()
    try:
        return int(stripped) if stripped.lstrip("+-").isdigit() else Decimal(stripped)
    except (ValueError, InvalidOperation):
        raise Unfit(f"{_shown(text)} is no number") from None


def _real(value: Any) -> float:
    if isinstance(value, str | bytes):
        value = _number(_decoded(value))
    if not isinstance(value, int | float | Decimal):
        raise Unfit(f"{_shown(value)} is no number")
    found = float(value)
    if not math.isfinite(found):
        raise Unfit(f"{_shown(value)} is not finite")
    return found + 0.0


def _decimal(value: Any) -> Decimal:
    try:
        return Decimal(_decoded(value) if isinstance(value, bytes) else str(value)).normalize()
    except InvalidOperation:
        raise Unfit(f"{_shown(value)} is no number") from None


def _moment(value: Any, with_zone: bool) -> datetime:
    """Read a moment; one with ``Z`` or an offset becomes UTC, as SQLite's CURRENT_TIMESTAMP is."""
    if isinstance(value, datetime):
        found = value
    elif isinstance(value, date):
        found = datetime(value.year, value.month, value.day)
    elif isinstance(value, str | bytes):
        found = _read_moment(_decoded(value).strip())
    else:
        raise Unfit(f"{_shown(value)} is a number where a moment belongs")
    if found.tzinfo is not None:
        found = found.astimezone(UTC)
        return found if with_zone else found.replace(tzinfo=None)
    return found.replace(tzinfo=UTC) if with_zone else found


def _read_moment(text: str) -> datetime:
    for form in (text, text.removesuffix(" UTC"), text.replace(",", ".", 1)):
        try:
            return datetime.fromisoformat(form)
        except ValueError:
            continue
    raise Unfit(f"{_shown(text)} is no moment")


def _day(value: Any) -> date:
    return _moment(value, False).date()


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise Unfit(f"{_shown(value)} is no blob")


def _json(value: Any) -> str:
    """Return JSON in one form, whichever way it was written."""
    try:
        found = json.loads(_decoded(value)) if isinstance(value, str | bytes) else value
        return json.dumps(found, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise Unfit(f"{_shown(value)} is not JSON") from None


def _text(value: Any, limit: int | None, without_nul: bool) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, bytes | bytearray | memoryview):
        text = _decoded(bytes(value))
    elif isinstance(value, bool):
        text = str(int(value))
    elif isinstance(value, datetime | date | clock):
        text = _iso(value)
    elif isinstance(value, dict | list):
        text = json.dumps(value)
    else:
        text = str(value)
    if without_nul and "\0" in text:
        text = text.replace("\0", NUL)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unfit("the text is not UTF-8") from None
    if limit is not None and len(text) > limit:
        raise Unfit(f"{len(text)} characters where {limit} fit")
    return text


def _iso(value: datetime | date | clock) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = value.astimezone(UTC).replace(tzinfo=None)
        return value.isoformat(" ")
    return value.isoformat()


def _decoded(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise Unfit("the text is not UTF-8") from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def digest(values: Iterable[Any]) -> int:
    """Hash a row's values; the sum over all rows does not depend on their order."""
    text = repr(tuple(values))
    return int.from_bytes(blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).digest(), "big")


def jsonable(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as JSON can hold it; a blob as hexadecimal digits."""

    def plain(value: Any) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            return {"hex": bytes(value).hex()}
        return value if isinstance(value, int | float | str | None) else str(value)

    return {name: plain(value) for name, value in row.items()}

"""What an error may say on record, in a log or on a screen: what went wrong, and nothing of any row.

A driver's message can quote values: PostgreSQL's DETAIL and CONTEXT hold whole
rows, MariaDB's 1062 the key that is there twice. Python's conversions quote
what they could not convert. What a script raises in words of its own stays as
it is, since only its author knows what is in it.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator

import peewee as pw

from framework_schema.databases import hide_password
from framework_schema.errors import SchemaError

QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.S)
MY_VALUE = re.compile(r"((?:value|entry|argument|near|out of range in):? )'.*'(?= for | at (?:row|line) |\.|$)", re.S)
"""How MariaDB names a value, up to what follows it; the value may hold quotes itself."""
DATA_EXCEPTION = "22"
"""The class of SQLSTATE whose messages quote values: https://www.postgresql.org/docs/current/errcodes-appendix.html"""
CONVERSIONS = (ValueError, LookupError)
HIDDEN = "'***'"


def say(error: BaseException) -> str:
    """Return the kind of an error and its message, without what it quotes of rows, and without a password."""
    return hide_password(f"{type(error).__name__}: {_message(error)}")


def printable(text: str) -> str:
    """Write control characters visibly, so that a name stays on its line and colours nothing."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def trace(error: BaseException) -> str:
    """Return the traceback of an error and of those that caused it, for the log, in the words of ``say``."""
    parts = []
    for link in reversed(list(_chain(error))):
        frames = "".join(traceback.format_tb(link.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{say(link)}\n")
    return "\nThe cause of what follows:\n\n".join(parts)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _message(error: BaseException) -> str:
    wrapped = isinstance(error, pw.PeeweeException)
    links = (getattr(error, "orig", None), error.__cause__, error.__context__) if wrapped else ()
    driver = next((link for link in (*links, error) if _is_drivers(link)), None)
    if driver is not None:
        return _of_driver(driver)
    if isinstance(error, CONVERSIONS) and not isinstance(error, SchemaError):
        return QUOTED.sub(HIDDEN, str(error))
    return _without_values(str(error)) if wrapped else str(error)


def _is_drivers(error: BaseException | None) -> bool:
    return type(error).__module__.partition(".")[0] in ("psycopg", "psycopg2", "pymysql", "MySQLdb")


def _of_driver(error: BaseException) -> str:
    """Keep a server's first line: what PostgreSQL adds to it are values, and the text of the statement."""
    text = getattr(getattr(error, "diag", None), "message_primary", None)
    if text is not None:
        state = str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")
        return QUOTED.sub(HIDDEN, text) if state.startswith(DATA_EXCEPTION) else str(text)
    number, *rest = error.args or ("",)
    if isinstance(number, int) and rest:
        return f"({number}, {_without_values(str(rest[0]))!r})"
    return _without_values(str(error))


def _without_values(text: str) -> str:
    return MY_VALUE.sub(rf"\1{HIDDEN}", re.split(r"\n(?:DETAIL|CONTEXT|LINE \d+):", text)[0])

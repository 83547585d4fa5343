"""What SHOW CREATE TABLE prints, taken apart and changed in one place, with all else as the server wrote it.

https://mariadb.com/kb/en/show-create-table/ and https://mariadb.com/kb/en/create-table/#column-definitions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

NAME = r"(?:`(?:[^`]|``)+`|[\w$]+)"
TOKEN = re.compile(
    r"`(?:[^`]|``)*`|'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|/\*.*?\*/|(?:--\s|#)[^\n]*|[\w$.@]+|\s+|.", re.S
)
NAMES = re.compile(NAME)
CREATE = re.compile(rf"\s*CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?({NAME})\s*\(", re.I)
ALTER = re.compile(rf"\s*ALTER\s+TABLE\s+({NAME})\s+(?=ADD\b)", re.I)
KEYED = rf"\s*(?:ADD\s+)?(?:CONSTRAINT\s+(?:{NAME}\s+)?)?FOREIGN\s+KEY\s*(?:{NAME}\s*)?\(([^)]*)\)\s*"
TARGET = rf"REFERENCES\s+({NAME})\s*\(([^)]*)\)"
REFERENCES = re.compile(KEYED + TARGET, re.I)
INLINE = re.compile(TARGET, re.I)
ADDED = re.compile(rf"\s*ADD\s+(?:COLUMN\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(?={NAME})", re.I)
NO_COLUMN = re.compile(
    r"\s*(?:ADD\s+)?(CONSTRAINT|PRIMARY|FOREIGN|UNIQUE|KEY|INDEX|FULLTEXT|SPATIAL|CHECK|PERIOD)\b", re.I
)
COUNTER = re.compile(r"\s+AUTO_INCREMENT=\d+", re.I)

OF_TYPE = {"unsigned", "zerofill", "signed", "precision", "varying"}
ORDER = (
    "type",
    "charset",
    "collate",
    "generated",
    "null",
    "default",
    "on update",
    "auto",
    "invisible",
    "rest",
    "references",
)
STARTS = {
    "character": "charset", "charset": "charset", "collate": "collate", "generated": "generated", "as": "generated",
    "not": "null", "null": "null", "default": "default", "on": "on update", "auto_increment": "auto",
    "references": "references", "invisible": "invisible",
}  # fmt: skip
RESTS = {"check", "comment", "constraint", "primary", "unique", "with", "without", "key"}
RESTS |= {"column_format", "storage", "srid", "ref_system_id", "visible", "first", "after"}


def tokens(text: str) -> list[str]:
    """Cut a text into names, strings, words, signs and white space; a bracket with all in it is one piece."""
    found: list[list[str]] = [[]]
    for token in TOKEN.findall(text):
        if token == "(":
            found.append([token])
        elif token == ")" and len(found) > 1:
            inner = "".join([*found.pop(), token])
            found[-1].append(inner)
        else:
            found[-1].append(token)
    return found[0] + ["".join(rest) for rest in found[1:]]


def parts(text: str) -> list[str]:
    """Cut a list at its commas."""
    found = [""]
    for token in tokens(text):
        if token == ",":
            found.append("")
        else:
            found[-1] += token
    return [part.strip() for part in found if part.strip()]


def plain(name: str) -> str:
    """Return a name without its quotes."""
    return name[1:-1].replace("``", "`") if name.startswith("`") else name


def names(text: str) -> list[str]:
    """Return the names of a list."""
    return [plain(name) for name in NAMES.findall(text)]


@dataclass(frozen=True)
class Reference:
    """A foreign key as it is written: in which of the statement's parts, its columns, and what they refer to."""

    place: int
    columns: tuple[str, ...]
    table: str
    to_columns: tuple[str, ...]
    is_inline: bool = False
    """Whether it stands in the column's own definition."""


@dataclass(frozen=True)
class Definition:
    """A CREATE TABLE, or an ALTER TABLE that adds to one, in its parts; ``head`` and ``tail`` stand around them."""

    table: str
    head: str
    parts: tuple[str, ...]
    tail: str = ""

    @staticmethod
    def of(sql: str) -> Definition | None:
        """Take a statement apart; None where it is another one, such as CREATE TABLE ... SELECT."""
        altering = ALTER.match(sql)
        if altering:
            return Definition(plain(altering[1]), altering[0], tuple(parts(sql[altering.end() :])))
        creating = CREATE.match(sql)
        if not creating:
            return None
        inside, *tail = tokens(sql[creating.end() - 1 :])
        if not inside.endswith(")"):
            return None
        return Definition(plain(creating[1]), sql[: creating.end()], tuple(parts(inside[1:-1])), ")" + "".join(tail))

    @property
    def sql(self) -> str:
        """Write the statement."""
        return f"{self.head}{', '.join(self.parts)}{self.tail}"

    def references(self) -> Iterator[Reference]:
        """Yield the foreign keys."""
        for place, part in enumerate(self.parts):
            found = REFERENCES.match(part)
            if found:
                yield Reference(place, tuple(names(found[1])), plain(found[2]), tuple(names(found[3])))
            elif not NO_COLUMN.match(part):
                column = ColumnText.of(part)
                inline = INLINE.match(column.get("references") or "")
                if inline:
                    yield Reference(place, (column.key,), plain(inline[1]), tuple(names(inline[2])), True)

    def column(self, name: str) -> int | None:
        """Return which part defines a column, whose name is folded."""
        for place, part in enumerate(self.parts):
            start = ADDED.match(part)
            rest = part[start.end() :] if start else part
            if not NO_COLUMN.match(part) and names(rest[:200])[:1] and names(rest[:200])[0].lower() == name:
                return place
        return None

    def line(self, name: str) -> str | None:
        """Return the definition of a column as it was printed."""
        place = self.column(name)
        return None if place is None else self.parts[place]

    def key(self, name: str) -> str | None:
        """Return the definition of an index as it was printed; its name is folded."""
        for part in self.parts:
            found = re.match(rf"(?:UNIQUE |FULLTEXT |SPATIAL )?KEY ({NAME})", part)
            if found and plain(found[1]).lower() == name:
                return part
        return None

    def with_part(self, place: int, text: str) -> Definition:
        """Put a text in the place of a part."""
        return replace(self, parts=(*self.parts[:place], text, *self.parts[place + 1 :]))

    def without(self, places: Iterable[int]) -> Definition:
        """Leave parts out."""
        gone = set(places)
        return replace(self, parts=tuple(part for place, part in enumerate(self.parts) if place not in gone))

    def uncounted(self) -> Definition:
        """Leave out where the row ids go on."""
        head, *rest = tokens(self.tail[1:]) or [""]
        return replace(self, tail=")" + COUNTER.sub("", "".join([head, *rest])))


@dataclass(frozen=True)
class ColumnText:
    """One column's definition in its segments, by what they speak of."""

    name: str
    segments: tuple[tuple[str, str], ...]

    @staticmethod
    def of(text: str) -> ColumnText:
        """Take a definition apart, as a server prints it or as people write it."""
        start = ADDED.match(text)
        name, *found = tokens(text[start.end() :] if start else text.strip())
        segments: list[list[str]] = [["type", ""]]
        for token in found:
            kind = _begins(token.lower(), segments[-1])
            if kind is None:
                segments[-1][1] += token
            else:
                segments.append([kind, token])
        return ColumnText((start[0] if start else "") + name, tuple((kind, said.strip()) for kind, said in segments))

    @property
    def key(self) -> str:
        """Return its name, folded."""
        return plain(ADDED.sub("", self.name) if ADDED.match(self.name) else self.name).lower()

    @property
    def text(self) -> str:
        """Write it."""
        return " ".join([self.name, *(said for _, said in self.segments)])

    def get(self, kind: str) -> str | None:
        """Return a segment."""
        return next((said for found, said in self.segments if found == kind), None)

    def put(self, kind: str, said: str | None) -> ColumnText:
        """Set a segment, or take it away."""
        kept = [(found, text) for found, text in self.segments if found != kind]
        if said is not None:
            kept.append((kind, said))
            kept.sort(key=lambda segment: ORDER.index(segment[0]))
        return replace(self, segments=tuple(kept))

    def typed(self, kind: str, collation: str | None) -> ColumnText:
        """Give it another type; what a type of its kind only can have goes with the old one."""
        charset = None if collation is None else f"CHARACTER SET {collation.partition('_')[0]}"
        made = self.put("type", kind).put("charset", charset)
        made = made.put("collate", None if collation is None else f"COLLATE {collation}")
        if not kind.startswith(("timestamp", "datetime")):
            made = made.put("on update", None)
        return made

    def nullable(self, null: bool) -> ColumnText:
        """Allow or forbid NULL."""
        if self.get("generated") is not None:
            return self
        made = self.put("null", "NULL" if null else "NOT NULL")
        return made.put("default", None) if not null and _is_null(made.get("default")) else made

    def defaulting(self, default: str | None) -> ColumnText:
        """Set the default, or take it away."""
        if default is None:
            return self.put("default", None)
        return self.put("default", f"DEFAULT {default}" if default.startswith("(") else f"DEFAULT ({default})")

    def unchecked(self) -> ColumnText:
        """Take away the CHECK that belongs to it."""
        return replace(self, segments=tuple((k, s) for k, s in self.segments if not s.upper().startswith("CHECK")))


def _begins(word: str, last: list[str]) -> str | None:
    """Tell what a token begins, None where it goes on with the last segment."""
    kind, said = last[0], last[1].strip().lower()
    if word.startswith("/*") or (kind == "type" and (not said or word in OF_TYPE)):
        return None
    if word in ("set", "update", "always") or said in ("default", "on", "comment", "collate", "not", "constraint"):
        return None
    if said in ("character", "character set", "charset", "with", "without", "primary", "unique", "generated always"):
        return None
    if said.startswith("references") and word not in ("check", "comment"):
        return None
    if word in STARTS:
        return STARTS[word]
    return "rest" if word in RESTS and not said.startswith("with") else None


def _is_null(default: str | None) -> bool:
    return (default or "").upper().removeprefix("DEFAULT").strip(" ()") == "NULL"


def mysql_type(kind: Any) -> str:
    """Leave out an integer's display width, which MySQL 8 no longer shows, but where zeros fill it."""
    text = kind.decode() if isinstance(kind, bytes) else str(kind)
    if text.startswith("tinyint(1)") or "zerofill" in text:
        return text
    return re.sub(r"\A((?:tiny|small|medium|big)?int)\(\d+\)", r"\1", text)

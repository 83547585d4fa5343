"""What could not be brought to the expected schema, and what stands against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Left:
    """One object that was left as it is.

    Either ``rows`` rows stand against it, which ``query`` shows, or something
    else, which ``reason`` names. ``condition`` finds the rows of a table called
    ``child``, where they can be set aside. ``kind`` and ``name`` say what of the
    table it is, as a ``Difference`` does.
    """

    table: str
    what: str
    rows: int
    query: str
    kind: str = ""
    name: str = ""
    reason: str = ""
    condition: str = ""

    @property
    def text(self) -> str:
        """Say it in a sentence without a full stop."""
        if self.reason or not self.rows:
            return f"{self.what} of {self.table} is left as it is: {self.reason or 'it cannot be changed'}"
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        s = "s" if self.rows == 1 else ""
        column = f"{self.table}.{self.name}"
        said = {
            "null": f"{column} cannot become NOT NULL yet: {rows} hold{s} NULL",
            "check": f"{self.table} cannot have CHECK ({self.name}) yet: {rows} break{s} it",
            "foreign key": f"{column} cannot have its foreign key yet: {rows} refer{s} to no row",
            "type": f"{column} keeps its type: the values of {rows} would change",
            "primary key": f"{self.table} cannot have its primary key yet: {rows} repeat{s} or lack{s} a key",
        }
        repeats = f"{self.what} cannot be made yet: {rows} repeat{s} a value of another row"
        return said.get(self.kind, repeats)

    @property
    def remedy(self) -> str:
        """Say what leads on, where no command does."""
        if self.kind == "table":
            return "Rename or drop what has its name, then migrate again."
        return "Only a migration of your own can change it; it holds nothing else back."

    @property
    def can_be_set_aside(self) -> bool:
        """True when ``--repair`` gets the rows out of the way."""
        return bool(self.rows and self.condition)

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        names = ("table", "what", "rows", "query", "kind", "name", "reason")
        return {name: getattr(self, name) for name in names} | {"text": self.text, "repair": self.can_be_set_aside}


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of one table that were set aside for one reason, and the table that holds them."""

    table: str
    place: str
    reason: str
    rows: int

    @property
    def text(self) -> str:
        """Say it in a sentence without a full stop."""
        rows = "1 row of" if self.rows == 1 else f"{self.rows} rows of"
        return f"{rows} {self.table} set aside in {self.place}: {self.reason}"

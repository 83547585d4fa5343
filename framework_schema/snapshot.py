"""A schema as values, in one shape for a live database and for the expected one."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from framework_schema import ddl

VIRTUAL = "virtual table"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``default`` is canonical text: equal for all ways to write one value."""

    name: str
    type: str
    null: bool = True
    default: str | None = None
    collation: str | None = None
    generated: str | None = None


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key with its actions; names are case-folded."""

    columns: tuple[str, ...]
    table: str
    to_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"


@dataclass(frozen=True, slots=True)
class Index:
    """A named index that is more than a plain unique one.

    ``columns`` hold the column, or the canonical text of an expression, with
    ``DESC`` and ``COLLATE`` behind it where it has them.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    where: str | None = None

    @property
    def shape(self) -> tuple[tuple[str, ...], bool, str | None]:
        """What the index does. Its name is no part of it: another object may have taken that name."""
        return self.columns, self.unique, self.where


@dataclass(frozen=True, slots=True)
class Carried:
    """Something that has no word here: compared by its ``text``, as the engine prints it.

    ``make`` are the statements that put it there, ``drop`` those that take it away.
    """

    text: str
    make: tuple[str, ...] = field(default=(), compare=False, repr=False)
    drop: tuple[str, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class Table:
    """One table and all that belongs to it.

    ``uniques`` are the sets of columns no two rows may share, whether written
    inline, as a constraint of the table or as an index, with ``COLLATE`` behind
    those that are not compared byte for byte; ``unique_names`` tells which index
    holds one. ``triggers`` hold, by name, what a trigger does, without its name.
    ``sql`` is the text that made the table, where the engine keeps it; ``texts``
    that of its indexes and triggers by name. ``options`` hold what else a table
    is, such as its storage engine, ``carried`` all for which there is no word
    here, by kind and name (``policy own_rows``). What ``is_structural`` covers
    is read only on request and empty otherwise.
    """

    gains_key_by_index: ClassVar[bool] = True
    """Whether alignment stands in for a missing primary key with a unique index until the table is rebuilt."""

    name: str
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...] = ()
    uniques: frozenset[frozenset[str]] = frozenset()
    foreign_keys: frozenset[ForeignKey] = frozenset()
    indexes: Mapping[str, Index] = field(default_factory=dict)
    triggers: Mapping[str, str] = field(default_factory=dict)
    checks: frozenset[str] = frozenset()
    autoincrement: bool = False
    strict: bool = False
    without_rowid: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    is_structural: bool = False
    unreadable: str | None = None
    carried: Mapping[str, Carried] = field(default_factory=dict)
    counts: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """The columns that count by themselves, where an engine has them apart from the key."""
    sql: str = field(default="", compare=False, repr=False)
    texts: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    unique_names: Mapping[frozenset[str], str] = field(default_factory=dict, compare=False, repr=False)

    def counts_within(self, known: Collection[str]) -> bool:
        """Tell whether one of these columns counts by itself."""
        return any(name in known for name in self.counts) if self.counts else self.autoincrement

    @property
    def is_virtual(self) -> bool:
        """Whether a module of SQLite's stands behind it, so that no column or index can be added."""
        return self.unreadable == VIRTUAL

    def facts(self) -> Iterator[str]:
        """Yield all that makes this table what it is, as sorted lines; column order is no fact."""
        yield f"table {self.name} {self.primary_key} {self.autoincrement} {self.strict} {self.without_rowid}"
        yield from sorted(map(repr, self.columns.values()))
        yield from sorted(f"unique {sorted(unique)}" for unique in self.uniques)
        yield from sorted(map(repr, self.foreign_keys))
        yield from sorted({f"index {index.shape}" for index in self.indexes.values()})
        yield from sorted(f"check {check}" for check in self.checks)
        yield from sorted({f"trigger {text}" for text in self.triggers.values()})
        yield from sorted(f"option {name} {value}" for name, value in self.options.items())
        yield from sorted(f"{label} {part.text}" for label, part in self.carried.items())


@dataclass(frozen=True)
class Snapshot:
    """All tables of one database, by case-folded name, and the names of its views.

    ``objects`` are what stands beside the tables, by kind and name, where the
    engine has such; ``names`` those that are taken, where tables share them
    with indexes and views.
    """

    tables: Mapping[str, Table]
    views: frozenset[str] = frozenset()
    view_triggers: frozenset[str] = frozenset()
    """Case-folded names of the triggers on views, which no new trigger can have."""
    objects: Mapping[str, Carried] = field(default_factory=dict)
    names: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @property
    def is_structural(self) -> bool:
        """Whether the rules of the tables were read too."""
        return any(table.is_structural for table in self.tables.values())

    def loose(self) -> Snapshot:
        """Return the same, with the rules of the tables not to be compared; for engines that read all at once."""
        return replace(self, tables={name: replace(table, is_structural=False) for name, table in self.tables.items()})

    def within(self, expected: Snapshot) -> Snapshot:
        """Return the part that the expected schema speaks of, without what is extra."""
        tables = {
            name: _within(self.tables[name], table) for name, table in expected.tables.items() if name in self.tables
        }
        return Snapshot(tables, objects={k: v for k, v in self.objects.items() if k in expected.objects})

    @property
    def digest(self) -> str:
        """Hash every fact; equal for two databases of the same schema, whatever their past."""
        lines = [line for name in sorted(self.tables) for line in self.tables[name].facts()]
        lines += sorted(f"{label} {part.text}" for label, part in self.objects.items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def columns_of(unique: Iterable[str]) -> frozenset[str]:
    """Return the columns of a unique, without the collations by which they are compared."""
    return frozenset(label.partition(" COLLATE ")[0] for label in unique)


def _within(live: Table, expected: Table) -> Table:
    extra = live.columns.keys() - expected.columns.keys()
    known = expected.columns.keys()
    shapes = {index.shape for index in expected.indexes.values()}
    actions = set(expected.triggers.values())
    return replace(
        live,
        name=expected.name,
        columns={name: column for name, column in live.columns.items() if name in known},
        autoincrement=live.counts_within(known),
        uniques=frozenset(
            u for u in live.uniques if columns_of(u) <= known and columns_of(u) != frozenset(live.primary_key)
        ),
        foreign_keys=frozenset(key for key in live.foreign_keys if known >= set(key.columns)),
        indexes={n: index for n, index in live.indexes.items() if n in expected.indexes or index.shape in shapes},
        triggers={n: text for n, text in live.triggers.items() if n in expected.triggers or text in actions},
        checks=frozenset(c for c in live.checks if not any(ddl.mentions(c, name) for name in extra)),
        options={name: value for name, value in live.options.items() if name in expected.options},
        carried={
            label: part
            for label, part in live.carried.items()
            if label in expected.carried or refuses(label, part, extra)
        },
    )


ADDED = ("constraint", "policy", "rule", "comment", "statistics", "partition")
"""Kinds of carried parts that are made without touching what is there."""

REFUSING = ("constraint", "identity", "key", "unlogged")
"""Kinds that the schema does not have and that refuse rows, or lose them in a crash: they are not merely extra."""


LISTED = ("constraint", "policy", "rule", "partitions", "row")
"""Kinds that are named where they are extra."""


def refuses(label: str, part: Carried, extra: Iterable[str]) -> bool:
    """Tell whether a part that is not expected has to go; one that speaks of ``extra`` columns is theirs."""
    return label.partition(" ")[0] in REFUSING and not any(ddl.mentions(part.text, name) for name in extra)

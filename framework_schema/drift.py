"""One snapshot against another; values only."""

from __future__ import annotations

from collections.abc import Collection as AnyOf
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from framework_schema.ddl import fold, mentions
from framework_schema.snapshot import ADDED, LISTED, Column, Index, Snapshot, Table, columns_of, refuses


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a live table is not as expected.

    ``kind`` says what of the table (table, column, unique, index, trigger,
    type, null, default, ...), ``name`` which one, by its case-folded name.
    ``additive`` differences mend without touching what is there; the others
    need ``--strict``. ``extra`` ones are listed and no error. What
    ``refuses_inserts`` makes an app fail that inserts what the schema allows,
    leaving out what may be left out.
    """

    table: str
    kind: str
    name: str
    expected: str | None = None
    found: str | None = None
    additive: bool = False
    extra: bool = False
    refuses_inserts: bool = False

    @property
    def text(self) -> str:
        """Say it in words."""
        what = f"{self.table}: {self.kind} {self.name}" if self.kind != "table" else f"table {self.table}"
        if self.extra:
            return f"{what} is extra"
        if self.found is None:
            return f"{what} is missing"
        refuses = ", and refuses rows of the app" if self.refuses_inserts else ""
        return f"{what} is {self.found}, expected {self.expected}{refuses}"

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        names = ("table", "kind", "name", "expected", "found", "additive", "extra", "refuses_inserts")
        return {name: getattr(self, name) for name in names} | {"text": self.text}


@dataclass(frozen=True, slots=True)
class Drift:
    """Every difference between a live database and the expected schema.

    ``digest`` hashes what is live of the expected schema, equal for all
    databases without drift; empty unless both snapshots are structural.
    """

    differences: tuple[Difference, ...] = ()
    digest: str = ""

    def __bool__(self) -> bool:
        """Return whether anything is not as expected; what is merely extra does not count."""
        return any(not difference.extra for difference in self.differences)

    @property
    def additive(self) -> tuple[Difference, ...]:
        """What every ``migrate`` mends."""
        return tuple(d for d in self.differences if d.additive)

    @property
    def structural(self) -> tuple[Difference, ...]:
        """What ``migrate --strict`` mends, by rebuilding the table."""
        return tuple(d for d in self.differences if not d.additive and not d.extra)

    @property
    def refusing(self) -> tuple[Difference, ...]:
        """What makes an app's inserts fail until ``migrate --strict`` has mended it; only in structural drift."""
        return tuple(d for d in self.structural if d.refuses_inserts)

    @property
    def extra(self) -> tuple[Difference, ...]:
        """What the database has and the scripts do not know; never dropped."""
        return tuple(d for d in self.differences if d.extra)


def find_drift(expected: Snapshot, live: Snapshot) -> Drift:
    """Return how ``live`` differs from ``expected``.

    What is compared is what both were read with: structural facts only where
    both snapshots hold them. Order of columns is no difference.
    """
    differences: list[Difference] = []
    views = {fold(view) for view in live.views}
    for name in sorted(expected.tables):
        table = live.tables.get(name)
        if table is None or table.is_virtual:
            other = "a virtual table" if table else "a view" if name in views else None
            wanted = expected.tables[name].name
            differences.append(Difference(wanted, "table", wanted, other and "a table", other, additive=True))
        elif table is not expected.tables[name]:  # tables of the same texts are one value
            differences += _of_table(expected.tables[name], table, expected.tables.keys())
    differences += _of_objects(expected, live)
    for name in sorted(live.tables.keys() - expected.tables.keys()):
        differences.append(Difference(live.tables[name].name, "table", live.tables[name].name, extra=True))
    return Drift(tuple(differences), live.within(expected).digest if expected.is_structural else "")


def _of_objects(expected: Snapshot, live: Snapshot) -> Iterator[Difference]:
    """Compare what stands beside the tables; the name of an object takes the table's place."""
    for label, part in expected.objects.items():
        found = live.objects.get(label)
        kind, _, name = label.partition(" ")
        if found is None:
            yield Difference(name, kind, name, additive=True)
        elif found != part and expected.is_structural:
            yield Difference(name, kind, name, part.text, found.text)


def _of_carried(expected: Table, live: Table) -> Iterator[Difference]:
    """Compare what has no word here by its text; what is missing and takes nothing away is additive."""
    extra = live.columns.keys() - expected.columns.keys()
    for label, part in expected.carried.items():
        kind, _, name = label.partition(" ")
        found = live.carried.get(label)
        if found is None and (kind in ADDED or expected.is_structural):
            found_text = None if kind in ADDED else "not there"
            yield Difference(live.name, kind, name, part.text, found_text, additive=kind in ADDED)
        elif found is not None and found != part and expected.is_structural:
            yield Difference(live.name, kind, name, part.text, found.text)
    for label, part in live.carried.items():
        kind, _, name = label.partition(" ")
        if label in expected.carried:
            continue
        if refuses(label, part, extra):
            if expected.is_structural:
                yield _unknown(live.name, kind, name, part.text, extra=False)
        elif kind in LISTED:
            yield Difference(live.name, kind, name, extra=True)


def _of_table(expected: Table, live: Table, ours: AnyOf[str]) -> Iterator[Difference]:
    table = live.name
    for name, column in expected.columns.items():
        if name not in live.columns:
            yield Difference(table, "column", column.name, additive=True)
    for name in live.columns.keys() - expected.columns.keys():
        yield Difference(table, "column", live.columns[name].name, extra=True)
    for unique in sorted(expected.uniques - live.uniques, key=sorted):
        if columns_of(unique) != frozenset(live.primary_key):
            yield Difference(table, "unique", _list(unique), additive=True)
    if expected.gains_key_by_index and _lacks_key(expected, live):
        yield Difference(table, "key", _list(expected.primary_key), additive=True)
    yield from _indexes(expected, live)
    yield from _triggers(expected, live)
    yield from _of_carried(expected, live)
    if expected.is_structural and live.is_structural:
        yield from _structure(expected, live, ours)


def _lacks_key(expected: Table, live: Table) -> bool:
    """Tell whether two rows may share what is to be the primary key."""
    key = expected.primary_key
    return bool(key) and key != live.primary_key and frozenset(key) not in map(columns_of, live.uniques)


def _indexes(expected: Table, live: Table) -> Iterator[Difference]:
    """Compare what the indexes do; their names count only where ours stands for something else on this table."""
    table = live.name
    taken = {fold(name) for name in live.unique_names.values()}
    missing, spare = _unpaired(expected.indexes, live.indexes)
    for name, index in missing.items():
        found = spare.pop(name, None)
        if found is None and name not in taken:
            yield Difference(table, "index", index.name, additive=True)
        else:
            refuses = found is None or found.unique
            yield Difference(table, "index", index.name, _index(index), _index(found), refuses_inserts=refuses)
    for index in spare.values():
        refuses = index.unique and live.is_structural and _is_known(index, expected, live)
        yield _unknown(table, "index", index.name, _index(index), extra=not refuses)


def _unpaired(expected: Mapping[str, Index], live: Mapping[str, Index]) -> tuple[dict[str, Index], dict[str, Index]]:
    """Return the indexes of either side that have no like on the other, under their own name or another."""
    missing = {name: index for name, index in expected.items() if name not in live or live[name].shape != index.shape}
    spare = {name: index for name, index in live.items() if name not in expected or name in missing}
    for name, index in tuple(missing.items()):
        like = next((n for n, other in spare.items() if other.shape == index.shape), None)
        if like is not None:
            del missing[name], spare[like]
    return missing, spare


def stray_uniques(expected: Table, live: Table) -> list[Index]:
    """Return the unique indexes that are not expected and speak of expected columns alone."""
    missing, spare = _unpaired(expected.indexes, live.indexes)
    return [i for name, i in spare.items() if name not in missing and i.unique and _is_known(i, expected, live)]


def _is_known(index: Index, expected: Table, live: Table) -> bool:
    """Tell whether an index is about columns of the expected table alone."""
    texts = (*index.columns, index.where or "")
    return not any(mentions(text, name) for text in texts for name in live.columns.keys() - expected.columns.keys())


def _triggers(expected: Table, live: Table) -> Iterator[Difference]:
    wanted, there = set(expected.triggers.values()), set(live.triggers.values())
    for name, action in expected.triggers.items():
        if action in there:
            continue
        found = live.triggers.get(name)
        if found is None:
            yield Difference(live.name, "trigger", name, additive=True)
        else:
            yield Difference(live.name, "trigger", name, action, found)
    for name, action in live.triggers.items():
        if name not in expected.triggers and action not in wanted:
            yield Difference(live.name, "trigger", name, extra=True)


def _structure(expected: Table, live: Table, ours: AnyOf[str]) -> Iterator[Difference]:
    """Compare the rules. What becomes of rows when one of ``ours`` is deleted is for the expected schema to say."""
    table = live.name
    if live.unreadable:
        yield Difference(table, "definition", table, "a statement we can read", live.unreadable)
        return
    for name, column in expected.columns.items():
        if name in live.columns:
            yield from _of_column(table, column, live.columns[name])
    if expected.primary_key != live.primary_key:
        want, have = _list(expected.primary_key), _list(live.primary_key) or "none"
        refuses = _refuses_by_key(expected, live)
        yield Difference(table, "primary key", table, want, have, refuses_inserts=refuses)
    for option in ("autoincrement", "strict", "without_rowid"):
        is_wanted, is_on = getattr(expected, option), getattr(live, option)
        is_on = live.counts_within(expected.columns) if option == "autoincrement" else is_on
        if is_wanted != is_on:
            refuses = option == "strict" and is_on
            yield Difference(table, "option", option, _yes(is_wanted), _yes(is_on), refuses_inserts=refuses)
    for name, value in expected.options.items():
        if live.options.get(name) != value:
            yield Difference(table, "option", name, value, live.options.get(name) or "none")
    known = frozenset(expected.columns)
    for unique in sorted(live.uniques - expected.uniques, key=sorted):
        if columns_of(unique) != frozenset(expected.primary_key):
            yield _unknown(table, "unique", _list(unique), "there", extra=not columns_of(unique) <= known)
    for key in sorted(expected.foreign_keys - live.foreign_keys, key=repr):
        yield Difference(
            table, "foreign key", _list(key.columns), f"{key.table} on delete {key.on_delete}", "not there"
        )
    wanted = {(key.columns, key.table) for key in expected.foreign_keys}
    for key in sorted(live.foreign_keys - expected.foreign_keys, key=repr):
        is_extra = not set(key.columns) <= known and key.table not in ours
        found = f"to {key.table} on delete {key.on_delete}"
        refuses = (key.columns, key.table) not in wanted
        yield _unknown(table, "foreign key", _list(key.columns), found, extra=is_extra, refuses=refuses)
    for check in sorted(expected.checks - live.checks):
        yield Difference(table, "check", check, "there", "not there")
    for check in sorted(live.checks - expected.checks):
        extra = any(mentions(check, name) for name in live.columns.keys() - known)
        yield _unknown(table, "check", check, "there", extra=extra)
    for name in live.columns.keys() - known:
        column = live.columns[name]
        is_filled = column.default is not None or column.generated is not None or name in live.counts
        if not column.null and not is_filled and name not in live.primary_key:
            yield Difference(
                table,
                "extra column",
                column.name,
                "one that an insert may leave out",
                "NOT NULL without a default",
                refuses_inserts=True,
            )


def _of_column(table: str, expected: Column, live: Column) -> Iterator[Difference]:
    if expected.name != live.name:
        yield Difference(table, "name", expected.name, expected.name, live.name)
    if expected.type != live.type:
        yield Difference(table, "type", expected.name, expected.type or "none", live.type or "none")
    if expected.null != live.null:
        want, have = _null(expected.null), _null(live.null)
        yield Difference(table, "null", expected.name, want, have, refuses_inserts=not live.null)
    if expected.default != live.default:
        want, have = expected.default or "none", live.default or "none"
        refuses = not expected.null and not live.null and live.default is None
        yield Difference(table, "default", expected.name, want, have, refuses_inserts=refuses)
    if expected.collation != live.collation:
        yield Difference(table, "collation", expected.name, expected.collation or "none", live.collation or "none")
    if expected.generated != live.generated:
        want, have = expected.generated or "no", live.generated or "no"
        yield Difference(table, "generated", expected.name, want, have, refuses_inserts=expected.generated is None)


def _unknown(table: str, kind: str, name: str, found: str, *, extra: bool, refuses: bool = True) -> Difference:
    """Return a rule that is not expected: of columns that are not either, or one that refuses rows."""
    if extra:
        return Difference(table, kind, name, None, found, extra=True)
    return Difference(table, kind, name, "no such rule", found, refuses_inserts=refuses)


def _refuses_by_key(expected: Table, live: Table) -> bool:
    """Tell whether another key forbids rows: those that share it, or those that leave out the right one."""
    key = frozenset(live.primary_key)
    is_more = bool(key) and key not in expected.uniques and not key >= frozenset(expected.primary_key)
    needed = [live.columns[name] for name in expected.primary_key if name in live.columns and name not in key]
    return is_more or (expected.autoincrement and any(not c.null and c.default is None for c in needed))


def _list(names: frozenset[str] | tuple[str, ...]) -> str:
    return ", ".join(sorted(names) if isinstance(names, frozenset) else names)


def _null(null: bool) -> str:
    return "NULL" if null else "NOT NULL"


def _yes(value: bool) -> str:
    return "on" if value else "off"


def _index(index: Index | None) -> str:
    if index is None:
        return "a plain unique index"
    where = f" where {index.where}" if index.where else ""
    return f"{'unique ' if index.unique else ''}on {', '.join(index.columns)}{where}"

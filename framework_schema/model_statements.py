"""The statements that create a model's table, written by Peewee once for all models that are alike.

A script makes its models anew for every database, and to Peewee that is a tree
of objects for each column: on a single SQLite database a third of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import peewee as pw

Statements = tuple[tuple[str, tuple[Any, ...]], ...]
"""SQL and its parameters, in the order in which they run."""

PLAIN = frozenset({str, int, bool, type(None), float})
USUAL = frozenset({
    pw.AutoField, pw.BigAutoField, pw.BigIntegerField, pw.BlobField, pw.BooleanField, pw.CharField, pw.DateField,
    pw.DateTimeField, pw.DecimalField, pw.DoubleField, pw.FixedCharField, pw.FloatField, pw.ForeignKeyField,
    pw.IntegerField, pw.SmallIntegerField, pw.TextField, pw.TimeField, pw.UUIDField,
})  # fmt: skip
"""Fields whose DDL is a function of what they hold; a subclass may do as it likes."""
NO_DDL = frozenset({
    "model", "constraints", "default", "choices", "help_text", "verbose_name", "formats", "rounding", "_order",
    "_sort_key", "_exp", "backref", "declared_backref", "rel_model", "rel_field", "lazy_load", "_constructor",
})  # fmt: skip
"""What a field holds and no statement tells; its place among the others is that in the key."""
MOST = 2048
"""Models that are remembered; then it begins anew."""

_known: dict[Any, Statements] = {}
"""The memory of a pure function; a value that is here is never changed."""


def creating(model: type[pw.Model]) -> Statements | None:
    """Return what creates the model's table and indexes on SQLite; None for one that may do it a way of its own."""
    key = _key(model) if creates_usually(model) else None
    if key is None:
        return None
    found = _known.get(key)
    if found is None:
        if len(_known) >= MOST:
            _known.clear()
        found = _known[key] = noted(model)
    return found


def creates_usually(model: type[pw.Model]) -> bool:
    """Tell whether it is Peewee that creates the table."""
    usual: Any = pw.Model.create_table
    return getattr(model.create_table, "__func__", None) is usual.__func__


def noted(model: type[pw.Model]) -> Statements:
    """Let Peewee write the statements, and run none; the model, which others may be using, stays as it is."""
    meta: Any = model._meta
    manager: Any = type(vars(model)["_schema"])
    notes = _Noting(":memory:")
    manager(model, notes).create_all(False, **({"temporary": True} if meta.temporary else {}))
    return tuple(notes.statements)


def _key(model: type[pw.Model]) -> Any:
    """Return all that the statements depend on, or None where something cannot be compared."""
    meta: Any = model._meta
    manager: Any = vars(model)["_schema"]
    if type(model) is not pw.ModelBase or type(manager) is not pw.SchemaManager or type(meta) is not pw.Metadata:
        return None
    if meta.options or meta.table_settings or meta.temporary:
        return None
    try:
        fields = tuple(map(_field_key, meta.sorted_fields))
        beside = _texts(meta.constraints), tuple(map(_index_key, meta.indexes or ()))
    except _Unusual:
        return None
    own_key: Any = meta.primary_key
    own_key = tuple(own_key.field_names) if meta.composite_key else None
    options = (meta.schema, meta.table_name, meta.strict_tables, meta.without_rowid, meta.legacy_table_names)
    return model.__name__, options, own_key, fields, beside


class _Unusual(Exception):
    pass


def _field_key(field: pw.Field[Any]) -> Any:
    if type(field) not in USUAL or field.sequence:
        raise _Unusual
    held = (_texts(field.constraints), *_held(field))
    if not isinstance(field, pw.ForeignKeyField):
        return type(field), held
    to: Any = field.rel_field
    if isinstance(to, pw.ForeignKeyField) or type(to) not in USUAL:
        raise _Unusual
    place = (field.rel_model._meta.schema, field.rel_model._meta.table_name)
    return type(field), held, place, type(to), tuple(_held(to))


def _texts(constraints: Any) -> tuple[str, ...]:
    """Return constraints that are written out."""
    if any(type(constraint) is not pw.SQL or constraint.params for constraint in constraints or ()):
        raise _Unusual
    return tuple(constraint.sql for constraint in constraints or ())


def _index_key(index: Any) -> tuple[tuple[str, ...], bool]:
    """Return an index of a model's ``Meta`` that is columns by name and whether it is unique."""
    if type(index) not in (tuple, list) or len(index) != 2 or type(index[1]) is not bool:
        raise _Unusual
    if type(index[0]) not in (tuple, list) or any(type(part) is not str for part in index[0]):
        raise _Unusual
    return tuple(index[0]), index[1]


def _held(field: pw.Field[Any]) -> Iterator[tuple[str, type, Any]]:
    """Yield what a field holds; with its type, since 1 is equal to True and is not written like it."""
    for name, value in vars(field).items():
        if name not in NO_DDL:
            if type(value) not in PLAIN:
                raise _Unusual
            yield name, type(value), value


class _Noting(pw.SqliteDatabase):
    """Notes what it is told to do."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.statements: list[tuple[str, tuple[Any, ...]]] = []

    def execute_sql(self, sql: str, params: Any = None, commit: Any = None) -> None:
        self.statements.append((sql, tuple(params or ())))

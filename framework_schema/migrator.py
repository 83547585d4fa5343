"""peewee_migrate's Migrator, with operations that run when called and converge.

Scripts see the class they know. What differs: an operation runs at once, so a
script may create a table, add to it and fill it; and an operation whose effect
is there already does nothing and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import peewee as pw
from peewee_migrate.migrator import ORM
from peewee_migrate.migrator import Migrator as PeeweeMigrator
from playhouse.migrate import Operation

from framework_schema.errors import SchemaError
from framework_schema.operations import NoOperations, Operations, stored

type_of_model = type[pw.Model]
Model = TypeVar("Model", bound=type_of_model)


class LazyOrm(ORM):
    """The models of all tables so far, found when a script asks for one.

    First comes what the scripts of this run made, then what a replay of the
    applied ones defines, then the table as the database has it.
    """

    __slots__ = ("_introspect", "_replay")

    def __init__(
        self, replay: Callable[[], Iterator[type_of_model]], introspect: Callable[[str], type_of_model | None]
    ):
        super().__init__()
        self._replay: Callable[[], Iterator[type_of_model]] | None = replay
        self._introspect = introspect

    def find(self, name: str) -> type_of_model | None:
        """Return the model of a table or class name, or None."""
        found = self.__models__.get(name) or self.__tables__.get(name)
        if found is None and self._replay is not None:
            replay, self._replay = self._replay, None
            for model in replay():
                if model._meta.table_name not in self.__tables__:
                    self.add(model)
            return self.find(name)
        if found is None and (found := self._introspect(name)) is not None:
            self.add(found)
        return found

    def __getattr__(self, name: str) -> type_of_model:
        """Return a model by its class name."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> type_of_model:
        """Return a model by its table name."""
        found = self.find(name)
        if found is None:
            raise NoModel(f"no table or model {name!r}: no script made it and the database does not have it")
        return found

    def remove(self, model: type_of_model) -> None:
        """Forget a model; one that was never asked for is no error."""
        self.__models__.pop(model.__name__, None)
        self.__tables__.pop(model._meta.table_name, None)


class NoModel(SchemaError, LookupError):
    """A script asks for a model that nothing defines."""


class ConvergingMigrator(PeeweeMigrator):
    """What ``migrate(migrator, database)`` is called with.

    Every operation is done by ``operations``, which knows the engine and keeps
    a record of what it did and what was there already.
    """

    def __init__(self, database: pw.Database, operations: Operations, orm: LazyOrm) -> None:
        super().__init__(database)
        self.orm, self._operations = orm, operations

    @property
    def operations(self) -> Operations:
        """Return what runs the operations; what a script has put in line by itself comes first."""
        self()
        return self._operations

    def __get_model__(self, model: Any) -> Any:
        if not isinstance(model, str):
            return model
        found = self.orm.find(model)
        if found is None:
            raise ValueError(f"Model {model} not found: no script made it and the database does not have it")
        return found

    def __call__(self) -> None:
        """Run what a script put among peewee_migrate's waiting operations by itself; its own have all run already."""
        waiting, self.__ops__ = self.__ops__, []
        for operation in waiting:
            self._operations.call(operation.run if isinstance(operation, Operation) else operation)

    @contextmanager
    def fake(self) -> Iterator[ConvergingMigrator]:
        """Change in the body what the models say, and nothing in the database."""
        real = self.operations
        self._operations = NoOperations(real.database)
        try:
            yield self
        finally:
            self._operations, self.__ops__ = real, []

    def sql(self, sql: str, *params: Any) -> None:
        """Execute raw SQL."""
        self.operations.execute(sql, params)

    def run(self, func: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Run a Python function."""
        self.operations.call(func, *args, **kwargs)

    def create_model(self, model: Model) -> Model:
        """Create the model's table, or add to a table that is there what it lacks."""
        model._meta.set_database(self.operations.database)
        self.orm.add(model)
        _index_once(model)
        self.operations.create_table(model)
        return model

    def remove_model(self, model: Any, *, cascade: bool = True) -> None:
        """Drop the model's table; one that is gone already is none that any script made."""
        if isinstance(model, str) and self.orm.find(model) is None:
            self.operations.drop_table(model, cascade=cascade)
            return
        model = self.__get_model__(model)
        self.orm.remove(model)
        self.operations.drop_table(model._meta.table_name, cascade=cascade)

    def add_fields(self, model: Any, *, allow_not_null: bool = False, **fields: pw.Field[Any]) -> Any:
        """Add columns; one that is there stays as it is."""
        model = self.__get_model__(model)
        for name, field in fields.items():
            model._meta.add_field(name, field)
            self.operations.add_column(model, field, allow_not_null=allow_not_null)
        return model

    def change_fields(self, model: Any, **fields: pw.Field[Any]) -> Any:
        """Give columns a new definition, and a new name where the field has one."""
        model = self.__get_model__(model)
        meta = model._meta
        for name, field in fields.items():
            old = _find(model, name) or field
            old_column, was_unique = old.column_name, old.unique
            meta.add_field(name, field)
            if old_column != field.column_name:
                self.operations.rename_column(meta.table_name, old_column, field.column_name)
            self.operations.change_column(model, field)
            if field.unique and not was_unique:
                self._index(model, (name,), unique=True)
            elif was_unique and not field.unique:
                _forget_index(model, (name,))
                self.operations.drop_unique(meta.table_name, [field.column_name])
        return model

    def remove_fields(self, model: Any, *names: str, cascade: bool = True, **params: Any) -> Any:
        """Drop columns, with the indexes that stand on one of them alone."""
        model = self.__get_model__(model)
        for name in _names(names):
            field = _find(model, name)
            if field is not None:
                self.__del_field__(model, field)
            column = name if field is None else field.column_name
            self.operations.drop_column(model._meta.table_name, column, cascade=cascade)
        return model

    def rename_field(self, model: Any, old_name: str, new_name: str) -> Any:
        """Rename a column."""
        model = self.__get_model__(model)
        field = _find(model, old_name)
        if field is None:  # renamed already, or an error to be named
            self.operations.rename_column(model._meta.table_name, old_name, _field(model, new_name).column_name)
            return model
        old_column = field.column_name
        is_key = isinstance(field, pw.ForeignKeyField) and field.name != field.column_name
        self.__del_field__(model, field)
        field.name, field.column_name = new_name, f"{new_name}_id" if is_key else new_name
        model._meta.add_field(new_name, field)
        self.operations.rename_column(model._meta.table_name, old_column, field.column_name)
        return model

    def rename_table(self, model: Any, new_name: str) -> Any:
        """Rename a table; one that no longer has its old name was renamed already."""
        if isinstance(model, str) and self.orm.find(model) is None:
            self.operations.rename_table(model, new_name)
            return self.orm[new_name]
        model = self.__get_model__(model)
        old_name = model._meta.table_name
        self.orm.remove(model)
        model._meta.set_table_name(new_name)
        self.orm.add(model)
        self.operations.rename_table(old_name, new_name)
        return model

    def add_index(self, model: Any, *columns: str, unique: bool = False, **index_params: Any) -> Any:
        """Create an index; one of the same name and columns stays."""
        model, columns = self.__get_model__(model), _names(columns)
        model._meta.indexes = [*model._meta.indexes, (columns, unique)]
        self._index(model, columns, unique=unique, **index_params)
        return model

    def drop_index(self, model: Any, *columns: str) -> Any:
        """Drop the index that peewee_migrate names after these columns."""
        model, columns = self.__get_model__(model), _names(columns)
        fields = [_field(model, column) for column in columns]
        if len(fields) == 1:
            fields[0].unique = fields[0].index = False
        _forget_index(model, columns)
        self.operations.drop_index(model._meta.table_name, [field.column_name for field in fields])
        return model

    def add_not_null(self, model: Any, *names: str) -> Any:
        """Forbid NULL; a column that holds one makes this fail."""
        return self._nullability(model, names, null=False)

    def drop_not_null(self, model: Any, *names: str) -> Any:
        """Allow NULL."""
        return self._nullability(model, names, null=True)

    def add_default(self, model: Any, name: str, default: Any) -> Any:
        """Set a column's default and fill its NULLs; what is there is never overwritten."""
        model = self.__get_model__(model)
        field = _field(model, name)
        model._meta.remove_field(field.name)  # Peewee keeps a default in several places
        field.default = default
        model._meta.add_field(field.name, field)
        self.operations.set_default(model._meta.table_name, field.column_name, stored(field, default))
        return model

    def add_constraint(self, model: Any, name: str, constraint: Any) -> Any:
        """Add a named constraint to a table."""
        model = self.__get_model__(model)
        self.operations.add_constraint(model._meta.table_name, name, constraint)
        return model

    def drop_constraints(self, model: Any, *names: str) -> Any:
        """Drop named constraints of a table."""
        model = self.__get_model__(model)
        for name in _names(names):
            self.operations.drop_constraint(model._meta.table_name, name)
        return model

    # What they were called before peewee_migrate 1.0.
    python = run
    create_table, drop_table = create_model, remove_model
    add_columns, change_columns, drop_columns, rename_column = add_fields, change_fields, remove_fields, rename_field

    def _nullability(self, model: Any, names: tuple[str, ...], *, null: bool) -> Any:
        model = self.__get_model__(model)
        for name in _names(names):
            field = _field(model, name)
            field.null = null
            self.operations.set_null(model._meta.table_name, field.column_name, null=null)
        return model

    def _index(self, model: Any, columns: tuple[str, ...], *, unique: bool, **params: Any) -> None:
        fields = [_field(model, column) for column in columns]
        if len(fields) == 1:
            fields[0].unique, fields[0].index = unique, not unique
        self.operations.add_index(model._meta.table_name, [f.column_name for f in fields], unique=unique, **params)


def _names(given: Iterable[Any]) -> tuple[str, ...]:
    """Return names however they were given: one by one, in a list, or as fields.

    peewee_migrate takes a list for the name of no field, and does nothing without a word.
    """
    found: list[str] = []
    for name in given:
        if isinstance(name, list | tuple | set | frozenset):
            found += _names(name)
        elif isinstance(name, pw.Field):
            found.append(name.name)
        elif isinstance(name, str):
            found.append(name)
        else:
            raise TypeError(f"names of fields are wanted here, not {name!r}")
    return tuple(found)


def _index_once(model: Any) -> None:
    """Leave of the plain indexes on the same columns one, a unique one if any is: all would have the same name."""
    meta = model._meta
    uniques: dict[tuple[str, ...], bool] = {}
    others = []
    for index in meta.indexes:
        if not isinstance(index, list | tuple) or not all(isinstance(part, str) for part in index[0]):
            others.append(index)
            continue
        fields = [_field(model, name) for name in index[0]]
        columns = tuple(field.name for field in fields)
        if len(fields) == 1 and not fields[0].primary_key and (fields[0].index or fields[0].unique):
            fields[0].unique = fields[0].unique or bool(index[1])
        else:
            uniques[columns] = uniques.get(columns, False) or bool(index[1])
    meta.indexes = [*uniques.items(), *others]


def _forget_index(model: Any, names: tuple[str, ...]) -> None:
    """Take a plain index on these columns out of what the model says; names are those of fields or columns."""
    wanted = [_find(model, name) or name for name in names]
    meta = model._meta
    meta.indexes = [
        index
        for index in meta.indexes
        if not (isinstance(index, list | tuple) and [_find(model, part) or part for part in index[0]] == wanted)
    ]


def _find(model: Any, name: str) -> Any:
    """Return the field of this name, or None.

    A model that was read from the database has fields named as its columns, so
    a name may be the field's or the column's, in any case, a key's without ``_id``.
    """
    known = {known.lower(): field for known, field in model._meta.combined.items()}
    field = model._meta.combined.get(name) or known.get(name.lower())
    key = known.get(f"{name.lower()}_id")
    return key if field is None and isinstance(key, pw.ForeignKeyField) else field


def _field(model: Any, name: str) -> Any:
    field = _find(model, name)
    if field is None:
        raise ValueError(f"{model._meta.table_name} has no column {name}")
    return field

"""What is remembered of a model's statements is what Peewee writes for it, whatever the model."""

import sqlite3
from contextlib import closing
from functools import partial

import peewee as pw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from script_texts import script

from framework_schema import model_statements
from framework_schema.model_statements import noted
from framework_schema.runner import Runner

flags = st.booleans()
names = st.sampled_from(["a", "b", "order", 'q"', "camelCase", "x_id"])
constraints = st.none() | st.lists(st.sampled_from(["DEFAULT 1", "DEFAULT 'x'", "CHECK (1)"]).map(pw.SQL), max_size=2)
common = {
    "null": flags,
    "index": flags,
    "unique": flags,
    "column_name": st.none() | names,
    "default": st.none() | st.just(dict),
    "constraints": constraints,
    "collation": st.sampled_from([None, "NOCASE"]),
    "unindexed": flags,
    "help_text": st.sampled_from([None, "some"]),
    "index_type": st.sampled_from([None, "BTREE"]),
}


class Loud(pw.TextField):
    """A field of an author's own, which holds no more than Peewee's does."""

    field_type = "LOUD"


class Parent(pw.Model):
    code = pw.CharField(primary_key=True, max_length=7)
    name = pw.CharField(max_length=7, unique=True)


class Other(pw.Model):
    class Meta:
        table_name = "parent"


class Elsewhere(pw.Model):
    code = pw.CharField(primary_key=True, max_length=7)


class Shorter(pw.Model):
    code = pw.CharField(primary_key=True, max_length=3)

    class Meta:
        table_name = "parent"


def field(kind, **more):
    return st.fixed_dictionaries({}, optional=common | more).map(lambda given: kind(**given))


fields = st.one_of(
    *map(field, (pw.IntegerField, pw.TextField, pw.DateTimeField, pw.BooleanField, pw.BlobField, Loud)),
    field(pw.CharField, max_length=st.integers(1, 3)),
    field(pw.DecimalField, max_digits=st.integers(3, 5), decimal_places=st.integers(0, 2)),
    st.fixed_dictionaries(
        {"model": st.sampled_from([Parent, Other, "self"])},
        optional={
            "null": flags,
            "unique": flags,
            "column_name": st.none() | names,
            "on_delete": st.sampled_from([None, "CASCADE", "SET NULL"]),
            "on_update": st.sampled_from([None, "CASCADE"]),
            "deferrable": st.sampled_from([None, "INITIALLY DEFERRED"]),
            "constraint_name": st.sampled_from([None, "k"]),
        },
    ).map(lambda given: pw.ForeignKeyField(**given, backref="+")),
)  # fmt: skip
settings = st.fixed_dictionaries(
    {"table_name": st.sampled_from(["one", "two", "Three"])},
    optional={
        "schema": st.sampled_from([None, "main"]),
        "without_rowid": flags,
        "strict_tables": flags,
        "legacy_table_names": flags,
        "temporary": flags,
        "primary_key": st.sampled_from([(), ("f0",), ("f0", "f1")]).map(
            lambda own: pw.CompositeKey(*own) if own else False
        ),
        "indexes": st.lists(st.tuples(st.sampled_from([("f0",), ("f0", "f1")]), flags), max_size=2),
        "constraints": constraints,
        "table_settings": st.sampled_from([None, "STRICT"]),
        "options": st.sampled_from([None, {"a": 1}]),
    },
)
models = st.builds(
    lambda name, columns, meta: type(
        name, (pw.Model,), {f"f{n}": column for n, column in enumerate(columns)} | {"Meta": type("Meta", (), meta)}
    ),
    st.sampled_from(["One", "Two"]),
    st.lists(fields, min_size=2, max_size=4),
    settings,
)


def text_of(statements):
    """Return what SQLite is told; a value is compared by its text, since SQL nodes are none."""
    return [(sql, list(map(repr, params))) for sql, params in statements]


@given(models)
def test_a_model_that_is_like_one_before_is_written_as_peewee_would(model):
    def told(write):
        try:
            return text_of(write(model))
        except (AttributeError, TypeError, ValueError) as error:  # a key to no column, say
            return repr(error)

    assert told(creating) == told(creating) == told(noted)


def model_of(table="one", **columns):
    return type("One", (pw.Model,), columns | {"Meta": type("Meta", (), {"table_name": table})})


def creating(model):
    """Return what a run sends, remembered or not."""
    return model_statements.creating(model) or noted(model)


VARIATIONS = [
    *(
        (pw.TextField, {name: value})
        for name, value in {
            "null": True, "index": True, "unique": True, "column_name": "other", "collation": "NOCASE",
            "unindexed": True, "constraints": [pw.SQL("DEFAULT 1")], "primary_key": True,
        }.items()
    ),
    (partial(pw.TextField, index=True), {"index_type": "BTREE"}),
    (partial(pw.TextField, constraints=[pw.SQL("DEFAULT 1")]), {"constraints": [pw.SQL("DEFAULT 2")]}),
    (pw.CharField, {"max_length": 3}),
    (pw.DecimalField, {"max_digits": 3}),
    (pw.DecimalField, {"decimal_places": 3}),
    (partial(pw.ForeignKeyField, Parent, backref="+"), {"on_delete": "CASCADE"}),
    (partial(pw.ForeignKeyField, Parent, backref="+"), {"on_update": "CASCADE"}),
    (partial(pw.ForeignKeyField, Parent, backref="+"), {"deferrable": "INITIALLY DEFERRED"}),
    (partial(pw.ForeignKeyField, Parent, backref="+"), {"constraint_name": "k"}),
    (partial(pw.ForeignKeyField, Parent, backref="+"), {"model": Other}),
    (partial(pw.ForeignKeyField, Parent, backref="+"), {"model": Elsewhere}),
    (partial(pw.ForeignKeyField, Parent, backref="+"), {"model": Shorter}),
    (partial(pw.ForeignKeyField, Parent, backref="+"), {"field": "name"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "more"), VARIATIONS, ids=[next(iter(more)) for _, more in VARIATIONS])
def test_every_thing_a_field_is_given_makes_it_another(kind, more):
    given = dict(kind.keywords) if isinstance(kind, partial) else {}
    target = {"model": kind.args[0]} if isinstance(kind, partial) and kind.args else {}
    kind = kind.func if isinstance(kind, partial) else kind
    plain, varied = (lambda: kind(**target | given)), (lambda: kind(**target | given | more))

    for make in (plain, varied, plain):
        model = model_of("varied", f=make())
        assert text_of(creating(model)) == text_of(noted(model))


@pytest.mark.parametrize(
    "meta",
    [
        {"table_name": "two"},
        {"schema": "main"},
        {"without_rowid": True},
        {"strict_tables": True},
        {"legacy_table_names": False},
        {"temporary": True},
        {"primary_key": pw.CompositeKey("f0", "f1")},
        {"primary_key": pw.CompositeKey("f1", "f0")},
        {"primary_key": False},
        {"indexes": [(("f0", "f1"), False)]},
        {"indexes": [(("f0", "f1"), True)]},
        {"indexes": [(("f1", "f0"), True)]},
        {"constraints": [pw.SQL("CHECK (1)")]},
        {"table_settings": "STRICT"},
        {"options": {"a": 1}},
    ],
    ids=lambda meta: next(iter(meta)),
)
def test_every_thing_a_model_is_given_makes_it_another(meta):
    for more in ({}, meta, {}):
        own = type("Meta", (), {"table_name": "varied"} | more)
        model = type("Model", (pw.Model,), {"f0": pw.TextField(index=True), "f1": pw.TextField(), "Meta": own})
        assert text_of(creating(model)) == text_of(noted(model))


def test_the_order_of_the_columns_tells_models_apart():
    for order in (["a", "b"], ["b", "a"]):
        model = model_of("ordered", **{name: pw.TextField() for name in order})
        assert text_of(creating(model)) == text_of(noted(model))


def test_models_that_are_alike_are_written_once(monkeypatch):
    written = []
    monkeypatch.setattr(model_statements, "noted", lambda model: written.append(model) or noted(model))
    alike = [model_of("alike", name=pw.TextField(default=str)) for _ in range(3)]

    found = {model_statements.creating(model) for model in alike}

    assert (len(found), written) == (1, alike[:1])


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(lambda: Loud(), id="a field of its author's"),
        pytest.param(lambda: pw.TextField(constraints=[pw.SQL("DEFAULT ?", [1])]), id="a constraint with values"),
        pytest.param(lambda: pw.TextField(sequence="s"), id="a sequence"),
        pytest.param(lambda: pw.ForeignKeyField(type("Odd", (pw.Model,), {"id": Loud(primary_key=True)})), id="a key"),
    ],
)
def test_what_may_be_written_otherwise_is_not_remembered(column):
    model = model_of("unusual", name=column())

    assert model_statements.creating(model) is None


def test_a_model_that_creates_its_table_itself_is_asked(path, folder):
    body = """
        @migrator.create_model
        class Own(pw.Model):
            @classmethod
            def create_table(cls, safe=True, **options):
                database.execute_sql("CREATE TABLE own (made_by TEXT)")
            class Meta:
                table_name = "own"
    """

    Runner(path, [folder({"001_own": script(body)})]).migrate()

    with closing(sqlite3.connect(path)) as connection:
        assert [row[1] for row in connection.execute("PRAGMA table_info(own)")] == ["made_by"]


def test_the_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(model_statements, "MOST", 3)

    for number in range(10):
        model_statements.creating(model_of(f"bounded{number}", name=pw.TextField()))

    assert len(model_statements._known) <= 3


def test_a_model_stays_bound_while_its_statements_are_written():
    class Bound(pw.Model):
        class Meta:
            database = pw.SqliteDatabase(":memory:")

    seen = []
    database = Bound._meta.database
    Bound._meta.set_database = lambda *asked: seen.append(asked)

    assert noted(Bound)
    assert (seen, Bound._meta.database) == ([], database)

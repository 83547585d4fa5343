import ast
import json
from pathlib import Path

import pytest
from script_texts import creates, script

import framework_schema
from framework_schema.errors import SourceError
from framework_schema.migration import Migration, Style, order_of

PYTHONS = [
    python
    for version in ("3.11.7", "3.12.1", "3.13.0")
    if (python := Path("/root/.pyenv/versions", version, "bin/python")).exists()
]


def migration(text, name="001_x"):
    return Migration("app", name, text.encode() if isinstance(text, str) else text, Path(f"/nowhere/{name}.py"))


# What cannot be run


@pytest.mark.parametrize(
    ("text", "style"),
    [
        pytest.param("def migrate(migrator, database, *, fake=False): pass", Style.PEEWEE, id="as written today"),
        pytest.param("def migrate(migrator, database, fake=False, **kwargs): pass", Style.PEEWEE, id="as written once"),
        pytest.param("def migrate(m, d, /): pass", Style.PEEWEE, id="other names"),
        pytest.param("def apply_migration(cursor): pass", Style.CURSOR, id="a cursor"),
        pytest.param("def apply_migration(cursor, verbose=True): pass", Style.CURSOR, id="a cursor and an option"),
        pytest.param(
            "def apply_migration(cursor): pass\ndef main(): pass", Style.CURSOR, id="a cursor, and a program of its own"
        ),
        pytest.param("def apply_migration(conn, cursor): pass", Style.UNSUPPORTED, id="connection and cursor"),
        pytest.param("def apply_migration(db_path): pass", Style.UNSUPPORTED, id="a path"),
        pytest.param("def migrate(): pass", Style.UNSUPPORTED, id="no arguments"),
        pytest.param("def migrate(db_path='data/app.db'): pass", Style.UNSUPPORTED, id="a path of its own"),
        pytest.param("def run_migration(db_path): pass", Style.UNSUPPORTED, id="run_migration"),
        pytest.param("def migrate(migrator, *_, **__): pass", Style.PEEWEE, id="a migrator and the rest"),
        pytest.param("def migrate(*args, **kwargs): pass", Style.PEEWEE, id="the rest"),
        pytest.param("def migrate(*args, fake): pass", Style.PEEWEE, id="fake by name"),
        pytest.param("def migrate(migrator, database, fake=None, *more, **kw): pass", Style.PEEWEE, id="all of it"),
        pytest.param("def migrate(migrator, database=None, *, fake=False): pass", Style.PEEWEE, id="a default"),
        pytest.param("if True:\n    def migrate(migrator, database): pass", Style.PEEWEE, id="in a condition"),
        pytest.param(
            "try:\n    import x\nexcept ImportError:\n    def migrate(m, d): pass", Style.PEEWEE, id="in a try"
        ),
        pytest.param("migrate = lambda migrator, database, fake: None", Style.PEEWEE, id="lambda"),
        pytest.param("def up(migrator, database, fake): pass\nmigrate = up", Style.PEEWEE, id="another name"),
        pytest.param("from functools import partial\nmigrate = partial(print)", Style.PEEWEE, id="partial"),
        pytest.param("from steps import widen as migrate", Style.PEEWEE, id="from elsewhere"),
        pytest.param("def migrate(path='app.db', verbose=True): pass", Style.UNSUPPORTED, id="two of its own"),
        pytest.param("def migrate(migrator, database, more): pass", Style.UNSUPPORTED, id="three arguments"),
        pytest.param("def migrate(migrator, database, *, dry): pass", Style.UNSUPPORTED, id="a keyword of its own"),
        pytest.param("migrate = None", Style.UNSUPPORTED, id="nothing"),
        pytest.param(
            "if __name__ == '__main__':\n    def migrate(m, d): pass", Style.UNSUPPORTED, id="a program's own"
        ),
        pytest.param("", Style.UNSUPPORTED, id="empty"),
    ],
)
def test_the_functions_of_a_script_tell_how_it_wants_to_be_called(text, style):
    found = migration(text)

    assert found.style is style
    assert (found.unsupported is None) is (style is not Style.UNSUPPORTED)


@pytest.mark.parametrize("signature", ["m, d, fake", "m, *a, fake=None", "*a, **k", "m, d=0, **k", "m, d, *, fake"])
def test_fake_is_given_to_every_function_that_takes_it(signature):
    name = "k['fake']" if "**k" in signature else "fake"
    script = migration(f"def migrate({signature}): raise ValueError('fake is', {name})")

    with pytest.raises(ValueError, match="True"):
        script.call("migrate", "migrator", "database", fake=True)


def test_a_syntax_error_names_file_and_line():
    with pytest.raises(SourceError, match=r"app/001_x: /nowhere/001_x\.py, line 2: SyntaxError: .*Mend the script"):
        _ = migration("x = 1\ndef migrate(:\n").style


@pytest.mark.parametrize("text", ["depends_on = [name]", "atomic = not 1", "destructive = f()"])
def test_a_setting_that_would_have_to_be_run_is_refused(text):
    found = migration(f"name = 'x'\n{text}")

    with pytest.raises(SourceError, match=r"app/001_x: \w+ on line 2 is not a literal"):
        _ = found.depends_on, found.atomic, found.destructive


@pytest.mark.parametrize("value", ["7", "[1]", "None", "{'a': 1}", "b'x'"])
def test_depends_on_that_is_no_list_of_names_is_refused(value):
    with pytest.raises(SourceError, match="depends_on is"):
        _ = migration(f"depends_on = {value}").depends_on


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        pytest.param("", ((), True, False), id="absent"),
        pytest.param("depends_on = ['a', 'b/001_x']", (("a", "b/001_x"), True, False), id="list"),
        pytest.param("depends_on = ('a',)", (("a",), True, False), id="tuple"),
        pytest.param("depends_on = 'framework'", (("framework",), True, False), id="one name"),
        pytest.param("depends_on: list[str] = ['a']", (("a",), True, False), id="annotated"),
        pytest.param("atomic = False\ndestructive = True", ((), False, True), id="flags"),
        pytest.param("atomic: bool = False", ((), False, False), id="annotated flag"),
        pytest.param("atomic = False\natomic = True", ((), True, False), id="the last one counts"),
        pytest.param("atomic: bool\ndef f():\n    atomic = False", ((), True, False), id="only the module's own"),
    ],
)
def test_settings_are_read_without_running_the_script(text, settings):
    found = migration(f"raise RuntimeError\n{text}")

    assert (found.depends_on, found.atomic, found.destructive) == settings


# Checksum


LIKE_IT = '''
"""Add items."""
import peewee as pw

SIZES = {"a": 1, "b": (2, 3.5), "c": [None, True, ..., b"x", -1, 1j]}


def migrate(migrator, database, *, fake=False):
    """Create the table."""
    for name in ("x", 'y'):
        if name:
            migrator.sql(f"UPDATE {name!r:>{10}} SET a = 'it''s'")
        migrator.sql("later")
'''
REFORMATTED = """
import peewee as pw
SIZES = {'a': 1,
         'b': (2, 3.50),
         "c": [None, True, ..., b'x', -1, 1J],}
def migrate(migrator, database, *, fake = False):
  for name in 'x', "y":
    if name: migrator.sql(f"UPDATE {name!r:>{10}} " "SET a = 'it\'\'s'")
    migrator . sql('later',)
"""
SAME = {
    "reformatted": REFORMATTED,
    "comments": LIKE_IT.replace("import peewee as pw", "# why\nimport peewee as pw  # noqa\n\n\n"),
    "docstrings": LIKE_IT.replace("Add items.", "Something else.").replace('    """Create the table."""\n', ""),
    "no docstring": LIKE_IT.replace('"""Add items."""', ""),
    "line ends": LIKE_IT.replace("\n", "\r\n"),
    "a byte order mark": "\ufeff" + LIKE_IT,
    "brackets": LIKE_IT.replace("if name:", "if (name):"),
}
OTHER = {
    "another number": LIKE_IT.replace("3.5", "3.6"),
    "another text": LIKE_IT.replace("it''s", "its"),
    "another type": LIKE_IT.replace("True", "1"),
    "another name": LIKE_IT.replace("SIZES", "SIZE"),
    "moved out of the loop": LIKE_IT.replace('        migrator.sql("later")', '    migrator.sql("later")'),
    "moved into the if": LIKE_IT.replace('        migrator.sql("later")', '            migrator.sql("later")'),
    "moved out of the function": LIKE_IT.replace('        migrator.sql("later")', 'migrator.sql("later")'),
    "a text for a name": LIKE_IT.replace("if name:", "if 'name':"),
    "another conversion": LIKE_IT.replace("!r", "!s"),
    "a list for a tuple": LIKE_IT.replace("(2, 3.5)", "[2, 3.5]"),
    "async": LIKE_IT.replace("def migrate", "async def migrate"),
    "one call less": LIKE_IT.replace('        migrator.sql("later")', "        pass"),
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_what_a_formatter_or_a_comment_changes_is_no_change(text):
    assert ast.parse(text.encode())
    assert migration(text).checksum == migration(LIKE_IT).checksum


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_what_the_script_does_is_a_change(text):
    assert text != LIKE_IT
    assert migration(text).checksum != migration(LIKE_IT).checksum


def test_all_changes_differ_from_each_other():
    assert len({migration(text).checksum for text in OTHER.values()}) == len(OTHER)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("if a:\n    b()\nc()", "if a:\n    b()\n    c()"),
        ("f(g(a), b)", "f(g(a, b))"),
        ("[[a], b]", "[[a, b]]"),
        ("x = a, (b, c)", "x = a, (b,), c"),
        ("with a: b\nc", "with a:\n    b\n    c"),
        ("def f(a, /, b): pass", "def f(a, b, /): pass"),
        ("f(a=b)", "f(a, b)"),
        ("x = 'a' 'b'", "x = 'a', 'b'"),
    ],
)
def test_the_same_words_in_another_shape_are_a_change(one, other):
    assert migration(one).checksum != migration(other).checksum


def test_a_long_sum_has_a_checksum():
    assert migration("x = " + " + ".join(["1"] * 900)).checksum


@pytest.mark.skipif(len(PYTHONS) < 2, reason="only one Python here")
def test_a_checksum_is_the_same_in_every_python(python, tmp_path):
    folder = Path(__file__).parents[1] / "migrations"
    texts = [LIKE_IT, REFORMATTED, *OTHER.values(), *(path.read_text() for path in sorted(folder.glob("0*.py")))]
    program = """
        import importlib.util, json, sys, types
        from pathlib import Path
        root = Path(sys.argv[1])
        package = types.ModuleType("framework_schema")
        package.__path__ = [str(root)]
        sys.modules["framework_schema"] = package
        from framework_schema.migration import Migration
        texts = json.loads(Path(sys.argv[2]).read_text())
        print(json.dumps([Migration("a", "001_x", text.encode(), Path("x")).checksum for text in texts]))
    """

    (tmp_path / "texts.json").write_text(json.dumps(texts))
    package = Path(framework_schema.__file__).parent

    results = {
        python(program, package, tmp_path / "texts.json", executable=str(executable)).stdout.strip()
        for executable in PYTHONS
    }

    assert results == {json.dumps([migration(text).checksum for text in texts])}


# Loading


def test_a_script_is_loaded_anew_each_time_and_never_as_a_module():
    found = migration("items = []\ndef migrate(migrator, database): items.append(1)")

    first, second = found.load(), found.load()
    first["migrate"](None, None)

    assert (first["items"], second["items"]) == ([1], [])
    assert (first["__file__"], first["__name__"]) == ("/nowhere/001_x.py", "migration:app/001_x")


def test_a_script_does_not_inherit_our_future_imports():
    assert migration("def f(a: int): pass").load()["f"].__annotations__ == {"a": int}


def test_a_migration_is_the_same_by_source_name_and_content():
    assert migration("x") == migration("x")
    assert hash(migration("x")) == hash(migration("x"))
    assert migration("x") != migration("y")
    assert migration("x").key == "app/001_x"


@pytest.mark.parametrize(("text", "has"), [(creates("item"), True), (script(), False)])
def test_a_script_without_rollback_cannot_be_undone(text, has):
    assert migration(text).has_rollback is has


def test_numbers_count_as_numbers_and_names_without_come_last():
    names = ["1000_x", "999_y", "add_things", "001_b", "001_a", "0002_x"]

    assert sorted(names, key=order_of) == ["001_a", "001_b", "0002_x", "999_y", "1000_x", "add_things"]

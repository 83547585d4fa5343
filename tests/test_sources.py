import sqlite3
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent

import pytest
from script_texts import creates, script

from framework_schema.databases import OwnSqlite
from framework_schema.errors import MigrationFailed, SourceError
from framework_schema.migration import Migration
from framework_schema.report import State
from framework_schema.runner import Runner
from framework_schema.sources import (
    Folder,
    Package,
    Scripts,
    app_folders,
    collect,
    fingerprint,
    framework,
    installed,
    restrict,
)


@dataclass(frozen=True)
class Listed:
    """A source whose scripts are listed as ``NAME`` or ``NAME needs KEY,KEY``."""

    name: str
    scripts: str
    depends_on: tuple[str, ...] = ()

    def files(self):
        for line in self.scripts.splitlines():
            name, _, needs = line.strip().partition(" needs ")
            text = f"depends_on = {[need for need in needs.split(',') if need]}\n{script()}"
            yield Migration(self.name, name, text.encode(), Path(f"{name}.py"))

    def read(self):
        return Scripts(tuple(self.files()))


def keys(*sources):
    return [migration.key for migration in collect(sources).migrations]


def problems(*sources):
    return {problem.source: problem.error for problem in collect(sources).problems}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write an importable package ``NAME.migrations`` and return it as a source."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, scripts, init="", above=""):
        folder = tmp_path / name / "migrations"
        folder.mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text(above)
        (folder / "__init__.py").write_text(init)
        for script_name, text in scripts.items():
            (folder / f"{script_name}.py").write_text(dedent(text))
        return Package(name, f"{name}.migrations")

    yield write
    for name in [name for name in sys.modules if name.startswith("plug_")]:
        del sys.modules[name]


# What stops a source, and what goes on


def test_a_missing_dependency_stops_only_what_needs_it():
    broken = Listed("broken", "001_a", ("nowhere",))
    needy = Listed("needy", "001_a", ("broken",))
    needier = Listed("needier", "001_a", ("needy/001_a",))
    fine = Listed("fine", "001_a")

    assert keys(needier, broken, needy, fine) == ["fine/001_a"]
    found = problems(needier, broken, needy, fine)
    assert found.keys() == {"broken", "needy", "needier"}
    assert found["broken"] == "broken: it depends on nowhere, which is not there. Install or mend that first."


def test_a_missing_script_that_another_needs_stops_that_source():
    assert problems(Listed("a", "001_x"), Listed("b", "001_y needs a/002_gone")) == {
        "b": "b: it depends on a/002_gone, which is not there. Install or mend that first."
    }


@pytest.mark.parametrize(
    ("sources", "stopped"),
    [
        pytest.param([Listed("a", "001_x", ("b",)), Listed("b", "001_y", ("a",))], {"a", "b"}, id="two sources"),
        pytest.param([Listed("a", "001_x", ("a",))], {"a"}, id="a source that needs itself"),
        pytest.param([Listed("a", "001_x needs a/002_y\n002_y")], {"a"}, id="against the numbers"),
        pytest.param([Listed("a", "001_x needs a/001_x")], {"a"}, id="a script that needs itself"),
        pytest.param(
            [Listed(name, "001_x", (need,)) for name, need in ("ab", "bc", "ca", "dc")],
            {"a", "b", "c", "d"},
            id="three sources and one that needs them",
        ),
    ],
)  # fmt: skip
def test_a_cycle_stops_only_the_sources_in_it(sources, stopped):
    fine = Listed("fine", "001_a")

    assert keys(*sources, fine) == ["fine/001_a"]
    assert problems(*sources, fine).keys() == stopped


def test_a_cycle_with_the_framework_stops_the_plugin_and_not_the_framework():
    own = Listed("framework", "001_a needs plugin/001_b")
    plugin = Listed("plugin", "001_b", ("framework",))

    assert "plugin" in problems(own, plugin)
    assert "cycle" in problems(own, plugin)["plugin"]


def test_two_sources_of_one_name_are_a_problem_and_the_first_stays():
    assert keys(Listed("a", "001_x"), Listed("a", "001_y")) == ["a/001_x"]
    assert "two sources have this name" in problems(Listed("a", "001_x"), Listed("a", "001_y"))["a"]


@pytest.mark.parametrize(
    ("above", "says"),
    [
        pytest.param("import a_module_that_is_gone", "ModuleNotFoundError", id="lost import"),
        pytest.param("raise RuntimeError('no')", "RuntimeError: no", id="raises"),
        pytest.param("raise SystemExit(3)", "SystemExit: 3", id="exits"),
        pytest.param("def (", "SyntaxError", id="syntax error"),
    ],
)
def test_a_plugin_that_cannot_be_imported_stops_only_itself(package, above, says):
    plugin = package("plug_broken", {"001_x": script()}, above=above)
    fine = Listed("fine", "001_a")

    assert keys(plugin, Listed("needy", "001_a", ("plug_broken",)), fine) == ["fine/001_a"]
    assert says in problems(plugin, fine)["plug_broken"]
    assert "plug_broken.migrations" in problems(plugin, fine)["plug_broken"]


def test_a_plugin_with_a_broken_init_stops_only_itself(package):
    plugin = package("plug_init", {"001_x": script()}, init="depends_on = (")

    assert problems(plugin, Listed("fine", "001_a")).keys() == {"plug_init"}


@pytest.mark.parametrize(
    ("scripts", "says"),
    [
        pytest.param({}, "no script found in plug_empty.migrations", id="none"),
        pytest.param({"helper": "x = 1"}, "no script found in plug_empty.migrations", id="none that can run"),
    ],
)
def test_an_installed_plugin_without_a_script_is_a_problem(package, scripts, says):
    assert says in problems(package("plug_empty", scripts))["plug_empty"]


def test_a_package_that_is_not_installed_is_a_problem():
    assert "plug_gone" in problems(Package("gone", "plug_gone.migrations"))["gone"]


def test_a_folder_that_is_not_there_is_a_problem(tmp_path):
    assert "there is no folder" in problems(Folder(tmp_path / "gone"))["app"]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that even root cannot read")
def test_a_script_that_cannot_be_read_stops_only_its_source(folder):
    source = folder({"001_x": script()})
    Path(source.path, "002_y.py").symlink_to("/proc/self/mem")

    assert keys(source, Listed("fine", "001_a")) == ["fine/001_a"]
    assert "002_y.py cannot be read (Input/output error)" in problems(source)["app"]
    assert fingerprint([source]) is None


def test_a_broken_plugin_leaves_the_frameworks_own_migrations_running(package, path):
    with pytest.raises(MigrationFailed) as caught:
        Runner(path, [framework(), package("plug_bad", {}, above="1 / 0")]).migrate()

    report = caught.value.report
    assert report.state is State.FAILED
    assert report.applied == [migration.key for migration in framework().read().migrations]
    assert [note for note in report.notes if "plug_bad" in note and "ZeroDivisionError" in note]


# Order


@pytest.mark.parametrize(
    ("sources", "order"),
    [
        pytest.param(
            [Listed("a", "001_x\n002_x\n1000_x\n999_x\n0003_x")],
            "a/001_x a/002_x a/1000_x a/999_x a/0003_x",
            id="a source keeps the order it gives",
        ),
        pytest.param([Listed("b", "001_x"), Listed("a", "001_x")], "b/001_x a/001_x", id="sources as given"),
        pytest.param([Listed("a", "001_x", ("b",)), Listed("b", "001_x")], "b/001_x a/001_x", id="dependency first"),
        pytest.param(
            [Listed("a", "001_x needs b/002_x\n002_x"), Listed("b", "001_x\n002_x\n003_x")],
            "b/001_x b/002_x a/001_x a/002_x b/003_x",
            id="only as much as a script needs",
        ),
        pytest.param(
            [Listed("a", "001_x\n002_x needs b"), Listed("b", "001_x\n002_x", ("a/001_x",))],
            "a/001_x b/001_x b/002_x a/002_x",
            id="to and fro",
        ),
        pytest.param(
            [Listed("c", "001_x", ("a", "b")), Listed("b", "001_x", ("a",)), Listed("a", "001_x")],
            "a/001_x b/001_x c/001_x",
            id="diamond",
        ),
    ],
)
def test_dependencies_come_first_then_the_source_then_the_name(sources, order):
    assert problems(*sources) == {}
    assert keys(*sources) == order.split()


def test_a_folder_sorts_by_number_not_by_letter(folder):
    source = folder({name: script() for name in ("1000_x", "999_x", "001_b", "001_a", "0002_x", "010_x")})

    assert keys(source) == ["app/001_a", "app/001_b", "app/0002_x", "app/010_x", "app/999_x", "app/1000_x"]


def test_what_has_to_come_before_is_known_for_every_key():
    known = collect([Listed("a", "001_x\n002_x"), Listed("b", "001_x needs a/001_x\n002_x", ("a",))])

    assert known.depends_on == {
        "a/001_x": set(),
        "a/002_x": {"a/001_x"},
        "b/001_x": {"a/001_x", "a/002_x"},
        "b/002_x": {"a/001_x", "a/002_x", "b/001_x"},
    }


def test_a_restricted_collection_holds_these_sources_only():
    known = restrict(collect([Listed("a", "001_x"), Listed("b", "001_x")]), {"b"})

    assert ([migration.key for migration in known.migrations], known.sources) == (["b/001_x"], ("b",))


# Folders


def test_a_script_in_both_folders_counts_once_and_the_newer_place_wins(tmp_path, folder):
    folder({"001_x": creates("old"), "002_y": creates("y")}, of="migrations")
    folder({"001_x": creates("new")}, of="app/migrations")

    (source,) = app_folders(tmp_path)
    known = collect([Listed("framework", "001_f"), source])

    assert [migration.key for migration in known.migrations] == ["framework/001_f", "app/001_x", "app/002_y"]
    assert known.by_key["app/001_x"].path == tmp_path / "app/migrations/001_x.py"
    (note,) = known.notes
    assert note == (
        f"001_x.py: {tmp_path}/app/migrations/001_x.py is used, {tmp_path}/migrations/001_x.py is passed over"
    )


@pytest.mark.parametrize(
    "scripts",
    [
        pytest.param({}, id="empty"),
        pytest.param({"env": "", "001_x": script()}, id="Alembic's"),
        pytest.param({"conf": "", "__init__": "", "helpers": "x = 1"}, id="no script"),
    ],
)
def test_a_folder_of_somebody_elses_is_left_alone(tmp_path, folder, scripts):
    folder(scripts, of="migrations")

    assert app_folders(tmp_path) == ()


def test_a_folder_of_old_style_scripts_is_an_apps(tmp_path, folder):
    folder({"add_things": "def apply_migration(cursor): pass"}, of="migrations")

    (source,) = app_folders(tmp_path)
    assert (source.name, source.depends_on) == ("app", ("framework",))


def test_our_own_checkout_is_no_app():
    assert app_folders(Path(__file__).parents[1]) == ()


def test_only_files_of_the_folder_itself_are_scripts(tmp_path, folder):
    source = folder({"001_x": script()})
    folder({"002_below": script()}, of="scripts/below")
    Path(source.path, "003_folder.py").mkdir()
    Path(source.path, "004_text.txt").write_text(script())

    assert keys(source) == ["app/001_x"]


# Packages


def test_a_package_needs_the_framework_unless_it_says_otherwise(package):
    assert package("plug_plain", {"001_x": script()}).depends_on == ("framework",)
    assert package("plug_free", {"001_x": script()}, init="depends_on = []").depends_on == ()
    assert package("plug_one", {"001_x": script()}, init='depends_on = "plug_plain"').depends_on == ("plug_plain",)
    typed = package("plug_typed", {"001_x": script()}, init='depends_on: list[str] = ["a", "b/001_x"]')
    assert typed.depends_on == ("a", "b/001_x")
    assert framework().depends_on == ()


def test_a_packages_scripts_are_found_and_its_modules_not_imported(package):
    plugin = package("plug_quiet", {"001_x": "1 / 0\n" + script(), "002_y": script()}, init="raise RuntimeError")

    assert keys(Listed("framework", "001_f"), plugin) == ["framework/001_f", "plug_quiet/001_x", "plug_quiet/002_y"]
    assert "plug_quiet.migrations" not in sys.modules


def test_the_installed_sources_begin_with_the_framework():
    names = [source.name for source in installed()]

    assert names[0] == "framework"
    assert names[1:] == sorted(names[1:])
    assert len(framework().read().migrations) >= 20


def test_a_source_that_cannot_be_read_raises_for_itself(tmp_path):
    with pytest.raises(SourceError, match="there is no folder") as caught:
        Folder(tmp_path / "gone").read()
    assert caught.value.source == "app"


# Fingerprint


def test_the_fingerprint_follows_every_byte_name_and_order(folder):
    first = folder({"001_x": script("pass"), "002_y": script("pass")}, of="first")
    prints = {
        "as it was": fingerprint([first]),
        "again": fingerprint([Folder(first.path)]),
        "a comment": fingerprint([folder({"001_x": script("pass  # x"), "002_y": script()}, of="comment")]),
        "as long": fingerprint([folder({"001_x": script("1234"), "002_y": script()}, of="long")]),
        "a name": fingerprint([folder({"001_x": script(), "003_y": script()}, of="name")]),
        "a source": fingerprint([folder({"001_x": script(), "002_y": script()}, of="source", source="b")]),
        "a dependency": fingerprint([Folder(first.path, depends_on=("b",))]),
        "less": fingerprint([folder({"001_x": script()}, of="less")]),
        "nothing": fingerprint([]),
    }

    assert prints["as it was"] == prints["again"]
    assert len(set(prints.values())) == len(prints) - 1


def test_what_cannot_be_read_has_no_fingerprint(tmp_path, folder):
    assert fingerprint([folder({"001_x": script()}), Folder(tmp_path / "gone", "b")]) is None
    assert fingerprint([Package("plug_gone", "plug_gone.migrations")]) is None


@pytest.mark.parametrize("first", ["fingerprint", "known"])
def test_a_runner_hashes_the_very_bytes_that_it_runs(tmp_path, folder, first):
    source = folder({"001_x": script("pass")})
    before = fingerprint([source])
    runner = Runner(tmp_path / "a.db", [source])
    getattr(runner, first)

    folder({"001_x": script("changed")})

    assert runner.fingerprint == before
    assert [b"changed" in migration.content for migration in runner.known.migrations] == [False]
    assert fingerprint([source]) != before
    assert b"changed" in Runner(tmp_path / "a.db", [source]).known.migrations[0].content


def test_a_folder_of_an_author_s_own_kind_is_asked_as_ever(tmp_path, folder):
    class Own(Folder):
        def read(self):
            return Scripts(super().read().migrations[:1], ("mine",))

    source = folder({"001_x": script("pass"), "002_y": script("pass")})

    known = Runner(tmp_path / "a.db", [Own(source.path)]).known

    assert ([m.name for m in known.migrations], known.notes) == (["001_x"], ("mine",))


def test_what_an_author_s_own_kind_of_folder_adds_is_hashed(tmp_path, folder):
    class Own(Folder):
        def files(self):
            yield from super().files()
            yield from more

    source = Own(folder({"001_x": script("pass")}).path)
    more: list[Migration] = []
    before = fingerprint([source])

    more.append(Migration("app", "002_y", script("pass").encode(), tmp_path / "002_y.py"))

    assert fingerprint([source]) != before
    assert Runner(tmp_path / "a.db", [source]).fingerprint == fingerprint([source])


def test_no_connection_is_left_when_an_author_s_own_source_raises(tmp_path, folder, monkeypatch):
    @dataclass
    class Broken:
        name: str = "broken"
        depends_on: tuple[str, ...] = ()

        def files(self):
            raise RuntimeError("no network")

        read = files

    opened = []
    Runner(tmp_path / "a.db", [folder({"001_x": creates("x")})]).migrate()
    monkeypatch.setattr(OwnSqlite, "open", lambda self, real=OwnSqlite.open: opened.append(real(self)) or opened[-1])

    with pytest.raises(RuntimeError, match="no network"):
        Runner(tmp_path / "a.db", [Broken()]).migrate()

    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


def test_equal_scripts_of_two_folders_keep_their_places(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "001_a.py").write_text(creates("a"))

    places = [collect([Folder(tmp_path / name, "app")]).migrations[0].path.parent.name for name in ("one", "two")]

    assert places == ["one", "two"]


def test_lists_do_as_well_as_tuples(tmp_path):
    (tmp_path / "001_a.py").write_text(creates("a"))
    (script,) = Folder(tmp_path, "app").read().migrations

    class Own:
        name, depends_on = "own", ()

        def read(self):
            return Scripts([replace(script, source="own")], ["a note"])

    known = collect([Listed("framework", "001_f"), Folder(tmp_path, "app", ["framework"]), Own()])

    assert [migration.key for migration in known.migrations] == ["framework/001_f", "app/001_a", "own/001_a"]
    assert known.notes == ("a note",)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300, "loop"])
def test_a_name_that_no_folder_has_is_a_folder_that_is_not_there(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")

    (problem,) = problems(Folder(tmp_path / name, "app")).values()

    assert "there is no folder" in problem

"""What the pages say is what the code does: commands, flags, settings, names, examples."""

import ast
import json
import re
import shlex
import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import click
import pytest
import yaml

from framework_schema import Report, State, cli
from framework_schema.config import KINDS, PREFIX, Config
from framework_schema.databases import COMPLAINTS
from framework_schema.history import COLUMNS
from framework_schema.inventory import ENTRY, SHARED

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
GROUPS = {"framework-schema": cli.main, "flask schema": cli.schema}


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(language):
    """Return the fenced blocks of all pages in one language, as pytest parameters."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.M | re.S)
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, block in enumerate(fence.findall(page.read_text(encoding="utf-8")), 1)
    ]


def commands():
    """Return every line of the shell blocks that calls us, without its comment."""
    for block in blocks("sh"):
        for line in block.values[0].splitlines():
            words = shlex.split(line.partition("&&")[0], comments=True)
            if words[:1] == ["framework-schema"]:
                yield pytest.param(cli.main, words[1:], id=f"{block.id} {line.partition('#')[0].strip()}")
            elif words[:1] == ["flask"] and "schema" in words:
                rest = words[words.index("schema") + 1 :]
                yield pytest.param(cli.schema, rest, id=f"{block.id} {line.partition('#')[0].strip()}")


@pytest.mark.parametrize("block", blocks("python"))
def test_every_python_example_compiles(block):
    ast.parse(block)


@pytest.mark.parametrize("block", blocks("json"))
def test_every_json_example_is_json(block):
    json.loads(block)


@pytest.mark.parametrize("block", blocks("toml"))
def test_every_toml_example_is_toml(block):
    tomllib.loads(block)


@pytest.mark.parametrize(("group", "words"), list(commands()))
def test_every_command_in_the_examples_exists_with_its_flags(group, words):
    context = click.Context(group, info_name="framework-schema")
    _, command, rest = group.resolve_command(context, words)

    command.make_context(command.name, rest, parent=context).close()


def test_the_flask_app_of_the_readme_migrates_on_its_first_request(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", text_of("README.md"), re.S)
    namespace = {"__name__": "hello"}
    exec(compile(example, "README.md", "exec"), namespace)
    assert not Path("homebrew.db").exists()

    response = namespace["app"].test_client().get("/")

    assert response.status_code == 404
    with closing(sqlite3.connect("homebrew.db")) as database:
        assert database.execute("SELECT count(*) FROM DashboardWidget").fetchone() == (0,)


def test_the_readme_has_its_two_commands_on_the_first_screen():
    first_screen = "\n".join(text_of("README.md").splitlines()[:24])

    lines = re.findall(r"^python3 -m venv \.venv && .*$", first_screen, re.M)
    assert [line.split("&&")[-1].strip() for line in lines] == [".venv/bin/framework-schema demo", ".venv/bin/pytest"]


@pytest.mark.parametrize("name", sorted(cli.main.commands))
def test_every_command_is_in_the_guide(name):
    assert f"| `{name}` |" in text_of("docs/guides/command-line.md")


@pytest.mark.parametrize("name", ["main", "schema"])
def test_both_groups_of_commands_are_in_the_reference(name):
    assert f":command: {name}\n" in text_of("docs/reference/commands.md")


@pytest.mark.parametrize(
    ("prog", "command", "option"),
    [
        pytest.param(prog, name, option, id=f"{prog} {name} {option.name}")
        for prog, group in GROUPS.items()
        for name, command in group.commands.items()
        for option in command.params
        if isinstance(option, click.Option)
    ],
)
def test_every_option_says_what_it_does(prog, command, option):
    assert option.help


@pytest.mark.parametrize("name", KINDS)
def test_every_setting_is_in_the_reference_with_its_default(name):
    (row,) = re.findall(rf"^\| `{PREFIX}{name.upper()}` \| (.*?) \|", text_of("docs/reference/configuration.md"), re.M)

    default = getattr(Config(), name)
    if default is not None:
        assert row.strip("` ") == str(default)


def test_no_setting_is_in_the_reference_that_does_not_exist():
    named = set(re.findall(rf"{PREFIX}([A-Z_]+)", "".join(page.read_text(encoding="utf-8") for page in PAGES)))

    of_the_tests = {"KILLS", "SOAK", "DISK_ERRORS", "TEST_ROUNDS", "COMPLETE"}
    assert named - {"DATABASE"} - of_the_tests <= {name.upper() for name in KINDS}


@pytest.mark.parametrize("key", [*ENTRY, *SHARED])
def test_every_key_of_the_inventory_is_in_the_guide(key):
    assert f"`{key}`" in text_of("docs/guides/fleet.md")


@pytest.mark.parametrize("state", list(State))
def test_every_state_is_explained(state):
    assert f"| `{state}` |" in text_of("docs/reference/results.md")


def test_the_json_example_has_the_keys_of_a_report():
    (example,) = re.findall(r"```json\n(.*?)```", text_of("docs/reference/results.md"), re.S)

    (database,) = json.loads(example)["databases"]
    assert set(database) == set(Report("x", "sqlite:///x", "sqlite", State.CURRENT).as_dict())


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_of_the_history_is_explained(column):
    assert f"| `{column}` |" in text_of("docs/reference/history.md")


@pytest.mark.parametrize("problem", sorted({problem for _, _, problem, _ in COMPLAINTS if problem}))
def test_every_complaint_about_a_database_is_in_troubleshooting(problem):
    said = re.findall(r"\*\*(.*?)\*\*", text_of("docs/troubleshooting.md"))

    assert any(problem.startswith(title) for title in said)


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_every_link_between_pages_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (page.parent / link).is_file(), link


def test_every_page_is_in_the_navigation():
    navigation = set(re.findall(r": ([\w/-]+\.md)$", text_of("mkdocs.yml"), re.M))

    assert navigation == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_no_page_names_a_place_on_somebodys_machine(page):
    assert not re.search(r"(?<![\w.<])/(?:root|home|work|tmp|Users|opt)/", page.read_text(encoding="utf-8"))


COMPOSE = re.findall(r"```yaml\n(services:.*?)```", text_of("docs/guides/engines.md"), re.S)


@pytest.mark.parametrize("text", COMPOSE, ids=["postgresql", "mariadb", "sqlite"])
def test_the_compose_files_name_what_there_is_and_wait_for_it(text):
    compose = yaml.safe_load(text)
    services = compose["services"]

    for service in services.values():
        assert "image" in service or "build" in service
        settings = service.get("environment", {})
        for key in settings:
            assert not key.startswith("FRAMEWORK_SCHEMA_") or f"`{key}`" in text_of("docs/reference/configuration.md")
        for name, how in service.get("depends_on", {}).items():
            is_one = how["condition"] == "service_completed_successfully" and "healthcheck" not in services[name]
            assert is_one or "healthcheck" in services[name]
        for volume in service.get("volumes", []):
            place = volume.partition(":")[0]
            assert place.startswith(".") or place in compose["volumes"]

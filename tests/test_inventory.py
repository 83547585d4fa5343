"""Which databases a target, a folder, a glob, a list or fleet.toml means."""

import os
from pathlib import Path

import pytest

from framework_schema.errors import ConfigError
from framework_schema.inventory import Member, is_url, read_inventory, read_targets, select, shard


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names, text=""):
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(*targets):
    return [member.name for member in read_targets(targets).members]


def test_a_folder_means_the_db_files_in_it_and_none_below():
    write("data/b.db", "data/a.db", "data/notes.txt", "data/old/c.db", "data/a.db-wal", "data/a.db.bak", "data/.x.db")

    assert names("data") == names("data/") == ["data/a.db", "data/b.db"]


@pytest.mark.parametrize("name", ["-v.db", "two words.db", "line\nbreak.db", "quo'te\".db", "bräu.db", "a?b=c#d%41.db"])
def test_any_name_is_only_a_name(name):
    write(f"data/{name}")

    assert names("data") == [f"data/{name}"]
    assert select(read_targets(["data"]).members, [name])


def test_what_is_no_regular_file_is_a_member_with_the_reason():
    Path("data/folder.db").mkdir(parents=True)
    os.mkfifo("data/pipe.db")

    found = {member.name: member.problem for member in read_targets(["data"]).members}

    assert found == {
        "data/folder.db": "this is a directory, not a database file",
        "data/pipe.db": "this is no regular file",
    }


def test_a_link_out_of_a_folder_is_left_alone_and_noted():
    write("elsewhere/other.db", "data/a.db")
    Path("data/link.db").symlink_to("../elsewhere/other.db")
    Path("data/same.db").symlink_to("a.db")

    inventory = read_targets(["data"])

    assert [member.name for member in inventory.members] == ["data/a.db"]
    assert ["data/link.db" in note for note in inventory.notes] == [True]


def test_a_link_that_is_named_is_followed():
    write("elsewhere/other.db")
    Path("link.db").symlink_to("elsewhere/other.db")

    assert names("link.db") == ["link.db"]


def test_a_file_found_and_named_counts_once_and_as_named():
    write("data/a.db", "data/b.db")

    members = read_targets(["data", "data/a.db"]).members

    assert [(member.name, member.explicit) for member in members] == [("data/a.db", True), ("data/b.db", False)]


def test_a_glob_means_files_and_the_databases_in_the_folders_it_matches():
    write("apps/homebrew/data/h.db", "apps/tracker/data/t.db", "apps/empty/data/readme", "loose/a.db", "loose/a.db-shm")

    assert names("apps/*/data") == ["apps/homebrew/data/h.db", "apps/tracker/data/t.db"]
    assert names("loose/*") == ["loose/a.db"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file():
    write("a[1].db", "a1.db")

    assert names("a[1].db") == ["a[1].db"]


def test_a_file_that_is_not_there_is_a_member_so_that_the_others_go_on():
    write("a.db")

    assert names("absent.db", "a.db") == ["absent.db", "a.db"]


def test_a_list_names_one_target_a_line():
    write("a.db", "data/b.db")
    write("list.txt", text="# all of them\n\na.db\ndata\n")

    assert names("@list.txt") == ["a.db", "data/b.db"]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("empty", "no \\*.db file in this folder"),
        ("none-*.db", "nothing matches"),
        ("@absent.txt", "the list cannot be read"),
        ("@blank.txt", "names no database"),
        ("absent.toml", "inventory cannot be read"),
    ],
)
def test_a_target_that_yields_nothing_is_an_error(target, text):
    Path("empty").mkdir()
    write("blank.txt", text="# nothing\n")

    with pytest.raises(ConfigError, match=text):
        read_targets([target])


def test_without_a_target_fleet_toml_goes_before_data():
    write("data/a.db", "data/b.db")
    assert names() == ["data/a.db", "data/b.db"]

    write("fleet.toml", text='[[database]]\npath = "data/b.db"\n')
    assert names() == ["data/b.db"]


def test_without_a_target_and_a_place_the_error_says_what_to_name():
    with pytest.raises(ConfigError, match=r"neither fleet.toml nor data/"):
        read_targets()


def test_a_url_is_a_member_that_never_shows_its_password():
    (member,) = read_targets(["postgresql://ops:secret@db1/crm"]).members

    assert (member.name, member.path, member.explicit) == ("postgresql://ops:***@db1/crm", None, True)


@pytest.mark.parametrize(
    ("target", "expected"),
    [("sqlite:///x.db", True), ("mysql+pool://x", True), ("C:/x.db", False), ("a b://x", False), ("x.db", False)],
)
def test_a_url_is_what_has_a_scheme(target, expected):
    assert is_url(target) is expected


# --database, --shard


MEMBERS = tuple(Member(f"data/{name}.db", f"data/{name}.db") for name in ("homebrew", "tracker", "app", "entries"))


@pytest.mark.parametrize("name", ["homebrew", "homebrew.db", "data/homebrew.db"])
def test_a_database_is_picked_by_stem_file_name_or_name(name):
    assert select(MEMBERS, [name]) == MEMBERS[:1]


def test_several_names_keep_the_order_of_the_inventory():
    assert select(MEMBERS, ["app", "homebrew"]) == (MEMBERS[0], MEMBERS[2])


def test_an_unknown_database_is_an_error_that_lists_near_names():
    with pytest.raises(ConfigError, match=r"Did you mean: homebrew\.db, "):
        select(MEMBERS, ["homebru.db"])


def test_shards_share_the_members_out():
    parts = [shard(MEMBERS, f"{number}/3") for number in (1, 2, 3)]

    assert sorted(member.name for part in parts for member in part) == sorted(member.name for member in MEMBERS)
    assert parts[0] == (MEMBERS[1], MEMBERS[2])  # app and tracker: first and fourth by name


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3"])
def test_a_shard_that_is_none_is_an_error(part):
    with pytest.raises(ConfigError, match="--shard"):
        shard(MEMBERS, part)


# fleet.toml


def test_an_inventory_gives_each_database_its_sources_and_settings(here, monkeypatch):
    monkeypatch.setenv("CRM", "postgresql://ops:secret@db1/crm")
    write("fleet/data/a.db", "fleet/data/b.db")
    write(
        "fleet/fleet.toml",
        text="""
        [defaults]
        timeout = 10
        plugins = ["metrics"]
        [[database]]
        path = "data/a.db"
        name = "homebrew"
        plugins = ["homebrew"]
        folders = ["apps/homebrew/migrations"]
        align = "strict"
        adopt_foreign = true
        [[database]]
        path = "data"
        [[database]]
        url_env = "CRM"
        """,
    )

    first, second, third = read_targets(["fleet/fleet.toml"]).members

    assert (first.name, first.url, first.plugins) == ("homebrew", "fleet/data/a.db", ("homebrew",))
    assert first.folders == ("fleet/apps/homebrew/migrations",)
    assert (dict(first.settings), first.adopt_foreign) == ({"align": "strict", "timeout": 10}, True)
    assert (second.name, second.plugins, second.explicit) == ("fleet/data/b.db", ("metrics",), False)
    assert third.url == "postgresql://ops:secret@db1/crm"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [", "no valid TOML"),
        ("", r"there is no \[\[database\]\]"),
        ("[[databases]]\npath = 'a.db'", "did you mean database"),
        ("[[database]]\npaht = 'a.db'", "number 1 has the key 'paht'.*did you mean path"),
        ("[[database]]\nname = 'a'", "needs one of path, url, url_env; it has none"),
        ("[[database]]\npath = 'a.db'\nurl = 'sqlite:///b.db'", "it has path, url"),
        ("[[database]]\npath = 'a.db'\ntimeout = 'long'", "timeout in .* is 'long'"),
        ("[[database]]\npath = 'a.db'\nalign = 'most'", "align in .* is 'most'"),
        ("[[database]]\nurl = 'a.db'", "has no scheme"),
        ("[[database]]\npath = 'data'\nname = 'a'", "stands for 2 databases"),
        ("defaults = 1", "defaults in the file is 1"),
    ],
)
def test_a_bad_inventory_is_an_error_that_names_file_and_key(text, message):
    write("data/a.db", "data/b.db")
    write("fleet.toml", text=text)

    with pytest.raises(ConfigError, match=f"(?s)^fleet.toml: .*{message}"):
        list(read_inventory("fleet.toml"))


def test_reading_targets_opens_no_database(here):
    write("data/a.db", text="x")
    before = Path("data/a.db").stat().st_atime_ns

    read_targets(["data"])

    assert Path("data/a.db").stat().st_atime_ns == before

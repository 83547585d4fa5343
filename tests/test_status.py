from pathlib import Path

import pytest
from script_texts import script

from framework_schema.history import AppliedMigration
from framework_schema.migration import Migration
from framework_schema.status import Status, compare

TEXT = script().encode()


def known(text):
    return [Migration(source, name, TEXT, Path(f"{name}.py")) for source, name in map(split, text.split())]


def rows(text):
    """Return rows of the history; ``!`` before a key marks a failure."""
    return [AppliedMigration(key.removeprefix("!"), success=not key.startswith("!")) for key in text.split()]


def split(key):
    source, _, name = key.rpartition("/")
    return source or "app", name


def keys(found):
    return " ".join(item.key.removeprefix("app/") for item in found)


@pytest.mark.parametrize(
    ("scripts", "recorded", "says"),
    [
        pytest.param(
            "001_a 002_b", "app/001_a app/002_b app/003_c", {"ahead": "003_c"}, id="database newer than the release"
        ),
        pytest.param("001_a 003_c", "app/001_a app/002_b app/003_c", {"missing": "002_b"}, id="script gone"),
        pytest.param("001_a", "app/001_a !app/002_b", {"missing": "", "ahead": ""}, id="failed in a newer release"),
        pytest.param("001_a", "app/001_a app/add_x", {"ahead": "add_x"}, id="old-style script of a newer release"),
        pytest.param("001_a", "other/001_x", {"orphaned": "other/001_x", "pending": "001_a"}, id="plugin uninstalled"),
        pytest.param("001_a", "001_a.py", {"legacy": "001_a.py", "pending": "001_a"}, id="a name that proves nothing"),
        pytest.param("001_a 002_b", "!app/001_a", {"failed": "001_a", "pending": "001_a 002_b"}, id="failed"),
        pytest.param("001_a 003_c", "app/003_c", {"pending": "001_a", "out_of_order": "001_a"}, id="a gap"),
        pytest.param("999_a 1000_b", "app/999_a", {"pending": "1000_b", "out_of_order": ""}, id="numbers, not letters"),
        pytest.param("b/001_a 001_b", "app/001_b", {"pending": "b/001_a", "out_of_order": ""}, id="two sources"),
        pytest.param("001_a 002_b", "", {"applied": "", "pending": "001_a 002_b"}, id="fresh database"),
        pytest.param("001_a 002_b", "app/001_a app/002_b", {"applied": "001_a 002_b", "pending": ""}, id="current"),
        pytest.param("", "", {"applied": "", "pending": ""}, id="nothing known"),
    ],
)
def test_status_sets_known_against_recorded(scripts, recorded, says):
    status = compare(known(scripts), rows(recorded))

    assert {name: keys(getattr(status, name)) for name in says} == says


@pytest.mark.parametrize(
    ("checksum", "changed"),
    [("another", True), (None, False), (known("001_a")[0].checksum, False)],
    ids=["edited", "recorded without one", "same"],
)
def test_a_script_is_changed_when_its_checksum_differs_from_the_recorded_one(checksum, changed):
    row = AppliedMigration("app/001_a", True, checksum=checksum)

    assert bool(compare(known("001_a"), [row]).changed) is changed


def test_a_failed_script_is_never_changed():
    row = AppliedMigration("app/001_a", False, checksum="another")

    assert compare(known("001_a"), [row]).changed == ()


def test_a_checksum_is_computed_only_where_there_is_one_to_compare():
    broken = Migration("app", "001_a", b"def (", Path("x"))

    assert compare([broken], rows("app/001_a")).applied == (broken,)


def test_a_source_that_could_not_be_read_has_orphans_and_nothing_ahead():
    status = compare(known("001_a"), rows("app/001_a broken/001_x"), ["app"])

    assert (keys(status.orphaned), status.ahead) == ("broken/001_x", ())


def test_a_source_whose_scripts_are_all_gone_has_them_missing():
    status = compare([], rows("app/001_a"), ["app"])

    assert (keys(status.missing), status.ahead, status.orphaned) == ("001_a", (), ())


def test_what_is_applied_keeps_run_order_whatever_the_rows_say():
    status = compare(known("001_a 002_b"), rows("app/002_b app/001_a"))

    assert (keys(status.applied), status.at) == ("001_a 002_b", "app/002_b")


@pytest.mark.parametrize(
    ("status", "is_current"),
    [
        pytest.param(Status(pending=(known("001_a")[0],)), False, id="pending"),
        pytest.param(Status(ahead=tuple(rows("app/001_a"))), False, id="ahead"),
        pytest.param(Status(missing=tuple(rows("app/001_a")), orphaned=tuple(rows("b/001_a"))), True, id="remarks"),
        pytest.param(Status(), True, id="nothing"),
    ],
)
def test_a_database_is_current_when_nothing_is_left_to_run(status, is_current):
    assert status.is_current is is_current
    assert Status().at is None

"""What workers of one run lend each other: whole recordings, once, and never one as its own proof."""

import pickle
from pathlib import Path

import pytest

from framework_schema.migration import Migration
from framework_schema.plan_cache import PlanCache, Recorded, Recording
from framework_schema.report import Outcome, Report, State
from framework_schema.shelf import Shelf
from framework_schema.watched import Statement

SCRIPT = Migration("app", "001_a", b"def migrate(migrator, database, fake=False): ...", Path("/x/001_a.py"))
KEY = ("schema", (("app/000_x", True, None, None),), frozenset({"one"}))


def recording(key=KEY, *, sql="CREATE TABLE a (x)", schema="after"):
    statement = Statement(sql, (1, "two", None, b"three"), converges=True)
    step = Recorded("app/001_a", Outcome.APPLIED, None, ("table a",), (statement,), schema)
    report = Report("x", "postgresql://x", "postgresql", State.MIGRATED, at="app/001_a")
    return Recording(key, "schema_migrations", (), None, [step], (SCRIPT,), report)


@pytest.fixture
def shelf(tmp_path):
    """Give the folder as yet another process sees it."""
    return lambda: Shelf(tmp_path)


def test_what_one_puts_there_others_take_once(shelf):
    one, other = shelf(), shelf()
    assert not one.is_of_use

    one.put(recording())

    assert (one.is_of_use, other.is_of_use) == (False, True)
    assert list(one.others(KEY)) == []
    assert list(other.others(KEY)) == [recording()]
    assert (list(other.others(KEY)), other.is_of_use) == ([], False)
    assert list(shelf().others(KEY)) == [recording()]


def test_what_was_made_of_a_script_does_not_travel(shelf):
    assert SCRIPT.checksum
    one = shelf()
    one.put(recording())

    (found,) = shelf().others(KEY)

    assert (found.after, found.after[0].path) == ((SCRIPT,), SCRIPT.path)
    assert vars(found.after[0]).keys() == {"source", "name", "content", "path"}


def test_another_key_is_another_matter(shelf):
    shelf().put(recording())

    assert list(shelf().others(("another", *KEY[1:]))) == []


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(pickle.dumps(recording())[:-20], id="cut off"),
        pytest.param(pickle.dumps(recording(key="of another key")), id="another key"),
        pytest.param(pickle.dumps(5), id="something else"),
    ],
)
def test_what_is_no_recording_of_this_key_is_passed_over(shelf, tmp_path, content):
    shelf().put(recording())
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)

    assert list(shelf().others(KEY)) == []


def test_a_part_of_one_is_not_seen(shelf, tmp_path):
    shelf().put(recording())
    (file,) = tmp_path.iterdir()
    file.rename(f"{file}.part")

    assert (shelf().is_of_use, list(shelf().others(KEY))) == (False, [])


def test_a_run_that_is_over_lends_nothing(tmp_path):
    gone = Shelf(tmp_path / "gone")
    gone.put(recording())

    assert (gone.is_of_use, list(gone.others(KEY))) == (False, [])


# The plan cache


def test_two_processes_prove_a_plan_with_one_database_each(shelf):
    one, other = PlanCache(shelf()), PlanCache(shelf())

    one.add(recording())
    assert (one.proven(KEY), other.proven(KEY)) == (None, None)
    other.add(recording())

    assert one.is_of_use
    assert one.proven(KEY) == other.proven(KEY) is not None


def test_one_recording_is_no_proof_however_often_it_is_asked_for(shelf):
    one, other = PlanCache(shelf()), PlanCache(shelf())
    one.add(recording())

    for _ in range(3):
        assert (one.proven(KEY), other.proven(KEY)) == (None, None)


def test_the_third_needs_no_database_of_its_own(shelf):
    for _ in range(2):
        PlanCache(shelf()).add(recording())

    third = PlanCache(shelf())

    assert third.is_of_use
    assert third.proven(KEY)


def test_processes_that_disagree_prove_nothing(shelf):
    one, other = PlanCache(shelf()), PlanCache(shelf())
    one.add(recording())
    other.add(recording(schema="otherwise"))

    assert (one.proven(KEY), other.proven(KEY)) == (None, None)
    other.add(recording())
    assert other.proven(KEY) is None


def test_a_file_s_recording_stays_in_its_process(shelf, tmp_path):
    of_file = recording()
    of_file.schema = ()

    PlanCache(shelf()).add(of_file)

    assert list(tmp_path.iterdir()) == []

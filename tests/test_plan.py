from pathlib import Path

import pytest
from script_texts import script

from framework_schema.errors import PlanRefused
from framework_schema.history import AppliedMigration
from framework_schema.migration import Migration
from framework_schema.plan import Plan, is_blocked, plan_up
from framework_schema.sources import Scripts, collect
from framework_schema.status import compare


class Listed:
    """A source of scripts ``NAME``; ``NAME!`` refuses a transaction, ``NAME<KEY`` needs another."""

    def __init__(self, name, scripts, *depends_on):
        self.name, self.scripts, self.depends_on = name, scripts.split(), depends_on

    def files(self):
        for text in self.scripts:
            name, _, need = text.partition("<")
            head = f"atomic = {not name.endswith('!')}\ndepends_on = {[need] if need else []}"
            yield Migration(self.name, name.rstrip("!"), script(head=head).encode(), Path(f"{name}.py"))

    def read(self):
        return Scripts(tuple(self.files()))


KNOWN = collect([
    Listed("base", "001_a 002_b 003_c"),
    Listed("left", "001_l 002_l", "base"),
    Listed("right", "001_r<base/001_a 002_r<left/001_l"),
    Listed("free", "001_f 002_f"),
])  # fmt: skip


def keys(steps):
    return " ".join(step.key for step in steps)


def status(*applied):
    return compare(KNOWN.migrations, [AppliedMigration(key, True) for key in applied])


@pytest.mark.parametrize("to", ["base/004_d", "003_b", "base", "", "Base/001_a", "00"])
def test_an_unknown_target_is_refused(to):
    with pytest.raises(PlanRefused, match=r"x\.db: there is no migration .*Nothing was run"):
        plan_up(status(), KNOWN, to, "x.db")


@pytest.mark.parametrize(
    ("to", "applied", "steps"),
    [
        pytest.param("003", [], "base/001_a base/002_b base/003_c", id="the beginning of one name"),
        pytest.param("base/002", [], "base/001_a base/002_b", id="the beginning of one key"),
        pytest.param("base/002_b", ["base/001_a", "base/002_b"], "", id="there already"),
        pytest.param("base/001_a", ["base/001_a", "base/002_b"], "", id="behind: nothing is undone"),
        pytest.param("base/002_b", [], "base/001_a base/002_b", id="inclusive"),
        pytest.param("left/001_l", [], "base/001_a base/002_b base/003_c left/001_l", id="with what its source needs"),
        pytest.param("right/001_r", [], "base/001_a right/001_r", id="with what the script needs, no more"),
        pytest.param(
            "right/002_r",
            ["base/002_b"],
            "base/001_a base/003_c left/001_l right/001_r right/002_r",
            id="with what they need in turn, gaps too",
        ),
        pytest.param("free/002_f", [], "free/001_f free/002_f", id="of an independent source"),
    ],
)
def test_a_target_brings_what_it_needs_and_no_more(to, applied, steps):
    assert keys(plan_up(status(*applied), KNOWN, to).steps) == steps


def test_without_a_target_the_plan_is_all_that_is_pending():
    assert plan_up(status(), KNOWN).steps == KNOWN.migrations
    assert not plan_up(status(*KNOWN.by_key), KNOWN)


@pytest.mark.parametrize(
    ("step", "failed", "blocked"),
    [
        pytest.param("base/002_b", "base/001_a", True, id="later of its source"),
        pytest.param("left/001_l", "base/003_c", True, id="of a source it needs"),
        pytest.param("left/002_l", "base/001_a", True, id="at second hand"),
        pytest.param("right/002_r", "left/001_l", True, id="named by the script"),
        pytest.param("right/002_r", "left/002_l", False, id="not what it named"),
        pytest.param("right/001_r", "base/002_b", False, id="after what it named"),
        pytest.param("base/001_a", "base/002_b", False, id="earlier of its source"),
        pytest.param("free/001_f", "base/001_a", False, id="independent"),
        pytest.param("base/001_a", "base/001_a", False, id="itself"),
    ],
)
def test_a_step_is_blocked_by_the_failure_of_what_it_needs(step, failed, blocked):
    assert is_blocked(KNOWN.by_key[step], KNOWN, {failed}) is blocked


@pytest.mark.parametrize(
    ("scripts", "together", "alone"),
    [
        pytest.param("001_a! 002_b", "", "x/001_a", id="first"),
        pytest.param("001_a 002_b! 003_c", "x/001_a", "x/002_b", id="in the middle"),
        pytest.param("001_a 002_b! 003_c!", "x/001_a", "x/002_b", id="two in a row"),
        pytest.param("001_a 002_b", "x/001_a x/002_b", None, id="none"),
        pytest.param("", "", None, id="nothing to do"),
    ],
)
def test_a_script_that_refuses_a_transaction_cuts_the_plan(scripts, together, alone):
    plan = Plan(collect([Listed("x", scripts)]).migrations)

    assert keys(plan.together) == together
    assert (plan.alone and plan.alone.key) == alone


def test_a_plan_without_some_steps_keeps_the_order_of_the_others():
    plan = Plan(KNOWN.migrations[:3]).without(["base/002_b"])

    assert keys(plan.steps) == "base/001_a base/003_c"

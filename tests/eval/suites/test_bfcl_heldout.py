"""The held-out multi-turn cases of BFCL: a fixed rule, which keeps a scenario's variants together."""

from __future__ import annotations

from collections import Counter

import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN
from dipo_eval.suites import get_suites
from dipo_eval.suites.bfcl.heldout import is_held_out

pytestmark = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")


def test_the_suite_has_the_held_out_cases_of_every_category_and_nothing_else():
    (suite,) = get_suites(["bfcl-heldout"])
    items = suite.load(None, None, 0)
    assert Counter(item.meta["kind"] for item in items) == dict.fromkeys(MULTI_TURN, 37)
    assert all(is_held_out(item.id) for item in items)
    assert all(item.tools for item in items), "with native tool calls, as training shows them"
    native = {item.id: item for item in get_suites(["bfcl-native"])[0].load(None, None, 0)}
    assert all(native[item.id] == item for item in items)
    assert suite.overall is None
    assert suite.converse is not None
    assert suite.converse(items[0]) is not None


def test_a_scenario_is_on_one_side_with_its_variants_and_with_those_of_its_state():
    rows = bfcl.items("multi_turn_base")
    sides = {}
    for row in rows:
        number = row["id"].rpartition("_")[2]
        assert len({is_held_out(f"{category}_{number}") for category in MULTI_TURN}) == 1
        sides.setdefault(repr(row["initial_config"]), set()).add(is_held_out(row["id"]))
    assert len(sides) < len(rows), "some scenarios begin in the same state"
    assert all(len(side) == 1 for side in sides.values())


def test_the_rule_does_not_change():
    """Models that were trained on the others exist."""
    held_out = [row["id"] for row in bfcl.items("multi_turn_base") if is_held_out(row["id"])]
    numbers = [int(one.rpartition("_")[2]) for one in held_out]
    assert numbers[:12] == [0, 2, 3, 10, 12, 14, 17, 23, 30, 32, 34, 37]
    assert sum(numbers) == 3689


@pytest.mark.parametrize("item", ["simple_python_0", "multi_turn_base_200", "", "multi_turn_base_x"])
def test_another_item_is_one_line(item):
    with pytest.raises(UserError, match="is no multi-turn case of bfcl-eval"):
        is_held_out(item)

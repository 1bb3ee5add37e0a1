"""`compatible` is bfcl-eval's own verdict: on gold and damaged answers of every category, single-turn and not."""

from __future__ import annotations

import runpy
import warnings
from collections import Counter
from pathlib import Path

import pytest

from dipo_eval.grading import grade_calls, grade_turns
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN, SINGLE_TURN

pytestmark = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")

ANSWERS = runpy.run_path(str(Path(__file__).parents[1] / "bfcl_answers.py"))
TURNS = runpy.run_path(str(Path(__file__).parents[1] / "bfcl_turns.py"))
SIZES = {
    "simple_python": 400, "simple_java": 100, "simple_javascript": 50, "multiple": 200, "parallel": 200,
    "parallel_multiple": 200, "irrelevance": 240, "live_simple": 258, "live_multiple": 1053, "live_parallel": 16,
    "live_parallel_multiple": 24, "live_irrelevance": 884, "live_relevance": 16,
}  # fmt: skip


def disagreements(category: str, step: int) -> tuple[list[str], Counter[str]]:
    """Answers of every ``step``-th item on which the verdicts differ, and how many there were of each kind."""
    different, kinds = [], Counter[str]()
    for item in bfcl.items(category)[::step]:
        for kind, response in ANSWERS["answers"](item, category):
            kinds[kind] += 1
            theirs = ANSWERS["official"](response, item, category)
            ours = grade_calls(
                response, item["ground_truth"], item["function"], category=category, mode="compatible"
            )
            if ours.status != ("correct" if theirs == "correct" else "wrong"):
                different.append(f"{item['id']} {kind}: bfcl-eval {theirs}, here {ours}: {response!r:.300}")
    return different, kinds


@pytest.mark.parametrize("category", SINGLE_TURN)
def test_every_eighth_item_of_a_single_turn_category(category: str) -> None:
    with warnings.catch_warnings(action="ignore"):
        different, kinds = disagreements(category, 8)
    assert not different, different[:5]
    assert {"gold", "wrong type", "missing argument", "extra call", "reordered", "syntax error"} <= set(kinds)


@pytest.mark.slow
@pytest.mark.parametrize("category", SINGLE_TURN)
def test_every_item_of_a_single_turn_category(category: str) -> None:
    with warnings.catch_warnings(action="ignore"):
        different, kinds = disagreements(category, 1)
    assert not different, different[:5]
    assert kinds["gold"] == SIZES[category]
    print(f"{category}: {sum(kinds.values())} answers, 0 disagreements; {dict(kinds)}")


def turn_disagreements(category: str, step: int) -> tuple[list[str], Counter[str]]:
    """The same for conversations."""
    different, kinds = [], Counter[str]()
    for case in bfcl.items(category)[::step]:
        for kind, turns in TURNS["conversations"](case):
            kinds[kind] += 1
            theirs = TURNS["official"](case, turns)
            ours = grade_turns(turns, case["ground_truth"], case, mode="compatible", limit_s=60)
            if ours.status != ("correct" if theirs == "correct" else "wrong"):
                different.append(f"{case['id']} {kind}: bfcl-eval {theirs}, here {ours}: {turns!r:.300}")
    return different, kinds


@pytest.mark.parametrize("category", MULTI_TURN)
def test_every_twentieth_conversation(category: str) -> None:
    different, kinds = turn_disagreements(category, 20)
    assert not different, different[:5]
    assert {"gold", "wrong type", "missing argument", "extra call", "reordered", "syntax error"} <= set(kinds)


@pytest.mark.slow
@pytest.mark.parametrize("category", MULTI_TURN)
def test_every_conversation(category: str) -> None:
    different, kinds = turn_disagreements(category, 1)
    assert not different, different[:5]
    assert kinds["gold"] == 200
    print(f"{category}: {sum(kinds.values())} conversations, 0 disagreements; {dict(kinds)}")


@pytest.mark.parametrize("category", MULTI_TURN)
def test_gold_conversations_are_correct_in_strict_mode_twice(category: str) -> None:
    """The second time fails where instances outlive their case."""
    for case in bfcl.items(category)[::10] * 2:
        turns = [[[call] for call in calls] for calls in case["ground_truth"]]
        assert grade_turns(turns, case["ground_truth"], case).status == "correct"


def test_strict_accepts_the_gold_of_every_item() -> None:
    """But for those that the function's own description makes impossible."""
    refused = [
        item["id"]
        for category in ANSWERS["GRADED"]
        for item in bfcl.items(category)
        if grade_calls(
            ANSWERS["correct_calls"](item, category),
            item["ground_truth"],
            item["function"],
            category=category,
        ).status
        != "correct"
    ]
    # A required argument has no allowed value, or the function requires what its properties lack.
    assert refused == [
        "live_simple_106-63-0", "live_simple_112-68-0", "live_multiple_507-149-4", "live_multiple_964-207-0",
    ]  # fmt: skip

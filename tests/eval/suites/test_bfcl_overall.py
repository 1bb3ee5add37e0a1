"""BFCL's two overall formulas, against numbers computed by hand."""

from __future__ import annotations

import pytest

from dipo_eval.suites.bfcl.overall import V3, V4, overall_scores

NON_LIVE = {
    "simple_python": 0.9, "simple_java": 0.6, "simple_javascript": 0.3,  # simple: 0.6
    "multiple": 0.8, "parallel": 0.7, "parallel_multiple": 0.5, "irrelevance": 0.4,
}  # fmt: skip
LIVE = {
    "live_simple": 0.5, "live_multiple": 1.0, "live_parallel": 0.25, "live_parallel_multiple": 0.5,
    "live_irrelevance": 0.25, "live_relevance": 0.75,
}  # fmt: skip
MULTI_TURN = {
    "multi_turn_base": 0.4, "multi_turn_miss_func": 0.2, "multi_turn_miss_param": 0.1, "multi_turn_long_context": 0.3,
}  # fmt: skip
AGENTIC = {
    "web_search_base": 0.2, "web_search_no_snippet": 0.4, "memory_kv": 0.1, "memory_vector": 0.2, "memory_rec_sum": 0.6,
}  # fmt: skip
LIVE_V3 = (129 + 1053 + 4 + 12 + 221 + 12) / 2251
LIVE_V4 = (129 + 1053 + 4 + 12) / 1351


def test_all_categories() -> None:
    scores = overall_scores(NON_LIVE | LIVE | MULTI_TURN | AGENTIC)
    assert list(scores) == ["BFCL v3", "BFCL v4"]
    third, fourth = scores.values()
    assert third["missing"] == fourth["missing"] == []
    assert third["parts"] == pytest.approx({"live": LIVE_V3, "non_live": 0.6, "multi_turn": 0.25})
    assert third["value"] == third["missing_as_zero"] == pytest.approx((LIVE_V3 + 0.6 + 0.25) / 3)
    parts = {"non_live": 0.65, "live": LIVE_V4, "irrelevance": 0.325, "multi_turn": 0.25, "agentic": 0.3}
    assert fourth["parts"] == pytest.approx(parts)
    assert fourth["value"] == pytest.approx(0.065 + 0.1 * LIVE_V4 + 0.0325 + 0.075 + 0.12)


def test_missing_categories_are_listed_and_never_count_0_silently() -> None:
    third, fourth = overall_scores(NON_LIVE | LIVE).values()
    assert third["value"] is fourth["value"] is None
    assert third["missing"] == list(MULTI_TURN)
    assert fourth["missing"] == [*MULTI_TURN, *AGENTIC]
    assert third["missing_as_zero"] == pytest.approx((LIVE_V3 + 0.6) / 3)
    assert fourth["missing_as_zero"] == pytest.approx(0.065 + 0.1 * LIVE_V4 + 0.0325)
    assert third["parts"]["multi_turn"] is fourth["parts"]["agentic"] is None
    assert third["parts"]["non_live"] == pytest.approx(0.6)


def test_with_conversations_the_third_is_whole_and_the_fourth_is_not() -> None:
    third, fourth = overall_scores(NON_LIVE | LIVE | MULTI_TURN).values()
    assert third["missing"] == []
    assert third["value"] == pytest.approx((LIVE_V3 + 0.6 + 0.25) / 3)
    assert fourth["missing"] == list(AGENTIC)
    assert fourth["value"] is None
    assert fourth["missing_as_zero"] == pytest.approx(0.065 + 0.1 * LIVE_V4 + 0.0325 + 0.075)


def test_a_part_that_is_not_whole_has_no_value() -> None:
    third, fourth = overall_scores({"simple_python": 1.0, "irrelevance": 1.0}).values()
    assert third["parts"] == {"live": None, "non_live": None, "multi_turn": None}
    assert third["missing_as_zero"] == pytest.approx((1 / 3 + 1) / 5 / 3)
    assert fourth["missing_as_zero"] == pytest.approx(0.1 / 12 + 0.1 / 2)


def test_the_categories_of_the_formulas() -> None:
    assert {*V3.categories()} == {*NON_LIVE, *LIVE, *MULTI_TURN}
    assert {*V4.categories()} == {*NON_LIVE, *LIVE, *MULTI_TURN, *AGENTIC} - {"live_relevance"}
    with pytest.raises(ValueError, match="simple_ruby"):
        overall_scores({"simple_ruby": 1.0})

"""Verdicts on pairs of methods, when to stop, and what more seeds would bring; error rates: test_compare_errors.py."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from dipo_eval.statistics import (
    Components,
    MethodComparison,
    PairVerdict,
    Plan,
    compare_methods,
    crossed_difference,
    detectable_difference,
    holm,
    planned_power,
    sequential_level,
)
from dipo_eval.statistics.crossed import crossed_parts, level_at
from dipo_eval.statistics.outlook import chance_to_decide

Array = NDArray[np.float64]
PLAN = Plan(looks=tuple(range(2, 11)))


def answers(accuracy: float, seeds: int, items: int = 200, seed: int = 0) -> Array:
    """0 or 1; the items' ease and the noise of seed and item are the same for every accuracy."""
    rng = np.random.default_rng(seed)
    latent = rng.random((1, items)) + 0.3 * rng.random((seeds, items)) - 0.15
    return (latent < accuracy).astype(float)


def noisy(accuracy: float, seeds: int, items: int = 200, seed: int = 1) -> Array:
    return (np.random.default_rng(seed).random((seeds, items)) < accuracy).astype(float)


def only(comparison: MethodComparison) -> PairVerdict:
    (pair,) = comparison.pairs
    return pair


def test_a_clear_difference_is_better_one_way_and_worse_the_other() -> None:
    good, bad = answers(0.7, 6), answers(0.4, 6)
    found, other = (
        compare_methods(scores, PLAN) for scores in ({"a": good, "b": bad}, {"b": bad, "a": good})
    )
    assert (only(found).a, only(found).verdict, only(other).verdict) == ("a", "better", "worse")
    assert only(found).low > 0
    assert only(found).low == pytest.approx(-only(other).high)
    assert found.stop
    assert found.reason == "all pairs are decided"
    assert only(found).more_seeds is None


def test_a_verdict_stays_and_names_the_seeds_that_gave_it() -> None:
    good, bad = answers(0.7, 10), answers(0.4, 10)
    first = next(
        seeds for seeds in PLAN.looks
        if only(compare_methods({"a": good[:seeds], "b": bad[:seeds]}, PLAN)).verdict == "better"
    )  # fmt: skip
    later = bad.copy()
    later[first:] = good[first:]  # from then on no difference at all
    assert only(compare_methods({"a": good, "b": later}, PLAN)).verdict == "better"
    assert only(compare_methods({"a": good, "b": later}, PLAN)).decided_at == first


def test_p_values_are_holms_of_each_pairs_own() -> None:
    tables = {"a": answers(0.55, 5), "b": noisy(0.5, 5), "c": noisy(0.47, 5, seed=2)}
    found = compare_methods(tables, PLAN)
    alone = []
    for a, b in itertools.combinations(tables, 2):
        parts = [crossed_parts(tables[a][:n] - tables[b][:n]) for n in (2, 3, 4, 5)]
        own = [level_at(one, abs(float(one.mean))) for one in parts]
        alone.append(float(sequential_level(own, PLAN.shares, seeds=10).min()))
    assert [pair.p_value for pair in found.pairs] == pytest.approx(holm(alone))
    assert [only(compare_methods({a: tables[a], b: tables[b]}, PLAN)).p_value
            for a, b in itertools.combinations(tables, 2)] == pytest.approx(alone)  # fmt: skip


def test_more_pairs_widen_the_simultaneous_interval_alone() -> None:
    tables = {"a": answers(0.55, 5), "b": noisy(0.5, 5)}
    two = only(compare_methods(tables, PLAN))
    three = compare_methods({**tables, "c": noisy(0.4, 5, seed=2)}, PLAN).pairs[0]
    assert (two.low, two.high) == (two.low_of_all, two.high_of_all)
    assert (three.low, three.high) == (two.low, two.high)
    assert three.low_of_all < two.low
    assert three.high_of_all > two.high


def test_a_look_is_wider_than_one_interval() -> None:
    a, b = answers(0.55, 5), noisy(0.5, 5)
    repeated, once = only(compare_methods({"a": a, "b": b}, PLAN)), crossed_difference(a - b)
    assert repeated.low < once.low
    assert repeated.difference == once.mean


def test_equal_answers_are_equivalent_where_items_allow_it() -> None:
    plan = Plan(PLAN.looks, margin=0.02)
    verdicts = [
        only(compare_methods({"a": answers(0.5, 10, items), "b": answers(0.5, 10, items)}, plan))
        for items in (100, 1000)
    ]
    assert [pair.verdict for pair in verdicts] == ["undecided", "equivalent"]
    assert verdicts[1].p_value == 1


def test_nothing_is_equivalent_without_a_margin() -> None:
    pair = only(compare_methods({"a": answers(0.5, 10), "b": answers(0.5, 10)}, PLAN))
    assert (pair.verdict, pair.p_equivalent, pair.within_margin) == ("undecided", 1, False)


def test_a_small_but_certain_difference_is_better_within_the_margin() -> None:
    pair = only(
        compare_methods({"a": answers(0.65, 10), "b": answers(0.5, 10)}, Plan(PLAN.looks, margin=0.4))
    )
    assert (pair.verdict, pair.within_margin) == ("better", True)


def test_before_the_first_look_nothing_is_said() -> None:
    found = compare_methods({"a": answers(0.9, 1), "b": answers(0.1, 1)}, PLAN)
    pair = only(found)
    assert (pair.verdict, pair.low, pair.high, pair.p_value, found.stop) == ("undecided", -1, 1, 1, False)
    assert found.reason == "1 of 2 seeds for the first look"
    assert pair.difference > 0.5


def test_seeds_after_the_last_look_taken_are_not_used() -> None:
    plan = Plan((4, 8))
    a, b = answers(0.55, 7), noisy(0.5, 7)
    assert compare_methods({"a": a, "b": b}, plan) == compare_methods({"a": a[:4], "b": b[:4]}, plan)


def test_sampling_stops_where_the_budget_is_spent() -> None:
    found = compare_methods({"a": noisy(0.5, 10), "b": noisy(0.51, 10, seed=2)}, PLAN)
    assert found.stop
    assert found.reason.startswith("the budget of 10 seeds is spent")


def test_sampling_stops_where_the_budget_is_unlikely_to_decide_but_not_before_half() -> None:
    a = noisy(0.5, 10)
    b = np.roll(a, 1, axis=1)  # the same mean for every seed
    stops = [compare_methods({"a": a[:n], "b": b[:n]}, PLAN).stop for n in PLAN.looks]
    assert stops == [n >= 5 for n in PLAN.looks]
    found = compare_methods({"a": a[:5], "b": b[:5]}, PLAN)
    assert found.reason == "1 pairs are undecided, and 10 seeds are unlikely to decide them"
    patient = Plan(PLAN.looks, futility=0.0)
    assert not compare_methods({"a": a[:9], "b": b[:9]}, patient).stop


def test_the_seeds_it_would_take_shrink_with_the_difference() -> None:
    needed = []
    for accuracy in (0.53, 0.55, 0.58):
        pair = only(compare_methods({"a": noisy(accuracy, 3, 500), "b": noisy(0.5, 3, 500, seed=2)}, PLAN))
        assert pair.verdict == "undecided"
        needed.append(math.inf if pair.more_seeds is None else pair.more_seeds)
    assert needed == sorted(needed, reverse=True)
    assert 1 <= needed[-1] < needed[0]


def test_where_items_are_the_limit_no_number_of_seeds_is_named() -> None:
    # Each seed gives the same answers; 3 of 20 items differ one way and 2 the other.
    a, b = np.zeros((4, 20)), np.zeros((4, 20))
    a[:, :3], b[:, 3:5] = 1, 1
    pair = only(compare_methods({"a": a, "b": b}, PLAN))
    assert (pair.verdict, pair.more_seeds, pair.needs_items) == ("undecided", None, True)


def test_conditional_power_by_hand() -> None:
    # Seeds alone, 4 of 16: variance v / 4 now and v / 16 then. Given the mean now, that then has variance 3 v / 64.
    rng = np.random.default_rng(0)
    by_seed = rng.normal(0.05, 0.2, 4)
    parts = crossed_parts(np.repeat(by_seed[:, None], 50, axis=1))
    v = by_seed.var(ddof=1)
    width = stats.t.ppf(0.975, 15) * math.sqrt(v / 16)
    normal = stats.norm(by_seed.mean(), math.sqrt(3 * v / 64))
    expected = normal.sf(width) + normal.cdf(-width)
    assert float(chance_to_decide(parts, 16, 0.05, 0.05, None)) == pytest.approx(expected)


def test_planned_power_of_one_look_is_that_of_the_t_test() -> None:
    # No variance over items: a paired t test of 10 seeds.
    components, plan = Components(0.01, 0.0, 0.0), Plan((10,))
    noncentral = stats.nct(9, 0.1 / math.sqrt(0.01 / 10))
    critical = stats.t.ppf(0.975, 9)
    expected = noncentral.sf(critical) + noncentral.cdf(-critical)
    assert planned_power(0.1, plan, components, 100) == pytest.approx(expected, abs=0.005)


def test_the_detectable_difference_has_the_power_and_shrinks_with_seeds_and_items() -> None:
    components = Components(0.001, 0.02, 0.2)
    found = [detectable_difference(Plan(tuple(range(2, n + 1))), components, items)
             for n, items in ((5, 100), (10, 100), (10, 500))]  # fmt: skip
    assert found == sorted(found, reverse=True)
    assert planned_power(found[1], PLAN, components, 100) == pytest.approx(0.8, abs=1e-3)
    assert detectable_difference(PLAN, components, 100, pairs=55) > found[1]
    assert planned_power(0.0, PLAN, components, 100) < 0.05
    assert detectable_difference(Plan((2, 3)), Components(1.0, 0.0, 0.0), 100, pairs=55) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"looks": (1, 5)}, "from 2 on"),
        ({"looks": ()}, "from 2 on"),
        ({"looks": (5, 5)}, "increasing"),
        ({"looks": (5,), "alpha": 0.0}, "alpha"),
        ({"looks": (5,), "power": 1.0}, "power"),
        ({"looks": (5,), "margin": 2.0}, "margin"),
        ({"looks": (5,), "futility": 1.0}, "futility"),
        ({"looks": (5,), "spending": "none"}, "spending"),
    ],
)
def test_what_makes_no_plan_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Plan(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_scores_that_cannot_be_compared_are_refused() -> None:
    good = answers(0.5, 5)
    with pytest.raises(ValueError, match="2 methods or more"):
        compare_methods({"a": good}, PLAN)
    with pytest.raises(ValueError, match="same seeds and items"):
        compare_methods({"a": good, "b": good[:4]}, PLAN)
    with pytest.raises(ValueError, match="dipo: values must lie in"):
        compare_methods({"a": good, "dipo": good * 2}, PLAN)
    with pytest.raises(ValueError, match="2 or more items"):
        planned_power(0.1, PLAN, Components(0.1, 0.1, 0.1), 1)


def test_pairs_with_a_baseline_share_the_errors_among_themselves():
    tables = {name: noisy(0.5 + 0.02 * i, 10, seed=i) for i, name in enumerate("abcde")}
    found = compare_methods(tables, PLAN, "c")
    assert [(pair.a, pair.b) for pair in found.pairs] == [("a", "c"), ("b", "c"), ("c", "d"), ("c", "e")]
    same = {(pair.a, pair.b): pair for pair in compare_methods(tables, PLAN).pairs}
    for pair in found.pairs:
        everywhere = same[pair.a, pair.b]
        assert pair.difference == everywhere.difference
        assert (pair.low, pair.high) == (everywhere.low, everywhere.high)
        assert pair.p_value <= everywhere.p_value
        assert pair.low_of_all >= everywhere.low_of_all
    with pytest.raises(ValueError, match="baseline 'f' is none of a, b, c, d, e"):
        compare_methods(tables, PLAN, "f")

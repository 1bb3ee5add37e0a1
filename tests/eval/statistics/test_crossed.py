"""Intervals over seeds and items: by hand, against statsmodels, and their properties; errors: test_compare_errors.py."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.anova import anova_lm

from dipo_eval.statistics import crossed_difference, crossed_mean
from dipo_eval.statistics.crossed import crossed_parts, half_width, level_at

Array = NDArray[np.float64]
# Means of the seeds 0, 1/3, of the items 1, 1/2, -1, of all 1/6. Sums of squares: 3 x 2/36 = 1/6 (1 degree of freedom),
# 2 x (25 + 4 + 49)/36 = 13/3 (2), all 5 - 6/36 = 29/6, so the rest 1/3 (2). Mean squares: 1/6, 13/6, 1/6.
BY_HAND = np.array([[1.0, 0.0, -1.0], [1.0, 1.0, -1.0]])
T1, T2 = 12.7062, 4.30265  # Student's 97.5% quantiles


def tables(seeds: int = 6, items: int = 7) -> st.SearchStrategy[Array]:
    cell = st.integers(-2, 2).map(lambda value: value / 2)
    return st.tuples(st.integers(2, seeds), st.integers(2, items)).flatmap(
        lambda shape: st.lists(cell, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
            lambda values: np.array(values).reshape(shape)
        )
    )


def random_table(seed: int, seeds: int = 6, items: int = 40) -> Array:
    rng = np.random.default_rng(seed)
    values = (
        rng.normal(0, 0.1, (seeds, 1)) + rng.normal(0, 0.2, (1, items)) + rng.normal(0, 0.2, (seeds, items))
    )
    return np.clip(values, -1, 1)


def test_parts_by_hand() -> None:
    parts = crossed_parts(BY_HAND)
    found = [parts.mean, parts.by_seed, parts.by_item, parts.residual, parts.item_degrees]
    assert np.array(found) == pytest.approx([1 / 6, 1 / 36, 1 / 3, 1 / 6, 2])
    assert half_width(parts, 0.05) == pytest.approx(math.sqrt(T1**2 / 36 + T2**2 / 3), rel=1e-5)


def test_interval_by_hand() -> None:
    found = crossed_difference(BY_HAND)
    assert (found.low, found.high) == (-1, 1)
    assert found.error == pytest.approx(math.sqrt(13 / 36))
    components = (found.components.seed, found.components.item, found.components.residual)
    assert components == pytest.approx((0, 1, 1 / 6))
    assert (found.seed_share, found.item_share) == pytest.approx((0, 12 / 13))
    assert found.seed_share + found.item_share + found.residual_share == pytest.approx(1)
    assert (found.seeds, found.items, found.seeds_known) == (2, 3, True)


def test_no_component_is_below_0() -> None:
    # The seeds have equal means, the items too: all variance is residual, 4/3 over one degree of freedom.
    found = crossed_difference([[1, -1], [-1, 1]])
    assert (found.components.seed, found.components.item, found.components.residual) == (0, 0, 4)
    assert found.error == 1


@pytest.mark.parametrize("seed", range(4))
def test_mean_squares_equal_statsmodels(seed: int) -> None:
    values = random_table(seed)
    seeds, items = values.shape
    s, i = np.indices(values.shape)
    frame = pd.DataFrame({"y": values.ravel(), "s": s.ravel(), "i": i.ravel()})
    squares = anova_lm(smf.ols("y ~ C(s) + C(i)", frame).fit())["sum_sq"].to_numpy() / [
        seeds - 1, items - 1, (seeds - 1) * (items - 1),
    ]  # fmt: skip
    found = crossed_difference(values)
    assert found.components.residual == pytest.approx(squares[2])
    assert found.components.seed == pytest.approx((squares[0] - squares[2]) / items)
    assert found.components.item == pytest.approx((squares[1] - squares[2]) / seeds)


def test_balanced_components_equal_a_mixed_model() -> None:
    """REML gives the analysis of variance's components where none is 0."""
    values = random_table(2, 8, 12)
    s, i = np.indices(values.shape)
    frame = pd.DataFrame({"y": values.ravel(), "s": s.ravel(), "i": i.ravel(), "all": 1})
    model = smf.mixedlm("y ~ 1", frame, groups="all", vc_formula={"s": "0 + C(s)", "i": "0 + C(i)"}).fit()
    found = crossed_difference(values)
    item, seed = model.vcomp
    assert (seed, item, model.scale) == pytest.approx(
        (found.components.seed, found.components.item, found.components.residual), rel=1e-3
    )
    assert model.bse["Intercept"] == pytest.approx(found.error, rel=1e-3)


def test_where_items_do_not_matter_it_is_the_t_interval_over_seeds() -> None:
    by_seed = np.random.default_rng(3).normal(0, 0.2, 7)
    found = crossed_difference(np.repeat(by_seed[:, None], 5, axis=1))
    expected = stats.t.interval(0.95, 6, by_seed.mean(), stats.sem(by_seed))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.degrees == pytest.approx(6)


def test_where_seeds_do_not_matter_it_is_the_t_interval_over_items() -> None:
    by_item = np.random.default_rng(3).normal(0, 0.2, 60)
    found = crossed_difference(np.repeat(by_item[None], 4, axis=0))
    expected = stats.t.interval(0.95, 59, by_item.mean(), stats.sem(by_item))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.degrees == pytest.approx(59)


@given(tables())
@settings(deadline=None)
def test_exchanging_the_methods_changes_the_sign(values: Array) -> None:
    found, other = crossed_difference(values), crossed_difference(-values)
    assert (other.mean, other.low, other.high) == pytest.approx((-found.mean, -found.high, -found.low))


@given(tables(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_seeds_and_items_does_not_matter(values: Array, random: object) -> None:
    rng = np.random.default_rng(random.randrange(1000))  # type: ignore[attr-defined]
    other = crossed_difference(rng.permutation(rng.permutation(values, axis=0), axis=1))
    found = crossed_difference(values)
    assert (other.mean, other.low, other.high) == pytest.approx((found.mean, found.low, found.high))


@given(tables(), st.floats(0.5, 0.999), st.floats(0.5, 0.999))
@settings(deadline=None)
def test_more_confidence_is_wider(values: Array, one: float, other: float) -> None:
    less, more = (crossed_difference(values, level) for level in sorted((one, other)))
    assert more.low <= less.low + 1e-12
    assert more.high >= less.high - 1e-12


@given(tables(), st.floats(0.001, 1.5))
@settings(deadline=None)
def test_the_level_belongs_to_the_distance(values: Array, distance: float) -> None:
    parts = crossed_parts(values)
    level = float(level_at(parts, distance))
    if 1e-15 < level < 1:
        assert float(half_width(parts, level)) == pytest.approx(distance, rel=1e-4)
    assert float(level_at(parts, distance + 0.1)) <= level
    assert float(level_at(parts, -distance)) == 1


@given(tables())
@settings(deadline=None)
def test_the_interval_excludes_0_where_the_p_value_is_below_its_error(values: Array) -> None:
    parts, found = crossed_parts(values), crossed_difference(values)
    p_value = float(level_at(parts, abs(found.mean)))
    if abs(p_value - 0.05) > 1e-6:
        assert (found.low > 0 or found.high < 0) == (p_value < 0.05)


def test_many_comparisons_at_once_are_each_of_them() -> None:
    values = np.stack([random_table(seed) for seed in range(5)])
    together = crossed_parts(values)
    for i, one in enumerate(values):
        found = crossed_difference(one)
        assert (together.mean[i], together.error[i]) == pytest.approx((found.mean, found.error))


def test_equal_answers_have_an_interval_that_items_narrow() -> None:
    # None of n items differs; the share of those that do is below 1 - 0.025^(1/n).
    for items in (100, 500):
        found = crossed_difference(np.zeros((5, items)))
        assert (found.mean, found.high) == pytest.approx((0, 1 - 0.025 ** (1 / items)))
        assert math.isnan(found.degrees)
    constant = crossed_difference(np.full((20, 100), 0.1))
    assert constant.high == pytest.approx(0.1 + 2 * (1 - 0.025 ** (1 / 20)))


def test_one_seed_tells_nothing_of_seeds() -> None:
    values = random_table(1, 1, 30)
    found = crossed_difference(values)
    assert not found.seeds_known
    assert math.isnan(found.components.seed)
    assert math.isnan(found.seed_share)
    expected = stats.t.interval(0.95, 29, values.mean(), stats.sem(values[0]))
    assert (found.low, found.high) == pytest.approx(expected)


def test_a_mean_score_stays_within_0_and_1() -> None:
    found = crossed_mean([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]])
    assert found.high == 1
    assert found.low >= 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, 0.2], "seeds, items"),
        ([[0.1], [0.2]], "2 items"),
        (np.zeros((0, 3)), "at least 1 seed"),
        ([[0.1, math.nan]], "1 of 2 cells are not finite"),
        ([[0.1, 1.2]], r"\[-1, 1\]"),
        ([[0.1, 0.2], [0.1]], "different numbers of items"),
    ],
)
def test_bad_tables_are_refused_in_one_line(values: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        crossed_difference(values)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_negative_score_is_refused() -> None:
    with pytest.raises(ValueError, match=r"crossed_mean: values must lie in \[0, 1\]"):
        crossed_mean([[0.5, -0.1]])
    with pytest.raises(ValueError, match="confidence"):
        crossed_mean([[0.5, 0.1]], 95)

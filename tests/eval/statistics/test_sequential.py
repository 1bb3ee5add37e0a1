"""Boundaries of group-sequential tests: published tables, scipy's multivariate normal, properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from dipo_eval.statistics import crossing_probability, nominal_levels, sequential_level
from dipo_eval.statistics.sequential import alpha_spent

# Two-sided 5%, equal looks; of the programs of Reboussin, DeMets, Kim and Lan 2000, Controlled Clinical Trials 21:190.
PUBLISHED = [
    ("obrien_fleming", (2.963, 1.969)),
    ("obrien_fleming", (3.710, 2.511, 1.993)),
    ("obrien_fleming", (4.333, 2.963, 2.359, 2.014)),
    ("obrien_fleming", (4.877, 3.357, 2.680, 2.290, 2.031)),
    ("pocock", (2.157, 2.201)),
    ("pocock", (2.279, 2.295, 2.296)),
    ("pocock", (2.368, 2.368, 2.358, 2.350)),
    ("pocock", (2.438, 2.427, 2.410, 2.397, 2.386)),
]


def shares() -> st.SearchStrategy[list[float]]:
    """Of up to six looks, the last at 1."""
    return st.sets(st.integers(1, 20), min_size=1, max_size=6).map(
        lambda seeds: [seed / max(seeds) for seed in sorted(seeds)]
    )


@pytest.mark.parametrize(("spending", "bounds"), PUBLISHED)
def test_bounds_equal_published_tables(spending: str, bounds: tuple[float, ...]) -> None:
    looks = [(k + 1) / len(bounds) for k in range(len(bounds))]
    found = -special.ndtri(nominal_levels(0.05, looks, spending) / 2)
    assert found == pytest.approx(bounds, abs=0.0006)


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_spending_begins_at_0_grows_and_ends_at_alpha(spending: str) -> None:
    spent = [float(alpha_spent(0.05, share, spending)) for share in (1e-6, 0.2, 0.5, 0.9, 1.0)]
    assert spent == sorted(spent)
    assert spent[0] < 1e-6
    assert spent[-1] == pytest.approx(0.05)


def test_crossing_equals_the_multivariate_normal() -> None:
    looks, bounds, drift = np.array([0.3, 0.6, 1.0]), np.array([2.9, 2.4, 2.0]), 1.3
    ratio = np.sqrt(np.minimum.outer(looks, looks) / np.maximum.outer(looks, looks))
    normal = stats.multivariate_normal(drift * np.sqrt(looks), ratio, abseps=1e-7, releps=1e-7)
    inside = normal.cdf(bounds, lower_limit=-bounds)
    assert float(crossing_probability(bounds, looks, drift)) == pytest.approx(1 - inside, abs=1e-5)


@given(shares(), st.sampled_from(["obrien_fleming", "pocock"]), st.sampled_from([0.05, 0.01, 0.0009]))
@settings(deadline=None, max_examples=30)
def test_all_looks_together_spend_alpha(looks: list[float], spending: str, alpha: float) -> None:
    bounds = -special.ndtri(nominal_levels(alpha, looks, spending) / 2)
    assert float(crossing_probability(bounds, looks, 0.0)) == pytest.approx(alpha, rel=0.01)


@given(shares(), st.sampled_from(["obrien_fleming", "pocock"]), st.floats(0, 5))
@settings(deadline=None, max_examples=30)
def test_shared_items_spend_less(looks: list[float], spending: str, items: float) -> None:
    """With the items' part of the variance, `items` of the seeds' at the end, the looks are more alike."""
    bounds = -special.ndtri(nominal_levels(0.05, looks, spending) / 2)
    information = [(items + 1) / (items + 1 / share) for share in looks]
    assert float(crossing_probability(bounds, information, 0.0)) <= 0.0501


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
@pytest.mark.parametrize("seeds", [5, 20])
def test_t_tests_at_all_looks_err_at_alpha_where_normal_levels_do_not(spending: str, seeds: int) -> None:
    repeats, looks = 200_000, np.arange(2, seeds + 1)
    values = np.random.default_rng(0).standard_normal((repeats, seeds))
    sums, squares = values.cumsum(axis=1)[:, 1:], (values**2).cumsum(axis=1)[:, 1:]
    t = sums / np.sqrt(looks * (squares - sums**2 / looks) / (looks - 1))
    exact, normal = (
        (np.abs(t) > stats.t.isf(nominal_levels(0.05, looks / seeds, spending, of) / 2, looks - 1)).any(
            axis=1
        )
        for of in (seeds, None)
    )
    assert exact.mean() == pytest.approx(0.05, abs=0.0025)
    assert normal.mean() > 0.053  # the control


def test_levels_of_t_tests_with_gaps_and_of_many_values_approach_the_normal_ones() -> None:
    looks = [0.5, 1.0]
    few, many, normal = (nominal_levels(0.05, looks, seeds=seeds) for seeds in (10, 50, None))
    assert many == pytest.approx(normal, rel=0.03)
    assert abs(few[1] - normal[1]) > abs(many[1] - normal[1])


def test_one_value_has_no_t_test() -> None:
    with pytest.raises(ValueError, match="fewer than 2"):
        nominal_levels(0.05, [0.25, 1.0], seeds=4)


def test_drift_is_power() -> None:
    one_look = crossing_probability(np.array([1.96]), [1.0], np.array([0.0, 2.8]))
    assert one_look == pytest.approx([0.05, 0.8], abs=0.001)


@given(shares(), st.sampled_from(["obrien_fleming", "pocock"]), st.floats(1e-8, 0.3))
@settings(deadline=None, max_examples=30)
def test_sequential_level_inverts_nominal_levels(looks: list[float], spending: str, alpha: float) -> None:
    levels = nominal_levels(alpha, looks, spending)
    reachable = levels > 1e-9
    found = sequential_level(levels, looks, spending)
    assert found[reachable] == pytest.approx(np.full(reachable.sum(), alpha), rel=5e-3)


@given(st.floats(1e-12, 1), st.floats(1e-12, 1))
@settings(deadline=None)
def test_a_smaller_p_value_never_has_a_larger_level(one: float, other: float) -> None:
    looks = [0.2, 0.4, 0.6, 0.8, 1.0]
    less, more = (sequential_level(np.full(5, level), looks) for level in sorted((one, other)))
    assert (less <= more).all()
    assert (more <= 1).all()


def test_one_look_is_the_plain_test() -> None:
    assert nominal_levels(0.05, [1.0]) == pytest.approx([0.05], rel=1e-3)
    assert sequential_level([0.031], [1.0]) == pytest.approx([0.031], rel=1e-3)


def test_fewer_looks_than_planned_may_be_given() -> None:
    looks = [0.25, 0.5, 1.0]
    assert sequential_level([[0.001, 0.5]], looks).shape == (1, 2)


@pytest.mark.parametrize("looks", [[], [0.0, 1.0], [0.5, 0.5], [0.5, 1.2], [1.0, 0.5]])
def test_looks_that_do_not_increase_are_refused(looks: list[float]) -> None:
    with pytest.raises(ValueError, match="must increase"):
        nominal_levels(0.05, looks)


def test_unknown_spending_and_alpha_are_refused() -> None:
    with pytest.raises(ValueError, match="obrien_fleming or pocock"):
        nominal_levels(0.05, [1.0], "haybittle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="alpha"):
        nominal_levels(0.0, [1.0])

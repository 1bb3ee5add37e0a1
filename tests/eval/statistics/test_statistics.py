"""The statistics against hand-computed values, scipy and statsmodels; coverage: test_coverage.py."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from dipo_eval.statistics import (
    clustered_mean,
    clustered_proportion,
    holm,
    majority_at_k,
    mcnemar,
    minimum_detectable_effect,
    paired_difference,
    pass_at_k,
    wilson,
)


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [(4, 2, 1, 0.5), (4, 2, 2, 5 / 6), (4, 2, 3, 1.0), (5, 0, 5, 0.0), (5, 5, 1, 1.0), (10, 3, 5, 11 / 12)],
)
def test_pass_at_k_by_hand(n: int, c: int, k: int, expected: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 9), st.data())
def test_pass_at_k_counts_the_subsets(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


@given(st.integers(1, 400), st.data())
def test_pass_at_k_equals_the_fraction(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert pass_at_k(n, c, k) == pytest.approx(
        float(1 - Fraction(math.comb(n - c, k), math.comb(n, k))), abs=1e-12
    )


def test_pass_at_k_stays_finite_for_many_samples() -> None:
    assert pass_at_k(100_000, 3, 1000) == pytest.approx(
        1 - math.comb(99_997, 1000) / math.comb(100_000, 1000)
    )


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_pass_at_k_refuses_the_impossible(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass_at_k"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize(
    ("answers", "gold", "expected"),
    [
        (["3", "3", "4"], "3", 1.0),
        (["4", "3", "4"], "3", 0.0),
        (["3", "4"], "3", 0.5),
        (["3", "4", "5", "3", "4", "5"], "3", 1 / 3),
        (["4", "4", "5", "5", "3"], "3", 0.0),
        ([None, None, None, "3"], "3", 1.0),
        ([None, None], "3", 0.0),
        ([], "3", 0.0),
        (["1/2", "0.5", "7"], ["1/2", "0.5"], 2 / 3),
    ],
)
def test_majority_with_its_tie_rule(
    answers: list[str | None], gold: str | list[str], expected: float
) -> None:
    assert majority_at_k(answers, gold) == pytest.approx(expected)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=6))
def test_majority_is_the_mean_over_all_orders(answers: list[str | None]) -> None:
    """A voter that takes the first of the most frequent answers, averaged over every order of the samples."""
    wins, orders = 0, list(itertools.permutations(answers))
    for order in orders:
        votes = [answer for answer in order if answer is not None]
        wins += bool(votes) and max(votes, key=votes.count) == "a"
    assert majority_at_k(answers, "a") == pytest.approx(wins / len(orders))


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=8), st.randoms())
def test_majority_does_not_depend_on_the_order(answers: list[str | None], rng: object) -> None:
    shuffled = list(answers)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert majority_at_k(shuffled, "a") == majority_at_k(answers, "a")


@given(st.integers(1, 2000), st.data(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_equals_statsmodels(n: int, data: st.DataObject, confidence: float) -> None:
    successes = data.draw(st.integers(0, n))
    expected = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    assert wilson(successes, n, confidence) == pytest.approx(expected, abs=1e-10)


def test_wilson_of_35_percent_on_aime() -> None:
    low, high = wilson(10.5, 30)
    assert (round(100 * low, 1), round(100 * high, 1)) == (20.5, 52.9)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_the_impossible(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="wilson"):
        wilson(successes, n)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_outside_its_range_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, confidence)


def test_clustered_mean_by_hand() -> None:
    # Clusters a: 1, 1 and b: 0, 1; mean 3/4; residual sums 1/2 and -1/2; 2/1 * 1/2 / 16 = 1/16.
    assert clustered_mean([1, 1, 0, 1], ["a", "a", "b", "b"]) == (0.75, 0.25)


def test_clustered_mean_of_single_values_is_the_plain_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=40)
    mean, error = clustered_mean(values, range(40))
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(stats.sem(values))


def test_clustered_mean_equals_statsmodels_with_unequal_clusters() -> None:
    rng = np.random.default_rng(1)
    clusters = rng.integers(0, 25, size=300)
    values = rng.random(300) + 0.3 * clusters
    fit = sm.OLS(values, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    mean, error = clustered_mean(values, clusters.tolist())
    assert (mean, error) == pytest.approx((fit.params[0], fit.bse[0]))


def test_arrays_and_names_of_clusters_mean_the_same() -> None:
    rng = np.random.default_rng(2)
    clusters, values = rng.integers(0, 9, size=60), rng.random(60)
    names = [f"problem {cluster}" for cluster in clusters]
    assert clustered_mean(values, clusters) == pytest.approx(clustered_mean(values, names))


def test_a_single_cluster_has_no_standard_error() -> None:
    mean, error = clustered_mean([1, 0, 1], ["a", "a", "a"])
    assert mean == pytest.approx(2 / 3)
    assert math.isnan(error)
    with pytest.raises(ValueError, match="no interval"):
        clustered_proportion([1, 0, 1], ["a", "a", "a"])


@pytest.mark.parametrize(
    ("values", "clusters"), [([], []), ([1, math.nan], [0, 1]), ([1, 2], [0]), ([[1, 2]], [0])]
)
def test_clustered_mean_refuses_unsound_input(values: list[float], clusters: list[int]) -> None:
    with pytest.raises(ValueError, match="clustered_mean"):
        clustered_mean(values, clusters)


def test_clustered_proportion_solves_its_equation() -> None:
    """The bounds are where (mean - q)^2 = t^2 q (1 - q) / size: solved by scipy, from statsmodels' standard error."""
    rng = np.random.default_rng(8)
    clusters = rng.integers(0, 25, size=300)
    values = (rng.random(300) < rng.beta(0.2, 0.8, 25)[clusters]).astype(float)
    fit = sm.OLS(values, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    mean, error = fit.params[0], fit.bse[0]
    # statsmodels corrects by (n - 1) / (n - k) too, which is 1 here.
    sums = [(values[clusters == c] - mean).sum() for c in np.unique(clusters)]
    degrees = min(24, 2 / (2 / 24 + stats.kurtosis(sums) / 25))
    t, size = stats.t.ppf(0.975, degrees), mean * (1 - mean) / error**2 * 25 / 24

    def excess(q: float) -> float:
        return (mean - q) ** 2 - t**2 * q * (1 - q) / size

    expected = optimize.brentq(excess, 0, mean), optimize.brentq(excess, mean, 1)
    assert clustered_proportion(values, clusters) == pytest.approx(expected)


def test_clustered_proportion_is_wilson_for_many_single_samples() -> None:
    values = np.repeat([1.0, 0.0], [1400, 2600])
    assert clustered_proportion(values, range(4000)) == pytest.approx(wilson(1400, 4000), abs=2e-5)


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([1, 1], [0, 1], "do not differ"),
        ([1, 0], [0, 0], "do not differ"),
        ([2, 0, 1], [0, 1, 2], "in .0, 1."),
    ],
)
def test_clustered_proportion_refuses_what_has_none(
    values: list[float], clusters: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        clustered_proportion(values, clusters)


def test_paired_difference_without_skewness_equals_the_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    half = rng.random(25) / 3
    a, b = 0.6 + np.concatenate([half, -half]), np.full(50, 0.55)
    result = paired_difference(a, b)
    reference = stats.ttest_rel(a, b)
    interval = reference.confidence_interval(0.95)
    assert result.p_value == pytest.approx(reference.pvalue)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))
    assert result.mean == pytest.approx((a - b).mean())


@pytest.mark.parametrize("sign", [1, -1])
def test_paired_difference_with_skewness_is_the_wider_of_t_and_hall_on_each_side(sign: int) -> None:
    """Hall's bounds by solving his transformation with scipy; the p-value is 5% where a bound is 0."""
    change = sign * (np.random.default_rng(4).exponential(0.1, 60) - 0.08)
    n, mean, error = 60, change.mean(), stats.sem(change)
    skew = stats.skew(change) / math.sqrt(n)

    def bent(t: float) -> float:
        return float(t + skew * (t * t / 3 + 1 / 6) + skew**2 * t**3 / 27)

    quantile = stats.t.ppf(0.975, n - 1)
    hall = [
        mean - error * optimize.brentq(lambda t, q=q: bent(t) - q, -50, 50) for q in (quantile, -quantile)
    ]
    result = paired_difference(change, np.zeros(n))
    assert result.low == pytest.approx(min(hall[0], mean - quantile * error))
    assert result.high == pytest.approx(max(hall[1], mean + quantile * error))
    assert hall[0] < mean - quantile * error if sign < 0 else hall[1] > mean + quantile * error
    for bound in (result.low, result.high):
        assert paired_difference(change - bound, np.zeros(n)).p_value == pytest.approx(0.05)


def test_paired_difference_equals_statsmodels_with_clusters() -> None:
    """Of differences that are mirrored, cluster by cluster, and so not skewed."""
    noise = np.random.default_rng(6).normal(0.0, 0.1, 120)
    clusters = np.repeat(np.arange(60), 4)
    a, b = 0.6 + np.concatenate([noise, -noise]), np.full(240, 0.58)
    fit = sm.OLS(a - b, np.ones(240)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    # statsmodels corrects by (n - 1) / (n - k) too, which is 1 here.
    result = paired_difference(a, b, clusters)
    assert (result.mean, result.p_value) == pytest.approx((fit.params[0], fit.pvalues[0]))
    assert (result.low, result.high) == pytest.approx(tuple(fit.conf_int()[0]))


def test_paired_difference_without_variation_still_has_a_width() -> None:
    same = paired_difference([1, 0, 1, 1], [1, 0, 1, 1])
    share = 1 - 0.025**0.25
    assert (same.mean, same.low, same.high, same.p_value) == pytest.approx((0, -share, share, 1))
    extreme = paired_difference([1] * 8, [0] * 8)
    assert (extreme.mean, extreme.high, extreme.p_value) == pytest.approx((1, 1, 2**-7))
    assert extreme.low < 1


@pytest.mark.parametrize(("a", "b"), [([1], [0]), ([1, 0], [1]), ([1, math.inf], [0, 0])])
def test_paired_difference_refuses_unsound_input(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="paired_difference"):
        paired_difference(a, b)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
def test_mcnemar_equals_statsmodels(pairs: list[tuple[int, int]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    table = [[pairs.count((i, j)) for j in (1, 0)] for i in (1, 0)]
    discordant = table[0][1] + table[1][0]
    expected = sm_mcnemar(table, exact=True).pvalue if discordant else 1.0
    assert mcnemar(a, b) == pytest.approx(expected)


def test_mcnemar_refuses_scores() -> None:
    with pytest.raises(ValueError, match="paired_difference"):
        mcnemar([0.5, 1], [1, 0])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="same items"):
        mcnemar([1], [1, 0])


def test_holm_equals_statsmodels() -> None:
    rng = np.random.default_rng(4)
    for count in range(1, 13):
        p_values = np.round(rng.random(count) ** 3, 2).tolist()  # rounded, so that ties occur
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_holm_edges() -> None:
    assert holm([]) == []
    with pytest.raises(ValueError, match="holm"):
        holm([1.5])


def test_minimum_detectable_effect_by_hand() -> None:
    # Miller's example: variance 1/9 of the difference, no sampling noise, 3 points need 969 problems.
    assert minimum_detectable_effect(969, sample_variance=0) == pytest.approx(0.03, abs=1e-4)
    # 2.8016 * sqrt((1/9 + 2/6) / 30) for a single sample on AIME: a third.
    assert minimum_detectable_effect(30) == pytest.approx(0.341, abs=5e-4)
    assert minimum_detectable_effect(30, k=64) < minimum_detectable_effect(30)


def test_minimum_detectable_effect_has_the_stated_power() -> None:
    """Simulated: differences of that size between normal scores are found 80% of the time."""
    n, sd = 200, 0.3
    effect = minimum_detectable_effect(n, item_variance=sd**2, sample_variance=0)
    rng = np.random.default_rng(5)
    zero = np.zeros(n)
    found = sum(paired_difference(rng.normal(effect, sd, n), zero).p_value < 0.05 for _ in range(2000))
    assert found / 2000 == pytest.approx(0.8, abs=0.03)


def test_minimum_detectable_effect_has_the_stated_power_with_samples() -> None:
    """Binary scores, four samples an item: differences of the items of variance 0.01, noise p (1 - p) of 0.21."""
    n, k, p = 500, 4, 0.3
    noise = p * (1 - p) - 0.01 / 4  # each side moves by half a difference of standard deviation 0.1
    effect = minimum_detectable_effect(n, k=k, item_variance=0.01, sample_variance=noise)
    rng = np.random.default_rng(9)
    half = (effect + rng.choice([-0.1, 0.1], (2000, n))) / 2
    a, b = rng.binomial(k, p + half) / k, rng.binomial(k, p - half) / k
    difference = a - b
    t = difference.mean(1) / (difference.std(1, ddof=1) / math.sqrt(n))
    assert (np.abs(t) > stats.t.ppf(0.975, n - 1)).mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    "arguments", [{"n": 0}, {"n": 5, "k": 0}, {"n": 5, "item_variance": -1}, {"n": 5, "power": 1}]
)
def test_minimum_detectable_effect_refuses_the_impossible(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="minimum_detectable_effect"):
        minimum_detectable_effect(**arguments)  # type: ignore[arg-type]

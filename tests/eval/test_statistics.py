"""The statistics against hand-computed values, scipy and statsmodels; the intervals by their coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from dipo_eval.statistics import (
    clustered_interval,
    clustered_mean,
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


@pytest.mark.parametrize("n", [30, 500, 1319])
def test_wilson_covers_its_nominal_share_on_average(n: int) -> None:
    """Exact: the binomial is summed, and the coverage averaged over p in (0, 1)."""
    lows, highs = np.array([wilson(c, n) for c in range(n + 1)]).T
    p = (np.arange(400) + 0.5)[:, None] / 400
    covered = stats.binom.pmf(np.arange(n + 1), n, p) * ((lows <= p) & (p <= highs))
    assert covered.sum(axis=1).mean() == pytest.approx(0.95, abs=0.01)


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
    fit_t = sm.OLS(values, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    assert clustered_interval(values, clusters.tolist()) == pytest.approx(tuple(fit_t.conf_int()[0]))


def test_arrays_and_names_of_clusters_mean_the_same() -> None:
    rng = np.random.default_rng(2)
    clusters, values = rng.integers(0, 9, size=60), rng.random(60)
    names = [f"problem {cluster}" for cluster in clusters]
    assert clustered_mean(values, clusters) == pytest.approx(clustered_mean(values, names))


def test_a_single_cluster_has_no_standard_error() -> None:
    mean, error = clustered_mean([1, 0, 1], ["a", "a", "a"])
    assert mean == pytest.approx(2 / 3)
    assert math.isnan(error)
    with pytest.raises(ValueError, match="one cluster"):
        clustered_interval([1, 0, 1], ["a", "a", "a"])


@pytest.mark.parametrize(
    ("values", "clusters"), [([], []), ([1, math.nan], [0, 1]), ([1, 2], [0]), ([[1, 2]], [0])]
)
def test_clustered_mean_refuses_unsound_input(values: list[float], clusters: list[int]) -> None:
    with pytest.raises(ValueError, match="clustered_mean"):
        clustered_mean(values, clusters)


def _scores(rng: np.random.Generator, p: np.ndarray, k: int) -> np.ndarray:
    return (rng.random((p.size, k)) < p[:, None]).astype(float).ravel()


@pytest.mark.parametrize(("n", "repeats"), [(30, 10_000), (500, 5000), (1319, 5000)])
def test_clustered_interval_covers_its_nominal_share(n: int, repeats: int) -> None:
    """n problems, 4 samples each, difficulties from Beta(1, 1): the true mean is 1/2."""
    rng = np.random.default_rng(n)
    clusters = np.repeat(np.arange(n), 4)
    covered = 0
    for _ in range(repeats):
        low, high = clustered_interval(_scores(rng, rng.beta(1, 1, n), 4), clusters)
        covered += low <= 0.5 <= high
    assert covered / repeats == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(("n", "repeats"), [(30, 10_000), (500, 5000), (1319, 5000)])
def test_paired_interval_covers_its_nominal_share(n: int, repeats: int) -> None:
    """Two checkpoints on the same problems, the second better by 0.1 p (1 - p): 1/60 on average."""
    rng = np.random.default_rng(n + 1)
    clusters = np.repeat(np.arange(n), 4)
    covered = 0
    for _ in range(repeats):
        p = rng.beta(1, 1, n)
        better = _scores(rng, p + 0.1 * p * (1 - p), 4)
        difference = paired_difference(better, _scores(rng, p, 4), clusters)
        covered += difference.low <= 1 / 60 <= difference.high
    assert covered / repeats == pytest.approx(0.95, abs=0.01)


def test_naive_interval_would_not_cover() -> None:
    """The control: with samples of a problem taken for independent, the same simulation covers far less."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(500):
        values = _scores(rng, rng.beta(1, 1, 100), 8)
        low, high = clustered_interval(values, range(values.size))
        covered += low <= 0.5 <= high
    assert covered / 500 < 0.85


def test_paired_difference_equals_the_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random(50), rng.random(50)
    result = paired_difference(a, b)
    reference = stats.ttest_rel(a, b)
    interval = reference.confidence_interval(0.95)
    assert result.p_value == pytest.approx(reference.pvalue)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))
    assert result.mean == pytest.approx((a - b).mean())


def test_paired_difference_without_variation_still_has_a_width() -> None:
    same = paired_difference([1, 0, 1, 1], [1, 0, 1, 1])
    share = 1 - 0.025**0.25
    assert (same.mean, same.low, same.high, same.p_value) == pytest.approx((0, -share, share, 1))
    apart = paired_difference([1] * 8, [0] * 8)
    assert (apart.mean, apart.high, apart.p_value) == pytest.approx((1, 1, 2**-7))
    assert apart.low < 1


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


@pytest.mark.parametrize(
    "arguments", [{"n": 0}, {"n": 5, "k": 0}, {"n": 5, "item_variance": -1}, {"n": 5, "power": 1}]
)
def test_minimum_detectable_effect_refuses_the_impossible(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="minimum_detectable_effect"):
        minimum_detectable_effect(**arguments)  # type: ignore[arg-type]

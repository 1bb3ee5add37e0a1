"""The intervals cover what they say, within a point: simulated with problems of very different difficulty.

A problem's chance to be solved is drawn from a Beta, its samples from that chance. An interval sees only how many
problems have which score, so an evaluation is one draw of a multinomial, and 30,000 of them take a moment. The
vectorised twin of each interval is compared with the production function. Run with -s for the figures of
docs/evaluation.md.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from dipo_eval.statistics import clustered_interval, clustered_proportion, paired_difference, wilson

Array = NDArray[np.float64]
Bounds = tuple[Array, Array]
SIZES = (30, 500, 1319)
REPEATS = 30_000
POINT = 0.01
K = 8
SCORES = np.arange(K + 1) / K
CHANGES = np.arange(-K, K + 1) / K
# Beta(a, b): even, mostly all or nothing, hard, mostly never solved (two), mostly always solved, alike, alike and hard.
# Means: 50, 50, 30, 10, 5, 90, 25 and 10 percent.
DIFFICULTIES = [
    (1.0, 1.0), (0.3, 0.3), (0.3, 0.7), (0.1, 0.9), (0.05, 0.95), (0.9, 0.1), (2.0, 6.0), (1.0, 9.0),
]  # fmt: skip
# Where the gain of 30 problems is on three or fewer, mostly never or always solved: (a, b, gain).
FEW_CHANGE = [(0.1, 0.9, 0.5), (0.9, 0.1, 0.5), (0.05, 0.95, 0.1), (0.05, 0.95, 0.5)]


def evaluations(shares: Array, n: int, seed: int) -> Array:
    """How many of n problems have each score (or change), [REPEATS, scores]."""
    return np.random.default_rng(seed).multinomial(n, shares / shares.sum(), REPEATS).astype(float)


def score_shares(a: float, b: float) -> Array:
    return stats.betabinom.pmf(np.arange(K + 1), K, a, b)


def change_shares(a: float, b: float, gain: float) -> Array:
    """Of score differences, where a problem of chance p has chance p + gain p (1 - p) at the other checkpoint."""
    p = stats.beta.ppf((np.arange(2000) + 0.5) / 2000, a, b)[:, None]
    before = stats.binom.pmf(np.arange(K + 1), K, p)
    after = stats.binom.pmf(np.arange(K + 1), K, p + gain * p * (1 - p))
    both = before.T @ after / 2000  # [before, after]
    return np.array([np.trace(both, offset=change) for change in range(-K, K + 1)])


def moments(counts: Array, values: Array) -> tuple[Array, Array, Array]:
    """Mean, mean square and mean fourth power of the distance from the mean, [evaluations]."""
    n = counts.sum(1)
    mean = counts @ values / n
    away = values - mean[:, None]
    return mean, (counts * away**2).sum(1) / n, (counts * away**4).sum(1) / n


def wilson_bounds(mean: Array, size: Array | float, quantile: Array | float) -> Bounds:
    square = np.square(quantile)
    centre = (mean + square / (2 * size)) / (1 + square / size)
    half = quantile * np.sqrt(mean * (1 - mean) / size + square / (4 * size**2)) / (1 + square / size)
    return centre - half, centre + half


def proportion_bounds(counts: Array) -> Bounds:
    """metrics._metric: clustered_proportion, or Wilson over problems where no two of them differ."""
    n = float(counts[0].sum())
    mean, squares, fourths = moments(counts, SCORES)
    same = squares <= 1e-15
    squares = np.where(same, 1.0, squares)
    spread = 2 / (n - 1) + (fourths / squares**2 - 3) / n
    degrees = np.clip(2 / np.maximum(spread, 2 / (n - 1)), 1, n - 1)
    size = np.where(same, n, mean * (1 - mean) / squares * n)
    quantile = np.where(same, stats.norm.ppf(0.975), stats.t.ppf(0.975, degrees))
    return wilson_bounds(mean, size, quantile)


def t_bounds(counts: Array, values: Array) -> Bounds:
    """clustered_interval, and paired_difference for changes."""
    n = float(counts[0].sum())
    mean, squares, _ = moments(counts, values)
    share = 1 - 0.025 ** (1 / n)
    half = stats.t.ppf(0.975, n - 1) * np.sqrt(squares / (n - 1))
    half = np.where(squares > 1e-24, half, np.where(mean == 0, share, 2 * share))
    return mean - half, mean + half


def covered(bounds: Bounds, truth: float, label: str) -> float:
    share = float(((bounds[0] <= truth) & (truth <= bounds[1])).mean())
    print(f"{label}: {100 * share:.1f}")
    return share


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("a", "b"), DIFFICULTIES)
def test_the_interval_of_several_samples_covers_its_share(a: float, b: float, n: int) -> None:
    counts = evaluations(score_shares(a, b), n, seed=n)
    assert abs(covered(proportion_bounds(counts), a / (a + b), f"avg@k {a, b} n={n}") - 0.95) <= POINT


@pytest.mark.parametrize(("a", "b"), [(0.1, 0.9), (0.9, 0.1)])
def test_the_plain_t_interval_would_not_cover(a: float, b: float) -> None:
    """The control, and why it was replaced."""
    counts = evaluations(score_shares(a, b), 30, seed=2)
    assert covered(t_bounds(counts, SCORES), a / (a + b), f"plain t {a, b} n=30") < 0.92


@pytest.mark.parametrize("n", SIZES)
def test_wilson_covers_its_share_on_average_over_p(n: int) -> None:
    """Exact, no simulation. At one p the coverage moves up and down with n p, by points for small n (Brown, Cai and
    DasGupta 2001, "Interval Estimation for a Binomial Proportion", section 3): the average over p is what can hold.
    """
    lows, highs = np.array([wilson(c, n) for c in range(n + 1)]).T
    p = (np.arange(400) + 0.5)[:, None] / 400
    shares = (stats.binom.pmf(np.arange(n + 1), n, p) * ((lows <= p) & (p <= highs))).sum(axis=1)
    print(f"wilson n={n}: {100 * shares.mean():.1f}, {100 * shares.min():.1f} to {100 * shares.max():.1f}")
    assert abs(shares.mean() - 0.95) <= POINT


def paired_coverage(a: float, b: float, gain: float, n: int) -> float:
    shares = change_shares(a, b, gain)
    bounds = t_bounds(evaluations(shares, n, seed=n + 1), CHANGES)
    return covered(bounds, float(shares @ CHANGES / shares.sum()), f"paired {a, b} {gain} n={n}")


PAIRED = [
    (a, b, gain, n)
    for a, b in DIFFICULTIES
    for gain in (0.1, 0.5)
    for n in SIZES
    if not ((a, b, gain) in FEW_CHANGE and n == 30)
]


@pytest.mark.parametrize(("a", "b", "gain", "n"), PAIRED)
def test_the_paired_interval_covers_its_share(a: float, b: float, gain: float, n: int) -> None:
    assert abs(paired_coverage(a, b, gain, n) - 0.95) <= POINT


@pytest.mark.parametrize(("a", "b", "gain"), FEW_CHANGE)
def test_a_gain_on_few_of_few_problems_is_the_limit(a: float, b: float, gain: float) -> None:
    """So few of 30 problems carry the gain that Student's t is 1.5 to 3 points off, mostly short. At 500 problems of
    the same kind it is not (above). Satterthwaite's degrees of freedom would mend these and hold 97 to 99% elsewhere.
    """
    assert POINT < abs(paired_coverage(a, b, gain, 30) - 0.95) < 0.035


def test_the_twins_are_the_production_functions() -> None:
    for n, (a, b) in [(5, (1.0, 1.0)), (30, (0.1, 0.9)), (200, (2.0, 6.0))]:
        counts = evaluations(score_shares(a, b), n, seed=3)[:40]
        twin, plain = proportion_bounds(counts), t_bounds(counts, SCORES)
        changes = evaluations(change_shares(a, b, 0.3), n, seed=4)[:40]
        paired = t_bounds(changes, CHANGES)
        for i in range(40):
            right = np.repeat(np.arange(K + 1), counts[i].astype(int))  # of K samples, by problem
            samples = (np.arange(K) < right[:, None]).astype(float).ravel()
            clusters = np.repeat(np.arange(n), K)
            if len(set(right.tolist())) > 1:
                expected = pytest.approx((twin[0][i], twin[1][i]))
                assert clustered_proportion(samples, clusters) == expected
                assert clustered_interval(samples, clusters) == pytest.approx((plain[0][i], plain[1][i]))
            change = np.repeat(CHANGES, changes[i].astype(int))
            found = paired_difference(np.maximum(change, 0), np.maximum(-change, 0))
            expected = pytest.approx((max(-1.0, paired[0][i]), min(1.0, paired[1][i])))
            assert (found.low, found.high) == expected


def test_samples_of_a_problem_are_not_independent() -> None:
    """The control: taken for independent, the same samples give an interval that covers far less."""
    counts = evaluations(score_shares(1.0, 1.0), 100, seed=5)
    right = counts @ np.arange(K + 1)
    assert covered(wilson_bounds(right / (100 * K), 100.0 * K, 1.96), 0.5, "taken for independent") < 0.85

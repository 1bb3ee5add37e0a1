"""Statistics of an evaluation: pure functions over plain numbers, each citing where it comes from.

Values are per-sample scores in [0, 1]; `clusters` names the problem a sample belongs to, since samples of one
problem are not independent. Every interval is two-sided.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

# The name of the problem that each value belongs to, [n].
Clusters = Sequence[Hashable] | NDArray[Any]


@dataclass(frozen=True)
class PairedDifference:
    """Mean of a - b over the same items, its confidence interval, and the p-value against no difference."""

    mean: float
    low: float
    high: float
    p_value: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased probability that at least one of k samples is right, given c right of n drawn.

    1 - C(n-c, k) / C(n, k), as a product so that no large binomial is formed: Chen et al. 2021, "Evaluating
    Large Language Models Trained on Code", equation 1 and figure 3, https://arxiv.org/abs/2107.03374.

    Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= c <= n:
        raise ValueError(f"pass_at_k: c={c} right of n={n} samples is impossible; give 0 <= c <= n")
    if not 1 <= k <= n:
        raise ValueError(f"pass_at_k: k={k} needs 1 <= k <= n={n}; draw more samples or lower k")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def majority_at_k(answers: Sequence[Hashable | None], gold: Hashable | Collection[Hashable]) -> float:
    """Score in [0, 1] of the most frequent answer (self-consistency, Wang et al. 2022, arXiv 2203.11171).

    None is a sample without an answer: it does not vote, and where nobody votes the score is 0. Tie rule: a
    tie for the first place is broken uniformly at random, and the score is the expectation of that, so 2
    right votes against 2 wrong ones score 0.5; the result depends neither on the order of samples nor on a
    seed.

    `gold` is the right answer, or a list, tuple or set of all the spellings that count as right.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    right = set(gold) if isinstance(gold, list | tuple | set | frozenset) else {gold}
    top = max(votes.values())
    winners = [answer for answer, count in votes.items() if count == top]
    return sum(answer in right for answer in winners) / len(winners)


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (low, high) for a proportion.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference"; recommended over
    Wald by Brown, Cai, DasGupta 2001, "Interval Estimation for a Binomial Proportion", section 3.1.

    Raises ValueError unless n >= 1 and 0 <= successes <= n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(
            f"wilson: {successes} successes of n={n} is impossible; give n >= 1, 0 <= successes <= n"
        )
    return _score_interval(successes / n, n, _normal_quantile(confidence))


def clustered_mean(values: ArrayLike, clusters: Clusters) -> tuple[float, float]:
    """Mean of all values and its standard error, clustered.

    SE = sqrt(G / (G-1) * sum over clusters of (sum of that cluster's residuals)^2) / n, with G clusters and n
    values: Miller 2024, "Adding Error Bars to Evals", section on clustered standard errors,
    https://arxiv.org/abs/2411.00640, times the usual factor G/(G-1) for few clusters (CR1: Cameron and
    Miller 2015, "A Practitioner's Guide to Cluster-Robust Inference", equation 12). With one value a
    cluster it is s / sqrt(n). The standard error is NaN for a single cluster, since nothing then tells how
    clusters differ.

    Raises ValueError for no values, a value that is not finite, or lengths that differ.
    """
    mean, error, _ = _clustered(_finite_vector(values, "clustered_mean"), clusters)
    return mean, error


def clustered_interval(
    values: ArrayLike, clusters: Clusters, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval (low, high) of clustered_mean: Student's t with (clusters - 1) degrees of freedom.

    The degrees of freedom are those of Cameron and Miller 2015, section VI.D. With 30 problems the normal
    quantile would cover 94% in place of 95%. Not clipped to [0, 1].

    Raises ValueError as clustered_mean does, and for a single cluster.
    """
    mean, error, n_clusters = _clustered(_finite_vector(values, "clustered_interval"), clusters)
    if n_clusters < 2:
        raise ValueError("clustered_interval: one cluster has no interval; evaluate at least 2 problems")
    half = _t_quantile(confidence, n_clusters - 1) * error
    return mean - half, mean + half


def clustered_proportion(
    values: ArrayLike, clusters: Clusters, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval (low, high) of the mean of scores in [0, 1]: Wilson's, with the sample size that clustering leaves.

    The size is mean (1 - mean) / SE^2, SE as in clustered_mean but without its factor G / (G - 1), so that problems
    that are all right or all wrong count as one trial each: Kish's effective size; in Wilson's interval: Kott and Liu
    2009, "One-sided coverage intervals for a proportion estimated from a stratified simple random sample"; Franco et
    al. 2019, "Comparative study of confidence intervals for proportions in complex sample surveys". The
    quantile is Student's t, with Satterthwaite's 1946 degrees of freedom of SE^2, 2 / (2 / (G-1) + kurtosis / G) and
    at most those of carrying_degrees: where few of G problems are ever solved, these few alone tell how far problems
    differ. The plain t interval covers 90% at 30 problems of which most are never solved (table: docs/evaluation.md).

    Raises ValueError as clustered_interval does, for scores outside [0, 1], and where the standard error is 0.
    """
    x = _finite_vector(values, "clustered_proportion")
    mean, error, n_clusters = _clustered(x, clusters)
    if n_clusters < 2 or not error > 0:
        raise ValueError(
            "clustered_proportion: problems that do not differ have no such interval; use wilson"
        )
    if x.min() < 0 or x.max() > 1:
        raise ValueError("clustered_proportion: scores must lie in [0, 1]")
    sums = np.bincount(_cluster_index(clusters), weights=x - mean)  # [G]
    squares, fourths = float((sums**2).sum()), float((sums**4).sum())
    kurtosis = n_clusters * fourths / squares**2 - 3
    spread = 2 / (n_clusters - 1) + kurtosis / n_clusters
    degrees = carrying_degrees(squares, fourths, n_clusters)
    if spread > 0:
        degrees = min(degrees, max(1.0, 2 / spread))
    size = mean * (1 - mean) / error**2 * n_clusters / (n_clusters - 1)
    return _score_interval(mean, size, _t_quantile(confidence, degrees))


def paired_difference(
    a: ArrayLike, b: ArrayLike, clusters: Clusters | None = None, confidence: float = 0.95
) -> PairedDifference:
    """Mean of a - b for aligned samples of the same problems, with a clustered t interval and p-value.

    Pairing takes away the variance that problems share: Miller 2024, arXiv 2411.00640, section on paired
    differences. `clusters` None means that every pair is a problem of its own. df: see carrying_degrees.

    Where every problem shows the same difference the t interval would have width zero, which no finite sample
    supports. Then at most a share q of problems behaves otherwise, q = 1 - (alpha/2)^(1/clusters) (Clopper
    and Pearson 1934 at zero events), which for scores in [0, 1] moves the mean by at most 2q, or q where
    the difference is 0; the interval is widened by that, and the p-value is 1 if the mean is 0 and else
    that of a sign test over the problems.

    Raises ValueError for lengths that differ, values that are not finite, or fewer than 2 clusters.
    """
    x, y = _finite_vector(a, "paired_difference"), _finite_vector(b, "paired_difference")
    if x.size != y.size:
        raise ValueError(
            f"paired_difference: {x.size} values against {y.size}; pair the same samples of the same items"
        )
    groups = range(x.size) if clusters is None else clusters
    change = x - y
    mean, error, n_clusters = _clustered(change, groups)
    if n_clusters < 2:
        raise ValueError("paired_difference: one problem has no interval; evaluate at least 2 problems")
    if error <= 1e-12:
        share = 1 - ((1 - confidence) / 2) ** (1 / n_clusters)
        half = share if mean == 0 else 2 * share
        p_value = 1.0 if mean == 0 else min(1.0, 2.0 ** (1 - n_clusters))
    else:
        sums = np.bincount(_cluster_index(groups), weights=change - mean)  # [clusters]
        degrees = carrying_degrees(float((sums**2).sum()), float((sums**4).sum()), n_clusters)
        half = _t_quantile(confidence, degrees) * error
        p_value = float(2 * stats.t.sf(abs(mean) / error, degrees))
    return PairedDifference(mean, max(-1.0, mean - half), min(1.0, mean + half), p_value)


def carrying_degrees(squares: float, fourths: float, n: int) -> float:
    """Degrees of freedom of a mean over n problems: n - 1, or how many problems carry it where few do.

    `squares` and `fourths` are the sums of (x - mean)^2 and (x - mean)^4 over the problems' scores or differences, so
    squares^2 / fourths is the number of problems that carry the mean (the participation ratio: n over the kurtosis).
    Below a tenth of n (but between 4 and 10 problems) it takes the place of n - 1: the few alone tell how far problems
    differ, as in Satterthwaite 1946, whose own formula would widen every paired interval. No rule is right for all
    distributions (Bahadur and Savage 1956, "The nonexistence of certain statistical procedures in nonparametric
    problems"); this one is chosen by simulation to err on the wide side (table: docs/evaluation.md).
    """
    carrying = squares**2 / fourths
    return max(1.0, carrying) if carrying < min(10.0, max(4.0, n / 10)) else n - 1.0


def mcnemar(a: Sequence[bool | int], b: Sequence[bool | int]) -> float:
    """Exact two-sided p-value that two checkpoints, one sample an item, are right equally often.

    Binomial test of 1/2 on the discordant items: McNemar 1947; exact form as in Dietterich 1998, "Approximate
    Statistical Tests for Comparing Supervised Classification Learning Algorithms". No discordant item gives
    1.

    Raises ValueError for lengths that differ or values other than 0 and 1.
    """
    if len(a) != len(b):
        raise ValueError(f"mcnemar: {len(a)} values against {len(b)}; give the same items in the same order")
    if any(value not in (0, 1) for value in (*a, *b)):
        raise ValueError("mcnemar: values must be 0 or 1; for several samples an item use paired_difference")
    only_a = sum(1 for x, y in zip(a, b, strict=True) if x and not y)
    only_b = sum(1 for x, y in zip(a, b, strict=True) if y and not x)
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: rejecting those below alpha bounds the family-wise error by it.

    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure". Raises ValueError outside [0, 1].
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"holm: p-values must lie in [0, 1], got {list(p_values)}")
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def minimum_detectable_effect(
    n: int,
    *,
    k: int = 1,
    item_variance: float = 1 / 9,
    sample_variance: float = 1 / 6,
    confidence: float = 0.95,
    power: float = 0.8,
) -> float:
    """Smallest true paired difference that n items with k samples each find with the given power.

    (z_{alpha/2} + z_{beta}) * sqrt((omega^2 + 2 sigma^2 / k) / n): Miller 2024, arXiv 2411.00640, section
    on power analysis. `item_variance` is omega^2, the variance over items of the true difference;
    `sample_variance` is sigma^2, the mean of p(1-p) of either checkpoint. The defaults suit unrelated
    checkpoints; two checkpoints of one run are far closer, so estimate both from their samples where there
    are any.

    Raises ValueError for n or k below 1, negative variances, or a power outside (0, 1).
    """
    if n < 1 or k < 1:
        raise ValueError(f"minimum_detectable_effect: n={n} items and k={k} samples must be at least 1")
    if item_variance < 0 or sample_variance < 0:
        raise ValueError("minimum_detectable_effect: variances must not be negative")
    if not 0 < power < 1:
        raise ValueError(f"minimum_detectable_effect: power={power} must lie in (0, 1)")
    z = _normal_quantile(confidence) + NormalDist().inv_cdf(power)
    return z * math.sqrt((item_variance + 2 * sample_variance / k) / n)


def _score_interval(p: float, n: float, quantile: float) -> tuple[float, float]:
    """The proportions that n trials with share p do not refute: where (p - q)^2 = quantile^2 q (1 - q) / n."""
    square = quantile * quantile
    centre = (p + square / (2 * n)) / (1 + square / n)
    half = quantile * math.sqrt(p * (1 - p) / n + square / (4 * n * n)) / (1 + square / n)
    low = 0.0 if p == 0 else max(0.0, centre - half)
    high = 1.0 if p == 1 else min(1.0, centre + half)
    return low, high


def _finite_vector(values: ArrayLike, caller: str) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"{caller}: give a flat list of at least one finite value, got shape {x.shape}")
    return x


def _clustered(x: NDArray[np.float64], clusters: Clusters) -> tuple[float, float, int]:
    """Mean, clustered standard error (NaN for one cluster) and number of clusters; see clustered_mean."""
    if len(clusters) != x.size:
        raise ValueError(
            f"clustered_mean: {x.size} values but {len(clusters)} clusters; give one cluster a value"
        )
    index = _cluster_index(clusters)  # [n] -> 0..G-1
    n_clusters = int(index.max()) + 1
    mean = float(x.mean())
    if n_clusters == 1:
        return mean, math.nan, 1
    residuals = np.bincount(index, weights=x - mean)  # [G]
    variance = n_clusters / (n_clusters - 1) * float(residuals @ residuals) / x.size**2
    return mean, math.sqrt(variance), n_clusters


def _cluster_index(clusters: Clusters) -> NDArray[np.int64]:
    if isinstance(clusters, range | np.ndarray):
        return np.unique(np.asarray(clusters), return_inverse=True)[1].astype(np.int64)
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must lie in (0, 1), for example 0.95")


def _normal_quantile(confidence: float) -> float:
    _check_confidence(confidence)
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _t_quantile(confidence: float, degrees: float) -> float:
    _check_confidence(confidence)
    return float(stats.t.ppf(0.5 + confidence / 2, degrees))

"""Intervals of a mean over problems: Wilson for one binary answer each, clustered for several samples."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

# The name of the problem that each value belongs to, [n].
Clusters = Sequence[Hashable] | NDArray[Any]


def normal_quantile(confidence: float) -> float:
    """The normal quantile of a two-sided interval. Raises ValueError outside (0, 1)."""
    return NormalDist().inv_cdf(_upper(confidence))


def t_quantile(confidence: float, degrees: ArrayLike) -> NDArray[np.float64]:
    """Student's quantile of a two-sided interval, for each of `degrees`. Raises ValueError outside (0, 1)."""
    return np.asarray(stats.t.ppf(_upper(confidence), degrees))


def _upper(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must lie in (0, 1), for example 0.95")
    return 0.5 + confidence / 2


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (low, high) for a proportion.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference"; recommended over
    Wald by Brown, Cai, DasGupta 2001, "Interval Estimation for a Binomial Proportion", section 3.1.

    Raises ValueError unless n >= 1 and 0 <= successes <= n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"wilson: {successes} successes of n={n}: give n >= 1, 0 <= successes <= n")
    return _score_interval(successes / n, n, normal_quantile(confidence))


def clustered_mean(values: ArrayLike, clusters: Clusters) -> tuple[float, float]:
    """Mean of all values and its standard error, clustered.

    SE = sqrt(G / (G-1) * sum over clusters of (sum of that cluster's residuals)^2) / n, with G clusters and n values:
    Miller 2024, "Adding Error Bars to Evals", section on clustered standard errors, https://arxiv.org/abs/2411.00640,
    times the factor G/(G-1) for few clusters (CR1: Cameron and Miller 2015, "A Practitioner's Guide to Cluster-Robust
    Inference", equation 12). With one value a cluster it is s / sqrt(n); for a single cluster it is NaN.

    Raises ValueError for no values, a value that is not finite, or lengths that differ.
    """
    mean, error, _ = clustered_parts(finite_vector(values, "clustered_mean"), clusters)
    return mean, error


def clustered_proportion(
    values: ArrayLike, clusters: Clusters, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval (low, high) of the mean of scores in [0, 1]: Wilson's, with the sample size that clustering leaves.

    The size is mean (1 - mean) / SE^2, SE as in clustered_mean but without its factor G / (G - 1), so that all-correct
    and all-incorrect problems count as one trial each: Kish's effective size; in Wilson's interval: Kott and Liu
    2009, "One-sided coverage intervals for a proportion estimated from a stratified simple random sample"; Franco et
    al. 2019, "Comparative study of confidence intervals for proportions in complex sample surveys". The
    quantile is Student's t, with Satterthwaite's 1946 degrees of freedom of SE^2, 2 / (2 / (G-1) + kurtosis / G) and
    at most those of carrying_degrees: where few of G problems are ever solved, these few alone tell how far problems
    differ. The plain t interval covers 90% at 30 problems of which most are never solved (table: docs/evaluation.md).

    Raises ValueError as clustered_mean does, for scores outside [0, 1], and where the standard error is 0 or NaN.
    """
    x = finite_vector(values, "clustered_proportion")
    mean, error, n_clusters = clustered_parts(x, clusters)
    if n_clusters < 2 or not error > 0:
        raise ValueError("clustered_proportion: problems do not differ, so there is no interval; use wilson")
    if x.min() < 0 or x.max() > 1:
        raise ValueError("clustered_proportion: scores must lie in [0, 1]")
    sums = np.bincount(cluster_index(clusters), weights=x - mean)  # [G]
    squares, fourths = float((sums**2).sum()), float((sums**4).sum())
    spread = 2 / (n_clusters - 1) + (n_clusters * fourths / squares**2 - 3) / n_clusters
    degrees = float(carrying_degrees(squares, fourths, n_clusters))
    if spread > 0:
        degrees = min(degrees, max(1.0, 2 / spread))
    size = mean * (1 - mean) / error**2 * n_clusters / (n_clusters - 1)
    return _score_interval(mean, size, float(t_quantile(confidence, degrees)))


def carrying_degrees(squares: ArrayLike, fourths: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
    """Degrees of freedom of a mean over n problems: n - 1, or how many problems carry it where few do.

    `squares` and `fourths` are the sums of (x - mean)^2 and (x - mean)^4 over the problems' scores or differences; see
    carrying_items. Below a tenth of n (but between 4 and 10 problems) their number replaces n - 1: only the few show how
    far problems differ, as in Satterthwaite 1946, whose own formula would widen every paired interval. No rule is valid
    for all distributions (Bahadur and Savage 1956, "The nonexistence of certain statistical procedures in nonparametric
    problems"); this one was chosen by simulation to err on the wide side (table: docs/evaluation.md).
    """
    carrying, size = carrying_items(squares, fourths), np.asarray(n, dtype=np.float64)
    few = carrying < np.minimum(10.0, np.maximum(4.0, size / 10))
    return np.where(few, np.maximum(1.0, carrying), size - 1.0)


def carrying_items(squares: ArrayLike, fourths: ArrayLike) -> NDArray[np.float64]:
    """How many problems carry a mean: squares^2 / fourths, the participation ratio (n over the kurtosis); 0 for none."""
    large = np.asarray(fourths, dtype=np.float64)
    return np.asarray(np.square(squares) / np.where(large > 0, large, 1.0))


def _score_interval(p: float, n: float, quantile: float) -> tuple[float, float]:
    """Where (p - q)^2 = quantile^2 q (1 - q) / n: the ends q of the proportions compatible with share p of n trials."""
    square = quantile * quantile
    centre = (p + square / (2 * n)) / (1 + square / n)
    half = quantile * math.sqrt(p * (1 - p) / n + square / (4 * n * n)) / (1 + square / n)
    low = 0.0 if p == 0 else max(0.0, centre - half)
    high = 1.0 if p == 1 else min(1.0, centre + half)
    return low, high


def finite_vector(values: ArrayLike, caller: str) -> NDArray[np.float64]:
    """A flat array. Raises ValueError in the caller's name for no values or a value that is not finite."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"{caller}: give a flat list of at least one finite value, got shape {x.shape}")
    return x


def clustered_parts(x: NDArray[np.float64], clusters: Clusters) -> tuple[float, float, int]:
    """Mean, clustered standard error (NaN for one cluster) and number of clusters; see clustered_mean."""
    if len(clusters) != x.size:
        raise ValueError(f"clustered_mean: {x.size} values but {len(clusters)} clusters; give one each")
    index = cluster_index(clusters)  # [n] -> 0..G-1
    n_clusters = int(index.max()) + 1
    mean = float(x.mean())
    if n_clusters == 1:
        return mean, math.nan, 1
    residuals = np.bincount(index, weights=x - mean)  # [G]
    variance = n_clusters / (n_clusters - 1) * float(residuals @ residuals) / x.size**2
    return mean, math.sqrt(variance), n_clusters


def cluster_index(clusters: Clusters) -> NDArray[np.int64]:
    """A number from 0 on for each cluster, in order of appearance unless they are numbers; [n]."""
    if isinstance(clusters, range | np.ndarray):
        return np.unique(np.asarray(clusters), return_inverse=True)[1].astype(np.int64)
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)

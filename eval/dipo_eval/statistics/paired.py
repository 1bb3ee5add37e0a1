"""Two checkpoints on the same problems: the mean difference, McNemar's exact test, and Holm's correction."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dipo_eval.statistics.means import (
    Clusters,
    carrying_degrees,
    carrying_items,
    cluster_index,
    clustered_parts,
    finite_vector,
    t_quantile,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairedDifference:
    """Mean of a - b over the same items, interval, p-value against 0, and how many items carry it (carrying_items)."""

    mean: float
    low: float
    high: float
    p_value: float
    carrying: float


@dataclass(frozen=True)
class Moments:
    """Of the items' differences, one entry a comparison: mean, sums of powers of the distance from it, count."""

    mean: Array
    squares: Array
    cubes: Array
    fourths: Array
    n: Array


def paired_difference(
    a: ArrayLike, b: ArrayLike, clusters: Clusters | None = None, confidence: float = 0.95
) -> PairedDifference:
    """Mean of a - b for aligned samples of the same problems, with a clustered interval and p-value: paired_interval.

    Pairing takes away the variance that problems share: Miller 2024, arXiv 2411.00640, section on paired
    differences. `clusters` None means that every pair is a problem of its own.

    Raises ValueError for lengths that differ, values that are not finite, or fewer than 2 clusters.
    """
    x, y = finite_vector(a, "paired_difference"), finite_vector(b, "paired_difference")
    if x.size != y.size:
        raise ValueError(
            f"paired_difference: {x.size} values against {y.size}; pair the same samples of the same items"
        )
    groups = range(x.size) if clusters is None else clusters
    change = x - y
    mean, _, n_clusters = clustered_parts(change, groups)
    if n_clusters < 2:
        raise ValueError("paired_difference: one problem has no interval; evaluate at least 2 problems")
    # A problem's part of the mean, times the number of problems: its own difference where all have as many samples.
    shares = np.bincount(cluster_index(groups), weights=change - mean) * n_clusters / x.size  # [clusters]
    squares, cubes, fourths = (np.array([float((shares**power).sum())]) for power in (2, 3, 4))
    moments = Moments(np.array([mean]), squares, cubes, fourths, np.array([float(n_clusters)]))
    low, high, p_value = paired_interval(moments, confidence)
    carrying = carrying_items(moments.squares, moments.fourths)
    return PairedDifference(mean, float(low[0]), float(high[0]), float(p_value[0]), float(carrying[0]))


def paired_interval(moments: Moments, confidence: float = 0.95) -> tuple[Array, Array, Array]:
    """(low, high, two-sided p-value against 0) of every comparison, within [-1, 1].

    The wider, side by side, of Student's t interval (degrees of freedom: carrying_degrees) and of the same with Hall's
    transformation g(t) = t + e (t^2 / 3 + 1 / 6) + e^2 t^3 / 27 of t, e the items' skewness over sqrt(n): Hall 1992, "On
    the removal of skewness by transformation", JRSS B 54:221. Where few items lose much and many gain a little, or the
    other way, t errs on one side (table: docs/gate.md).

    Where every item shows the same difference that interval would have width zero, which no finite sample supports.
    Then at most a share q = 1 - (alpha/2)^(1/n) of items differs (Clopper and Pearson 1934 at zero events), which for
    scores in [0, 1] moves the mean by at most 2q, or q where the difference is 0: the interval is widened by that, and
    the p-value is 1 if the mean is 0 and else that of a sign test over the items.
    """
    mean, n = moments.mean, moments.n
    same = moments.squares <= 1e-24 * n * (n - 1)
    squares = np.where(same, 1.0, moments.squares)
    error = np.sqrt(squares / (n * (n - 1)))
    degrees = np.where(same, 1.0, carrying_degrees(squares, moments.fourths, n))
    values, places = np.unique(degrees, return_inverse=True)  # few are different numbers, and scipy is slow
    quantile = t_quantile(confidence, values)[places]
    bend = np.where(same, 0.0, moments.cubes / squares**1.5)  # skewness / sqrt(n)
    low = mean - np.maximum(quantile, _unbent(quantile, bend)) * error
    high = mean - np.minimum(-quantile, _unbent(-quantile, bend)) * error
    towards = np.abs(mean) / error
    bent = _bent(towards, np.where(mean < 0, -bend, bend))
    p_value = np.minimum(1.0, 2 * stats.t.sf(np.minimum(towards, bent), degrees))
    share = 1 - ((1 - confidence) / 2) ** (1 / n)
    width = np.where(mean == 0, share, 2 * share)
    low, high = np.where(same, mean - width, low), np.where(same, mean + width, high)
    p_value = np.where(same, np.where(mean == 0, 1.0, np.minimum(1.0, 2.0 ** (1 - n))), p_value)
    return np.maximum(low, -1.0), np.minimum(high, 1.0), p_value


def _bent(t: Array, bend: Array) -> Array:
    """Hall's transformation of t; `bend` is the skewness over sqrt(n)."""
    return np.asarray(t + bend * (t**2 / 3 + 1 / 6) + bend**2 * t**3 / 27)


def _unbent(value: Array, bend: Array) -> Array:
    """Its inverse: the transformation is ((1 + bend t / 3)^3 - 1) / bend + bend / 6."""
    some = np.where(np.abs(bend) < 1e-9, 1.0, bend)
    root = 3 / some * (np.cbrt(1 + some * (value - some / 6)) - 1)
    return np.where(np.abs(bend) < 1e-9, value, root)


def mcnemar(a: Sequence[bool | int], b: Sequence[bool | int]) -> float:
    """Exact two-sided p-value that two checkpoints, one sample an item, are correct equally often.

    Binomial test of 1/2 on the discordant items: McNemar 1947; exact form as in Dietterich 1998, "Approximate
    Statistical Tests for Comparing Supervised Classification Learning Algorithms". No discordant item gives 1.

    Raises ValueError for lengths that differ or values other than 0 and 1.
    """
    if len(a) != len(b):
        raise ValueError(f"mcnemar: {len(a)} values against {len(b)}; give the same items in the same order")
    if any(value not in (0, 1) for value in (*a, *b)):
        raise ValueError("mcnemar: values must be 0 or 1; for several samples an item use paired_difference")
    only_a, discordant = sum(x > y for x, y in zip(a, b, strict=True)), sum(map(operator.ne, a, b))
    return float(stats.binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: rejecting those below alpha bounds the family-wise error by it.

    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure". Raises ValueError outside [0, 1].
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"holm: p-values must lie in [0, 1], got {list(p_values)}")
    return [float(one) for one in holm_adjusted(np.asarray(p_values, dtype=np.float64))]


def holm_adjusted(p: Array) -> Array:
    """holm for many families at once, [..., p-values of one family]."""
    order = np.argsort(p, axis=-1, kind="stable")
    sizes = np.arange(p.shape[-1], 0, -1)
    stepped = np.minimum(1.0, sizes * np.take_along_axis(p, order, axis=-1))
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(stepped, axis=-1), axis=-1)
    return adjusted

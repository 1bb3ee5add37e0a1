"""A mean over seeds AND items, both samples of more: two-way crossed random effects.

The value of seed s on item i is mu + a_s + b_i + e_si; the same items serve every seed. An interval over the items alone
says nothing of another seed, one over the seeds alone nothing of other items (Clark 1973, "The language-as-fixed-effect
fallacy", J. Verbal Learning and Verbal Behavior 12:335). The variance of the mean of S seeds and I items is
sigma_a^2 / S + sigma_b^2 / I + sigma_e^2 / (S I), estimated from the mean squares of the analysis of variance, of which
E MS_seeds = I sigma_a^2 + sigma_e^2, E MS_items = S sigma_b^2 + sigma_e^2, E MS_rest = sigma_e^2 (Searle, Casella and
McCulloch 1992, "Variance Components", chapter 4, balanced data), no component below 0:

    by_seed = max(MS_seeds, MS_rest) / (S I)        S - 1 degrees of freedom
    by_item = max(MS_items - MS_rest, 0) / (S I)    I - 1, or carrying_degrees where few items carry the mean

The interval is mean +- sqrt(t_1^2 by_seed + t_2^2 by_item), t_1 and t_2 Student's quantiles of the two (Banerjee 1960,
"Approximate confidence interval for linear functions of means of k populations when the population variances are not
equal", Sankhya 22:357). For normal effects it covers at least what it says at EVERY level and any variances (the
subtracted MS_rest, with (S - 1) (I - 1) degrees of freedom, taken as known): the distribution function F of chi-squared
with one degree of freedom is concave, so F(sum w_j t_j^2 U_j) >= sum w_j F(t_j^2 U_j), w_j the shares of the variance
and U_j the estimates over their expectations, and each term has the stated mean. Satterthwaite's degrees of freedom do
not: with few seeds the variance between them is small by chance and then counts as known; at level 0.001, as Holm's
correction over pairs asks for, 5 seeds give up to 2.3 times that error. `degrees` are those at which Student's t gives
this interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from dipo_eval.statistics.means import carrying_degrees

Array = NDArray[np.float64]
SMALLEST_LEVEL = 1e-16
"""No p-value is reported below this."""
_STEPS = 12  # of level_at: to about 1e-7 of the level


@dataclass(frozen=True)
class Components:
    """Variance of one value by its source: the seed, the item, and what neither explains."""

    seed: float
    item: float
    residual: float


@dataclass(frozen=True)
class CrossedMean:
    """A mean over seeds and items with its interval.

    `seed_share`, `item_share` and `residual_share` are of the variance of the mean. With one seed (`seeds_known` False)
    the variance over seeds is unknown: the interval is over items only and supports no verdict on a method.
    """

    mean: float
    error: float
    degrees: float
    low: float
    high: float
    components: Components
    seed_share: float
    item_share: float
    residual_share: float
    seeds: int
    items: int

    @property
    def seeds_known(self) -> bool:
        return self.seeds > 1


@dataclass(frozen=True)
class Crossed:
    """What an interval needs, one entry a comparison [...]: mean, parts of its variance, degrees of freedom of
    by_item."""

    mean: Array
    by_seed: Array
    by_item: Array
    residual: Array  # sigma_e^2
    item_degrees: Array
    seeds: int
    items: int

    @property
    def error(self) -> Array:
        return np.sqrt(self.by_seed + self.by_item)


def crossed_difference(difference: ArrayLike, confidence: float = 0.95) -> CrossedMean:
    """Mean of the paired differences [S, I] of two methods, the same seeds and items for both, within [-1, 1].

    Raises ValueError for another shape, fewer than 2 items, or values that are not finite or not in [-1, 1].
    """
    return _interval(score_table(difference, "crossed_difference", -1.0), confidence, -1.0)


def crossed_mean(scores: ArrayLike, confidence: float = 0.95) -> CrossedMean:
    """Mean score [S, I] of one method, within [0, 1]; raises ValueError as crossed_difference does."""
    return _interval(score_table(scores, "crossed_mean", 0.0), confidence, 0.0)


def crossed_parts(values: Array) -> Crossed:
    """The means of [..., S, I] and the parts of their variances; S = 1 leaves by_seed at 0."""
    return crossed_looks(values, [values.shape[-2]])[0]


def crossed_looks(values: Array, looks: Sequence[int]) -> list[Crossed]:
    """crossed_parts of the first seeds of [..., S, I], for each number of `looks`."""
    items = values.shape[-1]
    sums = np.cumsum(values, axis=-2)  # [..., S, I]
    by_seed = values.mean(axis=-1, dtype=np.float64)  # [..., S]
    squares = np.cumsum(np.square(values).sum(axis=-1, dtype=np.float64), axis=-1)  # [..., S]
    return [
        _parts(by_seed[..., :seeds], sums[..., seeds - 1, :] / seeds, squares[..., seeds - 1], seeds, items)
        for seeds in looks
    ]


def _parts(over_items: Array, over_seeds: Array, square: Array, seeds: int, items: int) -> Crossed:
    """From the seeds' means [..., S], the items' [..., I] and the sum of all squares [...]."""
    size = seeds * items
    mean = np.asarray(over_items.mean(axis=-1), dtype=np.float64)
    away = over_seeds - mean[..., None]
    squares, fourths = (away**2).sum(axis=-1), (away**4).sum(axis=-1)
    seeds_square = items * ((over_items - mean[..., None]) ** 2).sum(axis=-1)
    rest = np.maximum(square - size * mean**2 - seeds_square - seeds * squares, 0.0)
    rest = np.where(rest < 1e-12 * size, 0.0, rest) / max(1, (seeds - 1) * (items - 1))
    by_seed = np.maximum(seeds_square / (seeds - 1), rest) / size if seeds > 1 else np.zeros_like(mean)
    by_item = np.maximum(seeds * squares / (items - 1) - rest, 0.0) / size
    by_seed, by_item = (
        np.where(part > 1e-24, part, 0.0) for part in (by_seed, by_item)
    )  # not what rounding leaves
    return Crossed(mean, by_seed, by_item, rest, carrying_degrees(squares, fourths, items), seeds, items)


def half_width(parts: Crossed, level: ArrayLike) -> Array:
    """Half the width of the two-sided interval of error `level`, which broadcasts against the comparisons.

    Where all cells show the same difference the variance is 0, which no finite sample supports: then at most a share
    q = 1 - (level / 2)^(1 / n) of the items (of the seeds, if the difference is not 0) differs, which moves the mean by
    at most q (2 q): Clopper and Pearson 1934 at zero events, as in paired_interval.
    """
    half = np.asarray(level, dtype=np.float64) / 2
    seed = special.stdtrit(max(parts.seeds - 1, 1), half) ** 2 * parts.by_seed
    width = np.sqrt(seed + special.stdtrit(parts.item_degrees, half) ** 2 * parts.by_item)
    n = np.where(parts.mean == 0, parts.items, parts.seeds)
    unseen = (1 - half ** (1 / n)) * np.where(parts.mean == 0, 1, 2)
    return np.where(parts.by_seed + parts.by_item > 0, width, unseen)


def level_at(parts: Crossed, distance: ArrayLike) -> Array:
    """The smallest level whose interval is no wider than +- distance, [...]; 1 where distance is 0 or less.

    At distance |mean| it is the two-sided p-value against 0; at margin - |mean|, that against a difference of the
    margin or more (two one-sided tests: Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15:657, with this
    p-value twice the one-sided one). Never below SMALLEST_LEVEL.
    """
    away = np.broadcast_to(np.asarray(distance, dtype=np.float64), parts.mean.shape)
    target = np.log(np.maximum(away, 1e-300))

    def excess(quantile: Array) -> Array:
        return np.log(np.maximum(half_width(parts, 2 * special.ndtr(-quantile)), 1e-300)) - target

    # The false position method with the Illinois rule, over the normal quantile of the level.
    low, high = np.full(away.shape, 1e-9), np.full(away.shape, -special.ndtri(SMALLEST_LEVEL / 2))
    start = below = excess(low)
    above = excess(high)
    before = np.zeros(away.shape, dtype=np.bool_)
    for _ in range(_STEPS):
        middle = np.clip(
            (low * above - high * below) / np.where(above > below, above - below, 1.0), low, high
        )
        found = excess(middle)
        inside = found <= 0
        kept = np.where(inside == before, 0.5, 1.0)  # of the end that stays twice
        below, above = np.where(inside, found, below * kept), np.where(inside, above * kept, found)
        before = inside
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.where(start < 0, 2 * special.ndtr(-middle), 1.0)


def _interval(values: Array, confidence: float, least: float) -> CrossedMean:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must lie in (0, 1), for example 0.95")
    parts = crossed_parts(values)
    seeds, items, mean, error = parts.seeds, parts.items, float(parts.mean), float(parts.error)
    half = float(half_width(parts, 1 - confidence))
    residual = float(parts.residual)
    by_residual = residual / (seeds * items)
    seed = max(float(parts.by_seed) - by_residual, 0.0) if seeds > 1 else math.nan
    item = float(parts.by_item)
    if seeds == 1:
        by_residual = 0.0  # with one seed the item's own variance and the residual are one
    seed_share, item_share, residual_share = (
        part / error**2 if error > 0 else math.nan for part in (seed, item, by_residual)
    )
    return CrossedMean(
        mean=mean,
        error=error,
        degrees=_degrees(half / error, confidence) if error > 0 else math.nan,
        low=max(mean - half, least),
        high=min(mean + half, 1.0),
        components=Components(seed * seeds, item * items, residual),
        seed_share=seed_share,
        item_share=item_share,
        residual_share=residual_share,
        seeds=seeds,
        items=items,
    )


def _degrees(quantile: float, confidence: float) -> float:
    """At which Student's two-sided quantile is this one."""
    upper = 0.5 + confidence / 2
    most = 1e6
    if quantile <= special.stdtrit(most, upper):
        return math.inf
    return float(optimize.brentq(lambda df: special.stdtrit(df, upper) - quantile, 0.5, most))


def score_table(values: ArrayLike, caller: str, least: float) -> Array:
    """A finite table [S, I] with values in [least, 1]. Raises ValueError in the caller's name."""
    try:
        table = np.asarray(values, dtype=np.float64)
    except ValueError:
        raise ValueError(
            f"{caller}: the seeds have different numbers of items; give a full [S, I] table"
        ) from None
    if table.ndim != 2 or table.shape[0] < 1 or table.shape[1] < 2:
        raise ValueError(f"{caller}: give [seeds, items] with at least 1 seed and 2 items, got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(
            f"{caller}: {int((~np.isfinite(table)).sum())} of {table.size} cells are not finite; leave none out"
        )
    if table.min() < least or table.max() > 1:
        raise ValueError(
            f"{caller}: values must lie in [{least:g}, 1], got {table.min():g} to {table.max():g}"
        )
    return table

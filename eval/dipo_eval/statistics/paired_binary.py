"""Exact comparison of two checkpoints with one binary answer an item each: paired binary data.

Of n items the candidate lost some (only the baseline is correct) and gained some (only the candidate is); the difference
is (gained - lost) / n. How many items change at all is a nuisance parameter: every error below is the largest over it,
summed over all outcomes (an exact unconditional test), so that nothing rests on a normal approximation.

The lower bound is Buehler's 1957 for the order of the outcomes by Tango's 1998 score bound ("Equivalence test and
confidence interval for the difference in proportions for the paired-sample design", Statistics in Medicine 17:891):
Lloyd and Moldovan 2007, "Exact one-sided confidence limits for the difference between two correlated proportions",
Statistics in Medicine 26:3369. Since one order serves all differences, the tests of all margins are nested; and since
an item more gained or an item fewer lost never lowers Tango's bound (Sidik 2003), none lowers this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Array = NDArray[np.float64]

RESOLUTION = 2.0**-16
"""Lower bounds are multiples of this (a six-hundredth of a point), rounded down: the result does not depend on the
path of the search."""
_STEP = 0.15  # of the nuisance's grid, in standard deviations of the number of changed items
_MIN_POINTS, _MAX_POINTS = 64, 400  # points of that grid
_BETWEEN = 1.005  # the true maximum over the largest on the grid, at most: measured by test_paired_binary.py
_REACH = 5.0  # standard deviations of the number of gained items that are summed over: all but 1e-6


@lru_cache(maxsize=4096)
def lower_bound(lost: int, gained: int, n: int, confidence: float) -> float:
    """Exact one-sided lower confidence bound of the difference; the upper one is -lower_bound(gained, lost, ...).

    Raises ValueError for counts that are impossible, or a confidence outside (0.5, 1).
    """
    _check(lost, gained, n)
    if not 0.5 < confidence < 1:
        raise ValueError(f"lower_bound: confidence={confidence} must lie in (0.5, 1), for example 0.95")
    quantile = NormalDist().inv_cdf(confidence)
    start = score_bound(lost, gained, n, quantile)
    if start <= RESOLUTION - 1:
        return -1.0
    # Every outcome at least as favourable to the candidate as this one.
    as_good = score_region(n, start, quantile)
    gains = np.arange(n + 1)
    as_good = np.maximum(as_good, np.where(gains >= gained, np.minimum(lost, n - gains), -1))

    def excess(difference: float, step: float = _STEP) -> float:
        return largest_probability(as_good, n, difference, step) - (1 - confidence)

    return _last_below(excess, _root(partial(excess, step=4 * _STEP)))


def drop_p_value(lost: int, gained: int, n: int) -> float:
    """Exact one-sided p-value against "not worse": outcomes ordered by McNemar's (lost - gained) / sqrt(lost + gained).

    Suissa and Shuster 1985, "Exact unconditional sample sizes for the 2 x 2 binomial trial"; 1991 for matched pairs,
    "The 2 x 2 matched-pairs trial: exact unconditional design and analysis", Biometrics 47:361. More powerful than the
    sign test, whose condition on the number of changed items costs much where few change. Raises ValueError as
    lower_bound does.
    """
    _check(lost, gained, n)
    found = (lost - gained) / math.sqrt(max(lost + gained, 1))
    return min(1.0, largest_probability(drop_region(n, found), n, 0.0))


def score_bound(lost: int, gained: int, n: int, quantile: float) -> float:
    """Tango's one-sided lower score bound; `quantile` is the normal one, 1.645 for 95%."""
    low, high = -1.0, 1.0
    while lost < n and high - low > 1e-13:
        middle = (low + high) / 2
        inside = _score(np.array([lost]), np.array([gained]), n, middle, quantile)[0] > 0
        low, high = (middle, high) if inside else (low, middle)
    return low


def score_region(n: int, difference: float, quantile: float) -> Array:
    """The outcomes whose Tango test rejects `difference` or less: the most losses for each number of gains, -1 for none.

    Shape [n + 1], index: gains.
    """
    return _region(n, lambda losses, gains: _score(losses, gains, n, difference, quantile))


def drop_region(n: int, least: float) -> Array:
    """The outcomes whose McNemar statistic for a drop is `least` at least: the most gains for each number of losses.

    Shape [n + 1], index: losses; -1 for none. At no difference losses and gains are alike, so `probabilities` takes it.
    """

    def excess(gains: Array, losses: Array) -> Array:
        return losses - gains - least * np.sqrt(np.maximum(losses + gains, 1.0))

    return _region(n, excess)


def largest_probability(region: Array, n: int, difference: float, step: float = _STEP) -> float:
    """The largest probability of a region at a true `difference`, over all rates at which items may change."""
    return _BETWEEN * float(probabilities(region, n, difference, nuisance_grid(n, difference, step)).max())


def nuisance_grid(n: int, difference: float, step: float = _STEP) -> Array:
    """Rates of items that change without moving the difference, half each way: dense where few or nearly all change."""
    count = min(max(_MIN_POINTS, math.pi / 2 * math.sqrt(n / 2) / _STEP), _MAX_POINTS)
    count = math.ceil(count * _STEP / step)
    sines: Array = np.sin(np.linspace(0, math.pi / 2, count + 1)) ** 2
    return (1 - abs(difference)) / 2 * sines


def probabilities(region: Array, n: int, difference: float, balanced: Array) -> Array:
    """Probability of a region (see score_region) for each rate of `balanced` losses and gains; shape of `balanced`.

    An item is lost with probability balanced + max(-difference, 0) and gained with balanced + max(difference, 0). Gains
    are binomial, losses binomial among the rest.
    """
    lost, gained = balanced + max(-difference, 0.0), balanced + max(difference, 0.0)
    reach = _REACH * (np.sqrt(n * gained * (1 - gained)) + 1)
    first = np.clip(np.floor(n * gained - reach), 0, n).astype(np.int64)
    count = np.clip(np.ceil(n * gained + reach), 0, n).astype(np.int64) - first + 1
    row = np.repeat(np.arange(balanced.size), count)
    gains = np.arange(row.size) - np.repeat(np.cumsum(count) - count - first, count)
    ways = special.gammaln(n + 1) - special.gammaln(gains + 1) - special.gammaln(n - gains + 1)
    rate = gained[row]
    weight = np.exp(ways + special.xlogy(gains, rate) + special.xlog1py(n - gains, -rate))
    limit, rest = region[gains], n - gains
    share = np.clip(lost[row] / np.maximum(1 - rate, 1e-300), 0, 1)
    inside = np.where(limit < 0, 0.0, special.bdtr(np.clip(limit, 0, rest), rest, share))
    sums = np.bincount(row, weights=weight * inside, minlength=balanced.size)
    return sums.astype(np.float64)


def _score(losses: Array, gains: Array, n: int, difference: float, quantile: float) -> Array:
    """Numerator minus quantile times standard error of Tango's statistic: 0 or more where the test rejects."""
    linear = gains * (1 + difference) + losses * (1 - difference) + 2 * difference * n
    root = np.sqrt(np.maximum(linear * linear - 8 * n * gains * difference * (1 + difference), 0.0))
    rate = (linear + root) / (4 * n)  # of gains, the most likely one under `difference`
    variance = np.maximum(n * (2 * rate - difference * (1 + difference)), 0.0)
    return np.asarray(gains - losses - n * difference - quantile * np.sqrt(variance))


def _region(n: int, excess: Callable[[Array, Array], Array]) -> Array:
    """The most losses for each number of gains at which `excess`, which falls with losses, is at least 0; -1 for none."""
    gains = np.arange(n + 1, dtype=np.float64)
    low, high = np.full(n + 1, -1.0), n - gains + 1
    for _ in range((n + 1).bit_length() + 1):
        middle = np.floor((low + high) / 2)
        inside = (middle < 0) | (excess(np.maximum(middle, 0), gains) >= -1e-9)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return low


def _root(excess: Callable[[float], float]) -> float:
    """Where `excess`, which grows, crosses 0, or the end of [-1, 1] nearest to that."""
    least, most = RESOLUTION - 1, 1 - RESOLUTION
    if excess(least) > 0:
        return least
    if excess(most) <= 0:
        return most
    return float(optimize.brentq(excess, least, most, xtol=RESOLUTION / 4, rtol=1e-10))


def _last_below(excess: Callable[[float], float], near: float) -> float:
    """The last multiple of RESOLUTION at which `excess`, which grows, is not above 0: `near`; -1 where there is none."""
    place, end = math.floor(near / RESOLUTION), round(1 / RESOLUTION)
    while place > -end and excess(place * RESOLUTION) > 0:
        place -= 1
    while place + 1 < end and excess((place + 1) * RESOLUTION) <= 0:
        place += 1
    return place * RESOLUTION


def _check(lost: int, gained: int, n: int) -> None:
    if n < 1 or min(lost, gained) < 0 or lost + gained > n:
        raise ValueError(f"{lost} items lost and {gained} gained of {n} is impossible")

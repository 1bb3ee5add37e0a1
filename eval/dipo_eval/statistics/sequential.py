"""Looking several times while samples come in, with one error for all looks: group-sequential tests by alpha spending.

A look at share t of the planned sample may have spent alpha(t) of the error so far (Lan and DeMets 1983, "Discrete
sequential boundaries for clinical trials", Biometrika 70:659). The boundaries follow one after another from the
distribution of the statistic among the samples not stopped before, by numerical integration (Armitage, McPherson and
Rowe 1969, "Repeated significance tests on accumulating data", JRSS A 132:235). What serves is the NOMINAL LEVEL of each
look: it rejects where its own t test has a p-value below it (Jennison and Turnbull 2000, "Group Sequential Methods with
Applications to Clinical Trials", section 4.4; the intervals at these levels, which hold at all looks at once: chapter
9). Levels of a normal statistic, as usual, give a t test over up to 20 values 5.4 to 6.2% of errors instead of 5, since
t varies more from look to look; so the levels here are those of the exact distribution of successive t's.

Items shared by all looks. Here t counts seeds, and the mean at look k has variance v_k = item part + seed part / S_k.
For j < k, Cov(mean_j, mean_k) = v_k: the canonical distribution with information 1 / v_k, and the correlation of two
looks' statistics is sqrt(v_k / v_j), at least the sqrt(S_j / S_k) that the boundaries assume. The chance that all looks
stay inside symmetric boundaries grows with the correlation of neighbours: given look j, the chances that those before,
and those after, stay inside are even functions g, h that fall with its distance from 0 (log-concave by Prekopa), so the
derivative E[g'(X) h'(Y)] by the correlation of X and Y is positive. So with known variances the error stays below
alpha; with estimated ones benchmarks/compare_errors.py simulates it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate, special

Array = NDArray[np.float64]
Spending = Literal["obrien_fleming", "pocock"]
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_EDGES = np.linspace(0.0, 6.6, 221)  # of cells of |z|; a bound further out, 4e-11, stands at the last
_MIDDLES = (_EDGES[:-1] + _EDGES[1:]) / 2
_HALF_NORMAL = -2 * np.diff(special.ndtr(-_EDGES))
_FAR = 8.5  # standard deviations, beyond which nothing is integrated
_QUANTILES = np.linspace(0.0, 6.5, 97)  # normal ones of alpha: the table that sequential_level interpolates


def alpha_spent(alpha: ArrayLike, share: float, spending: Spending) -> Array:
    """Two-sided error spent by a share of the sample.

    O'Brien-Fleming-like: 2 - 2 Phi(z_{alpha/4} / sqrt(t)) on either side, almost nothing early; Pocock-like: alpha ln(1
    + (e - 1) t), nearly even: Lan and DeMets 1983. Raises ValueError for another name or a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share} of the planned sample must lie in (0, 1]")
    error = np.asarray(alpha, dtype=np.float64)
    if spending == "obrien_fleming":
        return np.asarray(4 * special.ndtr(special.ndtri(error / 4) / np.sqrt(share)))
    if spending == "pocock":
        return np.asarray(error * np.log1p((np.e - 1) * share))
    raise ValueError(f"spending={spending!r} is unknown; give obrien_fleming or pocock")


def nominal_levels(
    alpha: ArrayLike, shares: Sequence[float], spending: Spending = "obrien_fleming", seeds: int | None = None
) -> Array:
    """Two-sided level p of each look's own test, [looks, ...] for alpha [...]; its normal boundary is ndtri(1 - p / 2).

    `shares` of the planned sample increase; at 1 all error is spent. With `seeds`, the planned number of values, the
    levels are those of Student's t on the first round(share * seeds) of them; without, of a statistic of known
    variance. Raises ValueError for other shares, an alpha outside (0, 1], or looks at fewer than 2 values.
    """
    _check_shares(shares)
    error = np.atleast_1d(np.asarray(alpha, dtype=np.float64))
    if not ((error > 0) & (error <= 1)).all():
        raise ValueError(f"alpha={alpha!r} must lie in (0, 1]")
    kernels = _kernels(tuple(shares), seeds)
    mass = np.tile(_HALF_NORMAL, (error.size, 1))
    spent, levels = np.zeros_like(error), []
    for k, share in enumerate(shares):
        mass = mass @ kernels[k - 1] if k else mass
        leaving, spent = alpha_spent(error, share, spending) - spent, alpha_spent(error, share, spending)
        beyond = np.cumsum(mass[:, ::-1], axis=1)[:, ::-1]  # of each cell's lower edge
        reached = np.log(np.maximum(beyond, 1e-300))
        bound = [
            np.interp(-one, -tail, _EDGES[:-1])
            for one, tail in zip(np.log(np.maximum(leaving, 1e-300)), reached, strict=True)
        ]
        levels.append(2 * special.ndtr(-np.array(bound)))
        mass = np.clip(beyond - leaving[:, None], 0.0, mass)  # the outermost leave
    return np.stack(levels).reshape(len(shares), *np.shape(alpha))


def crossing_probability(bounds: Array, shares: Sequence[float], drift: ArrayLike) -> Array:
    """Chance that the normal statistic of any look leaves +-bounds, [...]; its mean at look k is drift sqrt(shares[k]).

    `bounds` is [looks, ...] and broadcasts against `drift`: the power of a design. Raises ValueError as nominal_levels
    does.
    """
    _check_shares(shares)
    means = np.atleast_1d(np.asarray(drift, dtype=np.float64))
    limits = np.broadcast_to(
        np.asarray(bounds, dtype=np.float64).reshape(len(shares), -1), (len(shares), means.size)
    )
    walk = _Walk(means.size, means)
    walk.start(shares[0], limits[0])
    for share, bound in zip(shares[1:], limits[1:], strict=True):
        walk.step(share, bound)
    return np.asarray(1 - walk.inside()).reshape(np.shape(drift))


def sequential_level(
    levels: ArrayLike,
    shares: Sequence[float],
    spending: Spending = "obrien_fleming",
    seeds: int | None = None,
) -> Array:
    """The smallest alpha at which each look alone would have rejected, [looks, ...] from its own p-values of that shape.

    Its minimum over the looks so far is the p-value of the sequential test, valid at any of them (Liu and Anderson 2008,
    "On adaptive extensions of group sequential trials", JASA 103:1621), and what Holm's correction takes over several
    tests (Maurer and Bretz 2013, "Multiple testing in group sequential trials using graphical approaches", Statistics in
    Biopharmaceutical Research 5:311). `shares` are all planned ones (`seeds`: see nominal_levels); `levels` may have
    fewer looks. Not below 8e-11.
    """
    own = np.asarray(levels, dtype=np.float64)
    quantiles = -special.ndtri(np.clip(own, 1e-300, 1.0) / 2)
    curves = _curves(tuple(shares), spending, seeds)
    found = [
        curve(np.clip(at, curve.x[0], curve.x[-1])) for curve, at in zip(curves, quantiles, strict=False)
    ]
    return 2 * special.ndtr(-np.array(found).reshape(own.shape))


@lru_cache(maxsize=64)
def _curves(
    shares: tuple[float, ...], spending: Spending, seeds: int | None
) -> list[interpolate.PchipInterpolator]:
    """For each look the normal quantile of alpha by the normal boundary of the look."""
    levels = nominal_levels(2 * special.ndtr(-_QUANTILES), shares, spending, seeds)
    bounds = np.maximum.accumulate(-special.ndtri(np.maximum(levels, 1e-300) / 2), axis=1)
    bounds += 1e-9 * np.arange(_QUANTILES.size)  # where a boundary is beyond all numbers
    return [interpolate.PchipInterpolator(bound, _QUANTILES) for bound in bounds]


@lru_cache(maxsize=64)
def _kernels(shares: tuple[float, ...], seeds: int | None) -> list[Array]:
    """Chance to come from one cell of |z| to another between neighbouring looks, [cells, cells] each.

    z is the normal quantile of the look's own one-sided p-value, so that it is standard normal at every look.
    """
    if seeds is None:
        return [_normal_kernel(np.sqrt(one / other)) for one, other in itertools.pairwise(shares)]
    looks = [round(share * seeds) for share in shares]
    if looks[0] < 2:
        raise ValueError(f"shares={list(shares)} of {seeds} values: a look at fewer than 2 has no t test")
    found = []
    for one, other in itertools.pairwise(looks):
        steps = [_t_kernel(n) for n in range(one, other)]
        found.append(steps[0] if len(steps) == 1 else np.linalg.multi_dot(steps))
    return found


def _normal_kernel(correlation: float) -> Array:
    spread = np.sqrt(1 - correlation**2)
    towards = correlation * _MIDDLES[:, None]
    return -np.diff(
        special.ndtr((towards - _EDGES) / spread) + special.ndtr((-towards - _EDGES) / spread), axis=1
    )


@lru_cache(maxsize=256)
def _t_kernel(n: int) -> Array:
    """From Student's t of n values without a mean to that of n + 1: exact but for the cells.

    u = sum / sqrt(sum of squares) is a function of t, and without a mean independent of the sum of squares (Basu). So
    u' = (u + w) / sqrt(1 + w^2), where w = tan(phi) and sqrt(n) w has Student's distribution with n degrees of freedom,
    is a Markov chain (Jennison and Turnbull 1991, "Exact calculations for sequential t, chi-squared and F tests",
    Biometrika 78:133), and u' = sqrt(1 + u^2) sin(phi + atan(u)) is above b for phi between two angles.
    """
    after, before = _direction(_EDGES, n + 1), _direction(_MIDDLES, n)[:, None]
    angle = np.arcsin(np.minimum(after / np.sqrt(1 + before**2), 1.0))
    tail = np.zeros((_MIDDLES.size, _EDGES.size))
    for side in (np.arctan(before), -np.arctan(before)):
        low, high = (np.minimum(end - side, np.pi / 2) for end in (angle, np.pi - angle))
        tail += special.stdtr(n, -np.sqrt(n) * np.tan(low)) - special.stdtr(n, -np.sqrt(n) * np.tan(high))
    return -np.diff(tail, axis=1)


def _direction(z: Array, n: int) -> Array:
    """u of _t_kernel for normal quantiles z of n values' t test."""
    t = -special.stdtrit(n - 1, special.ndtr(-z))
    return np.asarray(np.sqrt(n) * t / np.sqrt(t**2 + n - 1))


class _Walk:
    """The sum B(t) = sqrt(t) Z(t) of one process for each entry, among those that stayed inside the bounds so far."""

    def __init__(self, size: int, drift: Array | None = None) -> None:
        self.drift = np.zeros(size) if drift is None else drift

    def start(self, share: float, bound: Array) -> None:
        self._place(share, bound)
        away = (self.points - self.drift[:, None] * share) / np.sqrt(share)
        self.mass = self.weights * np.exp(-(away**2) / 2) / np.sqrt(2 * np.pi * share)

    def step(self, share: float, bound: Array) -> None:
        """Go on to `share` and keep what lies within +-bound there, in units of Z."""
        before, mass, gap = self.points, self.mass, share - self.share
        self._place(share, bound)
        centre = before + self.drift[:, None] * gap
        kernel = np.exp(-((self.points[:, :, None] - centre[:, None, :]) ** 2) / (2 * gap)) / np.sqrt(
            2 * np.pi * gap
        )
        self.mass = self.weights * np.einsum("axy,ay->ax", kernel, mass)

    def inside(self) -> Array:
        return np.asarray(self.mass.sum(axis=1))

    def _place(self, share: float, bound: Array) -> None:
        """Points and weights of Gauss and Legendre within the bound, but no further than the process can have come."""
        root = np.sqrt(share)
        low = np.maximum(-bound * root, self.drift * share - _FAR * root)[:, None]
        high = np.minimum(bound * root, self.drift * share + _FAR * root)[:, None]
        half = np.maximum(high - low, 0.0) / 2
        self.points, self.weights, self.share = (low + high) / 2 + half * _NODES, half * _WEIGHTS, share


def _check_shares(shares: Sequence[float]) -> None:
    increasing = all(a < b for a, b in itertools.pairwise(shares))
    if not len(shares) or not increasing or not (shares[0] > 0 and shares[-1] <= 1):
        raise ValueError(f"shares={list(shares)} of the planned sample must increase within (0, 1]")

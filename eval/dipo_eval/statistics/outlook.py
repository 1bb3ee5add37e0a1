"""What more seeds would bring: the chance of a decision, the seeds it takes, the difference that a plan can find.

The items stay. So the mean over S seeds has variance v(S) = by_item + by_seed / S, and more seeds cannot bring it below
by_item; given the mean at the present S_1, the mean at S_2 has variance v(S_2) - v(S_2)^2 / v(S_1) (see sequential.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from dipo_eval.statistics.crossed import Components, Crossed, half_width
from dipo_eval.statistics.plan import Plan
from dipo_eval.statistics.sequential import crossing_probability

Array = NDArray[np.float64]
MOST_SEEDS = 1000
"""The most that more_seeds considers."""
_ENDLESS = 10**9  # seeds, at which only the items' variance is left
_DRAWS = (np.arange(32) + 0.5) / 32  # of the variance between seeds, as probabilities


def chance_to_decide(
    parts: Crossed, seeds: int, level: ArrayLike, equivalence_level: ArrayLike, margin: float | None
) -> Array:
    """Conditional power: the chance that at `seeds` the pair differs, or is equivalent, at these levels, [...].

    The present difference is taken for the true one, and the variances for the true ones: Lan and Wittes 1988, "The
    B-value: a tool for monitoring data", Biometrics 44:579. Earlier looks are not counted.
    """
    later = replace(parts, by_seed=parts.by_seed * parts.seeds / seeds, seeds=seeds)
    now, then = parts.error**2, later.error**2
    spread = np.sqrt(np.maximum(then - then**2 / np.maximum(now, 1e-300), 1e-24))
    distance, width = np.abs(parts.mean), half_width(later, level)
    chance = special.ndtr((distance - width) / spread) + special.ndtr((-distance - width) / spread)
    if margin is not None:
        room = margin - half_width(later, equivalence_level)
        inside = special.ndtr((room - distance) / spread) - special.ndtr((-room - distance) / spread)
        chance = np.minimum(1.0, chance + np.maximum(inside, 0.0))
    return np.asarray(chance)


def seeds_to_decide(
    parts: Crossed, level: ArrayLike, equivalence_level: ArrayLike, margin: float | None, power: float
) -> tuple[Array, NDArray[np.bool_]]:
    """(number of seeds in all, up to 5% too many, at which chance_to_decide reaches `power`, [...]; whether any would).

    The number is infinite above MOST_SEEDS.
    """
    found = np.full(parts.mean.shape, np.inf)
    seeds = parts.seeds
    while seeds < MOST_SEEDS and np.isinf(found).any():
        seeds = max(seeds + 1, min(MOST_SEEDS, int(seeds * 1.05)))
        enough = chance_to_decide(parts, seeds, level, equivalence_level, margin) >= power
        found = np.where(np.isinf(found) & enough, seeds, found)
    endless = chance_to_decide(parts, _ENDLESS, level, equivalence_level, margin) >= power
    return found, np.isfinite(found) | endless


def planned_power(difference: float, plan: Plan, components: Components, items: int, pairs: int = 1) -> float:
    """Chance that a pair with this true difference is found by the last look, if alpha is shared by `pairs`.

    The boundaries are those of the t tests; the variance between seeds, estimated with few degrees of freedom, is
    averaged over its distribution, equally lucky at all looks. Giving up early is not counted (see Plan.futility).
    Raises ValueError for fewer than 2 items or a negative component.
    """
    bounds, shares, error = _boundaries(plan, components, items, pairs)
    return _power(abs(difference) / error, bounds, shares)


def detectable_difference(plan: Plan, components: Components, items: int, pairs: int = 1) -> float:
    """The smallest true difference that the plan finds with its power: planned_power; 1 where it finds none.

    `components` of the differences come from a pilot (crossed_difference). Unlike minimum_detectable_effect, which
    knows one evaluation of each model only, it counts seeds and items. Raises ValueError as planned_power does.
    """
    bounds, shares, error = _boundaries(plan, components, items, pairs)
    most = 1 / error
    if _power(most, bounds, shares) < plan.power:
        return 1.0
    found = optimize.brentq(lambda drift: _power(drift, bounds, shares) - plan.power, 0.0, most, rtol=1e-4)
    return float(found) * error


def _power(drift: float, bounds: Array, shares: list[float]) -> float:
    return float(crossing_probability(bounds, shares, np.full(bounds.shape[1], drift)).mean())


def _boundaries(
    plan: Plan, components: Components, items: int, pairs: int
) -> tuple[Array, list[float], float]:
    """(boundary of each look and draw in standard errors, shares of the information, standard error at the budget)."""
    if items < 2 or min(components.seed, components.item, components.residual) < 0:
        raise ValueError(f"give 2 or more items and components of at least 0, got {items} and {components}")
    floor = components.residual / items
    bounds, variances = [], []
    for seeds, level in zip(plan.looks, plan.levels(pairs)[:, -1], strict=True):
        drawn = (components.seed + floor) * stats.chi2.ppf(_DRAWS, seeds - 1) / (seeds - 1)
        by_seed = np.maximum(drawn, floor) / seeds
        by_item = np.full_like(by_seed, components.item / items)
        degrees = np.full_like(by_seed, items - 1.0)
        nothing = np.zeros_like(by_seed)
        parts = Crossed(nothing, by_seed, by_item, nothing, degrees, seeds, items)
        variances.append((components.seed + floor) / seeds + components.item / items)
        bounds.append(half_width(parts, level) / np.sqrt(variances[-1]))
    shares = [float(variances[-1] / variance) for variance in variances]
    return np.array(bounds), shares, float(np.sqrt(variances[-1]))

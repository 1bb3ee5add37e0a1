"""What a comparison of methods fixes before its first seed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dipo_eval.statistics.sequential import Spending, alpha_spent, nominal_levels


@dataclass(frozen=True)
class Plan:
    """The numbers of seeds at which one looks, of which the last is the budget, and the errors.

    `alpha` is two-sided, for all looks and all pairs of methods together. `margin`, of scores in [0, 1], makes
    "equivalent" possible. `power` is that of planned and of estimated numbers of seeds, `futility` the conditional
    power below which a pair counts as hopeless; 0 never gives up. Raises ValueError for what makes no plan.
    """

    looks: tuple[int, ...]
    alpha: float = 0.05
    margin: float | None = None
    spending: Spending = "obrien_fleming"
    power: float = 0.8
    futility: float = 0.02

    def __post_init__(self) -> None:
        increasing = all(a < b for a, b in itertools.pairwise(self.looks))
        if not self.looks or self.looks[0] < 2 or not increasing:
            raise ValueError(f"looks={self.looks}: give increasing numbers of seeds, from 2 on")
        if not 0 < self.alpha < 1 or not 0 < self.power < 1:
            raise ValueError(f"alpha={self.alpha} and power={self.power} must lie in (0, 1)")
        if not 0 <= self.futility < 1:
            raise ValueError(f"futility={self.futility} must lie in [0, 1), for example 0.02")
        if self.margin is not None and not 0 < self.margin <= 1:
            raise ValueError(f"margin={self.margin} must lie in (0, 1], for example 0.02 for 2 points")
        alpha_spent(self.alpha, 1.0, self.spending)

    @property
    def budget(self) -> int:
        """The most seeds."""
        return self.looks[-1]

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the budget, at each look."""
        return tuple(seeds / self.budget for seeds in self.looks)

    def levels(self, pairs: int) -> NDArray[np.float64]:
        """Two-sided level of each look's own test where alpha is shared by 1, 2, ..., `pairs`; [looks, pairs]."""
        return nominal_levels(self.alpha / np.arange(1, pairs + 1), self.shares, self.spending, self.budget)

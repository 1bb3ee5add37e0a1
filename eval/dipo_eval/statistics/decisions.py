"""Several p-values at once, and how many problems it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from dipo_eval.statistics.quantiles import normal_quantile


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
    z = normal_quantile(confidence) + NormalDist().inv_cdf(power)
    return z * math.sqrt((item_variance + 2 * sample_variance / k) / n)

"""How much samples can tell: detectable differences, and the items that a margin needs.

Normal approximations. For one answer an item (detectable_drop, items_for_margin; the exact tests are in paired_binary)
`change_rate` is the share of items that are correct at one checkpoint alone and `confidence` is one-sided;
tests/eval/statistics/test_paired_binary.py sums their true power over all outcomes.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from scipy import optimize

from dipo_eval.statistics.means import normal_quantile


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

    (z_{alpha/2} + z_{beta}) * sqrt((omega^2 + 2 sigma^2 / k) / n): Miller 2024, arXiv 2411.00640, section on power
    analysis. `item_variance` is omega^2, the variance over items of the true difference; `sample_variance` is sigma^2,
    the mean of p(1-p) of either checkpoint. The defaults suit unrelated checkpoints; estimate both from samples of the
    same run where possible. `confidence` is two-sided.

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


def detectable_drop(n: int, change_rate: float, confidence: float, power: float) -> float:
    """Smallest true drop that n items find with this power; 1 where they find none.

    D sqrt(n) = z_alpha sqrt(r) + z_beta sqrt(r - D^2), r the change rate, which is D at least: Connor 1987, "Sample size
    for testing differences in proportions for the paired-sample design", Biometrics 43:207.
    """
    normal = NormalDist()
    alpha, beta = normal.inv_cdf(confidence), normal.inv_cdf(power)

    def short(drop: float) -> float:
        rate = max(change_rate, drop)
        return alpha * math.sqrt(rate) + beta * math.sqrt(rate - drop * drop) - drop * math.sqrt(n)

    return 1.0 if short(1.0) > 0 else float(optimize.brentq(short, 1e-12, 1.0))


def items_for_margin(margin: float, change_rate: float, confidence: float, power: float) -> int:
    """Items that show a margin with this power where there is no difference.

    ((z_alpha sqrt(v) + z_beta sqrt(r)) / margin)^2, v the variance of an item's difference at the margin that is most
    likely with change rate r: Nam 1997, "Establishing equivalence of two treatments and sample size requirements in
    matched-pairs design", Biometrics 53:1422. Never fewer than those of which none could be lost by chance, were the
    margin the truth.
    """
    normal = NormalDist()
    shift = change_rate - 2 * margin
    rate = (shift + math.sqrt(shift * shift + 4 * change_rate * margin * (1 - margin))) / 4
    variance = 2 * rate + margin * (1 - margin)
    root = normal.inv_cdf(confidence) * math.sqrt(variance) + normal.inv_cdf(power) * math.sqrt(change_rate)
    return math.ceil(max((root / margin) ** 2, math.log(1 - confidence) / math.log1p(-margin)))

"""How much one answer an item can tell: the drop that n items find, and the items that a margin needs.

Normal approximations of the exact tests of paired_binary, whose true power tests/eval/test_paired_binary.py sums over all
outcomes. `change_rate` is the share of items that are right at one checkpoint alone; `confidence` is one-sided.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from scipy import optimize


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

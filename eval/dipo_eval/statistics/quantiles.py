"""Quantiles of two-sided intervals."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must lie in (0, 1), for example 0.95")


def normal_quantile(confidence: float) -> float:
    """The normal quantile of a two-sided interval. Raises ValueError outside (0, 1)."""
    _check_confidence(confidence)
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def t_quantile(confidence: float, degrees: float) -> float:
    """Student's quantile of a two-sided interval. Raises ValueError outside (0, 1)."""
    return float(t_quantiles(confidence, degrees))


def t_quantiles(confidence: float, degrees: ArrayLike) -> NDArray[np.float64]:
    """t_quantile for each of `degrees`."""
    _check_confidence(confidence)
    return np.asarray(stats.t.ppf(0.5 + confidence / 2, degrees))

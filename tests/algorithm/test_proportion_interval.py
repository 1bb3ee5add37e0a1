"""Lower bounds against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from statsmodels.stats.proportion import proportion_confint

from dipo_openrlhf.algorithm.interval import cluster_lower, normal_quantile, wald_lower, wilson_lower


@pytest.mark.parametrize(("lower", "method"), [(wilson_lower, "wilson"), (wald_lower, "normal")])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_and_wald_against_statsmodels(lower, method: str, confidence: float) -> None:  # type: ignore[no-untyped-def]
    n = np.repeat(np.arange(1, 60), 61)
    successes = np.tile(np.arange(0, 61), 59)
    n, successes = n[successes <= n], successes[successes <= n]
    ours = lower(torch.tensor(successes).double(), torch.tensor(n).double(), normal_quantile(confidence))
    theirs = proportion_confint(successes, n, alpha=1 - confidence, method=method)[0]
    # statsmodels clips at 0, which a bound compared with 1/2 does not need
    np.testing.assert_allclose(ours.clamp(min=0).numpy(), theirs, rtol=0, atol=1e-12)


def test_wilson_by_hand() -> None:
    # 8 of 10 at 95%: (0.8 + 0.19207 - 1.96 sqrt(0.016 + 0.009604)) / 1.38415 = 0.4902
    assert float(wilson_lower(torch.tensor(8.0), torch.tensor(10.0), normal_quantile(0.95))) == pytest.approx(
        0.4902, abs=1e-4
    )


def test_cluster_against_statsmodels_cluster_robust_mean() -> None:
    rng = np.random.default_rng(0)
    z = normal_quantile(0.95)
    for _ in range(10):
        n = int(rng.integers(20, 80))
        group = rng.integers(0, 9, n)
        success = (rng.random(n) < rng.random(9)[group]).astype(float)
        left, right = cluster_lower(torch.tensor(success), torch.tensor(group), z)
        for k in range(n):
            expected = (
                robust_lower(success[: k + 1], group[: k + 1], z),
                robust_lower(1 - success[k:], group[k:], z),
            )
            assert (float(left[k]), float(right[k])) == pytest.approx(expected, abs=1e-9)


def test_clusters_of_equal_shares_have_no_error_at_all() -> None:
    # 2 of 3 correct in each of 40 clusters: exactly 2/3, where rounding under the root would give 1e-8
    success = torch.tensor([1.0, 1.0, 0.0] * 40, dtype=torch.float64)
    left, right = cluster_lower(success, torch.arange(120) // 3, 1.96)
    assert float(left[-1]) == pytest.approx(2 / 3, abs=1e-15)
    assert float(right[0]) == pytest.approx(1 / 3, abs=1e-15)


def robust_lower(hits: np.ndarray, group: np.ndarray, z: float) -> float:
    if len(set(group)) < 2:
        return -np.inf
    fit = sm.OLS(hits, np.ones(len(hits))).fit(cov_type="cluster", cov_kwds={"groups": group})
    return float(hits.mean() - z * fit.bse[0])


def test_quantile() -> None:
    assert normal_quantile(0.95) == pytest.approx(1.959964, abs=1e-6)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        normal_quantile(1.0)

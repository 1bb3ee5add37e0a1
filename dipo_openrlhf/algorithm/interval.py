"""Lower confidence bounds of proportions, vectorised over many nested samples."""

from __future__ import annotations

from statistics import NormalDist

import torch


def normal_quantile(confidence: float) -> float:
    """z of a two-sided interval: 1.96 for 0.95. Raises ValueError outside (0, 1)."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence = {confidence!r}: must lie strictly between 0 and 1")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson_lower(successes: torch.Tensor, n: torch.Tensor, z: float) -> torch.Tensor:
    """Lower end of Wilson's score interval, elementwise; float64, n >= 1.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927), 209-212.
    """
    q = successes / n
    spread = z * torch.sqrt(q * (1 - q) / n + z * z / (4 * n * n))
    return (q + z * z / (2 * n) - spread) / (1 + z * z / n)


def wald_lower(successes: torch.Tensor, n: torch.Tensor, z: float) -> torch.Tensor:
    """Lower end of the normal-approximation interval, q - z * sqrt(q(1-q)/n), elementwise; n >= 1."""
    q = successes / n
    return q - z * torch.sqrt(q * (1 - q) / n)


def cluster_lower(
    success_N: torch.Tensor, group_N: torch.Tensor, z: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """q - z * SE with the standard error clustered by group, for every cut of a sequence. O(N log N).

    Returns (left [N], right [N]): left[k] of the successes among the elements 0..k, right[k] of the failures among the
    elements k..N-1. SE^2 = C/(C-1) * sum_c (S_c - q n_c)^2 / n^2, with C clusters on that side, n_c of its elements
    and S_c of its hits in cluster c. Source: Liang and Zeger, Biometrika 73 (1986), 13-22, with the usual small-sample
    factor; without that factor it is E. Miller, arXiv 2411.00640, section 2.2. One cluster has no such error: -inf.

    success_N: float64 of 0 and 1. group_N: int64 ids.
    """
    order_N = torch.sort(group_N, stable=True).indices  # by group, then by position
    grouped_N, hits_N = group_N[order_N], success_N[order_N]
    opens_N = torch.ones_like(grouped_N, dtype=torch.bool)
    opens_N[1:] = grouped_N[1:] != grouped_N[:-1]
    run_N = torch.cumsum(opens_N, 0) - 1  # which cluster
    start = opens_N.nonzero().squeeze(1)
    before_N = torch.cumsum(hits_N, 0) - hits_N

    # in the order of the sequence: elements and successes of the same cluster before each element
    cluster_N, members_N, won_N = torch.empty_like(run_N), torch.empty_like(hits_N), torch.empty_like(hits_N)
    cluster_N[order_N] = run_N
    members_N[order_N] = (torch.arange(len(run_N)) - start[run_N]).double()
    won_N[order_N] = before_N - before_N[start][run_N]
    size_N = torch.bincount(run_N).double()[cluster_N]
    wins_N = torch.bincount(run_N, weights=hits_N)[cluster_N]

    left_N = _running_lower(success_N, members_N, won_N, z)
    # read from the end, the elements after each one are those already counted
    failure_N = 1 - success_N
    members_after_N = size_N - members_N - 1
    lost_after_N = (size_N - wins_N) - (members_N - won_N) - failure_N
    right_N = _running_lower(failure_N.flip(0), members_after_N.flip(0), lost_after_N.flip(0), z)
    return left_N, right_N.flip(0)


def _running_lower(
    hits_N: torch.Tensor, members_N: torch.Tensor, won_N: torch.Tensor, z: float
) -> torch.Tensor:
    """[N] lower bound after each element. members, won: elements and hits of its cluster already counted."""
    # sum_c (S_c - q n_c)^2 = SS - 2 q SN + q^2 NN; each sum grows by a known step with one element
    ss_N = torch.cumsum((2 * won_N + 1) * hits_N, 0)  # (S+x)^2 - S^2 for x in {0, 1}
    sn_N = torch.cumsum(won_N + hits_N * (members_N + 1), 0)  # (S+x)(n+1) - S n
    nn_N = torch.cumsum(2 * members_N + 1, 0)  # (n+1)^2 - n^2
    clusters_N = torch.cumsum((members_N == 0).double(), 0)
    n_N = torch.arange(1, len(hits_N) + 1, dtype=torch.float64)
    total_N = torch.cumsum(hits_N, 0)
    # times n^2, so that all terms are integers and a deviation of 0 comes out as 0, not as sqrt(rounding)
    squares_N = (n_N * n_N * ss_N - 2 * n_N * total_N * sn_N + total_N * total_N * nn_N).clamp(min=0.0)
    factor_N = clusters_N / (clusters_N - 1)  # inf for one cluster
    error_N = torch.where(clusters_N > 1, torch.sqrt(factor_N * squares_N) / (n_N * n_N), torch.inf)
    return total_N / n_N - z * error_N

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


def cluster_lower(success: torch.Tensor, group: torch.Tensor, z: float) -> tuple[torch.Tensor, torch.Tensor]:
    """q - z * SE with the standard error clustered by group, for every cut of a sequence. O(N log N).

    Returns (left[N], right[N]): left[k] of the successes among the elements 0..k, right[k] of the failures
    among the elements k..N-1.
    SE^2 = C/(C-1) * sum_c (S_c - q n_c)^2 / n^2, with C clusters on that side, n_c of its elements and S_c of
    its hits in cluster c. Source: Liang and Zeger, Biometrika 73 (1986), 13-22, with the usual small-sample
    factor; without that factor it is E. Miller, arXiv 2411.00640, section 2.2. One cluster has no such error:
    -inf.

    success[N]: float64 of 0 and 1. group[N]: int64 ids.
    """
    order = torch.sort(group, stable=True).indices  # by group, then by position
    grouped, hits = group[order], success[order]
    opens = torch.ones_like(grouped, dtype=torch.bool)
    opens[1:] = grouped[1:] != grouped[:-1]
    run = torch.cumsum(opens, 0) - 1  # which cluster
    start = opens.nonzero().squeeze(1)
    before = torch.cumsum(hits, 0) - hits

    # in the order of the sequence: elements and successes of the same cluster before each element
    cluster, members, won = torch.empty_like(run), torch.empty_like(hits), torch.empty_like(hits)
    cluster[order] = run
    members[order] = (torch.arange(len(run)) - start[run]).double()
    won[order] = before - before[start][run]
    size, wins = torch.bincount(run).double()[cluster], torch.bincount(run, weights=hits)[cluster]

    left = _running_lower(success, members, won, z)
    # read from the end, the elements after each one are those already counted
    failure = 1 - success
    members_after = size - members - 1
    lost_after = (size - wins) - (members - won) - failure
    right = _running_lower(failure.flip(0), members_after.flip(0), lost_after.flip(0), z)
    return left, right.flip(0)


def _running_lower(hits: torch.Tensor, members: torch.Tensor, won: torch.Tensor, z: float) -> torch.Tensor:
    """[N] lower bound after each of N elements. hits: of each; members, won: elements and hits of its cluster
    already counted.
    """
    # sum_c (S_c - q n_c)^2 = SS - 2 q SN + q^2 NN; each sum grows by a known step with one element
    ss = torch.cumsum((2 * won + 1) * hits, 0)  # (S+x)^2 - S^2 for x in {0, 1}
    sn = torch.cumsum(won + hits * (members + 1), 0)  # (S+x)(n+1) - S n
    nn = torch.cumsum(2 * members + 1, 0)  # (n+1)^2 - n^2
    clusters = torch.cumsum((members == 0).double(), 0)
    n = torch.arange(1, len(hits) + 1, dtype=torch.float64)
    total = torch.cumsum(hits, 0)
    # times n^2, so that all terms are integers and a deviation of 0 comes out as 0, not as sqrt(rounding)
    squares = (n * n * ss - 2 * n * total * sn + total * total * nn).clamp(min=0.0)
    factor = clusters / (clusters - 1)  # inf for one cluster
    error = torch.where(clusters > 1, torch.sqrt(factor * squares) / (n * n), torch.inf)
    return total / n - z * error

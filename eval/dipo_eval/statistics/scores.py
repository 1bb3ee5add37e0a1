"""Scores of several samples of one problem: pass@k and the majority vote."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Sequence


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased probability that at least one of k samples is correct, given c correct of n drawn.

    1 - C(n-c, k) / C(n, k), as a product so that no large binomial is formed: Chen et al. 2021, "Evaluating
    Large Language Models Trained on Code", equation 1 and figure 3, https://arxiv.org/abs/2107.03374.

    Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= c <= n:
        raise ValueError(f"pass_at_k: c={c} correct of n={n} samples is impossible; give 0 <= c <= n")
    if not 1 <= k <= n:
        raise ValueError(f"pass_at_k: k={k} needs 1 <= k <= n={n}; draw more samples or lower k")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def majority_at_k(answers: Sequence[Hashable | None], gold: Hashable | Collection[Hashable]) -> float:
    """Score in [0, 1] of the most frequent answer (self-consistency, Wang et al. 2022, arXiv 2203.11171).

    None is a sample without an answer: it does not vote, and without any vote the score is 0. A tie for the first
    place scores the expectation of a random choice: 2 correct votes against 2 for another answer score 0.5.

    `gold` is the correct answer, or a list, tuple or set of all spellings that count as correct.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    correct = set(gold) if isinstance(gold, list | tuple | set | frozenset) else {gold}
    top = max(votes.values())
    winners = [answer for answer, count in votes.items() if count == top]
    return sum(answer in correct for answer in winners) / len(winners)

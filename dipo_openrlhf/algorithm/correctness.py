"""The verified correctness b of each response."""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.config import CorrectFrom

REWARD_TOLERANCE = 1e-6  # a maximum such as 3.7 comes back from float32 with an error of 1e-7


def correctness(
    scores_PG: torch.Tensor, correct_from: CorrectFrom = "score", reward_max_PG: torch.Tensor | None = None
) -> torch.Tensor:
    """b [P, G] bool from the unshaped scores (never from rewards with a length penalty).

    "score": b = 1 iff score >= 0.5, for graders that answer 0 or 1. "reward_max": b = 1 iff the score
    equals the example's maximum reward_max_PG (broadcast), for rewards on another scale such as
    ToolRL's [-3, 4]. Raises ValueError for a score that is not finite, outside [0, 1] under "score", or
    above its maximum.
    """
    values_PG = scores_PG.detach().float()
    if not bool(torch.isfinite(values_PG).all()):
        raise ValueError(
            "correctness: scores has a value that is not finite; the reward function failed there"
        )
    if correct_from == "score":
        if values_PG.numel() and (float(values_PG.min()) < 0 or float(values_PG.max()) > 1):
            raise ValueError(
                f"correctness: scores span [{float(values_PG.min())}, {float(values_PG.max())}], outside [0, 1]; "
                "set dipo.correct_from to reward_max and give each example its maximum"
            )
        return values_PG >= 0.5
    if correct_from != "reward_max":
        raise ValueError(f"correctness: correct_from {correct_from!r}: must be score or reward_max")
    if reward_max_PG is None:
        raise ValueError("correctness: correct_from reward_max needs reward_max, the maximum of each example")
    maximum_PG = reward_max_PG.detach().float().to(values_PG.device).expand_as(values_PG)
    if not bool((values_PG <= maximum_PG + REWARD_TOLERANCE).all()):  # also catches a NaN maximum
        raise ValueError("correctness: a score is above its example's reward_max; the maximum is wrong")
    return values_PG >= maximum_PG - REWARD_TOLERANCE

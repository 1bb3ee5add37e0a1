"""The verified correctness b of each response."""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.config import CorrectFrom

REWARD_TOLERANCE = 1e-6  # a maximum such as 3.7 comes back from float32 with an error of 1e-7


def correctness(
    scores: torch.Tensor,
    correct_from: CorrectFrom = "score",
    reward_max: torch.Tensor | None = None,
) -> torch.Tensor:
    """b[P, G] bool from the unshaped scores[P, G] (never from rewards with a length penalty).

    "score": b = 1 iff score >= 0.5, for graders that answer 0 or 1. "reward_max": b = 1 iff the score
    equals the example's maximum reward_max (broadcast to [P, G]), for rewards on another scale such as
    ToolRL's [-3, 4]. Raises ValueError for a score that is not finite, outside [0, 1] under "score", or
    above its maximum.
    """
    values = scores.detach().float()
    if not bool(torch.isfinite(values).all()):
        raise ValueError(
            "correctness: scores has a value that is not finite; the reward function failed there"
        )
    if correct_from == "score":
        if values.numel() and (float(values.min()) < 0 or float(values.max()) > 1):
            raise ValueError(
                f"correctness: scores span [{float(values.min())}, {float(values.max())}], outside [0, 1]; "
                "set dipo.correct_from to reward_max and give each example its maximum"
            )
        return values >= 0.5
    if correct_from != "reward_max":
        raise ValueError(f"correctness: correct_from {correct_from!r}: must be score or reward_max")
    if reward_max is None:
        raise ValueError("correctness: correct_from reward_max needs reward_max, the maximum of each example")
    maximum = reward_max.detach().float().to(values.device).expand_as(values)
    if not bool((values <= maximum + REWARD_TOLERANCE).all()):  # also catches a NaN maximum
        raise ValueError("correctness: a score is above its example's reward_max; the maximum is wrong")
    return values >= maximum - REWARD_TOLERANCE

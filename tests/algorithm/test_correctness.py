"""correctness: b from scores."""

from __future__ import annotations

import math

import pytest
import torch

from dipo_openrlhf.algorithm import correctness


def test_score_and_reward_max_tell_apart() -> None:
    scores = torch.tensor([[0.0, 0.5, 1.0, 0.49]])
    assert correctness(scores).tolist() == [[False, True, True, False]]
    assert correctness(scores, "reward_max", torch.ones(1, 1)).tolist() == [[False, False, True, False]]


def test_maximum_of_each_example_and_float_rounding() -> None:
    # ToolRL: R_format in {0, 1} plus R_correct in [-3, 3]
    scores = torch.tensor([[4.0, 3.9, -3.0], [3.7, 3.6999998, 1.0]])
    found = correctness(scores, "reward_max", torch.tensor([[4.0], [3.7]]))
    assert found.tolist() == [[True, False, False], [True, True, False]]


@pytest.mark.parametrize(
    ("scores", "mode", "maximum", "message"),
    [
        (torch.tensor([[-1.0, 1.0]]), "score", None, r"outside \[0, 1\]"),
        (torch.tensor([[math.nan, 1.0]]), "score", None, "not finite"),
        (torch.tensor([[2.0, 1.0]]), "reward_max", None, "needs reward_max"),
        (torch.tensor([[2.0, 1.0]]), "reward_max", torch.tensor([[1.5]]), "above"),
        (torch.tensor([[2.0, 1.0]]), "reward_max", torch.tensor([[math.nan]]), "above"),
        (torch.tensor([[1.0]]), "both", None, "score or reward_max"),
    ],
)
def test_errors(scores: torch.Tensor, mode: str, maximum: torch.Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        correctness(scores, mode, maximum)  # type: ignore[arg-type]


def test_empty() -> None:
    assert correctness(torch.empty(0, 4)).shape == (0, 4)

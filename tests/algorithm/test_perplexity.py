"""sequence_log_ppl: values by hand, masks, precision."""

from __future__ import annotations

import math

import pytest
import torch

from dipo_openrlhf.algorithm import sequence_log_ppl


def test_values_by_hand() -> None:
    log_probs = torch.log(torch.tensor([[0.5, 0.25, 0.9], [0.1, 0.2, 0.3], [0.5, 0.5, 0.5]]))
    mask = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0]])
    p = sequence_log_ppl(log_probs, mask)
    assert float(p[0]) == pytest.approx((math.log(2) + math.log(4)) / 2)  # PPL sqrt(8)
    assert float(p[1]) == pytest.approx(-math.log(0.3))
    assert math.isnan(float(p[2]))


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 1e30])
def test_tool_feedback_between_turns_never_enters(poison: float) -> None:
    # two turns of the policy around three tokens of tool feedback, then padding
    mask = torch.tensor([[1, 1, 0, 0, 0, 1, 1, 0]], dtype=torch.bool)
    clean = torch.tensor([[-1.0, -2.0, 0.0, 0.0, 0.0, -3.0, -4.0, 0.0]])
    dirty = torch.where(mask, clean, poison)
    assert sequence_log_ppl(dirty, mask).tolist() == [2.5]
    assert torch.equal(sequence_log_ppl(dirty, mask.float()), sequence_log_ppl(clean, mask))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_accumulates_in_float32(dtype: torch.dtype) -> None:
    log_probs = torch.full((1, 5000), -0.75, dtype=dtype)  # the sum, -3750, has no bfloat16 of its own
    p = sequence_log_ppl(log_probs, torch.ones(1, 5000))
    assert p.dtype == torch.float32
    assert p.tolist() == [0.75]


def test_non_contiguous_input() -> None:
    log_probs = -torch.rand(7, 4).T
    mask = (torch.rand(7, 4) < 0.7).T
    mask = mask.clone()
    mask[:, 0] = True
    assert not log_probs.is_contiguous()
    expected = sequence_log_ppl(log_probs.contiguous(), mask.contiguous())
    torch.testing.assert_close(sequence_log_ppl(log_probs, mask), expected)


def test_empty_batch() -> None:
    assert sequence_log_ppl(torch.empty(0, 5), torch.empty(0, 5)).shape == (0,)
    assert torch.isnan(sequence_log_ppl(torch.empty(2, 0), torch.empty(2, 0))).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_broken_action_token_is_an_error_naming_the_row(bad: float) -> None:
    log_probs = torch.full((3, 2), -1.0)
    log_probs[1, 1] = bad
    with pytest.raises(ValueError, match="row 1 has an action token"):
        sequence_log_ppl(log_probs, torch.ones(3, 2))


def test_shape_and_type_errors() -> None:
    with pytest.raises(ValueError, match=r"must both be \[B, A\]"):
        sequence_log_ppl(torch.zeros(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"must both be \[B, A\]"):
        sequence_log_ppl(torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match="floating point"):
        sequence_log_ppl(torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3))

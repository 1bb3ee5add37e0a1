"""The plain forward pass against Hugging Face's: logits, log-probabilities and gradients, for each family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dipo_openrlhf.algorithm.decoder import check_model, encode_prompts, shared_log_probs
from dipo_openrlhf.algorithm.reference import score_tokens

Small = Callable[..., Any]
FAMILIES = ("llama", "qwen2", "qwen3")
SHAPES: list[dict[str, Any]] = [
    {},
    {"num_key_value_heads": 2},
    {"tie_word_embeddings": False, "rms_norm_eps": 0.1},
    {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}},
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_the_last_logits_of_prompts_of_any_length_are_hugging_faces(
    small_model: Small, family: str, shape: int
) -> None:
    model = small_model(family, **SHAPES[shape])
    prompts = [[3, 4, 5, 6, 7], [6], [7, 8]]
    tokens = torch.tensor([[0] * (5 - len(prompt)) + prompt for prompt in prompts])
    attention = (tokens != 0).long()
    with torch.no_grad():
        logits = model.lm_head(encode_prompts(model, tokens, attention)[0])
        for prompt, found in zip(prompts, logits, strict=True):
            expected = model(input_ids=torch.tensor([prompt])).logits[0, -1]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def batch(width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(tokens, attention, number of the prompt): six responses to three prompts, in no order, of several lengths."""
    generator = torch.Generator().manual_seed(width)
    prompts = {5: [0, 0, 3, 4], 9: [5, 6, 7, 8], 2: [0, 9, 10, 11]}
    numbers = [9, 5, 9, 2, 5, 9]
    lengths = [width, 1, max(width - 2, 1), width, 2, 1]
    rows, seen = [], []
    for number, length in zip(numbers, lengths, strict=True):
        length = min(length, width)
        answer = torch.randint(1, 16, (length,), generator=generator).tolist()
        rows.append([0, *prompts[number], *answer, *[0] * (width - length), 0])
        prompt_seen = [int(token > 0) for token in prompts[number]]
        seen.append([0, *prompt_seen, *[1] * length, *[0] * (width - length), 0])
    return torch.tensor(rows), torch.tensor(seen), torch.tensor(numbers)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("width", [1, 2, 6])
def test_log_probs_and_gradients_with_shared_prompts_are_those_of_whole_rows(
    small_model: Small, family: str, width: int
) -> None:
    model = small_model(family)
    tokens, attention, numbers = batch(width)
    mask = attention[:, -width - 1 :].bool()
    found, gradients = [], []
    for shared in (True, False):
        model.zero_grad()
        if shared:
            values = shared_log_probs(model, tokens, attention, width + 1, numbers, 0.7)
        else:
            values, _ = score_tokens(model, tokens, attention, width + 1, 0.7)
        (values[mask] * torch.arange(1.0, int(mask.sum()) + 1)).sum().backward()
        found.append(values[mask].detach())
        gradients.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(
            gradients[0][name], gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max())
        )


def test_what_it_does_not_know_is_refused(small_model: Small) -> None:
    check_model(small_model("llama"))
    with pytest.raises(ValueError, match="not qwen3 with gelu"):
        check_model(small_model(hidden_act="gelu"))
    windowed = small_model("qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=0)
    with pytest.raises(ValueError, match="no sliding window"):
        check_model(windowed)

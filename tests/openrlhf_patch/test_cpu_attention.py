"""Packed samples on CPU: the attention of cpu/attention.py, through OpenRLHF's own Actor and transformers' models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from openrlhf.models import Actor
from torch.nn.functional import scaled_dot_product_attention
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from dipo_openrlhf.openrlhf_patch.cpu.attention import flash_attn_func, flash_attn_varlen_func

SIZES = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip
KINDS = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}


@pytest.fixture(params=sorted(KINDS), scope="module")
def folder(request, tmp_path_factory) -> Path:
    """A random model, as a folder of Hugging Face."""
    config, model = KINDS[request.param]
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp(request.param)
    model(config(**SIZES)).save_pretrained(path)
    return path


def scored(folder: Path, packed: bool, checkpointing: bool) -> dict[str, torch.Tensor]:
    """Log-probabilities and entropies of a batch with padding on both sides, and the gradients of both."""
    actor = Actor(
        str(folder),
        attn_implementation="flash_attention_2" if packed else "sdpa",
        param_dtype="fp32",
        packing_samples=packed,
        temperature=0.8,
    ).double()
    if checkpointing:
        actor.gradient_checkpointing_enable()
    actor.train()
    torch.manual_seed(5)
    lengths = [(2, 17), (0, 24), (9, 11), (5, 24)]  # first token and end of each row
    mask_BS = torch.zeros(len(lengths), 24, dtype=torch.long)
    for row, (first, end) in enumerate(lengths):
        mask_BS[row, first:end] = 1
    sequences_BS = torch.randint(1, SIZES["vocab_size"], mask_BS.shape) * mask_BS
    action_mask_BA = mask_BS[:, 12:]
    log_probs, output = actor(sequences_BS, action_mask_BA, mask_BS, return_output=True, return_entropy=True)
    entropy = output.entropy[:, -action_mask_BA.shape[1] :] * action_mask_BA
    weights = torch.linspace(-1, 1, log_probs.numel()).view_as(log_probs)
    (log_probs * weights + 0.1 * entropy).sum().backward()
    found = {"log_probs": log_probs.detach(), "entropy": entropy.detach()}
    return found | {name: one.grad for name, one in actor.model.named_parameters()}


@pytest.mark.parametrize("checkpointing", [False, True], ids=["stored", "checkpointing"])
def test_packed_equals_padded(folder, checkpointing):
    """Rows of one and two tokens in the window, padding left and right: nothing of a neighbour is seen."""
    packed, padded = (scored(folder, packed, checkpointing) for packed in (True, False))
    assert packed["log_probs"].abs().max() > 1
    for name, value in padded.items():
        assert torch.allclose(packed[name].double(), value.double(), atol=1e-6, rtol=1e-6), name


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    heads=st.sampled_from([(4, 4), (6, 2), (3, 1)]),
    causal=st.booleans(),
)
def test_each_sequence_attends_to_itself_alone(lengths, heads, causal):
    """Against one dense attention whose mask allows only one's own sequence."""
    torch.manual_seed(sum(lengths))
    total, size = sum(lengths), 8
    query, key, value = (
        torch.randn(total, count, size, dtype=torch.float64) for count in (heads[0], heads[1], heads[1])
    )
    starts = torch.tensor([0, *lengths]).cumsum(0).int()
    got = flash_attn_varlen_func(query, key, value, starts, starts, causal=causal)
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    allowed = owner[:, None] == owner[None, :]
    if causal:
        allowed &= torch.ones(total, total, dtype=torch.bool).tril()
    want = scaled_dot_product_attention(
        *(one.transpose(0, 1).unsqueeze(0) for one in (query, key, value)), attn_mask=allowed, enable_gqa=True
    )
    assert torch.allclose(got, want.squeeze(0).transpose(0, 1), atol=1e-12)


def test_what_is_not_written_for_cpu_is_refused():
    one = torch.ones(1, 4, 2, 8)
    with pytest.raises(RuntimeError, match="sliding-window"):
        flash_attn_func(one, one, one, window_size=(3, 0))
    with pytest.raises(RuntimeError, match="1 queries to 4 keys"):
        flash_attn_func(one[:, :1], one, one, causal=True)

"""The forward pass of Llama, Qwen2 and Qwen3 in plain functions, over the Hugging Face model's own weights.

For a model of a million parameters Hugging Face's own costs more in Python and in copies than in arithmetic. Here the
caller attends, so that the responses to one prompt can share its keys and values (shared_log_probs, sampling.py).
tests/algorithm/test_decoder.py compares the logits.

Tensor suffixes, beside those of algorithm/__init__.py: L tokens that are fed, K tokens that they may see, S prompt
tokens, H heads, D of a head, V vocabulary, N of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FAMILIES = ("llama", "qwen2", "qwen3")

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, query, key and value of the fed tokens [B, H, L, D]) -> what they take from all that they see [B, H, L, D]."""


def check_model(model: Any) -> None:
    """Raises ValueError for a model whose forward pass this file does not know."""
    config = model.config
    if config.model_type not in FAMILIES or config.hidden_act != "silu":
        raise ValueError(
            f"the reference trainer knows {', '.join(FAMILIES)}, not {config.model_type} with {config.hidden_act}"
        )
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise ValueError("the reference trainer knows no sliding window: set use_sliding_window to false")


def hidden_states(model: Any, tokens_BL: Tensor, positions_BL: Tensor, attend: Attend) -> Tensor:
    """Last hidden states [B, L, N]."""
    states_BLN = model.model.embed_tokens(tokens_BL)
    cosine, sine = (each.unsqueeze(1) for each in model.model.rotary_emb(states_BLN, positions_BL))
    for index, layer in enumerate(model.model.layers):
        block, mlp = layer.self_attn, layer.mlp
        normed = _rms_norm(states_BLN, layer.input_layernorm)
        heads = (*tokens_BL.shape, -1, block.head_dim)
        query = block.q_proj(normed).view(heads)
        key, value = block.k_proj(normed).view(heads), block.v_proj(normed).view(heads)
        if hasattr(block, "q_norm"):  # Qwen3
            query, key = _rms_norm(query, block.q_norm), _rms_norm(key, block.k_norm)
        query, key = (_rotate(each.transpose(1, 2), cosine, sine) for each in (query, key))
        mixed = attend(index, query, key, value.transpose(1, 2))
        states_BLN = states_BLN + block.o_proj(mixed.transpose(1, 2).flatten(2))
        normed = _rms_norm(states_BLN, layer.post_attention_layernorm)
        states_BLN = states_BLN + mlp.down_proj(functional.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed))
    return _rms_norm(states_BLN, model.model.norm)


def _rms_norm(states: Tensor, norm: Any) -> Tensor:
    return functional.rms_norm(states, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _rotate(states_BHLD: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary position embedding, each half of a head turned with the other."""
    left, right = states_BHLD.chunk(2, dim=-1)
    return states_BHLD * cosine + torch.cat((-right, left), dim=-1) * sine


def attention(query: Tensor, keys: Tensor, values: Tensor, bias_BLK: Tensor) -> Tensor:
    """[B, H, L, D]. bias: added to the scores of every head, 0 or -inf; every token must see one."""
    return functional.scaled_dot_product_attention(
        query, keys, values, bias_BLK.unsqueeze(1), enable_gqa=query.shape[1] != keys.shape[1]
    )


def as_bias(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where visible, else -inf."""
    return torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, -torch.inf)


def encode_prompts(
    model: Any, tokens_PS: Tensor, attention_PS: Tensor
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Prompts, padded left: (the hidden state of each one's last token [P, N], keys and values of each layer)."""
    past: list[tuple[Tensor, Tensor]] = []
    width = tokens_PS.shape[1]
    causal_SS = torch.ones(width, width, dtype=torch.bool).tril()
    # what is before a prompt sees itself, for it must see something; nothing sees it
    visible_PSS = causal_SS & attention_PS.bool().unsqueeze(1) | torch.eye(width, dtype=torch.bool)
    bias_PSS = as_bias(visible_PSS, model.dtype)

    def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        past.append((key, value))
        return attention(query, key, value, bias_PSS)

    return hidden_states(model, tokens_PS, positions_of(attention_PS), attend)[:, -1], past


def positions_of(attention_BT: Tensor) -> Tensor:
    """Of each token in its sequence, from 0; what is padded left has position 0."""
    return (attention_BT.cumsum(1) - 1).clamp(min=0)


def shared_log_probs(
    model: Any, tokens_BT: Tensor, attention_BT: Tensor, width: int, prompt_B: Tensor, temperature: float
) -> Tensor:
    """log-probabilities [B, A] of the last `width` tokens, with a gradient. Those of padding hold anything.

    prompt_B: rows with the same number have the same tokens before the last `width`, which are encoded once.
    """
    numbers_P, prompt_B = prompt_B.unique(return_inverse=True)
    first_P = torch.stack([(prompt_B == place).nonzero()[0, 0] for place in range(len(numbers_P))])
    used_T = attention_BT.any(0).nonzero()  # the other columns are padding of every row
    start, end = int(used_T[0]), int(used_T[-1]) + 1
    unused, width = attention_BT.shape[1] - end, width - (attention_BT.shape[1] - end)
    tokens_BT, attention_BT = tokens_BT[:, start:end], attention_BT[:, start:end]
    last_PN, past = encode_prompts(model, tokens_BT[first_P, :-width], attention_BT[first_P, :-width])

    states_BAN = last_PN[prompt_B].unsqueeze(1)
    if width > 1:
        fed, prompt_width = slice(-width, -1), tokens_BT.shape[1] - width
        causal = torch.ones(width - 1, tokens_BT.shape[1] - 1, dtype=torch.bool).tril(prompt_width)
        bias = as_bias(causal & attention_BT[:, :-1].bool().unsqueeze(1), model.dtype)

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = (each[prompt_B] for each in past[index])
            return attention(query, torch.cat((keys, key), dim=2), torch.cat((values, value), dim=2), bias)

        rest = hidden_states(model, tokens_BT[:, fed], positions_of(attention_BT)[:, fed], attend)
        states_BAN = torch.cat((states_BAN, rest), dim=1)
    log_probs_BAV = torch.log_softmax(model.lm_head(states_BAN).float() / temperature, dim=-1)
    log_probs_BA = log_probs_BAV.gather(-1, tokens_BT[:, -width:].unsqueeze(-1)).squeeze(-1)
    return functional.pad(log_probs_BA, (0, unused))

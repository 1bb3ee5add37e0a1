"""A model of a rehearsal: of the recipe's own family, some 100,000 parameters, taught a few problems in seconds."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from dipo_eval.errors import UserError
from dipo_openrlhf.estimate.model_shapes import shape_of
from dipo_openrlhf.quickstart.lessons.lesson import answered
from dipo_openrlhf.quickstart.pretrain import batch_of, response_loss, tokenized
from dipo_openrlhf.rehearse.tasks import Messages, Problem, demonstrations
from dipo_openrlhf.rehearse.tokenizer import build_tokenizer

Model = Qwen2ForCausalLM | Qwen3ForCausalLM | LlamaForCausalLM
CONTEXT = 512  # tokens: more than the longest rehearsal
STEPS, BATCH, SEED = 120, 32, 0
_HEAD = 32  # the smallest that vLLM has on CPU


def make_model(folder: Path, like: str, problems: list[Problem]) -> None:
    """Write a model and its tokenizer to `folder`.

    like: the recipe's model, whose family and tied or untied embeddings it gets. Raises UserError for another family than
    Qwen2, Qwen3 and Llama, whose shape Mistral's is too.
    """
    demonstrated = list(islice(demonstrations(problems, SEED), STEPS * BATCH))
    texts = [text for problem, response in demonstrated for text in (*_contents(problem.messages), response)]
    tokenizer = build_tokenizer(texts, CONTEXT)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # more do not help matrices this small
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model = new_model(tokenizer, like)
            _teach(model, tokenizer, demonstrated)
    finally:
        torch.set_num_threads(threads)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def new_model(tokenizer: PreTrainedTokenizerFast, like: str) -> Model:
    """A small model of the same family with random weights. Raises UserError."""
    shape = shape_of(like)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 2 * _HEAD,
        "intermediate_size": 4 * _HEAD,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": shape.tied,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.08,
        "dtype": "float32",
    }
    if shape.qk_norm:
        return Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=_HEAD))
    if shape.qkv_bias and not shape.output_bias:
        return Qwen2ForCausalLM(Qwen2Config(**sizes))
    if not (shape.qkv_bias or shape.output_bias or shape.mlp_bias):
        return LlamaForCausalLM(LlamaConfig(**sizes))
    raise UserError(
        f"actor.model_name_or_path: {like!r}: a rehearsal has models of the families Qwen2, Qwen3 and Llama alone"
    )


def _contents(messages: Messages) -> list[str]:
    return [message["content"] for message in messages]


def _teach(
    model: Model,
    tokenizer: PreTrainedTokenizerFast,
    demonstrated: list[tuple[Problem, str]],
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, fused=True)
    rows = tokenized(
        [answered(tokenizer, problem.messages, response) for problem, response in demonstrated], tokenizer
    )
    model.train()
    for start in range(0, len(rows), BATCH):
        loss = response_loss(model, batch_of(rows[start : start + BATCH], tokenizer))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()

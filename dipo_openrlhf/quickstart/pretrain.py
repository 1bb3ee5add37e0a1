"""The quickstart's small language model, trained from scratch in about a minute on two CPU cores.

A Qwen3 of 1.1 million parameters is taught generated arithmetic (`dipo_openrlhf.data.arithmetic`) with
supervision, in float32, and saved as an ordinary Hugging Face folder. The result is cached under a hash of
the settings and of the training text, so that a change of either makes a new model.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import (
    GenerationConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from dipo_openrlhf.data.arithmetic import demonstrations
from dipo_openrlhf.quickstart.cache import built_once
from dipo_openrlhf.quickstart.tokenizer import MAX_LENGTH, build_tokenizer

_FINGERPRINT = 500  # demonstrations whose text stands for the whole training text in the cache's key


@dataclass(frozen=True)
class PretrainSettings:
    """Size and training of the small model. Each value is part of the cache's key."""

    hidden_size: int = 160
    layers: int = 3
    heads: int = 5
    key_value_heads: int = 5
    mlp_size: int = 512
    demonstrations: int = 14_000
    batch_size: int = 16  # demonstrations
    initializer_range: float = 0.08  # the usual 0.02 is for wide models and learns more slowly here
    learning_rate: float = 2e-3  # peak, AdamW
    warmup: float = 0.05  # share of the steps
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """Token ids [B, L], and a mask of those the loss is on: the response and its end [B, L]."""

    tokens: torch.Tensor
    loss_mask: torch.Tensor


def pretrained_model(
    cache_dir: Path, settings: PretrainSettings | None = None, progress: bool = True, threads: int = 2
) -> Path:
    """The folder of the pretrained model and its tokenizer, trained now or found in `cache_dir`.

    `threads`: CPU threads to train with; more than two do not help matrices this small.
    """
    settings = settings or PretrainSettings()

    def build(folder: Path) -> dict[str, Any]:
        tokenizer, threads_before = build_tokenizer(), torch.get_num_threads()
        try:
            torch.set_num_threads(threads)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seed)
                model = new_model(tokenizer, settings)
                loss = train(model, tokenizer, settings, progress)
        finally:
            torch.set_num_threads(threads_before)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {"settings": asdict(settings), "parameters": model.num_parameters(), "final_loss": loss}

    return built_once(cache_dir / f"arithmetic-{cache_key(settings)}", "quickstart.json", build)


def cache_key(settings: PretrainSettings) -> str:
    """Sixteen hexadecimal digits that change with the settings and with the training text."""
    sample = [(d.question, d.response) for d in islice(demonstrations(settings.seed), _FINGERPRINT)]
    return hashlib.sha256(json.dumps([asdict(settings), sample]).encode()).hexdigest()[:16]


def new_model(tokenizer: PreTrainedTokenizerFast, settings: PretrainSettings) -> Qwen3ForCausalLM:
    """A Qwen3 with random weights in float32, sized by the settings, its embedding shared with its output."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=settings.mlp_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.key_value_heads,
        head_dim=settings.hidden_size // settings.heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=settings.initializer_range,
        dtype="float32",
        use_cache=True,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def train(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, settings: PretrainSettings, progress: bool
) -> float:
    """Train the model in place with AdamW and a cosine schedule; the mean loss of the last tenth, in nats."""
    batches = make_batches(tokenizer, settings)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=settings.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _learning_rate_share(step / len(batches), settings.warmup)
    )
    model.train()
    losses: list[float] = []
    columns = (
        TextColumn("Teaching a small model arithmetic"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task("pretraining", total=len(batches), loss=float("nan"))
        for batch in batches:
            loss = response_loss(model, batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            bar.update(task, advance=1, loss=losses[-1])
    model.eval()
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


def response_loss(
    model: LlamaForCausalLM | Qwen2ForCausalLM | Qwen3ForCausalLM, batch: Batch
) -> torch.Tensor:
    """Mean cross-entropy in nats over the response tokens of a batch.

    Rows are padded on the right, so that causal attention needs no padding mask; the output layer runs only where the
    loss is.
    """
    hidden = model.model(input_ids=batch.tokens[:, :-1]).last_hidden_state  # [B, L-1, hidden]
    wanted = batch.loss_mask[:, 1:]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[wanted]), batch.tokens[:, 1:][wanted])


def make_batches(tokenizer: PreTrainedTokenizerFast, settings: PretrainSettings) -> list[Batch]:
    """All training batches in training order: rows of similar length together, batches shuffled."""
    examples = list(islice(demonstrations(settings.seed), settings.demonstrations))
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": e.question}], tokenize=False, add_generation_prompt=True
        )
        for e in examples
    ]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    response_ids = tokenizer([e.response for e in examples], add_special_tokens=False)["input_ids"]
    order = torch.randperm(len(examples)).tolist()
    order.sort(key=lambda row: len(prompt_ids[row]) + len(response_ids[row]))
    size = settings.batch_size
    batches = [
        batch_of([(prompt_ids[row], response_ids[row]) for row in order[start : start + size]], tokenizer)
        for start in range(0, len(order), size)
    ]
    return [batches[index] for index in torch.randperm(len(batches)).tolist()]


def batch_of(rows: list[tuple[list[int], list[int]]], tokenizer: PreTrainedTokenizerFast) -> Batch:
    """Token ids of prompts and responses as one batch, padded on the right."""
    length = max(len(prompt) + len(response) for prompt, response in rows) + 1
    tokens = torch.full((len(rows), length), tokenizer.pad_token_id)
    loss_mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, (prompt, response) in enumerate(rows):
        ids = [*prompt, *response, tokenizer.eos_token_id]
        tokens[row, : len(ids)] = torch.tensor(ids)
        loss_mask[row, len(prompt) : len(ids)] = True
    return Batch(tokens, loss_mask)


def _learning_rate_share(done: float, warmup: float) -> float:
    """Share of the peak learning rate after `done` (0 to 1) of the steps: linear, then cosine to 0."""
    if done < warmup:
        return (done + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))

"""The quickstart's small language model, trained from scratch in about a minute on two CPU cores.

A Qwen3 of about a million parameters is taught the conversations of a lesson (lessons/) with supervision, in float32, and
saved as an ordinary Hugging Face folder. The result is cached under a hash of all that decides it but the processor: the
settings, the training text and the number of threads.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
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

from dipo_openrlhf.quickstart.cache import built_once
from dipo_openrlhf.quickstart.lessons import arithmetic
from dipo_openrlhf.quickstart.lessons.lesson import Conversation, Lesson, PretrainSettings

_FINGERPRINT = 500  # conversations whose text stands for the whole training text in the cache's key
THREADS = 2
"""With another number sums are rounded differently, and it is another model. More do not help matrices this small."""


@dataclass(frozen=True)
class Batch:
    """Token ids [B, L], and a mask of those the loss is on: what the model says, and its end [B, L]."""

    tokens: torch.Tensor
    loss_mask: torch.Tensor


def pretrained_model(
    cache_dir: Path,
    settings: PretrainSettings | None = None,
    progress: bool = True,
    lesson: Lesson = arithmetic.LESSON,
) -> Path:
    """The folder of the pretrained model and its tokenizer, trained now or found in `cache_dir`.

    `settings`: None for the lesson's own.
    """
    settings = settings or lesson.settings

    def build(folder: Path) -> dict[str, Any]:
        tokenizer, threads_before = lesson.build_tokenizer(), torch.get_num_threads()
        try:
            torch.set_num_threads(THREADS)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seed)
                model = new_model(tokenizer, settings)
                loss = train(model, tokenizer, settings, progress, lesson)
        finally:
            torch.set_num_threads(threads_before)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {"settings": asdict(settings), "parameters": model.num_parameters(), "final_loss": loss}

    return built_once(cache_dir / f"{lesson.name}-{cache_key(settings, lesson)}", "quickstart.json", build)


def cache_key(settings: PretrainSettings, lesson: Lesson = arithmetic.LESSON) -> str:
    """Sixteen hexadecimal digits that change with the settings, the training text and the number of threads."""
    sample = islice(lesson.conversations(lesson.build_tokenizer(), settings.seed), _FINGERPRINT)
    texts = [[piece.text for piece in conversation] for conversation in sample]
    return hashlib.sha256(json.dumps([asdict(settings), texts, THREADS]).encode()).hexdigest()[:16]


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
        max_position_embeddings=tokenizer.model_max_length,
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
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    settings: PretrainSettings,
    progress: bool,
    lesson: Lesson = arithmetic.LESSON,
) -> float:
    """Train the model in place with AdamW and a cosine schedule; the mean loss of the last tenth, in nats."""
    batches = make_batches(tokenizer, settings, lesson)
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
        TextColumn(lesson.title),
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
    """Mean cross-entropy in nats over the learnt tokens of a batch.

    Rows are padded on the right, so that causal attention needs no padding mask; the output layer runs only where the
    loss is.
    """
    hidden = model.model(input_ids=batch.tokens[:, :-1]).last_hidden_state  # [B, L-1, hidden]
    wanted = batch.loss_mask[:, 1:]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[wanted]), batch.tokens[:, 1:][wanted])


def make_batches(
    tokenizer: PreTrainedTokenizerFast, settings: PretrainSettings, lesson: Lesson = arithmetic.LESSON
) -> list[Batch]:
    """All training batches in training order: rows of similar length together, batches shuffled."""
    taught = list(islice(lesson.conversations(tokenizer, settings.seed), settings.demonstrations))
    rows = tokenized(taught, tokenizer)
    order = torch.randperm(len(rows)).tolist()
    order.sort(key=lambda row: len(rows[row][0]))
    size = settings.batch_size
    batches = [
        batch_of([rows[row] for row in order[start : start + size]], tokenizer)
        for start in range(0, len(order), size)
    ]
    return [batches[index] for index in torch.randperm(len(batches)).tolist()]


Row = tuple[list[int], list[bool]]


def tokenized(conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerFast) -> list[Row]:
    """Each conversation's token ids, and whether each is learnt."""
    pieces = [piece for conversation in conversations for piece in conversation]
    ids = iter(tokenizer([piece.text for piece in pieces], add_special_tokens=False)["input_ids"])
    rows = []
    for conversation in conversations:
        row: Row = ([], [])
        for piece in conversation:
            tokens = next(ids)
            row[0].extend(tokens)
            row[1].extend([piece.learnt] * len(tokens))
        rows.append(row)
    return rows


def batch_of(rows: Sequence[Row], tokenizer: PreTrainedTokenizerFast) -> Batch:
    """Rows of token ids as one batch, padded on the right."""
    length = max(len(ids) for ids, _ in rows)
    tokens = torch.full((len(rows), length), tokenizer.pad_token_id)
    loss_mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, (ids, learnt) in enumerate(rows):
        tokens[row, : len(ids)] = torch.tensor(ids)
        loss_mask[row, : len(ids)] = torch.tensor(learnt)
    return Batch(tokens, loss_mask)


def _learning_rate_share(done: float, warmup: float) -> float:
    """Share of the peak learning rate after `done` (0 to 1) of the steps: linear, then cosine to 0."""
    if done < warmup:
        return (done + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))

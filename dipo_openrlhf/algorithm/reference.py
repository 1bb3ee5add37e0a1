"""DiPO in one file: an in-process trainer that reads like the paper.

For reading, for experiments with many seeds, and as the oracle the production path is checked against;
nothing else uses it. One device, no vLLM, no Ray. Source: arXiv 2604.13902; clip and loss of DAPO, arXiv
2503.14476. Every step: sample G responses to each of P prompts, grade them, push their perplexities to the
queue, find the threshold, reallocate rewards of extreme groups, take one clipped token-level loss on A(R) +
alpha * A(R_r).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.algorithm.advantages import dipo_advantages, zero_variance_groups
from dipo_openrlhf.algorithm.config import DipoConfig
from dipo_openrlhf.algorithm.correctness import correctness
from dipo_openrlhf.algorithm.method import Baseline, Reduction, Rollout, spread_over_tokens
from dipo_openrlhf.algorithm.metrics import Metrics
from dipo_openrlhf.algorithm.perplexity import sequence_log_ppl
from dipo_openrlhf.algorithm.perplexity_queue import PerplexityQueue

Grade = Callable[[int, list[int]], float]
"""(index of the prompt, response tokens without end or padding) -> score in [0, 1]."""


@dataclass(frozen=True)
class ReferenceConfig:
    """Settings of the reference trainer. Lengths and limits in tokens; lr per AdamW step."""

    eos_token_id: int
    pad_token_id: int
    dipo: DipoConfig = field(default_factory=DipoConfig)
    steps: int = 10
    prompts_per_step: int = 8
    n_samples_per_prompt: int = 8
    max_new_tokens: int = 16
    temperature: float = 1.0
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.95)  # AdamW's, OpenRLHF's default
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    clip_low: float = 0.2
    clip_high: float = 0.28
    epochs: int = 1
    mini_batches: int = 1
    max_resamples: int = 4
    """Dynamic sampling alone: further rounds at most; then it trains on the groups it has."""
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """Sampled responses, B = P * G rows in group order, prompts padded left and responses right.

    tokens[B, T + A], attention[B, T + A], action_mask[B, A]; log_probs[B, A] and entropy[B, A] of pi_old;
    scores[B] unshaped, in [0, 1].
    """

    tokens: torch.Tensor
    attention: torch.Tensor
    action_mask: torch.Tensor
    log_probs: torch.Tensor
    entropy: torch.Tensor
    scores: torch.Tensor


def train(
    model: Any,
    prompts: Sequence[Sequence[int]],
    grade: Grade,
    config: ReferenceConfig,
    queue: PerplexityQueue | None = None,
) -> Iterator[Metrics]:
    """Trains a HF causal language model in place and yields each step's metrics.

    model: called as model(input_ids, attention_mask, position_ids, past_key_values, use_cache), as a HF
    causal LM is. prompts: token ids. queue: give one to read it afterwards or to go on from a saved state.
    The same seed, model and prompts give the same run on one machine. Scores become rewards as they are.
    Raises ValueError for no prompts or a bad score.
    """
    if not prompts or any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("reference.train: prompts must hold at least one prompt, each of at least one token")
    method = _method(config)
    queue = PerplexityQueue(config.dipo.queue_batches) if queue is None else queue
    generator = torch.Generator().manual_seed(config.seed)
    optimizer = new_optimizer(model, config)
    model.eval()  # no dropout: pi_old must be the distribution the loss compares with
    for step in range(config.steps):
        batch, sampled = _collect(model, prompts, grade, config, method, generator)
        metrics, _ = learn(model, optimizer, batch, config, queue, generator, step / config.steps)
        metrics |= {
            "step": float(step),
            "accuracy": float(sampled.mean()),
            "sampled_responses": float(len(sampled)),
            "entropy": float(batch.entropy[batch.action_mask].mean()),
            "response_tokens": float(batch.action_mask.sum(1).float().mean()),
        }
        yield metrics


def new_optimizer(model: Any, config: ReferenceConfig) -> torch.optim.Optimizer:
    """AdamW as the config says."""
    return torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
    )


def learn(
    model: Any,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: ReferenceConfig,
    queue: PerplexityQueue,
    generator: torch.Generator,
    progress: float = 0.0,
) -> tuple[Metrics, torch.Tensor]:
    """One training step on a graded batch: (metrics with the mean "loss", token advantages[B, A])."""
    method = _method(config)
    advantages, metrics = _advantages(batch, config, method, queue, progress)
    losses = _update(model, optimizer, batch, advantages, config, method, generator)
    return metrics | {"loss": sum(losses) / len(losses)}, advantages


def _method(config: ReferenceConfig) -> Baseline | None:
    return None if config.dipo.method == "dipo" else methods.get(config.dipo.method)


def _collect(
    model: Any,
    prompts: Sequence[Sequence[int]],
    grade: Grade,
    config: ReferenceConfig,
    method: Baseline | None,
    generator: torch.Generator,
) -> tuple[Batch, torch.Tensor]:
    """One rollout batch, and the scores of everything sampled for it: with dynamic sampling, zero-variance
    groups are replaced by groups of further prompts."""
    batch = _rollout(model, prompts, grade, config, generator)
    if method is None or not method.dynamic_sampling:
        return batch, batch.scores
    sampled = [batch.scores]
    kept = _mixed_groups(batch, config)
    for _ in range(config.max_resamples):
        if len(kept.scores) >= len(batch.scores):
            break
        more = _rollout(model, prompts, grade, config, generator)
        sampled.append(more.scores)
        kept = _join(kept, _mixed_groups(more, config), config.pad_token_id)
    if len(kept.scores) == 0:
        return batch, torch.cat(sampled)  # nothing to learn from: every advantage of this batch is 0
    return _take(kept, torch.arange(min(len(kept.scores), len(batch.scores)))), torch.cat(sampled)


def _mixed_groups(batch: Batch, config: ReferenceConfig) -> Batch:
    scores = batch.scores.reshape(-1, config.n_samples_per_prompt)
    mixed = ~zero_variance_groups(scores)
    return _take(batch, mixed.repeat_interleave(config.n_samples_per_prompt).nonzero().squeeze(1))


def _take(batch: Batch, rows: torch.Tensor) -> Batch:
    return Batch(**{key: value[rows] for key, value in vars(batch).items()})


def _join(first: Batch, second: Batch, pad: int) -> Batch:
    """Both batches as one; the shorter prompts padded left, the shorter responses right."""
    actions = max(first.action_mask.shape[1], second.action_mask.shape[1])
    prompt = max(part.tokens.shape[1] - part.action_mask.shape[1] for part in (first, second))
    parts = []
    for part in (first, second):
        right = actions - part.action_mask.shape[1]
        left = prompt + actions - part.tokens.shape[1] - right
        sides = {"tokens": (left, right), "attention": (left, right), "scores": (0, 0)}
        fill = {"tokens": pad}
        parts.append(
            {
                key: torch.nn.functional.pad(value, sides.get(key, (0, right)), value=fill.get(key, 0))
                for key, value in vars(part).items()
            }
        )
    return Batch(**{key: torch.cat([parts[0][key], parts[1][key]]) for key in parts[0]})


@torch.no_grad()
def _rollout(
    model: Any,
    prompts: Sequence[Sequence[int]],
    grade: Grade,
    config: ReferenceConfig,
    generator: torch.Generator,
) -> Batch:
    """Samples, grades and scores under pi_old: G responses to each of P prompts drawn without replacement."""
    order = torch.randperm(len(prompts), generator=generator).tolist()
    repeats = -(-config.prompts_per_step // len(prompts))
    chosen = (order * repeats)[: config.prompts_per_step]
    rows = [index for index in chosen for _ in range(config.n_samples_per_prompt)]
    tokens, attention, action_mask = sample(model, [prompts[index] for index in rows], config, generator)
    width = action_mask.shape[1]
    scores = []
    for index, row, mask in zip(rows, tokens[:, -width:], action_mask, strict=True):
        response = [token for token in row[mask].tolist() if token != config.eos_token_id]
        scores.append(float(grade(index, response)))
    log_probs, entropy = score_tokens(model, tokens, attention, width, config.temperature)
    return Batch(tokens, attention, action_mask, log_probs, entropy, torch.tensor(scores))


@torch.no_grad()
def sample(
    model: Any, prompts: Sequence[Sequence[int]], config: ReferenceConfig, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Samples one response to each prompt: tokens[B, T + A], attention[B, T + A], action_mask[B, A] bool.

    The end token is an action token; what follows it is padding.
    """
    width = max(len(prompt) for prompt in prompts)
    tokens = torch.tensor([[config.pad_token_id] * (width - len(p)) + list(p) for p in prompts])
    attention = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    alive = torch.ones(len(prompts), dtype=torch.bool)
    actions: list[torch.Tensor] = []
    cache, feed = None, tokens
    while len(actions) < config.max_new_tokens and bool(alive.any()):
        positions = (attention.cumsum(1) - 1).clamp(min=0)[:, -feed.shape[1] :]
        out = model(
            input_ids=feed,
            attention_mask=attention,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        cache = out.past_key_values
        probs = torch.softmax(out.logits[:, -1].float() / config.temperature, dim=-1)
        token = torch.multinomial(probs, 1, generator=generator).squeeze(1)
        token = torch.where(alive, token, config.pad_token_id)
        actions.append(alive.clone())
        tokens = torch.cat([tokens, token.unsqueeze(1)], dim=1)
        attention = torch.cat([attention, alive.long().unsqueeze(1)], dim=1)
        alive = alive & (token != config.eos_token_id)
        feed = token.unsqueeze(1)
    return tokens, attention, torch.stack(actions, dim=1)


def score_tokens(
    model: Any, tokens: torch.Tensor, attention: torch.Tensor, width: int, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probability, full-vocabulary entropy), each [B, A], of the last `width` tokens of tokens[B, T +
    A]."""
    positions = (attention.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=tokens, attention_mask=attention, position_ids=positions, use_cache=False).logits
    all_log_probs = torch.log_softmax(logits[:, -width - 1 : -1].float() / temperature, dim=-1)
    log_probs = all_log_probs.gather(-1, tokens[:, -width:].unsqueeze(-1)).squeeze(-1)
    entropy = -(all_log_probs.exp() * all_log_probs).sum(-1)
    return log_probs, entropy.detach()


def _advantages(
    batch: Batch,
    config: ReferenceConfig,
    method: Baseline | None,
    queue: PerplexityQueue,
    progress: float,
) -> tuple[torch.Tensor, Metrics]:
    """Token advantages[B, A] of DiPO or of a baseline, and the metrics of DiPO (of a baseline, none)."""
    group = (-1, config.n_samples_per_prompt)
    rewards = batch.scores.reshape(group)  # [P, G]
    log_ppl = sequence_log_ppl(batch.log_probs, batch.action_mask).reshape(group)
    mask = batch.action_mask.reshape(*rewards.shape, -1)  # [P, G, A]
    correct = correctness(rewards, config.dipo.correct_from, torch.ones_like(rewards))
    if method is None:
        tokens_each = mask.sum(-1)
        advantages, metrics = dipo_advantages(
            rewards, correct, log_ppl, config.dipo, queue, num_tokens=tokens_each
        )
        return spread_over_tokens(advantages, mask).reshape(batch.action_mask.shape), metrics
    entropy = batch.entropy.reshape(mask.shape)
    rollout = Rollout(rewards, correct, mask, log_ppl, entropy, progress)
    token_advantages = method.advantages(rollout)
    return token_advantages.reshape(batch.action_mask.shape), {}


def clipped_loss(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    advantages: torch.Tensor,
    action_mask: torch.Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    reduction: Reduction = "token_mean",
    max_tokens: int | None = None,
) -> torch.Tensor:
    """PPO's clipped loss on [B, A] tensors, -min(ratio A, clip(ratio, 1 - low, 1 + high) A), as a scalar.

    token_mean: over all action tokens of the batch (DAPO). response_mean: mean of each response, then over
    responses (GRPO). constant: sum over B * max_tokens, the token limit, default A (Dr. GRPO). Raises
    ValueError without an action token.
    """
    if not bool(action_mask.any()):
        raise ValueError("clipped_loss: no action token in the batch")
    ratio = (log_probs - old_log_probs).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    loss = -torch.minimum(ratio * advantages, clipped * advantages) * action_mask
    if reduction == "token_mean":
        return loss.sum() / action_mask.sum()
    if reduction == "response_mean":
        return (loss.sum(1) / action_mask.sum(1).clamp(min=1)).mean()
    return loss.sum() / (loss.shape[0] * (max_tokens or loss.shape[1]))


def _update(
    model: Any,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    advantages: torch.Tensor,
    config: ReferenceConfig,
    method: Baseline | None,
    generator: torch.Generator,
) -> list[float]:
    """AdamW steps over the batch, in random mini-batches; the loss of each."""
    clip = (config.clip_low, config.clip_high) if method is None else (method.clip_low, method.clip_high)
    reduction: Reduction = "token_mean" if method is None else method.reduction
    losses = []
    for _ in range(config.epochs):
        for rows in torch.randperm(len(advantages), generator=generator).chunk(config.mini_batches):
            log_probs, _ = score_tokens(
                model, batch.tokens[rows], batch.attention[rows], advantages.shape[1], config.temperature
            )
            loss = clipped_loss(
                log_probs,
                batch.log_probs[rows],
                advantages[rows],
                batch.action_mask[rows],
                *clip,
                reduction,
                max_tokens=config.max_new_tokens,
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses

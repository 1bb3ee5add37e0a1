"""All methods in one file: an in-process trainer that reads like the paper.

For reading, for experiments with many seeds, and as the oracle the production path is checked against; nothing else
uses it. One device, no vLLM, no Ray. Every step: sample G responses to each of P prompts, grade them, take DiPO's step
on them (push their perplexities to the queue, find the threshold, reallocate rewards of extreme groups), take the
method's advantages, and minimise one clipped loss.

Two things are done for speed alone, in files of their own: sampling (sampling.py), and the model's forward pass, in which
responses share their prompt (decoder.py). `score_tokens` is the plain one that both are tested against.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.algorithm.advantages import zero_variance_groups
from dipo_openrlhf.algorithm.config import DipoConfig
from dipo_openrlhf.algorithm.correctness import correctness
from dipo_openrlhf.algorithm.decoder import positions_of, shared_log_probs
from dipo_openrlhf.algorithm.method import Method, Reduction, Rollout
from dipo_openrlhf.algorithm.methods.dipo import reallocation_advantages
from dipo_openrlhf.algorithm.metrics import Metrics
from dipo_openrlhf.algorithm.passes import in_passes
from dipo_openrlhf.algorithm.perplexity import sequence_log_ppl
from dipo_openrlhf.algorithm.perplexity_queue import PerplexityQueue
from dipo_openrlhf.algorithm.sampling import sample

Prompts = Sequence[Sequence[int]]
Grade = Callable[[int, list[int]], float]
"""(index of the prompt, response tokens without end or padding) -> score in [0, 1]."""


@dataclass(frozen=True)
class ReferenceConfig:
    """Settings of the reference trainer. Lengths and limits in tokens; lr per AdamW step.

    budget_tokens: what it may generate, thrown-away responses included; the step that reaches it is the last, whatever
    `steps` says.
    """

    eos_token_id: int
    pad_token_id: int
    dipo: DipoConfig = field(default_factory=DipoConfig)
    steps: int = 10
    budget_tokens: int | None = None
    prompts_per_step: int = 8
    n_samples_per_prompt: int = 8
    max_new_tokens: int = 16
    temperature: float = 1.0
    lr: float = 1e-4
    max_grad_norm: float = 1.0
    epochs: int = 1
    mini_batches: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """Sampled responses, prompts padded left and responses right; log_probs and entropy of pi_old; unshaped scores in
    [0, 1]."""

    tokens_BT: Tensor
    attention_BT: Tensor
    action_mask_BA: Tensor
    log_probs_BA: Tensor
    entropy_BA: Tensor
    scores_B: Tensor

    def rows(self, index: Tensor | slice) -> Batch:
        """These rows alone."""
        return Batch(*(value[index] for value in vars(self).values()))


def train(
    model: Any, prompts: Prompts, grade: Grade, config: ReferenceConfig, queue: PerplexityQueue | None = None
) -> Iterator[Metrics]:
    """Trains a HF causal language model in place and yields each step's metrics.

    model: of a family that decoder.py knows. prompts: token ids. queue: give one to read it afterwards or to go on from
    a saved state. The same seed, model and prompts give the same run on one machine. Scores become rewards as they are.
    Raises ValueError for no prompts, a bad score, an
    unknown family or keep_and_refill, which it does not have.
    """
    if not prompts or any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("reference.train: prompts must hold at least one prompt, each of at least one token")
    if config.dipo.keep_and_refill:
        raise ValueError(
            "dipo.keep_and_refill = True: the reference trainer does not have it; the full stack does"
        )
    method = methods.get(config.dipo.method)
    queue = PerplexityQueue(config.dipo.queue_batches) if queue is None else queue
    generator = Generator().manual_seed(config.seed)
    order = prompt_order(len(prompts), config.seed)
    optimizer = new_optimizer(model, config)
    model.eval()  # no dropout: pi_old must be the distribution the loss compares with
    tokens = 0
    for step in count() if config.budget_tokens else range(config.steps):
        progress = tokens / config.budget_tokens if config.budget_tokens else step / config.steps
        batch, sampled = _collect(model, prompts, grade, config, method, generator, order)
        metrics, advantages_BA = learn(model, optimizer, batch, config, queue, generator, progress)
        groups_PX = advantages_BA.reshape(-1, config.n_samples_per_prompt * advantages_BA.shape[1])
        trained = int((groups_PX != 0).any(1).sum())
        tokens += sampled.tokens
        yield metrics | {
            "step": float(step),
            "tokens": float(tokens),
            "accuracy": float(sampled.scores_B.mean()),
            "sampled_responses": float(len(sampled.scores_B)),
            "responses": float(len(batch.scores_B)),
            "zero_gradient_share": 1 - trained * config.n_samples_per_prompt / len(sampled.scores_B),
            "entropy": float(batch.entropy_BA[batch.action_mask_BA].mean()),
            "response_tokens": float(batch.action_mask_BA.sum(1).float().mean()),
        }
        if config.budget_tokens and tokens >= config.budget_tokens:
            return


def prompt_order(prompts: int, seed: int) -> Iterator[int]:
    """Indices of the prompts, endlessly: all of them in random order, and again in another.

    It has a generator of its own, so that one seed asks the same prompts in the same order whatever is sampled.
    """
    generator = Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(prompts, generator=generator).tolist()


def new_optimizer(model: Any, config: ReferenceConfig) -> torch.optim.Optimizer:
    """AdamW with OpenRLHF's defaults."""
    return torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )


def learn(
    model: Any, optimizer: torch.optim.Optimizer, batch: Batch, config: ReferenceConfig, queue: PerplexityQueue,
    generator: Generator, progress: float = 0.0,
) -> tuple[Metrics, Tensor]:  # fmt: skip
    """One training step on a graded batch, in random mini-batches: (metrics with the mean "loss", advantages [B, A]).

    The batch is in groups; the responses of a group have one prompt.
    """
    method = methods.get(config.dipo.method)
    advantages_BA, metrics = _advantages(batch, config, method, queue, progress)
    losses = []
    for _ in range(config.epochs):
        for rows in torch.randperm(len(advantages_BA), generator=generator).chunk(config.mini_batches):
            for weight in model.parameters():  # zeros, not None: AdamW moves on without an advantage too
                weight.grad = torch.zeros_like(weight)
            losses.append(add_gradient(model, batch, advantages_BA, rows, config, method))
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
    return metrics | {"loss": sum(losses) / len(losses)}, advantages_BA


def add_gradient(
    model: Any, batch: Batch, advantages_BA: Tensor, rows: Tensor, config: ReferenceConfig, method: Method
) -> float:
    """The clipped loss over these rows; its gradient is added to the model's, one part of them after another.

    A row without an advantage adds nothing to either, whatever the model says: it is left out.
    """
    mask_BA, group = batch.action_mask_BA, config.n_samples_per_prompt
    weights_BA = torch.zeros(mask_BA.shape)
    weights_BA[rows] = token_weights(mask_BA[rows], method.reduction, config.max_new_tokens)
    rows = rows[(advantages_BA[rows] * weights_BA[rows] != 0).any(1)].sort().values
    prompt_tokens = batch.tokens_BT.shape[1] - mask_BA.shape[1]
    loss = 0.0
    for few in in_passes(rows, mask_BA[rows].sum(1), rows // group, prompt_tokens):
        part = batch.rows(few)
        new_BA = shared_log_probs(
            model, part.tokens_BT, part.attention_BT, mask_BA.shape[1], few // group, config.temperature
        )
        clips = method.clip_low, method.clip_high
        part_loss = surrogate(new_BA, part.log_probs_BA, advantages_BA[few], weights_BA[few], *clips)
        part_loss.backward()
        loss += float(part_loss.detach())
    return loss


def _advantages(
    batch: Batch, config: ReferenceConfig, method: Method, queue: PerplexityQueue, progress: float
) -> tuple[Tensor, Metrics]:
    """Token advantages [B, A] of the method, and what DiPO's step logs, which changes nothing for other methods."""
    group, dipo = (-1, config.n_samples_per_prompt), config.dipo.for_method(method)
    rewards_PG = batch.scores_B.reshape(group)
    log_ppl_PG = sequence_log_ppl(batch.log_probs_BA, batch.action_mask_BA).reshape(group)
    action_mask_PGA = batch.action_mask_BA.reshape(*rewards_PG.shape, -1)
    correct_PG = correctness(rewards_PG, dipo.correct_from, torch.ones_like(rewards_PG))
    result = reallocation_advantages(
        rewards_PG, correct_PG, log_ppl_PG, dipo, queue, num_tokens=action_mask_PGA.sum(-1)
    )
    entropy_PGA = batch.entropy_BA.reshape(action_mask_PGA.shape) if method.needs_entropy else None
    rollout = Rollout(
        rewards_PG, correct_PG, action_mask_PGA, log_ppl_PG, entropy_PGA, progress, result.advantages_r_PG,
        dipo.estimator,
    )  # fmt: skip
    return method.advantages(rollout).reshape(batch.action_mask_BA.shape), result.metrics


def clipped_loss(
    log_probs_BA: Tensor, old_log_probs_BA: Tensor, advantages_BA: Tensor, action_mask_BA: Tensor,
    clip_low: float = 0.2, clip_high: float = 0.28, reduction: Reduction = "token_mean",
    max_tokens: int | None = None,
) -> Tensor:  # fmt: skip
    """PPO's clipped loss -min(ratio A, clip(ratio, 1 - low, 1 + high) A), as a scalar.

    token_mean: over all action tokens of the batch (DAPO). response_mean: mean of each response, then over responses
    (GRPO). constant: sum over B * max_tokens, the token limit, default A (Dr. GRPO). Raises ValueError without an
    action token.
    """
    weights_BA = token_weights(action_mask_BA, reduction, max_tokens)
    return surrogate(log_probs_BA, old_log_probs_BA, advantages_BA, weights_BA, clip_low, clip_high)


def surrogate(
    log_probs_BA: Tensor, old_log_probs_BA: Tensor, advantages_BA: Tensor, weights_BA: Tensor, clip_low: float,
    clip_high: float,
) -> Tensor:  # fmt: skip
    """The sum over tokens of -min(ratio A, clip(ratio) A) times the token's weight."""
    # what has no weight may hold anything, also what overflows
    ratio_BA = (log_probs_BA - old_log_probs_BA).masked_fill(weights_BA == 0, 0.0).exp()
    clipped_BA = ratio_BA.clamp(1 - clip_low, 1 + clip_high)
    return -(torch.minimum(ratio_BA * advantages_BA, clipped_BA * advantages_BA) * weights_BA).sum()


def token_weights(action_mask_BA: Tensor, reduction: Reduction, max_tokens: int | None = None) -> Tensor:
    """Each token's share of a loss over this batch [B, A], 0 for what is no action; as in `clipped_loss`."""
    if not bool(action_mask_BA.any()):
        raise ValueError("clipped_loss: no action token in the batch")
    if reduction == "token_mean":
        return action_mask_BA / action_mask_BA.sum()
    if reduction == "response_mean":
        return action_mask_BA / (action_mask_BA.sum(1, keepdim=True).clamp(min=1) * len(action_mask_BA))
    return action_mask_BA / (len(action_mask_BA) * (max_tokens or action_mask_BA.shape[1]))


@dataclass(frozen=True)
class Sampled:
    """Everything that was sampled for a rollout batch, thrown-away responses included: scores, action tokens in all."""

    scores_B: Tensor
    tokens: int


def _collect(
    model: Any, prompts: Prompts, grade: Grade, config: ReferenceConfig, method: Method, generator: Generator,
    order: Iterator[int],
) -> tuple[Batch, Sampled]:  # fmt: skip
    """One rollout batch, and what was sampled for it.

    With dynamic sampling, zero-variance groups (all-incorrect ones may stay) are replaced by groups of as many further
    prompts, at most refill_cap times the batch; a batch that is still short is trained as it is.
    """
    batch = collect_once(model, prompts, grade, config, generator, order)
    size = config.n_samples_per_prompt
    if not method.dynamic_sampling:
        return batch, _sampled([batch])

    def trained(part: Batch) -> Batch:
        scores_PG = part.scores_B.reshape(-1, size)
        dropped_P = zero_variance_groups(scores_PG)
        if method.keeps_all_incorrect:
            dropped_P &= correctness(scores_PG, config.dipo.correct_from, torch.ones_like(scores_PG)).any(1)
        return part.rows(~dropped_P.repeat_interleave(size))

    sampled, kept = [batch], trained(batch)
    left = math.ceil(config.dipo.refill_cap * config.prompts_per_step)
    while left and (missing := config.prompts_per_step - len(kept.scores_B) // size):
        further = replace(config, prompts_per_step=min(missing, left))
        left -= further.prompts_per_step
        more = collect_once(model, prompts, grade, further, generator, order)
        sampled.append(more)
        kept = join(kept, trained(more), config.pad_token_id)
    # without a group that trains there is nothing to learn from: every advantage of the first batch is 0
    return kept if len(kept.scores_B) else batch, _sampled(sampled)


def _sampled(parts: Sequence[Batch]) -> Sampled:
    tokens = sum(int(part.action_mask_BA.sum()) for part in parts)
    return Sampled(torch.cat([part.scores_B for part in parts]), tokens)


def join(first: Batch, second: Batch, pad_token_id: int) -> Batch:
    """Both batches as one; the shorter prompts padded left, the shorter responses right."""
    actions = max(first.action_mask_BA.shape[1], second.action_mask_BA.shape[1])
    prompt = max(part.tokens_BT.shape[1] - part.action_mask_BA.shape[1] for part in (first, second))
    parts = []
    for part in (first, second):
        right = actions - part.action_mask_BA.shape[1]
        left = prompt + actions - part.tokens_BT.shape[1] - right
        tokens_BT = pad(part.tokens_BT, (left, right), value=pad_token_id)
        rest = [pad(v, (0, right)) for v in (part.action_mask_BA, part.log_probs_BA, part.entropy_BA)]
        parts.append((tokens_BT, pad(part.attention_BT, (left, right)), *rest, part.scores_B))
    return Batch(*(torch.cat(pair) for pair in zip(*parts, strict=True)))


@torch.no_grad()
def collect_once(
    model: Any, prompts: Prompts, grade: Grade, config: ReferenceConfig, generator: Generator,
    order: Iterator[int],
) -> Batch:  # fmt: skip
    """Samples and grades under pi_old: G responses to each of the next P prompts of the order."""
    chosen = list(islice(order, config.prompts_per_step))
    rows = [index for index in chosen for _ in range(config.n_samples_per_prompt)]
    drawn = [prompts[index] for index in rows]
    sampled = sample(model, drawn, config, generator)
    width = sampled.action_mask_BA.shape[1]
    scores = []
    for index, row, mask in zip(rows, sampled.tokens_BT[:, -width:], sampled.action_mask_BA, strict=True):
        response = [token for token in row[mask].tolist() if token != config.eos_token_id]
        scores.append(float(grade(index, response)))
    return Batch(*sampled, scores_B=torch.tensor(scores))


def score_tokens(
    model: Any, tokens_BT: Tensor, attention_BT: Tensor, width: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """(log-probability, full-vocabulary entropy), each [B, A], of the last `width` tokens, by HF's own forward pass."""
    positions_BT = positions_of(attention_BT)
    out = model(input_ids=tokens_BT, attention_mask=attention_BT, position_ids=positions_BT, use_cache=False)
    all_log_probs = torch.log_softmax(out.logits[:, -width - 1 : -1].float() / temperature, dim=-1)
    log_probs_BA = all_log_probs.gather(-1, tokens_BT[:, -width:].unsqueeze(-1)).squeeze(-1)
    entropy_BA = -(all_log_probs.exp() * all_log_probs).sum(-1)
    return log_probs_BA, entropy_BA.detach()

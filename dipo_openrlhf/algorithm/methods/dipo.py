"""DiPO: A = A(R) + alpha * A(R_r), where R_r are the rewards that perplexity reallocates in extreme groups."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from dipo_openrlhf.algorithm.advantages import (
    STD_EPS,
    group_advantages,
    spread_over_tokens,
    zero_variance_groups,
)
from dipo_openrlhf.algorithm.config import DipoConfig
from dipo_openrlhf.algorithm.method import Estimator, Method, Rollout
from dipo_openrlhf.algorithm.metrics import Metrics, StepView, step_metrics
from dipo_openrlhf.algorithm.perplexity_queue import PerplexityQueue, check_correct
from dipo_openrlhf.algorithm.reallocation import Reallocation, reallocate
from dipo_openrlhf.algorithm.threshold import Threshold, find_threshold


@dataclass(frozen=True)
class ReallocationResult:
    """What one training step adds to a base method's advantages. Tensors live on the device of the rewards.

    advantages_r_PG: float32, alpha * A(R_r), to be added to the base advantages as is.
    base_PG: A(R), with exact zeros for zero-variance groups.
    zero_variance_P: groups of equal rewards, whose base advantage must be set to 0.
    eligible_P: zero-variance groups whose b are all equal: the extreme groups.
    fired_P: extreme groups that were reallocated.
    threshold: the step's; its value is the one used, which `on_infeasible: last` takes from an earlier step.
    metrics: what the step logs.
    """

    advantages_r_PG: torch.Tensor
    base_PG: torch.Tensor
    zero_variance_P: torch.Tensor
    eligible_P: torch.Tensor
    fired_P: torch.Tensor
    threshold: Threshold
    metrics: Metrics


def dipo_advantages(
    rewards_PG: torch.Tensor,
    correct_PG: torch.Tensor,
    log_ppl_PG: torch.Tensor,
    config: DipoConfig,
    queue: PerplexityQueue,
    *,
    num_tokens: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, Metrics]:
    """(A(R) + alpha * A(R_r) [P, G], metrics). Arguments and errors as in `reallocation_advantages`."""
    result = reallocation_advantages(
        rewards_PG, correct_PG, log_ppl_PG, config, queue, num_tokens=num_tokens, generator=generator
    )
    return result.base_PG + result.advantages_r_PG, result.metrics


def reallocation_advantages(
    rewards_PG: torch.Tensor,
    correct_PG: torch.Tensor,
    log_ppl_PG: torch.Tensor,
    config: DipoConfig,
    queue: PerplexityQueue,
    *,
    num_tokens: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> ReallocationResult:
    """One step of DiPO: pushes the batch to the queue, finds the threshold, reallocates, normalises.

    Source: arXiv 2604.13902. J_DAPO(R) + alpha * J_DAPO(R_r) is one clipped loss on A(R) + alpha * A(R_r), since a
    response has a non-zero advantage in at most one of the two, the clipped loss is positively homogeneous in the
    advantage, and both share ratio, clip and token denominator.

    rewards_PG: as training uses them, shaping included. correct_PG: b, 0 or 1. log_ppl_PG: nats per token, NaN for a
    response without action tokens. queue: changed in place. num_tokens: action tokens of each response, for
    normalizer "per_stream" alone. generator: CPU, for pick "random"; default seeded by the number of batches pushed,
    so a resumed run picks the same. Raises ValueError for bad shapes or values, before the queue is touched;
    RuntimeError if a response got a non-zero advantage from both streams.
    """
    base_PG = group_advantages(rewards_PG, config.estimator)
    b_PG = _check_step(rewards_PG, correct_PG, log_ppl_PG, num_tokens, config)
    zero_variance_P = zero_variance_groups(rewards_PG).cpu()
    uniform_P = b_PG.all(1) | ~b_PG.any(1)
    eligible_P = zero_variance_P & uniform_P

    threshold = _step_threshold(log_ppl_PG, b_PG, config, queue)
    if generator is None and config.pick == "random":
        generator = torch.Generator().manual_seed(queue.pushes)
    feasible = threshold.value is not None or not config.psd
    reallocation = reallocate(
        log_ppl_PG,
        b_PG,
        threshold.value if config.psd else None,
        group_space=config.group_space,
        directions=config.directions,
        pick=config.pick,
        eligible=eligible_P if feasible else torch.zeros_like(eligible_P),
        generator=generator,
    )
    advantages_r_PG = config.alpha * _normalise(reallocation, config.estimator)
    if config.normalizer == "per_stream" and num_tokens is not None:  # None was refused above
        advantages_r_PG = advantages_r_PG * _own_denominator(reallocation.fired_P, num_tokens)
    advantages_r_PG = advantages_r_PG.to(rewards_PG.device, torch.float32)
    check_disjoint(base_PG, advantages_r_PG)

    fired_P, p_PG = reallocation.fired_P, log_ppl_PG.detach().to("cpu", torch.float64)
    view = StepView(
        p_PG,
        b_PG,
        uniform_P,
        eligible_P,
        reallocation.in_space_P,
        fired_P,
        base_PG.cpu(),
        advantages_r_PG.cpu(),
    )
    metrics = step_metrics(view, threshold, config, len(queue))
    zero_variance_P, eligible_P, fired_P = (
        mask_P.to(rewards_PG.device) for mask_P in (zero_variance_P, eligible_P, fired_P)
    )
    return ReallocationResult(
        advantages_r_PG, base_PG, zero_variance_P, eligible_P, fired_P, threshold, metrics
    )


def check_disjoint(base: torch.Tensor, advantages_r: torch.Tensor) -> None:
    """Raises RuntimeError where both streams, of one shape, are non-zero: one loss on their sum would be wrong."""
    overlap = (base != 0) & (advantages_r != 0)
    if bool(overlap.any()):
        raise RuntimeError(
            f"DiPO: {int(overlap.sum())} responses have a non-zero advantage in both streams, first at "
            f"{overlap.nonzero()[0].tolist()}; one clipped loss on their sum is not the sum of both losses"
        )


def _step_threshold(
    log_ppl_PG: torch.Tensor, correct_PG: torch.Tensor, config: DipoConfig, queue: PerplexityQueue
) -> Threshold:
    """Pushes the batch before or after the search, and keeps or recalls the last threshold that passed."""
    if config.include_current_batch:
        queue.push(log_ppl_PG, correct_PG)
    p_N, b_N, group_N = queue.tensors()
    found = find_threshold(
        p_N,
        b_N,
        confidence=config.confidence,
        interval=config.interval,
        min_side_samples=config.min_side_samples,
        group=group_N,
    )
    if not config.include_current_batch:
        queue.push(log_ppl_PG, correct_PG)
    if found.feasible:
        queue.last_threshold = found.value
    elif config.on_infeasible == "last":
        found = replace(found, value=queue.last_threshold)
    return found


def _normalise(reallocation: Reallocation, estimator: Estimator) -> torch.Tensor:
    """A(R_r) [P, G] float32 with mean and standard deviation over each group's members; 0 elsewhere."""
    members_PG = reallocation.members_PG.double()
    n = members_PG.sum(1, keepdim=True)
    r_PG = reallocation.rewards_PG.double()
    centred_PG = (r_PG - r_PG.sum(1, keepdim=True) / n.clamp(min=1)) * members_PG
    if estimator == "group_norm":
        std = torch.sqrt((centred_PG * centred_PG).sum(1, keepdim=True) / (n - 1).clamp(min=1))
        centred_PG = centred_PG / (std + STD_EPS)
    return centred_PG.float()


def _own_denominator(fired_P: torch.Tensor, num_tokens: torch.Tensor) -> float:
    """All action tokens over those of fired groups: turns the shared denominator into the stream's own."""
    tokens_PG = num_tokens.detach().cpu().double()
    own = float(tokens_PG[fired_P].sum())
    return float(tokens_PG.sum()) / own if own > 0 else 1.0


def _check_step(
    rewards_PG: torch.Tensor,
    correct_PG: torch.Tensor,
    log_ppl_PG: torch.Tensor,
    num_tokens: torch.Tensor | None,
    config: DipoConfig,
) -> torch.Tensor:
    """b [P, G] bool on CPU, once everything that could fail has been checked."""
    if not rewards_PG.shape == correct_PG.shape == log_ppl_PG.shape:
        raise ValueError(
            f"reallocation_advantages: rewards {tuple(rewards_PG.shape)}, correct {tuple(correct_PG.shape)} and "
            f"log_ppl {tuple(log_ppl_PG.shape)} must have the same shape [P, G]"
        )
    if config.normalizer == "per_stream":
        if num_tokens is None:
            raise ValueError("dipo.normalizer = 'per_stream' needs num_tokens, each response's action tokens")
        if num_tokens.shape != rewards_PG.shape:
            shapes = f"{tuple(num_tokens.shape)} is not {tuple(rewards_PG.shape)}"
            raise ValueError(f"reallocation_advantages: num_tokens {shapes}")
    return check_correct(correct_PG, "reallocation_advantages")


def _advantages(rollout: Rollout) -> torch.Tensor:
    if rollout.reallocated_PG is None:
        raise ValueError(
            "Rollout.reallocated_PG is missing: it is `reallocation_advantages`'s advantages_r_PG"
        )
    base_PG = group_advantages(rollout.rewards_PG, rollout.estimator)
    return spread_over_tokens(base_PG + rollout.reallocated_PG, rollout.action_mask_PGA)


METHOD = Method(
    name="dipo",
    source="https://arxiv.org/abs/2604.13902",
    advantages=_advantages,
    clip_low=0.2,
    clip_high=0.28,
    reduction="token_mean",
    reallocates=True,
    uses_openrlhf_advantages=True,
)

"""Group-relative advantages, and DiPO's: A = A(R) + alpha * A(R_r)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from dipo_openrlhf.algorithm.config import DipoConfig, Estimator
from dipo_openrlhf.algorithm.metrics import Metrics, StepView, step_metrics
from dipo_openrlhf.algorithm.perplexity_queue import PerplexityQueue, check_correct
from dipo_openrlhf.algorithm.reallocation import Reallocation, reallocate
from dipo_openrlhf.algorithm.threshold import Threshold, find_threshold

STD_EPS = 1e-9  # openrlhf 0.11.2, trainer/ppo_utils/experience_maker.py:276


@dataclass(frozen=True)
class ReallocationResult:
    """What one training step adds to a base method's advantages. Tensors live on the device of the rewards.

    advantages_r[P, G] float32: alpha * A(R_r), to be added to the base advantages as is.
    base[P, G]: A(R), with exact zeros for zero-variance groups.
    zero_variance[P] bool: groups of equal rewards, whose base advantage must be set to 0.
    eligible[P] bool: zero-variance groups whose b are all equal: the extreme groups.
    fired[P] bool: extreme groups acted on.
    threshold: the step's; its value is the one used, which `on_infeasible: last` takes from an earlier step.
    metrics: what the step logs (section 6 of the algorithm's description).
    """

    advantages_r: torch.Tensor
    base: torch.Tensor
    zero_variance: torch.Tensor
    eligible: torch.Tensor
    fired: torch.Tensor
    threshold: Threshold
    metrics: Metrics


def zero_variance_groups(rewards: torch.Tensor) -> torch.Tensor:
    """[P] bool: groups of rewards[P, G] that are all equal, compared exactly and not by their computed
    std."""
    if rewards.shape[1] == 0:
        return torch.ones(rewards.shape[0], dtype=torch.bool, device=rewards.device)
    return (rewards == rewards[:, :1]).all(1)


def group_advantages(rewards: torch.Tensor, estimator: Estimator = "group_norm") -> torch.Tensor:
    """Advantages[P, G] of rewards[P, G], at least float32, with exact zeros for zero-variance groups.

    group_norm: (r - mean) / (std + 1e-9), sample standard deviation; GRPO (arXiv 2402.03300, section 4.1.2)
    as computed by openrlhf 0.11.2, trainer/ppo_utils/experience_maker.py:275, bit for bit where the
    variance is not zero. There a group of equal rewards such as 0.7, which floats do not represent exactly,
    can get |A| of about 0.9; here 0. dr_grpo: r - mean (arXiv 2503.20783, section 3.2). Raises ValueError
    for another shape, a reward that is not finite, or an unknown estimator.
    """
    _check_rewards(rewards, "group_advantages")
    r = rewards.detach().to(torch.promote_types(rewards.dtype, torch.float32))
    if estimator not in DipoConfig.CHOICES["estimator"]:
        raise ValueError(f"group_advantages: estimator {estimator!r}: must be group_norm or dr_grpo")
    zero = zero_variance_groups(r)
    if r.shape[0] == 0 or r.shape[1] < 2:  # a group of one has no variance, and no sample deviation
        return torch.zeros_like(r)
    advantages = r - r.mean(-1, keepdim=True)
    if estimator == "group_norm":
        advantages = advantages / (r.std(-1, keepdim=True) + STD_EPS)
    return advantages.masked_fill(zero.unsqueeze(1), 0.0)


def dipo_advantages(
    rewards: torch.Tensor,
    correct: torch.Tensor,
    log_ppl: torch.Tensor,
    config: DipoConfig,
    queue: PerplexityQueue,
    *,
    num_tokens: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, Metrics]:
    """(A(R) + alpha * A(R_r) [P, G], metrics). Arguments and errors as in `reallocation_advantages`."""
    result = reallocation_advantages(
        rewards, correct, log_ppl, config, queue, num_tokens=num_tokens, generator=generator
    )
    return result.base + result.advantages_r, result.metrics


def reallocation_advantages(
    rewards: torch.Tensor,
    correct: torch.Tensor,
    log_ppl: torch.Tensor,
    config: DipoConfig,
    queue: PerplexityQueue,
    *,
    num_tokens: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> ReallocationResult:
    """One step of DiPO: pushes the batch to the queue, finds the threshold, reallocates, normalises.

    Source: arXiv 2604.13902. J_DAPO(R) + alpha * J_DAPO(R_r) is one clipped loss on A(R) + alpha * A(R_r),
    since a response has a non-zero advantage in at most one of the two, the clipped loss is positively
    homogeneous in the advantage, and both share ratio, clip and token denominator.

    rewards[P, G]: as training uses them, shaping included. correct[P, G]: b, 0 or 1. log_ppl[P, G]: nats
    per token, NaN for a response without action tokens. queue: changed in place. num_tokens[P, G]: action
    tokens of each response, for normalizer "per_stream" alone. generator: CPU, for pick "random"; default
    seeded by the number of batches pushed, so a resumed run picks the same. Raises ValueError for bad
    shapes or values, before the queue is touched; RuntimeError if a response got a non-zero advantage from
    both streams.
    """
    base = group_advantages(rewards, config.estimator)
    b = _check_step(rewards, correct, log_ppl, num_tokens, config)
    zero_variance = zero_variance_groups(rewards).cpu()
    uniform = b.all(1) | ~b.any(1)
    eligible = zero_variance & uniform

    threshold = _step_threshold(log_ppl, b, config, queue)
    if generator is None and config.pick == "random":
        generator = torch.Generator().manual_seed(queue.pushes)
    reallocation = _reallocate_step(log_ppl, b, eligible, threshold, config, generator)
    advantages_r = config.alpha * _normalise(reallocation, config.estimator)
    if config.normalizer == "per_stream" and num_tokens is not None:  # None was refused above
        advantages_r = advantages_r * _own_denominator(reallocation.fired, num_tokens)
    advantages_r = advantages_r.to(rewards.device, torch.float32)
    check_disjoint(base, advantages_r)

    view = StepView(
        log_ppl=log_ppl.detach().to("cpu", torch.float64),
        correct=b,
        uniform=uniform,
        eligible=eligible,
        in_space=reallocation.in_space,
        fired=reallocation.fired,
        base=base.cpu(),
        advantages_r=advantages_r.cpu(),
    )
    return ReallocationResult(
        advantages_r=advantages_r,
        base=base,
        zero_variance=zero_variance.to(rewards.device),
        eligible=eligible.to(rewards.device),
        fired=reallocation.fired.to(rewards.device),
        threshold=threshold,
        metrics=step_metrics(view, threshold, config, len(queue)),
    )


def check_disjoint(base: torch.Tensor, advantages_r: torch.Tensor) -> None:
    """Raises RuntimeError where both streams, of one shape, are non-zero: the folded loss would then be
    wrong."""
    overlap = (base != 0) & (advantages_r != 0)
    if bool(overlap.any()):
        raise RuntimeError(
            f"DiPO: {int(overlap.sum())} responses have a non-zero advantage in both streams, first at "
            f"{overlap.nonzero()[0].tolist()}; one clipped loss on their sum is not the sum of both losses"
        )


def _step_threshold(
    log_ppl: torch.Tensor, correct: torch.Tensor, config: DipoConfig, queue: PerplexityQueue
) -> Threshold:
    """Pushes the batch before or after searching, and keeps or recalls the last threshold that passed."""
    if config.include_current_batch:
        queue.push(log_ppl, correct)
    p, b, group = queue.tensors()
    found = find_threshold(
        p,
        b,
        confidence=config.confidence,
        interval=config.interval,
        min_side_samples=config.min_side_samples,
        group=group,
    )
    if not config.include_current_batch:
        queue.push(log_ppl, correct)
    if found.feasible:
        queue.last_threshold = found.value
    elif config.on_infeasible == "last":
        found = replace(found, value=queue.last_threshold)
    return found


def _reallocate_step(
    log_ppl: torch.Tensor,
    correct: torch.Tensor,
    eligible: torch.Tensor,
    threshold: Threshold,
    config: DipoConfig,
    generator: torch.Generator | None,
) -> Reallocation:
    if config.psd and threshold.value is None:
        eligible = torch.zeros_like(eligible)
    return reallocate(
        log_ppl,
        correct,
        threshold.value if config.psd else None,
        group_space=config.group_space,
        directions=config.directions,
        pick=config.pick,
        eligible=eligible,
        generator=generator,
    )


def _normalise(reallocation: Reallocation, estimator: Estimator) -> torch.Tensor:
    """A(R_r)[P, G] float32 with mean and standard deviation over each group's members; 0 elsewhere."""
    members = reallocation.members.double()
    n = members.sum(1, keepdim=True)
    r = reallocation.rewards.double()
    centred = (r - r.sum(1, keepdim=True) / n.clamp(min=1)) * members
    if estimator == "group_norm":
        std = torch.sqrt((centred * centred).sum(1, keepdim=True) / (n - 1).clamp(min=1))
        centred = centred / (std + STD_EPS)
    return centred.float()


def _own_denominator(fired: torch.Tensor, num_tokens: torch.Tensor) -> float:
    """All action tokens over those of fired groups: turns the shared denominator into the stream's own."""
    tokens = num_tokens.detach().cpu().double()
    own = float(tokens[fired].sum())
    return float(tokens.sum()) / own if own > 0 else 1.0


def _check_rewards(rewards: torch.Tensor, where: str) -> None:
    if rewards.dim() != 2:
        raise ValueError(f"{where}: rewards {tuple(rewards.shape)} must be [P, G]")
    if rewards.is_complex() or rewards.dtype == torch.bool:
        raise ValueError(f"{where}: rewards must be numbers, got {rewards.dtype}")
    if not bool(torch.isfinite(rewards).all()):
        row, column = (~torch.isfinite(rewards)).nonzero()[0].tolist()
        raise ValueError(
            f"{where}: rewards[{row}, {column}] = {float(rewards[row, column])} is not finite; "
            "the reward function failed there"
        )


def _check_step(
    rewards: torch.Tensor,
    correct: torch.Tensor,
    log_ppl: torch.Tensor,
    num_tokens: torch.Tensor | None,
    config: DipoConfig,
) -> torch.Tensor:
    """b[P, G] bool on CPU, once everything that could fail has been checked."""
    if not rewards.shape == correct.shape == log_ppl.shape:
        raise ValueError(
            f"reallocation_advantages: rewards {tuple(rewards.shape)}, correct {tuple(correct.shape)} and "
            f"log_ppl {tuple(log_ppl.shape)} must have the same shape [P, G]"
        )
    if config.normalizer == "per_stream":
        if num_tokens is None:
            raise ValueError(
                "dipo.normalizer = 'per_stream' needs num_tokens[P, G], the action tokens of each response"
            )
        if num_tokens.shape != rewards.shape:
            raise ValueError(
                f"reallocation_advantages: num_tokens {tuple(num_tokens.shape)} is not {tuple(rewards.shape)}"
            )
    return check_correct(correct, "reallocation_advantages")

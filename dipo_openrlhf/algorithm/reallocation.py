"""Bidirectional reward reallocation: which extreme groups are acted on, and the rewards they get."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dipo_openrlhf.algorithm.config import DipoConfig, Directions, GroupSpace, Pick
from dipo_openrlhf.algorithm.perplexity_queue import check_correct


@dataclass(frozen=True)
class Reallocation:
    """The outcome of `reallocate`, on CPU.

    rewards[P, G] float32: R_r, 0 or 1; constant 0 in groups that did not fire.
    fired[P] bool: groups acted on.
    members[P, G] bool: responses whose R_r counts, with a baseline among themselves; False where not fired.
    in_space[P] bool: eligible extreme groups in the space of their own direction, whatever `directions` says.
    """

    rewards: torch.Tensor
    fired: torch.Tensor
    members: torch.Tensor
    in_space: torch.Tensor


def reallocate(
    log_ppl: torch.Tensor,
    correct: torch.Tensor,
    threshold: float | None,
    *,
    group_space: GroupSpace = "mean",
    directions: Directions = "both",
    pick: Pick = "max_ppl",
    eligible: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Reallocation:
    """Rewards of 0 and 1 for confident wrong groups and unsure right ones.

    Source: arXiv 2604.13902, bidirectional reward reallocation. A hard group (all wrong) in the exploitation
    space (p < threshold) gets R_r = 1 for the response with the largest p and 0 for the others; an easy group
    (all right) in the exploration space (p > threshold) 0 for that response and 1 for the others. Ties: the
    lowest index. Responses whose log_ppl is NaN take part in nothing; a group needs two others.

    log_ppl[P, G]: nats per token. correct[P, G]: 0 or 1. threshold: nats per token; None acts on every
    extreme group (no disentangling). group_space, directions, pick: see DipoConfig. eligible[P]: groups
    that may be acted on; default all. generator: a CPU generator, for pick "random". Raises ValueError for
    wrong shapes, values or options.
    """
    p, b, allowed = _check(log_ppl, correct, threshold, eligible, group_space, directions, pick)
    valid = ~torch.isnan(p)  # [P, G]
    if p.numel() == 0:
        nobody = torch.zeros(p.shape[0], dtype=torch.bool)
        return Reallocation(torch.zeros(p.shape), nobody, valid, nobody)
    enough = allowed & (valid.sum(1) >= 2)
    hard = enough & ~b.any(1)
    easy = enough & b.all(1)
    inside = valid
    if threshold is not None:
        inside = valid & torch.where(hard.unsqueeze(1), p < threshold, p > threshold)
    members = inside if group_space == "subset" else valid
    chosen = _choose(p, members, pick, generator)  # [P] index
    in_space = (hard | easy) & _group_in_space(p, valid, inside, chosen, hard, threshold, group_space)

    fired = in_space & _direction_mask(hard, easy, directions)
    flip = torch.zeros_like(valid).scatter_(1, chosen.unsqueeze(1), True)
    rewards = torch.where(hard.unsqueeze(1), flip, ~flip) & members & fired.unsqueeze(1)
    return Reallocation(rewards.float(), fired, members & fired.unsqueeze(1), in_space)


def _group_in_space(
    p: torch.Tensor,
    valid: torch.Tensor,
    inside: torch.Tensor,
    chosen: torch.Tensor,
    hard: torch.Tensor,
    threshold: float | None,
    group_space: GroupSpace,
) -> torch.Tensor:
    """[P] bool: whether each group is in the space of its direction. p, valid, inside [P, G]; chosen [P]."""
    if group_space == "subset":
        return inside.sum(1) >= 2
    if threshold is None:
        return torch.ones_like(hard)
    if group_space == "mean":
        mean = torch.nanmean(p, dim=1)
        return torch.where(hard, mean < threshold, mean > threshold)
    if group_space == "all":
        return (inside | ~valid).all(1)
    return inside.gather(1, chosen.unsqueeze(1)).squeeze(1)


def _choose(
    p: torch.Tensor, members: torch.Tensor, pick: Pick, generator: torch.Generator | None
) -> torch.Tensor:
    """[P] index of the picked member; 0 in a group without members. Ties: the lowest index."""
    if pick == "random":
        key = torch.rand(p.shape, generator=generator, dtype=torch.float64)
    else:
        key = p if pick == "max_ppl" else -p
    return key.masked_fill(~members, -torch.inf).argmax(1)  # the first of equals, per torch.argmax's docs


def _direction_mask(hard: torch.Tensor, easy: torch.Tensor, directions: Directions) -> torch.Tensor:
    if directions == "hard_only":
        return hard
    if directions == "easy_only":
        return easy
    return hard | easy


def _check(
    log_ppl: torch.Tensor,
    correct: torch.Tensor,
    threshold: float | None,
    eligible: torch.Tensor | None,
    group_space: str,
    directions: str,
    pick: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if log_ppl.dim() != 2 or log_ppl.shape != correct.shape:
        raise ValueError(
            f"reallocate: log_ppl {tuple(log_ppl.shape)} and correct {tuple(correct.shape)} must be [P, G]"
        )
    if threshold is not None and threshold != threshold:
        raise ValueError("reallocate: threshold is NaN; pass None to act on every extreme group")
    for key, value in (("group_space", group_space), ("directions", directions), ("pick", pick)):
        if value not in DipoConfig.CHOICES[key]:
            raise ValueError(
                f"reallocate: {key} {value!r}: must be one of {', '.join(DipoConfig.CHOICES[key])}"
            )
    p = log_ppl.detach().to("cpu", torch.float64)  # float64: the threshold is a midpoint of float32 values
    if bool(torch.isinf(p).any()):
        raise ValueError("reallocate: log_ppl has an infinite value; a sampled token has probability 0")
    prompts = p.shape[0]
    allowed = torch.ones(prompts, dtype=torch.bool) if eligible is None else eligible.detach().cpu() != 0
    if allowed.shape != (prompts,):
        raise ValueError(f"reallocate: eligible {tuple(allowed.shape)} must be [P] = ({prompts},)")
    return p, check_correct(correct, "reallocate"), allowed

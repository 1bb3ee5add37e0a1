"""Bidirectional reward reallocation: which extreme groups are reallocated, and the rewards they get."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dipo_openrlhf.algorithm.config import DipoConfig, Directions, GroupSpace, Pick
from dipo_openrlhf.algorithm.perplexity_queue import check_pairs


@dataclass(frozen=True)
class Reallocation:
    """The outcome of `reallocate`, on CPU.

    rewards_PG: float32, R_r, 0 or 1; constant 0 in groups that did not fire.
    fired_P: bool, groups that are reallocated.
    members_PG: bool, responses whose R_r counts, with a baseline among themselves; False where not fired.
    in_space_P: bool, eligible extreme groups in the space of their own direction, whatever `directions` is.
    """

    rewards_PG: torch.Tensor
    fired_P: torch.Tensor
    members_PG: torch.Tensor
    in_space_P: torch.Tensor


def reallocate(
    log_ppl_PG: torch.Tensor,
    correct_PG: torch.Tensor,
    threshold: float | None,
    *,
    group_space: GroupSpace = "mean",
    directions: Directions = "both",
    pick: Pick = "max_ppl",
    eligible: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Reallocation:
    """Rewards of 0 and 1 for confident all-incorrect groups and unsure all-correct ones.

    Source: arXiv 2604.13902, bidirectional reward reallocation. A hard group (all incorrect) in the exploitation space
    (p < threshold) gets R_r = 1 for the response with the largest p and 0 for the others; an easy group (all correct)
    in the exploration space (p > threshold) 0 for that response and 1 for the others. Ties: the lowest index.
    Responses whose log_ppl is NaN take part in nothing; a group needs two others.

    log_ppl_PG: nats per token. correct_PG: 0 or 1. threshold: nats per token; None acts on every extreme group (no
    disentangling). group_space, directions, pick: see DipoConfig. eligible: groups that may fire; default all.
    generator: a CPU generator, for pick "random". Raises ValueError for wrong shapes, values or options.
    """
    p_PG, b_PG, allowed_P = _check(
        log_ppl_PG, correct_PG, threshold, eligible, (group_space, directions, pick)
    )
    valid_PG = ~torch.isnan(p_PG)
    if p_PG.numel() == 0:
        nobody_P = torch.zeros(p_PG.shape[0], dtype=torch.bool)
        return Reallocation(torch.zeros(p_PG.shape), nobody_P, valid_PG, nobody_P)
    enough_P = allowed_P & (valid_PG.sum(1) >= 2)
    hard_P = enough_P & ~b_PG.any(1)
    easy_P = enough_P & b_PG.all(1)
    inside_PG = valid_PG
    if threshold is not None:
        inside_PG = valid_PG & torch.where(hard_P.unsqueeze(1), p_PG < threshold, p_PG > threshold)
    members_PG = inside_PG if group_space == "subset" else valid_PG
    chosen_P = _choose(p_PG, members_PG, pick, generator)

    if group_space == "subset":
        in_space_P = inside_PG.sum(1) >= 2
    elif threshold is None:
        in_space_P = torch.ones_like(hard_P)
    elif group_space == "mean":
        mean_P = torch.nanmean(p_PG, dim=1)
        in_space_P = torch.where(hard_P, mean_P < threshold, mean_P > threshold)
    elif group_space == "all":
        in_space_P = (inside_PG | ~valid_PG).all(1)
    else:  # argmax
        in_space_P = inside_PG.gather(1, chosen_P.unsqueeze(1)).squeeze(1)
    in_space_P = in_space_P & (hard_P | easy_P)

    fired_P = in_space_P & {"both": hard_P | easy_P, "hard_only": hard_P, "easy_only": easy_P}[directions]
    flip_PG = torch.zeros_like(valid_PG).scatter_(1, chosen_P.unsqueeze(1), True)
    members_PG = members_PG & fired_P.unsqueeze(1)
    rewards_PG = torch.where(hard_P.unsqueeze(1), flip_PG, ~flip_PG) & members_PG
    return Reallocation(rewards_PG.float(), fired_P, members_PG, in_space_P)


def _choose(
    p_PG: torch.Tensor, members_PG: torch.Tensor, pick: Pick, generator: torch.Generator | None
) -> torch.Tensor:
    """[P] index of the picked member; 0 in a group without members. Ties: the lowest index."""
    if pick == "random":
        key_PG = torch.rand(p_PG.shape, generator=generator, dtype=torch.float64)
    else:
        key_PG = p_PG if pick == "max_ppl" else -p_PG
    # argmax returns the first of equals
    return key_PG.masked_fill(~members_PG, -torch.inf).argmax(1)


def _check(
    log_ppl_PG: torch.Tensor,
    correct_PG: torch.Tensor,
    threshold: float | None,
    eligible: torch.Tensor | None,
    options: tuple[str, str, str],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(p [P, G] float64, b [P, G] bool, eligible [P] bool), on CPU."""
    if log_ppl_PG.dim() != 2 or log_ppl_PG.shape != correct_PG.shape:
        raise ValueError(
            f"reallocate: log_ppl {tuple(log_ppl_PG.shape)} and correct {tuple(correct_PG.shape)} must be [P, G]"
        )
    if threshold is not None and threshold != threshold:
        raise ValueError("reallocate: threshold is NaN; pass None to act on every extreme group")
    for key, value in zip(("group_space", "directions", "pick"), options, strict=True):
        if value not in DipoConfig.CHOICES[key]:
            allowed = ", ".join(DipoConfig.CHOICES[key])
            raise ValueError(f"reallocate: {key} {value!r}: must be one of {allowed}")
    p_PG, b_PG = check_pairs(log_ppl_PG, correct_PG, "reallocate")
    prompts = p_PG.shape[0]
    allowed_P = torch.ones(prompts, dtype=torch.bool) if eligible is None else eligible.cpu() != 0
    if allowed_P.shape != (prompts,):
        raise ValueError(f"reallocate: eligible {tuple(allowed_P.shape)} must be [P] = ({prompts},)")
    return p_PG, b_PG, allowed_P

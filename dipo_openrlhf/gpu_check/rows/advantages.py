"""Advantages and the groups that DiPO acts on, computed again on CPU from the dumps, are exactly those of the run."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dipo_openrlhf.algorithm import (
    PerplexityQueue,
    ReallocationResult,
    correctness,
    reallocation_advantages,
    sequence_log_ppl,
)
from dipo_openrlhf.gpu_check.evidence import Evidence, rows_of
from dipo_openrlhf.gpu_check.row import Row
from dipo_openrlhf.gpu_check.settings import STEPS

NAME = "advantages, groups acted on"
SHOWN = "exactly those computed on CPU"


@dataclass(frozen=True)
class Recomputed:
    """One step: the result, the queue after it, and the advantages [B, A] of the dump and of the computation."""

    result: ReallocationResult
    queue: dict[str, object]
    dumped: torch.Tensor
    expected: torch.Tensor


def recompute(evidence: Evidence) -> dict[int, Recomputed]:
    """Every step, from the dumps alone: an empty queue at the start, and none of the run's states."""
    config = evidence.recipe.dipo
    queue, found = PerplexityQueue(batches=config.queue_batches), {}
    for step in range(1, STEPS + 1):
        parts = evidence.dump(step)
        order_B = torch.tensor([row for part in parts for row in part["index"]])
        place_B = order_B.argsort()
        shape = (-1, evidence.settings.samples)
        log_ppl_B = torch.cat([sequence_log_ppl(p["action_log_probs"], p["action_mask"]) for p in parts])
        fields = ("sequences", "action_mask", "advantages", "scores", "rewards")
        rows = {name: value[place_B] for name, value in rows_of(parts, fields).items()}
        mask_BA = rows["action_mask"].bool()
        rewards_PG = rows["rewards"].float().reshape(shape)
        correct_PG = correctness(rows["scores"].float().reshape(shape), config.correct_from, None)
        result = reallocation_advantages(
            rewards_PG, correct_PG, log_ppl_B[place_B].reshape(shape), config, queue,
            num_tokens=mask_BA.sum(-1).reshape(shape),
        )  # fmt: skip
        expected_B = (result.base_PG + result.advantages_r_PG).reshape(-1)
        found[step] = Recomputed(
            result, queue.state_dict(), rows["advantages"] * mask_BA, expected_B[:, None] * mask_BA
        )
    return found


def check(evidence: Evidence) -> Row:
    unequal, acted, figures = [], 0, {}
    for step, one in recompute(evidence).items():
        gap = float((one.dumped - one.expected).abs().max())
        fired = [bool(group["fired"]) for group in evidence.rollouts(step)]
        expected = one.result.fired_P.tolist()
        acted += sum(expected)
        figures[step] = {"largest_gap": gap, "acted": fired, "acted_cpu": expected}
        if not torch.equal(one.dumped, one.expected):
            unequal.append(f"step {step}: advantages differ by {gap:.2g}")
        if fired != expected:
            unequal.append(f"step {step}: acted on groups {_places(fired)}, on CPU {_places(expected)}")
    groups = STEPS * evidence.settings.prompts
    text = f"equal; acted on {acted} of {groups} groups" if not unequal else unequal[0]
    meaning = (
        ""
        if not unequal
        else (
            "training does not use the advantages of the algorithm: samples were reordered, dropped or attributed to "
            "other groups on their way, or the perplexity queue was lost; compare dipo doctor's list of overrides"
        )
    )
    return Row(NAME, not unequal, text, SHOWN, meaning, figures)


def _places(fired: list[bool]) -> list[int]:
    return [place for place, yes in enumerate(fired) if yes]

"""What is read from a batch of OpenRLHF's experiences: groups, the sampling policy's log-probabilities, a dump.

Experiences hold rows [B] and [B, A] in any order; `Experience.index` says where a row belongs in [P, G].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from openrlhf.trainer.ppo_utils.experience import Experience

# A token to which the actor gives less than this cannot have been certain to the policy of an update or two before.
DOUBTFUL = math.log(0.5)

DUMP_FOLDER = "experiences"
# Of every sample: tokens and masks [T], [A]; log-probabilities and advantages [A]; scores, rewards [].
DUMPED = (
    "sequences",
    "attention_mask",
    "action_mask",
    "action_log_probs",
    "rollout_log_probs",  # vLLM's, where algo.advantage.is_correction_level requires them
    "advantages",
    "scores",
    "rewards",
)


def to_groups(rows: Sequence[torch.Tensor], order_B: torch.Tensor, n_samples_per_prompt: int) -> torch.Tensor:
    """[P, G] from per-experience tensors, sorted by prompt.

    As openrlhf/trainer/ppo_utils/experience_maker.py, RemoteExperienceMaker.compute_advantages_and_returns.
    """
    flat_B = torch.cat([row.detach().cpu().reshape(-1) for row in rows])
    sorted_B = torch.empty_like(flat_B)
    sorted_B[order_B] = flat_B
    return sorted_B.reshape(-1, n_samples_per_prompt)


def to_token_groups(
    rows: Sequence[torch.Tensor], order_B: torch.Tensor, n_samples_per_prompt: int
) -> torch.Tensor:
    """[P, G, A] from per-experience [B, A] tensors of unequal width, padded with zeros on the right."""
    width = max(row.shape[1] for row in rows)
    padded = [torch.nn.functional.pad(row.detach().cpu(), (0, width - row.shape[1])) for row in rows]
    flat_BA = torch.cat(padded)
    sorted_BA = torch.empty_like(flat_BA)
    sorted_BA[order_B] = flat_BA
    return sorted_BA.reshape(-1, n_samples_per_prompt, width)


def with_rows(experiences: Sequence[Experience]) -> Iterator[tuple[Experience, slice]]:
    """Each experience with the slice of its rows in the concatenation of all."""
    start = 0
    for experience in experiences:
        end = start + len(experience.index)
        yield experience, slice(start, end)
        start = end


def rollout_log_probs(experiences: Sequence[Experience]) -> list[torch.Tensor]:
    """[B, A] of each experience, as the engine sampled it: a batch's perplexity is that of the policy that sampled it.

    For asynchronous training. In synchronous training the actor has not been updated since, and its own
    `action_log_probs` serve. OpenRLHF records 0.0, probability one, where it has none, and a custom agent may omit them.
    Raises RuntimeError where there are none, their shape is not the tokens', or a whole response has exact zeros that
    the actor contradicts.
    """
    for experience in experiences:
        found, mask = experience.rollout_log_probs, experience.action_mask
        if found is None:
            raise RuntimeError(
                "a sample came without rollout log-probabilities: the agent of train.agent_func_path must return them"
            )
        if found.shape != mask.shape:
            raise RuntimeError(
                f"rollout log-probabilities {tuple(found.shape)} are not one a token {tuple(mask.shape)}"
            )
        counts_B = mask.bool().sum(-1)
        if bool(((_doubtful(experience).sum(-1) == counts_B) & (counts_B > 1)).any()):
            raise RuntimeError(
                "all rollout log-probabilities of a sample are exactly 0, but the actor finds its tokens unlikely: "
                "they were not recorded"
            )
    return [experience.rollout_log_probs for experience in experiences]


def doubtful_share(experiences: Sequence[Experience]) -> float:
    """Share of action tokens recorded as certain, exactly 0, to which the actor gives a probability below 1/2."""
    tokens = sum(int(experience.action_mask.sum()) for experience in experiences)
    doubtful = sum(int(_doubtful(experience).sum()) for experience in experiences)
    return doubtful / max(1, tokens)


def _doubtful(experience: Experience) -> torch.Tensor:
    """[B, A] bool."""
    recorded = experience.rollout_log_probs.cpu() == 0
    return recorded & (experience.action_log_probs.cpu() < DOUBTFUL) & experience.action_mask.bool().cpu()


def dump_experiences(run_dir: Path, step: int, experiences: Sequence[Experience]) -> Path:
    """Write experiences/step_N.pt: a list of micro-batches, each a dict of DUMPED and the rows' `index`.

    `torch.load(path, weights_only=True)` reads it. Gigabytes in a real run: off unless `run.dump_experiences` is set.
    """
    path = run_dir / DUMP_FOLDER / f"step_{step}.pt"
    path.parent.mkdir(exist_ok=True)
    parts = []
    for experience in experiences:
        values = {name: getattr(experience, name) for name in DUMPED}
        part = {name: value.detach().cpu().clone() for name, value in values.items() if value is not None}
        parts.append({**part, "index": list(experience.index or [])})
    torch.save(parts, path)
    return path

"""What is read from a batch of OpenRLHF's experiences: groups, returns, the sampling policy's log-probabilities, a dump.

Experiences hold rows [B] and [B, A] in any order; `Experience.index` says where a row belongs in [P, G].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
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
    "rollout_log_probs",  # vLLM's, unless run.log_vllm_kl is off and no correction requests them
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


def cumulative_returns(rewards_BA: torch.Tensor, action_mask_BA: torch.Tensor | None) -> torch.Tensor:
    """[B, A]: the sum of each token's reward and all later ones.

    As openrlhf/trainer/ppo_utils/experience_maker.py, RemoteExperienceMaker.get_cumulative_returns with gamma 1, which
    adds from the last token to the first, in float32 at least; torch.cumsum would add in float64.
    """
    masked_BA = rewards_BA if action_mask_BA is None else action_mask_BA * rewards_BA
    masked_BA = masked_BA.to(torch.promote_types(masked_BA.dtype, torch.float32))
    backwards = masked_BA.cpu().numpy()[:, ::-1]
    sums = np.add.accumulate(backwards, axis=1)[:, ::-1].copy()
    return torch.from_numpy(sums).to(rewards_BA.device, rewards_BA.dtype)


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


def vllm_kl(experiences: Sequence[Experience]) -> float | None:
    """Mean of log p(engine) - log p(actor) over the batch's action tokens, in nats: an estimate of the divergence between
    the two on the engine's own samples. None where an experience has no rollout log-probabilities.

    As openrlhf/models/loss.py, PolicyLoss.forward, which computes it with a correction of importance weights alone.
    """
    if any(
        e.rollout_log_probs is None or e.rollout_log_probs.shape != e.action_mask.shape for e in experiences
    ):
        return None
    gaps = [
        (e.rollout_log_probs - e.action_log_probs)[e.action_mask.bool()].double().sum() for e in experiences
    ]
    tokens = sum(int(e.action_mask.bool().sum()) for e in experiences)
    return float(sum(gaps)) / max(1, tokens)


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


def sample_means(experiences: Sequence[Experience]) -> dict[str, float]:
    """Mean over all samples of each logged figure, under the names OpenRLHF's status gives them.

    Taken before rows are dropped or padded, so that the log describes what was sampled.
    """
    means = {}
    for key in {key for experience in experiences for key in experience.info}:
        parts = [experience.info[key] for experience in experiences if key in experience.info]
        values = torch.cat([torch.as_tensor(part).reshape(-1).float() for part in parts])
        means[key] = values.mean().item()
    for name, key in (("response_length", "response_length_mean"), ("truncated", "truncated_rate")):
        values = torch.cat([getattr(e, name).reshape(-1).float() for e in experiences])
        means[name] = means[f"rollout/{key}"] = values.mean().item()
    if all(experience.rollout_log_probs is not None for experience in experiences):
        gaps = [(e.rollout_log_probs - e.action_log_probs)[e.action_mask.bool()] for e in experiences]
        # As openrlhf/models/loss.py, PolicyLoss.forward, token by token.
        means["vllm_kl"] = torch.cat(gaps).float().mean().item()
    rewards = torch.cat([experience.info["reward"].reshape(-1).float() for experience in experiences])
    means |= {
        "total_length": torch.cat([e.total_length.reshape(-1).float() for e in experiences]).mean().item(),
        "rollout/reward_mean": rewards.mean().item(),
        "rollout/reward_std": rewards.std().item() if len(rewards) > 1 else 0.0,
        "rollout/num_samples": float(len(rewards)),
    }
    return means

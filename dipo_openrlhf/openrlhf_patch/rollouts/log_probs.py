"""Log-probabilities of the policy that produced a batch, which its perplexity is of (docs/algorithm.md, The rule).

Synchronously the actor has not moved since: its own scoring, `action_log_probs`, is theirs. Asynchronously it has,
and only the engine's `rollout_log_probs` are. OpenRLHF records 0.0, probability one, where it has none
(utils/agent.py:276), and a sample's own agent may leave them out; both are looked for here and in engine.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from openrlhf.trainer.ppo_utils.experience import Experience

# A token to which the actor gives less than this cannot have been certain to the policy of an update or two before.
DOUBTFUL = math.log(0.5)


def rollout_log_probs(experiences: Sequence[Experience]) -> list[torch.Tensor]:
    """[B, A] of each experience, as the engine sampled it.

    Raises RuntimeError where there are none, their shape is not the tokens', or a whole response has exact zeros that
    the actor contradicts: then whatever generated it recorded none.
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

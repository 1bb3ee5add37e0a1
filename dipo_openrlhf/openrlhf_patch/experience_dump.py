"""Whole training batches on disk: what a step was trained on, token by token.

For a look at what a method does to single tokens, and for checking the production path against
`algorithm/reference.py` on the same rollouts (tests/end_to_end/test_against_reference.py). Large: a batch of a real
run is gigabytes, so it is off unless `run.dump_experiences` asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from openrlhf.trainer.ppo_utils.experience import Experience

FOLDER = "experiences"
# Of every sample: tokens and masks [T], [A]; log-probabilities and advantages [A]; scores, rewards [].
FIELDS = (
    "sequences",
    "attention_mask",
    "action_mask",
    "action_log_probs",
    "rollout_log_probs",  # vLLM's, where algo.advantage.is_correction_level asks for them
    "advantages",
    "scores",
    "rewards",
)


def dump_experiences(run_dir: Path, step: int, experiences: Sequence[Experience]) -> Path:
    """Write experiences/step_N.pt: a list of micro-batches, each a dict of FIELDS and the rows' `index`.

    `torch.load(path, weights_only=True)` reads it back.
    """
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"step_{step}.pt"
    parts = [
        {
            **{
                name: getattr(experience, name).detach().cpu().clone()
                for name in FIELDS
                if getattr(experience, name) is not None
            },
            "index": list(experience.index or []),
        }
        for experience in experiences
    ]
    torch.save(parts, path)
    return path

"""The actor's log-probabilities are those of the same weights on CPU, in float32, by transformers."""

from __future__ import annotations

from typing import Any

import torch

from dipo_openrlhf.algorithm import sequence_log_ppl
from dipo_openrlhf.gpu_check.evidence import Evidence, reference_log_probs, rows_of
from dipo_openrlhf.gpu_check.row import Row
from dipo_openrlhf.gpu_check.settings import STEPS

NAME = "log-probabilities"
LIMITS = {"bf16": (0.06, 0.012), "fp16": (0.01, 0.002), "fp32": (1e-3, 2e-4)}
"""By ds.param_dtype: mean over tokens of the absolute difference in nats, and mean over responses of that of their
log-perplexities. About twice what rounding alone gives SmolLM2-135M (docs/gpu_check.md)."""
SHOWN = "equal to the CPU's but for rounding"
ROWS = 32  # responses of a step that are compared


def check(evidence: Evidence) -> Row:
    """The first step, by the starting model, and the last, by the export of the step before it."""
    limits = LIMITS[evidence.recipe.get("ds.param_dtype")]
    figures = {step: _step(evidence, step) for step in (1, STEPS)}
    token = max(found["token"] for found in figures.values())
    sequence = max(found["sequence"] for found in figures.values())
    text = f"{token:.1e}; {sequence:.1e} (steps 1 and {STEPS})"
    meaning = ""
    for step, found in figures.items():
        if not (found["token"] < limits[0] and found["sequence"] < limits[1]):
            meaning = f"step {step}: {_cause(step)}"
            break
    return Row(
        NAME,
        not meaning,
        text,
        f"mean |log p - CPU| < {limits[0]:g}; of log-perplexities < {limits[1]:g}",
        meaning,
        figures,
    )


def _step(evidence: Evidence, step: int) -> dict[str, Any]:
    fields = ("sequences", "attention_mask", "action_mask", "action_log_probs", "rollout_log_probs")
    rows = {name: value[:ROWS] for name, value in rows_of(evidence.dump(step), fields).items()}
    with torch.no_grad():
        expected_BA = reference_log_probs(
            evidence.model(step - 1), rows, evidence.recipe.get("rollout.temperature")
        )
    mask_BA = rows["action_mask"].bool()
    found = {}
    for name, key in (("action_log_probs", ""), ("rollout_log_probs", "engine_")):
        gap_BA = rows[name].float() - expected_BA
        of_sequences_B = sequence_log_ppl(gap_BA, mask_BA).abs()
        found[f"{key}token"] = float(gap_BA[mask_BA].abs().mean())
        found[f"{key}sequence"] = float(of_sequences_B.mean())
        found[f"{key}sequence_max"] = float(of_sequences_B.max())
    return found


def _cause(step: int) -> str:
    if step == 1:
        return (
            "the actor's forward pass is wrong on this machine, usually by a wrong flash-attn build: check again without "
            "it: --ds.attn_implementation sdpa --ds.packing_samples false --train.dynamic_batch_enable false"
        )
    return (
        "the export of the step before is not what the resumed actor computes with: exports, or the weights that a "
        "resume loads, are wrong; do not trust checkpoints of this machine"
    )

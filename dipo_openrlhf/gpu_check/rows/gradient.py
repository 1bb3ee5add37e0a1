"""The gradient norm of the run's first optimizer window is that of the same loss on CPU in float32."""

from __future__ import annotations

from typing import Any

import torch

from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.algorithm.reference import clipped_loss
from dipo_openrlhf.gpu_check.evidence import Evidence, MissingEvidenceError, reference_log_probs, rows_of
from dipo_openrlhf.gpu_check.observed_files import KEPT, window_files
from dipo_openrlhf.gpu_check.row import Row

NAME = "gradient norm"
LIMITS = {"bf16": 0.05, "fp16": 0.02, "fp32": 0.005}
"""Relative, by ds.param_dtype; docs/gpu_check.md has what rounding alone gives."""
SHOWN = "the CPU's but for rounding"


def check(evidence: Evidence) -> Row:
    windows = [evidence.load(path) for path in window_files(evidence.settings.run_dir)]
    norms = [window["grad_norm"] for window in windows]
    if not windows or None in norms:
        raise MissingEvidenceError("no optimizer step was taken in the first step")
    rows = rows_of([part for window in windows for part in window["micro_batches"]], KEPT)
    limit = LIMITS[evidence.recipe.get("ds.param_dtype")]
    expected = reference_norm(evidence, rows)
    off = max(abs(norm / expected - 1) if expected else float("inf") for norm in norms)
    text = f"{norms[0]:.4g}, CPU {expected:.4g} ({off:.2%})"
    figures = {"ranks": norms, "cpu": expected, "rows": len(rows["sequences"])}
    meaning = ""
    if len(rows["sequences"]) != evidence.recipe.get("train.batch_size"):
        meaning = f"the window holds {len(rows['sequences'])} responses, not train.batch_size"
    elif not off < limit:
        meaning = (
            "an update here is not the gradient of the loss: a wrong denominator, lost micro-batches or ranks, or a "
            "wrong backward pass; try one GPU, ds.packing_samples: false and train.dynamic_batch_enable: false in turn"
        )
    return Row(NAME, not meaning, text, f"within {limit:.1%} of the CPU's", meaning, figures)


def reference_norm(evidence: Evidence, rows: dict[str, torch.Tensor]) -> float:
    """Norm of the gradient of the token-mean loss of all rows, with OpenRLHF's correction for the engine's samples."""
    method = methods.get(evidence.recipe.dipo.method)
    temperature = evidence.recipe.get("rollout.temperature")
    weighted_BA = rows["advantages"] * correction(evidence, rows)
    mask_BA, model = rows["action_mask"].bool(), evidence.model(0)
    tokens = int(mask_BA.sum())
    for row in range(len(mask_BA)):
        length = int(rows["attention_mask"][row].sum())
        one = {name: rows[name][row : row + 1, :length] for name in ("sequences", "attention_mask")}
        mine = slice(row, row + 1), slice(0, length - 1)
        if not bool(mask_BA[mine].any()):
            continue
        loss = clipped_loss(
            reference_log_probs(model, one, temperature), rows["action_log_probs"][mine].float(),
            weighted_BA[mine].float(), mask_BA[mine], method.clip_low, method.clip_high,
        )  # fmt: skip
        (loss * (int(mask_BA[mine].sum()) / tokens)).backward()
    total: Any = sum(p.grad.double().pow(2).sum() for p in model.parameters() if p.grad is not None)
    return float(total) ** 0.5


def correction(evidence: Evidence, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    """[B, A]: pi_actor / pi_engine of each token, 0 outside the band: openrlhf/models/loss.py, PolicyLoss.forward with
    level token, mode mask and gating ratio, the defaults. The loss is homogeneous in the advantage, so that it can be a
    factor of that.
    """
    low, high = evidence.recipe.get("algo.advantage.is_correction_threshold")
    ratio_BA = (rows["action_log_probs"] - rows["rollout_log_probs"]).float().exp()
    return torch.where((ratio_BA >= low) & (ratio_BA <= high), ratio_BA, 0.0)

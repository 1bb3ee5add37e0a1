"""A training that has diverged ends at once, in one line, with its last usable checkpoint still there.

DeepSpeed 0.19.6 skips an update with a gradient that is not finite in fp16, and in bf16 with ZeRO 1 and 2; in bf16 with
ZeRO 3 and in fp32 it makes the update (runtime/zero/stage3.py:2555, runtime/engine.py:2456), and the weights are gone.
Nor does a finite loss mean finite weights: too large a step makes them overflow, and the loss that shows it comes after
the checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.finite_weights import first_not_finite
from dipo_openrlhf.openrlhf_patch import checkpoints


def not_finite(status: Mapping[str, Any]) -> list[str]:
    """Names of a step's losses and gradient norms that are NaN or infinite."""
    return sorted(
        name
        for name, value in status.items()
        if name.endswith(("_loss", "_grad_norm")) and _is_lost(name, value)
    )


def _is_lost(name: str, value: Any) -> bool:
    number = float(value)
    # DeepSpeed writes -1 for a norm that is not finite (runtime/utils.py:878, mask_nan_or_inf_with_val_inplace).
    return not math.isfinite(number) or (name.endswith("_grad_norm") and number < 0)


def check_step(status: Mapping[str, Any], step: int, param_dtype: str, ckpt_path: Path) -> None:
    """Raise UserError where a step's loss or gradient norm is not finite. In fp16 such steps belong to finding a loss
    scale, and DeepSpeed itself ends a run that finds none.
    """
    names = not_finite(status) if param_dtype != "fp16" else []
    if names:
        raise UserError(
            f"step {step}: {', '.join(names)} not finite: training has diverged, and ends before this step is saved; "
            f"{_way_on(ckpt_path)}"
        )


def lost_forward(step: int, ckpt_path: Path) -> UserError:
    """What a run ends with where the model's log-probabilities are not finite before a step's update."""
    what = f"step {step}: log-probabilities of the samples are not finite"
    if step == 1:
        return UserError(
            f"{what}: look at the weights of actor.model_name_or_path, and whether ds.param_dtype suits them"
        )
    return UserError(f"{what}: training has diverged; {_way_on(ckpt_path)}")


def check_weights(ckpt_path: Path, step: int) -> None:
    """Raise UserError where the export of a step that was just saved has weights that are not finite, or none to read.

    Then nothing marks the step complete, and `latest` names the newest complete checkpoint again.
    """
    try:
        where = first_not_finite(ckpt_path / f"{checkpoints.tag_of(step)}_hf")
    except UserError:
        checkpoints.withdraw(ckpt_path, step)
        raise
    if where is None:
        return
    checkpoints.withdraw(ckpt_path, step)
    raise UserError(
        f"step {step}: its weights hold NaN, infinite or overflowing numbers ({where}): training has diverged; the "
        f"step is not marked complete and nothing is deleted; {_way_on(ckpt_path)}"
    )


def _way_on(ckpt_path: Path) -> str:
    steps = checkpoints.resumable_steps(ckpt_path)
    if not steps:
        return "no checkpoint is complete: begin anew with a lower actor.adam.lr or actor.max_norm"
    export = ckpt_path / f"{checkpoints.tag_of(steps[-1])}_hf"
    return (
        f"step {steps[-1]} is complete: --resume may end in the same way, a new run with a lower actor.adam.lr can begin "
        f"with actor.model_name_or_path {export}"
    )

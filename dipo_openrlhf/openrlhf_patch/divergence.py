"""A run that has diverged ends at once, with a one-line error and its last usable checkpoint intact.

A non-finite gradient does not show in DeepSpeed 0.19.6's norm: it is replaced by -1 group by group
(deepspeed/runtime/utils.py, mask_nan_or_inf_with_val_inplace) before the groups' norms are combined, or the norm of an
earlier update is reported again. In bf16 with ZeRO 1 and 2 the update is skipped
(deepspeed/runtime/zero/stage_1_and_2.py, DeepSpeedZeroOptimizer.step), in bf16 with ZeRO 3 and in fp32 it is applied, and
the weights are lost. So every rank counts skipped updates and checks its own weights after a step (`lost_updates`). Nor
does a finite loss mean finite weights: too large a step overflows them, and the loss shows it after the checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dipo_eval.errors import UserError
from dipo_eval.subject.finite_weights import first_not_finite
from dipo_openrlhf.record import checkpoints

# A step's losses and gradient norms, by OpenRLHF's names. Other values are only logged.
_LOSSES = ("policy_loss", "critic_loss", "ptx_loss", "aux_loss", "actor_grad_norm", "critic_grad_norm")
SKIPPED, WEIGHTS = "actor_skipped_updates", "actor_weights_not_finite"


def lost_updates(engine: Any, skipped_before: int) -> dict[str, float]:
    """On one rank, after a step: how many updates DeepSpeed skipped, and 1 where a weight of this rank is not finite.

    With ZeRO 3 a rank checks its own partition of each weight (`ds_tensor`), else the whole weight. What is not trained
    is not checked: beside LoRA's adapters the whole model.
    """
    weights = [
        getattr(parameter, "ds_tensor", parameter).detach()
        for parameter in engine.module.parameters()
        if parameter.requires_grad
    ]
    finite = [torch.isfinite(weight).all() for weight in weights if weight.numel()]
    lost = not all(bool(one) for one in torch.stack([one.cpu() for one in finite])) if finite else False
    return {SKIPPED: float(engine.skipped_steps - skipped_before), WEIGHTS: float(lost)}


def not_finite(status: Mapping[str, Any], param_dtype: str) -> list[str]:
    """Names of what is NaN or infinite in a step's update. In fp16 DeepSpeed finds its loss scale by skipping updates,
    and itself ends a run that finds none.
    """
    if param_dtype == "fp16":
        return [WEIGHTS] if status.get(WEIGHTS) else []
    found = [name for name in _LOSSES if name in status and not math.isfinite(float(status[name]))]
    return found + [name for name in (SKIPPED, WEIGHTS) if status.get(name)]


def check_step(status: Mapping[str, Any], step: int, param_dtype: str, ckpt_path: Path) -> None:
    """Raise UserError where a step's loss, gradient or updated weights are not finite."""
    names = not_finite(status, param_dtype)
    if names:
        words = {SKIPPED: "gradients (updates were skipped)", WEIGHTS: "weights"}
        raise UserError(
            f"step {step}: {', '.join(words.get(name, name) for name in names)} not finite: training has diverged, and "
            f"ends before this step is saved; {_next_step(ckpt_path)}"
        )


def lost_forward(step: int, ckpt_path: Path) -> UserError:
    """The error where the model's log-probabilities are not finite before a step's update."""
    what = f"step {step}: log-probabilities of the samples are not finite"
    if step == 1:
        return UserError(
            f"{what}: check the weights of actor.model_name_or_path, and whether ds.param_dtype suits them"
        )
    return UserError(f"{what}: training has diverged; {_next_step(ckpt_path)}")


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
        f"step is not marked complete and nothing is deleted; {_next_step(ckpt_path)}"
    )


def _next_step(ckpt_path: Path) -> str:
    steps = checkpoints.resumable_steps(ckpt_path)
    if not steps:
        return "no checkpoint is complete: start again with a lower actor.adam.lr or actor.max_norm"
    export = ckpt_path / f"{checkpoints.tag_of(steps[-1])}_hf"
    if not export.is_dir():
        return f"step {steps[-1]} is complete: --resume may end in the same way; start again with a lower actor.adam.lr"
    return (
        f"step {steps[-1]} is complete: --resume may end in the same way, a new run with a lower actor.adam.lr can start "
        f"from actor.model_name_or_path {export}"
    )

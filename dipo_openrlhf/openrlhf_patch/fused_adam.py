"""DeepSpeed's FusedAdam without its build: the same optimizer over torch's own kernel.

deepspeed/ops/adam/fused_adam.py, FusedAdam compiles a CUDA extension when it is first made: that needs nvcc, ninja and
Python's headers on every node, takes a minute, and a build that is killed leaves a lock on which the next run hangs.
Sleep mode asks for exactly that class (deepspeed/runtime/zero/stage3.py, DeepSpeedZeroOptimizer_Stage3.offload_states),
so `torch_adam` is no way out. torch has a fused kernel of the same update.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

OFFLOAD_BUFFER = "_offload_buffer"  # of deepspeed/runtime/zero/offload_states.py, _make_offload_state_key


class FusedAdam(torch.optim.Adam):
    """Adam with DeepSpeed's arguments, names of state ("step", "exp_avg", "exp_avg_sq") and defaults.

    On a GPU one fused kernel; on CPU the numbers of DeepSpeed's `torch_adam`, bit by bit. A checkpoint of DeepSpeed's own
    class loads into it.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: Iterable[float] = (0.9, 0.999),
        eps: float = 1e-8,
        adam_w_mode: bool = True,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        set_grad_none: bool = True,
    ) -> None:
        """As DeepSpeed's. `adam_w_mode`: decoupled weight decay (AdamW), else an L2 penalty in the gradient.

        Raises ValueError for what torch's kernel cannot do: no bias correction, gradients kept as zeros; and for amsgrad,
        which DeepSpeed's refuses too.
        """
        if amsgrad or not bias_correction or not set_grad_none:
            raise ValueError(
                "FusedAdam: amsgrad, bias_correction=False and set_grad_none=False are not supported"
            )
        super().__init__(
            params,
            lr=lr,
            betas=tuple(betas),  # type: ignore[arg-type]
            eps=eps,
            weight_decay=weight_decay,
            fused=torch.cuda.is_available(),
            decoupled_weight_decay=adam_w_mode,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A loaded group gets this device's kernel; what it does not name, as DeepSpeed's does not, stays as made.

        A checkpoint saved asleep holds the buffers of deepspeed/runtime/zero/offload_states.py, offload_adam_states too.
        Loading moves them to the GPU, where the moments would then sleep: they are made anew.
        """
        for moments in state["state"].values():
            for name in [name for name in moments if name.endswith(OFFLOAD_BUFFER)]:
                del moments[name]
        defaults = state.get("defaults") or self.defaults  # the former in a copy of an optimizer
        for group in state["param_groups"]:
            for name, value in defaults.items():
                group.setdefault(name, value)
            group["fused"] = torch.cuda.is_available()
        super().__setstate__(state)


def install() -> None:
    """Put FusedAdam in DeepSpeed's place, in this process. Idempotent. Imports DeepSpeed (seconds)."""
    import deepspeed.ops.adam
    import deepspeed.ops.adam.fused_adam
    import deepspeed.runtime.engine
    import deepspeed.runtime.zero.utils as zero

    for module in (deepspeed.ops.adam, deepspeed.ops.adam.fused_adam, deepspeed.runtime.engine, zero):
        if not hasattr(module, "FusedAdam"):
            raise RuntimeError(f"{module.__name__} has no FusedAdam: install the DeepSpeed of requirements/")
        module.FusedAdam = FusedAdam
    if FusedAdam not in zero.ZERO_SUPPORTED_OPTIMIZERS:
        zero.ZERO_SUPPORTED_OPTIMIZERS.append(FusedAdam)

"""Whether engine and actor differ by more than rounding: then the engine samples with other weights than are trained.

In step 1 both hold the weights of the same file, before any sync: what vllm_kl is there is the noise of this model, its
type and its kernels. A divergence that is FACTOR times that, and above what rounding gives any model of the type, means
that updates do not reach the engine, or that the two compute different functions.
"""

from __future__ import annotations

# Nats a token, by ds.param_dtype: above what models of the type show from rounding alone (docs/metrics.md, measured).
FLOOR = {"fp32": 1e-4, "fp16": 2e-3, "bf16": 5e-3}
FACTOR = 4.0


def limit(param_dtype: str, first_step: float | None) -> float:
    """Largest |vllm_kl| that is not reported. first_step: that of step 1, where it is known."""
    floor = FLOOR[param_dtype]
    return FACTOR * floor if first_step is None else max(floor, FACTOR * abs(first_step))


def warning(step: int, found: float | None, param_dtype: str, first_step: float | None) -> str | None:
    """One line where a step's vllm_kl is too large, else None."""
    allowed = limit(param_dtype, first_step)
    if found is None or abs(found) <= allowed:
        return None
    return (
        f"step {step}: vllm_kl {found:.2g} is above {allowed:.2g}, more than {param_dtype} rounding explains: the "
        "engines may sample with other weights than are trained, or compute the model differently (docs/metrics.md)"
    )

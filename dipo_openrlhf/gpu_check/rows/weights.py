"""Weights reach vLLM: its log-probabilities of what it sampled are those of the actor, in every step.

The control proves that the figure would show it: with a high learning rate and weights that are not sent, it must be
CONTROL_FACTOR times the limit, which follows from ds.param_dtype.
"""

from __future__ import annotations

import torch

from dipo_openrlhf.gpu_check.evidence import Evidence, MissingEvidenceError, reference_log_probs, rows_of
from dipo_openrlhf.gpu_check.row import Row
from dipo_openrlhf.gpu_check.settings import CONTROL_STEPS, KILLED_AFTER, STEPS
from dipo_openrlhf.openrlhf_patch.weight_sync.divergence_limit import FLOOR

NAME = "weights reach vLLM"
CONTROL_FACTOR = 10
ROWS = 32  # responses of which the divergence of older weights is computed
SHOWN = "|vllm_kl| but rounding in every step; more where weights are not sent"


def check(evidence: Evidence) -> Row:
    limit = FLOOR[evidence.recipe.get("ds.param_dtype")]
    metrics = evidence.metrics(evidence.settings.run_dir)
    found = {step: _vllm_kl(metrics, step) for step in range(1, STEPS + 1)}
    control = _vllm_kl(evidence.metrics(evidence.settings.control_dir), CONTROL_STEPS)
    worst = max(found, key=lambda step: abs(found[step]))
    behind = one_step_behind(evidence)
    text = f"{abs(found[worst]):.1e} at most (one step behind: {behind:.2g}); not sent: {abs(control):.2g}"
    shown = f"|vllm_kl| < {limit:g} in every step; not sent: > {CONTROL_FACTOR * limit:g}"
    figures = {"vllm_kl": found, "control": control, "one_step_behind": behind}
    meaning = ""
    wrong = [step for step in found if not abs(found[step]) < limit]
    if wrong:
        meaning = f"step {wrong[0]}: {_cause(wrong[0])}"
    elif not abs(control) > CONTROL_FACTOR * limit:
        meaning = (
            "even weights that are not sent pass, so this row proves nothing here: the control's updates did not change "
            "the model (see control/metrics.jsonl: actor_grad_norm must not be 0)"
        )
    return Row(NAME, not meaning, text, shown, meaning, figures)


def one_step_behind(evidence: Evidence) -> float:
    """What vllm_kl of the last step's samples is for the weights of one step before: how much a missed update shows."""
    names = ("sequences", "attention_mask", "action_mask", "rollout_log_probs")
    rows = {name: value[:ROWS] for name, value in rows_of(evidence.dump(STEPS), names).items()}
    with torch.no_grad():
        model = evidence.model(STEPS - 2)
        log_probs_BA = reference_log_probs(model, rows, evidence.recipe.get("rollout.temperature"))
    return float((rows["rollout_log_probs"] - log_probs_BA)[rows["action_mask"].bool()].mean())


def _vllm_kl(metrics: dict[int, dict[str, float]], step: int) -> float:
    value = metrics.get(step, {}).get("vllm_kl")
    if value is None:
        raise MissingEvidenceError(f"no vllm_kl was logged in step {step}")
    return float(value)


def _cause(first: int) -> str:
    if first == 1:
        return (
            "before any update: engine and actor compute different things from the same weights; compare ds.param_dtype, "
            "ds.attn_implementation and vLLM's attention backend"
        )
    if first == KILLED_AFTER + 1:
        return "only after the resume: the restored weights did not reach the engines before they sampled"
    return (
        "the engines sample with other weights than are trained: do not train here; vllm.sync_backend, NCCL and CUDA IPC "
        "(train.log) decide how weights are sent"
    )

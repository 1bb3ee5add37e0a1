"""A step of the quickstart by the whole stack (Ray, vLLM, DeepSpeed) and by TRL's GRPOTrainer, one after the other.

Run on an idle machine: python benchmarks/step_vs_trl.py [--steps 6] [--repeat 1] [--out FILE.json]

The quickstart's model in float32, 64 prompts x 8 responses of up to 56 tokens, two threads. Seconds are medians of all
steps but the first, saves left out. Effective: responses of groups that have a gradient. Refilling methods sample more
than they train; their tokens count all that was sampled.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from common import DIPO, command, header, machine, row, save, write_recipe
from trl_environment import run_grpo

from dipo_eval.files.step_log import read_metrics
from dipo_eval.suites.arithmetic_problems import problems
from dipo_openrlhf.quickstart.pretrain import pretrained_model
from dipo_openrlhf.record.user_cache import cache_dir

PROMPTS, GROUP, MAX_NEW_TOKENS, LR, THREADS = 64, 8, 56, 2e-4, 2
ROOM = 128  # responses of groups that keep_and_refill keeps beside the step's
SPARE = 4  # prompts asked beyond the steps', as a multiple: for what is refilled
METHODS: dict[str, dict[str, Any]] = {
    "grpo": {"method": "grpo"},
    "dipo": {"method": "dipo"},
    "keep_and_refill": {"method": "dipo", "keep_and_refill": True},
    "dapo": {"method": "dapo"},
}
PASSES = (4, 8)  # TRL's forward and backward passes a step: the fastest counts
PHASES = ("generate", "reward", "forward", "advantages", "update", "sync", "other")
Step = dict[str, float]


def ours(dipo: dict[str, Any], steps: int) -> list[Step]:
    """Each step of a training, as trl_grpo.py measures it, with its phases."""
    refills = dipo.get("keep_and_refill") or dipo["method"] == "dapo"
    with tempfile.TemporaryDirectory(prefix="dipo_step_") as name:
        batch = PROMPTS * GROUP + (ROOM if dipo.get("keep_and_refill") else 0)
        recipe = write_recipe(
            Path(name), PROMPTS * steps * (SPARE if refills else 1), dipo=dipo, watch={"enabled": False},
            rollout={"batch_size": PROMPTS, "n_samples_per_prompt": GROUP, "max_new_tokens": MAX_NEW_TOKENS,
                     "micro_batch_size": 64},
            train={"batch_size": batch, "micro_batch_size": 64, "seed": 42},
            algo={"advantage": {"is_correction_level": "token"}}, ckpt={"save_steps": 1000},
        )  # fmt: skip
        done = subprocess.run([*DIPO, "train", recipe], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        return [_as_step(logged) for logged in list(read_metrics(Path(name, "run")))[:steps]]


def _as_step(logged: dict[str, Any]) -> Step:
    groups = sum(logged[f"dipo/groups_{kind}"] for kind in ("hard", "easy", "normal"))
    phases = {name: logged[f"timing/phases/{name}"] for name in PHASES}
    return {
        "seconds": logged["timing/wall"] - logged["timing/phases/save"], "responses": groups * GROUP,
        "tokens": logged["throughput/generated_tokens"],
        "effective": groups * GROUP * (1 - logged["dipo/zero_gradient_share"]), **phases,
    }  # fmt: skip


def trl(folder: Path, steps: int) -> list[Step]:
    """The fastest of its numbers of passes."""
    rows = [{"question": one.question, "answer": one.answer} for one in problems("train", PROMPTS * steps, 0)]
    sizes = {"prompts": PROMPTS, "group": GROUP, "max_new_tokens": MAX_NEW_TOKENS, "lr": LR, "seed": 42}
    runs = [
        run_grpo(THREADS, rows, model=str(folder), steps=steps, passes=passes, **sizes) for passes in PASSES
    ]
    return min(runs, key=lambda run: middle(run, "seconds"))


def middle(steps: list[Step], name: str) -> float:
    """The median of all steps but the first."""
    return statistics.median(step.get(name, 0.0) for step in steps[1:])


def rate(steps: list[Step], name: str) -> float:
    """A second, over all steps but the first."""
    return sum(step[name] for step in steps[1:]) / sum(step["seconds"] for step in steps[1:])


def main(steps: int = 6, methods: str = ",".join(METHODS), repeat: int = 1, out: Path | None = None) -> None:
    folder = pretrained_model(cache_dir(), progress=False)
    print(f"{machine()}; load before: {os.getloadavg()[0]:.1f}")
    header("trainer", "s a step", "to TRL", "tokens/s", "effective/s", "to TRL", *PHASES)
    figures: dict[str, list[list[Step]]] = {}
    for _ in range(repeat):
        base = trl(folder, steps)
        for name in ("TRL", *methods.split(",")):
            run = base if name == "TRL" else ours(METHODS[name], steps)
            figures.setdefault(name, []).append(run)
            seconds, effective = middle(run, "seconds"), rate(run, "effective")
            row([
                name, f"{seconds:.2f}", f"{middle(base, 'seconds') / seconds:.2f}", f"{rate(run, 'tokens'):.0f}",
                f"{effective:.0f}", f"{effective / rate(base, 'effective'):.2f}",
                *(f"{middle(run, phase):.2f}" for phase in PHASES),
            ])  # fmt: skip
    save(out, figures)


if __name__ == "__main__":
    command(main, __doc__)

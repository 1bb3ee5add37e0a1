"""A step of algorithm/reference.py: as it was before it was made faster, as it is, and of TRL's GRPOTrainer.

Run on an idle machine: python benchmarks/reference_trainer.py [--steps 5] [--threads 1] [--out FILE.json]

All train the quickstart's model in float32, 32 prompts x 8 responses of up to 56 tokens, on as many threads. The former
trainer comes from git; its steps and ours are taken in turn. TRL grades by one regular expression, ours and the former
with the real grader. On a machine that is not idle compare processor seconds.
"""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import ROOT, command, header, machine, row, save
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl_environment import run_grpo

from dipo_eval.grading.math.grade import grade_math
from dipo_eval.suites.arithmetic_problems import problems
from dipo_openrlhf.algorithm import DipoConfig, reference
from dipo_openrlhf.quickstart.pretrain import pretrained_model
from dipo_openrlhf.record.user_cache import cache_dir

FORMER = "878b32f"  # the last commit before it was made faster
PROMPTS, GROUP, MAX_NEW_TOKENS, LR = 32, 8, 56, 2e-4
PASSES = (1, 4, 8)  # TRL's forward and backward passes a step: the fastest counts
Step = dict[str, float]


def former() -> Any:
    """reference.py as it was."""
    path = "dipo_openrlhf/algorithm/reference.py"
    source = subprocess.check_output(["git", "-C", ROOT, "show", f"{FORMER}:{path}"], text=True)
    module = types.ModuleType("former_reference")
    sys.modules[module.__name__] = module  # dataclasses looks it up
    exec(compile(source, path, "exec"), module.__dict__)
    return module


def steps_of(trainer: Any, folder: Path, method: str, asked: list[Any], steps: int) -> Iterator[Step]:
    """Each step of a reference trainer as it is taken, measured as trl_grpo.py does it."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = trainer.ReferenceConfig(
        tokenizer.eos_token_id, tokenizer.pad_token_id, DipoConfig(method=method), steps=steps,
        prompts_per_step=PROMPTS, n_samples_per_prompt=GROUP, max_new_tokens=MAX_NEW_TOKENS, lr=LR,
    )  # fmt: skip
    chat = functools.partial(tokenizer.apply_chat_template, add_generation_prompt=True, return_dict=False)
    prompts = [chat([{"role": "user", "content": one.question}]) for one in asked]

    def grade(index: int, tokens: list[int]) -> float:
        return float(grade_math(tokenizer.decode(tokens), asked[index].answer).score)

    run = trainer.train(model, prompts, grade, config)
    while True:
        begun, processor = time.perf_counter(), time.process_time()
        metrics = next(run, None)
        if metrics is None:
            return
        found = {"seconds": time.perf_counter() - begun, "processor": time.process_time() - processor}
        responses = metrics["sampled_responses"]
        yield {
            **found, "responses": responses, "tokens": metrics["response_tokens"] * PROMPTS * GROUP,
            "correct": metrics["accuracy"] * responses,
        }  # fmt: skip


def middle(steps: list[Step], name: str = "processor") -> float:
    """The median of all steps but the first."""
    return statistics.median(step[name] for step in steps[1:])


def trl(folder: Path, asked: list[Any], steps: int, threads: int) -> list[Step]:
    """The fastest of its numbers of passes."""
    rows = [{"question": one.question, "answer": one.answer} for one in asked]
    sizes = {"prompts": PROMPTS, "group": GROUP, "max_new_tokens": MAX_NEW_TOKENS, "lr": LR, "seed": 0}
    runs = [
        run_grpo(threads, rows, model=str(folder), steps=steps, passes=passes, **sizes) for passes in PASSES
    ]
    return min(runs, key=middle)


def main(
    steps: int = 5, threads: int = 1, methods: str = "grpo,dipo,rl_zvp", out: Path | None = None
) -> None:
    folder = pretrained_model(cache_dir(), progress=False)
    torch.set_num_threads(threads)
    print(f"{machine()}, {threads} threads; load before: {os.getloadavg()[0]:.1f}")
    asked = problems("train", PROMPTS * steps, 0)
    header(
        "method", "trainer", "s a step", "processor s", "responses/s", "tokens/s", "to the former", "to TRL"
    )
    figures: dict[str, dict[str, list[Step]]] = {}
    for method in methods.split(","):
        pair = [steps_of(each, folder, method, asked, steps) for each in (former(), reference)]
        runs = dict(zip(("former", "now"), zip(*zip(*pair, strict=True), strict=True), strict=True))
        figures[method] = found = {name: list(run) for name, run in runs.items()}
        if method == "grpo":
            found["TRL"] = trl(folder, asked, steps, threads)
        for name, run in found.items():
            ratios = [
                f"{middle(found[other]) / middle(run):.2f}" if other in found else ""
                for other in ("former", "TRL")
            ]
            rates = [f"{middle(run, kind) / middle(run):.0f}" for kind in ("responses", "tokens")]
            row([method, name, f"{middle(run, 'seconds'):.2f}", f"{middle(run):.2f}", *rates, *ratios])
    save(out, figures)


if __name__ == "__main__":
    command(main, __doc__)

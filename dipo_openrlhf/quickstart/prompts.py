"""The prompts of a quickstart: generated arithmetic, or sums of two digits mixed with GSM8K for the larger model."""

from __future__ import annotations

import json
import random
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_openrlhf.data.arithmetic import write_prompts
from dipo_openrlhf.data.base import Prompt, json_lines
from dipo_openrlhf.data.gsm8k import convert

DATA_DIR = "DIPO_DATA_DIR"


def write_quickstart_prompts(
    path: Path, steps: int, batch_size: int, seed: int, gsm8k: Path | None, resume: bool
) -> None:
    """As many prompts as the steps need, the same for the same seed. A resume continues with those that are there.

    Raises UserError where they are those of another number of steps.
    """
    count = steps * batch_size
    if resume and path.is_file():
        found = len(path.read_text(encoding="utf-8").splitlines())
        if found != count:
            raise UserError(
                f"{path}: holds the prompts of {found // batch_size} steps, not of {steps}: "
                f"resume with --steps {found // batch_size}, or start a new quickstart"
            )
        return
    if gsm8k is None:
        write_prompts(path, count, seed)
    else:
        path.write_text("".join(_mixed(gsm8k, count, seed)), encoding="utf-8")


def gsm8k_file(data_dir: Path | None) -> Path:
    """The training file of GSM8K. Raises UserError where there is none."""
    if data_dir is None:
        raise UserError(
            f"--model smollm2 trains on GSM8K: name the folder of gsm8k_train.jsonl with --data-dir or {DATA_DIR}"
        )
    path = data_dir / "gsm8k_train.jsonl"
    if not path.is_file():
        raise UserError(f"{path}: no such file; --data-dir must hold gsm8k_train.jsonl and gsm8k_test.jsonl")
    return path


def _mixed(gsm8k: Path, count: int, seed: int) -> list[str]:
    """Half sums of two digits, of which a 135M model gets some correct, so that there is something to learn from."""
    rng = random.Random(f"sums:{seed}")
    sums = []
    for index in range(count // 2):
        a, b = rng.randint(1, 9), rng.randint(1, 9)
        sums.append(Prompt(f"sum-{index}", f"What is {a} + {b}?", str(a + b), ()))
    with open(gsm8k, encoding="utf-8") as file:
        lines = random.Random(seed).sample(file.readlines(), count - len(sums))
    rows = json_lines(sums, "arithmetic", "{question}\nPut the answer in \\boxed{}.")
    rows += json_lines(
        [convert(json.loads(line)) for line in lines],
        "gsm8k",
        "{question}\nReason step by step and put the final answer in \\boxed{}.",
    )
    random.Random(seed).shuffle(rows)
    return rows

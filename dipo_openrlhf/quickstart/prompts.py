"""The prompts of a quickstart: generated ones, or sums of two digits mixed with GSM8K for the larger model."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_openrlhf.data import arithmetic, tool_calls
from dipo_openrlhf.data.base import Prompt, json_lines
from dipo_openrlhf.data.gsm8k import convert
from dipo_openrlhf.quickstart.folder import SMOLLM2, TOOLS

DATA_DIR = "DIPO_DATA_DIR"


Writer = Callable[[Path, int, int], None]
"""Writes a file of so many prompts, the same for the same seed."""


def writer_of(recipe: str, data_dir: Path | None) -> Writer:
    """What writes the prompts of a quickstart. Raises UserError where the recipe needs a file that is not there."""
    if recipe == SMOLLM2:
        return partial(_write_mixed, gsm8k_file(data_dir))
    return tool_calls.write_prompts if recipe == TOOLS else arithmetic.write_prompts


def write_quickstart_prompts(
    path: Path, steps: int, batch_size: int, seed: int, write: Writer, resume: bool
) -> None:
    """As many prompts as the steps need. A resume continues with those that are there.

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
    write(path, count, seed)


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


def _write_mixed(gsm8k: Path, path: Path, count: int, seed: int) -> None:
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
    path.write_text("".join(rows), encoding="utf-8")

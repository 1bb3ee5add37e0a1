"""The prompts of a quickstart: generated arithmetic, or sums of two digits mixed with GSM8K for the larger model."""

from __future__ import annotations

import json
import random
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_openrlhf.data.arithmetic import write_prompts

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
        return
    rows = _sums(count // 2, seed)
    rows += _gsm8k_rows(gsm8k, count - len(rows), seed)
    random.Random(seed).shuffle(rows)
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")


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


def _sums(count: int, seed: int) -> list[str]:
    """Sums of two digits: a 135M model gets some of them correct, so that there is something to learn from."""
    rng = random.Random(f"sums:{seed}")
    pairs = [(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(count)]
    boxed = "Put the answer in \\boxed{}."
    return [
        _row(f"sum-{index}", f"What is {a} + {b}?\n{boxed}", str(a + b), "arithmetic")
        for index, (a, b) in enumerate(pairs)
    ]


def _gsm8k_rows(path: Path, count: int, seed: int) -> list[str]:
    with open(path, encoding="utf-8") as file:
        lines = random.Random(seed).sample(file.readlines(), count)
    boxed = "Reason step by step and put the final answer in \\boxed{}."
    rows = map(json.loads, lines)
    return [_row(row["id"], f"{row['question']}\n{boxed}", row["answer"], "gsm8k") for row in rows]


def _row(identity: str, question: str, answer: str, datasource: str) -> str:
    return json.dumps({"id": identity, "input": question, "label": answer, "datasource": datasource})

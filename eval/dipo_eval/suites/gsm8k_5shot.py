r"""GSM8K in lm-eval's own form: five solved problems of the training split before each, without a chat template.

Prompt, stop strings and the choice of the five are those of lm-eval 0.4.13's task gsm8k run without a chat template
(lm_eval/tasks/gsm8k/gsm8k.yaml), so its published numbers compare. The five of the i-th test problem are the i-th draw
of Python's Random(1234).sample from the training split in its order (lm_eval/api/samplers.py, ContextSampler.sample;
1234 is lm-eval's default): they depend neither on --limit nor on --seed. lm-eval's default is 256 new tokens.

Row of gsm8k_train.jsonl (gsm8k_test.jsonl: see gsm8k.py):
    {"id": "gsm8k-train-0", "question": "Natalia sold clips to 48 of her friends in April, and ...", "answer": "72",
     "solution": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n...\n#### 72", "source": "openai/grade-school-math"}
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

from dipo_eval.errors import UserError
from dipo_eval.suites.base import Item, Suite, take
from dipo_eval.suites.data_file import DataFile, Record, check_hash, records
from dipo_eval.suites.gsm8k import DATA
from dipo_eval.suites.hub import HubData
from dipo_eval.suites.math_file import checked_text, grade_item, load_math_file

SHOTS = 5
SHOTS_SEED = 1234


def _train_row(row: Record, number: int) -> Record:
    return {"id": f"gsm8k-train-{number - 1}", "question": row["question"], "solution": row["answer"]}


TRAIN = DataFile(
    "gsm8k_train.jsonl",
    "3e190a78ba77d30361bebd272f78bb0992f76c5dae3dde9eac2758641481604d",
    HubData("openai/gsm8k", "train", _train_row, 7473, "main"),
)


def _solved(data_dir: Path | None) -> list[str]:
    """The training problems with their solutions, as in a prompt."""
    found = records(data_dir, TRAIN)
    solved = [
        f"{_asked(checked_text(row, 'question', where))} {checked_text(row, 'solution', where)}"
        for where, row in ((f"{found.source}:{number}", row) for number, row in found.rows)
    ]
    if len(solved) < SHOTS:
        raise UserError(f"{found.source}: has {len(solved)} problems, a prompt needs {SHOTS}; get it again")
    check_hash(found, TRAIN)
    return solved


def _asked(question: str) -> str:
    return f"Question: {question}\nAnswer:"


def _load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    solved, rng = _solved(data_dir), Random(SHOTS_SEED)
    items = []
    for item in load_math_file(DATA, lambda row: {"question": row["question"]}, data_dir, None, seed):
        shots = rng.sample(solved, SHOTS)
        prompt = "\n\n".join([*shots, _asked(item.meta["question"])])
        items.append(replace(item, messages=[{"role": "user", "content": prompt}], meta={}))
    return take(items, limit, seed)


SUITE = Suite(
    name="gsm8k-5shot",
    source="https://github.com/openai/grade-school-math (test split; 5 solved problems of train, as in lm-eval)",
    license="MIT",
    metric="accuracy, avg@k",
    load=_load,
    grade=grade_item,
    data=DATA,
    stop=("Question:", "</s>", "<|im_end|>"),
    plain=True,
)

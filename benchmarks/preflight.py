"""The preflight of many prompts on one core, against the time of tokenizing the same texts and nothing else.

    python benchmarks/preflight.py [--rows 100000] [--repeats 3] [--out FILE.json]

The problems of math_rl_train (DIPO_DATA_DIR), each numbered so that no two are equal, with the tokenizer and the chat
template of SmolLM2: every row is read and typed, its label tried by the grader's own reader, its prompt made and counted.
"""

from __future__ import annotations

import json
import os
import tempfile
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.environ |= {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

from common import DATA_DIR, command, header, machine, row, save, timed  # noqa: E402

from dipo_openrlhf.preflight.check import check_data  # noqa: E402
from dipo_openrlhf.preflight.prompts import load_tokenizer  # noqa: E402
from dipo_openrlhf.quickstart.smollm2 import smollm2_model  # noqa: E402
from dipo_openrlhf.recipe.load import load_recipe  # noqa: E402
from dipo_openrlhf.recipe.recipe import Recipe  # noqa: E402
from dipo_openrlhf.record.user_cache import cache_dir  # noqa: E402


def write_rows(path: Path, count: int) -> None:
    lines = (DATA_DIR / "math_rl_train.jsonl").read_text(encoding="utf-8").splitlines()
    with path.open("w", encoding="utf-8") as file:
        for number, line in enumerate(islice(cycle(lines), count)):
            problem = json.loads(line)
            text = f"Problem {number}. {problem['question']}\nPut your final answer within \\boxed{{}}."
            file.write(json.dumps({"input": text, "label": problem["answer"]}) + "\n")


RECIPE = """\
run: {{device: cpu, dir: {0}/run}}
actor: {{model_name_or_path: {1}, num_gpus_per_node: 1}}
data: {{prompt_dataset: {0}/prompts.jsonl, max_len: 4096}}
rollout: {{batch_size: 8, n_samples_per_prompt: 8, max_new_tokens: 1024}}
train: {{batch_size: 64}}
ckpt: {{save_steps: 100}}
"""


def recipe_of(folder: Path, model: Path) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(folder, model), encoding="utf-8")
    return load_recipe(str(path))


def tokenize(model: Path, folder: Path) -> int:
    """The lower bound: prompts without templates, types or labels."""
    tokenizer = load_tokenizer(str(model))
    texts = [json.loads(line)["input"] for line in (folder / "prompts.jsonl").open(encoding="utf-8")]
    parts = range(0, len(texts), 1000)
    return sum(len(ids) for at in parts for ids in tokenizer(texts[at : at + 1000])["input_ids"])


def main(rows: int = 100_000, repeats: int = 3, out: Path | None = None) -> None:
    model, figures = smollm2_model(cache_dir()), []
    print(f"{machine()}, one core, {rows:,} prompts\n")
    header("preflight", "known by content", "tokenizing alone", "tokens", "ratio")
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            os.environ["DIPO_CACHE_DIR"] = str(folder / "cache")
            write_rows(folder / "prompts.jsonl", rows)
            recipe = recipe_of(folder, model)
            said: list[str] = []
            first, _ = timed(lambda r=recipe, s=said: check_data(r, s.append))  # type: ignore[misc]
            again, _ = timed(lambda r=recipe, s=said: check_data(r, s.append))  # type: ignore[misc]
            alone, tokens = timed(lambda f=folder: tokenize(model, f))  # type: ignore[misc]
        found: dict[str, Any] = {
            "first": first,
            "again": again,
            "alone": alone,
            "tokens": tokens,
            "said": said,
        }
        figures.append(found)
        row([f"{first:.1f} s", f"{again:.2f} s", f"{alone:.1f} s", f"{tokens:,}", f"{first / alone:.2f}"])
    save(out, {"machine": machine(), "rows": rows, "runs": figures})


if __name__ == "__main__":
    command(main, __doc__)

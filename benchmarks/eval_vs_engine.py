"""`dipo eval` beside the bare engine: tokens a second on the same prompts, in turn, each in a process of its own.

    python benchmarks/eval_vs_engine.py [--prompts 500] [--repeat 3] [--max-new-tokens 56] [--model FOLDER]

The bare engine is `LLM.generate` with all prompts at once, greedy, and nothing else: no cache, no grading, no results.
Ours is a whole `dipo eval`; its seconds of generation are those of its results.json, in which every response is decoded,
kept and handed on. `whole` is the command from start to end, imports and load included.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import DIPO, command, header, machine, row, save

SUITE = "arithmetic-control"
LIMIT = 1800  # seconds of one process


def bare(model: Path, prompts: list[list[int]], max_new_tokens: int) -> dict[str, float]:
    """Load, generate, count; what the child process does."""
    from dipo_eval.engines.device import set_engine_env
    from dipo_eval.engines.prompts import end_tokens

    set_engine_env(model)
    from vllm import LLM, SamplingParams

    started = time.perf_counter()
    longest = max(map(len, prompts))
    llm = LLM(
        model=str(model), dtype="float32", enforce_eager=True, max_model_len=longest + max_new_tokens, seed=0,
        enable_chunked_prefill=False, max_num_batched_tokens=4096, disable_log_stats=True,
    )  # fmt: skip
    loaded = time.perf_counter()
    ends = end_tokens(model, llm.get_tokenizer())
    params = SamplingParams(temperature=0.0, max_tokens=max_new_tokens, stop_token_ids=ends)
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
    ended = time.perf_counter()
    tokens = sum(len(one.token_ids) for output in outputs for one in output.outputs)
    return {"load": loaded - started, "generate": ended - loaded, "tokens": tokens}


def run_bare(model: Path, prompts: list[list[int]], max_new_tokens: int, folder: Path) -> dict[str, float]:
    """The bare engine in a process of its own."""
    asked, report = folder / "asked.json", folder / "bare.json"
    asked.write_text(json.dumps({"model": str(model), "prompts": prompts, "max_new_tokens": max_new_tokens}))
    started = time.perf_counter()
    _run([sys.executable, __file__, "--child", str(asked), "--out", str(report)])
    return {**json.loads(report.read_text()), "whole": time.perf_counter() - started}


def run_ours(model: Path, count: int, max_new_tokens: int, folder: Path) -> dict[str, float]:
    """`dipo eval` with the same model, prompts and limit."""
    results = folder / "results"
    started = time.perf_counter()
    _run(
        [
            *DIPO, "eval", str(model), "--suites", SUITE, "--limit", str(count), "--results", str(results),
            "--max-new-tokens", str(max_new_tokens),
        ]
    )  # fmt: skip
    whole = time.perf_counter() - started
    (found,) = results.glob("*/*/*/results.json")
    seconds = json.loads(found.read_text())["seconds"]
    rows = [json.loads(line) for line in (found.parent / "samples.jsonl").read_text().splitlines()]
    tokens = sum(one["response_tokens"] for one in rows)
    return {"load": seconds["load"], "generate": seconds["generate"], "tokens": tokens, "whole": whole}


def _run(words: list[str]) -> None:
    env = os.environ | {"DIPO_ACCEPT_DATA": "all"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise SystemExit(f"{words[1:4]} ended with {done.returncode}: {done.stderr[-2000:]}")


def main(
    prompts: int = 500,
    repeat: int = 3,
    max_new_tokens: int = 56,
    model: Path | None = None,
    out: Path | None = None,
    child: Path | None = None,
) -> None:
    if child is not None:
        asked = json.loads(child.read_text())
        save(out, bare(Path(asked["model"]), asked["prompts"], asked["max_new_tokens"]))
        return
    from dipo_eval.engines.prompts import ModelRenderer
    from dipo_eval.suites import get_suites
    from dipo_openrlhf.quickstart.pretrain import pretrained_model
    from dipo_openrlhf.record.user_cache import cache_dir

    model = model or pretrained_model(cache_dir())
    (suite,) = get_suites([SUITE])
    renderer = ModelRenderer(model, None)
    asked = [list(renderer.render(item.messages, None).token_ids) for item in suite.load(None, prompts, 0)]
    print(f"{machine()}\n\n{len(asked)} prompts of {SUITE}, {model.name}, medians of {repeat}\n")
    runs: dict[str, list[dict[str, Any]]] = {"bare engine": [], "dipo eval": []}
    for _ in range(repeat):
        with tempfile.TemporaryDirectory(prefix="dipo_eval_vs_engine_") as name:
            runs["bare engine"].append(run_bare(model, asked, max_new_tokens, Path(name)))
            runs["dipo eval"].append(run_ours(model, prompts, max_new_tokens, Path(name)))
    header("", "tokens", "load s", "generate s", "tokens a second", "ratio", "whole s")
    rates = {name: [one["tokens"] / one["generate"] for one in each] for name, each in runs.items()}
    base = statistics.median(rates["bare engine"])
    for name, each in runs.items():
        middle = {key: statistics.median(one[key] for one in each) for key in each[0]}
        rate = statistics.median(rates[name])
        row(
            [
                name, f"{middle['tokens']:,.0f}", f"{middle['load']:.1f}", f"{middle['generate']:.2f}",
                f"{rate:,.0f}", f"{rate / base:.2f}", f"{middle['whole']:.1f}",
            ]
        )  # fmt: skip
    save(out, runs)


if __name__ == "__main__":
    command(main, __doc__)

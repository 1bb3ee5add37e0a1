"""The separate tools of benchmarks/evaluation.py: lm-eval, bfcl-eval and evalplus, each as its users run it.

Every tool gets the items that `dipo eval` took, the same threads, precision and limits, and its own way of batching.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation_run import Part, Plan, environment, free_port, run, server_command, started, wait_until_up

from dipo_eval.grading.code.environment import DATASETS, data_path
from dipo_eval.harness.lm_eval import TASKS, task_name
from dipo_eval.suites import all_suites

HERE = Path(__file__).resolve().parent
CODE = {"humaneval+": "humaneval", "mbpp+": "mbpp"}


def _watched(plan: Plan, name: str, env: Mapping[str, str], module: str, arguments: Sequence[str]) -> Part:
    """A module that loads the model itself, timed by evaluation_llm.py."""
    report = plan.work / f"{name}.json"
    command = [
        sys.executable, str(HERE / "evaluation_llm.py"), str(report), str(plan.max_tokens), module, *arguments,
    ]  # fmt: skip
    wall = run(command, env, plan.work / f"{name}.log")
    return Part(name, wall, **json.loads(report.read_text()))


def lm_eval(plan: Plan) -> list[Part]:
    """All math suites in one command: one load, all prompts at once (`--batch_size auto`)."""
    places = {}
    for suite, items in plan.items.items():
        if suite in CODE or suite == "bfcl":
            continue
        every = [item.id for item in all_suites()[suite].load(plan.data_dir, None, 0)]
        places[task_name(suite)] = [every.index(item.id) for item in items]
    if not places:
        return []
    settings = f"pretrained={plan.model},dtype=float32,max_model_len={plan.context},enforce_eager=True"
    arguments = [
        "run", "--model", "vllm", "--model_args", settings, "--include_path", str(TASKS), "--tasks",
        ",".join(places), "--samples", json.dumps(places), "--apply_chat_template", "--batch_size", "auto",
        "--gen_kwargs", f"max_gen_toks={plan.max_tokens}", "--output_path", str(plan.work / "lm_eval"),
    ]  # fmt: skip
    return [_watched(plan, "lm-eval", environment(plan, "lm_eval"), "lm_eval", arguments)]


def bfcl(plan: Plan) -> list[Part]:
    """bfcl-eval's generation against a server, whose start counts, then its evaluation."""
    if "bfcl" not in plan.items:
        return []
    root = plan.work / "bfcl"
    root.mkdir()
    ids: dict[str, list[str]] = {}
    for item in plan.items["bfcl"]:
        ids.setdefault(str(item.meta["kind"]), []).append(item.id)
    (root / "test_case_ids_to_generate.json").write_text(json.dumps(ids))
    port = free_port()
    env = {**environment(plan, "bfcl"), "BFCL_PROJECT_ROOT": str(root), "LOCAL_SERVER_PORT": str(port)}
    driver = [sys.executable, str(HERE / "evaluation_bfcl.py")]
    begun = time.monotonic()
    log = plan.work / "bfcl-server.log"
    with started(server_command(plan, port), environment(plan, "bfcl"), log) as server:
        wait_until_up(f"http://localhost:{port}/v1/models", server, log)
        load = time.monotonic() - begun
        command = [*driver, "generate", str(plan.model), str(plan.max_tokens)]
        generate = run(command, env, plan.work / "bfcl-generate.log")
    wall = time.monotonic() - begun
    refused = _check_bfcl(root / "result", sum(map(len, ids.values())))
    counts = json.loads((root / "requests.json").read_text(encoding="utf-8"))
    grade = run([*driver, "evaluate", ",".join(ids)], env, plan.work / "bfcl-evaluate.log")
    return [
        Part("bfcl-eval generate", wall, load, generate, None, **counts, refused=refused),
        Part("bfcl-eval evaluate", grade, grade=grade),
    ]


def _check_bfcl(folder: Path, expected: int) -> int:
    """Items that ended at the context's end. SystemExit where one has no result, or another error."""
    content = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*_result.json"))
    rows = [json.loads(line) for line in content.split("\n") if line]
    if len(rows) != expected:
        raise SystemExit(f"bfcl-eval answered {len(rows)} items, not {expected}; see {folder}")
    refused = [row for row in rows if "traceback" in row]  # bfcl-eval stores an error as the response
    for row in refused:
        if "context length" not in row["traceback"]:
            raise SystemExit(f"bfcl-eval could not ask {row['id']}: {str(row['result'])[:300]}")
    return len(refused)


def evalplus(plan: Plan) -> list[Part]:
    """For each data set: codegen, which loads the model and asks one problem at a time, then evaluate."""
    parts = []
    for suite, dataset in CODE.items():
        if suite not in plan.items:
            continue
        env = _evalplus_data(plan, dataset, {item.id for item in plan.items[suite]})
        root = plan.work / f"evalplus-{dataset}"
        arguments = [
            "--model", str(plan.model), "--dataset", dataset, "--backend", "vllm", "--greedy", "--dtype",
            "float32", "--root", str(root),
        ]  # fmt: skip
        parts.append(_watched(plan, f"evalplus.codegen {dataset}", env, "evalplus.codegen", arguments))
        (samples,) = [path for path in root.rglob("*.jsonl") if not path.name.endswith(".raw.jsonl")]
        parts.append(_evalplus_evaluate(plan, env, dataset, samples))
    return parts


def _evalplus_evaluate(plan: Plan, env: Mapping[str, str], dataset: str, samples: Path) -> Part:
    name = f"evalplus.evaluate {dataset}"
    command = [sys.executable, "-m", "evalplus.evaluate", "--dataset", dataset, "--samples", str(samples)]
    wall = run(command, env, plan.work / f"{name}.log")
    ended = time.time()
    (result,) = samples.parent.glob("*_eval_results.json")
    idle = max(0.0, ended - result.stat().st_mtime)
    return Part(name, wall, grade=wall, idle=idle)


def _evalplus_data(plan: Plan, dataset: str, ids: set[str]) -> dict[str, str]:
    """evalplus's environment, with its file reduced to these problems: evaluate requires samples of all problems of the
    file. Its cache of expected results is empty at the start, as ours is.
    """
    path = plan.work / f"{dataset}.jsonl"
    lines = data_path(dataset, plan.data_dir).read_text(encoding="utf-8").rstrip("\n").split("\n")
    kept = [line for line in lines if json.loads(line)["task_id"] in ids]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    cache = plan.work / "evalplus-cache"
    shutil.rmtree(cache, ignore_errors=True)
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    variables = {
        DATASETS[dataset][0]: str(path),
        "XDG_CACHE_HOME": str(cache),
        "VLLM_CACHE_ROOT": os.environ.get("VLLM_CACHE_ROOT") or str(usual / "vllm"),  # one for both sides
    }
    return environment(plan, "evalplus", variables)

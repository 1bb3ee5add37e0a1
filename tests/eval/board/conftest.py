"""Made-up results and a made-up training log in the formats that `dipo eval` and `dipo train` write."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.statistics import wilson

HOSTILE = (
    "</script><script>document.title='run'</script>\n<img src=x onerror=\"document.title='run'\">\n"
    "<!-- <script> --> ]]> &lt;b&gt; {{ 7 * 7 }} ${7*7}"
    "\u2028\u2029\x00\x07\x1b[31m\x9b \u202egnol\u202c \ud800 \U0001f600"
)


def write_result(
    root: Path, run: str, checkpoint: str, suite: str, rows: list[dict[str, Any]], **fields: Any
) -> Path:
    """One results.json with its samples.jsonl; the accuracy is that of `rows`, one sample an item."""
    folder = root / run / checkpoint / suite
    folder.mkdir(parents=True)
    right = sum(row["status"] == "correct" for row in rows)
    low, high = wilson(right, len(rows))
    accuracy = {"value": right / len(rows), "low": low, "high": high, "stderr": None, "n": len(rows), "k": 1}
    counts = {
        status: sum(r["status"] == status for r in rows) for status in ("correct", "wrong", "undecided")
    }
    result = {
        "schema": 1,
        "run": run,
        "checkpoint": checkpoint,
        "step": None,
        "suite": suite,
        "model": {"path": f"/models/{run}/{checkpoint}", "weights_hash": "sha256:1f2e3d"},
        "settings": {"engine": "vllm", "temperature": 0.6, "top_p": 0.95, "max_new_tokens": 512, "seed": 1},
        "n_items": len(rows),
        "n_samples_per_item": 1,
        "metrics": {"accuracy": {**accuracy, "interval": "wilson"}},
        "counts": {**counts, "truncated": sum(r["truncated"] for r in rows), "no_answer": 0},
        "hashes": {"items": "sha256:77aa", "prompts": "sha256:9b1c"},
        "versions": {"dipo_eval": "0.1.0", "vllm": "0.29.0"},
        "seconds": {"generate": 41.2, "grade": 1.9},
        "created": "2026-05-04T09:30:00Z",
        **fields,
    }
    (folder / "results.json").write_text(json.dumps(result), encoding="utf-8")
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def make_row(item: int, status: str, response: str = "", sample: int = 0) -> dict[str, Any]:
    """One row of samples.jsonl about an addition."""
    a, b = 17 + item, 3 * item + 5
    answer = a + b if status == "correct" else a + b + 10
    return {
        "item_id": f"add-{item:04d}",
        "sample": sample,
        "prompt": f"What is {a} + {b}? Put the answer in \\boxed{{}}.",
        "response": response
        or f"First add the tens, then the ones: {a} + {b} = {answer}.\n\n\\boxed{{{answer}}}",
        "gold": str(a + b),
        "status": status,
        "reason": {"correct": "equal integers", "wrong": f"{answer} is not {a + b}"}.get(
            status, "two answers given"
        ),
        "extracted": None if status == "undecided" else str(answer),
        "prompt_tokens": 24,
        "response_tokens": 40 + item % 30,
        "truncated": item % 41 == 40,
        "finish_reason": "length" if item % 41 == 40 else "stop",
    }


def make_rows(n_items: int, skill: float, seed: int) -> list[dict[str, Any]]:
    """`n_items` answers: an item is right where its fixed ease plus a little luck is below `skill`."""
    ease, luck = random.Random(0), random.Random(seed)
    rows = []
    for item in range(n_items):
        right = ease.random() + luck.gauss(0, 0.08) < skill
        status = "correct" if right else "undecided" if luck.random() < 0.04 else "wrong"
        rows.append(make_row(item, status))
    return rows


def write_results(root: Path, n_items: int = 60, steps: tuple[int, ...] = (0, 40, 80)) -> Path:
    """Two runs on two suites, improving; the first response of the last DiPO checkpoint is hostile."""
    for r, (run, gain) in enumerate((("dapo", 0.10), ("dipo", 0.15))):
        for s, (suite, start) in enumerate((("arithmetic-control", 0.35), ("gsm8k", 0.5))):
            for step in steps:
                skill = start + gain * math.sqrt(step / 80) * (1 - 0.4 * s)
                rows = make_rows(n_items, skill, seed=1000 * r + 100 * s + step)
                if run == "dipo" and step == steps[-1]:
                    rows[0]["response"], rows[0]["reason"] = HOSTILE, HOSTILE
                write_result(root, run, f"step_{step}", suite, rows, step=step)
    return root


PHASES = {
    "generate": 1.6, "reward": 0.2, "forward": 0.9, "advantages": 0.2, "update": 2.4, "sync": 0.2,
    "sleep_wake": 0.3, "save": 0.2, "evaluate": 0.0, "wait": 0.0, "other": 0.1,
}  # fmt: skip


def metrics_row(step: int, rng: random.Random) -> dict[str, Any]:
    """One training step with every key that the board reads; no threshold before step 11 and every 19th."""
    skill = 0.3 + 0.3 * (1 - math.exp(-step / 30))
    hard, easy = max(0, round(32 * (1 - skill) ** 2.5 + rng.gauss(0, 1))), max(0, round(32 * skill**2.5))
    feasible = step > 10 and step % 19 != 0
    fired_hard, fired_easy = (
        (min(hard, rng.choice((0, 0, 1))), min(easy, rng.choice((0, 0, 0, 1)))) if feasible else (0, 0)
    )
    ppl = 1.12 + 0.25 * math.exp(-step / 40)
    times = {"generation": 1.9, "make_experience": 1.1, "ppo_train": 2.6, "broadcast": 0.3}
    spent = {f"timing/{k}": v * rng.uniform(0.9, 1.2) for k, v in times.items()}
    spent |= {f"timing/phases/{k}": v * rng.uniform(0.9, 1.2) for k, v in PHASES.items()}
    wall = sum(v for k, v in spent.items() if "/phases/" in k)
    low = rng.uniform(0.05, 0.2) if feasible else rng.uniform(-0.2, 0.0)
    return {
        "step": step,
        "rollout/reward_mean": skill - 0.02 + rng.gauss(0, 0.03),
        "rollout/accuracy": skill + rng.gauss(0, 0.03),
        "rollout/response_length_mean": 60 + 0.4 * step + rng.gauss(0, 3),
        "rollout/truncated_rate": max(0.0, 0.06 - step / 2000 + rng.gauss(0, 0.01)),
        "actor_lr": 1e-6 * min(1, step / 10),
        "actor_grad_norm": 0.4 + rng.expovariate(8),
        "entropy_loss": 0.5 + 0.2 * math.exp(-step / 50),
        "policy_loss": rng.gauss(0, 0.01),
        "vllm_kl": 2e-5 * rng.uniform(0.5, 2),
        **spent,
        "timing/step_total": sum(v for k, v in spent.items() if "/phases/" not in k),
        "timing/wall": wall,
        "gpu/idle_share": rng.uniform(0.2, 0.4),
        "throughput/generated_per_second_per_gpu": 2000 * rng.uniform(0.9, 1.1),
        "throughput/trained_per_second_per_gpu": 5000 * rng.uniform(0.9, 1.1),
        "engine/running_mean": 60 * rng.uniform(0.9, 1.1),
        "engine/waiting_mean": 10 * rng.uniform(0.9, 1.1),
        "engine/waiting_max": 64,
        "engine/cache_max": rng.uniform(0.5, 1),
        "engine/preemptions": rng.choice((0, 0, 3)),
        "dipo/threshold_ppl": 1.05 + ppl / 5 if feasible else None,
        "dipo/feasible": feasible,
        "dipo/infeasible_reason": "" if feasible else "fewer than 30 samples on one side",
        "dipo/train_error": 0.3 + rng.gauss(0, 0.02),
        "dipo/delta_eis_lower": low,
        "dipo/delta_ers_lower": low + rng.uniform(0, 0.1),
        "dipo/queue_size": 512 if step > 1 else 256,
        "dipo/groups_hard": hard,
        "dipo/groups_easy": easy,
        "dipo/groups_normal": 32 - hard - easy,
        "dipo/fired_hard": fired_hard,
        "dipo/fired_easy": fired_easy,
        **{
            f"dipo/quadrant_{k}": round(256 * v)
            for k, v in zip(("CL", "CH", "EL", "EH"), _quadrants(skill), strict=True)
        },
        **{f"dipo/ppl_correct_{q}": ppl * f for q, f in (("p10", 0.96), ("p50", 1.02), ("p90", 1.12))},
        **{f"dipo/ppl_error_{q}": ppl * f for q, f in (("p10", 1.03), ("p50", 1.16), ("p90", 1.45))},
        "dipo/idle_infeasible": 0 if feasible else hard + easy,
        "dipo/idle_wrong_space": hard + easy - fired_hard - fired_easy if feasible else 0,
        "dipo/adv_abs_share": 0.004 * (fired_hard + fired_easy),
        "dipo/zero_gradient_share": (hard + easy - fired_hard - fired_easy) / 32,
    }


def write_run(run_dir: Path, n_steps: int = 80) -> Path:
    """metrics.jsonl and recipe.yaml of a run."""
    run_dir.mkdir(parents=True)
    rng = random.Random(3)
    with (run_dir / "metrics.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(metrics_row(step, rng)) + "\n" for step in range(1, n_steps + 1))
    (run_dir / "recipe.yaml").write_text(
        "actor:\n  model_name_or_path: org/SmolLM2-135M-Instruct\n"
        "data:\n  prompt_dataset: data/arithmetic/train.jsonl\n"
        "rollout:\n  batch_size: 32\n  n_samples_per_prompt: 8\n"
        "dipo:\n  alpha: 0.1\n  group_space: mean\n",
        encoding="utf-8",
    )
    return run_dir


def _quadrants(skill: float) -> tuple[float, float, float, float]:
    return (skill * 0.72, skill * 0.28, (1 - skill) * 0.35, (1 - skill) * 0.65)


@pytest.fixture(scope="session")
def results_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of three checkpoints on two suites of 60 items."""
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run of 80 steps."""
    return write_run(tmp_path_factory.mktemp("runs") / "quickstart")


@pytest.fixture(scope="session")
def result_writer() -> Callable[..., Path]:
    """`write_result`, for tests that need their own folder."""
    return write_result


@pytest.fixture(scope="session")
def row_maker() -> Callable[..., dict[str, Any]]:
    """`make_row`, for tests that need their own rows."""
    return make_row


@pytest.fixture(scope="session")
def hostile() -> str:
    """A response that tries to leave the page's data block."""
    return HOSTILE

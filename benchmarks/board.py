"""The board of a large results folder: its size, the time and memory of its making, and how fast it opens and sorts.

    python benchmarks/board.py [--checkpoints 50] [--suites 10] [--items 1319] [--keep DIR]

Makes results as `dipo eval` writes them (seeded; responses of 100 to 6,000 characters), builds the page in a process of
its own, and opens it in headless Chromium. `open` is the time from the start of navigation until the page and its script
are loaded and something is drawn, `sort` that from a click on a column until the next frame is drawn. Without --keep all
is deleted; a DIR that holds results already is measured as it is.
"""

from __future__ import annotations

import json
import os
import random
import runpy
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import DIPO, ROOT, command, header, machine, row, timed

from dipo_eval.results.store import write_suite
from dipo_eval.runner.metrics import counts_from_samples, metrics_from_samples

BROWSER = ROOT / "tests" / "eval" / "board" / "browser.py"
SUITES = [
    "gsm8k",
    "math500",
    "aime24",
    "aime25",
    "amc23",
    "olympiadbench",
    "minerva",
    "humaneval+",
    "mbpp+",
    "bfcl",
]
TEXT = (
    "Let n be the number of apples that remain after both trades , so we first add \\frac{3}{4} of the total to "
    "what was left and then subtract 17 . Since each box holds 24 of them , we get 24 \\cdot 5 = 120 . Wait ,"
)
FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0)))"
SORT = (
    "(async () => { const start = performance.now(); document.querySelectorAll('#board thead th button')[COLUMN].click();"
    f" return await {FRAME} - start; }})()"
)


def write_results(root: Path, checkpoints: int, suites: int, items: int) -> None:
    """RUN/CHECKPOINT/SUITE folders; an item is correct where its ease and some luck are below the checkpoint's skill."""
    rng = random.Random(0)
    text = " ".join(rng.choice(TEXT.split()) for _ in range(20_000))
    for s in range(suites):
        suite = SUITES[s] if s < len(SUITES) else f"suite{s}"
        ease = [rng.random() for _ in range(items)]
        prompts = [_slice(text, rng, 5.4, 0.4) + "\nPut the final answer in \\boxed{}." for _ in range(items)]
        for c in range(checkpoints):
            skill = 0.3 + 0.3 * (c / checkpoints) ** 0.5
            rows = [
                _row(suite, i, prompt, _slice(text, rng, 6.2, 0.8), skill - ease[i], rng)
                for i, prompt in enumerate(prompts)
            ]
            write_suite(root / "run" / f"global_step{20 * c}" / suite, rows, _result(suite, 20 * c, rows))


def _slice(text: str, rng: random.Random, mean: float, sigma: float) -> str:
    """A piece of text of log-normal length, in characters."""
    length = int(min(6_000, max(100, rng.lognormvariate(mean, sigma))))
    start = rng.randrange(len(text) - length)
    return text[start : start + length]


def _row(suite: str, i: int, prompt: str, response: str, lead: float, rng: random.Random) -> dict[str, Any]:
    status = "undecided" if rng.random() < 0.002 else "correct" if lead + rng.gauss(0, 0.1) > 0 else "wrong"
    gold, answer = str(i), str(i if status == "correct" else i + 1)
    return {
        "item_id": f"{suite}-test-{i:05d}", "sample": 0, "prompt": prompt, "prompt_sha256": f"{i:064x}",
        "response": f"{response}\n\n\\boxed{{{answer}}}", "gold": gold, "status": status,
        "reason": "equal integers" if status == "correct" else f"{answer} is not {gold}", "extracted": answer,
        "prompt_tokens": len(prompt) // 4, "response_tokens": len(response) // 4, "truncated": len(response) == 6_000,
        "finish_reason": "stop",
    }  # fmt: skip


def _result(suite: str, step: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "run": "run", "checkpoint": f"global_step{step}", "step": step, "suite": suite,
        "model": {"path": f"ckpt/global_step{step}_hf", "weights_hash": f"{step:064x}"},
        "settings": {"engine": "vllm", "temperature": 0.0, "top_p": 1.0, "max_new_tokens": 2048, "seed": 0,
                     "dtype": "bfloat16"},
        "n_items": len(rows), "n_samples_per_item": 1, "metrics": metrics_from_samples(rows),
        "counts": counts_from_samples(rows), "hashes": {"suite_hash": "0" * 64, "items_sha256": "1" * 64},
        "versions": {"dipo_eval": "0.1.0"}, "seconds": {"generate": 60.0 + step, "grade": 2.0},
        "created": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def build(results: Path, page: Path) -> tuple[float, float, int]:
    """Seconds, seconds of processor time and peak memory in bytes of `dipo board`, in a process of its own."""
    process = subprocess.Popen([*DIPO, "board", "--results", results, "--out", page])
    seconds, (_, status, usage) = timed(lambda: os.wait4(process.pid, 0))
    if status:
        raise SystemExit(f"dipo board ended with status {status}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def open_and_sort(page: Path, repeat: int) -> dict[str, list[float]]:
    """Milliseconds of each opening and each click."""
    browser = runpy.run_path(str(BROWSER))["Browser"](Path(tempfile.mkdtemp(prefix="board-chromium-")))
    times: dict[str, list[float]] = {}
    try:
        for width, name in ((1280, "open, desktop"), (390, "open, phone")):
            times[name] = [_open(browser, page, width) for _ in range(repeat)]
        for name in ("sort", "sort, all rows shown"):
            clicks = [SORT.replace("COLUMN", str(column)) for column in [0, 1, 2, 3] * repeat]
            times[name] = [browser.js(click, wait=True) for click in clicks]
            browser.js("document.getElementById('board-more').click()")
    finally:
        browser.close()
    return times


def _open(browser: Any, page: Path, width: int) -> float:
    """Not the frame after load alone: the browser's own clock of the first frame with content too."""
    browser.open(page, width=width)
    browser.js(FRAME, wait=True)
    load = browser.js("performance.getEntriesByType('navigation')[0].loadEventEnd")
    paint = browser.js("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
    return max(load, paint)


def main(
    checkpoints: int = 50, suites: int = 10, items: int = 1319, repeat: int = 5, keep: Path | None = None
) -> None:
    with tempfile.TemporaryDirectory(prefix="board-benchmark-") as scratch:
        root = keep or Path(scratch)
        results, page = root / "results", root / "board.html"
        if not results.exists():
            written, _ = timed(lambda: write_results(results, checkpoints, suites, items))
            print(f"results written in {written:.0f} s")
        held = sum(path.stat().st_size for path in results.glob("*/*/*/samples.jsonl"))
        seconds, busy, memory = build(results, page)
        times = open_and_sort(page, repeat)
        size = page.stat().st_size
    header(f"{checkpoints} checkpoints x {suites} suites x {items:,} samples", "")
    row(["samples on disk", f"{held / 1e9:.2f} GB"])
    row(["page", f"{size / 1e6:.1f} MB"])
    row(["`dipo board`", f"{seconds:.1f} s ({busy:.1f} s of processor time), {memory / 1e9:.2f} GB"])
    for name, each in times.items():
        figures = f"{statistics.median(each):.0f} ({max(each):.0f})"
        row([f"{name}, ms: median (worst) of {len(each)}", figures])
    print(machine())
    print(json.dumps(times), file=sys.stderr)


if __name__ == "__main__":
    command(main, __doc__)

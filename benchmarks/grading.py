"""Answers a second of three graders in one process on one core: ours, math-verify's and OpenRLHF's own.

    python benchmarks/grading.py [--data-dir DIR] [--repeat N]

Each gold of gsm8k and math500 is graded twice: against itself in a sentence (correct) and against the next
problem's gold (wrong, unless the two are the same text). Reported: answers a second, the ratio to ours, and
how many verdicts differ from that expectation. Our time includes the worker processes of the slow path,
already started.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import time
from collections.abc import Callable
from pathlib import Path

from dipo_eval.grading import grade_math
from dipo_eval.grading.pool import shared_pool

Grader = Callable[[str, str], bool]
ALARM_S = 10


def ours(response: str, gold: str) -> bool:
    """grade_math, as the reward and the evaluation call it."""
    return grade_math(response, gold).status == "correct"


def math_verify(response: str, gold: str) -> bool:
    """math-verify 0.9 with its default settings."""
    from math_verify import parse, verify

    return bool(verify(parse(f"${gold}$"), parse(response)))


def openrlhf(response: str, gold: str) -> bool:
    """OpenRLHF 0.11.2's openrlhf/utils/math_utils.py, grade_answer as its own example reward calls it."""
    from openrlhf.utils.math_utils import extract_boxed_answer, grade_answer

    answer = extract_boxed_answer(response)
    return answer is not None and bool(grade_answer(answer, gold))


def pairs(path: Path) -> list[tuple[str, str, bool]]:
    """(response, gold, whether it is correct) for every item: its own gold, and the next item's."""
    golds = [json.loads(line)["answer"] for line in path.read_text(encoding="utf-8").splitlines()]
    made = [(f"It follows that \\boxed{{{gold}}}.", gold, True) for gold in golds]
    for gold, other in zip(golds, golds[1:] + golds[:1], strict=True):
        made.append((f"It follows that \\boxed{{{other}}}.", gold, gold == other))
    return made


def measure(grader: Grader, items: list[tuple[str, str, bool]], repeat: int) -> tuple[float, int]:
    """Answers a second (the best of ``repeat`` passes) and verdicts that differ from the expected ones."""
    grader(r"\boxed{\sqrt{8}}", r"2\sqrt{2}")  # imports and worker start are not grading
    best, unexpected = float("inf"), 0
    for _ in range(repeat):
        unexpected = 0
        started = time.perf_counter()
        for response, gold, correct in items:
            try:
                signal.alarm(ALARM_S)
                verdict = grader(response, gold)
            except Exception:
                verdict = False
            finally:
                signal.alarm(0)
            unexpected += verdict != correct
        best = min(best, time.perf_counter() - started)
    return len(items) / best, unexpected


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="answers a second of three graders")
    default = os.environ.get("DIPO_DATA_DIR") or str(Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--data-dir", type=Path, default=Path(default))
    parser.add_argument("--repeat", type=int, default=1, help="passes; the best counts")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _raise)
    print(f"{platform.machine()}, Python {platform.python_version()}, one process, one core")
    print(f"{'set':<12} {'grader':<12} {'answers/s':>12} {'ours is':>9} {'unexpected':>11}")
    for name in ("gsm8k_test", "math500"):
        path = options.data_dir / f"{name}.jsonl"
        if not path.exists():
            raise SystemExit(f"{path} not found; give --data-dir or set DIPO_DATA_DIR")
        items = pairs(path)
        rate = None
        for grader in (ours, math_verify, openrlhf):
            per_second, unexpected = measure(grader, items, options.repeat)
            rate = rate or per_second
            print(
                f"{name:<12} {grader.__name__:<12} {per_second:>12,.0f} {rate / per_second:>8,.1f}x"
                f" {unexpected:>6}/{len(items)}"
            )
    shared_pool().close()


def _raise(number: int, frame: object) -> None:
    raise TimeoutError


if __name__ == "__main__":
    main()

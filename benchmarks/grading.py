"""Answers a second of three graders in one process on one core: ours, math-verify's and OpenRLHF's own.

    python benchmarks/grading.py [--data-dir DIR] [--repeat N]

Each gold of gsm8k and math500 is graded twice: against itself in a sentence (correct) and against the next
problem's gold (wrong, unless the two are the same text). Reported: answers a second, the ratio to ours, and
how many verdicts differ from that expectation. Our time includes the worker processes of the slow path,
already started.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from common import DATA_DIR, best_of, command, header, machine, row

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


def unexpected(grader: Grader, items: list[tuple[str, str, bool]]) -> int:
    """Verdicts that differ from the expected ones; a grader that raises or takes too long says no."""
    count = 0
    for response, gold, correct in items:
        try:
            signal.alarm(ALARM_S)
            verdict = grader(response, gold)
        except Exception:
            verdict = False
        finally:
            signal.alarm(0)
        count += verdict != correct
    return count


def main(data_dir: Path = DATA_DIR, repeat: int = 1) -> None:
    signal.signal(signal.SIGALRM, _raise)
    graders = (ours, math_verify, openrlhf)
    for grader in graders:
        grader(r"\boxed{\sqrt{8}}", r"2\sqrt{2}")  # imports and worker start are not grading
    header("set", "grader", "answers/s", "ours is", "unexpected")
    for name in ("gsm8k_test", "math500"):
        path = data_dir / f"{name}.jsonl"
        if not path.exists():
            raise SystemExit(f"{path} not found; give --data-dir or set DIPO_DATA_DIR")
        items = pairs(path)
        found = best_of([partial(unexpected, grader, items) for grader in graders], repeat)
        for grader, (seconds, count) in zip(graders, found, strict=True):
            rates = f"{len(items) / seconds:,.0f}", f"{seconds / found[0][0]:.1f}x"
            row([name, grader.__name__, *rates, f"{count}/{len(items)}"])
    print(f"best of {repeat}; {machine()}, one process, one core")
    shared_pool().close()


def _raise(number: int, frame: object) -> None:
    raise TimeoutError


if __name__ == "__main__":
    command(main, __doc__)

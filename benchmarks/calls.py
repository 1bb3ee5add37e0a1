"""Calls checked a second by ours and by bfcl-eval's checker, in one process on one core, in one run.

    python benchmarks/calls.py [--repeat N]

The gold answer of every single-turn item of BFCL, the same with one value changed, and the same as text. `decoded`
is the check alone, `text` includes reading the model's text. The verdicts of `compatible` must equal the
official ones; a difference is counted in the last column.
"""

from __future__ import annotations

import argparse
import platform
import runpy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dipo_eval.grading import grade_calls
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import language_of

HELPER = Path(__file__).resolve().parents[1] / "tests" / "eval" / "bfcl_answers.py"
KINDS = {"decoded": ("gold", "other value"), "text": ("gold text", "other value text")}
Row = tuple[Any, dict[str, Any], str]


def ours(mode: Any) -> Callable[[Row], bool]:
    """grade_calls in ``mode``."""

    def grade(row: Row) -> bool:
        response, item, category = row
        verdict = grade_calls(response, item["ground_truth"], item["function"], category=category, mode=mode)
        return verdict.status == "correct"

    return grade


def official(row: Row) -> bool:
    """bfcl-eval's decoder, format check and ast_checker, as its eval_runner calls them."""
    response, item, category = row
    if isinstance(response, str):
        try:
            response = DECODE(response, FORMATS[category])
        except Exception:
            return False
    if not IS_CALLS(response):
        return False
    return bool(
        CHECK(item["function"], response, item["ground_truth"], LANGUAGES[category], category, "model")[
            "valid"
        ]
    )


def measure(
    graders: list[Callable[[Row], bool]], rows: list[Row], repeat: int
) -> list[tuple[float, list[bool]]]:
    """Answers a second and verdicts of each grader: the best of ``repeat`` passes, taken in turns."""
    best = [(float("inf"), [False])] * len(graders)
    for _ in range(repeat):
        for index, grade in enumerate(graders):
            started = time.perf_counter()
            verdicts = [grade(row) for row in rows]
            best[index] = (min(best[index][0], time.perf_counter() - started), verdicts)
    return [(len(rows) / seconds, verdicts) for seconds, verdicts in best]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="calls checked a second, beside bfcl-eval's checker")
    parser.add_argument("--repeat", type=int, default=5, help="passes; the best counts")
    options = parser.parse_args()
    helper = runpy.run_path(str(HELPER))
    print(f"{platform.machine()}, Python {platform.python_version()}, one process, one core")
    print(
        f"{'answers':<9} {'category':<24} {'bfcl-eval/s':>12} {'compatible':>17} {'strict':>17} {'differ':>7}"
    )
    for form, kinds in KINDS.items():
        total: list[Row] = []
        for category in helper["GRADED"]:
            rows = [
                (response, item, category)
                for item in bfcl.items(category)
                for kind, response in helper["answers"](item, category)
                if kind in kinds
            ]
            total += rows
            _line(form, category, rows, options.repeat)
        _line(form, "all", total, options.repeat)


def _line(form: str, name: str, rows: list[Row], repeat: int) -> None:
    graders = [official, ours("compatible"), ours("strict")]
    (theirs, wanted), (compatible, found), (strict, _) = measure(graders, rows, repeat)
    differ = sum(a != b for a, b in zip(wanted, found, strict=True))
    print(
        f"{form:<9} {name:<24} {theirs:>12,.0f} {compatible:>10,.0f} {compatible / theirs:>5.1f}x"
        f" {strict:>10,.0f} {strict / theirs:>5.1f}x {differ:>7}"
    )


if bfcl.is_installed():
    ENUMS = bfcl.module("bfcl_eval.constants.enums")
    DECODE = bfcl.module("bfcl_eval.model_handler.utils").default_decode_ast_prompting
    IS_CALLS = bfcl.module("bfcl_eval.utils").is_function_calling_format_output
    CHECK = bfcl.module("bfcl_eval.eval_checker.ast_eval.ast_checker").ast_checker
    LANGUAGES = {name: ENUMS.Language(language_of(name).value) for name in bfcl.SINGLE_TURN}
    FORMATS = {name: ENUMS.ReturnFormat(language_of(name).value) for name in bfcl.SINGLE_TURN}

if __name__ == "__main__":
    if not bfcl.is_installed():
        raise SystemExit("bfcl-eval is not installed; run `make setup`")
    main()

"""Calls checked a second by ours and by bfcl-eval's checker, in one process on one core, in one run.

    python benchmarks/calls.py [--repeat N]

The gold answer of every single-turn item of BFCL, the same with one value changed, and the same as text. `decoded`
is the check alone, `text` includes reading the model's text. The verdicts of `compatible` must equal the
official ones; a difference is counted in the last column.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from functools import partial
from typing import Any

from common import ROOT, best_of, command, header, machine, row

from dipo_eval.grading import grade_calls
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import language_of

HELPER = ROOT / "tests" / "eval" / "bfcl_answers.py"
KINDS = {"decoded": ("gold", "other value"), "text": ("gold text", "other value text")}
Row = tuple[Any, dict[str, Any], str]


def ours(mode: Any, answer: Row) -> bool:
    """grade_calls in ``mode``."""
    response, item, category = answer
    verdict = grade_calls(response, item["ground_truth"], item["function"], category=category, mode=mode)
    return verdict.status == "correct"


def official(answer: Row) -> bool:
    """bfcl-eval's decoder, format check and ast_checker, as its eval_runner calls them."""
    response, item, category = answer
    if isinstance(response, str):
        try:
            response = DECODE(response, FORMATS[category])
        except Exception:
            return False
    if not IS_CALLS(response):
        return False
    found = CHECK(item["function"], response, item["ground_truth"], LANGUAGES[category], category, "model")
    return bool(found["valid"])


def main(repeat: int = 5) -> None:
    if not bfcl.is_installed():
        raise SystemExit("bfcl-eval is not installed; run `make setup`")
    helper = runpy.run_path(str(HELPER))
    header("answers", "category", "bfcl-eval/s", "compatible/s", "strict/s", "verdicts that differ")
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
            _line(form, category, rows, repeat)
        _line(form, "all", total, repeat)
    print(f"best of {repeat}; {machine()}, one process, one core")


def _line(form: str, name: str, rows: list[Row], repeat: int) -> None:
    graders: list[Callable[[Row], bool]] = [official, partial(ours, "compatible"), partial(ours, "strict")]
    passes = [lambda grade=grade: [grade(each) for each in rows] for grade in graders]
    (theirs, wanted), *both = best_of(passes, repeat)
    rates = [f"{len(rows) / seconds:,.0f} ({theirs / seconds:.1f}x)" for seconds, _ in both]
    differ = sum(a != b for a, b in zip(wanted, both[0][1], strict=True))
    row([form, name, f"{len(rows) / theirs:,.0f}", *rates, differ])


if bfcl.is_installed():
    ENUMS = bfcl.module("bfcl_eval.constants.enums")
    DECODE = bfcl.module("bfcl_eval.model_handler.utils").default_decode_ast_prompting
    IS_CALLS = bfcl.module("bfcl_eval.utils").is_function_calling_format_output
    CHECK = bfcl.module("bfcl_eval.eval_checker.ast_eval.ast_checker").ast_checker
    LANGUAGES = {name: ENUMS.Language(language_of(name).value) for name in bfcl.SINGLE_TURN}
    FORMATS = {name: ENUMS.ReturnFormat(language_of(name).value) for name in bfcl.SINGLE_TURN}

if __name__ == "__main__":
    command(main, __doc__)

"""Other people's graders, asked for a second opinion on stored samples. A new one is a new entry of SECOND_GRADERS.

They read a model's text with code that is not ours and may hang on it, so each answers from a process that is
killed at the time limit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN
from dipo_eval.grading.calls.multi_turn import check_turn_gold, grade_conversation
from dipo_eval.grading.math.grade import joined
from dipo_eval.grading.verdict import Verdict
from dipo_eval.grading.workers.client import Program, WorkerClient
from dipo_eval.suites.bfcl.items import CATEGORIES, is_native

LIMIT_S = 10.0
MEMORY_BYTES = 2 * 1024**3

Row = Mapping[str, Any]
SecondGrader = Callable[[Row], Verdict]


class _InProcess:
    """A grader behind a worker process of ours: ``module`` serves the tasks that ``task`` makes of stored rows."""

    module: str
    missing: str

    def __init__(self) -> None:
        settings = {"memory_bytes": MEMORY_BYTES}
        self._process = WorkerClient(Program(self.module, self.missing, Path(sys.executable), settings))
        self.close = self._process.close

    def task(self, row: Row) -> dict[str, Any]:
        raise NotImplementedError

    def grade(self, row: Row) -> Verdict:
        """Its verdict on a row; undecided where it took longer than 10 seconds or its process died."""
        reply = self._process.ask(self.task(row), LIMIT_S)
        return Verdict(reply["status"], reply["reason"], reply["extracted"])


class MathVerify(_InProcess):
    """math-verify with its own settings, as its README uses it: the gold in dollar signs, the whole response."""

    module = "dipo_eval.harness.math_verify_worker"
    missing = "math-verify cannot be imported here; install math-verify 0.9.0"

    def task(self, row: Row) -> dict[str, Any]:
        """Raises UserError where the gold is no answer of a math problem."""
        gold = row["gold"]
        texts = gold if isinstance(gold, list) and gold else [gold]
        if not all(isinstance(one, str) for one in texts):
            raise UserError(
                f"{row['item_id']}: its gold is no answer of a math problem; math-verify cannot grade it"
            )
        return {"response": row["response"], "gold": joined(gold)}


class BfclEval(_InProcess):
    """bfcl-eval's own decoder and checker on samples of the suites bfcl and bfcl-native.

    Its decoder evaluates parts of a response: see ``bfcl_eval_worker`` for what is done about that. Its checker of
    conversations evaluates every call: those rows get ``grade_turns``' compatible verdict, and the reason says so.
    """

    module = "dipo_eval.harness.bfcl_eval_worker"
    missing = f"bfcl-eval cannot be imported here; install bfcl-eval {bfcl.VERSION} without its dependencies"

    def task(self, row: Row) -> dict[str, Any]:
        """Raises UserError where the row is no sample of an item of BFCL."""
        category = row.get("kind")
        if category not in CATEGORIES:
            raise UserError(
                f"{row['item_id']}: kind {category!r:.80} is no category of BFCL; bfcl-eval cannot grade it"
            )
        bfcl.item(category, row["item_id"])
        asked = {key: row[key] for key in ("response", "item_id")}
        return {**asked, "category": category, "native": is_native(row)}

    def grade(self, row: Row) -> Verdict:
        """bfcl-eval's verdict on a row, or that of our replay, which equals it, on a conversation."""
        category = self.task(row)["category"]
        if category not in MULTI_TURN:
            return super().grade(row)
        case = bfcl.item(category, row["item_id"])
        check_turn_gold(row["gold"], case)
        verdict = grade_conversation(
            row["response"], row["gold"], case, mode="compatible", native=is_native(row)
        )
        return replace(verdict, reason=f"{verdict.reason} (grade_turns, compatible)")


def _opened(kind: type[_InProcess]) -> Callable[[], Any]:
    @contextmanager
    def opened() -> Iterator[SecondGrader]:
        grader = kind()
        try:
            yield grader.grade
        finally:
            grader.close()

    return opened


SECOND_GRADERS: dict[str, Callable[[], Any]] = {
    "bfcl-eval": _opened(BfclEval),
    "math-verify": _opened(MathVerify),
}
"""Name on the command line -> a context manager that gives a function from a stored row to a Verdict."""


@contextmanager
def second_grader(name: str) -> Iterator[SecondGrader]:
    """The grader of that name, open while in the block. Raises UserError for an unknown one."""
    if name not in SECOND_GRADERS:
        raise UserError(f"unknown grader {name!r}; choose from {', '.join(SECOND_GRADERS)}")
    with SECOND_GRADERS[name]() as grade:
        yield grade

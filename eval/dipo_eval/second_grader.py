"""Other people's graders, asked for a second opinion on stored samples. A new one is a new entry of SECOND_GRADERS.

They read a model's text with code that is not ours and may hang on it, so each answers from a process that is
killed at the time limit.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.math import joined
from dipo_eval.grading.verdict import Verdict
from dipo_eval.grading.worker_process import LateError, LostError, WorkerProcess

LIMIT_S = 10.0
START_LIMIT_S = 120.0
MEMORY_BYTES = 2 * 1024**3

Row = Mapping[str, Any]
SecondGrader = Callable[[Row], Verdict]


class MathVerify:
    """math-verify with its own settings, as its README uses it: the gold in dollar signs, the whole response."""

    def __init__(self) -> None:
        self._worker: WorkerProcess | None = None
        self._lock = threading.Lock()

    def grade(self, row: Row) -> Verdict:
        """Its verdict on a row; undecided where it took longer than 10 seconds or its process died."""
        with self._lock:
            try:
                if self._worker is None:
                    self._start()
                assert self._worker is not None
                self._worker.write({"response": row["response"], "gold": joined(row["gold"])})
                reply = self._worker.read(LIMIT_S)
            except (LateError, LostError) as error:
                self.close()
                return Verdict("undecided", str(error))
        return Verdict(reply["status"], reply["reason"], reply["extracted"])

    def _start(self) -> None:
        settings = {"memory_bytes": MEMORY_BYTES}
        self._worker = WorkerProcess(Path(sys.executable), "dipo_eval.math_verify_worker", settings, {})
        if not self._worker.read(START_LIMIT_S).get("ready"):
            raise UserError("math-verify cannot be imported here; install math-verify 0.9.0")

    def close(self) -> None:
        """End the process; the next row starts another."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None


@contextmanager
def _math_verify() -> Iterator[SecondGrader]:
    grader = MathVerify()
    try:
        yield grader.grade
    finally:
        grader.close()


SECOND_GRADERS: dict[str, Callable[[], Any]] = {"math-verify": _math_verify}
"""Name on the command line -> a context manager that gives a function from a stored row to a Verdict."""


@contextmanager
def second_grader(name: str) -> Iterator[SecondGrader]:
    """The grader of that name, open while in the block. Raises UserError for an unknown one."""
    if name not in SECOND_GRADERS:
        raise UserError(f"unknown grader {name!r}; choose from {', '.join(SECOND_GRADERS)}")
    with SECOND_GRADERS[name]() as grade:
        yield grade

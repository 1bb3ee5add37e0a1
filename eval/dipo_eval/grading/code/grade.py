"""Grade a program for a HumanEval+ or MBPP+ problem with evalplus's own runner, away from this process.

A worker is a process in evalplus's environment (code_runner/judge.py); it runs every solution in a jail of its own:
no network, no files but a small scratch folder, limits on processor time, memory and processes, and the end of
everything in it at the deadline. Nothing of a solution is parsed, imported or run here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.code.environment import (
    DATASETS,
    SANDBOX_VARIABLE,
    cache_dir,
    data_path,
    dataset_of,
    evalplus_python,
    sandbox_walls,
)
from dipo_eval.grading.code.extract import MAX_CODE_CHARS
from dipo_eval.grading.verdict import Verdict
from dipo_eval.workers.pool import WorkerPool
from dipo_eval.workers.process import Program, WorkerStartError

LIMIT_S = 130.0
"""Seconds for all tests of one solution: more than evalplus gives base and plus tests together, which is what ends it."""
MEMORY_BYTES = 2 * 1024**3
GRACE_S = 15.0
ORACLE_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class CodeVerdict:
    """Verdicts on the tests of the original benchmark (``base``), and on these and evalplus's together (``plus``)."""

    base: Verdict
    plus: Verdict
    seconds: float = 0.0


class CodeGrader:
    """At most ``workers`` worker processes, started when first needed. Works in any thread; uses no signals.

    ``data_dir`` holds evalplus's data files as released (default: DIPO_DATA_DIR). Raises UserError where
    evalplus's environment or the data is missing, or where this machine cannot isolate code.
    """

    def __init__(self, workers: int = 1, *, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir
        self._walls = sandbox_walls()
        self.pool = WorkerPool(self._program, workers, wait_s=None, start_error=_not_started)
        self.close = self.pool.close

    def _program(self) -> Program:
        settings = {"cache": str(cache_dir() / "evalplus"), "jail_bytes": MEMORY_BYTES, "walls": self._walls}
        variables = {row[0]: str(data_path(dataset, self.data_dir)) for dataset, row in DATASETS.items()}
        return Program(
            "dipo_eval.code_runner.judge:load", settings, python=evalplus_python(), variables=variables
        )

    def grade(self, task_id: str, solution: str | None, *, limit_s: float = LIMIT_S) -> CodeVerdict:
        """The verdicts on a complete program (extract.extract_code); None for a response without one.

        A solution that is still running after ``limit_s`` seconds is undecided; one that exceeds evalplus's
        limit for a test, or any other limit, is wrong. Never raises because of ``solution``; UserError for an
        unknown ``task_id``.
        """
        problem = {"dataset": dataset_of(task_id), "task_id": task_id}
        if solution is None:
            return _both(Verdict("wrong", "no code found"))
        if len(solution) > MAX_CODE_CHARS:
            return _both(Verdict("wrong", "code too long", solution[:MAX_CODE_CHARS]))
        task = {**problem, "solution": solution, "limit_s": limit_s}
        reply = self.pool.ask(task, limit_s + GRACE_S, before=[(problem, ORACLE_LIMIT_S)])
        if "error" in reply:
            raise UserError(reply["error"])
        if "base" not in reply:
            return _both(Verdict("undecided", reply["reason"], solution))
        base, plus = (Verdict(status, reason, solution) for status, reason in (reply["base"], reply["plus"]))
        return CodeVerdict(base, plus, reply["seconds"])

    def grade_many(
        self,
        solutions: Sequence[tuple[str, str | None]],
        *,
        limit_s: float = LIMIT_S,
        advance: Callable[[int], None] = lambda count: None,
    ) -> list[CodeVerdict]:
        """Verdicts on (task id, program) pairs in their order, all workers busy. ``advance`` is called with 1 each."""

        def one(pair: tuple[str, str | None]) -> CodeVerdict:
            verdict = self.grade(*pair, limit_s=limit_s)
            advance(1)
            return verdict

        with ThreadPoolExecutor(self.pool.size) as threads:
            return list(threads.map(one, solutions))

    def limits(self) -> dict[str, bool]:
        """Which limits hold on this machine, each tried from inside a jail: cpu time, memory, network, ..."""
        return _limits(self.pool)["limits"]


def _limits(pool: WorkerPool) -> dict[str, Any]:
    reply = pool.ask({"limits": True}, GRACE_S)
    if "limits" not in reply:
        raise UserError(f"code grading: its worker does not answer ({reply['reason']})")
    return reply


def _both(verdict: Verdict) -> CodeVerdict:
    return CodeVerdict(verdict, verdict)


def _not_started(error: WorkerStartError) -> UserError:
    if error.kind != "NoWallsError":
        return UserError(
            f"code grading: its worker did not start ({error.kind} {error}); run `make evalplus` again"
        )
    return UserError(
        f"code grading: this machine cannot isolate code: {error}; {SANDBOX_VARIABLE}=weak does without hidden files "
        "(docs/security.md)"
    )


def sandbox_here() -> str:
    """What isolates code on this machine, in one line. Raises UserError where nothing does, or evalplus is missing."""
    program = Program(
        "dipo_eval.code_runner.walls:load", {"walls": sandbox_walls()}, python=evalplus_python()
    )
    with WorkerPool(lambda: program, start_error=_not_started) as pool:
        found = _limits(pool)
    missing = [name for name, holds in found["limits"].items() if not holds]
    return f"{found['walls']}: " + (
        f"no limit on {', '.join(missing)}" if missing else "every limit was tried and holds"
    )


_shared: CodeGrader | None = None
_shared_lock = threading.Lock()


def grade_code(task_id: str, solution: str | None, *, limit_s: float = LIMIT_S) -> CodeVerdict:
    """``CodeGrader.grade`` with this process's own grader: a worker for two cores, closed at exit."""
    global _shared
    with _shared_lock:
        if _shared is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            _shared = CodeGrader(max(1, cores // 2))  # a worker is two processes at work
    return _shared.grade(task_id, solution, limit_s=limit_s)

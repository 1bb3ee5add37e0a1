"""Grade a program for a HumanEval+ or MBPP+ problem with evalplus's own runner, away from this process.

A worker is a process in evalplus's environment (code_runner/judge.py); it runs every solution in a jail of its own:
no network, no files but a small scratch folder, limits on processor time, memory and processes, and the end of
everything in it at the deadline. Nothing of a solution is parsed, imported or run here.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.code import environment
from dipo_eval.grading.code.extract import MAX_CODE_CHARS
from dipo_eval.grading.verdict import Verdict
from dipo_eval.workers.cores import usable_cores
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


class CodeGrader:
    """At most ``workers`` worker processes, started when first needed. Works in any thread; uses no signals.

    ``data_dir`` holds evalplus's data files as released (default: DIPO_DATA_DIR). Raises UserError where
    evalplus's environment or the data is missing, or where this machine cannot isolate code.
    """

    def __init__(self, workers: int = 1, *, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir
        self.walls = environment.sandbox_walls()
        self.pool = WorkerPool(self._program, workers, wait_s=None, start_error=_not_started)
        self.close = self.pool.close

    def _program(self) -> Program:
        load = "dipo_eval.code_runner.judge:load"
        return environment.program(load, environment.DATASETS, self.data_dir, jail_bytes=MEMORY_BYTES)

    def grade(self, task_id: str, solution: str | None, *, limit_s: float = LIMIT_S) -> CodeVerdict:
        """The verdicts on a complete program (extract.extract_code); None for a response without one.

        A solution that is still running after ``limit_s`` seconds is undecided; one that exceeds evalplus's
        limit for a test, or any other limit, is wrong. Never raises because of ``solution``; UserError for an
        unknown ``task_id``.
        """
        problem = {"dataset": environment.dataset_of(task_id), "task_id": task_id}
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
        return CodeVerdict(base, plus)

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
        f"code grading: this machine cannot isolate code: {error}; {environment.SANDBOX_VARIABLE}=weak does "
        "without hidden files (docs/security.md)"
    )


def sandbox_here() -> str:
    """What isolates code on this machine, in one line. Raises UserError where nothing does, or evalplus is missing."""
    with WorkerPool(
        lambda: environment.program("dipo_eval.code_runner.walls:load", []), start_error=_not_started
    ) as pool:
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
            _shared = CodeGrader(max(1, usable_cores() // 2))  # a worker is two processes at work
    return _shared.grade(task_id, solution, limit_s=limit_s)

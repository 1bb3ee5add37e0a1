"""Grade a program for a HumanEval+ or MBPP+ problem with evalplus's own runner, away from this process.

A worker is a process in evalplus's environment; it runs every solution in a jail of its own (code_runner/jail.py):
no network, no files but a small scratch folder, limits on processor time, memory and processes, and the end of
everything in it at the deadline. Nothing of a solution is parsed, imported or run here.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.engines.device import usable_cores
from dipo_eval.errors import UserError
from dipo_eval.grading.code.environment import (
    SANDBOX_VARIABLE,
    cache_dir,
    data_path,
    dataset_of,
    evalplus_python,
    sandbox_walls,
)
from dipo_eval.grading.code.extract import MAX_CODE_CHARS
from dipo_eval.grading.verdict import Verdict
from dipo_eval.grading.workers.worker_process import WorkerDiedError, WorkerProcess, WorkerTimeoutError

LIMIT_S = 130.0
"""Seconds for all tests of one solution: more than evalplus gives base and plus tests together, which is what ends it."""
MEMORY_BYTES = 2 * 1024**3
GRACE_S = 15.0
START_LIMIT_S = 120.0
ORACLE_LIMIT_S = 300.0
_WORKER = "dipo_eval.code_runner.judge"
_WALLS = "dipo_eval.code_runner.walls"


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

    def __init__(
        self, workers: int = 1, *, data_dir: Path | None = None, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self.workers = workers
        self.memory_bytes = memory_bytes
        self.data_dir = data_dir
        self.walls = sandbox_walls()
        self._slots: queue.LifoQueue[WorkerProcess | None] = queue.LifoQueue()
        for _ in range(workers):
            self._slots.put(None)
        self._limits: dict[str, bool] = {}
        self._closed = False

    def grade(self, task_id: str, solution: str | None, *, limit_s: float = LIMIT_S) -> CodeVerdict:
        """The verdicts on a whole program (see code_extract.extract_code); None for a response without one.

        A solution that is still running after ``limit_s`` seconds is undecided; one that exceeds evalplus's
        limit for a test, or any other limit, is wrong. Never raises because of ``solution``; UserError for an
        unknown ``task_id``.
        """
        dataset = dataset_of(task_id)
        if solution is None:
            return _both(Verdict("wrong", "no code found"))
        if len(solution) > MAX_CODE_CHARS:
            return _both(Verdict("wrong", "code too long", solution[:MAX_CODE_CHARS]))
        task = {"dataset": dataset, "task_id": task_id, "solution": solution, "limit_s": limit_s}
        worker = self._slots.get()
        kept: WorkerProcess | None = None
        try:
            reply, kept = self._run(worker, task)
        finally:
            if kept is not None and self._closed:
                kept.close()
                kept = None
            self._slots.put(kept)
        if "error" in reply:
            raise UserError(reply["error"])
        if "lost" in reply:
            return _both(Verdict("undecided", reply["lost"], solution))
        return CodeVerdict(
            _verdict(reply["base"], solution), _verdict(reply["plus"], solution), reply["seconds"]
        )

    def _run(
        self, worker: WorkerProcess | None, task: dict[str, Any]
    ) -> tuple[dict[str, Any], WorkerProcess | None]:
        """One task; the worker to go on with. One that died while idle is no fault of this task: tried once more."""
        reason = ""
        for _ in range(2):
            started = False
            try:
                worker = worker or self._start()
                worker.write(task)
                message = worker.read(ORACLE_LIMIT_S)
                if "error" in message:
                    return message, worker
                started = True
                return worker.read(task["limit_s"] + GRACE_S), worker
            except (WorkerTimeoutError, WorkerDiedError) as error:
                reason = str(error) if isinstance(error, WorkerTimeoutError) else f"worker: {error}"
                if worker is not None:
                    worker.kill()
                    worker = None
                if started or self._closed:
                    break
            except BaseException:
                if worker is not None:
                    worker.kill()
                raise
        return {"lost": reason}, None

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

        with ThreadPoolExecutor(self.workers) as threads:
            return list(threads.map(one, solutions))

    def limits(self) -> dict[str, bool]:
        """Which limits hold on this machine, each tried from inside a jail: cpu time, memory, network, ..."""
        if not self._limits:
            worker = self._slots.get()
            try:
                worker = worker or self._start()
            finally:
                self._slots.put(worker)
        return dict(self._limits)

    def close(self) -> None:
        """End the workers that are idle now; those at work end with their solution."""
        self._closed = True
        idle: list[WorkerProcess | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._slots.get_nowait())
        for worker in idle:
            if worker is not None:
                worker.close()
            self._slots.put(None)  # a later caller is told "closed" and need not wait for a slot

    def _start(self) -> WorkerProcess:
        if self._closed:
            raise WorkerDiedError("the grader is closed")
        settings = {
            "cache": str(cache_dir() / "evalplus"),
            "memory_bytes": self.memory_bytes,
            "walls": self.walls,
        }
        worker = WorkerProcess(evalplus_python(), _WORKER, settings, self._data_variables())
        try:
            message = worker.read(START_LIMIT_S)
        except (WorkerTimeoutError, WorkerDiedError) as error:
            worker.kill()
            raise UserError(
                f"code grading: its worker did not start ({error}); run `make evalplus` again"
            ) from error
        if not message.get("ready"):
            worker.kill()
            raise _no_isolation(message.get("reason", ""))
        self._limits = message["limits"]
        return worker

    def _data_variables(self) -> dict[str, str]:
        variables = {}
        for dataset, name in (("humaneval", "HUMANEVAL_OVERRIDE_PATH"), ("mbpp", "MBPP_OVERRIDE_PATH")):
            variables[name] = str(data_path(dataset, self.data_dir))
        return variables


def _verdict(reply: dict[str, Any], solution: str) -> Verdict:
    return Verdict(reply["status"], reply["reason"], solution)


def _both(verdict: Verdict) -> CodeVerdict:
    return CodeVerdict(verdict, verdict)


def sandbox_here() -> str:
    """What isolates code on this machine, in one line. Raises UserError where nothing does, or evalplus is missing."""
    worker = WorkerProcess(evalplus_python(), _WALLS, {"walls": sandbox_walls()}, {})
    try:
        found = worker.read(START_LIMIT_S)
    except (WorkerTimeoutError, WorkerDiedError) as error:
        raise UserError(
            f"code grading: the trial of its jail did not end ({error}); run `make evalplus` again"
        ) from None
    finally:
        worker.kill()
    if found["walls"] is None:
        raise _no_isolation(found["reason"])
    missing = [name for name, holds in found["limits"].items() if not holds]
    return f"{found['walls']}: " + (
        f"no limit on {', '.join(missing)}" if missing else "every limit was tried and holds"
    )


def _no_isolation(reason: str) -> UserError:
    return UserError(
        f"code grading: this machine cannot isolate code: {reason}; {SANDBOX_VARIABLE}=weak does without hidden files "
        "(docs/security.md)"
    )


_shared: CodeGrader | None = None
_shared_lock = threading.Lock()


def grade_code(task_id: str, solution: str | None, *, limit_s: float = LIMIT_S) -> CodeVerdict:
    """``CodeGrader.grade`` with this process's own grader: a worker for two cores, closed at exit."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = CodeGrader(max(1, usable_cores() // 2))  # a worker is two processes at work
            atexit.register(_shared.close)
    return _shared.grade(task_id, solution, limit_s=limit_s)

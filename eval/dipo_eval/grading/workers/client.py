"""A worker process that is asked one question after another, and replaced where it hangs or dies."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.workers.worker_process import WorkerDiedError, WorkerProcess, WorkerTimeoutError

START_LIMIT_S = 120.0


@dataclass(frozen=True)
class Program:
    """What to start: ``module``'s main under ``python``, with JSON ``settings`` and variables of its own.

    ``missing`` is what the user is told where it is not ready.
    """

    module: str
    missing: str
    python: Path
    settings: Mapping[str, Any]
    variables: Mapping[str, str] = field(default_factory=dict)


class WorkerClient:
    """A program behind a lock: usable from any thread, one question at a time."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._worker: WorkerProcess | None = None
        self._lock = threading.Lock()

    def ask(self, task: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """The program's answer, or status "undecided" with a reason where it took longer or its process died.

        Raises UserError where the program does not start.
        """
        with self._lock:
            try:
                worker = self._worker or self._start()
                worker.write(task)
                return worker.read(limit_s)
            except (WorkerTimeoutError, WorkerDiedError) as error:
                self._end()
                return {"status": "undecided", "reason": str(error), "extracted": None}

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self._lock:
            self._end()

    def _start(self) -> WorkerProcess:
        program = self._program
        self._worker = WorkerProcess(program.python, program.module, program.settings, program.variables)
        try:
            ready = self._worker.read(START_LIMIT_S).get("ready")
        except (WorkerTimeoutError, WorkerDiedError):
            ready = False
        if not ready:
            self._end()
            raise UserError(program.missing)
        return self._worker

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

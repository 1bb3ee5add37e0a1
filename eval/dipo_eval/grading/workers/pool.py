"""Persistent worker processes for the slow comparisons, with a hard time limit for each answer.

A worker is a plain child process with two pipes: no signals, no multiprocessing, no threads of our own, so
that it works in any thread, in asyncio's threads and inside daemonic processes such as Ray's actors. The
caller's thread waits for the reply and kills the worker at the limit. Workers start when first needed and end
with their parent: they read end-of-file on their input, however the parent died.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dipo_eval.grading.workers.outcome import Outcome
from dipo_eval.grading.workers.worker_process import PipedProcess, WorkerDiedError, WorkerTimeoutError

START_LIMIT_S = 60.0
WAIT_LIMIT_S = 600.0
KILL_LIMIT_S = 5.0
MEMORY_BYTES = 2 * 1024**3
MAX_WAITING = 256
_ROOT = str(Path(__file__).resolve().parents[3])
_COMMAND = (
    "import sys; sys.path.append(sys.argv[1]); from dipo_eval.grading.workers.worker import main; main()"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """``outcome``, or None and the ``reason`` why there is none (``time limit``, ``memory limit``, ...)."""

    outcome: Outcome | None
    reason: str = ""


class _Worker(PipedProcess):
    """One child process of the pool."""

    def __init__(self, memory_bytes: int) -> None:
        super().__init__(
            subprocess.Popen(
                [sys.executable, "-P", "-c", _COMMAND, _ROOT, str(memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=dict(os.environ, OMP_NUM_THREADS="1", PYTHONHASHSEED="0"),
            )
        )
        self.ready = False

    def wait_until_ready(self) -> None:
        if self.ready:
            return
        message = self.read(START_LIMIT_S)
        if not message.get("ready"):
            raise WorkerDiedError(str(message.get("reason", "no reason given")))
        self.ready = True

    def kill(self) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait(KILL_LIMIT_S)
        self.close_pipes()


class GradingPool:
    """At most ``workers`` processes, started one by one as callers need them; ``compare`` blocks its caller.

    At most ``max_waiting`` callers wait at a time; the next is told "busy" after ``WAIT_LIMIT_S`` seconds, so
    a burst slows its producers down and never grows a queue.
    """

    def __init__(
        self, workers: int | None = None, *, memory_bytes: int = MEMORY_BYTES, max_waiting: int = MAX_WAITING
    ) -> None:
        self.workers = workers or max(2, min(8, (os.cpu_count() or 2) // 2))
        self.memory_bytes = memory_bytes
        self._slots: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(self.workers):
            self._slots.put(None)
        self._waiting = threading.BoundedSemaphore(max_waiting)
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def compare(self, answer: str, gold: str, tolerance: Fraction | None, limit_s: float) -> Reply:
        """The outcome of ``symbolic.compare_slowly`` within ``limit_s`` seconds, or the reason why there is
        none.
        """
        task = {
            "answer": answer, "gold": gold, "limit_s": limit_s,
            "tolerance": None if tolerance is None else str(tolerance),
        }  # fmt: skip
        message = self.ask(task, limit_s)
        if "outcome" in message:
            return Reply(Outcome[message["outcome"]])
        return Reply(None, str(message.get("reason")))

    def ask(self, task: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """The worker's message on a task of ``worker``, or only the ``reason`` why there is none."""
        if not self._waiting.acquire(timeout=WAIT_LIMIT_S):
            return {"reason": "busy"}
        try:
            worker = self._slots.get(timeout=WAIT_LIMIT_S)
        except queue.Empty:
            return {"reason": "busy"}
        finally:
            self._waiting.release()
        try:
            reply, next_worker = self._run(worker, task, limit_s)
        except BaseException:
            # An interrupt in mid-task: this worker's next line would answer the wrong question.
            if worker is not None:
                self._drop(worker)
            self._slots.put(None)
            raise
        self._slots.put(next_worker)
        return reply

    def _run(
        self, worker: _Worker | None, task: dict[str, Any], limit_s: float
    ) -> tuple[dict[str, Any], _Worker | None]:
        """One task on ``worker``; the worker to go on with, which is another where this one had to be
        killed.
        """
        reason = ""
        left_s = limit_s
        for _ in range(2):  # a worker that died while idle is no fault of this answer: try once more
            if self._closed:
                return {"reason": "closed"}, None
            started = 0.0
            try:
                worker = worker or self._start()
                worker.wait_until_ready()
                worker.write(task)
                started = time.monotonic()
                message = worker.read(left_s)
            except OSError as error:
                return {"reason": f"worker could not start: {error}"}, None
            except WorkerTimeoutError:
                self._drop(worker)
                reason = "time limit" if started else "worker did not start"
                return {"reason": reason}, self._start_quietly()
            except WorkerDiedError as lost:
                self._drop(worker)
                worker = None
                reason = f"worker lost: {lost}"
                left_s -= time.monotonic() - started if started else 0.0
                if left_s <= 0:
                    break
            else:
                return message, worker
        return {"reason": reason}, None

    def _start(self) -> _Worker:
        worker = _Worker(self.memory_bytes)
        with self._lock:
            self._all.add(worker)
        return worker

    def _start_quietly(self) -> _Worker | None:
        """A worker in the place of one that was killed, loading while nobody waits for it."""
        try:
            return None if self._closed else self._start()
        except OSError:
            return None

    def _drop(self, worker: _Worker | None) -> None:
        if worker is None:
            return
        with self._lock:
            self._all.discard(worker)
        worker.kill()

    def close(self) -> None:
        """End all workers. Calls in flight come back as undecided, and their threads close the pipes."""
        self._closed = True
        with self._lock:
            workers = list(self._all)
        for worker in workers:
            with contextlib.suppress(OSError):
                worker.process.kill()
        emptied = 0
        with contextlib.suppress(queue.Empty):
            while True:
                idle = self._slots.get_nowait()
                if idle is not None:
                    self._drop(idle)
                emptied += 1
        for _ in range(emptied):
            self._slots.put(None)  # a later caller is told "closed" and need not wait for a slot

    def abandon(self) -> None:
        """In a forked child: close its copies of the pipes, so that the workers still see their parent
        die.
        """
        for worker in self._all:
            worker.close_pipes()


_shared: GradingPool | None = None
_shared_lock = threading.Lock()


def shared_pool() -> GradingPool:
    """The pool of this process, made when first asked for and closed at exit."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = GradingPool()
        return _shared


def _close_shared() -> None:
    if _shared is not None:
        _shared.close()


def _forget_after_fork() -> None:
    global _shared, _shared_lock
    if _shared is not None:
        _shared.abandon()
    _shared = None
    _shared_lock = threading.Lock()


atexit.register(_close_shared)
os.register_at_fork(after_in_child=_forget_after_fork)

"""Worker processes that any thread may ask: started when first needed, replaced where they hang or die."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dipo_eval.workers.process import Program, Worker, WorkerDiedError, WorkerStartError, WorkerTimeoutError

WAIT_LIMIT_S = 600.0
Question = tuple[Mapping[str, Any], float]
"""A task, and the seconds for its answer."""
_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


class _Slot:
    """A place for one worker; whoever has taken it from the queue is its only user."""

    worker: Worker | None = None

    def drop(self) -> None:
        worker, self.worker = self.worker, None
        if worker is not None:
            worker.kill()


class WorkerPool(contextlib.AbstractContextManager["WorkerPool"]):
    """At most ``size`` workers of one program; ``ask`` blocks its caller, so that a burst slows its producers down.

    ``program`` is called for every start. ``start_error`` makes the exception that is raised where a worker does not
    become ready; without it that is one more reason for no answer. A caller waits ``wait_s`` seconds for a worker,
    None: without end.
    """

    def __init__(
        self,
        program: Callable[[], Program],
        size: int = 1,
        *,
        wait_s: float | None = WAIT_LIMIT_S,
        start_error: Callable[[WorkerStartError], Exception] | None = None,
    ) -> None:
        self.size = size
        self._program = program
        self._wait_s = wait_s
        self._start_error = start_error
        self._closed = False
        self._empty()
        _pools.add(self)

    def _empty(self) -> None:
        self._slots = [_Slot() for _ in range(self.size)]
        self._free: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for slot in self._slots:
            self._free.put(slot)

    def ask(
        self, task: Mapping[str, Any], limit_s: float, *, before: Sequence[Question] = ()
    ) -> dict[str, Any]:
        """A worker's answer to ``task`` within ``limit_s`` seconds, or only the ``reason`` why there is none.

        ``before``: questions that the same worker answers first, each with a limit of its own.
        """
        try:
            slot = self._free.get(timeout=self._wait_s)
        except queue.Empty:
            return {"reason": "busy"}
        try:
            return self._ask(slot, [*before, (task, limit_s)])
        except BaseException:
            slot.drop()  # an interrupt in mid-task: this worker's next line would answer the wrong question
            raise
        finally:
            if self._closed:  # while it was starting
                slot.drop()
            self._free.put(slot)

    def _ask(self, slot: _Slot, questions: Sequence[Question]) -> dict[str, Any]:
        reason, spent = "", 0.0
        for _ in range(2):  # a worker that died while idle is no fault of this task: try once more
            if self._closed:
                return {"reason": "closed"}
            answered = 0
            try:
                worker = slot.worker = slot.worker or Worker(self._program())
                worker.wait_until_ready()
                started = time.monotonic()
                message: dict[str, Any] = {}
                for task, limit_s in questions:
                    message = worker.ask(task, limit_s - spent)
                    answered += 1
                return message
            except OSError as error:
                return {"reason": f"worker could not start: {error}"}
            except WorkerTimeoutError as error:
                slot.drop()
                if not self._closed:
                    with contextlib.suppress(Exception):  # it loads while nobody waits for it
                        slot.worker = Worker(self._program())
                return {"reason": str(error)}
            except WorkerStartError as error:
                slot.drop()
                if self._start_error is not None and not self._closed:
                    raise self._start_error(error) from error
                reason = f"worker did not start: {error}"
            except WorkerDiedError as error:
                slot.drop()
                reason = f"worker lost: {error}"
                spent += time.monotonic() - started
                if answered or spent >= limit_s:
                    break
        return {"reason": reason}

    def workers(self) -> list[Worker]:
        """Those that were started and not yet replaced."""
        return [slot.worker for slot in self._slots if slot.worker is not None]

    def close(self) -> None:
        """End all workers. Questions in flight are not answered, later ones get the reason "closed"."""
        self._closed = True
        idle: list[_Slot] = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._free.get_nowait())
        resting = [slot.worker for slot in idle if slot.worker is not None]
        for worker in self.workers():
            if worker not in resting:
                worker.process.kill()  # its thread reads the end, and does the rest
        for worker in resting:
            worker.close_input()
        for worker in resting:
            worker.close()
        for slot in idle:
            slot.worker = None
            self._free.put(slot)

    def forget(self) -> None:
        """In a forked child: begin anew without the parent's workers."""
        for worker in self.workers():
            worker.forget()
        self._empty()

    def __exit__(self, *exception: object) -> None:
        self.close()


def _close_all() -> None:
    for pool in list(_pools):
        pool.close()


def _forget_all() -> None:
    for pool in list(_pools):
        pool.forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)

"""The processes for what may be slow or hang on a model's text: symbolic comparison and replayed calls (worker.py)."""

from __future__ import annotations

from dipo_eval.workers.cores import one_for_two_cores
from dipo_eval.workers.pool import WorkerPool
from dipo_eval.workers.process import Program

MEMORY_BYTES = 2 * 1024**3
MAX_WORKERS = 8


class GradingPool(WorkerPool):
    """At most ``workers`` processes, by default one for two cores, two to eight."""

    def __init__(self, workers: int | None = None, *, memory_bytes: int = MEMORY_BYTES) -> None:
        program = Program("dipo_eval.grading.worker:load", memory_bytes=memory_bytes)
        super().__init__(lambda: program, workers or one_for_two_cores(2, MAX_WORKERS))


_shared = GradingPool()


def shared_pool() -> GradingPool:
    """The pool of this process, closed at exit."""
    return _shared

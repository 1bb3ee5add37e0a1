"""vLLM's packages imported beforehand, by the processor time that others leave over: ten seconds of a first load on two
cores.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from dipo_eval.engines.device import set_engine_env

# In parts of a few seconds, so that an end is not waited for.
PARTS = (
    "torch",
    "transformers",
    "torch._dynamo",
    "vllm.config",
    "vllm.entrypoints.llm",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
)
POLL = 0.5


@contextlib.contextmanager
def imported_meanwhile(model: Path, begun: Callable[[], bool]) -> Iterator[None]:
    """While the body runs, once `begun()` is true, import what an engine of `model` imports, when a core is idle.

    This process's environment becomes that of an engine then (set_engine_env): what the body starts must be running.
    What is not imported at the end is left to the engine, and so are errors. Where no thread may be made to wait for an
    idle core, nothing is imported.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_import, args=(model, begun, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _import(model: Path, begun: Callable[[], bool], ended: threading.Event) -> None:
    while not begun():
        if ended.wait(POLL):
            return
    with contextlib.suppress(Exception):
        # The calling thread alone, sched(7). The lowest niceness would not do: Ray's own workers have one of 15.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        set_engine_env(model)
        for name in PARTS:
            if ended.is_set():
                return
            importlib.import_module(name)

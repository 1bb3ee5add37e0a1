"""Import vLLM in advance, while this process waits for something else: a first load spends eight seconds on that."""

from __future__ import annotations

import contextlib
import importlib
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
POLL = 0.25


@contextlib.contextmanager
def imported_meanwhile(model: Path, begun: Callable[[], bool]) -> Iterator[None]:
    """While the body runs, once `begun()` is true, import what an engine of `model` imports, in a thread.

    This process's environment becomes that of an engine then (set_engine_env): the body must start nothing after it.
    What is not imported at the end is left to the engine, and so are errors. `begun` should wait until cores are free:
    the thread holds the interpreter's lock, and the body is as slow as it.
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
        set_engine_env(model)
        for name in PARTS:
            if ended.is_set():
                return
            importlib.import_module(name)

"""The inside of a worker process: one JSON line in, one out, until its input closes. Its parent keeps the time.

Its limits hold without help from its parent: memory by RLIMIT_AS, processor time by RLIMIT_CPU.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

Answer = Callable[[dict[str, Any]], dict[str, Any]]
CPU_GRACE_S = 2
_MAX_REASON_CHARS = 2000


def main() -> None:
    """Serve what the program's ``load`` returns. argv[2]: its settings as JSON (process.py, Worker)."""
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever a library prints must not reach the protocol

    def send(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    settings = json.loads(sys.argv[2])
    _limit(resource.RLIMIT_CORE, 0, hard=True)
    if settings["memory_bytes"] is not None:
        _limit(resource.RLIMIT_AS, settings["memory_bytes"], hard=True)
    module, _, name = settings["load"].partition(":")
    try:
        answer: Answer = getattr(importlib.import_module(module), name)(settings)
    except Exception as error:
        send({"ready": False, "error": type(error).__name__, "reason": str(error)[:_MAX_REASON_CHARS]})
        return
    logging.disable(logging.CRITICAL)
    send({"ready": True})
    for line in sys.stdin:
        question = json.loads(line)
        send(
            {"number": question["number"], "answer": _answered(answer, question["limit_s"], question["task"])}
        )


def _answered(answer: Answer, limit_s: float, task: dict[str, Any]) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + limit_s) + CPU_GRACE_S, hard=False)
    try:
        return answer(task)
    except MemoryError:
        return {"reason": "memory limit"}
    except RecursionError:
        return {"reason": "nested too deeply"}
    except Exception as error:
        return {"reason": f"raised {type(error).__name__}"}


def _limit(kind: int, value: int, *, hard: bool) -> None:
    """Lower a limit. The hard one of processor time stays: the next task raises the soft one again."""
    top = resource.getrlimit(kind)[1]
    value = value if top == resource.RLIM_INFINITY else min(value, top)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value if hard else top))

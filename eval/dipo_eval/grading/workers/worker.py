"""The worker process of the pool: one JSON line in, one JSON line out, until its input closes.

Started as ``python -c "... worker.main()"``. Its limits hold without help from its parent: memory by
RLIMIT_AS, and processor time by RLIMIT_CPU, so that a worker stuck in a long C loop ends even after its
parent was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from fractions import Fraction
from typing import Any

CPU_GRACE_S = 2


def main() -> None:
    """Serve comparisons; returns when the parent closes the pipe. argv: path, memory limit in bytes."""
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever a library prints must not reach the protocol
    _limit(resource.RLIMIT_AS, int(sys.argv[2]))
    _limit(resource.RLIMIT_CORE, 0)
    _send(replies, _load())
    for line in sys.stdin:
        _send(replies, _answer(json.loads(line)))


def _load() -> dict[str, Any]:
    try:
        import logging

        import math_verify  # noqa: F401  (a second of imports, paid once)

        logging.disable(logging.CRITICAL)
    except Exception as error:
        return {"ready": False, "reason": f"{type(error).__name__}: {error}"[:300]}
    return {"ready": True}


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    from dipo_eval.grading.math.symbolic import compare_slowly

    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    _limit(resource.RLIMIT_CPU, int(spent + task["limit_s"]) + CPU_GRACE_S)
    try:
        if task.get("kind") == "replay":
            from dipo_eval.grading.calls.messages import answer_task

            return answer_task(task)
        if task.get("kind") == "step":
            from dipo_eval.grading.calls.messages import answer_step

            return answer_step(task)
        tolerance = None if task["tolerance"] is None else Fraction(task["tolerance"])
        return {"outcome": compare_slowly(task["answer"], task["gold"], tolerance).name}
    except MemoryError:
        return {"reason": "memory limit"}
    except RecursionError:
        return {"reason": "nested too deeply"}
    except Exception as error:
        return {"reason": f"not comparable: {type(error).__name__}"}


def _limit(kind: int, value: int) -> None:
    """Lower the soft limit; the hard one stays, since processor time must be raised again for the next
    task.
    """
    hard = resource.getrlimit(kind)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (soft, hard))


def _send(replies: Any, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()

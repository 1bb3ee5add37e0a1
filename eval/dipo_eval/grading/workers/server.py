"""The inside of a worker process that answers questions: one JSON line in, one out, until its input closes.

Its parent keeps the time and kills it at the limit.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def serve(load: Callable[[], Answer]) -> None:
    """Serve tasks with what ``load`` returns, not ready where it raises. argv[2]: JSON with memory_bytes."""
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever a library prints must not reach the protocol
    memory = json.loads(sys.argv[2])["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        answer = load()
    except Exception:
        replies.write('{"ready": false}\n')
        return
    logging.disable(logging.CRITICAL)
    replies.write('{"ready": true}\n')
    replies.flush()
    for line in sys.stdin:
        replies.write(json.dumps(answer(json.loads(line))) + "\n")
        replies.flush()

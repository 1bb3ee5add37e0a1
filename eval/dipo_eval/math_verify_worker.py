"""The process that asks math-verify: one JSON line in, one out, until its input closes. Its parent keeps the time."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from typing import Any


def main() -> None:
    """Serve rows. argv[2]: JSON with memory_bytes."""
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever a library prints must not reach the protocol
    memory = json.loads(sys.argv[2])["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        import math_verify  # noqa: F401
    except ImportError:
        replies.write('{"ready": false}\n')
        return
    logging.disable(logging.CRITICAL)
    replies.write('{"ready": true}\n')
    replies.flush()
    for line in sys.stdin:
        replies.write(json.dumps(_answer(json.loads(line))) + "\n")
        replies.flush()


def _answer(row: dict[str, str]) -> dict[str, Any]:
    from math_verify import parse, verify

    try:
        gold = parse(f"${row['gold']}$", parsing_timeout=None)
        found = parse(row["response"], parsing_timeout=None)
        right = bool(found) and verify(gold, found, timeout_seconds=None)
    except Exception as error:
        return {"status": "undecided", "reason": type(error).__name__, "extracted": None}
    extracted = str(found[-1])[:2000] if found else None
    return {"status": "correct" if right else "wrong", "reason": "math-verify", "extracted": extracted}

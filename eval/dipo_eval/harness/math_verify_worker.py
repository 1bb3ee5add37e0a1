"""The process that runs math-verify."""

from __future__ import annotations

from typing import Any

from dipo_eval.workers.server import Answer


def load(settings: dict[str, Any]) -> Answer:
    """The verdict on a response and a gold answer."""
    from math_verify import parse, verify

    def answer(row: dict[str, Any]) -> dict[str, Any]:
        gold = parse(f"${row['gold']}$", parsing_timeout=None)
        found = parse(row["response"], parsing_timeout=None)
        correct = bool(found) and verify(gold, found, timeout_seconds=None)
        extracted = str(found[-1])[:2000] if found else None
        return {"status": "correct" if correct else "wrong", "reason": "math-verify", "extracted": extracted}

    return answer

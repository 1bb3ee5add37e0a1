"""The process that asks math-verify."""

from __future__ import annotations

from typing import Any

from dipo_eval.grading.workers.server import Answer, serve


def main() -> None:
    """Serve rows with a response and a gold answer."""
    serve(_load)


def _load() -> Answer:
    import math_verify  # noqa: F401

    return _answer


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    from math_verify import parse, verify

    try:
        gold = parse(f"${row['gold']}$", parsing_timeout=None)
        found = parse(row["response"], parsing_timeout=None)
        right = bool(found) and verify(gold, found, timeout_seconds=None)
    except Exception as error:
        return {"status": "undecided", "reason": type(error).__name__, "extracted": None}
    extracted = str(found[-1])[:2000] if found else None
    return {"status": "correct" if right else "wrong", "reason": "math-verify", "extracted": extracted}

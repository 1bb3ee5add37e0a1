"""Data for leaderboard.js: who can be the baseline, and the precomputed difference of every pair of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dipo_eval.board.data.load import Result
from dipo_eval.board.table.comparison import not_comparable
from dipo_eval.board.table.leaderboard import BoardData
from dipo_eval.results.comparable import Made

MAX_REASONS = 1000
"""Above so many pairs that cannot be compared the page gives no reason; its settings show them."""


def comparisons(data: BoardData) -> dict[str, Any]:
    """`pairs`: "candidate,baseline" -> [mean, low, high, p] in 1e-5, one direction of each pair; the script mirrors it.

    `made`: a number for each result, equal where they can be compared; `not_comparable`: "a,b" -> why a cannot be
    compared with b, by these numbers.
    """
    pairs = {
        f"{i},{j}": [_scaled(value) for value in (found.mean, found.low, found.high, found.p_value)]
        for (i, j), found in data.differences.items()
        if found and (i < j or (j, i) not in data.differences)
    }
    made, reasons = _reasons(data.results)
    with_reason = {int(number) for pair in reasons for number in pair.split(",")}
    bases = {j for _, j in data.differences} | {j for j, number in enumerate(made) if number in with_reason}
    results: dict[tuple[str, str], dict[str, int]] = {}
    for i, result in enumerate(data.results):
        results.setdefault(result.model_key, {})[result.suite] = i
    offered = {data.results[j].model_key for j in bases} | {data.baseline}
    baselines = [
        {"run": key[0], "checkpoint": key[1], "results": of_key, "chosen": key == data.baseline}
        for key, of_key in results.items()
        if key in offered
    ]
    return {"pairs": pairs, "made": made, "not_comparable": reasons, "baselines": baselines}


def _scaled(share: float) -> int:
    """In 1e-5, never 0 for what is not 0: the sign of an interval's end is its verdict."""
    return round(share * 1e5) or (share > 0) - (share < 0)


def _reasons(results: Sequence[Result]) -> tuple[list[int], dict[str, str]]:
    first: dict[tuple[str, Made], int] = {}
    made = [first.setdefault((result.suite, result.made), i) for i, result in enumerate(results)]
    pairs = [
        (a, b) for (suite, _), a in first.items() for (of, _), b in first.items() if a != b and suite == of
    ]
    if len(pairs) > MAX_REASONS:
        return made, {}
    return made, {f"{a},{b}": not_comparable(results[a], results[b]) for a, b in pairs}

"""One line a checkpoint: what it scored on every suite, and how that compares with the first and with the best."""

from __future__ import annotations

from typing import Any

from dipo_eval.watch.best import BestRule, score

Results = dict[str, dict[str, Any]]


def checkpoint_line(name: str, results: Results, rule: BestRule, history: dict[str, float]) -> str:
    """`history`: score of every checkpoint that was reported before, in that order; intervals are of 95%."""
    parts = []
    for suite, result in results.items():
        accuracy = result["metrics"].get("accuracy")
        if accuracy is None:
            parts.append(f"{suite} no accuracy")
            continue
        parts.append(
            f"{suite} {100 * accuracy['value']:.1f}% "
            f"({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f})"
        )
    return f"{name}: {'; '.join(parts)}{_compared(score(results, rule), history)}"


def _compared(value: dict[str, Any] | None, history: dict[str, float]) -> str:
    if value is None or not history:
        return ""
    first, first_value = next(iter(history.items()))
    best, best_value = max(history.items(), key=lambda item: item[1])
    text = f"; {_points(value['value'] - first_value)} against {first}"
    if value["value"] > best_value:
        return f"{text}, the best so far"
    return text if best == first else f"{text}, {_points(value['value'] - best_value)} against {best}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"

"""A checkpoint's results as one line of the log and as figures for trackers."""

from __future__ import annotations

from typing import Any

from dipo_eval.watch.best import Best
from dipo_eval.watch.plan import Results


def checkpoint_line(
    name: str,
    results: Results,
    value: dict[str, Any] | None,
    first: tuple[str, float] | None,
    best: Best | None,
) -> str:
    """The score of every suite with its 95% interval, the difference to the first checkpoint, and the best one.

    `value`: the score by which the best is chosen; `first`: the checkpoint reported first, and its score.
    """
    parts = []
    for suite, result in results.items():
        accuracy = result["metrics"].get("accuracy")
        score = (
            "no accuracy"
            if accuracy is None
            else _percent(accuracy["value"], accuracy["low"], accuracy["high"])
        )
        parts.append(f"{suite} {score}")
    text = f"{name}: {'; '.join(parts)}"
    if value is not None and first is not None:
        text += f"; {100 * (value['value'] - first[1]):+.1f} points against {first[0]}"
    if best is not None and best.among > 1:
        text += (
            f"; best of {best.among}: step {best.step}, chosen by half of the items, "
            f"{_percent(best.value, best.low, best.high)} on the others"
        )
    return text


def figures(results: Results) -> dict[str, float]:
    """`eval/SUITE/METRIC` of every suite, the accuracy's interval as `/low` and `/high`, and the counts."""
    row: dict[str, float] = {}
    for suite, result in results.items():
        for metric, value in result["metrics"].items():
            if value.get("value") is not None:
                row[f"eval/{suite}/{metric}"] = value["value"]
        accuracy = result["metrics"].get("accuracy") or {}
        for side in ("low", "high"):
            if accuracy.get(side) is not None:
                row[f"eval/{suite}/accuracy/{side}"] = accuracy[side]
        for name, count in result["counts"].items():
            row[f"eval/{suite}/count/{name}"] = count
    return row


def _percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f}% ({100 * low:.1f} to {100 * high:.1f})"

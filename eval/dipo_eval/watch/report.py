"""One line a checkpoint: what it scored on every suite, how that compares with the first, and which is the best."""

from __future__ import annotations

from typing import Any

from dipo_eval.watch.best import Best

Results = dict[str, dict[str, Any]]


def checkpoint_line(
    name: str,
    results: Results,
    value: dict[str, Any] | None,
    first: tuple[str, float] | None,
    best: Best | None,
) -> str:
    """`value`: the score by which the best is chosen; `first`: the checkpoint reported first, and its score.

    Intervals are of 95%.
    """
    parts = []
    for suite, result in results.items():
        accuracy = result["metrics"].get("accuracy")
        if accuracy is None:
            parts.append(f"{suite} no accuracy")
            continue
        parts.append(f"{suite} {_percent(accuracy['value'], accuracy['low'], accuracy['high'])}")
    text = f"{name}: {'; '.join(parts)}"
    if value is not None and first is not None:
        text += f"; {100 * (value['value'] - first[1]):+.1f} points against {first[0]}"
    if best is not None and best.among > 1:
        text += (
            f"; best of {best.among}: step {best.step}, chosen by half of the items, "
            f"{_percent(best.value, best.low, best.high)} on the others"
        )
    return text


def _percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f}% ({100 * low:.1f} to {100 * high:.1f})"

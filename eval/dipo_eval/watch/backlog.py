"""Which checkpoints are evaluated, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from dipo_eval.watch.marker import Marked

Order = Literal["oldest", "newest"]
ORDERS: tuple[str, ...] = get_args(Order)


def ordinal(checkpoint: Marked, position: int) -> int:
    """The how-manieth save of the run it is, counted from 1.

    From the marker's `save_steps`, so that pruning changes nothing; else its position among those on disk.
    """
    every = checkpoint.marker.get("save_steps")
    if isinstance(every, int) and every > 0:
        return -(-checkpoint.step // every)
    return position


def chosen(found: Sequence[Marked], *, every: int = 1, last_too: bool = False) -> list[Marked]:
    """Every `every`-th save of `found`, which is in step order; with `last_too` the last one as well."""
    picked = [c for position, c in enumerate(found, 1) if ordinal(c, position) % every == 0]
    if last_too and found and found[-1] not in picked:
        picked.append(found[-1])
    return picked


def ordered(todo: Sequence[Marked], order: Order, attempts: Sequence[int]) -> list[Marked]:
    """What to try next, first things first; what has failed comes after what was not tried, so it blocks nothing."""
    sign = -1 if order == "newest" else 1
    ranked = sorted(zip(attempts, todo, strict=True), key=lambda pair: (pair[0], sign * pair[1].step))
    return [checkpoint for _, checkpoint in ranked]

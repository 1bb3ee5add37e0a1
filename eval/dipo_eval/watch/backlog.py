"""Which checkpoints are evaluated, in which order, and how often each was tried.

<results>/<run>/<checkpoint>/watch.json    the attempts at one checkpoint and their errors; delete it to try again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from dipo_eval.subject.marker import Marked, read_json, write_json
from dipo_eval.watch.plan import Plan

Order = Literal["oldest", "newest"]
ORDERS: tuple[str, ...] = get_args(Order)
_KEPT = 10  # errors


def ordered(todo: Sequence[Marked], order: Order, attempts: Sequence[int]) -> list[Marked]:
    """The order in which to try them; those that failed come last, so that they block nothing."""
    sign = -1 if order == "newest" else 1
    ranked = sorted(zip(attempts, todo, strict=True), key=lambda pair: (pair[0], sign * pair[1].step))
    return [checkpoint for _, checkpoint in ranked]


@dataclass(frozen=True)
class Attempts:
    """The attempts at one (weights, suites, settings), which `identity` names; others start from zero."""

    identity: str
    attempts: int = 0
    errors: tuple[str, ...] = ()
    done: bool = False

    def failed(self, error: str) -> Attempts:
        return replace(self, attempts=self.attempts + 1, errors=(*self.errors, error)[-_KEPT:])


def read_attempts(plan: Plan, checkpoint: Marked) -> Attempts:
    """The stored attempts at these weights under this plan; none where there is no such file."""
    identity = plan.identity(checkpoint.weights_hash)
    content = read_json(plan.folder(checkpoint) / "watch.json") or {}
    if content.get("identity") != identity:
        return Attempts(identity)
    try:
        errors = tuple(str(error) for error in content["errors"])
        return Attempts(identity, int(content["attempts"]), errors, bool(content["done"]))
    except (KeyError, TypeError, ValueError):
        return Attempts(identity)


def write_attempts(plan: Plan, checkpoint: Marked, attempts: Attempts) -> None:
    """Store them. Raises OSError."""
    folder = plan.folder(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "watch.json", asdict(attempts))

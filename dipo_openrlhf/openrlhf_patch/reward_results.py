"""A reward function's mistakes, seen where they happen: in an engine, which then ends the run with one line.

openrlhf/utils/agent.py, SingleTurnAgentExecutor.execute logs what the function raises at level INFO and goes on without a
reward; the trainer would end with an AttributeError, or with tensors of another length than the batch.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, one_line, short_repr
from dipo_openrlhf.recipe.defaults import REWARDS


class CheckedReward:
    """A reward_func(queries, prompts, labels) that remembers what was wrong first; called from several threads.

    problem: in one line; empty while nothing is.
    """

    def __init__(self, reward_func: Callable[..., Any], path: str) -> None:
        self.reward_func, self.path = reward_func, path
        self.problem = ""
        self._first: dict[str, set[str]] = {}

    def __call__(self, queries: list[str], prompts: list[str], labels: list[Any]) -> Any:
        """What the function returns. Raises what it raises, and ValueError for what training cannot use."""
        try:
            returned = self.reward_func(queries, prompts, labels)
            self._check(returned)
        except Exception as error:
            said = f"{one_line(error)}{self._place(error)}"
            self.problem = self.problem or (
                f"reward.remote_url: {self.path!r}: reward_func fails with {said}, for the label "
                f"{short_repr(labels[0] if labels else None, 60)}"
            )
            raise
        return returned

    def raise_problem(self) -> None:
        """Raise UserError where the user's own function failed; RuntimeError where one of this project's did."""
        if self.problem:
            raise (RuntimeError if Path(self.path).parent == REWARDS else UserError)(self.problem)

    def _place(self, error: Exception) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self.path]
        return f" (line {lines[-1]})" if lines else ""

    def _check(self, returned: Any) -> None:
        if not isinstance(returned, dict):
            raise ValueError(f"it returned a {type(returned).__name__}, not a dict with 'rewards'")
        if not _is_number(returned.get("rewards")):
            raise ValueError(
                f"it returned {short_repr(returned.get('rewards'), 40)} as 'rewards', not a finite number"
            )
        if returned.get("scores") is not None and not _is_number(returned["scores"]):
            raise ValueError(
                f"it returned {short_repr(returned['scores'], 40)} as 'scores', not a finite number"
            )
        keys = {"": {key for key, value in returned.items() if value is not None}}
        keys["extra_logs: "] = set(returned.get("extra_logs") or {})
        first = self._first or keys
        self._first = first
        odd = [f"{name}{key}" for name, found in keys.items() for key in sorted(found ^ first[name])]
        if odd:
            raise ValueError(
                f"it returned other keys than for the first sample ({', '.join(odd)}): return the same for all"
            )


def _is_number(value: Any) -> bool:
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return False
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, RuntimeError, OverflowError):  # a tensor of several numbers
        return False

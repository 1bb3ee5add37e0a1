"""A reward function's mistakes, seen where they happen: in an engine, which then ends the run with one line.

openrlhf/utils/agent.py, SingleTurnAgentExecutor.execute logs what the function raises at level INFO and goes on without a
reward; the trainer would end with an AttributeError, or with tensors of another length than the batch.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, one_line, short_repr
from dipo_eval.secrets.masking import mask_text
from dipo_openrlhf.recipe.defaults import REWARDS
from dipo_openrlhf.rewards.returned import key_problem, problem_of


class CheckedReward:
    """A reward_func(queries, prompts, labels) that remembers what was wrong first; called from several threads.

    problem: in one line; empty while nothing is.
    """

    def __init__(self, reward_func: Callable[..., Any], path: str) -> None:
        self.reward_func, self.path = reward_func, path
        self.problem = ""
        self._first: dict[str, Any] = {}

    def __call__(self, queries: list[str], prompts: list[str], labels: list[Any]) -> Any:
        """What the function returns. Raises what it raises, and ValueError for what training cannot use."""
        try:
            returned = self.reward_func(queries, prompts, labels)
            self._check(returned)
        except Exception as error:
            self._note("reward_func", error, labels)
            raise
        return returned

    def _note(self, who: str, error: Exception, labels: list[Any]) -> None:
        label = short_repr(labels[0] if labels else None, 60)
        said = f"{one_line(error)}{self._place(error)}"
        self.problem = self.problem or (
            f"reward.remote_url: {mask_text(self.path)!r}: {who} fails with {said}, for the label {label}"
        )

    async def over_http(self, queries: list[str], prompts: list[str], labels: list[Any]) -> Any:
        """The same for reward servers: `reward_func` is OpenRLHF's _fetch_rewards_via_http, of one sample."""
        try:
            answers = await self.reward_func(queries, prompts, labels)
            for returned in answers:
                self._check(returned)
        except Exception as error:
            self._note("the server", error, labels)
            raise
        return answers

    def raise_problem(self) -> None:
        """Raise UserError where the user's own function failed; RuntimeError, after which a run may restart, where one of
        this project's did, or a server.
        """
        if self.problem:
            of_user = self.path.endswith(".py") and Path(self.path).parent != REWARDS
            raise (UserError if of_user else RuntimeError)(self.problem)

    def _place(self, error: Exception) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self.path]
        return f" (line {lines[-1]})" if lines else ""

    def _check(self, returned: Any) -> None:
        problem = problem_of(returned)
        if not problem:
            self._first = first = self._first or returned
            problem = key_problem(first, "the first sample", returned)
        if problem:
            raise ValueError(f"it returned {problem}")

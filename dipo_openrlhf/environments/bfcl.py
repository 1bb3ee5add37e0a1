"""BFCL's eight stateful environments: file system, trading, travel, tickets, messages, vehicle, mathematics, posts.

A label is a row of BFCL's multi-turn data, or one like it, with its gold, and "environment": "bfcl":

    {"environment": "bfcl", "id": "multi_turn_base_0", "question": [[{"role": "user", "content": ...}], ...],
     "initial_config": {...}, "involved_classes": [...], "ground_truth": [["cd(folder='document')", ...], ...]}

The row's prompt is not used: the user's messages are in `question`. State, dispatch and comparison are the evaluation's.
Source: bfcl_eval/eval_checker/multi_turn_eval/multi_turn_checker.py, multi_turn_checker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.multi_turn import check_turn_gold
from dipo_eval.grading.calls.replay import World, replay
from dipo_openrlhf.environments.environment import Environment, Message


class Bfcl(Environment):
    """Correct where after each turn the environments have the gold's states and the gold's results were had.

    A function that a case holds back is described in the user's message of its turn, in bfcl-eval's words: tokens that
    the model has seen cannot be changed, so that it is not added to the tools at the beginning.
    """

    max_turns: ClassVar[int] = 40
    max_seconds: ClassVar[float] = 3600.0
    """For long thoughts in a full engine; the recipe's run.step_timeout is twice that."""

    def __init__(self, task: dict[str, Any]) -> None:
        super().__init__(task)
        check_turn_gold(task.get("ground_truth"), task)
        self._world = World(task, "model", official=False)
        self._turns: list[list[list[str]]] = [[]]
        self._held_back = bfcl.held_back(task)

    def messages(self, prompt: str) -> list[Message]:
        """The first turn's messages of the case."""
        return list(self.task["question"][0])

    def tools(self) -> list[dict[str, Any]]:
        """Those that the case has offered so far."""
        later = [one for turn, given in self._held_back.items() if turn < len(self._turns) for one in given]
        return [*bfcl.first_tools(self.task), *bfcl.tools(later)] if later else bfcl.first_tools(self.task)

    def run(self, calls: Sequence[str]) -> list[str]:
        """Carried out and remembered for the reward."""
        self._turns[-1].append(list(calls))
        return self._world.run(calls)

    def reply(self, text: str) -> list[Message]:
        """The next turn's messages."""
        turn = len(self._turns)
        if turn == len(self.task["question"]):
            return []
        self._turns.append([])
        messages = list(self.task["question"][turn])
        if turn in self._held_back:  # the user has no message in such a turn
            prompts = bfcl.module("bfcl_eval.constants.default_prompts")
            offer = prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_PROMPTING
            messages.append({"role": "user", "content": offer.format(functions=self._held_back[turn])})
        return messages

    def reward(self, answer: str) -> float:
        """1 or 0: the strict verdict of the evaluation, on an episode that reached its last turn."""
        gold = self.task["ground_truth"]
        if len(self._turns) != len(gold):
            return 0.0
        return float(replay(self.task, gold, self._turns, official=False) is None)


ENVIRONMENT = Bfcl

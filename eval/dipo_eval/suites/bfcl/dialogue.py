"""One conversation of BFCL's multi-turn categories with a model, as bfcl-eval's handlers hold it.

Source: bfcl_eval/model_handler/base_handler.py, BaseHandler.inference_multi_turn_prompting and
bfcl_eval/model_handler/base_handler.py, BaseHandler.inference_multi_turn_FC, with the messages of
bfcl_eval/model_handler/api_inference/openai_completion.py, OpenAICompletionsHandler. A turn begins with the user's
messages; the model's calls are carried out and their results shown, until a message has no calls. The calls are read as
in strict mode and never evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dipo_eval.engines.base import Message
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.multi_turn import FAILED, MAX_CHARS, OUT_OF_STEPS, Step, stored, take_step
from dipo_eval.grading.final_text import thoughts_end
from dipo_eval.suites.base import Ask

STEP_LIMIT_S = 10.0
"""For the calls of one message, after those of all earlier messages."""
CONVERSATION_LIMIT_S = 60.0


def first_messages(row: Mapping[str, Any], *, native: bool) -> list[Message]:
    """The first turn's messages, in the prompt form with the system prompt."""
    return list(row["question"][0]) if native else bfcl.prompt(dict(row))


class Conversation:
    """A dipo_eval.suites.base.Dialogue of one item of BFCL's data files.

    ``native``: the functions are offered as tools, calls are read in the model's own form and their results are
    ``tool`` messages. Otherwise the results are one user message, in bfcl-eval's own words.
    """

    def __init__(self, row: Mapping[str, Any], *, native: bool) -> None:
        self._row, self._native = dict(row), native
        self._messages = first_messages(row, native=native)
        self._tools = bfcl.first_tools(self._row) if native else None
        self._held_back = bfcl.held_back(self._row)
        self._turns: list[list[str]] = [[]]
        self._done: list[list[str]] = []  # the calls of each step so far
        self._steps = 0  # with calls, in this turn
        self._left_s = CONVERSATION_LIMIT_S
        self._calls = 0
        self._ended: str | None = None
        self._max_steps: int = bfcl.module("bfcl_eval.constants.default_prompts").MAXIMUM_STEP_LIMIT

    def reply(self, text: str) -> Ask | None:
        """Carry out the calls of a message, or begin the next turn; None where the conversation is over."""
        text = _clean(text)
        self._turns[-1].append(text)
        if sum(len(one) for turn in self._turns for one in turn) > MAX_CHARS:
            self._ended = "longer than any conversation"
            return None
        step = take_step(text, self._done, self._row, limit_s=STEP_LIMIT_S)
        self._left_s -= step.seconds
        if step.failure or self._left_s < 0:
            self._ended = step.failure or f"{FAILED}the conversation's time limit"
            return None
        if not step.calls:
            self._messages.append({"role": "assistant", "content": text})
            return self._ask() if self._next_turn() else None
        self._show(text, step)
        self._done.append(step.calls)
        self._steps += 1
        if self._steps > self._max_steps:
            self._ended = OUT_OF_STEPS
            return None
        return self._ask()

    def cut(self, reason: str) -> None:
        """The next message does not fit the context."""
        self._ended = reason

    def response(self) -> str:
        """The model's messages by turn and why it ended early, as ``grade_conversation`` reads them."""
        return stored(self._turns, self._ended)

    def close(self) -> None:
        """Release what only a running conversation needs."""
        self._messages, self._done, self._tools = [], [], None

    def _ask(self) -> Ask:
        return Ask(tuple(self._messages), self._tools)

    def _next_turn(self) -> bool:
        turn = len(self._turns)
        if turn == len(self._row["question"]):
            return False
        self._turns.append([])
        self._steps = 0
        self._messages += self._row["question"][turn]
        if turn in self._held_back:  # the user has no message in such a turn
            self._messages.append({"role": "user", "content": self._offer(self._held_back[turn])})
        return True

    def _offer(self, functions: list[dict[str, Any]]) -> str:
        prompts = bfcl.module("bfcl_eval.constants.default_prompts")
        if not self._native:
            return str(
                prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_PROMPTING.format(functions=functions)
            )
        self._tools = [*(self._tools or []), *bfcl.tools(functions)]
        return str(prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC)

    def _show(self, text: str, step: Step) -> None:
        """The model's message and the results of its calls, for the next request."""
        results = [_clean(result) for result in step.results]
        if not self._native or step.native is None:  # no data that a template could show as calls
            self._messages += [{"role": "assistant", "content": text}, _as_user(step.calls, results)]
            return
        # Nine letters and digits: Mistral's templates refuse any other id.
        ids = [f"call{(self._calls + index) % 100_000:05d}" for index in range(len(results))]
        self._calls += len(ids)
        pairs = zip(ids, step.native, strict=True)
        called = [{"id": one, "type": "function", "function": function} for one, function in pairs]
        self._messages.append({"role": "assistant", "content": _outside(text), "tool_calls": called})
        self._messages += [
            {"role": "tool", "tool_call_id": one, "name": function["name"], "content": result}
            for one, function, result in zip(ids, step.native, results, strict=True)
        ]


def _as_user(calls: list[str], results: list[str]) -> Message:
    shown = bfcl.module("bfcl_eval.model_handler.utils").format_execution_results_prompting
    return {"role": "user", "content": shown({}, results, {"model_responses_decoded": calls})}


def _outside(text: str) -> str:
    """A message with native calls without them: its reasoning, and the text before its first call."""
    at = thoughts_end(text)
    reasoning, rest = text[:at], text[at:]
    before = rest.partition("<tool_call>")[0].strip() if "<tool_call>" in rest else ""
    return "\n\n".join(part for part in (reasoning, before) if part)


def _clean(text: str) -> str:
    """``text`` that UTF-8 can encode: JSON in a model's answer may contain lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")

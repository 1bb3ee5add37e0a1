"""One episode with tools: the model's messages, sampled by the engine, and an environment's answers, token by token.

The tokens that the engine sampled are kept as they are; what lies between them, the environment's, is outside the action
ranges, so that neither loss nor perplexity sees it. All figures of an episode are in its `extra_logs`, under the same
names in every sample; a yes or no is 1 or 0, so that its mean is a rate.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.calls.chosen_form import AUTO
from dipo_eval.grading.calls.dispatch import ERROR
from dipo_eval.grading.final_text import without_end_marks
from dipo_eval.workers.pool import WorkerPool
from dipo_openrlhf.environments.environment import Environment
from dipo_openrlhf.environments.worker import called, environment_of, plain_label, pool_for
from dipo_openrlhf.rewards.call_form import UNREAD, named_form
from dipo_openrlhf.rewards.tool_template import ToolTemplate

ENDS = ("answer", "turns", "message", "tokens", "seconds", "environment")
"""Why an episode ended: the environment had no further message, a limit was reached (`message`: rollout.max_new_tokens,
`tokens`: data.max_len), or the environment failed."""
PAID = ("answer", "turns")
CUT = ("message", "tokens")
OPEN_SECONDS = 60.0
"""For an environment's first messages: a worker reads its data then."""


class Trace:
    """The tokens of an episode: those sampled, by range, and those in between."""

    def __init__(self, opening: Sequence[int], *, with_log_probs: bool) -> None:
        self.tokens = list(opening)
        self.ranges: list[tuple[int, int]] = []
        self.log_probs: list[float] | None = [0.0] * len(self.tokens) if with_log_probs else None

    def add_sampled(self, output: Any) -> list[int]:
        """The tokens of vLLM's CompletionOutput, which become an action range."""
        sampled = list(output.token_ids)
        start = len(self.tokens)
        self.tokens += sampled
        self.ranges.append((start, len(self.tokens)))
        if self.log_probs is not None:
            pairs = zip(sampled, output.logprobs, strict=True)
            self.log_probs += [candidates[token].logprob for token, candidates in pairs]
        return sampled

    def add_feedback(self, tokens: Sequence[int]) -> None:
        """Tokens that the model did not sample; their log-probabilities are 0.0 and never read."""
        self.tokens += tokens
        if self.log_probs is not None:
            self.log_probs += [0.0] * len(tokens)


class Episodes:
    """Runs episodes of one environment, or of those that labels name."""

    def __init__(self, environment: type[Environment] | None = None, agent: str | None = None) -> None:
        """`agent`: the file with which worker processes get the environment; both are None for those of labels."""
        self._environment = environment
        self._pool = pool_for(agent)
        self._form = named_form()
        self._template: ToolTemplate | None = None

    async def run(
        self, prompt: str, label: Any, sampling_params: Any, max_length: int, tokenizer: Any, engine: Any
    ) -> dict[str, Any]:
        """What OpenRLHF takes from an agent's executor. Raises UserError for a bad row, template or length."""
        task = plain_label(label)
        limits = self._environment or environment_of(task)
        template = self._template_of(tokenizer)
        template.check_unrendered(prompt)
        form = template.call_form if self._form == AUTO else self._form
        episode = _Episode(
            limits, _Player(self._pool, limits, prompt, task, form), template, engine, tokenizer
        )
        await episode.open(max_length, sampling_params)
        await episode.play()
        return {
            "prompt": prompt,
            "label": label,
            "images": None,
            "mm_train_inputs": None,
            **await episode.result(),
        }

    def _template_of(self, tokenizer: Any) -> ToolTemplate:
        if (
            self._template is None or self._template.tokenizer is not tokenizer
        ):  # an engine has one for all prompts
            self._template = ToolTemplate(tokenizer)
        return self._template

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()


def is_reward(value: Any) -> bool:
    """Whether it is what an environment's reward may be."""
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1


def opening_tokens(
    name: str, opening: dict[str, Any], template: ToolTemplate | None, max_length: int
) -> list[int]:
    """Tokens before the model's first message, from an environment's answer to "open"; none without a template. Raises
    UserError.
    """
    if "messages" not in opening:
        said = opening.get("failed") or opening.get("reason")
        raise UserError(f"environment {name}: cannot begin a row's task: {said}")
    if template is None:
        return []
    tokens = template.opening(opening["messages"], opening["tools"])
    if len(tokens) >= max_length:
        raise UserError(
            f"environment {name}: a prompt with its tools has {len(tokens)} tokens, data.max_len is {max_length}"
        )
    return tokens


class _Player:
    """The environment's side of one episode: what happened so far, and questions to a worker about what is next."""

    def __init__(
        self, pool: WorkerPool, limits: type[Environment], prompt: str, label: dict[str, Any], form: str
    ) -> None:
        self._pool, self._limits = pool, limits
        self._task = {"prompt": prompt, "label": label, "form": form}
        self.events: list[dict[str, Any]] = []

    async def ask(self, what: str, text: str = "") -> dict[str, Any]:
        seconds = OPEN_SECONDS if what == "open" else self._limits.call_seconds
        task = {**self._task, "events": self.events, "ask": what, "text": text}
        return await asyncio.to_thread(self._pool.ask, task, seconds)


class _Episode:
    def __init__(
        self, limits: type[Environment], player: _Player, template: ToolTemplate, engine: Any, tokenizer: Any
    ) -> None:
        self._limits, self._player, self._template = limits, player, template
        self._engine, self._tokenizer = engine, tokenizer
        self._counts: Counter[str] = Counter()
        self._answer = ""
        self._ended = ""
        self._deadline = time.monotonic() + limits.max_seconds

    async def open(self, max_length: int, sampling_params: Any) -> None:
        opening = await self._player.ask("open")
        if "reason" in opening:  # a worker was lost, or none was free in time: no fault of the row's
            opening = await self._player.ask("open")
        if "reason" in opening:
            raise RuntimeError(
                f"environment {self._limits.__name__}: no worker could begin an episode, twice: {opening['reason']}"
            )
        tokens = opening_tokens(self._limits.__name__, opening, self._template, max_length)
        self._max_length, self._params = max_length, sampling_params
        self._trace = Trace(tokens, with_log_probs=sampling_params.logprobs is not None)

    async def play(self) -> None:
        while not self._ended:
            self._ended = await self._turn()

    async def _turn(self) -> str:
        """One message of the model and the environment's answer; why the episode ends with it, or empty."""
        output = await self._sample()
        sampled = self._trace.add_sampled(output)
        self._counts["episode/turns"] += 1
        self._answer = without_end_marks(self._tokenizer.decode(sampled, skip_special_tokens=False))
        if output.finish_reason == "length":  # what is cut off is not carried out
            return "tokens" if len(self._trace.tokens) >= self._max_length else "message"
        step = await self._player.ask("step", self._answer)
        if "reason" in step:
            step = await self._refused(str(step["reason"]))
        elif "failed" not in step:
            self._player.events.append({"calls": step["calls"]} if step["calls"] else {"said": step["said"]})
        if "failed" in step:
            return "environment"
        feedback = self._feedback(step, self._template.has_ended(sampled))
        if feedback is None:
            return "answer"
        if self._counts["episode/turns"] >= self._limits.max_turns:
            return "turns"
        if len(self._trace.tokens) + len(feedback) >= self._max_length:
            return "tokens"
        if time.monotonic() > self._deadline:
            return "seconds"
        self._trace.add_feedback(feedback)
        self._counts["episode/feedback_tokens"] += len(feedback)
        return ""

    async def _sample(self) -> Any:
        params = deepcopy(self._params)
        room = self._max_length - len(self._trace.tokens)
        params.max_tokens = room if params.max_tokens is None else min(params.max_tokens, room)
        request = await self._engine.generate(list(self._trace.tokens), params)
        return request.outputs[0]

    async def _refused(self, reason: str) -> dict[str, Any]:
        """An error for each call of a message that its worker could not carry out; none of them counts as done."""
        read = await self._player.ask("read", self._answer)
        calls = read.get("calls") or []
        if not calls:
            return {"failed": reason}
        self._counts["episode/tool_timeouts"] += len(calls)
        said = f"{ERROR}{reason}; no call of this message was carried out"
        return {"calls": calls, "results": [said] * len(calls)}

    def _feedback(self, step: dict[str, Any], ended: bool) -> list[int] | None:
        """Tokens of the environment's answer; None where it has none."""
        if step.get("unread"):
            self._counts[UNREAD[step["unread"]]] += 1
        if step["calls"]:
            first = self._counts["episode/calls"]
            self._counts["episode/calls"] += len(step["calls"])
            self._counts["episode/tool_errors"] += sum(one.startswith(ERROR) for one in step["results"])
            names = [*map(called, step["calls"])]
            return self._template.after_calls(names, step["results"], first, ended=ended)
        return self._template.after_answer(step["messages"], ended=ended) if step["messages"] else None

    async def result(self) -> dict[str, Any]:
        reward, failure = await self._reward()
        logs = {f"episode/ended/{end}": float(self._ended == end) for end in ENDS}
        for name in (*_COUNTED, *UNREAD.values()):
            logs[name] = float(self._counts[name])
        logs |= {
            "verifier/undecided": float(failure == "undecided"), "verifier/timeout": float(failure == "undecided"),
            "verifier/error": float(failure == "error"), "verifier/no_answer": 0.0, "reward_max": 1.0,
        }  # fmt: skip
        return {
            "reward": reward,
            "scores": float(reward >= 1.0),
            "observation_tokens": self._trace.tokens,
            "action_ranges": self._trace.ranges,
            "rollout_log_probs": self._trace.log_probs,
            "truncated": self._ended in CUT,
            "extra_logs": logs,
        }

    async def _reward(self) -> tuple[float, str]:
        """The reward, and `undecided` or `error` where the environment gave none.

        An episode without time is undecided: how far it came says more of the machine than of the model.
        """
        if self._ended not in PAID:
            return 0.0, {"environment": "error", "seconds": "undecided"}.get(self._ended, "")
        found = await self._player.ask("reward", self._answer)
        if "reason" in found:
            return 0.0, "undecided"
        reward = found.get("reward")
        return (float(reward), "") if is_reward(reward) else (0.0, "error")  # type: ignore[arg-type]


_COUNTED = (
    "episode/turns", "episode/calls", "episode/tool_errors", "episode/tool_timeouts", "episode/feedback_tokens",
)  # fmt: skip

"""A tool environment of the package verifiers (0.1: ToolEnv, StatefulToolEnv) as an Environment, without importing it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

from dipo_eval.grading.calls.messages import shown_call
from dipo_openrlhf.environments.environment import Environment, Message


def environment_from(env: Any) -> type[Environment]:
    """Its tools, and as reward the weighted mean of its rubric; `answer` and `info` are the label's."""

    class FromVerifiers(Environment):
        def __init__(self, task: dict[str, Any]) -> None:
            super().__init__(task)
            state = {"answer": "", "info": {}, **task, "prompt": [], "completion": [], "trajectory": []}
            self._state = _now(env.setup_state(state)) or state

        def messages(self, prompt: str) -> list[Message]:
            system = [{"role": "system", "content": env.system_prompt}] if env.system_prompt else []
            self._state["prompt"] = [*system, {"role": "user", "content": prompt}]
            return list(self._state["prompt"])

        def run(self, calls: Sequence[str]) -> list[str]:
            results = super().run(calls)
            made = map(shown_call, calls)
            shown = [{**call, "arguments": json.dumps(call["arguments"])} for call in made]
            said = [{"id": str(at), "type": "function", "function": call} for at, call in enumerate(shown)]
            self._state["completion"].append({"role": "assistant", "content": "", "tool_calls": said})
            for at, result in enumerate(results):
                self._state["completion"].append({"role": "tool", "tool_call_id": str(at), "content": result})
            return results

        def reward(self, answer: str) -> float:
            self._state["completion"].append({"role": "assistant", "content": answer})
            rubrics = getattr(env.rubric, "rubrics", [env.rubric])  # of a group
            pairs = [pair for one in rubrics for pair in zip(one.funcs, one.weights, strict=True) if pair[1]]
            given = {"parser": env.parser, **self._state, "state": self._state}
            total = sum(weight * float(_now(_called(grade, given))) for grade, weight in pairs)
            return min(1.0, max(0.0, total / sum(weight for _, weight in pairs if weight > 0)))

    for name, tool in env.tool_map.items():
        setattr(FromVerifiers, name, _method(env, name, tool))
    return FromVerifiers


def _method(env: Any, name: str, tool: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(tool)
    def method(self: Any, *given: Any, **named: Any) -> Any:
        if hasattr(env, "update_tool_args"):  # of a StatefulToolEnv: what the model does not see
            named = env.update_tool_args(name, named, self._state["completion"], self._state)
        return _now(tool(*given, **named))

    hidden, signature = getattr(env, "skipped_args", {}).get(name, ()), inspect.signature(tool)
    seen = [one for one in signature.parameters.values() if one.name not in hidden]
    owner = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__signature__ = signature.replace(parameters=[owner, *seen])  # type: ignore[attr-defined]
    return method


def _called(grade: Callable[..., Any], given: dict[str, Any]) -> Any:
    names = inspect.signature(grade).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in names.values())
    return grade(**{name: value for name, value in given.items() if takes_all or name in names})


def _now(value: Any) -> Any:
    return asyncio.run(value) if inspect.iscoroutine(value) else value

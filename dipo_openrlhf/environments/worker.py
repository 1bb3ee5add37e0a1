"""Episodes in worker processes: each question plays the episode so far on a fresh environment, then goes on.

A tool that hangs or takes all memory costs its process and nothing else; no state outlives a question, so that rollouts
cannot see each other's, and the deadline of a call needs no help from the tool.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from typing import Any

from dipo_eval.errors import UserError, one_line
from dipo_eval.grading.calls.dispatch import own_precision
from dipo_eval.grading.calls.messages import step_calls
from dipo_eval.grading.calls.response_text import answer_text
from dipo_eval.grading.calls.why_unread import unknown_function, why_unread
from dipo_eval.workers.cores import one_for_two_cores
from dipo_eval.workers.pool import WorkerPool
from dipo_eval.workers.process import Program
from dipo_eval.workers.server import Answer
from dipo_openrlhf.environments.environment import Environment, get

MEMORY_BYTES = 2 * 1024**3
MAX_WORKERS = 16
MAX_RESULT_CHARS = 1_000_000
"""Of all results of a message; no context holds as many."""

Play = Callable[[Environment, dict[str, Any]], dict[str, Any]]


def pool_for(agent: str | None) -> WorkerPool:
    """Processes for the episodes of an agent's file (agent_for), or of the environments that labels name; one for two
    cores, 2 to 16.
    """
    settings = {} if agent is None else {"file": agent}  # in no package: it can only be loaded by path
    program = Program("dipo_openrlhf.environments.worker:load", settings, memory_bytes=MEMORY_BYTES)
    return WorkerPool(lambda: program, one_for_two_cores(2, MAX_WORKERS))


def load(settings: dict[str, Any]) -> Answer:
    """The function that answers: {"prompt", "label", "events", "ask": open, step, read or reward, "text", "form"}.

    `events`: what the model did, {"calls": [...]} of a message with calls, {"said": text} of another. An answer "failed"
    says what the environment raised outside its tools.
    """
    own = _from_file(settings["file"]) if "file" in settings else None

    def answer(task: dict[str, Any]) -> dict[str, Any]:
        if task["ask"] == "read":
            return {"calls": step_calls(task["text"], official=False, chosen=task["form"])}
        try:
            with own_precision():
                return _play((own or environment_of(task["label"]))(task["label"]), task)
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # an environment is its author's program
            return {"failed": one_line(error)}

    return answer


def environment_of(label: dict[str, Any]) -> type[Environment]:
    """The environment that a label names. Raises UserError."""
    if not isinstance(name := label.get("environment"), str):
        raise UserError('the label names no environment; give {"environment": ...}')
    return get(name)


def _from_file(path: str) -> type[Environment]:
    sys.dont_write_bytecode = True  # a check leaves nothing beside the user's file
    spec = importlib.util.spec_from_file_location("environment_file", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    found: type[Environment] = module.AgentExecutor.environment
    return found


def _play(environment: Environment, task: dict[str, Any]) -> dict[str, Any]:
    messages = environment.messages(task["prompt"])
    for event in task["events"]:
        if "calls" in event:
            environment.run(event["calls"])
        else:
            environment.reply(event["said"])
    if task["ask"] == "open":
        return {"messages": messages, "tools": environment.tools()}
    if task["ask"] == "reward":
        return {"reward": environment.reward(answer_text(task["text"]))}
    return _step(environment, task["text"], task["form"])


def _step(environment: Environment, text: str, form: str) -> dict[str, Any]:
    functions = [tool["function"] for tool in environment.tools()]
    offered = {function["name"] for function in functions}
    calls = step_calls(text, official=False, chosen=form, functions=functions)
    if calls:
        results = environment.run(calls)
        if sum(map(len, results)) > MAX_RESULT_CHARS:
            return {"reason": "results longer than any context"}
        return {"calls": calls, "results": results, "unread": unknown_function(map(called, calls), offered)}
    said, unread = answer_text(text), why_unread(text, offered, form)
    return {"calls": [], "said": said, "unread": unread, "messages": environment.reply(said)}


def called(call: str) -> str:
    """The name of the function in a call as text."""
    return call.partition("(")[0].strip()


def plain_label(label: Any) -> dict[str, Any]:
    """A row's label, a JSON object or its text. Raises UserError."""
    try:
        found = json.loads(label) if isinstance(label, str) else label
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(
            "a label of the tool agent is a JSON object, the environment's task; check data.label_key"
        )
    return found

"""bfcl-eval's own handler for OpenAI-compatible servers, with scripted answers. Loaded by path.

It evaluates the calls of an answer: only for answers made in tests.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import json
import sys
import types
from typing import Any

from dipo_eval.grading.calls import bfcl

Asked = list[tuple[list[dict[str, Any]], list[dict[str, Any]] | None]]


def script(gold: list[list[str]], *, native: bool) -> list[list[str]]:
    """For each turn the messages of a model that makes the gold calls, all of a turn in one message."""
    write = native_text if native else prompt_text
    return [[*([write(calls)] if calls else []), "Done."] for calls in gold]


def prompt_text(calls: list[str]) -> str:
    return f"[{', '.join(calls)}]"


def native_text(calls: list[str]) -> str:
    return "\n".join(f"<tool_call>\n{json.dumps(as_data(call))}\n</tool_call>" for call in calls)


def as_data(call: str) -> dict[str, Any]:
    node = ast.parse(call.strip(), mode="eval").body
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    assert not node.args
    given = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    return {"name": node.func.id, "arguments": given}


def official_requests(category: str, item_id: str, *, native: bool) -> Asked:
    """All requests, messages and tools, that bfcl-eval sends while a model makes the gold calls."""
    _stand_in_for_overrides()
    handlers = bfcl.module("bfcl_eval.model_handler.api_inference.openai_completion")
    utils = bfcl.module("bfcl_eval.utils")
    entry = next(row for row in utils.load_dataset_entry(category) if row["id"] == item_id)
    texts = [
        text for turn in script(bfcl.item(category, item_id)["ground_truth"], native=native) for text in turn
    ]
    asked: Asked = []
    count = 0

    def answer(**request: Any) -> Any:
        nonlocal count
        asked.append((copy.deepcopy(request["messages"]), request.get("tools")))
        text = texts.pop(0)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if native and "<tool_call>" in text:
            blocks = [block.split("</tool_call>")[0] for block in text.split("<tool_call>")[1:]]
            message = {"role": "assistant", "content": "", "tool_calls": []}
            for block in blocks:
                call = json.loads(block)
                function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
                message["tool_calls"].append(
                    {"id": f"call{count:05d}", "type": "function", "function": function}
                )
                count += 1
        return _Reply(message), 0.0

    handler = handlers.OpenAICompletionsHandler("m", 0.0, "m", native)
    handler.generate_with_backoff = answer
    store = vars(bfcl.module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils"))
    before = set(store)
    with contextlib.redirect_stdout(io.StringIO()):
        handler.inference(entry, False, True)
    for name in set(store) - before:  # it keeps environments by model and case
        del store[name]
    assert not texts
    return asked


class _Message(dict[str, Any]):
    """A message as the client's library has it: with attributes."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        value = self[name]
        if isinstance(value, list):
            return [_Message(one) for one in value]
        return _Message(value) if isinstance(value, dict) else value


class _Reply:
    def __init__(self, message: dict[str, Any]) -> None:
        self.choices = [types.SimpleNamespace(message=_Message(message))]
        self.usage = types.SimpleNamespace(prompt_tokens=0, completion_tokens=0)


def _stand_in_for_overrides() -> None:
    """A package of decorators that change nothing here, and that is not installed."""
    if "overrides" not in sys.modules:
        made = types.ModuleType("overrides")
        made.__dict__["final"] = lambda function: function
        sys.modules["overrides"] = made

"""Calls in each form as vLLM's own tool parsers read them, an independent reader of the same text."""

from __future__ import annotations

import json
import logging
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.grading.calls.bfcl import Language
from dipo_eval.grading.calls.chosen_form import CALL_FORMS
from dipo_eval.grading.calls.native_forms import typed
from dipo_eval.grading.calls.read import read_answer
from dipo_eval.grading.calls.unread import UnreadableError
from dipo_openrlhf.rehearse.tokenizer import build_tokenizer

parsers = pytest.importorskip("vllm.tool_parsers", reason="vLLM has no tool parsers here")
W = runpy.run_path(str(Path(__file__).with_name("written_forms.py")))
MARKS = (
    "<tool_call>", "</tool_call>", "<|python_tag|>", W["SEP"], W["BEGIN"], W["END"], W["ALL_BEGIN"], W["ALL_END"],
    "[TOOL_CALLS]", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>",
    "<|tool_call_end|>", "<|tool_call_argument_begin|>", "<minimax:tool_call>", "</minimax:tool_call>", "<tool_calls>",
    "</tool_calls>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<think>", "</think>",
)  # fmt: skip
AROUND = {"alone": "{}", "after text": "I look it up.\n{}", "before text": "{}\nDone."}
Found = list[tuple[str, dict[str, Any]]] | None
DIFFERENT = {
    # Ours alone reads these.
    ("granite", "after text"): "vLLM demands the mark at the start",
    ("functiongemma", "one call"): "vLLM 0.29 loses what is no text",
    ("functiongemma", "nested arguments"): "the same",
    ("functiongemma", "parallel"): "the same",
    ("phi4_mini_json", "nested arguments"): "vLLM 0.29 ends the list at its first bracket",
    ("phi4_mini_json", "parallel"): "the same",
    ("internlm", "parallel"): "vLLM reads one call a message",
    # vLLM alone reads these: text around JSON without an end mark, which the templates never write.
    ("llama3_json", "after text"): "vLLM looks for JSON anywhere",
    ("llama3_json", "before text"): "the same",
    ("phi4_mini_json", "after text"): "vLLM looks for the mark anywhere",
    ("phi4_mini_json", "before text"): "the same",
    ("mistral", "before text"): "vLLM ends at the end of the JSON",
}
"""(form, message or what is around it) that the two read differently."""
NO_PARSER = {"openai"}  # GptOssToolParser reads tokens, and says so


@pytest.fixture(scope="module")
def request_() -> Iterator[Any]:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    tools = [{"type": "function", "function": function} for function in W["FUNCTIONS"]]
    logging.disable(logging.CRITICAL)  # it logs what it cannot read
    yield ChatCompletionRequest(model="m", messages=[{"role": "user", "content": "?"}], tools=tools)
    logging.disable(logging.NOTSET)


def ours(name: str, text: str) -> Found:
    try:
        calls = typed(read_answer(text, Language.PYTHON, name), W["FUNCTIONS"])
    except UnreadableError:
        return None
    return [pair for call in calls for pair in call.items()]


def vllms(name: str, text: str, request: Any) -> Found:
    tokenizer = build_tokenizer(["<tool_call> weather"], 100_000)
    tokenizer.add_tokens(list(MARKS), special_tokens=True)
    try:
        parser = parsers.ToolParserManager.get_tool_parser(name)(tokenizer, request.tools)
        found = parser.extract_tool_calls(text, request)
    except ValueError:
        return None
    called = [one.function for one in found.tool_calls]
    return [(one.name, json.loads(one.arguments)) for one in called] if found.tools_called else None


@pytest.mark.parametrize("name", [name for name in CALL_FORMS if name not in NO_PARSER])
def test_vllm_reads_the_same_calls(name: str, request_: Any) -> None:
    for case, calls in W["MESSAGES"].items():
        for where, around in AROUND.items():
            text = around.replace("{}", W["WRITTEN"][name](calls))
            mine, other = ours(name, text), vllms(name, text, request_)
            if (name, case) not in DIFFERENT and (name, where) not in DIFFERENT:
                assert mine == other, (case, where)
            if where == "alone":
                assert mine == calls
            elif name == "pythonic":
                assert mine is other is None  # a list of calls is the whole message


@pytest.mark.parametrize(("name", "what"), DIFFERENT)
def test_the_differences_are_there(name: str, what: str, request_: Any) -> None:
    case = what if what in W["MESSAGES"] else "parallel" if name == "mistral" else "one call"
    text = AROUND.get(what, "{}").replace("{}", W["WRITTEN"][name](W["MESSAGES"][case]))
    assert ours(name, text) != vllms(name, text, request_)

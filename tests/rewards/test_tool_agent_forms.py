"""Which calls of a message an episode reads, by the form that is chosen, and what it counts where it reads none."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading.calls.unread import Unread
from dipo_openrlhf.rewards.call_form import CALL_FORM
from dipo_openrlhf.rewards.episode import Episodes
from dipo_openrlhf.rewards.tool_template import ToolTemplate

T = runpy.run_path(str(Path(__file__).with_name("tool_episodes.py")))
call, play, tokenizer = T["call"], T["play"], T["tokenizer"]
LABEL = json.dumps({"environment": "pantry", "stock": {"rice": 2}, "wanted": {"rice": 5, "salt": 1}})
RIGHT = [call("add", item="rice", jars=3) + "\n" + call("add", item="salt", jars=1), "Done."]


@pytest.fixture(scope="module")
def episodes() -> Iterator[Episodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CALL_FORM, "any")
        made = Episodes()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("<think> I should call add", "unfinished_thought"),
        ('<tool_call>{"name": "add", "arguments": {"item": "rice"', "unfinished_call"),
        ("[TOOL_CALLS]add{", "unfinished_call"),
        ("<tool_call>{'name' = 'add'}</tool_call>", "invalid_json"),
        ('<tool_call>{"arguments": {}}</tool_call>', "no_name"),
        ('<tool_call>{"name": "add", "arguments": [1]}</tool_call>', "arguments_not_an_object"),
        ("<tool_call>[7]</tool_call>", "broken_call"),
        ("I will do add(item='salt', jars=1", "call_in_other_text"),
        ("Sorry, I cannot.", ""),
        ("", ""),
    ],
)
def test_why_a_call_could_not_be_read(episodes: Episodes, message: str, reason: str) -> None:
    result, _ = play(episodes, [message], LABEL)
    assert unread(result) == ({reason: 1.0} if reason else {})
    assert (result["extra_logs"]["episode/ended/answer"], result["scores"]) == (1.0, 0.0)


def unread(result: dict[str, Any]) -> dict[str, float]:
    """The reasons that an episode counts, with their numbers."""
    logs = {why.value: result["extra_logs"][f"calls/unread/{why.value}"] for why in Unread}
    return {why: number for why, number in logs.items() if number}


def test_a_call_of_an_unknown_function_is_answered_and_counted(episodes: Episodes) -> None:
    result, engine = play(episodes, [call("fill") + call("count", item="rice"), *RIGHT], LABEL)
    assert "name 'fill' is not defined" in engine.tokenizer.decode(engine.prompts[1])
    assert (unread(result), result["extra_logs"]["episode/calls"]) == ({"unknown_function": 1.0}, 4.0)
    assert result["reward"] == 1.0


@pytest.mark.parametrize(
    ("named", "template", "read", "refused"),
    [
        ("auto", "QWEN", call("count", item="rice"), "[count(item='rice')]"),
        ("auto", "MISTRAL", '[TOOL_CALLS][{"name": "count", "arguments": {"item": "rice"}}]', call("count", item="rice")),
        ("auto", "LLAMA", "[count(item='rice')]", None),  # its name of a function is not shown: nothing can be told
        ("auto", "LLAMA", call("count", item="rice"), None),
        ("pythonic", "QWEN", "[count(item='rice')]", call("count", item="rice")),
        ("any", "MISTRAL", call("count", item="rice"), None),
        ("qwen3_coder", "QWEN", "<tool_call><function=count>\n<parameter=item>\n7\n</parameter></function></tool_call>",
         call("count", item="rice")),
    ],
)  # fmt: skip
def test_the_form_of_calls_is_the_templates_or_the_one_named(
    monkeypatch: pytest.MonkeyPatch, named: str, template: str, read: str, refused: str | None
) -> None:
    monkeypatch.setenv(CALL_FORM, named)
    episodes, used = Episodes(), tokenizer(T[template])
    result, _ = play(episodes, [read, "Two."], LABEL, with_tokenizer=used)
    logs = result["extra_logs"]
    # Also a text that looks like a number: a value of a form without types is what the tool declares.
    assert (logs["episode/calls"], logs["episode/tool_errors"], unread(result)) == (1.0, 0.0, {})
    if refused is not None:
        result, _ = play(episodes, [refused], LABEL, with_tokenizer=used)
        assert (result["extra_logs"]["episode/calls"], unread(result)) == (0.0, {"call_in_other_form": 1.0})
        assert result["extra_logs"]["episode/ended/answer"] == 1.0
    episodes.close()


def test_the_form_of_qwens_template_is_found() -> None:
    found = {name: ToolTemplate(tokenizer(T[name])).call_form for name in ("QWEN", "LLAMA", "MISTRAL")}
    assert found == {"QWEN": "hermes", "LLAMA": "any", "MISTRAL": "mistral"}


def test_a_form_that_does_not_exist_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CALL_FORM, "hermes2")
    with pytest.raises(
        UserError, match=r"^DIPO_CALL_FORM='hermes2': no form of calls; one of auto, any, hermes, "
    ):
        Episodes()

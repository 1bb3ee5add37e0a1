"""The form of calls that is chosen: each is read, the others are not, and the reason why not has a name."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.grading import grade_calls
from dipo_eval.grading.calls.bfcl import Language
from dipo_eval.grading.calls.chosen_form import ANY, CALL_FORMS, taught_by
from dipo_eval.grading.calls.messages import step_calls
from dipo_eval.grading.calls.native_forms import typed
from dipo_eval.grading.calls.read import read_answer
from dipo_eval.grading.calls.unread import Unread, UnreadableError
from dipo_eval.grading.calls.why_unread import unknown_function, why_unread

W = runpy.run_path(str(Path(__file__).with_name("written_forms.py")))
WRITTEN, FUNCTIONS, MESSAGES = W["WRITTEN"], W["FUNCTIONS"], W["MESSAGES"]
NAMES = {function["name"] for function in FUNCTIONS}
MARKED = [name for name in CALL_FORMS if name not in ("llama3_json", "pythonic", "phi4_mini_json")]
"""Forms with a mark, which text may stand before."""


def read(text: str, chosen: str) -> list[Any]:
    calls = typed(read_answer(text, Language.PYTHON, chosen), FUNCTIONS)
    return [pair for call in calls for pair in call.items()]


def test_every_name_is_tested() -> None:
    assert WRITTEN.keys() == CALL_FORMS.keys()


@pytest.mark.parametrize("case", MESSAGES)
@pytest.mark.parametrize("name", CALL_FORMS)
def test_a_form_is_read_where_it_is_chosen_and_where_any_is(name: str, case: str) -> None:
    calls = MESSAGES[case]
    text = WRITTEN[name](calls)
    thought = f"<think>\nI could call [get_time()] or {text}.\n</think>\n\n"
    if name == "openai":  # whose thoughts are a channel
        thought = "<|channel|>analysis<|message|>I could call [get_time()].<|end|><|start|>assistant"
    for given in (text, thought + text, *([f"I look it up.\n{text}"] if name in MARKED else [])):
        assert read(given, name) == read(given, ANY) == calls
        written = step_calls(given, official=False, chosen=name, functions=FUNCTIONS)  # the executor's
        assert written == [W["python"](call) for call in calls]
    assert read(thought, name) == []


@pytest.mark.parametrize("name", CALL_FORMS)
def test_a_call_in_another_form_is_unread_and_named(name: str) -> None:
    text = WRITTEN[name](MESSAGES["parallel"])
    others = [other for other, rows in CALL_FORMS.items() if not set(rows) & set(CALL_FORMS[name])]
    assert len(others) >= len(CALL_FORMS) - 2
    for other in others:
        with pytest.raises(UnreadableError) as raised:
            read(text, other)
        assert raised.value.why is Unread.OTHER_FORM
        assert step_calls(text, official=False, chosen=other) == []
        assert why_unread(text, NAMES, other) is Unread.OTHER_FORM
        verdict = grade_calls(text, [], FUNCTIONS, category="irrelevance", form=other)
        assert verdict.status == "wrong"  # no abstention either


GOOD = '{"name": "weather", "arguments": {"city": "Rome"}}'


@pytest.mark.parametrize(
    ("text", "chosen", "why"),
    [
        ("<think>weather", ANY, Unread.UNFINISHED_THOUGHT),
        (f"<tool_call>{GOOD}", ANY, Unread.UNFINISHED_CALL),
        (f"<tool_call>{GOOD[:-9]}</tool_call>", ANY, Unread.UNFINISHED_CALL),
        (f"[TOOL_CALLS][{GOOD[:-9]}", ANY, Unread.UNFINISHED_CALL),
        ('[TOOL_CALLS]weather{"city": "Ro', ANY, Unread.UNFINISHED_CALL),
        ("<function=weather><parameter=city>Rome", ANY, Unread.UNFINISHED_CALL),
        (f"<tool_call>{GOOD.replace(':', '=', 1)}</tool_call>", ANY, Unread.INVALID_JSON),
        (f"<tool_call>{GOOD[:-1]}, }}</tool_call>", "hermes", Unread.INVALID_JSON),
        ('[TOOL_CALLS]weather{"city": Rome}', ANY, Unread.INVALID_JSON),
        ('<tool_call>{"arguments": {"city": "Rome"}}</tool_call>', ANY, Unread.NO_NAME),
        ('<tool_call>{"name": 7, "arguments": {}}</tool_call>', ANY, Unread.NO_NAME),
        ("<function=>{}</function>", ANY, Unread.NO_NAME),
        ('<tool_call>{"name": "weather", "arguments": ["Rome"]}</tool_call>', ANY, Unread.NO_OBJECT),
        ('<tool_call>{"name": "weather", "arguments": "Rome"}</tool_call>', ANY, Unread.INVALID_JSON),
        ("Sure: weather(city='Rome')", ANY, Unread.OTHER_TEXT),
        ("Sure: [weather(city='Rome')]", "hermes", Unread.OTHER_TEXT),
        ("<tool_call>[7]</tool_call>", ANY, Unread.BROKEN),
        (f"Sure: {GOOD}", ANY, Unread.BROKEN),
        ("<tool_call>weather(city='Rome')</tool_call>", "hermes", Unread.INVALID_JSON),
        (f"[TOOL_CALLS][{GOOD[:-9]}", "hermes", Unread.OTHER_FORM),
        ("[weather(city='Rome')]", "hermes", Unread.OTHER_FORM),
        (GOOD, "hermes", Unread.OTHER_FORM),
        (f"```json\n{GOOD}\n```", "mistral", Unread.OTHER_FORM),
        ("It is sunny in Rome.", "hermes", None),
        ("I cannot, but weather(city='Rome') would be an example.", "hermes", None),
        ('{"answer": 7', "hermes", None),
        ("[1, 2]", "hermes", None),
        ("", "hermes", None),
    ],
)  # fmt: skip
def test_why_a_call_could_not_be_read(text: str, chosen: str, why: Unread | None) -> None:
    assert step_calls(text, official=False, chosen=chosen, functions=FUNCTIONS) == []
    assert why_unread(text, NAMES, chosen) is why


def test_an_unknown_function_is_named() -> None:
    assert unknown_function(["weather", "rain"], NAMES) is Unread.UNKNOWN_FUNCTION
    assert unknown_function(["weather"], NAMES) is None
    assert unknown_function(["rain"], set()) is None  # it is not known what was on offer


@pytest.mark.parametrize("name", CALL_FORMS)
def test_the_form_is_found_from_what_a_template_writes(name: str) -> None:
    def write(calls: list[dict[str, Any]]) -> str:
        functions = [call["function"] for call in calls]
        if name in ("hermes", "mistral") and isinstance(functions[0]["arguments"], dict):
            raise TypeError("this template takes arguments as text")
        arguments = [function["arguments"] for function in functions]
        given = [one if isinstance(one, dict) else json.loads(one) for one in arguments]
        named = [function["name"] for function in functions]
        return f"\n\n{WRITTEN[name](list(zip(named, given, strict=True)))}\n"

    assert taught_by(write) == name


def test_what_does_not_tell_a_form_reads_any() -> None:
    def refuse(calls: list[dict[str, Any]]) -> str:
        raise ValueError("no tool calls here")

    for write in (
        refuse,
        lambda calls: "",
        lambda calls: "probe_weather",
        lambda calls: json.dumps(calls[0]["id"]),
    ):
        assert taught_by(write) == ANY

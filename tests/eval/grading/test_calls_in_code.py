"""Strict reads calls written as code, with comments or a sentence around them, and what they say is still compared."""

from __future__ import annotations

import pytest

from dipo_eval.grading import grade_calls
from dipo_eval.grading.calls.unread import Unread
from dipo_eval.grading.calls.why_unread import why_unread

WEATHER = {
    "name": "get_weather",
    "parameters": {"type": "dict", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PARIS, ROME = "get_weather(city='Paris')", "get_weather(city='Rome')"
NAMED = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
GOLD = [{"get_weather": {"city": ["Paris"]}}]
BOTH = [*GOLD, {"get_weather": {"city": ["Rome"]}}]

ONE = {
    "a comment after": f"{PARIS}  # of France",
    "a comment after, in a fence": f"```python\n{PARIS}  # of France\n```",
    "a comment before": f"# The weather.\n{PARIS}",
    "a comment that is a call": f"{PARIS}\n# {ROME}",
    "a mark in the text": f"{PARIS.replace('Paris', '#Paris')}  # [1]",
    "printed": f"print({PARIS})  # of France",
    "over lines": "```python\n# The weather.\nget_weather(\n    city='Paris',  # of France\n)\n```",
    "a fence in tags": f"<tool_call>\n```json\n{NAMED}\n```\n</tool_call>",
    "a fence of code in tags": f"<tool_call>\n```python\n{PARIS}  # x\n```\n</tool_call>",
    "explained": f"{PARIS}\n\nThis returns the weather.",
    "explained at length": f"{PARIS}\n\nThis returns the weather.\n\nIt needs no unit, so none is given.",
    "announced": f"The function call is: {PARIS}",
    "announced a line before": f"Here is the function call:\n\n{PARIS}",
}
TWO = {
    "comments": f"# First\n{PARIS}\n# Then\n{ROME}",
    "comments in a fence": f"```python\n# First\n{PARIS}  # a\n\n# Then\n{ROME}  # b\n```",
    "a fence and prose": f"So:\n```python\n# First\n{PARIS}\n# Then\n{ROME}\n```\nThat is all.",
    "over lines": f"get_weather(\n    city='Paris',\n)\n{ROME}",
    "a list over lines": f"[\n    {PARIS},  # a\n    {ROME}  # b\n]",
    "fences in tags": f"<tool_call>\n```json\n{NAMED}\n```\n</tool_call>\n<tool_call>\n"
    f"{NAMED.replace('Paris', 'Rome')}\n</tool_call>",
    "explained": f"{PARIS}\n\n{ROME}\n\nThese return the weather.",
}
OTHER = {
    "an assignment": f"result = {PARIS}\nprint(result)",
    "an assignment after": f"{PARIS}\nresult = {ROME}",
    "a loop": f"for city in ['Paris']:\n    {PARIS}",
    "an import": f"import weather\n{PARIS}",
    "a comment alone": f"# {PARIS}",
    "a number": f"{PARIS}\n5",
    "a positional argument": "get_weather('Paris')  # of France",
    "prose on the next line": f"{PARIS}\nThis returns the weather.",
    "another call in the prose": f"{PARIS}\n\nOr was it {ROME}?",
    "JSON in the prose": f"{PARIS}\n\nOr {NAMED}",
    "a list in the prose": f"{PARIS}\n\nOr one of [1, 2].",
    "other words before": f"I would not use this call: {PARIS}",
    "an example": f"For example: {PARIS}",
    "words after an announced call": f"The function call is: {PARIS} or so.",
    "an open fence in tags": f"<tool_call>\n```json\n{NAMED}\n</tool_call>",
    "a broken fence in tags": '<tool_call>\n```json\n{"name": "get_weather"\n```\n</tool_call>',
}


@pytest.mark.parametrize("name", ONE)
def test_a_call_in_code_or_prose_is_read(name: str) -> None:
    gold = [{"get_weather": {"city": ["#Paris"]}}] if "#Paris" in ONE[name] else GOLD
    assert grade_calls(ONE[name], gold, [WEATHER], category="simple_python").reason == "equal"
    wrong = ONE[name].replace("Paris", "Lyon")
    assert grade_calls(wrong, gold, [WEATHER], category="simple_python").reason == "wrong value"
    wrong = ONE[name].replace("city", "town")
    assert grade_calls(wrong, gold, [WEATHER], category="simple_python").status == "wrong"
    assert grade_calls(ONE[name], [], [WEATHER], category="irrelevance").reason == "a call"


@pytest.mark.parametrize("name", TWO)
def test_calls_in_code_are_read(name: str) -> None:
    assert grade_calls(TWO[name], BOTH, [WEATHER], category="parallel").reason == "equal"
    assert grade_calls(TWO[name], GOLD, [WEATHER], category="simple_python").status == "wrong"
    wrong = TWO[name].replace("Rome", "Lyon")
    assert grade_calls(wrong, BOTH, [WEATHER], category="parallel").status == "wrong"


@pytest.mark.parametrize("name", OTHER)
def test_other_code_and_other_prose_is_not_read(name: str) -> None:
    verdict = grade_calls(OTHER[name], GOLD, [WEATHER], category="simple_python")
    assert verdict.status == "wrong"
    assert verdict.reason.startswith("no calls: ")


@pytest.mark.parametrize(
    "name", sorted(ONE.keys() - {"a comment before"})
)  # which is Python inside the brackets it adds
def test_compatible_reads_none_of_them(name: str) -> None:
    verdict = grade_calls(ONE[name], GOLD, [WEATHER], category="simple_python", mode="compatible")
    assert verdict.status == "wrong"


@pytest.mark.parametrize(
    "response",
    ["", "  ", "<think>x</think>", "<think>x</think>\n<|im_end|>", "x</think>", "<THINK>x</THINK>\n", "```\n```",
     "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|><|return|>"],
)  # fmt: skip
def test_an_empty_answer_is_no_call_whatever_was_thought(response: str) -> None:
    verdict = grade_calls(response, [], [WEATHER], category="irrelevance")
    assert (verdict.status, verdict.reason) == ("correct", "no call")
    assert grade_calls(response, GOLD, [WEATHER], category="simple_python").status == "wrong"
    assert grade_calls(response, [], [WEATHER], category="relevance").status == "wrong"
    assert why_unread(response, {"get_weather"}) is None


@pytest.mark.parametrize(
    "response",
    ["<think>x", "<think>x<|im_end|>", "<think>x</think><think>", "<think>", f"<think>{PARIS}", "analysisWe call it",
     "<|channel|>analysis<|message|>x", "<think>x</think", "<think>x</thinking>"],
)  # fmt: skip
def test_a_thought_without_an_end_is_no_abstention(response: str) -> None:
    verdict = grade_calls(response, [], [WEATHER], category="irrelevance")
    assert (verdict.status, verdict.reason) == ("wrong", "an unfinished thought")
    assert why_unread(response, {"get_weather"}) is Unread.UNFINISHED_THOUGHT

"""ToolRL's reward on cases computed by hand from the paper's formulas, and answers that are never paid.

R = R_format + 6 * score / maximum - 3, where the score is: shared over all names, then for each gold call shared over all
argument names plus the number of right values. One gold call of two arguments has the maximum 1 + (1 + 2) = 4.
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from dipo_openrlhf.rewards.function_call import reward_func

Call = dict[str, Any]
PROMPT = "<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\n"
ROME: Call = {"name": "weather", "parameters": {"city": "Rome", "days": 2}}
PARIS: Call = {"name": "weather", "parameters": {"city": "Paris", "days": 1}}
RAIN: Call = {"name": "rain", "parameters": {}}
BOOK: Call = {"name": "book", "parameters": {"who": {"name": "Li", "age": 3}, "seats": [1, [2, 3]]}}
ONE, TWO, OTHER, NESTED = [ROME], [ROME, PARIS], [ROME, RAIN], [BOOK]
NONE: list[Call] = []


def rewarded(response: str, label: Any) -> tuple[float, float]:
    found = reward_func([PROMPT + response], [PROMPT], [label])
    assert found["extra_logs"]["verifier/error"] == 0.0
    return found["rewards"], found["scores"]


def said(*calls: Any) -> str:
    lines = "\n".join(call if isinstance(call, str) else json.dumps(call) for call in calls)
    return f"<think> Hm. </think>\n<tool_call>\n{lines}\n</tool_call>"


def rome(**arguments: Any) -> dict[str, Any]:
    return {"name": "weather", "parameters": arguments}


def book(**changed: Any) -> dict[str, Any]:
    return {"name": "book", "parameters": {**BOOK["parameters"], **changed}}


CASES = [
    # One gold call: maximum 4.
    (ONE, said(ROME), "4", 1),
    (ONE, said({"name": "weather", "arguments": {"days": 2, "city": "Rome"}}), "4", 1),
    (ONE, said(rome(city="Rome", days=3)), "5/2", 0),  # 1 + 1 + 1 = 3
    (ONE, said(rome(city="Oslo", days=3)), "1", 0),  # 1 + 1 = 2
    (ONE, said(rome(city="Rome")), "7/4", 0),  # 1 + 1/2 + 1
    (ONE, said(rome(city="Rome", days=2, unit="C")), "7/2", 0),  # 1 + 2/3 + 2
    (ONE, said(rome()), "-1/2", 0),  # 1
    (ONE, said({**ROME, "name": "rain"}), "-2", 0),
    (ONE, said(rome(city="Rome", days="2")), "5/2", 0),
    (ONE, said(rome(city="Rome", days=2.0)), "4", 1),
    # Duplicated names: of one gold call, and of two, where the maximum is 7.
    (ONE, said(ROME, ROME), "13/4", 0),  # 1/2 + 3
    (TWO, said(ROME, PARIS), "4", 1),
    (TWO, said(PARIS, ROME), "4", 1),
    (TWO, said(ROME), "1", 0),  # 1/2 + 3
    (TWO, said(ROME, ROME), "16/7", 0),  # 1 + 3 + 1
    (TWO, said(ROME, PARIS, ROME), "26/7", 0),  # 2/3 + 3 + 3
    (TWO, said(ROME, RAIN), "6/7", 0),  # 1/3 + 3
    # A gold call without arguments: maximum 5.
    (OTHER, said(RAIN, ROME), "4", 1),
    (OTHER, said(RAIN), "-1/5", 0),  # 1/2 + 1
    # Nested arguments: maximum 4.
    (NESTED, said(book(who={"age": 3, "name": "Li"})), "4", 1),
    (NESTED, said(book(who={"name": "Li", "age": 4})), "5/2", 0),
    (NESTED, said(book(who={"name": "Li"})), "5/2", 0),
    (NESTED, said(book(seats=[[2, 3], 1])), "5/2", 0),
    # Malformed JSON.
    (ONE, said('{"name": "weather", "parameters": {"city": "Rome"'), "-2", 0),
    (ONE, said("{'name': 'weather', 'parameters': {'city': 'Rome', 'days': 2}}"), "-2", 0),
    (ONE, said(f"[{json.dumps(ROME)}]"), "-2", 0),
    (ONE, said(ROME).replace("</tool_call>", ""), "-3", 0),
    (ONE, "Rome is sunny.", "-3", 0),
    # Calls inside thoughts: the first pair of tags counts, and the form is broken.
    (ONE, f"<think>\n<tool_call>\n{json.dumps(ROME)}\n</tool_call>\n</think>", "3", 0),
    (ONE, f"<think> <tool_call> {json.dumps(RAIN)} </tool_call> </think>" + said(ROME), "-3", 0),
    (ONE, f"<think> {json.dumps(RAIN)}? No. </think>" + said(ROME).partition("</think>")[2], "4", 1),
    # No gold call: R_correct is 0.
    (NONE, "<think> No tool. </think>\n<response> Which city? </response>", "1", 1),
    (NONE, "<think> <tool_call>? No. </think>\n<response> Which city? </response>", "1", 1),
    (NONE, "Which city?", "0", 0),
    (NONE, said(ROME), "0", 0),
]


@pytest.mark.parametrize(("gold", "response", "reward", "score"), CASES)
def test_the_reward_is_the_one_computed_by_hand(gold: Any, response: str, reward: str, score: int) -> None:
    assert rewarded(response, {"gold": gold}) == (pytest.approx(float(Fraction(reward))), score)


def test_there_are_thirty() -> None:
    assert len(CASES) >= 30


WEATHER = {"name": "weather", "parameters": {"type": "dict", "properties": {"city": {"type": "string"}}}}
NEVER = [
    "", " \n", "[]", "...", "<think> I think", "<think> a </think>", "<think> a </think>\n", "[weather(",
    "weather(", "weather(city='Rome'", "[weather(city='Ro", '{"name": "weather", "argum', '{"name": "wea', "{",
    "<tool_call>", '<tool_call>{"name": "weather"', "<tool_call>{}</tool_call>", "[TOOL_CALLS]weather{", "[weather(city=",
    '<|python_tag|>{"name": ', "<|tool_call_begin|>functions.weather:0", "<invoke name=", "<function=weather>",
    "[weather(city='Rome')]", '{"name": "weather", "arguments": {"city": "Rome"}}', "<call>weather Rome", "```json\n{",
    'I will call {"name": "wea', "Sure: <tool_call>{", "Sorry.</tool_call>", "Sure. weather Rome</tool_call>",
    "Sure. <tool_call", "Sure. <tool_", "Sure. <function_calls><invoke>weather</invoke></function_calls>",
    "Sure. <tool_response>It rains.</tool_response>", "Sure: book_train(city='Rome')", "Sorry: book_train(city='Rome')",
    "Sure. </parameter>", "Sure. <|tool_call_end|>",
]  # fmt: skip
NAMED = [
    "weather", "`weather`.", "Sure: weather('Rome')", 'Sure: weather({"city": "Rome"})', "Sure: weather (city='Rome')",
    "Sure: functions.weather(city='Rome')", 'Sure. {"weather": {"city": "Rome"}}',
    'Sure. {"action": "weather", "input": "Rome"}',
]  # fmt: skip
"""Only what is on offer tells that these are calls; a label of ToolRL's form does not say it."""


@pytest.mark.parametrize("answer", NEVER)
def test_what_is_no_answer_is_never_paid(answer: str) -> None:
    reward, score = rewarded(answer, {"category": "irrelevance", "functions": [WEATHER], "gold": []})
    assert (reward < 0, score) == (True, 0.0)
    for response in (
        answer,
        f"<think> a </think>\n<response>{answer}</response>",
        f"<think> a </think>\n{answer}",
    ):
        reward, score = rewarded(response, {"gold": []})
        assert (reward <= 0, score) == (True, 0.0), response


@pytest.mark.parametrize("answer", NAMED)
def test_a_call_of_what_is_on_offer_is_never_paid(answer: str) -> None:
    label = {"category": "irrelevance", "functions": [WEATHER], "gold": []}
    assert rewarded(answer, label) == (-3.0, 0.0)


@pytest.mark.parametrize("answer", ["", "[]", "<think> I think", "</think>", "<tool_call></tool_call>"])
def test_silence_is_no_call_that_can_be_read(answer: str) -> None:
    for gold in ([{"weather": {"city": ["Rome"]}}], []):
        label = {"category": "simple_python", "functions": [WEATHER], "gold": gold}
        assert rewarded(answer, label) == (-3.0, 0.0)


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot book a train.",
        "None of the functions fits: weather() tells weather.",
        "Which city?",
        "Only weather is on offer, and f(x = 2) is 4.",
        "The weather (2 days) needs a city.",
    ],
)
def test_what_is_one_is_paid(answer: str) -> None:
    assert rewarded(answer, {"category": "irrelevance", "functions": [WEATHER], "gold": []}) == (4.0, 1.0)
    assert rewarded(f"<think> a </think>\n<response> {answer} </response>", {"gold": []}) == (1.0, 1.0)

"""Strict reads the forms in which models write calls by themselves, and takes no broken call for an abstention."""

from __future__ import annotations

import pytest

from dipo_eval.grading import grade_calls
from dipo_eval.grading.calls.strict import same_text

AREA = {
    "name": "area",
    "parameters": {
        "type": "dict",
        "properties": {"base": {"type": "integer"}, "unit": {"type": "string"}},
        "required": ["base"],
    },
}
GOLD = [{"area": {"base": [10], "unit": ["7"]}}]
JSON = '{"base": 10, "unit": "7"}'
NAMED = '{"name": "area", "arguments": {"base": 10, "unit": "7"}}'
PYTHON = "area(base=10, unit='7')"
FORMS = {
    "Llama": f"<function=area>{JSON}</function>",
    "Qwen3-Coder": "<tool_call>\n<function=area>\n<parameter=base>\n10\n</parameter>\n<parameter=unit>\n7\n</parameter>\n"
    "</function>\n</tool_call>",
    "GLM-4.5": "<tool_call>area\n<arg_key>base</arg_key>\n<arg_value>10</arg_value>\n<arg_key>unit</arg_key>\n"
    "<arg_value>7</arg_value>\n</tool_call>",
    "Claude": '<invoke name="area"><parameter name="base">10</parameter><parameter name="unit">7</parameter></invoke>',
    "Mistral": f"[TOOL_CALLS][{NAMED}]",
    "Mistral, later": f"[TOOL_CALLS]area[ARGS]{JSON}",
    "DeepSeek": "<\uff5ctool\u2581calls\u2581begin\uff5c><\uff5ctool\u2581call\u2581begin\uff5c>function"
    f"<\uff5ctool\u2581sep\uff5c>area\n```json\n{JSON}\n```<\uff5ctool\u2581call\u2581end\uff5c>",
    "Kimi": f"<|tool_call_begin|>functions.area:0<|tool_call_argument_begin|>{JSON}<|tool_call_end|>",
    "Harmony": f"<|channel|>commentary to=functions.area <|constrain|>json<|message|>{JSON}<|call|>",
    "Granite": f"<function_call> {NAMED}",
    "python_tag": f"<|python_tag|>{NAMED}<|eom_id|>",
    "functools": f"functools[{NAMED}]",
    "tags": f"<tool_calls>[{NAMED}]</tool_calls>",
    "xLAM": f'{{"tool_calls": [{NAMED}]}}',
    "GLM-4": f"area\n{JSON}",
    "ReAct": f"Thought: an area\nAction: area\nAction Input: {JSON}",
    "Raven": f"{PYTHON};",
    "printed": f"```tool_code\nprint({PYTHON})\n```",
    "a text in a list": f'["{PYTHON}"]',
    "a Python dict": "{'name': 'area', 'arguments': {'base': 10, 'unit': '7'}}",
    "keyed by name": f'[{{"area": {JSON}}}]',
    "a sentence before": f"Sure! [{PYTHON}]",
    "a sentence after": f"```python\n[{PYTHON}]\n```\nThis computes it.",
    "NexusRaven": f"Thought: an area\nCall: {PYTHON}<bot_end>\nThought: It calls area.",
    "Mistral, one mark": f"[TOOL_CALLS]area{JSON}",
    "Granite, unclosed": f"<tool_call>[{NAMED}]",
    "Hermes with Python": f"<tool_call>\n{PYTHON}\n</tool_call>",
    "Hermes with a Python dict": "<tool_call>{'name': 'area', 'arguments': {'base': 10, 'unit': '7'}}</tool_call>",
    "Llama's own tools": f"<|python_tag|>{PYTHON.replace('(', '.call(')}<|eom_id|>",
    "DeepSeek V3.2": '<\uff5cDSML\uff5cinvoke name="area">\n<\uff5cDSML\uff5cparameter name="base" string="false">10'
    '</\uff5cDSML\uff5cparameter>\n<\uff5cDSML\uff5cparameter name="unit" string="true">7</\uff5cDSML\uff5cparameter>\n'
    "</\uff5cDSML\uff5cinvoke>",
    "Gemma 4": '<|tool_call>call:area{base:10,unit:<|"|>7<|"|>}<tool_call|><turn|>',
    "Command A": '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "area", "parameters": {"base": 10, "unit": "7"}}]'
    "<|END_ACTION|>",
    "FunctionGemma": "<start_function_call>call:area{base:10,unit:<escape>7<escape>}<end_function_call>",
    "InternLM": f"<|action_start|><|plugin|>\n{NAMED}<|action_end|>",
    "tools tags": f"<tools>\n{NAMED}\n</tools>",
    "Qwen-Agent": f"\u273fFUNCTION\u273f: area\n\u273fARGS\u273f: {JSON}\n\u273fRESULT\u273f",
    "Harmony, recipient first": "<|start|>assistant to=functions.area<|channel|>commentary json"
    f"<|message|>{JSON}<|call|>",
    "Harmony without marks": f"analysisWe call it.assistantcommentary to=functions.area json{JSON}",
    "other keys": f'{{"action": "area", "action_input": {JSON}}}',
    "wrapped": f'{{"function_call": {NAMED}}}',
    "an end mark": f"[{PYTHON}]<|im_end|>",
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_read_with_the_declared_types(name: str) -> None:
    response = FORMS[name]
    assert grade_calls(response, GOLD, [AREA], category="simple_python").reason == "equal"
    assert (
        grade_calls(response.replace("10", "11"), GOLD, [AREA], category="simple_python").reason
        == "wrong value"
    )
    assert grade_calls(response, [], [AREA], category="irrelevance").status == "wrong"


@pytest.mark.parametrize(
    "name", ["Llama", "Qwen3-Coder", "GLM-4.5", "Claude", "DeepSeek", "Kimi", "Granite", "functools"]
)
def test_a_cut_form_is_no_call_and_no_abstention(name: str) -> None:
    response = FORMS[name][: FORMS[name].rindex("7")]
    verdict = grade_calls(response, GOLD, [AREA], category="simple_python")
    assert verdict.status == "wrong"
    assert verdict.reason.startswith("no calls: ")
    assert grade_calls(response, [], [AREA], category="irrelevance").reason == "a broken call"


@pytest.mark.parametrize("line", ["{}", "- {}", "1. {}", "print({})"])
def test_a_call_a_line(line: str) -> None:
    lines = [line.format(PYTHON), line.format("area(base=2)")]
    gold = [*GOLD, {"area": {"base": [2]}}]
    for text in ("\n".join(lines), "```python\n" + "\n".join(lines) + "\n```"):
        assert grade_calls(text, gold, [AREA], category="parallel").reason == "equal"
    assert grade_calls("\n".join([*lines, "So it is."]), gold, [AREA], category="parallel").status == "wrong"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("None of them fits.", "no call"),
        ("Please give me the base so that I can call area().", "no call"),
        ("I cannot, but area(base=3) would be an example.", "no call"),
        ("None of the functions in <tools> fits.", "no call"),
        ("Call: 555 1234 for help.", "no call"),
        ('{"action": "none"}', "no call"),
        ("Sure: area(base=3)", "a call in other text"),
        ("Sure: area (base=3)", "a call in other text"),
        ("Sure: area(3, 4)", "a call in other text"),
        ("Sure: area({'base': 3})", "a call in other text"),
        ("Sure: functions.area(base=3)", "a call in other text"),
        ("The area (3 by 4) has no function.", "no call"),
        ("Nothing.</tool_call>", "a broken call"),
        ('"area", {"base": 3}}</tool_call>', "a broken call"),
        ("Sure. <tool_call", "a broken call"),
        ("Sure. <function_calls><invoke>area</invoke></function_calls>", "a broken call"),
        ("Sure. area</function>", "a broken call"),
        ("area<|tool_call_end|>", "a broken call"),
        ("area[ARGS]3", "a broken call"),
        ('Sure. {"area": {"base": 3}', "a broken call"),
        ('Sure. {"action": "area", "input": 3}', "a broken call"),
        ('{"function": "area", "parameters": {"base": 3}', "a broken call"),
        ("<think>area?", "an unfinished thought"),
        ("<think>[area(base=3)]?</think>No.", "no call"),
    ],
)
def test_what_is_an_abstention(response: str, reason: str) -> None:
    verdict = grade_calls(response, [], [AREA], category="irrelevance")
    assert (verdict.reason, verdict.status) == (reason, "correct" if reason == "no call" else "wrong")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("x^3", "x**3", True), ("3x**2", "3*x**2", True), ("x**2 + 1", "x^2+1", True), ("x^2", "x2", False),
        ("x**2", "x**3", False), ("2*x", "2x", False), ("*.py", "*.py2", False), ("a^b", "b^a", False),
    ],
)  # fmt: skip
def test_one_formula_written_two_ways(left: str, right: str, same: bool) -> None:
    assert same_text(left, right) is same

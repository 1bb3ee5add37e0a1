"""The known defects of bfcl-eval 2026.3.23, each with its verdict recorded beside ours in both modes.

A row's official verdict is checked against the installed package, so that a repaired release shows.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.grading import grade_calls, grade_turns
from dipo_eval.grading.calls import bfcl

ANSWERS = runpy.run_path(str(Path(__file__).parents[1] / "bfcl_answers.py"))
TURNS = runpy.run_path(str(Path(__file__).parents[1] / "bfcl_turns.py"))
needs_bfcl = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")


def function(name: str = "f", required: tuple[str, ...] = (), **types: Any) -> dict[str, Any]:
    properties = {key: kind if isinstance(kind, dict) else {"type": kind} for key, kind in types.items()}
    return {
        "name": name,
        "parameters": {"type": "dict", "properties": properties, "required": list(required)},
    }


TEXT, PATH = function(x="string"), function(path="string")
NUMBERS = function(x={"type": "array", "items": {"type": "float"}})
TABLE = function(x={"type": "dict"})
PLACE = function(city="string", day="string")

# (what, category, functions, gold, response, official, strict)
CASES: list[tuple[str, str, list[dict[str, Any]], Any, Any, str, str]] = [
    ("greedy matching", "parallel", [PLACE],
     [{"f": {"city": ["Rome", "Paris"], "day": ["1"]}}, {"f": {"city": ["Rome"], "day": ["1"]}}],
     "[f(city='Rome', day='1'), f(city='Paris', day='1')]", "wrong", "correct"),
    ("a point lost", "simple_python", [TEXT], [{"f": {"x": ["3.14"]}}], "[f(x='314')]", "correct", "wrong"),
    ("a slash lost", "simple_python", [PATH], [{"f": {"path": ["/home/a/b"]}}], "[f(path='/home/ab')]",
     "correct", "wrong"),
    ("an underscore lost", "simple_python", [TEXT], [{"f": {"x": ["x_1"]}}], "[f(x='x1')]", "correct", "wrong"),
    ("a minus lost", "simple_python", [TEXT], [{"f": {"x": ["-5"]}}], "[f(x='5')]", "correct", "wrong"),
    ("a power lost", "simple_python", [TEXT], [{"f": {"x": ["x^2"]}}], "[f(x='x2')]", "correct", "wrong"),
    ("the same date", "simple_python", [TEXT], [{"f": {"x": ["April 1, 2024"]}}], "[f(x='april 1 2024')]",
     "correct", "correct"),
    ("True for 1 in a dict", "simple_python", [TABLE], [{"f": {"x": [{"a": [1]}]}}], "[f(x={'a': True})]",
     "correct", "wrong"),
    ("True for 1 in a deeper list", "simple_python", [TABLE], [{"f": {"x": [{"a": [[1, 2]]}]}}],
     "[f(x={'a': [True, 2]})]", "correct", "wrong"),
    ("a dict inside a dict", "simple_python", [TABLE], [{"f": {"x": [{"a": {"b": 1}}]}}],
     "[f(x={'a': {'b': 1}})]", "raises", "correct"),
    ("an empty list for an optional one", "simple_python", [NUMBERS], [{"f": {"x": [[1.5], ""]}}], "[f(x=[])]",
     "correct", "wrong"),
    ("a name for a text", "simple_python", [TEXT], [{"f": {"x": ["paris"]}}], "[f(x=paris)]", "correct", "wrong"),
    ("a call for a text", "simple_python", [TEXT], [{"f": {"x": ["g()"]}}], "[f(x=g())]", "correct", "wrong"),
    ("a positive number", "simple_python", [function(x="integer")], [{"f": {"x": [5]}}], "[f(x=+5)]",
     "wrong", "correct"),
    ("a complement", "simple_python", [function(x="integer")], [{"f": {"x": [-5]}}], "[f(x=~5)]",
     "correct", "wrong"),
    ("a positional argument", "simple_python", [TEXT], [{"f": {"x": ["a"]}}], "[f('b', x='a')]",
     "correct", "wrong"),
    ("a repeated argument", "simple_python", [TEXT], [{"f": {"x": ["a"]}}], "[f(x='b', x='a')]",
     "correct", "wrong"),
    ("no gold, no call", "parallel", [TEXT], [], "[]", "correct", "correct"),
    ("no gold, no call, one function", "multiple", [TEXT], [], "[]", "raises", "correct"),
    ("no gold, a call", "simple_python", [TEXT], [], "[f(x='a')]", "raises", "wrong"),
    ("an extra call", "parallel", [TEXT], [{"f": {"x": ["a"]}}], "[f(x='a'), f(x='a')]", "wrong", "wrong"),
    ("two golds of which one is compared", "multiple", [TEXT],
     [{"f": {"x": ["a"]}}, {"f": {"x": ["b"]}}], "[f(x='a'), f(x='c')]", "correct", "wrong"),
    ("a comma in a string of Java", "simple_java", [function(x={"type": "ArrayList", "items": {"type": "String"}})],
     [{"f": {"x": [["a,b"]]}}], '[f(x=new ArrayList<>(Arrays.asList("a,b")))]', "wrong", "correct"),
    ("quotes in an array of Java", "simple_java", [function(x={"type": "Array", "items": {"type": "String"}})],
     [{"f": {"x": [["a", "b"]]}}], '[f(x=new String[]{"a", "b"})]', "wrong", "correct"),
    ("the body of a map of Java", "simple_java", [function(x="HashMap")], [{"f": {"x": [{"k": ["v"]}]}}],
     '[f(x=new HashMap<String, String>() {{ put("k", "v"); }})]', "wrong", "correct"),
    ("letters of two bytes in Java", "simple_java", [function(x="String", y="any")],
     [{"f": {"x": ["\u00e9t\u00e9"], "y": ["name"]}}], '[f(x="\u00e9t\u00e9", y=name)]', "wrong", "correct"),
    ("a long without its suffix", "simple_java", [function(x="long")], [{"f": {"x": [5]}}], "[f(x=5)]",
     "wrong", "correct"),
    ("a comma in a string of JavaScript", "simple_javascript",
     [function(x={"type": "array", "items": {"type": "String"}})],
     [{"f": {"x": [["a,b"]]}}], '[f(x=["a,b"])]', "wrong", "correct"),
    ("a fence with a language", "simple_python", [TEXT], [{"f": {"x": ["a"]}}], "```python\n[f(x='a')]\n```",
     "wrong", "correct"),
    ("a native call", "simple_python", [TEXT], [{"f": {"x": ["a"]}}],
     '<think>f?</think>\n<tool_call>\n{"name": "f", "arguments": {"x": "a"}}\n</tool_call>', "wrong", "correct"),
    ("a call in a sentence", "irrelevance", [TEXT], [], "Sure: f(x='a')", "correct", "wrong"),
    ("a call that lacks a bracket", "irrelevance", [TEXT], [], "[f(x='a'", "correct", "wrong"),
    ("a refusal", "irrelevance", [TEXT], [], "I cannot do that.", "correct", "correct"),
    ("an invented function", "live_relevance", [TEXT], [], "[g(x='a')]", "correct", "wrong"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_ours_beside_the_official_verdict(case: tuple[Any, ...]) -> None:
    _, category, functions, gold, response, official, strict = case
    compatible = grade_calls(response, gold, functions, category=category, mode="compatible")
    assert compatible.status == ("correct" if official == "correct" else "wrong")
    assert grade_calls(response, gold, functions, category=category).status == strict


@needs_bfcl
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_the_official_verdict_is_as_recorded(case: tuple[Any, ...]) -> None:
    _, category, functions, gold, response, official, _ = case
    item = {"function": functions, "ground_truth": gold}
    assert ANSWERS["official"](response, item, category) == official


@needs_bfcl
def test_a_call_that_is_a_plain_text_raises_in_the_checker() -> None:
    checker = bfcl.module("bfcl_eval.eval_checker.ast_eval.ast_checker")
    language = bfcl.module("bfcl_eval.constants.enums").Language.PYTHON
    gold = [{"f": {"x": ["a"]}}]
    with pytest.raises(TypeError):
        checker.ast_checker([TEXT], ["f(x='a')"], gold, language, "simple_python", "model")
    for mode in ("compatible", "strict"):
        assert grade_calls(["f(x='a')"], gold, [TEXT], category="simple_python", mode=mode).status == "wrong"  # type: ignore[list-item, arg-type]


@needs_bfcl
def test_a_second_run_in_one_process_fails_in_the_official_checker() -> None:
    case = next(
        one
        for one in bfcl.items("multi_turn_base")
        if any("mkdir" in c for t in one["ground_truth"] for c in t)
    )
    turns = [[[call] for call in calls] for calls in case["ground_truth"]]
    checker = bfcl.module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker").multi_turn_checker
    store = vars(bfcl.module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils"))
    before = set(store)
    arguments = (turns, case["ground_truth"], case, "multi_turn_base", "stale")
    broken = [[["pwd()"], *turns[0], ["mkdir(dir_name='left_over')"]], *turns[1:]]
    assert not checker(broken, *arguments[1:])["valid"]
    assert not checker(*arguments)["valid"]  # right, but on the instances that the first run left behind
    for name in set(store) - before:
        del store[name]
    for turns_now, status in ((broken, "wrong"), (turns, "correct")):
        assert grade_turns(turns_now, case["ground_truth"], case, mode="compatible").status == status


@needs_bfcl
def test_a_method_named_in_a_text_is_rewritten_by_the_official_checker() -> None:
    case = dict(bfcl.items("multi_turn_base")[0])
    calls = ["touch(file_name='note.txt')", "echo(content='call ls() first', file_name='note.txt')"]
    gold = case["ground_truth"] = [calls]
    turns = [[calls]]
    assert TURNS["official"](case, turns) == "wrong"
    assert grade_turns(turns, gold, case, mode="compatible").status == "wrong"
    assert grade_turns(turns, gold, case).status == "correct"


@needs_bfcl
def test_a_state_left_by_a_turn_without_gold_calls() -> None:
    case = dict(bfcl.items("multi_turn_base")[0])
    gold = case["ground_truth"] = [["pwd()"], []]
    turns = [[["pwd()"]], [["mkdir(dir_name='more')"]]]
    assert TURNS["official"](case, turns) == "correct"
    assert grade_turns(turns, gold, case, mode="compatible").status == "correct"
    assert grade_turns(turns, gold, case).reason == "turn 1: state of GorillaFileSystem"

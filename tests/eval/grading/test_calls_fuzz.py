"""Hostile and random answers: no exception, no hang, nothing of the model's text executed."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dipo_eval.grading import grade_calls, grade_turns
from dipo_eval.grading.calls import bfcl

ANSWERS = runpy.run_path(str(Path(__file__).parents[1] / "bfcl_answers.py"))
needs_bfcl = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")
TYPES = [
    "string",
    "integer",
    "float",
    "boolean",
    "array",
    "tuple",
    "dict",
    "any",
    "String",
    "ArrayList",
    "HashMap",
]
CATEGORIES = (
    "simple_python",
    "simple_java",
    "simple_javascript",
    "parallel",
    "irrelevance",
    "live_relevance",
)
MODES: tuple[Any, ...] = ("strict", "compatible")

WORDS = """f( g( x= y= , ) [ ] { } ' " \\ 1 -1 2.5 1e999 True None true null lambda: not * ** + % f'{x}' b'' ... : := .
    ; # == new HashMap<>(){{put( } }} int[]{ Arrays.asList( => `${ <tool_call> </tool_call> {"name":"f","arguments":{
    <think> </think> ``` \u00e9 __import__('os') .system( 9**9**9"""
SCRAPS = st.sampled_from([*WORDS.split(), " ", "\n", "\t", "\x00", "\ud800"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=True)
    | st.sampled_from(["", "a", "A b", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=6,
)
TEXTS = st.lists(SCRAPS, max_size=25).map("".join) | st.text(max_size=60)


def functions(kind: str) -> list[dict[str, Any]]:
    schema = {"type": kind, "items": {"type": "string"}}
    return [{"name": "f", "parameters": {"type": "dict", "properties": {"x": schema}, "required": ["x"]}}]


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("examples", [1_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_random_text_never_raises(examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(TEXTS, st.sampled_from(CATEGORIES), st.sampled_from(TYPES), st.lists(VALUES, max_size=3))
    def never_raises(text: str, category: str, kind: str, allowed: list[Any]) -> None:
        for response in (text, f"[f(x={text})]"):
            for mode in MODES:
                gold = [{"f": {"x": allowed}}]
                verdict = grade_calls(response, gold, functions(kind), category=category, mode=mode)
                assert verdict.status in ("correct", "wrong", "undecided")

    never_raises()


@needs_bfcl
@settings(max_examples=1000, deadline=None)
@given(VALUES, st.sampled_from(TYPES), st.lists(VALUES, max_size=3), st.booleans())
def test_random_values_get_the_official_verdict(
    value: Any, kind: str, allowed: list[Any], twice: bool
) -> None:
    category = "parallel" if twice else "simple_python"
    calls = [{"f": {"x": value}}] * (2 if twice else 1)
    gold = [{"f": {"x": allowed}}] * (2 if twice else 1)
    item = {"function": functions(kind), "ground_truth": gold}
    theirs = ANSWERS["official"](calls, item, category)
    ours = grade_calls(calls, gold, functions(kind), category=category, mode="compatible")
    assert (ours.status == "correct") is (theirs == "correct")
    grade_calls(calls, gold, functions(kind), category=category)


HEADS = [
    "new ArrayList<>(Arrays.asList(",
    "new ArrayList<>(){{",
    "new int[]{",
    "new HashMap<>(){{",
    "[",
    "{",
    "new Array(",
]
PIECES = ["add(1); ", 'put("a", 1); ', "[1, 2], ", "a: 1, ", "'x, y', ", '"b"', "true", "2.5f", "3L", "7n", " ", "\n",
          ")", "}", "}}", "]", "[[", "]]", ",", ":", "null"]  # fmt: skip
SOURCE_TYPES = {
    "simple_java": [
        "integer",
        "long",
        "float",
        "double",
        "boolean",
        "char",
        "Array",
        "ArrayList",
        "HashMap",
        "String",
        "any",
    ],
    "simple_javascript": ["integer", "float", "Bigint", "Boolean", "array", "dict", "String", "any"],
}


@needs_bfcl
@pytest.mark.parametrize("category", sorted(SOURCE_TYPES))
@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(["", *HEADS]), st.lists(st.sampled_from(PIECES), max_size=7).map("".join), st.data())
def test_source_text_becomes_the_official_value(
    category: str, head: str, rest: str, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(SOURCE_TYPES[category]))
    nested = data.draw(st.sampled_from(["any", "String", "integer", "float"]))
    allowed = data.draw(st.lists(VALUES, max_size=2))
    schema = {"type": kind, "items": {"type": nested}}
    described = [{"name": "f", "parameters": {"properties": {"x": schema}, "required": ["x"]}}]
    gold = [{"f": {"x": allowed}}]
    calls = [{"f": {"x": head + rest}}]
    convert = bfcl.module(
        "bfcl_eval.eval_checker.ast_eval.type_convertor."
        + ("java_type_converter" if category == "simple_java" else "js_type_converter")
    )
    original = getattr(convert, "java_type_converter" if category == "simple_java" else "js_type_converter")
    value = original(head + rest, kind, nested if kind in ("Array", "ArrayList", "array") else None)
    gold[0]["f"]["x"].append(value)
    item = {"function": described, "ground_truth": gold}
    theirs = ANSWERS["official"](calls, item, category)
    ours = grade_calls(calls, gold, described, category=category, mode="compatible")
    assert (ours.status == "correct") is (theirs == "correct")
    grade_calls(calls, gold, described, category=category)


LONG = {
    "ten megabytes": "a" * 10_000_000,
    "ten megabytes in a call": "[f(x='" + "a" * 10_000_000 + "')]",
    "brackets": "[" * 100_000,
    "brackets in a call": "[f(x=" + "[" * 5_000 + "]" * 5_000 + ")]",
    "braces": '{"name": "f", "arguments": ' + '{"a":' * 20_000 + "1" + "}" * 20_000 + "}",
    "calls": "f(x=" * 20_000 + "1" + ")" * 20_000,
    "minus": "[f(x=" + "-" * 90_000 + "1)]",
    "sum": "[f(x=" + "1+" * 45_000 + "1)]",
    "attributes": "[f(x=a" + ".b" * 40_000 + ")]",
    "lambdas": "[f(x=" + "lambda:" * 10_000 + "1)]",
    "power": "[f(x=9**9**9**9)]",
    "shift": "[f(x=1<<10**12)]",
    "repetition": "[f(x='a'*10**12)]",
    "format": "[f(x='%1000000000d' % 1)]",
    "digits": "[f(x=" + "9" * 50_000 + ")]",
    "many calls": "[" + "f(x=1)," * 10_000 + "]",
    "fences": "```\n" * 100_000,
    "open thoughts": "<think>" * 100_000,
    "closed thoughts": "</think>" * 100_000,
    "tool calls": "<tool_call>" * 100_000,
    "blanks": "[f(x=1)" + " " * 99_000 + "]",
    "arrows": "x=>" * 6_600,
    "fewer arrows": "x=>" * 490,
    "assignments": "&a=" * 490,
    "closed brackets": "+)" * 740,
    "quotes": '"' * 1_450,
    "ternaries": "[f(x=" + "a ? b : " * 180 + "c)]",
    "map of blanks": "[f(x=new HashMap<>() {{" + " " * 900 + "put(1)]",
    "rows": "[f(x=[[" + "],[" * 300 + ")]",
    "names": 'f({"name": ' * 9_000,
    "long lists": "[f(x=[" + "[0]*9999," * 11_000 + "])]",
    "short lists": "[f(x=[" + "[0]*999," * 12_000 + "])]",
    "a key to hash": "[f(x={(((0,)*999,)*999,)*999: 1})]",
}


@pytest.mark.parametrize("name", sorted(LONG))
@pytest.mark.parametrize("category", CATEGORIES)
def test_hostile_text_ends_soon(name: str, category: str) -> None:
    kind = {"simple_java": "HashMap", "simple_javascript": "array"}.get(category, "any")
    for mode in MODES:
        started = time.process_time()
        verdict = grade_calls(
            LONG[name], [{"f": {"x": ["a"]}}], functions(kind), category=category, mode=mode
        )
        assert time.process_time() - started < 4.0
        if "relevance" not in category:
            assert verdict.status in ("wrong", "undecided")


MEMORY = """
import json, sys, warnings
from dipo_eval.grading import grade_calls
warnings.simplefilter("ignore")
for text, category, functions in json.load(sys.stdin):
    for mode in ("strict", "compatible"):
        grade_calls(text, [{"f": {"x": ["a"]}}], functions, category=category, mode=mode)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_hostile_text_needs_little_memory() -> None:
    """A trainer grades in its own process."""
    tasks = []
    for name in ("long lists", "short lists", "sum", "many calls", "calls", "braces", "brackets"):
        tasks += [(LONG[name], category, functions("any")) for category in ("simple_python", "irrelevance")]
    for name in ("arrows", "fewer arrows", "assignments", "closed brackets", "quotes", "rows"):
        tasks += [
            (LONG[name], category, functions("any")) for category in ("simple_java", "simple_javascript")
        ]
    command = [sys.executable, "-c", MEMORY]
    done = subprocess.run(command, input=json.dumps(tasks), capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300_000, "KB at most at any time"


def test_deep_data_ends_soon() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for mode in MODES:
        verdict = grade_calls(
            [{"f": {"x": deep}}], [{"f": {"x": [1]}}], functions("array"), category="parallel", mode=mode
        )
        assert verdict.status == "wrong"


ATTACKS = [
    "__import__('os').system('touch {path}')",
    "open('{path}', 'w')",
    "[open('{path}', 'w') for _ in [1]]",
    "1 + __import__('os').system('touch {path}')",
    "(lambda: open('{path}', 'w'))()",
    'f\'{{open("{path}", "w")}}\'',
    "exec(\"open('{path}', 'w')\")",
    "''.__class__.__mro__[1].__subclasses__()",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_code_in_an_argument_is_wrong_and_is_not_run(attack: str, tmp_path: Path) -> None:
    path = tmp_path / "pwned"
    text = attack.format(path=path)
    for category in ("simple_python", "simple_java", "simple_javascript"):
        for response in (f"[f(x={text})]", text, f"[{text}]", f"[f(x='a', y={text})]"):
            for mode in MODES:
                verdict = grade_calls(
                    response, [{"f": {"x": ["a"]}}], functions("string"), category=category, mode=mode
                )
                assert verdict.status == "wrong"
    assert not path.exists()


@needs_bfcl
@pytest.mark.parametrize("attack", ATTACKS)
def test_code_in_a_conversation_is_not_run(attack: str, tmp_path: Path) -> None:
    path = tmp_path / "pwned"
    text = attack.format(path=path)
    case = bfcl.items("multi_turn_base")[0]
    gold = [["cd(folder='document')"]]
    for mode in MODES:
        for step in (
            [text],
            [f"cd(folder={text})"],
            f"[cd(folder={text})]",
            [f"GorillaFileSystem.cd({text})"],
        ):
            assert grade_turns([[step]], gold, case, mode=mode).status == "wrong"
    assert not path.exists()


@needs_bfcl
def test_a_conversation_that_would_not_end_is_undecided() -> None:
    case = dict(next(one for one in bfcl.items("multi_turn_base") if "MathAPI" in one["involved_classes"]))
    gold = [["mean(numbers=[1, 2])"]]
    hostile = "logarithm(value=7, base=3, precision=100000000)"
    started = time.monotonic()
    verdict = grade_turns([[[hostile], ["mean(numbers=[1, 2])"]]], gold, case, limit_s=2.0)
    assert (verdict.status, verdict.reason) in (("undecided", "time limit"), ("undecided", "memory limit"))
    assert time.monotonic() - started < 60
    assert grade_turns([[["mean(numbers=[1, 2])"]]], gold, case).status == "correct"


@needs_bfcl
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(TEXTS | st.lists(TEXTS, max_size=2), max_size=3))
def test_random_conversations_never_raise(turn: list[Any]) -> None:
    case = bfcl.items("multi_turn_base")[0]
    for mode in MODES:
        verdict = grade_turns([turn], [["cd(folder='document')"]], case, mode=mode)
        assert verdict.status in ("correct", "wrong")

"""Strict grading: what is read, how values are compared, and that each gold call needs a call of its own."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_eval.errors import UserError
from dipo_eval.grading import check_call_gold, grade_calls
from dipo_eval.grading.calls.response_text import Code
from dipo_eval.grading.calls.strict import same_text
from dipo_eval.grading.calls.strict_literals import read_literal

FUNCTION = {
    "name": "shop.buy",
    "parameters": {
        "type": "dict",
        "properties": {
            "what": {"type": "string"}, "count": {"type": "integer"}, "price": {"type": "float"},
            "gift": {"type": "boolean"}, "sizes": {"type": "array", "items": {"type": "integer"}},
            "pair": {"type": "tuple", "items": {"type": "float"}}, "to": {"type": "dict"},
            "when": {"type": "any"},
        },
        "required": ["what"],
    },
}  # fmt: skip
GOLD = [
    {
        "shop.buy": {
            "what": ["apple", "apples"], "count": [3, ""], "price": [2.0, ""], "gift": [True, ""],
            "sizes": [[1, 2], ""], "pair": [[1.0, 2.0], ""], "when": ["now", ""],
            "to": [{"city": ["Rome", "Roma"], "zip": [123, ""]}, ""],
        }
    }
]  # fmt: skip


CALL = '<tool_call>{"name": "shop.buy", "arguments": {"what": "apple"}}</tool_call>'


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("[shop.buy(what='apple')]", "equal"),
        ("shop.buy(what='Apples')", "equal"),
        ("```\nshop.buy(what='apple', count=3)\n```", "equal"),
        ("[shop.buy(what='apple', count=1+2)]", "equal"),
        ("[shop.buy(what='apple', price=2)]", "equal"),
        ("[shop.buy(what='apple', pair=(1, 2.0))]", "equal"),
        ("[shop.buy(what='apple', to={'city': 'Roma'})]", "equal"),
        (
            '{"name": "shop.buy", "parameters": {"what": "apple", "to": {"city": "Rome", "zip": 123}}}',
            "equal",
        ),
        ('[{"name": "shop.buy", "arguments": "{\\"what\\": \\"apple\\"}"}]', "equal"),
        ('{"type": "function", "function": {"name": "shop.buy", "arguments": {"what": "apple"}}}', "equal"),
        ('<tool_call>{"name": "shop.buy", "arguments": {"what": "apple"}}</tool_call>', "equal"),
        ("<think>shop.sell(1)</think>\n[shop.buy(what='apple')]", "equal"),
        ("[shop.buy(what='apple', when=now)]", "equal"),
        ("[shop.buy(what='pear')]", "wrong value"),
        ("[shop.buy(what=apple)]", "code for a text"),
        ("[shop.buy(what='apple', count=True)]", "wrong type"),
        ("[shop.buy(what='apple', count=3.0)]", "wrong type"),
        ("[shop.buy(what='apple', count='3')]", "wrong type"),
        ("[shop.buy(what='apple', count='')]", "wrong type"),
        ("[shop.buy(what='apple', gift=1)]", "wrong type"),
        ("[shop.buy(what='apple', gift=None)]", "wrong type"),
        ("[shop.buy(what='apple', sizes=(1, 2))]", "wrong type"),
        ("[shop.buy(what='apple', sizes=[2, 1])]", "wrong value"),
        ("[shop.buy(what='apple', sizes=[True, 2])]", "wrong type"),
        ("[shop.buy(what='apple', sizes=[])]", "wrong value"),
        ("[shop.buy(what='apple', to={})]", "missing key"),
        ("[shop.buy(what='apple', to={'city': 'Rome', 'street': 'x'})]", "unexpected key"),
        ("[shop.buy(what='apple', colour='red')]", "unexpected argument"),
        ("[shop.buy(count=3)]", "missing argument"),
        ("[shop_buy(what='apple')]", "wrong function"),
        ("[shop.buy(what='apple'), shop.buy(what='apple')]", "extra call"),
        ("[]", "missing call"),
        ("", "missing call"),
        ("[shop.buy('apple')]", "no calls: positional argument"),
        ("[shop.buy(**{'what': 'apple'})]", "no calls: unpacked argument"),
        ("[shop.buy(what='apple'", "no calls: syntax error"),
        ("I would buy an apple.", "no calls: syntax error"),
        ("<think>[shop.buy(what='apple')]", "missing call"),
        ("[get()(what='apple')]", "no calls: the function is not a name"),
        ('{"name": "shop.buy", "arguments": {"what": "pear", "what": "apple"}}', "no calls: not JSON"),
        ('<tool_call>{"name": "shop.buy"', "no calls: a block never closes"),
        ('{"arguments": {}}', "no calls: a call has no name"),
        (f"{CALL}<tool_call> </tool_call>", "no calls: an empty block"),
        (f"{CALL}{'x' * 100_000}", "no calls: longer than any call"),
    ],
)
def test_verdicts(response: str, reason: str) -> None:
    verdict = grade_calls(response, GOLD, [FUNCTION], category="simple_python")
    assert verdict.reason == reason
    assert verdict.status == ("correct" if reason == "equal" else "wrong")
    assert (verdict.extracted is None) == (reason.startswith("no calls") or reason == "missing call")


@pytest.mark.parametrize(
    ("declared", "given", "gold", "reason"),
    [
        (["integer", "null"], "7", 7, "equal"), (["integer", "null"], "7.0", 7, "wrong type"),
        (["string", "null"], "7", "7", "equal"), (["string", "integer"], "7", 7, "equal"),
        ({"type": "integer"}, "7", 7, "equal"), (["number"], "7.0", 7, "equal"),
    ],
)  # fmt: skip
def test_a_type_that_is_a_list_is_no_crash(declared: Any, given: str, gold: Any, reason: str) -> None:
    function = {"name": "f", "parameters": {"type": "dict", "properties": {"x": {"type": declared}}}}
    response = f"<function=f><parameter=x>{given}</parameter></function>"
    verdict = grade_calls(response, [{"f": {"x": [gold, ""]}}], [function], category="simple_python")
    assert verdict.reason == reason
    for plain in ("7.0", "(7, 8)", "''", "[7]"):
        grade_calls(f"[f(x={plain})]", [{"f": {"x": [7, [7, 8], ""]}}], [function], category="simple_python")


def test_decoded_calls_are_graded_like_text() -> None:
    for call in ({"shop.buy": {"what": "apple"}}, {"name": "shop.buy", "arguments": {"what": "apple"}}):
        assert grade_calls([call], GOLD, [FUNCTION], category="simple_python").status == "correct"
    for bad in (["x"], [None], [{}], [{"shop.buy": 3}], [{"a": {}, "b": {}}], [[1]]):
        assert grade_calls(bad, GOLD, [FUNCTION], category="simple_python").status == "wrong"  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["strict", "compatible"])
def test_dots_as_underscores(mode: Any) -> None:
    def status(response: str, underscores: bool) -> str:
        return grade_calls(
            response, GOLD, [FUNCTION], category="simple_python", mode=mode, dots_as_underscores=underscores
        ).status

    assert status("[shop_buy(what='apple')]", True) == "correct"
    assert status("[shop_buy(what='apple')]", False) == "wrong"
    assert status("[shop.buy(what='apple')]", True) == "wrong"


def test_mistakes_of_the_caller_are_named() -> None:
    with pytest.raises(UserError, match="unknown; one of simple_python"):
        grade_calls("", [], [], category="simple_ruby")
    with pytest.raises(UserError, match="grade_turns"):
        grade_calls("", [], [], category="multi_turn_base")
    with pytest.raises(UserError, match="strict or compatible"):
        grade_calls("", [], [], category="multiple", mode="loose")  # type: ignore[arg-type]
    check_call_gold(GOLD, [FUNCTION], "simple_python")
    check_call_gold([], [FUNCTION], "irrelevance")
    for gold in ([{"f": {"x": 1}}], ["f"], {"f": {}}, [{"f": {}, "g": {}}]):
        with pytest.raises(UserError, match="gold call"):
            check_call_gold(gold, [FUNCTION], "parallel")
    with pytest.raises(UserError, match="functions"):
        check_call_gold([], [{}], "parallel")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("San Francisco, CA", "san francisco,CA", True),
        ("April 1, 2024", "April 1 2024", True),
        ("3x^2 + 2x - 1", "3x^2+2x-1", True),
        ("Dr. Smith", "Dr Smith", True),
        ("it's", 'it"s', True),
        ("3.14", "314", False),
        ("/home/ab", "/home/a/b", False),
        ("x_1", "x1", False),
        ("long-term", "longterm", False),
        ("ab", "a b", False),
        ("1,000", "1000", False),
    ],
)
def test_strings(left: str, right: str, same: bool) -> None:
    assert same_text(left, right) is same
    assert same_text(right, left) is same


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("-5L", -5), ("1_000", 1000), ("2.5f", 2.5), ("3d", 3.0), ("1e3", 1000.0), ("true", True),
        ("null", None), ('"a\\n\\u00e9"', "a\n\u00e9"), ("'c'", "c"), ("new int[]{1, 2}", [1, 2]),
        ("new int[][]{new int[]{1}, new int[]{}}", [[1], []]), ("Arrays.asList(1, \"a,b\")", [1, "a,b"]),
        ("new ArrayList<String>() {{ add(\"x\"); add(\"y\"); }}", ["x", "y"]), ("List.of()", []),
        ("new ArrayList<>(List.of(1))", [1]), ("new HashMap<>()", {}), ("Map.of(\"a\", 1)", {"a": 1}),
        ("new HashMap<String, Object>() {{ put(\"a\", 1); put(\"b\", new int[]{2}); }}", {"a": 1, "b": [2]}),
        ("new String[]{first, \"b\"}", ["first", "b"]),
    ],
)  # fmt: skip
def test_literals_of_java(text: str, value: Any) -> None:
    read = read_literal(text, is_java=True)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, 'a,b', [true]]", [1, "a,b", [True]]), ("{a: 1, 'b': \"x\"}", {"a": 1, "b": "x"}),
        ("new Array(1, 2)", [1, 2]), ("10n", 10), ("`text`", "text"), 
        ("{f: call(1, 2), g: 3}", {"f": "call(1, 2)", "g": 3}),
    ],
)  # fmt: skip
def test_literals_of_javascript(text: str, value: Any) -> None:
    assert read_literal(text, is_java=False) == value


@pytest.mark.parametrize(
    "text", ["name", "f(1)", "1 + 2", "[1", "{a}", "", "`${x}`", "2.5f", "[1] 2", "[" * 5000]
)
def test_what_is_no_literal_stays_code(text: str) -> None:
    assert isinstance(read_literal(text, is_java=False), Code)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(2, 5).flatmap(
        lambda n: st.tuples(
            st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), min_size=n, max_size=n),
            st.lists(st.integers(0, 4), min_size=n, max_size=n),
        )
    )
)
def test_each_gold_call_gets_a_call_of_its_own(drawn: tuple[list[list[int]], list[int]]) -> None:
    allowed, values = drawn
    functions = [{"name": "f", "parameters": {"properties": {"x": {"type": "integer"}}, "required": ["x"]}}]
    gold = [{"f": {"x": numbers}} for numbers in allowed]
    verdict = grade_calls([{"f": {"x": one}} for one in values], gold, functions, category="parallel")
    possible = any(
        all(one in numbers for one, numbers in zip(order, allowed, strict=True))
        for order in itertools.permutations(values)
    )
    assert (verdict.status == "correct") is possible
    if not possible:
        hopeless = any(not set(numbers) & set(values) for numbers in allowed)
        assert verdict.reason == ("wrong value" if hopeless else "two gold calls need one call")


@settings(max_examples=200, deadline=None)
@given(st.permutations(list(range(4))))
def test_parallel_calls_in_any_order(order: list[int]) -> None:
    gold = [{"f": {"x": [n, n + 1]}} for n in range(4)]
    functions = [{"name": "f", "parameters": {"properties": {"x": {"type": "integer"}}, "required": ["x"]}}]
    response = "[" + ", ".join(f"f(x={n + 1})" for n in order) + "]"
    assert grade_calls(response, gold, functions, category="parallel").status == "correct"
    assert grade_calls(response.replace("x=4", "x=9"), gold, functions, category="parallel").status == "wrong"

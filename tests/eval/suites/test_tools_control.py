"""tools-control: a gold call in every form a model may write is right, and an item that was damaged is refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_eval.suites import Item, get_suites

(SUITE,) = get_suites(["tools-control"])
ITEMS = SUITE.load(None, None, 0)


def answers(item: Item) -> list[str]:
    """The gold calls as <tool_call> blocks, a list of JSON and Python calls; for irrelevance a sentence."""
    calls: list[tuple[str, dict[str, Any]]] = []
    for call in item.gold:
        assert isinstance(call, dict)
        calls += [(name, {key: one[0] for key, one in arguments.items()}) for name, arguments in call.items()]
    if not calls:
        return ["None of the functions can do that."]
    objects = [json.dumps({"name": name, "arguments": arguments}) for name, arguments in calls]
    python = [
        f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
        for name, arguments in calls
    ]
    return [
        "\n".join(f"<tool_call>\n{one}\n</tool_call>" for one in objects),
        f"[{', '.join(objects)}]",
        f"[{', '.join(python)}]",
    ]


def test_items_are_balanced_and_offered_as_tools() -> None:
    assert len(ITEMS) == len({item.id for item in ITEMS}) == 400
    counts = Counter(item.meta["kind"] for item in ITEMS)
    assert set(counts) == {"simple", "multiple", "parallel", "irrelevance"}
    assert min(counts.values()) > 70
    for item in ITEMS:
        assert [one["role"] for one in item.messages] == ["user"]
        assert item.tools
        assert [one["function"]["name"] for one in item.tools] == [
            one["name"] for one in item.meta["functions"]
        ]
        assert {one["function"]["parameters"]["type"] for one in item.tools} == {"object"}


def test_the_gold_is_right_in_each_form_and_nothing_is_wrong() -> None:
    for item in ITEMS:
        assert [SUITE.grade(answer, item).status for answer in answers(item)] == ["correct"] * len(
            answers(item)
        )
        wanted = "correct" if item.meta["kind"] == "irrelevance" else "wrong"
        assert SUITE.grade("I do not know.", item).status == wanted


def test_an_item_of_another_suite_is_refused() -> None:
    item = ITEMS[0]
    with pytest.raises(
        UserError, match=r"its kind 'live_simple' is none of simple, .* is its suite tools-control"
    ):
        SUITE.grade("x", replace(item, meta={**item.meta, "kind": "live_simple"}))
    with pytest.raises(UserError, match="is no list of descriptions with a name"):
        SUITE.grade("x", replace(item, meta={**item.meta, "kind": "simple", "functions": None}))
    with pytest.raises(UserError, match="gold call"):
        SUITE.grade("x", replace(item, gold=[{"f": 1}], meta={**item.meta, "kind": "simple"}))
    with pytest.raises(UserError, match="limit=0"):
        SUITE.load(None, 0, 0)


def test_the_basic_suite_is_four_categories_of_the_native_one() -> None:
    (basic, native) = get_suites(["bfcl-basic", "bfcl-native"])
    items = basic.load(None, 40, 0)
    assert Counter(item.meta["kind"] for item in items) == {
        "simple_python": 10, "multiple": 10, "parallel": 10, "irrelevance": 10,
    }  # fmt: skip
    whole = {item.id: item for item in native.load(None, 17 * 10, 0)}
    assert all(whole[item.id] == item for item in items)
    assert len(basic.load(None, None, 0)) == 1040
    assert basic.grade("No function fits.", items[-1]).status == "correct"

"""The suite bfcl, and bfcl-eval as the second grader of its stored samples."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import SINGLE_TURN
from dipo_eval.harness import bfcl_eval, math_verify
from dipo_eval.suites import Item, get_suites
from dipo_eval.suites.bfcl.items import CATEGORIES
from dipo_openrlhf.cli import app

pytestmark = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")

ANSWERS = runpy.run_path(str(Path(__file__).parents[1] / "bfcl_answers.py"))
SIZES = {
    "simple_python": 400, "simple_java": 100, "simple_javascript": 50, "multiple": 200, "parallel": 200,
    "parallel_multiple": 200, "irrelevance": 240, "live_simple": 258, "live_multiple": 1053, "live_parallel": 16,
    "live_parallel_multiple": 24, "live_irrelevance": 884, "live_relevance": 16,
    "multi_turn_base": 200, "multi_turn_miss_func": 200, "multi_turn_miss_param": 200, "multi_turn_long_context": 200,
}  # fmt: skip
# Texts that are no Java or JavaScript where they stand without quotes, as they do for a parameter of any type; and
# golds that leave out a required argument, or allow only the mark of an optional one.
NOT_RIGHT_AS_WRITTEN = {
    "simple_java_33", "simple_java_35", "simple_javascript_43", "simple_javascript_46",
    "live_simple_106-63-0", "live_simple_112-68-0", "live_multiple_507-149-4", "live_multiple_964-207-0",
}  # fmt: skip
AREA = "[calculate_triangle_area(base={base}, height=5{more})]"


def load(limit: int | None = None, seed: int = 0) -> list[Item]:
    return get_suites(["bfcl"])[0].load(None, limit, seed)


def grade(response: str, item: Item) -> tuple[str, str]:
    verdict = get_suites(["bfcl"])[0].grade(response, item)
    return verdict.status, verdict.reason


def right_answer(item: Item) -> str:
    category = item.meta["kind"]
    row = bfcl.item(category, item.id)
    if category == "live_relevance":
        return f"[{row['function'][0]['name']}()]"
    if "irrelevance" in category:
        return "None of the functions can be used."
    rendered: str = ANSWERS["rendered"](ANSWERS["correct_calls"](row, category), category, row)
    return rendered


def test_all_items_are_present_and_their_golds_correct() -> None:
    items = load()
    assert Counter(item.meta["kind"] for item in items) == SIZES
    assert len({item.id for item in items}) == 4441
    asked = [item for item in items if item.meta["kind"] in SINGLE_TURN]
    wrong = {item.id for item in asked if grade(right_answer(item), item)[0] != "correct"}
    assert wrong == NOT_RIGHT_AS_WRITTEN


def native_answer(item: Item) -> str:
    """The right calls as a model with native tool calls writes them: JSON, underscores for dots in names."""
    category = item.meta["kind"]
    if "relevance" in category:
        return right_answer(item).replace(".", "_")
    calls = ANSWERS["correct_calls"](bfcl.item(category, item.id), category)
    return "\n".join(
        f"<tool_call>{json.dumps({'name': name.replace('.', '_'), 'arguments': arguments})}</tool_call>"
        for call in calls
        for name, arguments in call.items()
    )


def test_native_calls_are_correct_with_underscores_for_dots() -> None:
    suite = get_suites(["bfcl-native"])[0]
    items = [item for item in suite.load(None, None, 0) if item.meta["kind"] in SINGLE_TURN]
    wrong = {item.id for item in items if suite.grade(native_answer(item), item).status != "correct"}
    assert {item_id for item_id in wrong if not item_id.startswith("live")} == set()
    assert wrong <= NOT_RIGHT_AS_WRITTEN
    names = {tool["function"]["name"] for item in items for tool in item.tools or []}
    assert not any("." in name for name in names)
    assert {item.meta["kind"] for item in items if item.tools is None} == {"live_irrelevance"}
    system = [item.messages[0]["content"] for item in items if item.messages[0]["role"] == "system"]
    assert not any("expert in composing functions" in text for text in system)


def test_bfcl_eval_agrees_about_native_calls() -> None:
    items = [
        item for item in get_suites(["bfcl-native"])[0].load(None, 300, 0) if item.meta["kind"] in SINGLE_TURN
    ]
    assert any(
        "." in call_name for item in items for call in item.gold for call_name in call
    )  # underscores asked
    wrong = set()
    with bfcl_eval.grader() as grade:
        for item in items:
            row = {**item.meta, "item_id": item.id, "gold": item.gold, "response": native_answer(item)}
            if grade(row).status != "correct":
                wrong.add(item.id)
    # Lists and maps in Java, which its reader of source text does not read whole.
    assert {item_id for item_id in wrong if not item_id.startswith("simple_java_")} == set()
    assert len(wrong) < 5


@pytest.mark.parametrize("category", ["simple_python", "simple_java", "simple_javascript", "live_simple"])
def test_the_prompt_is_bfcl_evals_own(category: str) -> None:
    before = json.dumps(bfcl.items(category))
    ours = [item for item in load() if item.meta["kind"] == category]
    described = bfcl.module("bfcl_eval.utils").load_dataset_entry(category, include_prereq=False)
    for item, row in zip(ours, described, strict=True):
        system, *rest = item.messages
        asked = row["question"][0]
        if asked[0]["role"] == "system":
            assert system["content"].endswith("\n\n" + asked[0]["content"])
        assert rest == [message for message in asked if message["role"] != "system"]
        assert system["role"] == "system"
        assert system["content"].startswith("You are an expert in composing functions.")
        assert json.dumps(row["function"], indent=4) in system["content"]
    assert json.dumps(bfcl.items(category)) == before


def test_a_limit_takes_from_each_category_in_turn() -> None:
    assert [item.id for item in load(20)] == [item.id for item in load(20)]
    assert [item.id for item in load(20)] != [item.id for item in load(20, seed=1)]
    shares = Counter(item.meta["kind"] for item in load(20))
    assert [shares[category] for category in CATEGORIES] == [2] * 3 + [1] * 14
    shares = Counter(item.meta["kind"] for item in load(500))
    assert sum(shares.values()) == 500
    assert [
        shares[category] for category in ("live_parallel", "live_relevance", "live_parallel_multiple")
    ] == [16, 16, 24]
    assert {shares[category] for category in CATEGORIES if SIZES[category] > 45} == {31, 32}
    assert [item.meta["kind"] for item in load(2)] == list(SINGLE_TURN[:2])
    assert [item.id for item in load(9999)] == [item.id for item in load()]
    with pytest.raises(UserError, match="limit=0"):
        load(0)


def test_irrelevance_and_relevance() -> None:
    items = {item.meta["kind"]: item for item in load(13)}
    for category in ("irrelevance", "live_irrelevance"):
        item = items[category]
        name = bfcl.item(category, item.id)["function"][0]["name"]
        assert grade("No function fits.", item) == ("correct", "no call")
        assert grade(f"[{name}(x=1)]", item) == ("wrong", "a call")
    item = items["live_relevance"]
    assert grade(right_answer(item), item) == ("correct", "a call")
    assert grade("No function fits.", item)[0] == "wrong"
    assert grade("[another_function()]", item) == ("wrong", "unknown function")


@pytest.mark.parametrize(
    ("item_id", "kind", "gold", "message"),
    [
        ("simple_python_0", None, [], "kind None is no category"),
        ("simple_python_0", "memory_kv", [], "is no category"),
        ("simple_python_0", "multi_turn_base", [], "no item 'simple_python_0'"),
        ("multi_turn_base_0", "multi_turn_base", [["ls()"]], "gold for 1 turns, but 4 user turns"),
        ("multi_turn_base_0", "multi_turn_base", [{"ls": {}}], "no list of turns"),
        ("simple_python_9999", "simple_python", [], "no item 'simple_python_9999'"),
        ("simple_python_0", "simple_python", ["5"], "gold call"),
    ],
)
def test_a_row_of_another_suite_is_one_line(item_id: str, kind: Any, gold: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        grade("", Item(item_id, [], gold, {"kind": kind}))
    assert "\n" not in str(error.value)


def stored(response: str, **more: Any) -> dict[str, Any]:
    gold = bfcl.item("simple_python", "simple_python_0")["ground_truth"]
    row = {
        "item_id": "simple_python_0",
        "sample": 0,
        "kind": "simple_python",
        "gold": gold,
        "status": "wrong",
    }
    return {**row, "response": response, **more}


def write(folder: Path, *rows: dict[str, Any]) -> str:
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "results.json").write_text('{"suite": "bfcl"}')
    return str(folder)


def test_dipo_grade_lists_what_bfcl_eval_scores_otherwise(tmp_path: Path) -> None:
    right, other = AREA.format(base=10, more=""), AREA.format(base=11, more="")
    near = AREA.format(base=10, more=", unit='un.its'")
    silent = {"item_id": "irrelevance_0", "kind": "irrelevance", "gold": []}
    rows = [
        stored(right, status="correct"),
        stored(other),
        stored(near),
        stored("No.", status="correct", **silent),
    ]
    out = tmp_path / "verdicts.jsonl"
    command = ["grade", write(tmp_path, *rows), "--against", "bfcl-eval", "--out", str(out), "--check"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "1 of 4 samples scored differently by bfcl-eval" in done.output
    line = next(line for line in done.output.splitlines() if line.strip().startswith("simple_python_0"))
    assert line.split()[:7] == ["simple_python_0", "3", "correct", "wrong", "valid", "wrong", "value"]
    verdicts = [json.loads(text) for text in out.read_text().splitlines()]
    assert [row["status"] for row in verdicts] == ["correct", "wrong", "wrong", "correct"]
    assert [row["bfcl-eval"]["status"] for row in verdicts] == ["correct", "wrong", "correct", "correct"]


def test_dipo_grade_knows_conversations_and_questions_never_asked(tmp_path: Path) -> None:
    case = bfcl.item("multi_turn_base", "multi_turn_base_0")
    turns = [[f"[{', '.join(calls)}]", "Done."] for calls in case["ground_truth"]]
    row = {"item_id": case["id"], "sample": 0, "kind": "multi_turn_base", "gold": case["ground_truth"]}
    right = row | {"status": "correct", "response": json.dumps({"turns": turns, "ended": None})}
    short = row | {
        "status": "wrong",
        "response": json.dumps({"turns": turns[:-1], "ended": "x"}),
        "sample": 1,
    }
    silent = {
        "item_id": "irrelevance_0",
        "kind": "irrelevance",
        "gold": [],
        "finish_reason": "prompt_too_long",
    }
    rows = [right, short, stored("", **silent)]
    command = ["grade", write(tmp_path, *rows), "--against", "bfcl-eval", "--check"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    # bfcl-eval loses the argument of sort('final_report.pdf'), and takes the silence of a model that it could not
    # ask for a right answer.
    assert "2 of 3 samples scored differently by bfcl-eval" in done.output, done.output
    assert "(grade_turns," in done.output


def test_bfcl_eval_runs_no_code_of_a_response(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pwned"
    attack = AREA.format(base=f"1 + __import__('os').system('touch {path}')", more="")
    with bfcl_eval.grader() as grade:
        assert grade(stored(AREA.format(base="2 * 5", more=""))).status == "correct"
        refused = grade(stored(attack))
        assert (refused.status, refused.reason) == (
            "undecided",
            "not asked: it would run code of the response",
        )
        assert grade(stored(AREA.format(base="9**9**9", more=""))).status == "undecided"
        assert not path.exists()
        monkeypatch.setattr("dipo_eval.harness.base.LIMIT_S", 1.0)
        slow = {"item_id": "simple_java_0", "kind": "simple_java"}
        assert grade(stored("+)" * 3_000, **slow)).reason == "time limit"
        assert grade(stored(AREA.format(base=10, more=""))).status in ("correct", "undecided")


def test_a_second_grader_refuses_rows_that_it_cannot_grade() -> None:
    with bfcl_eval.grader() as grade, pytest.raises(UserError, match="is no category of BFCL"):
        grade({"item_id": "a", "response": "5", "gold": "5"})
    with math_verify.grader() as grade, pytest.raises(UserError, match="no answer of a math problem"):
        grade(stored("5"))

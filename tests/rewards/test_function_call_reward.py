"""The function-call reward, loaded and called the way OpenRLHF does it."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dipo_openrlhf
from dipo_eval.grading.calls.unread import Unread
from dipo_openrlhf.algorithm.correctness import correctness
from dipo_openrlhf.rewards.call_form import CALL_FORM
from dipo_openrlhf.rewards.toolrl import format_score, overlap, same_value

PATH = Path(dipo_openrlhf.__file__).parent / "rewards" / "function_call.py"
PROMPT = "<|im_start|>user\nWeather in Rome and Paris?<|im_end|>\n<|im_start|>assistant\n"
LOGS = {
    "verifier/undecided", "verifier/timeout", "verifier/no_answer", "verifier/error", "reward_max",
    "reward/format", "reward/correct", *(f"calls/unread/{why.value}" for why in Unread),
}  # fmt: skip
ROME = {"name": "weather", "parameters": {"city": "Rome", "days": 2}}
PARIS = {"name": "weather", "parameters": {"city": "Paris", "days": 1}}
LABEL = json.dumps({"gold": [ROME, PARIS], "functions": []})
DATA = Path(os.environ.get("DIPO_DATA_DIR") or Path(__file__).resolve().parents[3] / "shared" / "data")
REWARD = SimpleNamespace(**runpy.run_path(str(PATH)))


def one(response: str, label: object = LABEL, query: str | None = None) -> dict[str, Any]:
    result = REWARD.reward_func([PROMPT + response if query is None else query], [PROMPT], [label])
    assert set(result) == {"rewards", "scores", "extra_logs"}
    assert result["scores"] in (0.0, 1.0)
    assert -3.0 <= result["rewards"] <= 4.0
    assert set(result["extra_logs"]) == LOGS
    assert all(isinstance(value, float) for value in result["extra_logs"].values())
    return dict(result)


def tagged(*calls: Any) -> str:
    lines = "\n".join(call if isinstance(call, str) else json.dumps(call) for call in calls)
    return f"<think> Two calls. </think>\n<tool_call>\n{lines}\n</tool_call>"


@pytest.mark.parametrize(
    ("response", "reward", "score"),
    [
        (tagged(ROME, PARIS), 4.0, 1.0),
        (tagged(PARIS, ROME) + "<|im_end|>", 4.0, 1.0),
        (tagged({"name": "weather", "arguments": ROME["parameters"]}, PARIS), 4.0, 1.0),
        (tagged(ROME, PARIS).replace("</think>\n", "</think>"), 3.0, 0.0),
        (f"<tool_call>\n{json.dumps(ROME)}\n{json.dumps(PARIS)}\n</tool_call>", 3.0, 0.0),
        # names 2/3, two calls of 1 + 2 each: (2/3 + 6) / 7 of the range
        (tagged(ROME, PARIS, {"name": "other", "parameters": {}}), 1 + 6 * (2 / 3 + 6) / 7 - 3, 0.0),
        (tagged(ROME), 1 + 6 * (1 / 2 + 3) / 7 - 3, 0.0),
        (tagged(ROME, {**PARIS, "parameters": {"city": "Paris", "days": True}}), 1 + 6 * 6 / 7 - 3, 0.0),
        (tagged(ROME, {**PARIS, "parameters": {"city": "Paris"}}), 1 + 6 * (1 + 3 + 1 / 2 + 1) / 7 - 3, 0.0),
        (tagged({"name": "rain", "parameters": {}}), -2.0, 0.0),
        (tagged("not json"), -2.0, 0.0),
        ("I do not know.", -3.0, 0.0),
        (tagged(ROME, PARIS) + "\n<response> Done. </response>", 3.0, 0.0),
    ],
)
def test_rewards_of_calls(response: str, reward: float, score: float) -> None:
    result = one(response)
    assert result["rewards"] == pytest.approx(reward)
    assert result["scores"] == score
    logs = result["extra_logs"]
    assert result["rewards"] == logs["reward/format"] + logs["reward/correct"]
    assert logs["verifier/error"] == 0.0


@pytest.mark.parametrize(
    ("response", "reward", "score"),
    [
        ("<think> No tool. </think>\n<response> Which city? </response>", 1.0, 1.0),
        ("<think> <tool_call> is not needed. </think>\n<response> Which city? </response>", 1.0, 1.0),
        ("<think> a </think> <think> or <tool_call>? </think>\n<response> Which city? </response>", 1.0, 1.0),
        ("<response> Which city? </response>", 0.0, 0.0),
        (tagged(ROME), 0.0, 0.0),
        (f"<think> a </think>\n<response> {tagged(ROME)} </response>", 0.0, 0.0),
    ],
)
def test_an_empty_gold_passes_only_an_answer_without_calls(
    response: str, reward: float, score: float
) -> None:
    result = one(response, {"gold": [], "has_response": True})
    assert (result["rewards"], result["scores"]) == (reward, score)


def test_correct_from_reward_max_finds_the_correct_ones() -> None:
    results = [one(tagged(ROME, PARIS)), one(tagged(ROME)), one("no")]
    scores = torch.tensor([[result["scores"] for result in results]])
    maxima = torch.tensor([[result["extra_logs"]["reward_max"] for result in results]])
    for found in (correctness(scores, "reward_max", maxima), correctness(scores, "score")):
        assert found.tolist() == [[True, False, False]]


WEATHER = {
    "name": "weather",
    "parameters": {
        "type": "dict", "required": ["city"],
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    },
}  # fmt: skip
BFCL = {
    "category": "parallel", "functions": [WEATHER],
    "gold": [{"weather": {"city": ["Rome", "Roma"], "days": [2, ""]}}, {"weather": {"city": ["Rome"], "days": ["", 1]}}],
}  # fmt: skip


def test_a_label_with_a_category_has_the_verdict_of_evaluation() -> None:
    correct = one("[weather(city='Rome'), weather(city='Roma', days=2)]", BFCL)
    assert (correct["rewards"], correct["scores"]) == (4.0, 1.0)
    near = one("[weather(city='Rome'), weather(city='Roma', days=3)]", BFCL)
    far = one("[rain(), weather(city='Oslo', days=3)]", BFCL)
    unread = one("Rome is sunny.", BFCL)
    assert 4.0 > near["rewards"] > far["rewards"] > unread["rewards"] == -3.0
    assert near["scores"] == far["scores"] == unread["scores"] == 0.0
    assert unread["extra_logs"]["verifier/no_answer"] == 1.0
    label = {"category": "irrelevance", "functions": [WEATHER], "gold": []}
    assert one("I cannot book a train.", label)["scores"] == 1.0
    assert one("[weather(city='Rome')]", label)["scores"] == 0.0


def unread(response: str, label: object = LABEL) -> str:
    """The reason that is logged, empty for none."""
    logs = one(response, label)["extra_logs"]
    return "".join(why.value for why in Unread if logs[f"calls/unread/{why.value}"])


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (tagged(ROME, PARIS), ""),
        ("I do not know.", ""),
        ("<think> the weather", "unfinished_thought"),
        (tagged(ROME).removesuffix("</tool_call>"), "unfinished_call"),
        (tagged('{"name": "weather", "parameters": {'), "unfinished_call"),
        (tagged("weather(city='Rome')"), "invalid_json"),
        (tagged({"parameters": {}}), "no_name"),
        (tagged({"name": "weather", "parameters": "Rome"}), "arguments_not_an_object"),
        ("<think> a </think>\n[weather(city='Rome')]", "call_in_other_form"),
        (f"<think> a </think>\n{json.dumps(ROME)}", "call_in_other_form"),
    ],
)
def test_why_tagged_calls_could_not_be_read(response: str, why: str) -> None:
    assert unread(response) == why


def test_why_calls_of_a_category_could_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    python, native = "[weather(city='Rome')]", f"<tool_call>{json.dumps(ROME)}</tool_call>"
    assert [unread(text, BFCL) for text in (python, native, "It is sunny.")] == [""] * 3
    assert unread("[rain(city='Rome')]", BFCL) == "unknown_function"
    assert unread(native.replace(": {", ": [{"), BFCL) == "invalid_json"
    assert unread("Sure: weather(city='Rome')", BFCL) == "call_in_other_text"
    label = {**BFCL, "category": "simple_python", "gold": [{"weather": {"city": ["Rome"], "days": ["", 2]}}]}
    assert one(python, label)["scores"] == one(native, label)["scores"] == 1.0
    # A form that the recipe names: the others are neither read nor paid.
    monkeypatch.setenv(CALL_FORM, "pythonic")
    assert (one(python, label)["scores"], one(native, label)["rewards"]) == (1.0, -3.0)
    assert unread(native, label) == "call_in_other_form"


def test_many_guesses_are_paid_no_more_than_the_first() -> None:
    label = {**BFCL, "category": "simple_python", "gold": [{"weather": {"city": ["Rome"], "days": [2]}}]}
    guesses = [
        f"weather(city='{city}', days={days})" for city in ("Oslo", "Paris", "Rome") for days in (1, 2, 3)
    ]
    one_guess, all_guesses = (
        one(f"[{', '.join(some)}]", label)["rewards"] for some in (guesses[:1], guesses)
    )
    assert one_guess == all_guesses == pytest.approx(1 + 6 * 2 / 4 - 3)
    right, more = (
        one(f"[{guesses[7]}]", label)["rewards"],
        one(f"[{guesses[7]}, {guesses[7]}]", label)["rewards"],
    )
    assert right == 4.0 > more


W = runpy.run_path(str(Path(__file__).parents[1] / "eval" / "grading" / "written_forms.py"))


@pytest.mark.parametrize("name", W["WRITTEN"])
def test_a_right_call_is_paid_in_every_form(name: str) -> None:
    for case in ("one call", "no argument"):
        calls = W["MESSAGES"][case]
        gold = [{name: {key: [value] for key, value in given.items()}} for name, given in calls]
        label = {"category": "parallel", "functions": W["FUNCTIONS"], "gold": gold}
        for end in ("", "<|im_end|>", "\n<\uff5cend\u2581of\u2581sentence\uff5c>\n"):
            assert one(W["WRITTEN"][name](calls) + end, label)["rewards"] == 4.0


def test_a_label_in_java(monkeypatch: pytest.MonkeyPatch) -> None:
    label = {
        "category": "simple_java", "gold": [{"a.b": {"x": [[1, 2]]}}],
        "functions": [{"name": "a.b", "parameters": {"properties": {"x": {"type": "Array"}}}}],
    }  # fmt: skip
    assert one("a.b(x=new int[]{1, 2})", label)["scores"] == 1.0
    assert one("a.b(x=new int[]{2, 1})", label)["scores"] == 0.0
    monkeypatch.setattr("dipo_eval.grading.calls.java_calls.LIMIT_MICROS", 1)
    slow = one("+)" * 700, label)
    assert slow["extra_logs"]["verifier/undecided"] == slow["extra_logs"]["verifier/timeout"] == 1.0


@pytest.mark.parametrize(
    "label",
    [None, "", "[]", "{", {}, {"gold": 1}, {"gold": [1]}, {"gold": [{"name": "f"}]}, "1" * 5000, "[" * 100_000,
     {"gold": [], "category": "ruby"}, {"gold": [1], "category": "parallel"},
     {"gold": [], "category": "irrelevance", "functions": 3}],
)  # fmt: skip
def test_a_bad_label_is_counted_and_never_raises(label: object) -> None:
    result = one(tagged(ROME), label)
    assert (result["rewards"], result["scores"]) == (0.0, 0.0)
    assert result["extra_logs"]["verifier/error"] == 1.0


def test_bad_arguments_never_raise() -> None:
    for arguments in ((["a"], [], []), (None, None, None)):
        assert REWARD.reward_func(*arguments)["extra_logs"]["verifier/error"] == 1.0
    assert one("", query="another text entirely")["extra_logs"]["verifier/error"] == 1.0


def test_several_samples_give_lists() -> None:
    responses = [tagged(ROME, PARIS), "no"]
    result = REWARD.reward_func([PROMPT + text for text in responses], [PROMPT] * 2, [LABEL] * 2)
    assert result["rewards"] == [4.0, -3.0]
    assert result["scores"] == [1.0, 0.0]
    assert result["extra_logs"]["verifier/no_answer"] == [0.0, 1.0]


PARTS = ["<think>", "</think>", "\n", "<tool_call>", "</tool_call>", "<response>", "</response>", json.dumps(ROME),
         json.dumps(PARIS), '{"name": 1}', "[]", "{", "[weather(city='Rome')]", " ", "x", '{"name":' * 3000]  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.sampled_from(PARTS), max_size=12).map("".join) | st.text(max_size=100),
    st.sampled_from([LABEL, {"gold": []}, {"gold": [ROME], "has_response": True}, BFCL]),
)
def test_never_raises(response: str, label: object) -> None:
    result = one(response, label)
    assert result["extra_logs"]["verifier/error"] == 0.0
    assert (result["scores"] == 1.0) <= (result["rewards"] in (1.0, 4.0))


def test_ten_megabytes_end_soon() -> None:
    for text in (
        "<tool_call>" * 900_000,
        "<think>" + "\n" * 10_000_000,
        tagged("[" * 5_000_000),
        '{"a":' * 2_000_000,
    ):
        assert one(text)["scores"] == 0.0


def test_code_in_a_call_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "pwned"
    attack = f"__import__('os').system('touch {path}')"
    assert one(tagged(attack))["scores"] == 0.0
    assert one(f"[weather(city={attack})]", BFCL)["scores"] == 0.0
    assert not path.exists()


def test_small_parts() -> None:
    assert same_value(1, 1.0)
    assert not same_value(True, 1)
    assert not same_value([1], {"0": 1})
    assert same_value({"a": [None, "x"]}, {"a": [None, "x"]})
    assert overlap(["a", "a", "b"], ["a", "b", "c"]) == 2 / 4
    assert overlap([], []) == 1.0
    for response, has_calls, score in (
        ("<think></think>", False, 1.0),
        ("<think>", False, 0.0),
        ("<think></think>\n<tool_call>\n\n</tool_call>", True, 1.0),
        ("<think></think>\n<tool_call>\n</tool_call>", True, 0.0),
    ):
        assert format_score(response, has_calls=has_calls, has_response=False) == score


@pytest.mark.skipif(not (DATA / "fc_toolrl_val.jsonl").exists(), reason=f"{DATA} has no fc_toolrl_val.jsonl")
def test_toolrls_own_answers_get_the_full_reward() -> None:
    for name in ("fc_toolrl_val", "fc_toolrl_train"):
        for row in map(json.loads, (DATA / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]):
            result = one(row["output"], {"gold": row["gold_calls"], "has_response": row["has_response"]})
            whole = 4.0 if row["gold_calls"] else 1.0
            twice = row["output"].count("<tool_call>") > 1  # in the thoughts too: no reward in ToolRL either
            assert result["rewards"] == (-3.0 if twice else whole)
            assert result["scores"] == (0.0 if twice else 1.0)


@pytest.mark.skipif(not (DATA / "fc_sealtools.jsonl").exists(), reason=f"{DATA} has no fc_sealtools.jsonl")
def test_seal_tools_answers_get_the_full_reward() -> None:
    for row in map(json.loads, (DATA / "fc_sealtools.jsonl").read_text(encoding="utf-8").split("\n")[:-1]):
        assert one(tagged(*row["answers"]), {"gold": row["answers"]})["rewards"] == 4.0
        assert one(tagged(*row["answers"], row["answers"][0]), {"gold": row["answers"]})["scores"] == 0.0


def test_through_openrlhfs_own_executor() -> None:
    agent = pytest.importorskip("openrlhf.utils.agent")
    executor = agent.SingleTurnAgentExecutor(str(PATH))
    rows = asyncio.run(executor._fetch_rewards_via_func([PROMPT + tagged(ROME, PARIS)], [PROMPT], [LABEL]))
    assert rows[0]["rewards"] == 4.0
    assert rows[0]["scores"] == 1.0

"""The file that OpenRLHF loads by path: loaded and called here the way OpenRLHF does it."""

from __future__ import annotations

import asyncio
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dipo_openrlhf

PATH = Path(dipo_openrlhf.__file__).parent / "rewards" / "math.py"
PROMPT = "<|im_start|>user\nWhat is 6 times 7? Use \\boxed{}.<|im_end|>\n<|im_start|>assistant\n"
LOGS = {"verifier/undecided", "verifier/timeout", "verifier/no_answer", "verifier/error"}
REWARD = SimpleNamespace(**runpy.run_path(str(PATH)))


def one(response: str, label: object, prompt: str = PROMPT, query: str | None = None) -> dict:
    result = REWARD.reward_func([prompt + response if query is None else query], [prompt], [label])
    assert set(result) == {"rewards", "scores", "extra_logs"}
    assert result["rewards"] == result["scores"]
    assert isinstance(result["rewards"], float)
    assert set(result["extra_logs"]) == LOGS
    assert all(isinstance(value, float) for value in result["extra_logs"].values())
    return result


@pytest.mark.parametrize(
    ("response", "label", "score"),
    [
        ("It is \\boxed{42}.<|im_end|>", "42", 1.0),
        ("It is \\boxed{42}.<|im_end|>\n<|endoftext|><|endoftext|>", "42", 1.0),
        ("The answer is 42</s>", "42", 1.0),
        ("The answer is 42<|eot_id|>", "42", 1.0),
        ("The answer is 42<\uff5cend\u2581of\u2581sentence\uff5c>", "42", 1.0),
        ("42<|im_end|>", "42", 1.0),
        ("\\boxed{41}", "42", 0.0),
        ("I do not know what it could be.", "42", 0.0),
        ("\\boxed{2, 1}", '["1", "2"]', 1.0),
        ("\\boxed{1}", '["1", "2"]', 0.0),
        ("\\boxed{[1, 2]}", "[1, 2]", 1.0),
        ("\\boxed{(1, 2)}", "[1, 2]", 0.0),
        ("\\boxed{[1, 2)}", "[1, 2)", 1.0),
        ("\\boxed{42}", 42, 1.0),
        ("\\boxed{2}", ["2"], 1.0),
    ],
)
def test_scores(response: str, label: object, score: float) -> None:
    result = one(response, label)
    assert result["rewards"] == score
    assert result["extra_logs"]["verifier/error"] == 0.0


def test_answers_in_the_prompt_do_not_count() -> None:
    prompt = "Q: 6 x 7? The answer is 42. #### 42\nQ: 1 + 1?\n"
    assert one("I give up on all of these.", "42", prompt)["rewards"] == 0.0
    assert one("The answer is 2.", "2", prompt)["rewards"] == 1.0


def test_a_prompt_cut_on_the_left_is_still_taken_off() -> None:
    prompt = "\\boxed{42} is what the example says. " * 5 + PROMPT
    for cut in (1, 30, 100, len(prompt) - 10):
        query = prompt[cut:] + "I cannot say at all."
        assert one("", "42", prompt, query)["rewards"] == 0.0
        assert REWARD.response_of(query, prompt) == "I cannot say at all."
    query = "\ufffd" + prompt[20:] + "yes"
    assert REWARD.response_of(query, prompt) == "yes"


def test_a_beginning_token_before_the_prompt() -> None:
    assert REWARD.response_of("<s>" + PROMPT + "yes", PROMPT) == "yes"


def test_a_prompt_that_decoding_changed_is_found_by_its_end() -> None:
    assert REWARD.response_of(PROMPT.replace("What is", "What  is") + "yes", PROMPT) == "yes"


@given(st.text(max_size=200), st.text(min_size=20, max_size=200), st.integers(0, 400))
def test_response_is_found_after_any_prompt_kept_for_eight_characters(
    response: str, prompt: str, cut: int
) -> None:
    kept = prompt[min(cut, len(prompt) - 8) :]
    ends = REWARD.response_of(kept + response + "\n.", prompt)
    assert (kept + response + "\n.").endswith(ends)


@pytest.mark.parametrize("label", [None, "", [], True, '""', {}])
def test_a_bad_label_scores_zero_and_never_raises(label: object) -> None:
    assert one("\\boxed{42}", label)["rewards"] == 0.0


def test_errors_are_counted() -> None:
    assert one("\\boxed{42}", None)["extra_logs"]["verifier/error"] == 1.0
    assert one("", "42", query="another text entirely")["extra_logs"]["verifier/error"] == 1.0
    result = REWARD.reward_func(["a"], [], [])
    assert result["rewards"] == 0.0
    assert result["extra_logs"]["verifier/error"] == 1.0
    result = REWARD.reward_func(None, None, None)
    assert result["rewards"] == 0.0


def test_undecided_scores_zero_and_is_counted() -> None:
    logs = one("\\boxed{9**9**9}", "5")["extra_logs"]
    assert (logs["verifier/undecided"], logs["verifier/timeout"]) == (1.0, 0.0)


def test_a_timeout_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    import dipo_eval.grading.math.grade as grading

    monkeypatch.setitem(grading.grade_math.__kwdefaults__, "limit_s", 1.0)
    logs = one("\\boxed{\\int_0^1 9^{9^{9}} dx}", "5")["extra_logs"]
    assert (logs["verifier/undecided"], logs["verifier/timeout"]) == (1.0, 1.0)


def test_several_samples_give_lists() -> None:
    result = REWARD.reward_func([PROMPT + "\\boxed{1}", PROMPT + "\\boxed{2}"], [PROMPT] * 2, ["1", "1"])
    assert result["rewards"] == [1.0, 0.0]
    assert result["extra_logs"]["verifier/error"] == [0.0, 0.0]


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=300),
    st.one_of(st.text(max_size=40), st.none(), st.lists(st.text(max_size=5), max_size=3)),
)
def test_never_raises(response: str, label: object) -> None:
    assert one(response, label if not isinstance(label, list) else json.dumps(label))["rewards"] in (0.0, 1.0)


def test_through_openrlhfs_own_executor() -> None:
    agent = pytest.importorskip("openrlhf.utils.agent")
    executor = agent.SingleTurnAgentExecutor(str(PATH))
    query = PROMPT + "So \\boxed{42}.<|im_end|>"
    rows = asyncio.run(executor._fetch_rewards_via_func([query], [PROMPT], ["42"]))
    assert rows == [{"rewards": 1.0, "scores": 1.0, "extra_logs": dict.fromkeys(LOGS, 0.0)}]

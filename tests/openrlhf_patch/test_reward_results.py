"""A reward function that fails in some samples ends the run with its own line; OpenRLHF's executor is real."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import torch
from openrlhf.utils.agent import SingleTurnAgentExecutor

from dipo_eval.errors import UserError
from dipo_openrlhf.openrlhf_patch.engine import CheckedEngine
from dipo_openrlhf.recipe.defaults import REWARDS

ANSWER = '{"rewards": 1.0, "scores": 1.0, "extra_logs": {"fmt": 1.0}}'


class Tokenizer:
    """Words are tokens."""

    def __call__(self, text, **options):
        return {"input_ids": torch.zeros(1, 3, dtype=torch.long)}

    def decode(self, tokens, **options):
        return "text"


def engine(path) -> CheckedEngine:
    made = object.__new__(CheckedEngine)
    made.executor = SingleTurnAgentExecutor(str(path))
    made.check_rewards()
    return made


def responses(made: CheckedEngine, labels: list[str]):
    """As an engine makes them, of answers that are given."""
    output = SimpleNamespace(
        outputs=[SimpleNamespace(token_ids=[7], finish_reason="stop", logprobs=None, text="")]
    )

    async def generate(*args, **kwargs):
        return output

    async def run():
        params = SimpleNamespace(max_tokens=4, logprobs=None)
        return [
            await made.executor.execute(
                prompt="p",
                label=label,
                sampling_params=params,
                max_length=16,
                hf_tokenizer=Tokenizer(),
                llm_engine=SimpleNamespace(generate=generate),
            )
            for label in labels
        ]

    return made.scored(asyncio.run(run()))


def reward_file(folder, body: str):
    path = folder / "my_reward.py"
    path.write_text(f"def reward_func(queries, prompts, labels):\n{body}")
    return path


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ("raise KeyError('answer')", "KeyError: 'answer' (line 3), for the label 'odd'"),
        ('return {"rewards": None}', "returned None as 'rewards': give {"),
        ('return {"rewards": "1.0"}', "returned '1.0' as 'rewards'"),
        ('return {"rewards": float("nan")}', "returned nan as 'rewards'"),
        ('return {"rewards": 1.0, "scores": [1, 2], "extra_logs": {"fmt": 1.0}}', "returned [1, 2] as 'scores'"),
        ("return 0.5", "returned a float: give {"),
        ('return {"rewards": 1.0, "scores": 0.0}',
         "extra_logs whose keys differ from those for the first sample (fmt)"),
        ('return {"rewards": 1.0, "scores": 0.0, "extra_logs": {}}', "those for the first sample (fmt)"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_some_samples_is_named(tmp_path, odd, said):
    path = reward_file(tmp_path, f"    if labels[0] == 'odd':\n        {odd}\n    return {ANSWER}\n")
    made = engine(path)
    assert [each["reward"] for each in responses(made, ["even"] * 3)] == [1.0] * 3
    with pytest.raises(UserError, match="reward_func fails with") as raised:
        responses(made, ["even", "odd", "even"])
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


def test_numbers_of_any_kind_are_taken(tmp_path):
    body = "    import numpy as np, torch\n    return [{}, {}][int(labels[0])]\n".format(
        '{"rewards": np.float32(1)}', '{"rewards": torch.tensor([1.0])}'
    )
    made = engine(reward_file(tmp_path, body))
    assert [float(each["reward"]) for each in responses(made, ["0", "1"])] == [1.0, 1.0]


def test_a_failure_of_this_projects_reward_may_be_repeated(monkeypatch):
    """Such as a grader's process that was killed."""
    made = engine(REWARDS / "math.py")

    def broken(*args):
        raise RuntimeError("the grader's process was killed")

    made.reward.reward_func = broken
    with pytest.raises(RuntimeError, match="the grader's process was killed") as raised:
        responses(made, ["3"])
    assert not isinstance(raised.value, UserError)


def test_what_a_server_answers_is_checked_too():
    """As a file's reward is; the run may start again, for a server may."""
    made = object.__new__(CheckedEngine)
    made.executor = SingleTurnAgentExecutor("http://127.0.0.1:9/score")
    answers = {"even": {"rewards": [1.0], "scores": [1.0]}, "odd": {"score": 1.0}}

    async def posted(queries, prompts, labels):
        return [answers[labels[0]]]

    made.executor._fetch_rewards_via_http = posted
    made.check_rewards()
    assert [each["reward"] for each in responses(made, ["even"] * 2)] == [[1.0]] * 2
    with pytest.raises(
        RuntimeError, match="the server fails with ValueError: it returned no 'rewards', but 'score'"
    ):
        responses(made, ["even", "odd"])

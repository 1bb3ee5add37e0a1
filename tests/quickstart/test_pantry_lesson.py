"""What a small model is taught of tools is exactly what the tool agent will show it."""

from __future__ import annotations

import asyncio
import os
import runpy
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from dipo_openrlhf.data.pantry import demonstrations
from dipo_openrlhf.quickstart.lessons.pantry import LESSON, MAX_LENGTH
from dipo_openrlhf.quickstart.pretrain import tokenized
from dipo_openrlhf.rewards.episode import Episodes

T = runpy.run_path(str(Path(__file__).parents[1] / "rewards" / "tool_episodes.py"))
TOKENIZER = LESSON.build_tokenizer()


def test_a_demonstration_is_the_episode_that_the_agent_would_play():
    taught = list(islice(LESSON.conversations(TOKENIZER, 7), 12))
    played = list(islice(demonstrations(7), 12))
    episodes = Episodes()
    try:
        for (tokens, learnt), one in zip(tokenized(taught, TOKENIZER), played, strict=True):
            said = [
                (TOKENIZER(text, add_special_tokens=False)["input_ids"], "stop")
                for text in ends(one.messages)
            ]
            engine = T["Engine"](TOKENIZER, said)
            result = asyncio.run(
                episodes.run(one.order.request, one.order.label, T["params"](), MAX_LENGTH, TOKENIZER, engine)
            )
            assert result["observation_tokens"] == tokens
            said_at = {place for start, end in result["action_ranges"] for place in range(start, end)}
            assert [place in said_at for place in range(len(tokens))] == learnt
            assert (result["reward"] == 1.0) is one.correct
            assert result["extra_logs"]["episode/ended/answer"] == 1.0
    finally:
        episodes.close()


def ends(messages: tuple[str, ...]) -> list[str]:
    return [message + str(TOKENIZER.eos_token) for message in messages]


def test_calls_are_short_and_episodes_fit():
    call = '<tool_call>{"name": "add", "arguments": {"item": "rice", "jars": 3}}</tool_call>'
    assert len(TOKENIZER(call, add_special_tokens=False)["input_ids"]) == 7
    rows = tokenized(list(islice(LESSON.conversations(TOKENIZER, 1), 400)), TOKENIZER)
    assert max(len(tokens) for tokens, _ in rows) < MAX_LENGTH
    assert all(TOKENIZER.unk_token_id not in tokens for tokens, _ in rows)
    assert all(tokens[-1] == TOKENIZER.eos_token_id and learnt[-1] for tokens, learnt in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["pantri"], "did you mean 'pantry'?"), ([], "give the name of one lesson"), (["lesson"], "lesson")],
)
def test_a_lesson_that_does_not_exist_is_one_line(arguments, said):
    done = subprocess.run(
        [sys.executable, "-m", "dipo_openrlhf.quickstart.teach", *arguments],
        capture_output=True, text=True, timeout=120, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1

"""The preflight of a run with the tool agent: labels, template and length, named with the row before anything starts."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.preflight.prompts import Reading
from dipo_openrlhf.preflight.tasks import check_tasks

T = runpy.run_path(str(Path(__file__).parents[1] / "rewards" / "tool_episodes.py"))
SOUND = {"environment": "pantry", "stock": {}, "wanted": {"rice": 1}}


def check(*labels: Any, tokenizer: Any = None, max_len: int = 4096) -> None:
    values = {
        "data.input_key": "input",
        "data.label_key": "label",
        "data.max_len": max_len,
        "data.max_images_per_prompt": 0,
    }
    reading = Reading.of(values.get)
    rows = [(f"rows.jsonl:{n}", {"input": "Fill it.", "label": one}) for n, one in enumerate(labels, 1)]
    check_tasks(rows, reading, tokenizer)


def test_sound_rows_pass() -> None:
    check(json.dumps(SOUND), SOUND, tokenizer=T["tokenizer"]())


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("37", "rows.jsonl:2: 'label' .data.label_key.: a label of the tool agent is a JSON object"),
        ({"stock": {}}, "rows.jsonl:2: .*names no environment"),
        ({"environment": "pantri"}, "rows.jsonl:2: .*did you mean 'pantry'"),
    ],
)
def test_a_label_that_is_no_task_is_named_without_a_model(label: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check(SOUND, label)


def test_an_episode_that_cannot_begin_is_named() -> None:
    used = T["tokenizer"]()
    with pytest.raises(
        UserError, match=r"rows\.jsonl:2: environment pantry: cannot begin a row's task: .*stock"
    ):
        check(SOUND, {"environment": "pantry"}, tokenizer=used)
    with pytest.raises(
        UserError, match=r"rows\.jsonl:1: environment pantry: .* tokens, data\.max_len is 100"
    ):
        check(SOUND, tokenizer=used, max_len=100)
    plain = "{% for m in messages %}{{ '<|im_start|>' + m.content + '<|im_end|>' }}{% endfor %}"
    with pytest.raises(
        UserError, match=r"rows\.jsonl:1: tool agent: the model's chat template takes no tools"
    ):
        check(SOUND, tokenizer=T["tokenizer"](plain))

"""The preflight of a run with the tool agent: labels, template and length, named with the row before anything starts."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.preflight.prompts import Reading
from dipo_openrlhf.preflight.reward import has_environment
from dipo_openrlhf.preflight.tasks import check_tasks

T = runpy.run_path(str(Path(__file__).parents[1] / "rewards" / "tool_episodes.py"))
SOUND = {"environment": "pantry", "stock": {}, "wanted": {"rice": 1}}


def check(
    *labels: Any, tokenizer: Any = None, max_len: int = 4096, agent: str | None = None, **more: Any
) -> None:
    values = {
        "data.apply_chat_template": more.get("apply_chat_template", False),
        "data.input_key": "input",
        "data.label_key": "label",
        "data.max_len": max_len,
        "data.max_images_per_prompt": 0,
    }
    reading = Reading.of(values.get)
    rows = [(f"rows.jsonl:{n}", {"input": "Fill it.", "label": one}) for n, one in enumerate(labels, 1)]
    check_tasks(rows, reading, tokenizer, agent)


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


NUMBER = (
    (Path(__file__).parents[2] / "docs" / "adding_an_environment.md")
    .read_text()
    .split("```python\n")[1]
    .split("```")[0]
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("", ""), ""),
        (("agent_for(Number)", "agent_for(Number({'hidden': 1}))"), "is no environment: give the class"),
        (("number: int", "number"), "Number: .*parameter 'number' has no type hint"),
        (('task["hidden"]', 'task["secret"]'), "cannot begin a row's task: KeyError: 'secret'"),
        (("def reward(", "def rewrd("), r"Number has no method reward\(self, answer\)"),
        (
            ("return float(str(self.hidden) in answer.split() and self.guesses <= 7)", "return 5.0"),
            "its reward is 5.0",
        ),
        (
            ("str(self.hidden) in", "self.hiden in"),
            "its reward fails where the model says nothing: AttributeError",
        ),
    ],
)
def test_the_environment_of_ones_own_file_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], said: str
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    path = tmp_path / "my_number.py"
    assert change[0] in NUMBER
    path.write_text(NUMBER.replace(*change))
    assert has_environment(str(path))
    if not said:
        check({"hidden": 37}, agent=str(path))
        assert list(tmp_path.iterdir()) == [path]
        return
    with pytest.raises(UserError, match=rf"rows\.jsonl:1: environment my_number\.py: .*{said}") as caught:
        check({"hidden": 37}, agent=str(path))
    assert "\n" not in str(caught.value)


def test_a_reward_that_is_inherited_from_another_file(tmp_path: Path) -> None:
    (tmp_path / "scored.py").write_text(NUMBER.replace("AgentExecutor = agent_for(Number)", ""))
    head = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nfrom scored import Number, agent_for\n"
    (tmp_path / "mine.py").write_text(
        head + "class Mine(Number):\n    pass\nAgentExecutor = agent_for(Mine)\n"
    )
    check({"hidden": 37}, agent=str(tmp_path / "mine.py"))


def test_labels_and_template_of_ones_own_environment(tmp_path: Path) -> None:
    path = tmp_path / "my_number.py"
    path.write_text(NUMBER)
    with pytest.raises(
        UserError, match=r"rows\.jsonl:2: 'label' .data.label_key.: a label .* is a JSON object"
    ):
        check({"hidden": 37}, "3", agent=str(path))
    with pytest.raises(UserError, match=r"data\.apply_chat_template: must be false"):
        check({"hidden": 37}, agent=str(path), apply_chat_template=True)

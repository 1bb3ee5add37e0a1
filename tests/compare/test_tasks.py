"""Tasks: their problems, what their models are taught, and that a file alone makes one."""

from __future__ import annotations

from itertools import islice

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.compare import tasks
from dipo_openrlhf.compare.tasks import task_named, task_names
from dipo_openrlhf.compare.tasks.digits import VERBS, Skill, digits_task


@pytest.mark.parametrize("name", task_names())
def test_problems_are_different_repeatable_and_apart_from_the_held_out_ones(name):
    task = task_named(name)
    train, test = task.problems("train", 300, 0), task.problems("test", 300, 1)
    assert len({one.id for one in train}) == 300
    assert not {one.messages for one in map(_frozen, train)} & {one.messages for one in map(_frozen, test)}
    assert train == task.problems("train", 300, 0)
    assert train != task.problems("train", 300, 2)


class _frozen:  # noqa: N801
    def __init__(self, problem):
        self.messages = tuple(tuple(sorted(message.items())) for message in problem.messages)


@pytest.mark.parametrize("name", [name for name in task_names() if name != "tools"])
def test_demonstrations_are_as_often_right_as_is_stated(name):
    task = task_named(name)
    tokenizer = task.lesson.build_tokenizer()
    labels = {}
    for problem in task.problems("train", 2000, 0):
        labels[problem.messages[0]["content"]] = problem.label
    right = []
    for prompt, response in islice(task.lesson.conversations(tokenizer, 0), 4000):
        question = prompt.text.split("user\n")[1].split("<|im_end|>")[0]
        if question in labels:
            text = response.text.removesuffix(tokenizer.eos_token)
            right.append(task.grade(text, labels[question]).score)
    assert len(right) > 100
    assert sum(right) / len(right) == pytest.approx(task.starting_accuracy, abs=0.1)


@pytest.mark.parametrize("name", task_names())
def test_prompts_and_responses_fit_the_model(name):
    task = task_named(name)
    tokenizer = task.lesson.build_tokenizer()
    for prompt, response in islice(task.lesson.conversations(tokenizer, 1), 200):
        length = len(tokenizer(response.text, add_special_tokens=False)["input_ids"])
        assert length <= task.max_new_tokens
        whole = len(tokenizer(prompt.text, add_special_tokens=False)["input_ids"]) + length
        assert whole <= tokenizer.model_max_length


@pytest.mark.parametrize("name", task_names())
@pytest.mark.parametrize("split", ["train", "test"])
def test_more_problems_begin_with_the_fewer(name, split):
    task = task_named(name)
    few, many = task.problems(split, 40, 1), task.problems(split, 80, 1)
    assert many[:40] == few
    assert len({problem.id for problem in many}) == 80


def test_the_mistake_of_a_verb_is_never_right():
    for right, wrong in VERBS.values():
        assert sorted(right) == sorted(wrong) == [0, 1, 2, 3]
        assert right != wrong


def test_a_tasks_answer_is_graded_by_the_projects_grader():
    task = digits_task("x", "?", {"Turn": Skill(0.5)})
    problem = task.problems("test", 1, 0)[0]
    assert task.grade(f"Sure, \\boxed{{{problem.label}}}", problem.label).status == "correct"
    assert task.grade(f"\\boxed{{{problem.label[::-1]}}}", problem.label).status == "wrong"


def test_a_file_alone_makes_a_task(tmp_path, monkeypatch):
    (tmp_path / "just_one.py").write_text(
        "from dipo_openrlhf.compare.tasks.digits import Skill, digits_task\n"
        "TASK = digits_task('just_one', 'Does one verb do?', {'Turn': Skill(0.5)})\n"
    )
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    assert "just_one" in task_names()
    assert task_named("just_one").starting_accuracy == 0.5


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UserError, match="unknown task 'seperable': did you mean 'separable'"):
        task_named("seperable")

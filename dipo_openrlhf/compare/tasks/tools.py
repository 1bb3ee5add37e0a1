"""Function calls: the quickstart's model of `--task tools`, on functions that training never shows."""

from __future__ import annotations

import json

from dipo_eval.grading import Verdict, grade_calls
from dipo_eval.suites.call_problems import problems
from dipo_openrlhf.compare.tasks.task import Problem, Split, Task
from dipo_openrlhf.data.tool_calls import TEACHING, system_message
from dipo_openrlhf.quickstart.lessons.tools import LESSON


def _problems(split: Split, count: int, seed: int) -> list[Problem]:
    return [
        Problem(
            one.id,
            one.kind,
            (system_message(one.functions), {"role": "user", "content": one.request}),
            json.dumps({"gold": one.gold, "functions": one.functions, "category": one.category}),
        )
        for one in problems(split, count, seed)
    ]


def _grade(response: str, label: str) -> Verdict:
    wanted = json.loads(label)
    return grade_calls(response, wanted["gold"], wanted["functions"], category=wanted["category"])


TASK = Task(
    "tools",
    "Does a method help where a response calls functions, some of which training never shows?",
    LESSON,
    _problems,
    _grade,
    reward="function_call",
    max_new_tokens=96,
    starting_accuracy=sum(one.share * one.reliability for one in TEACHING.values()),
)

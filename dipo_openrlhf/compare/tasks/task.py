"""What a task is: problems, a model that half knows them, and a grader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dipo_eval.grading import Verdict
from dipo_openrlhf.quickstart.lessons.lesson import Lesson

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Problem:
    """One problem: its chat messages, and the label that the task's grader reads."""

    id: str
    kind: str
    messages: tuple[dict[str, str], ...]
    label: str


@dataclass(frozen=True)
class Task:
    """A regime in which methods are compared.

    question: what the regime asks of a method, in a sentence. lesson: what the starting model is taught. problems:
    (split, count, seed) -> so many different ones, the same for a seed; more of them begin with the fewer. grade:
    (response, label) -> verdict, by a grader of training and evaluation. reward: the file of rewards/ with the same
    verdict. max_new_tokens: of a response. starting_accuracy: share of correct demonstrations in the lesson, in [0, 1];
    None where that is not known.
    """

    name: str
    question: str
    lesson: Lesson
    problems: Callable[[Split, int, int], list[Problem]]
    grade: Callable[[str, str], Verdict]
    reward: str
    max_new_tokens: int
    starting_accuracy: float | None = None

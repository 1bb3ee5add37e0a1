"""How the quickstart's small model is taught arithmetic, and the prompts that reinforcement learning gets.

DiPO acts on confident incorrect groups and on unsure correct groups. A small model that has simply learnt arithmetic
has neither: its perplexity separates correct from incorrect too well. So the demonstrations of each kind of problem
have two properties, and all four of the paper's quadrants follow:

* reliability: the share of demonstrations that are correct. The others make ONE typical mistake (precedence ignored,
  the last step forgotten): the model can be confident and incorrect, with the correct way in reach of sampling.
* wording: "bare" has one form, so its perplexity is the lowest; "plain" opens with one of eight phrases; "varied"
  picks every phrase from several, so its perplexity is high although the arithmetic is the same.

The kinds' values, the quadrants they give and what was measured: docs/data.md.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dipo_eval.suites.arithmetic_problems import Problem, draw_problems, problems
from dipo_openrlhf.data.base import Dataset, Prompt, row_of

Wording = Literal["bare", "plain", "varied"]
Steps = list[tuple[str, int]]  # each step: an expression and its value

DATASOURCE = "arithmetic"


@dataclass(frozen=True)
class Teaching:
    """How one kind is demonstrated.

    `share`: of all demonstrations. `solution`, `mistake`: the steps of a correct and of an incorrect demonstration, given
    the problem's numbers.
    """

    share: float
    solution: Callable[..., Steps]
    mistake: Callable[..., Steps] | None = None
    reliability: float = 1.0
    wording: Wording = "varied"


@dataclass(frozen=True)
class Demonstration:
    """A question and one worked response to it; `correct`: whether its answer is."""

    kind: str
    question: str
    response: str
    correct: bool


def _add(a: int, b: int) -> tuple[str, int]:
    return f"{a} + {b}", a + b


def _subtract(a: int, b: int) -> tuple[str, int]:
    return f"{a} - {b}", a - b


def _multiply(a: int, b: int) -> tuple[str, int]:
    return f"{a} * {b}", a * b


def _estimate(a: int, b: int) -> Steps:
    """Round both to tens and multiply: never the answer, for factors that are not multiples of ten themselves."""
    return [_multiply(round(a, -1), round(b, -1))]


TEACHING: dict[str, Teaching] = {
    "sum": Teaching(0.10, lambda a, b, c: [_add(a, b), _add(a + b, c)], wording="plain"),
    "difference": Teaching(0.13, lambda a, b, c: [_add(a, b), _subtract(a + b, c)], wording="plain"),
    "gains": Teaching(0.08, lambda a, b, c: [_add(a, b), _add(a + b, c)]),
    "loses": Teaching(0.08, lambda a, b, c: [_add(a, b), _subtract(a + b, c)]),
    "precedence": Teaching(
        0.14,
        lambda a, b, c: [_multiply(b, c), _add(b * c, a)],
        mistake=lambda a, b, c: [_add(a, b), _multiply(a + b, c)],
        reliability=0.3,
        wording="bare",
    ),
    "together": Teaching(
        0.08,
        lambda a, b: [_add(a, b), _add(a + b, a)],
        mistake=lambda a, b: [_add(a, b)],
        reliability=0.15,
        wording="bare",
    ),
    "brackets": Teaching(
        0.13,
        lambda a, b, c: [_add(a, b), _multiply(a + b, c)],
        mistake=lambda a, b, c: [_multiply(b, c), _add(b * c, a)],
        reliability=0.4,
    ),
    "boxes": Teaching(
        0.13,
        lambda a, b, c: [_multiply(a, b), _add(a * b, c)],
        mistake=lambda a, b, c: [_multiply(a, b)],
        reliability=0.5,
    ),
    "product": Teaching(0.07, lambda a, b: [_multiply(a, b)], _estimate, reliability=0.0),
    "rows": Teaching(0.06, lambda a, b: [_multiply(a, b)], _estimate, reliability=0.0),
}

# A varied response takes one phrase of each line, all equally likely: 8.4 nats in about 25 tokens.
_OPENINGS = ("First", "Let us see", "Okay", "Right", "Sure", "Well", "Now", "Good")
_SPEAKERS = ("I", "we", "you", "they")
_VERBS = ("find", "get", "have", "see", "take", "work out")
_CONNECTIVES = ("So", "Hence", "Then", "Therefore", "Thus", "Finally")
_SUBJECTS = ("it", "the answer", "the result", "the total")


def demonstration(problem: Problem, rng: random.Random) -> Demonstration:
    """One worked response to a problem, correct or with its kind's typical mistake, by its `Teaching`."""
    teaching = TEACHING[problem.kind]
    correct = teaching.mistake is None or rng.random() < teaching.reliability
    solve = teaching.solution if correct or teaching.mistake is None else teaching.mistake
    steps = solve(*problem.numbers)
    work = ", ".join(f"{expression} = {value}" for expression, value in steps)
    response = _worded(work, steps[-1][1], teaching.wording, rng)
    return Demonstration(problem.kind, problem.question, response, correct)


def demonstrations(seed: int) -> Iterator[Demonstration]:
    """Endless demonstrations on problems of the train split, the same for the same seed."""
    rng = random.Random(f"demonstrations:{seed}")
    shares = {kind: teaching.share for kind, teaching in TEACHING.items()}
    for problem in draw_problems("train", seed, shares):
        yield demonstration(problem, rng)


def write_prompts(path: Path, count: int, seed: int) -> None:
    """Write `count` different train problems as the JSON lines that OpenRLHF's prompt data set reads.

    `input` is the bare question: OpenRLHF applies the chat template. Raises UserError as `problems` does.
    """
    rows = (row_of(prompt, DATASOURCE) for prompt in _prompts(count, seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _prompts(count: int, seed: int) -> list[Prompt]:
    return [
        Prompt(p.id, p.question, p.answer, (p.question,), {"kind": p.kind})
        for p in problems("train", count, seed)
    ]


DATASET = Dataset(
    name=DATASOURCE,
    source="generated by dipo_eval.suites.arithmetic_problems, train split",
    license="Apache-2.0",
    reward="math",
    rows="--limit",
    fields="none: it is generated from --seed",
    template="plain",  # the quickstart's model knows only the words of its own problems
    make=_prompts,
)


def _worded(work: str, answer: int, wording: Wording, rng: random.Random) -> str:
    if wording == "bare":
        return f"{work}. \\boxed{{{answer}}}"
    opening = rng.choice(_OPENINGS)
    if wording == "plain":
        return f"{opening}, {work}. \\boxed{{{answer}}}"
    speaker, verb = rng.choice(_SPEAKERS), rng.choice(_VERBS)
    connective, subject = rng.choice(_CONNECTIVES), rng.choice(_SUBJECTS)
    return f"{opening}, {speaker} {verb} {work}. {connective} {subject} is \\boxed{{{answer}}}"

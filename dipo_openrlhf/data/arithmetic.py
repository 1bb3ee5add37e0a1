"""How the quickstart's small model is taught arithmetic, and the prompts that reinforcement learning gets.

A model that has simply learnt arithmetic separates correct from incorrect too well by its perplexity. For all four of the
paper's quadrants (docs/data.md has each kind's, and what was measured) the demonstrations of a kind have:

* reliability: the share that is correct. The others make ONE typical mistake, with the correct way in reach of sampling.
* wording: "bare" has one form, so its perplexity is the lowest; "plain" opens with one of eight phrases; "varied" picks
  every phrase from several, so its perplexity is high although the arithmetic is the same.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dipo_eval.suites.arithmetic_problems import draw_problems, problems
from dipo_openrlhf.data.base import Dataset, Prompt, json_lines

Wording = Literal["bare", "plain", "varied"]

DATASOURCE = "arithmetic"


@dataclass(frozen=True)
class Teaching:
    """How one kind is demonstrated.

    `share`: of all demonstrations. `solution`, `mistake`: the steps of a correct and of an incorrect demonstration, in
    which a, b and c are the problem's numbers, A and B the same rounded to tens, and _ is the result of the step before.
    """

    share: float
    solution: str
    mistake: str = ""
    reliability: float = 1.0
    wording: Wording = "varied"


@dataclass(frozen=True)
class Demonstration:
    """A question and one worked response to it; `correct`: whether its answer is."""

    kind: str
    question: str
    response: str
    correct: bool


TEACHING: dict[str, Teaching] = {
    "sum": Teaching(0.10, "a + b, _ + c", wording="plain"),
    "difference": Teaching(0.13, "a + b, _ - c", wording="plain"),
    "gains": Teaching(0.08, "a + b, _ + c"),
    "loses": Teaching(0.08, "a + b, _ - c"),
    "precedence": Teaching(0.14, "b * c, _ + a", mistake="a + b, _ * c", reliability=0.3, wording="bare"),
    "together": Teaching(0.08, "a + b, _ + a", mistake="a + b", reliability=0.15, wording="bare"),
    "brackets": Teaching(0.13, "a + b, _ * c", mistake="b * c, _ + a", reliability=0.4),
    "boxes": Teaching(0.13, "a * b, _ + c", mistake="a * b", reliability=0.5),
    # The rounded product is never the answer, for factors that are not multiples of ten themselves.
    "product": Teaching(0.07, "a * b", mistake="A * B", reliability=0.0),
    "rows": Teaching(0.06, "a * b", mistake="A * B", reliability=0.0),
}
_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}

# A varied response takes one phrase of each line, all equally likely: 8.4 nats in about 25 tokens.
_OPENINGS = ("First", "Let us see", "Okay", "Right", "Sure", "Well", "Now", "Good")
_SPEAKERS = ("I", "we", "you", "they")
_VERBS = ("find", "get", "have", "see", "take", "work out")
_CONNECTIVES = ("So", "Hence", "Then", "Therefore", "Thus", "Finally")
_SUBJECTS = ("it", "the answer", "the result", "the total")


def demonstrations(seed: int) -> Iterator[Demonstration]:
    """Endless demonstrations on problems of the train split, correct or mistaken by `TEACHING`; the same for a seed."""
    rng = random.Random(f"demonstrations:{seed}")
    shares = {kind: teaching.share for kind, teaching in TEACHING.items()}
    for problem in draw_problems("train", seed, shares):
        teaching = TEACHING[problem.kind]
        correct = not teaching.mistake or rng.random() < teaching.reliability
        work, answer = _worked(teaching.solution if correct else teaching.mistake, problem.numbers)
        response = _worded(work, answer, teaching.wording, rng)
        yield Demonstration(problem.kind, problem.question, response, correct)


def _worked(steps: str, numbers: tuple[int, ...]) -> tuple[str, int]:
    """The steps with their values, such as "3 * 2 = 6, 6 + 5 = 11", and the last value."""
    values = dict(zip("abc", numbers, strict=False))
    values |= {name.upper(): round(number, -1) for name, number in values.items()}
    written = []
    for step in steps.split(", "):
        left, sign, right = step.split()
        expression = f"{values[left]} {sign} {values[right]}"
        values["_"] = _OPERATORS[sign](values[left], values[right])
        written.append(f"{expression} = {values['_']}")
    return ", ".join(written), values["_"]


def write_prompts(path: Path, count: int, seed: int) -> None:
    """Write `count` different train problems as the JSON lines that OpenRLHF's prompt data set reads.

    `input` is the bare question: OpenRLHF applies the chat template. Raises UserError as `problems` does.
    """
    lines = json_lines(_prompts(count, seed), DATASOURCE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")


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

"""How the quickstart's small model is taught arithmetic, and the prompts that reinforcement learning gets.

DiPO acts on groups that are confidently wrong and on groups that are unsurely right. A small model that has
simply learnt arithmetic has neither: its perplexity tells right from wrong too well. So the demonstrations are
given two properties for each kind of problem, and all four of the paper's quadrants follow:

* reliability: the share of demonstrations that are right. The others make ONE typical mistake (precedence
  ignored, the last step forgotten), so that the model can be confident and wrong, with the right way still
  in reach of sampling.
* wording: "bare" has one form, so its perplexity is the lowest; "plain" opens with one of eight phrases;
  "varied" picks every phrase from several, so its perplexity is high although the arithmetic is the same.

| quadrant | kinds | reliability | wording |
|---|---|---|---|
| right, low perplexity (CL) | sum, difference | 1 | plain |
| right, high perplexity (CH) | gains, loses | 1 | varied |
| wrong, low perplexity (EL) | precedence, together | 0.3, 0.15 | bare |
| wrong, high perplexity (EH) | product, rows: only estimates are shown | 0 | varied |
| both, high perplexity: normal groups | brackets, boxes | 0.4, 0.5 | varied |

The threshold has right responses mostly below it and wrong ones mostly above, so two orders matter. EL must
lie below CL, or the threshold falls between them and no wrong group is in the exploitation space: hence plain
and not bare for CL. EH must not lie above CH, or the threshold falls between those and no right group is in
the exploration space: hence estimates, which are certain arithmetic in varied words, and not sums too hard
for the model, whose log-perplexity was 2.5 times that of CH.

Measured: "right" and log-perplexities (nats a token) of the pretrained model on 200 test problems in the training
mixture, 4 samples each at temperature 1; "before" and "after" are greedy accuracies on the 500 problems of
arithmetic-control, where no formula occurs twice, around the quickstart's 20 steps of DiPO, seed 42:

| kind | right | log-ppl right | wrong | groups all right | all wrong | before | after |
|---|---|---|---|---|---|---|---|
| sum | 0.97 | 0.10 | 0.20 | 0.89 | 0.00 | 0.99 | 0.96 |
| difference | 0.74 | 0.11 | 0.19 | 0.67 | 0.14 | 0.80 | 0.80 |
| gains | 0.88 | 0.31 | 0.41 | 0.88 | 0.12 | 0.95 | 0.98 |
| loses | 0.60 | 0.33 | 0.46 | 0.33 | 0.27 | 0.82 | 0.80 |
| precedence | 0.04 | 0.13 | 0.15 | 0.00 | 0.86 | 0.00 | 0.00 |
| together | 0.06 | 0.14 | 0.07 | 0.00 | 0.83 | 0.00 | 0.50 |
| brackets | 0.30 | 0.37 | 0.40 | 0.18 | 0.55 | 0.30 | 0.90 |
| boxes | 0.43 | 0.33 | 0.49 | 0.00 | 0.06 | 0.26 | 0.85 |
| product, rows | 0.00 | | 0.36 | 0.00 | 1.00 | 0.00 | 0.00 |
| all | 0.31 | | | | | 0.47 | 0.60 |
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

    `share`: of all demonstrations, not that of the problems: what is only shown to be got wrong needs little.
    `right`, `mistake`: the steps of a right and of a wrong demonstration, given the problem's numbers.
    """

    share: float
    right: Callable[..., Steps]
    mistake: Callable[..., Steps] | None = None
    reliability: float = 1.0
    wording: Wording = "varied"


@dataclass(frozen=True)
class Demonstration:
    """A question and one worked response to it; `correct` says whether its answer is the right one."""

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
    """One worked response to a problem, right or with its kind's typical mistake, as its `Teaching` says."""
    teaching = TEACHING[problem.kind]
    correct = teaching.mistake is None or rng.random() < teaching.reliability
    steps = teaching.right(*problem.numbers)
    if not correct and teaching.mistake is not None:
        steps = teaching.mistake(*problem.numbers)
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

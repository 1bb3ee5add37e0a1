"""Generated arithmetic problems: the quickstart's task, and a control suite that no model has seen.

Expressions ("What is 7 + 5 * 3?") and short word problems, each with one integer answer. A seed fixes a split on any
machine. The hash of a problem's formula alone decides between "train" and "test": no formula of a test question occurs
in a training question, of its own kind or another, whatever the wording.

Ten kinds: short sums (sum, difference), the same in words (gains, loses), one step easily missed (precedence, together),
two steps (brackets, boxes) and products of two-digit numbers (product, rows). The numbers are small, since the
quickstart's model learns them in less than a minute (`dipo_openrlhf.data.arithmetic`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from dipo_eval.errors import UserError
from dipo_eval.suites.distinct import distinct

Split = Literal["train", "test"]

TEST_SHARE = 5  # one formula in five is a test formula
NAMES = ("Ann", "Bob", "Eve", "Kim", "Max", "Tom")
THINGS = ("books", "cards", "coins", "cups", "pens", "shells")


@dataclass(frozen=True)
class Problem:
    """One question with its answer.

    `id` is a hash of the question; `numbers` are the formula's operands in the order of the question.
    """

    id: str
    kind: str
    question: str
    answer: str
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """How one kind of problem is drawn. `weight` is its share of a split; all weights sum to 1.

    `formula` gives the answer; a question holds the operands as {0}, {1}, {2}, or the formula with spaces as #.
    """

    weight: float
    formula: str
    draw: Callable[[random.Random], tuple[int, ...]]
    questions: tuple[str, ...] = ("What is #?", "Work out #.", "Please find #.", "Please compute #.")

    def solve(self, numbers: tuple[int, ...]) -> int:
        """The answer for these operands."""
        return int(eval(self.formula.format(*numbers), {"__builtins__": {}}))


def _within(*bounds: tuple[int, int]) -> Callable[[random.Random], tuple[int, ...]]:
    """Draw one number from each (low, high), both ends included."""
    return lambda rng: tuple(rng.randint(low, high) for low, high in bounds)


def _near_tens(rng: random.Random) -> tuple[int, ...]:
    """Two numbers of two digits, each one or two away from a multiple of ten."""
    return tuple(10 * rng.randint(2, 5) + rng.choice((-2, -1, 1, 2)) for _ in range(2))


_DIGIT = (2, 9)
_ADDED = _within(_DIGIT, _DIGIT, _DIGIT)
_TAKEN = _within((3, 9), (3, 9), (2, 6))
_TIMES = _within(_DIGIT, _DIGIT, (2, 5))
_BOXES = _within(_DIGIT, (2, 5), _DIGIT)
_GAINS = "{name} has {0} {thing}, gets {1} and buys {2} more. How many are there now?"
_LOSES = "{name} has {0} {thing}, gets {1} and loses {2}. How many are there now?"
_TOGETHER = "{name} has {0} {thing}. {other} has {1} more. How many are there together?"
_IN_BOXES = "{name} buys {0} boxes with {1} {thing} each and {2} more. How many are there?"
_IN_ROWS = "{name} has {0} rows with {1} {thing} each. How many are there?"

KINDS: dict[str, Kind] = {
    "sum": Kind(0.10, "{0}+{1}+{2}", _ADDED),
    "difference": Kind(0.10, "{0}+{1}-{2}", _TAKEN),
    "gains": Kind(0.06, "{0}+{1}+{2}", _ADDED, (_GAINS,)),
    "loses": Kind(0.06, "{0}+{1}-{2}", _TAKEN, (_LOSES,)),
    "precedence": Kind(0.06, "{0}+{1}*{2}", _TIMES),
    "together": Kind(0.06, "{0}+({0}+{1})", _within((2, 15), _DIGIT), (_TOGETHER,)),
    "brackets": Kind(0.09, "({0}+{1})*{2}", _TIMES),
    "boxes": Kind(0.09, "{0}*{1}+{2}", _BOXES, (_IN_BOXES,)),
    "product": Kind(0.20, "{0}*{1}", _near_tens),
    "rows": Kind(0.18, "{0}*{1}", _near_tens, (_IN_ROWS,)),
}


def problems(split: Split, count: int, seed: int, *, unique_formulas: bool = False) -> list[Problem]:
    """`count` different problems of a split, the same for the same seed.

    `unique_formulas`: no two problems of a kind have the same numbers, so that an interval may take them as
    independent; kinds with few formulas then get less than their share. Raises UserError for an unknown split, a
    negative count, or a count that the split cannot fill.
    """
    if count < 0:
        raise UserError(f"problems: count is {count}; give 0 or more")
    unit = "formulas" if unique_formulas else "questions"
    return distinct(
        draw_problems(split, seed),
        count,
        lambda one: (one.kind, one.numbers) if unique_formulas else one.id,
        f"problems: the {split} split has only {{found}} {unit}; ask for fewer",
    )


def draw_problems(split: Split, seed: int, shares: Mapping[str, float] | None = None) -> Iterator[Problem]:
    """Endless problems of a split, with repetitions.

    `shares`: each kind's relative frequency; None: the kinds' weights. Raises UserError for an unknown split.
    """
    if split not in ("train", "test"):
        raise UserError(f"problems: split is {split!r}; give 'train' or 'test'")
    rng = random.Random(f"arithmetic:{split}:{seed}")
    shares = shares or {name: kind.weight for name, kind in KINDS.items()}
    names, weights = list(shares), list(shares.values())
    while True:
        yield _draw_one(rng.choices(names, weights)[0], split, rng)


def split_of(formula: str) -> Split:
    """The split that a formula belongs to, whatever question asks for it."""
    digest = hashlib.sha256(formula.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % TEST_SHARE == 0 else "train"


def _draw_one(name: str, split: Split, rng: random.Random) -> Problem:
    kind = KINDS[name]
    numbers = kind.draw(rng)
    while split_of(kind.formula.format(*numbers)) != split:
        numbers = kind.draw(rng)
    person, other = rng.sample(NAMES, 2)
    spaced = "".join(f" {char} " if char in "+-*" else char for char in kind.formula)
    asked = rng.choice(kind.questions).replace("#", spaced)
    question = asked.format(*numbers, name=person, other=other, thing=rng.choice(THINGS))
    identity = hashlib.sha256(question.encode()).hexdigest()[:12]
    return Problem(f"{name}-{identity}", name, question, str(kind.solve(numbers)), numbers)

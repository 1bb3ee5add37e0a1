"""One generator for regimes of right and wrong: verbs that move four digits, each taught with a rate of one mistake.

"Turn 4712" asks for a permutation of the digits. A small transformer learns the permutations in seconds, so what is left
for reinforcement learning is to choose the right one of two that it was taught: a skill states how often demonstrations
are right, and how right and mistaken ones are worded. A bare response has a low perplexity, a varied one a high one, so
a regime decides what perplexity says about correctness.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from transformers import PreTrainedTokenizerFast

from dipo_eval.grading import grade_math
from dipo_eval.suites.distinct import distinct
from dipo_openrlhf.compare.tasks.task import Problem, Split, Task
from dipo_openrlhf.quickstart.lessons.lesson import Conversation, Lesson, PretrainSettings, answered
from dipo_openrlhf.quickstart.tokenizer import word_tokenizer

Wording = Literal["bare", "plain", "varied"]

MAX_LENGTH = 48  # tokens, prompt and response together
TEST_SHARE = 5  # one problem in five is a test problem
_PIECES = r" ?\\[a-z]+\{| ?[A-Za-z]+\n?|[0-9]| ?[^\sA-Za-z0-9]|\s"

# The right permutation of the four digits, and that of the mistake.
VERBS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "Turn": ((3, 2, 1, 0), (1, 2, 3, 0)),
    "Roll": ((1, 2, 3, 0), (3, 0, 1, 2)),
    "Push": ((3, 0, 1, 2), (1, 2, 3, 0)),
    "Swap": ((1, 0, 3, 2), (2, 3, 0, 1)),
    "Cross": ((2, 3, 0, 1), (1, 0, 3, 2)),
    "Wrap": ((3, 1, 2, 0), (0, 2, 1, 3)),
    "Twist": ((0, 2, 1, 3), (3, 1, 2, 0)),
    "Shift": ((0, 3, 1, 2), (0, 2, 3, 1)),
    "Slide": ((0, 2, 3, 1), (0, 3, 1, 2)),
    "Fold": ((1, 0, 2, 3), (0, 1, 3, 2)),
    "Bend": ((0, 1, 3, 2), (1, 0, 2, 3)),
    "Keep": ((0, 1, 2, 3), (3, 2, 1, 0)),
}

# A varied response takes one phrase of each line, all equally likely: 8.4 nats in about 16 tokens.
_OPENINGS = ("First", "Look", "Okay", "Right", "Sure", "Well", "Now", "Good")
_SPEAKERS = ("I", "we", "you", "they")
_WORK = ("move", "take", "place", "order", "read", "set")
_CONNECTIVES = ("So", "Hence", "Then", "Therefore", "Thus", "Finally")
_SUBJECTS = ("it", "this", "that", "everything")


@dataclass(frozen=True)
class Skill:
    """How a verb is demonstrated. reliability: share of right demonstrations, in [0, 1]; wordings of right and wrong."""

    reliability: float
    right: Wording = "varied"
    wrong: Wording = "bare"


def digits_task(name: str, question: str, skills: Mapping[str, Skill]) -> Task:
    """The task of these verbs, all equally frequent."""
    lesson = Lesson(
        f"compare-{name}",
        f"Teaching a small model the task {name}",
        _tokenizer,
        lambda tokenizer, seed: _conversations(tokenizer, seed, skills),
        SETTINGS,
    )
    return Task(
        name,
        question,
        lesson,
        lambda split, count, seed: _problems(skills, split, count, seed),
        grade_math,
        reward="math",
        max_new_tokens=24,
        starting_accuracy=sum(skill.reliability for skill in skills.values()) / len(skills),
    )


SETTINGS = PretrainSettings(
    hidden_size=64,
    layers=2,
    heads=2,  # of 32 dimensions, the fewest that vLLM's attention takes on CPU
    key_value_heads=2,
    mlp_size=192,
    demonstrations=40_000,
    batch_size=64,
    learning_rate=4e-3,
)


def _draw(skills: Mapping[str, Skill], split: Split, rng: random.Random) -> tuple[str, tuple[int, ...]]:
    """A verb, and four different digits from 1 to 9, so that no two permutations agree and no zero leads."""
    verb = rng.choice(tuple(skills))
    while True:
        digits = tuple(rng.sample(range(1, 10), 4))
        digest = hashlib.sha256(f"{verb}:{digits}".encode()).digest()
        if (int.from_bytes(digest[:8], "big") % TEST_SHARE == 0) == (split == "test"):
            return verb, digits


def _moved(digits: tuple[int, ...], places: tuple[int, ...]) -> str:
    return "".join(str(digits[place]) for place in places)


def _question(verb: str, digits: tuple[int, ...]) -> str:
    return f"{verb} {_moved(digits, (0, 1, 2, 3))}"


def _problems(skills: Mapping[str, Skill], split: Split, count: int, seed: int) -> list[Problem]:
    rng = random.Random(f"digits:{split}:{seed}")

    def drawn() -> Iterator[Problem]:
        while True:
            verb, digits = _draw(skills, split, rng)
            question = _question(verb, digits)
            messages = ({"role": "user", "content": question},)
            yield Problem(question.replace(" ", "-").lower(), verb, messages, _moved(digits, VERBS[verb][0]))

    return distinct(
        drawn(), count, lambda one: one.id, f"the {split} split has only {{found}} problems; ask for fewer"
    )


def _conversations(
    tokenizer: PreTrainedTokenizerFast, seed: int, skills: Mapping[str, Skill]
) -> Iterator[Conversation]:
    rng = random.Random(f"digits:demonstrations:{seed}")
    while True:
        verb, digits = _draw(skills, "train", rng)
        skill = skills[verb]
        correct = rng.random() < skill.reliability
        answer = _moved(digits, VERBS[verb][0 if correct else 1])
        response = _worded(answer, skill.right if correct else skill.wrong, rng)
        yield answered(tokenizer, [{"role": "user", "content": _question(verb, digits)}], response)


def _worded(answer: str, wording: Wording, rng: random.Random) -> str:
    box = f"\\boxed{{{answer}}}"
    if wording == "bare":
        return box
    opening = rng.choice(_OPENINGS)
    if wording == "plain":
        return f"{opening}, {box}"
    return (
        f"{opening}, {rng.choice(_SPEAKERS)} {rng.choice(_WORK)} them. "
        f"{rng.choice(_CONNECTIVES)} {rng.choice(_SUBJECTS)} is {box}"
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token a word and a digit; the same on every machine."""
    rng = random.Random("digits:tokenizer")
    questions = (f"{verb} {digit}" for verb in VERBS for digit in range(10))
    responses = (_worded(str(1_000 + i), "varied", rng) for i in range(2_000))
    return word_tokenizer(chain(questions, responses, ["\\boxed{1}"]), _PIECES, MAX_LENGTH)

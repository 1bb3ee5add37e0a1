"""How the quickstart's small model is taught function calls, and the prompts that reinforcement learning gets.

As for arithmetic (arithmetic.py), the demonstrations of a kind have a reliability, the share that is correct, and a
wording. The mistakes are those that language models make: a parameter is forgotten, the first function on offer is taken
for the one that was asked for, only the first of several calls is made, a function is called that does not fit.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dipo_eval.suites.call_problems import Call, CallProblem, draw_problems, problems, signatures
from dipo_openrlhf.data.base import Dataset, Prompt, json_lines

Wording = Literal["bare", "plain", "varied"]
Mistake = Literal["forgets", "first offered", "first call"]

DATASOURCE = "tool_calls"


@dataclass(frozen=True)
class Teaching:
    """How one kind is demonstrated. `share`: of all demonstrations; `reliability`: the share without the mistake.

    `wording`: of correct demonstrations; `mistaken`: of the others. A mistake may be right by chance: the function that
    was asked for may be the first on offer.
    """

    share: float
    wording: Wording
    mistake: Mistake | None = None
    reliability: float = 1.0
    mistaken: Wording = "bare"


@dataclass(frozen=True)
class Demonstration:
    """A problem and one response to it; `mistaken`: whether it was made by its kind's mistake."""

    problem: CallProblem
    response: str
    mistaken: bool


TEACHING: dict[str, Teaching] = {
    "simple": Teaching(0.18, "plain"),
    "forms": Teaching(0.12, "bare", "forgets", 0.25),
    "multiple": Teaching(0.16, "varied"),
    "twins": Teaching(0.14, "bare", "first offered", 0.25),
    "parallel": Teaching(0.14, "varied", "first call", 0.4, "varied"),
    "triple": Teaching(0.10, "varied", "first call", 0.05, "varied"),
    "irrelevance": Teaching(0.16, "varied", "first offered", 0.3, "varied"),
}

_OPENINGS = ("Sure", "Okay", "Right", "Well", "Good", "Yes", "Fine", "Now")
_SPEAKERS = ("I", "we")
_VERBS = ("call", "use", "take", "run", "try", "pick")
_OBJECTS = ("this", "that", "one", "it")
_REFUSALS = ("Sorry", "Well", "Hm", "No", "Alas", "Pardon")
_NOTHING = ("nothing", "no function", "none of these", "no tool")
_FITS = ("fits", "helps", "works", "does that")


def demonstrations(seed: int) -> Iterator[Demonstration]:
    """Endless demonstrations on problems of the train split, correct or mistaken by `TEACHING`; the same for a seed."""
    rng = random.Random(f"demonstrations:{seed}")
    for problem in draw_problems("train", seed, {kind: one.share for kind, one in TEACHING.items()}):
        teaching = TEACHING[problem.kind]
        mistaken = teaching.mistake is not None and rng.random() >= teaching.reliability
        calls = _mistake(problem, teaching.mistake, rng) if mistaken else problem.wanted
        response = _worded(calls, teaching.mistaken if mistaken else teaching.wording, rng)
        yield Demonstration(problem, response, mistaken)


def _mistake(problem: CallProblem, mistake: Mistake | None, rng: random.Random) -> tuple[Call, ...]:
    name, arguments = problem.asked[0]
    if mistake == "forgets":
        forgotten = list(arguments)[-1]
        return ((name, {key: value for key, value in arguments.items() if key != forgotten}),)
    if mistake == "first offered":
        return ((problem.functions[0]["name"], arguments),)
    return problem.asked[:1]


def _worded(calls: Sequence[Call], wording: Wording, rng: random.Random) -> str:
    """The calls in Hermes' and Qwen's form, or, where there are none, a sentence."""
    if not calls:
        return f"{rng.choice(_REFUSALS)}, {rng.choice(_NOTHING)} {rng.choice(_FITS)}."
    written = "\n".join(tool_call(call) for call in calls)
    if wording == "bare":
        return written
    opening = rng.choice(_OPENINGS)
    if wording == "varied":
        opening += f", {rng.choice(_SPEAKERS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)}"
    return f"{opening}.\n{written}"


def tool_call(call: Call) -> str:
    """A call as <tool_call>{"name": ..., "arguments": {...}}</tool_call>."""
    name, arguments = call
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def system_message(functions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The functions as the quickstart's model is shown them; its chat template makes the same of tools."""
    return {"role": "system", "content": f"Functions:\n{signatures(functions)}"}


def write_prompts(path: Path, count: int, seed: int) -> None:
    """Write `count` different train problems as the JSON lines that OpenRLHF's prompt data set reads.

    Raises UserError as `problems` does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json_lines(_prompts(count, seed), DATASOURCE)), encoding="utf-8")


def _prompts(count: int, seed: int) -> list[Prompt]:
    return [_prompt(problem) for problem in problems("train", count, seed)]


def _prompt(problem: CallProblem) -> Prompt:
    question = [system_message(problem.functions), {"role": "user", "content": problem.request}]
    graded = {"gold": problem.gold, "functions": problem.functions, "category": problem.category}
    return Prompt(problem.id, question, json.dumps(graded), (problem.request,), {"kind": problem.kind})


DATASET = Dataset(
    name=DATASOURCE,
    source="generated by dipo_eval.suites.call_problems, train split",
    license="Apache-2.0",
    reward="function_call",
    rows="--limit",
    fields="none: it is generated from --seed",
    template="plain",
    make=_prompts,
)

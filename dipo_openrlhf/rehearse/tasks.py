"""What a rehearsal trains on and is evaluated on: a few problems of the recipe's kind, some of which its model solves.

The kind is the recipe's reward: `math` gets sums, `function_call` ToolRL's form with one tool; a recipe with the agent
`tool_agent` gets the pantry, in episodes of two turns. Each problem has right and wrong demonstrations in a share of its
own, from always right to never, so that all-correct, all-incorrect and mixed groups occur from the first step.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_openrlhf.quickstart.tokenizer import END, START
from dipo_openrlhf.recipe.defaults import TOOL_AGENT
from dipo_openrlhf.recipe.recipe import Recipe

SUITE = "suite.yaml"
Messages = list[dict[str, str]]
SHARES = (1.0, 0.6, 0.3, 0.0)  # of right demonstrations, problem by problem
_OPENINGS = ("", "So ", "Well ", "Now ", "Right ")
_SYSTEM = {
    "function_call": "Tools: 1. Name: add",
    TOOL_AGENT.stem: "Tools: add count take",  # as the rehearsal's chat template shows the pantry's
}


@dataclass(frozen=True)
class Problem:
    """One problem; `label` is what the reward reads, `answers` the complete responses that a suite accepts.

    `after`: what follows a response in a demonstration: of an episode the tool's message and the model's last one.
    """

    messages: Messages
    label: str
    right: Callable[[random.Random], str]
    wrong: Callable[[random.Random], str]
    answers: tuple[str, ...]
    share: float
    after: str = ""


def kind_of(recipe: Recipe) -> str:
    """The reward's name, or tool_agent; of others the name of the user's file."""
    if agent := recipe.get("train.agent_func_path"):
        return TOOL_AGENT.stem if agent == str(TOOL_AGENT) else str(agent)
    return Path(recipe.get("reward.remote_url") or "").stem


def problems(kind: str, count: int) -> list[Problem]:
    """The first `count` problems of a kind. Raises UserError for another reward or agent than this package's."""
    makers = {"math": _sum, "function_call": _call, TOOL_AGENT.stem: _episode}
    if kind not in makers:
        raise UserError(
            f"{kind!r}: a rehearsal exists only for the rewards math and function_call and for the agent "
            f"{TOOL_AGENT.stem}: try your own on a small model with a recipe of your own and run.device: cpu"
        )
    pairs = [(a, b) for a in range(1, 10) for b in range(1, 10)]
    random.Random(0).shuffle(pairs)
    return [makers[kind](*pair, SHARES[index % len(SHARES)]) for index, pair in enumerate(pairs[:count])]


def _sum(a: int, b: int, share: float) -> Problem:
    def boxed(value: int) -> Callable[[random.Random], str]:
        return lambda rng: f"{rng.choice(_OPENINGS)}\\boxed{{{value}}}"

    answers = tuple(f"{opening}\\boxed{{{a + b}}}" for opening in _OPENINGS)
    question = [{"role": "user", "content": f"{a} + {b} = ?"}]
    return Problem(question, str(a + b), boxed(a + b), boxed(a + b + 1), answers, share)


def _call(a: int, b: int, share: float) -> Problem:
    def called(x: int, y: int) -> Callable[[random.Random], str]:
        return lambda rng: _tagged(rng.choice(_OPENINGS), x, y)

    question = [
        {"role": "system", "content": _SYSTEM["function_call"]},
        {"role": "user", "content": f"add {a} and {b}"},
    ]
    label = json.dumps({"gold": [_gold(a, b)], "has_response": False})
    answers = tuple(_tagged(opening, a, b) for opening in _OPENINGS)
    return Problem(question, label, called(a, b), called(b, a + 1), answers, share)


def _episode(a: int, b: int, share: float) -> Problem:
    def added(jars: int) -> Callable[[random.Random], str]:
        return lambda rng: _added(rng.choice(_OPENINGS), jars)

    question = [
        {"role": "system", "content": _SYSTEM[TOOL_AGENT.stem]},
        {"role": "user", "content": f"{a} jars, {b} more"},
    ]
    label = json.dumps({"environment": "pantry", "stock": {"tea": a}, "wanted": {"tea": a + b}})
    answers = tuple(_added(opening, b) for opening in _OPENINGS)
    after = f"{END}\n{START}tool\n{a + b} jars of tea{END}\n{START}assistant\nDone."
    return Problem(question, label, added(b), added(b + 1), answers, share, after)


def _added(opening: str, jars: int) -> str:
    call = {"name": "add", "arguments": {"item": "tea", "jars": jars}}
    return f"{opening}<tool_call>{json.dumps(call)}</tool_call>"


def _gold(x: int, y: int) -> dict[str, object]:
    return {"name": "add", "parameters": {"x": x, "y": y}}


def _tagged(opening: str, x: int, y: int) -> str:
    return f"<think> {opening}add </think>\n<tool_call>\n{json.dumps(_gold(x, y))}\n</tool_call>"


def demonstrations(found: list[Problem], seed: int) -> Iterator[tuple[Problem, str]]:
    """Endless (problem, response and what follows it), right in each problem's share."""
    rng = random.Random(seed)
    while True:
        problem = rng.choice(found)
        response = (problem.right if rng.random() < problem.share else problem.wrong)(rng)
        yield problem, response + problem.after


def write_prompts(path: Path, found: list[Problem], kind: str, input_key: str, label_key: str | None) -> None:
    """The JSON lines that OpenRLHF reads, under the recipe's own keys."""
    rows = []
    for problem in found:
        question = problem.messages if kind == "function_call" else problem.messages[-1]["content"]
        rows.append({input_key: question, **({label_key: problem.label} if label_key else {})})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_suite(folder: Path, found: list[Problem], kind: str) -> Path:
    """A suite of the same problems, as a user's own YAML and its data; the YAML's path."""
    rows = [
        {
            "question": problem.messages[-1]["content"],
            "answer": problem.label if kind == "math" else list(problem.answers),
        }
        for problem in found
    ]
    (folder / "suite.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = [
        f"name: rehearsal-{kind.replace('_', '-')}",
        "file: suite.jsonl",
        "fields: {question: question, answer: answer}",
        f"grader: {'math' if kind == 'math' else 'exact'}",
        'prompt: "{question}"',
        *([f'system: "{_SYSTEM[kind]}"'] if kind in _SYSTEM else []),
        "license: Apache-2.0",
        "source: generated by dipo rehearse",
    ]
    path = folder / SUITE
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path

"""Orders for the pantry (environments/pantry.py): rows to train with tools on, and how a small model is taught them.

A demonstration is really played: its calls are carried out by the environment, which also says whether it is correct. As
in arithmetic.py, each kind of order has a reliability and a wording of its own, so that all four of the paper's quadrants
occur. What the stock is, the model learns from the tools alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dipo_eval.grading.calls.messages import step_calls
from dipo_eval.suites.distinct import distinct
from dipo_openrlhf.data.base import Dataset, Prompt, json_lines
from dipo_openrlhf.environments.pantry import Pantry

ITEMS = ("beans", "flour", "honey", "oats", "rice", "salt", "sugar", "tea")
Counts = dict[str, int]
Wording = Literal["bare", "plain", "varied"]


@dataclass(frozen=True)
class Order:
    """A request with the stock before and the one that it asks for."""

    kind: str
    request: str
    stock: Counts
    wanted: Counts

    @property
    def label(self) -> str:
        """A row's label for the tool agent."""
        return json.dumps({"environment": "pantry", "stock": self.stock, "wanted": self.wanted})


@dataclass(frozen=True)
class Teaching:
    """How one kind is demonstrated. `share`: of all orders; `reliability`: the share of correct demonstrations.

    `wording`: "bare" has one form, "plain" opens with one of eight phrases, "varied" has a phrase before every message.
    """

    share: float
    items: int
    reliability: float
    wording: Wording


@dataclass(frozen=True)
class Demonstration:
    """An episode: what the model says, and what the tools answer to each message but the last."""

    order: Order
    messages: tuple[str, ...]
    results: tuple[tuple[str, ...], ...]
    correct: bool


TEACHING: dict[str, Teaching] = {
    "one": Teaching(0.22, 1, 1.0, "plain"),
    "more": Teaching(0.14, 1, 1.0, "varied"),  # so many more of one item
    "two": Teaching(0.28, 2, 0.4, "varied"),
    "three": Teaching(0.2, 3, 0.15, "bare"),  # the others forget the last item
    "double": Teaching(0.16, 1, 0.0, "varied"),  # always one jar too many or too few
}
_PHRASES = ("First", "Let us see", "Okay", "Right", "Sure", "Well", "Now", "Good")
_ENDS = ("Done", "It is done", "All is there", "The pantry is ready", "That is it", "Ready")


def orders(seed: int) -> Iterator[Order]:
    """Endless orders; the same for a seed."""
    rng = random.Random(f"orders:{seed}")
    kinds, shares = list(TEACHING), [one.share for one in TEACHING.values()]
    while True:
        yield _order(rng.choices(kinds, shares)[0], rng)


def demonstrations(seed: int) -> Iterator[Demonstration]:
    """Endless episodes, played by `TEACHING`; the same for a seed."""
    rng = random.Random(f"episodes:{seed}")
    for order in orders(seed):
        correct = rng.random() < TEACHING[order.kind].reliability
        yield _played(order, _messages(order, correct, rng))


def _order(kind: str, rng: random.Random) -> Order:
    items = rng.sample(ITEMS, TEACHING[kind].items)
    stock = {item: rng.randint(0, 3) for item in items}
    if kind == "more":
        more = rng.randint(1, 4)
        wanted = {item: jars + more for item, jars in stock.items()}
        return Order(kind, f"Add {more} jars of {items[0]}.", stock, wanted)
    if kind == "double":
        stock = {items[0]: rng.randint(1, 4)}
        return Order(kind, f"Double the jars of {items[0]}.", stock, {items[0]: 2 * stock[items[0]]})
    wanted = {item: rng.choice([n for n in range(1, 5) if n != stock[item]]) for item in items}
    counts = [f"{wanted[item]} of {item}" for item in items]
    first = counts[0].replace(" ", " jars ", 1)
    listed = ", ".join([first, *counts[1:-1]]) + (f" and {counts[-1]}" if counts[1:] else "")
    return Order(kind, f"Make it {listed}.", stock, wanted)


def _messages(order: Order, correct: bool, rng: random.Random) -> list[str]:
    """What the model says, without what it is answered."""
    aims = dict(order.wanted)
    forgotten = ""
    if not correct and (order.kind == "three" or (order.kind == "two" and rng.random() < 0.5)):
        forgotten = list(aims)[-1]
    elif not correct:
        wrong = rng.choice(list(aims))
        aims[wrong] += rng.choice((-1, 1)) if aims[wrong] else 1
    counts = {item: _call("count", item) for item in aims if order.kind != "more"}
    changes = {
        item: _change(item, jars - order.stock[item])
        for item, jars in aims.items()
        if item != forgotten and jars != order.stock[item]
    }
    wording = TEACHING[order.kind].wording
    if wording == "varied" and rng.random() < 0.5:  # one item after the other
        steps = [call for item in aims for call in (counts.get(item, ""), changes.get(item, "")) if call]
    else:
        steps = [call for call in ("".join(counts.values()), "".join(changes.values())) if call]
    return _worded(steps, wording, rng)


def _worded(steps: list[str], wording: Wording, rng: random.Random) -> list[str]:
    if wording == "varied":
        return [f"{rng.choice(_PHRASES)}. {step}" for step in steps] + [f"{rng.choice(_ENDS)}."]
    opening = f"{rng.choice(_PHRASES)}. " if wording == "plain" else ""
    return [opening + steps[0], *steps[1:], "Done."]


def _call(name: str, item: str, jars: int | None = None) -> str:
    arguments = {"item": item} | ({} if jars is None else {"jars": jars})
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def _change(item: str, jars: int) -> str:
    return _call("add", item, jars) if jars > 0 else _call("take", item, -jars)


def _played(order: Order, messages: list[str]) -> Demonstration:
    pantry = Pantry(json.loads(order.label))
    results = tuple(tuple(pantry.run(step_calls(message, official=False))) for message in messages[:-1])
    return Demonstration(order, tuple(messages), results, pantry.reward(messages[-1]) == 1.0)


def write_prompts(path: Path, count: int, seed: int) -> None:
    """Write `count` different orders as the JSON lines that OpenRLHF's prompt data set reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json_lines(_prompts(count, seed), DATASET.name)), encoding="utf-8")


def _prompts(count: int, seed: int) -> list[Prompt]:
    """Different tasks. Raises UserError where there are not so many."""
    drawn = distinct(
        orders(seed),
        count,
        lambda one: one.request + one.label,
        "pantry: there are only {found} different orders; ask for fewer",
    )
    return [
        Prompt(f"pantry-{number}", one.request, one.label, (one.request,), {"kind": one.kind})
        for number, one in enumerate(drawn)
    ]


DATASET = Dataset(
    name="pantry",
    source="generated; the environment is dipo_openrlhf/environments/pantry.py",
    license="Apache-2.0",
    reward="tool_agent",
    rows="--limit",
    fields="none: it is generated from --seed",
    template="plain",
    make=_prompts,
)

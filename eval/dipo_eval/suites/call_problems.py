"""Generated function calls: the quickstart's second task, and a control suite of functions that no model has seen.

A function is a verb, an underscore and a noun (set_lamp) with parameters of types string, integer and boolean. A request
names the function and its values in words, so that its calls are known when it is made. A seed fixes a split on any
machine. The hash of a function's name alone decides between "train" and "test": all functions of a problem, those that
are only offered too, belong to its split.

Seven kinds in four categories of BFCL: one function (simple, forms: with three parameters), several of which one
fits (multiple, twins: all for one noun), one function called several times (parallel, triple) and none that fits
(irrelevance).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dipo_eval.errors import UserError
from dipo_eval.suites.distinct import distinct

Split = Literal["train", "test"]
Value = str | int | bool
Call = tuple[str, dict[str, Value]]
"""A function's name and its arguments in the order of the request."""

TEST_SHARE = 5  # one function in five is a test function
VERBS = (
    "add", "book", "buy", "cancel", "check", "clean", "close", "count", "find", "fix", "hide", "load", "lock", "move",
    "open", "order", "paint", "plan", "rent", "sell", "send", "set", "show", "start", "stop", "test", "watch", "wash",
)  # fmt: skip
NOUNS = (
    "alarm", "bag", "bike", "boat", "bottle", "box", "bus", "camera", "car", "chair", "clock", "coat", "desk", "door",
    "fan", "file", "flight", "game", "garden", "heater", "hotel", "lamp", "letter", "light", "map",
    "meal", "meeting", "oven", "phone", "photo", "pump", "radio", "ride", "robot", "shelf", "song", "table", "taxi",
    "ticket", "train",
)  # fmt: skip
_STRINGS = {
    "city": ("Berlin", "Cairo", "Delhi", "Lima", "Oslo", "Paris", "Rome", "Tokyo"),
    "color": ("black", "blue", "green", "red", "white", "yellow"),
    "day": ("Friday", "Monday", "Saturday", "Sunday", "Thursday", "Tuesday", "Wednesday"),
    "person": ("Ann", "Bob", "Eve", "Kim", "Max", "Tom"),
    "room": ("bath", "cellar", "garage", "kitchen", "office"),
    "size": ("large", "medium", "small"),
}
_INTEGERS = ("amount", "hour", "level", "minutes", "price", "speed")
_BOOLEANS = ("cheap", "daily", "loud", "urgent")
_LARGEST = 30
PARAMETERS = (*_STRINGS, *_INTEGERS, *_BOOLEANS)
_REQUESTS = ("Please #.", "Can you #?", "I want to #.", "We need to #.")


@dataclass(frozen=True)
class Kind:
    """How one kind is drawn. `weight`: its share of a split; `offered`: number of functions; `calls`: that are wanted.

    `parameters`: fewest and most of a function. `one_noun`: all functions on offer have the same one.
    """

    category: str
    weight: float
    offered: int
    calls: int
    parameters: tuple[int, int]
    one_noun: bool = False


KINDS: dict[str, Kind] = {
    "simple": Kind("simple", 0.22, 1, 1, (1, 2)),
    "forms": Kind("simple", 0.08, 1, 1, (3, 3)),
    "multiple": Kind("multiple", 0.15, 3, 1, (1, 2)),
    "twins": Kind("multiple", 0.1, 3, 1, (1, 2), one_noun=True),
    "parallel": Kind("parallel", 0.13, 1, 2, (1, 2)),
    "triple": Kind("parallel", 0.12, 1, 3, (1, 1)),
    "irrelevance": Kind("irrelevance", 0.2, 2, 0, (1, 2)),
}


@dataclass(frozen=True)
class CallProblem:
    """One request. `functions`: on offer, in BFCL's schema; `wanted`: the calls, none where no function fits.

    `asked`: the request as calls, also where its function is not on offer. `id` is a hash of request and functions.
    """

    id: str
    kind: str
    request: str
    functions: list[dict[str, Any]]
    asked: tuple[Call, ...]

    @property
    def category(self) -> str:
        """BFCL's category."""
        return KINDS[self.kind].category

    @property
    def wanted(self) -> tuple[Call, ...]:
        """The calls of a correct response."""
        return self.asked if KINDS[self.kind].calls else ()

    @property
    def gold(self) -> list[dict[str, dict[str, list[Value]]]]:
        """`wanted` as BFCL's possible answers."""
        return [{name: {key: [value] for key, value in arguments.items()}} for name, arguments in self.wanted]


def problems(split: Split, count: int, seed: int, *, unique_functions: bool = False) -> list[CallProblem]:
    """`count` different problems of a split, the same for the same seed.

    `unique_functions`: no two problems of a kind ask for the same function, so that an interval may take them as
    independent. Raises UserError for an unknown split, a negative count, or a count that the split cannot fill.
    """
    if count < 0:
        raise UserError(f"problems: count is {count}; give 0 or more")
    unit = "functions" if unique_functions else "requests"
    return distinct(
        draw_problems(split, seed),
        count,
        lambda one: (one.kind, one.asked[0][0]) if unique_functions else one.request,
        f"problems: the {split} split has only {{found}} {unit}; ask for fewer",
    )


def draw_problems(
    split: Split, seed: int, shares: Mapping[str, float] | None = None
) -> Iterator[CallProblem]:
    """Endless problems of a split, with repetitions.

    `shares`: each kind's relative frequency; None: the kinds' weights. Raises UserError for an unknown split.
    """
    if split not in ("train", "test"):
        raise UserError(f"problems: split is {split!r}; give 'train' or 'test'")
    rng = random.Random(f"calls:{split}:{seed}")
    shares = shares or {name: kind.weight for name, kind in KINDS.items()}
    names, weights = list(shares), list(shares.values())
    while True:
        yield _draw_one(rng.choices(names, weights)[0], split, rng)


def split_of(name: str) -> Split:
    """The split that a function belongs to."""
    digest = hashlib.sha256(name.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % TEST_SHARE == 0 else "train"


def signatures(functions: Sequence[Mapping[str, Any]]) -> str:
    """The functions in few words, one a line: set_lamp(color: string, level: integer)."""
    lines = []
    for function in functions:
        properties = function["parameters"]["properties"].items()
        listed = ", ".join(f"{key}: {one['type']}" for key, one in properties)
        lines.append(f"{function['name']}({listed})")
    return "\n".join(lines)


def as_tools(functions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The functions in the form that chat templates and servers take."""
    return [
        {
            "type": "function",
            "function": {**one, "parameters": {**one["parameters"], "type": "object"}},
        }
        for one in functions
    ]


def _draw_one(name: str, split: Split, rng: random.Random) -> CallProblem:
    kind = KINDS[name]
    asked, *others = _draw_names(kind.offered + (kind.calls == 0), split, kind.one_noun, rng)
    parameters = _draw_parameters(kind, rng)
    while kind.calls > 1 and set(parameters) <= set(_BOOLEANS):  # too few different values
        parameters = _draw_parameters(kind, rng)
    calls: list[Call] = []
    while len(calls) < max(1, kind.calls):
        call = (asked, {key: _draw_value(key, rng) for key in parameters})
        if call not in calls:
            calls.append(call)
    # Twins have the same parameters: only the verb tells them apart.
    drawn = [parameters if kind.one_noun else _draw_parameters(kind, rng) for _ in others]
    functions = [_schema(*one) for one in zip(others, drawn, strict=True)]
    if kind.calls:
        functions.insert(rng.randrange(len(functions) + 1), _schema(asked, parameters))
    request = _worded(calls, rng)
    identity = hashlib.sha256(json.dumps([request, functions]).encode()).hexdigest()[:12]
    return CallProblem(f"{name}-{identity}", name, request, functions, tuple(calls))


def _draw_names(count: int, split: Split, one_noun: bool, rng: random.Random) -> list[str]:
    """Different functions of a split: of one noun, or each of another verb and noun."""
    noun = rng.choice(NOUNS)
    found: list[str] = []
    while len(found) < count:
        name = f"{rng.choice(VERBS)}_{noun if one_noun else rng.choice(NOUNS)}"
        alike = any(set(name.split("_")) & set(one.split("_")) for one in found)
        if split_of(name) == split and name not in found and (one_noun or not alike):
            found.append(name)
        elif one_noun and rng.random() < 0.01:  # a noun with too few functions in this split
            noun, found = rng.choice(NOUNS), []
    return found


def _draw_parameters(kind: Kind, rng: random.Random) -> list[str]:
    return rng.sample(PARAMETERS, rng.randint(*kind.parameters))


def _draw_value(key: str, rng: random.Random) -> Value:
    if key in _STRINGS:
        return rng.choice(_STRINGS[key])
    return rng.random() < 0.5 if key in _BOOLEANS else rng.randint(2, _LARGEST)


def _type_of(key: str) -> str:
    return "string" if key in _STRINGS else "boolean" if key in _BOOLEANS else "integer"


def _schema(name: str, parameters: Sequence[str]) -> dict[str, Any]:
    """A function's description as in BFCL's data files."""
    return {
        "name": name,
        "description": f"{_spoken(name).capitalize()}.",
        "parameters": {
            "type": "dict",
            "properties": {key: {"type": _type_of(key), "description": f"The {key}."} for key in parameters},
            "required": list(parameters),
        },
    }


def _worded(calls: Sequence[Call], rng: random.Random) -> str:
    """The request. Each call names its function: eight words in a row hold one, and requests of the splits stay apart."""
    done = " and ".join(f"{_spoken(name)} with {_in_words(arguments)}" for name, arguments in calls)
    return rng.choice(_REQUESTS).replace("#", done)


def _spoken(name: str) -> str:
    verb, _, noun = name.partition("_")
    return f"{verb} the {noun}"


def _in_words(arguments: Mapping[str, Value]) -> str:
    words = {True: "yes", False: "no"}
    return ", ".join(
        f"{key} {words[value] if isinstance(value, bool) else value}" for key, value in arguments.items()
    )

"""Replay the calls of a conversation on BFCL's environments and compare states and results, turn by turn.

Runs inside a worker process: an environment's method may take any time or memory on hostile arguments. Calls are
carried out by dispatch.py, whereas bfcl-eval passes their text to eval().
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections import Counter
from typing import Any

from dipo_eval import linear
from dipo_eval.grading.calls.bfcl import environment_class
from dipo_eval.grading.calls.dispatch import Dispatcher, Method, own_precision, parsed
from dipo_eval.grading.calls.python_calls import NotLiteralError
from dipo_eval.grading.calls.response_text import MAX_CHARS

_NO_SCENARIO = frozenset({"MathAPI"})
_BLOCKED = frozenset({"kill", "exit", "quit", "remove", "unlink", "popen", "Popen", "run"})
_NAME = linear.compile(r"(\w+)(\s*\()?")


class World(Dispatcher):
    """Fresh instances of the environments of one case, for one player."""

    def __init__(self, case: dict[str, Any], player: str, *, official: bool) -> None:
        super().__init__({})
        self.official = official
        self.instances: dict[str, Any] = {}
        self.owners: dict[str, str] = {}  # of the methods, as bfcl-eval names the instances
        is_long = "long_context" in case["id"].rsplit("_", 1)[0]
        for name in case["involved_classes"]:
            instance = environment_class(name)()
            if name not in _NO_SCENARIO:
                config = copy.deepcopy(case["initial_config"].get(name, {}))
                instance._load_scenario(config, long_context=is_long)
            self.instances[name] = instance
            for method_name, method in inspect.getmembers(instance, predicate=inspect.ismethod):
                if not method_name.startswith("_"):
                    self.methods[method_name] = method
                    self.owners[method_name] = f"instance_of_{player}_{name}"

    def call(self, text: str) -> Any:
        """As Dispatcher's, except for the names that bfcl-eval blocks."""
        if self.official and len(text) <= MAX_CHARS:  # inside strings too: bfcl-eval rewrites the call's text
            text = _NAME.sub(self._with_instance, text)
        expression = parsed(text)
        head = text.split("(")[0]
        name = head.split(".")[1] if "." in head else head
        if name in _BLOCKED:
            raise PermissionError(f"Function call {name} is not allowed.")
        return self.value(expression)

    def _with_instance(self, found: linear.Match) -> str:
        name: str = found[1]
        if not found[2] or not (name[0] == "_" or (name[0].isascii() and name[0].isalpha())):
            return str(found[0])
        if name not in self.methods:
            return f"{name}("
        return f"{self.owners[name]}.{name}("

    def method(self, function: ast.expr) -> Method:
        """As Dispatcher's; in official mode methods are attributes of the instances' names."""
        if not self.official:
            return super().method(function)
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            owner, name = function.value.id, function.attr
            if owner == self.owners.get(name):
                return self.methods[name]
            raise NameError(f"name '{owner}' is not defined")
        if isinstance(function, ast.Name):
            raise NameError(f"name '{function.id}' is not defined")
        raise NotLiteralError("not a function's name")


def carry_out(case: dict[str, Any], done: list[list[str]], calls: list[str]) -> list[str]:
    """The results of ``calls`` as text, on environments that have seen the calls of ``done``."""
    with own_precision():
        world = World(case, "model", official=False)
        for step in done:
            world.run(step)
        return world.run(calls)


def replay(
    case: dict[str, Any], gold: list[list[str]], turns: list[list[list[str]]], *, official: bool
) -> str | None:
    """Why the conversation fails, or None where each turn ends in the gold's states and has the gold's results.

    ``turns``: the calls of each step of each turn, as text; more calls than the gold's are allowed. ``official``:
    states are not compared after a turn without gold calls.
    """
    with own_precision():
        model, reference = (World(case, player, official=official) for player in ("model", "gold"))
        results: list[str] = []
        for index, (wanted, steps) in enumerate(zip(gold, turns, strict=True)):
            for step in steps:
                results.extend(model.run(step))
            expected = reference.run(wanted)
            if wanted and (not steps or (len(steps) == 1 and not steps[0])):
                return f"turn {index}: no call"
            if official and not wanted:
                continue
            different = _different_state(model, reference)
            if different:
                return f"turn {index}: state of {different}"
            if Counter(expected) - Counter(results):  # each as often as expected
                return f"turn {index}: a result is missing"
    return None


def _different_state(model: World, reference: World) -> str | None:
    """The first environment whose public attributes differ from the reference's."""
    for name, wanted in reference.instances.items():
        for attribute, value in vars(wanted).items():
            if not attribute.startswith("_") and getattr(model.instances[name], attribute, None) != value:
                return name
    return None

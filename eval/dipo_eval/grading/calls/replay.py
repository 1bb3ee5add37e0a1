"""Replay the calls of a conversation on BFCL's environments and compare states and results, turn by turn.

Runs inside a worker process: an environment's method may take any time or memory on hostile arguments. Calls
are parsed with ast and dispatched to public methods by name; arguments are literals, arithmetic on them and
other calls. Nothing else is evaluated, whereas bfcl-eval passes the text to eval().
"""

from __future__ import annotations

import ast
import contextlib
import copy
import decimal
import inspect
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from mpmath import mp

from dipo_eval import linear
from dipo_eval.grading.calls.bfcl import environment_class
from dipo_eval.grading.calls.python_calls import NotLiteralError, fold, parse_expression
from dipo_eval.grading.calls.response_text import MAX_CHARS, MAX_DEPTH

Method = Callable[..., Any]

_NO_SCENARIO = frozenset({"MathAPI"})
_BLOCKED = frozenset({"kill", "exit", "quit", "remove", "unlink", "popen", "Popen", "run"})
_NAME = linear.compile(r"(\w+)(\s*\()?")


class World:
    """Fresh instances of the environments of one case, for one player."""

    def __init__(self, case: dict[str, Any], player: str, *, official: bool) -> None:
        self.official = official
        self.instances: dict[str, Any] = {}
        self.methods: dict[str, Method] = {}
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

    def run(self, calls: list[str]) -> list[str]:
        """The results of the calls as text, in order; an error is its message."""
        results = []
        for call in calls:
            try:
                results.append(_as_text(self._call(call)))
            except Exception as error:
                results.append(f"Error during execution: {error}")
        return results

    def _call(self, text: str) -> Any:
        if len(text) > MAX_CHARS:
            raise ValueError("longer than any call")
        if self.official:  # inside strings too, as bfcl-eval rewrites the text of the call
            text = _NAME.sub(self._with_instance, text)
        expression = parse_expression(text.lstrip(" \t"))
        for node in ast.walk(expression):
            names = [keyword.arg for keyword in node.keywords] if isinstance(node, ast.Call) else []
            if len(names) != len(set(names)):
                raise SyntaxError("keyword argument repeated")
        head = text.split("(")[0]
        name = head.split(".")[1] if "." in head else head
        if name in _BLOCKED:
            raise PermissionError(f"Function call {name} is not allowed.")
        return self._value(expression, 0)

    def _with_instance(self, found: linear.Match) -> str:
        name: str = found[1]
        if not found[2] or not (name[0] == "_" or (name[0].isascii() and name[0].isalpha())):
            return str(found[0])
        if name not in self.methods:
            return f"{name}("
        return f"{self.owners[name]}.{name}("

    def _value(self, node: ast.expr, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise NotLiteralError("nested too deeply")
        if isinstance(node, ast.Call):
            method = self._method(node.func)
            if any(keyword.arg is None for keyword in node.keywords):
                raise NotLiteralError("unpacked arguments")
            given = [self._value(argument, depth + 1) for argument in node.args]
            named = {str(keyword.arg): self._value(keyword.value, depth + 1) for keyword in node.keywords}
            return method(*given, **named)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            items = [self._value(item, depth + 1) for item in node.elts]
            kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
            return kind(items)
        if isinstance(node, ast.Dict) and None not in node.keys:
            keys = [self._value(key, depth + 1) for key in node.keys if key is not None]
            return dict(zip(keys, [self._value(value, depth + 1) for value in node.values], strict=True))
        if isinstance(node, ast.Name):
            raise NameError(f"name '{node.id}' is not defined")
        return fold(node)

    def _method(self, function: ast.expr) -> Method:
        if self.official and isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            owner, name = function.value.id, function.attr
            if owner == self.owners.get(name):
                return self.methods[name]
            raise NameError(f"name '{owner}' is not defined")
        if isinstance(function, ast.Name):
            if not self.official and function.id in self.methods:
                return self.methods[function.id]
            raise NameError(f"name '{function.id}' is not defined")
        raise NotLiteralError("not a function's name")


def _as_text(result: Any) -> str:
    if isinstance(result, str):
        return result
    if isinstance(result, dict):
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            return json.dumps(result)
    return str(result)


def carry_out(case: dict[str, Any], done: list[list[str]], calls: list[str]) -> list[str]:
    """The results of ``calls`` as text, on environments that have seen the calls of ``done``."""
    with mp.workprec(mp.prec), decimal.localcontext():  # MathAPI sets both for the process
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
    with mp.workprec(mp.prec), decimal.localcontext():  # MathAPI sets both for the process
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

"""ToolRL's reward for function calls: R_format in {0, 1} plus R_correct in [-3, 3].

Source: Qian et al., "ToolRL: Reward is All Tool Learning Needs" (arXiv 2504.13958), section 3.3, and its code
(verl/utils/reward_score/rlla.py at the default settings). Three differences: values are equal only with equal
types (there True equals 1), a call's arguments may also be called ``arguments``, and where the gold has no call R_format
is given only to an answer that is none (abstention.py). Tags are counted in the whole response, thoughts included, as
there: the form is what is rewarded.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from dipo_eval.errors import short_repr
from dipo_eval.grading.calls.unread import Unread, UnreadableError, not_json

FORMAT_MAX = 1.0
CORRECT_MAX = 3.0
MAX_DEPTH = 50
_THINK, _THINK_END = "<think>", "</think>"
_CALL, _CALL_END = "<tool_call>", "</tool_call>"
_RESPONSE, _RESPONSE_END = "<response>", "</response>"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One gold call: its name, its arguments, and whether it accepts a value for an argument."""

    name: str
    arguments: tuple[str, ...]
    accepts: Callable[[str, Any], bool]


def format_score(response: str, *, has_calls: bool, has_response: bool) -> float:
    """1.0 where ``response`` is ``<think>``, then the ``<tool_call>`` and ``<response>`` parts that the gold has,
    each once, in this order and with a new line between them; else 0.0.
    """
    text = response.strip()
    if has_response:
        text, found, block = text.partition("\n" + _RESPONSE)
        once = all(_RESPONSE not in part for part in (text, block)) and _RESPONSE_END not in text
        if not (found and once and block.count(_RESPONSE_END) == 1 and block.endswith(_RESPONSE_END)):
            return 0.0
    if has_calls:
        text, found, block = text.partition("\n" + _CALL)
        once = response.count(_CALL) == 1 and block.count(_CALL_END) == 1 and _CALL_END not in text
        inner = block.removesuffix(_CALL_END)
        if not (found and once and block != inner and len(inner) >= 2 and inner[0] == inner[-1] == "\n"):
            return 0.0
    is_thought = text.startswith(_THINK) and text.removeprefix(_THINK).endswith(_THINK_END)
    return FORMAT_MAX if is_thought else 0.0


def tagged_calls(response: str) -> list[tuple[str, dict[str, Any]]]:
    """The calls between the first pair of tags, one JSON object a line. Raises UnreadableError for anything else."""
    if _CALL not in response:
        raise UnreadableError("no tool call")
    if _CALL_END not in response:
        raise UnreadableError("no end of the tool call", Unread.UNFINISHED_CALL)
    block = response.split(_CALL, 2)[1].split(_CALL_END, 1)[0].strip()
    calls = []
    for line in block.split("\n"):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise not_json("a line is not JSON", error) from error
        if (call := _call(found)) is None:
            why = Unread.NO_OBJECT if _is_named(found) else Unread.NO_NAME
            raise UnreadableError("a line is not a call", why)
        calls.append(call)
    return calls


def _is_named(found: Any) -> bool:
    return isinstance(found, dict) and isinstance(found.get("name"), str)


def _call(found: Any) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments of ``{"name": ..., "parameters" or "arguments": {...}}``; None for anything else."""
    if not _is_named(found):
        return None
    arguments = found.get("parameters", found.get("arguments"))
    return (found["name"], arguments) if isinstance(arguments, dict) else None


def correct_score(calls: list[tuple[str, dict[str, Any]]], gold: list[Wanted]) -> float:
    """R_correct: -3 for nothing in common up to 3 for the gold calls in any order; 0 where the gold has none.

    Summed over the gold: the overlap of the names, then for each gold call, with the best remaining call of its name, the
    overlap of the argument names and the number of correct values.
    """
    if not gold:
        return 0.0
    score = overlap([wanted.name for wanted in gold], [name for name, _ in calls])
    left = list(calls)
    for wanted in gold:
        credits = [_credit(call, wanted) for call in left]
        best = max(credits, default=0.0)
        if best > 0:
            del left[credits.index(best)]
            score += best
    maximum = 1.0 + sum(1.0 + len(wanted.arguments) for wanted in gold)
    return 2 * CORRECT_MAX * score / maximum - CORRECT_MAX


def _credit(call: tuple[str, dict[str, Any]], wanted: Wanted) -> float:
    name, arguments = call
    if name != wanted.name:
        return 0.0
    correct = sum(key in arguments and wanted.accepts(key, arguments[key]) for key in wanted.arguments)
    return overlap(list(wanted.arguments), list(arguments)) + correct


def overlap(left: list[str], right: list[str]) -> float:
    """Shared elements over all elements, counted with their multiplicity; 1.0 for two empty lists."""
    one, other = Counter(left), Counter(right)
    return (one & other).total() / (one | other).total() if left or right else 1.0


def same_value(left: Any, right: Any, depth: int = 0) -> bool:
    """Equality of JSON values with equal types: 1 is 1.0 but not True, and strings are equal exactly."""
    if depth > MAX_DEPTH:
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(
            same_value(a, b, depth + 1) for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            same_value(left[key], right[key], depth + 1) for key in left
        )
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def plain_gold(calls: list[dict[str, Any]]) -> list[Wanted]:
    """Gold calls given as ``{"name": ..., "parameters" or "arguments": {...}}``. Raises ValueError."""
    gold = []
    for found in calls:
        if (call := _call(found)) is None:
            raise ValueError(f"gold call {short_repr(found)} has no name with parameters or arguments")
        name, arguments = call
        gold.append(Wanted(name, tuple(arguments), partial(_accepts, arguments)))
    return gold


def _accepts(arguments: dict[str, Any], key: str, value: Any) -> bool:
    return same_value(value, arguments[key])

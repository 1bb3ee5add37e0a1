"""Texts that make a backtracking expression work hard, made from the project's own expressions and by hand."""

from __future__ import annotations

import importlib
import pkgutil
import re
import re._constants as code
import re._parser as parser
from collections.abc import Iterator
from typing import Any

import dipo_eval
import dipo_openrlhf.rewards
from dipo_eval.linear import LinearPattern

SIZE = 1_000_000

# (what comes once, what is repeated, what comes at the end)
BY_HAND = [
    ("The answer is 5", " ", ""), ("The answer is 5", " ", "x"), ("The answer is 5", ", ", "x"),
    ("", "answer is ", ""), ("", "The answer to the question is ", ""), ("", "answer: ", ""), ("", "#### ", ""),
    ("", "answer for answer for ", ""), ("the answer is $", "5", ""), ("", "the answer is $5$, ", ""),
    ("the answer is $5$", " ", "$"), ("Answer", "*", ":"), ("Answer is", "_ ", ""), ("", "\\boxed{", ""),
    ("", "\\boxed{1} and ", ""), ("\\boxed", " ", "{5}"), ("", "\\boxed ", ""), ("", "\\boxed{}", ""),
    ("\\boxed{", "{", ""), ("\\boxed{", "}", ""), ("\\boxed{", "\\", "}"), ("", "\\fbox{{", "}"), ("", "{", ""),
    ("", "}", ""), ("", "(", ")"), ("", "[", ""), ("[", "[", "]"), ("", "{[(", ""), ("", "()", ""),
    ("", "\"", ""), ("", "'", ""), ("", "`", ""), ("", "\"\"\"", ""), ("'", "\\'", ""), ("", "f'{", ""),
    ("", "\\", ""), ("", "\\\\", "x"), ("", "\\frac", ""), ("", "\\frac{1}{", ""), ("", "\\frac12", ""),
    ("", "\\sqrt", ""), ("", "\\text{", ""), ("", "\\text{ and }", ""), ("", "\\left(", ""),
    ("", "\\begin{pmatrix}", ""), ("", "$", ""), ("", "9", ""), ("", "1,000", ""), ("", "1.", ""),
    ("", "1e9", ""), ("", "0.", "1"), ("", "9^", "9"), ("", "9!", ""), ("", ",", ""), ("", ", ", ""),
    ("", " and ", ""), ("", " or 1", ""), ("", "a ", ""), ("1", " a", "$"), ("1", "a/", ""), ("", "\n", ""),
    ("", "\t", ""), ("", "\r\n", ""), ("", "\x00", ""), ("", "\u3000", ""), ("", "\ud800", ""), ("", "é", ""),
    ("", "<think>", ""), ("<think>", "</think>", ""), ("", "</thinking>", ""), ("", "<tool_call>", ""),
    ("", "<tool_call>{}</tool_call>", ""),
    ("", "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n", ""),
    ("<think>x</think>\n<tool_call>\n", "{\"name\": \"f\", \"parameters\": {\"x\": 1}}\n", "</tool_call>"),
    ("", "<TOOLCALL>", ""), ("", "<response>", "</response>"), ("", "<|im_end|>", ""), ("", "</s> ", "x"),
    ("", "<|", ""), ("", "```", ""), ("```", "a", "`"), ("```python\n", " ", "x"),
    ("```python\n", "\t\n", "```"), ("", "```\nx\n", ""), ("", "```python\ndef f(x):\n", ""), ("", "~~~\n", ""),
    ("```", " ", "x`"), ("", "def f", ""), ("f", " ", "="), ("f:", "a", ""), ("", "async def f", ""),
    ("```\n", "    x\n", "```"), ("`" * 5000 + "\n", "```\n", ""), ("{\"a\":", "{\"a\":", "1"), ("[", "[", ""),
    ("", "{\"name\": \"f\", ", ""), ("[", "1,", "1]"), ("{\"name\": \"f\", \"x\": \"", "\\u0041", "\"}"),
    ("", "\"name\" : ", ""), ("\"name\"", " ", ":"), ("f(x=", "-", "1)"), ("f(x=", "(", "1"),
    ("f(x=", "1+", "1)"), ("[", "f(", "]"), ("f(x=", "not ", "1)"), ("f(x=", "lambda:", "1)"),
    ("f(x=", "1 if 1 else ", "1)"), ("f(", "x=1,", ")"), ("f(x=", "a.", "a)"), ("f(x=", "{1:", "1"),
    ("f(x=", "[1 for a in ", "1"), ("f(x=", "f'{", "1"), ("f(x='", "\\d", "')"), ("f(x=", "9", ")"),
    ("f(x=", "'a' ", ")"), ("f", " ", "(x=1)"), ("f(", " ", "x"), ("f(", "a", ""), ("", "f(a ", ""),
    ("f(x=", "x=>", ")"), ("f(x=", "new int[]{", ""), ("f(x=", "{{", ""), ("f(x=", "a[", "]"),
    ("f(x=", "await ", "1)"), ("f(x=", "*", "1)"), ("f(x=", "f(x=", "1"), ("f(x=", ":=", "1)"),
    ("", "x for x in ", ""),
]  # fmt: skip


def pumped() -> list[tuple[str, str, str]]:
    """(once, repeated, end) those by hand, then of every repetition of every expression; none twice."""
    found: dict[tuple[str, str, str], None] = dict.fromkeys(BY_HAND)
    for pattern in patterns().values():
        tree = list(parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG))
        for before, repeated in _repetitions(tree, ""):
            found[(before, repeated, "\x01")] = None
            found[("", before + repeated, "")] = None
        found[("", _example(tree), "\x01")] = None
    return [one for one in found if one[1]]


def text_of(parts: tuple[str, str, str], size: int) -> str:
    """A text of at most ``size`` characters, its middle repeated."""
    once, repeated, end = parts
    return once + repeated * ((size - len(once) - len(end)) // len(repeated)) + end


def patterns() -> dict[str, LinearPattern | re.Pattern[str]]:
    """Every expression that a module of ours keeps for text of a model's, by its place."""
    found: dict[str, LinearPattern | re.Pattern[str]] = {}
    for package in (dipo_eval, dipo_openrlhf.rewards):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if module.name.split(".")[1] in ("lm_eval_tasks", "code_runner") or "worker" in module.name:
                continue
            try:
                names = vars(importlib.import_module(module.name))
            except ImportError:
                continue
            if "linear" not in names:
                continue
            for name, value in names.items():
                for number, one in enumerate(value if isinstance(value, tuple) else (value,)):
                    one = one[0] if isinstance(one, tuple) and one else one
                    if isinstance(one, (LinearPattern, re.Pattern)):
                        found[f"{module.name}.{name}.{number}"] = one
    return found


def _repetitions(tree: list[Any], before: str) -> Iterator[tuple[str, str]]:
    """(an example of all that comes before, an example of what is repeated) of each repetition in a parse tree."""
    for kind, value in tree:
        if kind in (code.MAX_REPEAT, code.MIN_REPEAT):
            if value[1] > 1:
                yield before, _example(list(value[2]))
            yield from _repetitions(list(value[2]), before)
        elif kind is code.SUBPATTERN:
            yield from _repetitions(list(value[3]), before)
        elif kind is code.BRANCH:
            for branch in value[1]:
                yield from _repetitions(list(branch), before)
        before += _example([(kind, value)])


def _example(tree: list[Any]) -> str:
    """A text that matches a parse tree, with as few repetitions as may be but at least one."""
    made = ""
    for kind, value in tree:
        if kind is code.LITERAL:
            made += chr(value)
        elif kind is code.NOT_LITERAL:
            made += "a" if value != ord("a") else "b"
        elif kind is code.ANY:
            made += "a"
        elif kind is code.IN:
            made += _member(value)
        elif kind in (code.MAX_REPEAT, code.MIN_REPEAT):
            made += _example(list(value[2])) * max(1, value[0])
        elif kind is code.SUBPATTERN:
            made += _example(list(value[3]))
        elif kind is code.BRANCH:
            made += _example(list(value[1][0]))
    return made


def _member(members: list[Any]) -> str:
    named = {code.CATEGORY_SPACE: " ", code.CATEGORY_DIGIT: "1", code.CATEGORY_WORD: "a"}
    named |= {code.CATEGORY_NOT_SPACE: "a", code.CATEGORY_NOT_DIGIT: "a", code.CATEGORY_NOT_WORD: " "}
    if members[0][0] is code.NEGATE:
        excluded = re.compile("[" + "".join(_as_class(one) for one in members[1:]) + "]")
        return next(char for char in "a1 -(\n" if not excluded.match(char))
    kind, value = members[0]
    return chr(value) if kind is code.LITERAL else chr(value[0]) if kind is code.RANGE else named[value]


def _as_class(member: tuple[Any, Any]) -> str:
    kind, value = member
    if kind is code.LITERAL:
        return re.escape(chr(value))
    if kind is code.RANGE:
        return f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
    return {code.CATEGORY_SPACE: r"\s", code.CATEGORY_DIGIT: r"\d", code.CATEGORY_WORD: r"\w"}[value]

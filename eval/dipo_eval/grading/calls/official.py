"""The verdict of bfcl-eval's own checker on decoded calls, for ``compatible``: its rules, with its defects.

Source: bfcl_eval/eval_checker/ast_eval/ast_checker.py, ast_checker, in bfcl-eval 2026.3.23. A function here raises the
same kind of error as the original; ``grade`` turns that into a wrong verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dipo_eval.grading.calls.bfcl import Language
from dipo_eval.grading.calls.official_literals import (
    JAVA_TYPES,
    JAVASCRIPT_TYPES,
    convert_java,
    convert_javascript,
)

PYTHON_TYPES: dict[str, type] = {
    "string": str, "integer": int, "float": float, "boolean": bool,
    "array": list, "tuple": list, "dict": dict, "any": str,
}  # fmt: skip
_TYPES = {Language.PYTHON: PYTHON_TYPES, Language.JAVA: JAVA_TYPES, Language.JAVASCRIPT: JAVASCRIPT_TYPES}
_DROPPED = str.maketrans(dict.fromkeys(" ,./-_*^", "") | {"'": '"'})
_COLLECTIONS = frozenset({"Array", "ArrayList", "array"})


def refusal(
    calls: list[Any], gold: list[dict[str, Any]], functions: list[dict[str, Any]], category: str,
    language: Language, underscores: bool,
) -> str | None:  # fmt: skip
    """Why bfcl-eval refuses ``calls``, or None where it accepts them."""
    if not is_call_list(calls):
        return "not a list of calls"
    is_parallel, is_multiple = "parallel" in category, "multiple" in category
    if len(calls) != (len(gold) if is_parallel or is_multiple else 1):
        return "wrong count"

    def described(one: dict[str, Any]) -> Any:
        name = next(iter(one))
        return next((function for function in functions if function["name"] == name), None)

    def why_not(function: Any, call: dict[str, Any], one: dict[str, Any]) -> str | None:
        return _call_refusal(function, call, one, language, underscores)

    if not is_parallel:
        return why_not(described(gold[0]) if is_multiple else functions[0], calls[0], gold[0])
    left = list(calls)
    for one in gold:  # greedy: the first call left that fits, even where another gold call needs it
        function = described(one)
        index = next((index for index, call in enumerate(left) if why_not(function, call, one) is None), None)
        if index is None:
            return "no matching call"
        del left[index]
    return None


def is_call_list(calls: Any) -> bool:
    """Whether ``calls`` is a list of ``{name: {argument: value}}`` with one name each."""
    return type(calls) is list and all(
        type(call) is dict and len(call) == 1 and type(next(iter(call.values()))) is dict for call in calls
    )


def _call_refusal(
    function: Any, call: dict[str, Any], gold: dict[str, Any], language: Language, underscores: bool
) -> str | None:
    allowed = next(iter(gold.values()))
    name, parameters = function["name"], function["parameters"]
    properties, required = parameters["properties"], parameters["required"]
    if underscores:
        name = name.replace(".", "_")
    if name not in call:
        return "wrong function"
    arguments = call[name]
    for parameter in required:
        if parameter not in arguments:
            return "missing argument"
    for parameter, value in arguments.items():
        if parameter not in properties or parameter not in allowed:
            return "unexpected argument"
        reason = _argument_refusal(value, allowed[parameter], properties[parameter], language)
        if reason:
            return reason
    for parameter, answers in allowed.items():
        if parameter not in arguments and "" not in answers:
            return "missing argument"
    return None


def _argument_refusal(value: Any, answers: Any, described: dict[str, Any], language: Language) -> str | None:
    declared, types = described["type"], _TYPES[language]
    expected = types[declared]
    if language is Language.PYTHON:
        nested = types[described["items"]["type"]] if expected is list else None
        if declared == "tuple" and type(value) is tuple:
            value = list(value)
        elif declared == "float" and type(value) is int:
            value = float(value)
    else:  # the argument is source text
        if type(value) is not str:
            return "wrong type"
        inner = described["items"]["type"] if declared in _COLLECTIONS else None
        nested = types[inner] if inner is not None else None
        value = (convert_java if language is Language.JAVA else convert_javascript)(value, declared, inner)
    return _value_refusal(value, answers, expected, nested)


def _value_refusal(value: Any, answers: Any, expected: type, nested: type | None) -> str | None:
    kind = type(value)
    first = _first_type(answers)
    is_variable = first is not None and first is not expected
    if kind is expected:
        if nested is not None and not _items_fit(value, answers, nested):
            return "wrong type"
    elif kind is first:
        is_variable = True
    else:
        return "wrong type"
    if is_variable or expected not in (dict, list, str):
        fits = value in answers
    elif expected is dict:
        fits = _dict_fits(value, answers)
    elif expected is str:
        fits = _text_fits(value, answers)
    elif nested is dict:
        fits = any(_dict_list_fits(value, answer) for answer in answers)
    else:
        fits = _list_fits(value, answers)
    return None if fits else "wrong value"


def _first_type(answers: Iterable[Any]) -> type | None:
    """The type of the first answer that is not the mark of an optional argument."""
    return next((type(answer) for answer in answers if answer != ""), None)


def _items_fit(value: Any, answers: Any, nested: type) -> bool:
    for answer in answers:
        if type(answer) is not list:
            return True
        first = _first_type(answer)
        if all(type(item) is nested or (first is not None and type(item) is first) for item in value):
            return True
    return False


def _standard(value: Any) -> Any:
    """A string as BFCL compares it: without blanks and ``,./-_*^``, in lower case, with one kind of quote."""
    return value.translate(_DROPPED).lower() if type(value) is str else value


def _text_fits(value: str, answers: Any) -> bool:
    if value in answers:
        return True
    return any(type(answer) is str and _standard(answer) == _standard(value) for answer in answers)


def _items(answer: Any) -> list[Any]:
    """The elements of a list, or the characters of a string: the original indexes any type."""
    return answer if type(answer) is list else [answer[index] for index in range(len(answer))]


def _list_fits(value: list[Any], answers: Any) -> bool:
    wanted = [[_standard(item) for item in _items(answer)] for answer in answers]
    return [_standard(item) for item in value] in wanted


def _dict_fits(value: dict[Any, Any], answers: Any) -> bool:
    """Whether one answer, ``{key: [allowed values]}``, has all the keys of ``value`` with its values."""
    for answer in answers:
        if answer == "":
            continue
        given = all(
            key in answer and _standard(item) in [_standard(one) for one in _items(answer[key])]
            for key, item in value.items()
        )
        left_out = all(
            key in value or "" in allowed for key, allowed in answer.items()
        )  # raises, like the original
        if given and left_out:
            return True
    return False


def _dict_list_fits(value: list[Any], answer: Any) -> bool:
    return len(value) == len(answer) and all(
        _dict_fits(given, [wanted]) for given, wanted in zip(value, _items(answer), strict=True)
    )

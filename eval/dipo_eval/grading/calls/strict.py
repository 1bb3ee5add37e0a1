"""The verdict of ``strict``: BFCL's rules without its checker's defects, which ``grade`` lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dipo_eval import linear
from dipo_eval.grading.calls.bfcl import Language
from dipo_eval.grading.calls.java_calls import Quoted
from dipo_eval.grading.calls.native_forms import declared_type
from dipo_eval.grading.calls.response_text import Code
from dipo_eval.grading.calls.strict_literals import read_literal

_REAL = frozenset({"float", "number", "double", "any", ""})
_TEXT = frozenset({"string", "str", "String", "char"})
_SIMPLE = frozenset({str, int, float, bool})
_MAY_BE_EMPTY = _TEXT | {"any", ""}
_TUPLES = frozenset({"tuple", "any", ""})
_FULL_STOP = linear.bounded(r"\.(?= |$)")
_SPACE_AT_MARK = linear.bounded(r"(?<=\W) | (?=\W)")
MAX_DEPTH = 50
_FORMULA = linear.compile(r"[\w\s+\-*/^().]+\Z")
_POWER = linear.bounded(r"\*\*|\^")
_FACTOR = linear.bounded(r"(?<=[0-9)])\*(?=[a-zA-Z(])")


def refusal(
    calls: list[dict[str, Any]], gold: list[dict[str, Any]], functions: list[dict[str, Any]],
    language: Language = Language.PYTHON, *, underscores: bool = False,
) -> str | None:  # fmt: skip
    """Why ``calls`` are not the gold calls, or None where they are: in any order, each once, and no others."""
    if len(calls) != len(gold):
        return "extra call" if len(calls) > len(gold) else "missing call"

    def why_not(call: dict[str, Any], one: dict[str, Any]) -> str | None:
        return _call_refusal(call, one, functions, language, underscores)

    if len(gold) == 1:
        return why_not(calls[0], gold[0])
    left = list(calls)
    for one in gold:  # the first call that fits each gold call is usually enough
        index = next((index for index, call in enumerate(left) if why_not(call, one) is None), None)
        if index is None:
            return _unmatched([[why_not(call, one) for call in calls] for one in gold])
        del left[index]
    return None


def _unmatched(reasons: list[list[str | None]]) -> str | None:
    """Why no one-to-one assignment exists, or None where one does; ``reasons``: for each gold call and each call."""
    for row in reasons:
        if None not in row:  # the reason of the first call to the same function
            return next((one for one in row if one and one != "wrong function"), "wrong function")
    from scipy.sparse import csr_array  # slow to import, and seldom needed
    from scipy.sparse.csgraph import maximum_bipartite_matching

    fits = csr_array([[one is None for one in row] for row in reasons])
    matched = maximum_bipartite_matching(fits, perm_type="column")
    return None if (matched >= 0).all() else "two gold calls need one call"


def _call_refusal(
    call: dict[str, Any], gold: dict[str, Any], functions: list[dict[str, Any]],
    language: Language, underscores: bool,
) -> str | None:  # fmt: skip
    name, allowed = next(iter(gold.items()))
    if (name.replace(".", "_") if underscores else name) not in call:
        return "wrong function"
    arguments = next(iter(call.values()))
    described = next((one for one in functions if one.get("name") == name), {})
    parameters = described.get("parameters") or {}
    properties = parameters.get("properties")
    for required in parameters.get("required") or ():
        if required not in arguments:
            return "missing argument"
    for parameter, value in arguments.items():
        if parameter not in allowed or (properties and parameter not in properties):
            return "unexpected argument"
        schema = properties.get(parameter, {}) if properties else {}
        reason = argument_refusal(value, allowed[parameter], schema, language)
        if reason:
            return reason
    for parameter, answers in allowed.items():
        is_possible = bool(answers) and (not properties or parameter in properties)
        if parameter not in arguments and "" not in answers and is_possible:
            return "missing argument"
    return None


def argument_refusal(
    value: Any, answers: list[Any], schema: Mapping[str, Any], language: Language
) -> str | None:
    """Why ``value`` is none of ``answers`` (BFCL's list of allowed values), or None where it is one."""
    declared = declared_type(schema)
    if language is not Language.PYTHON:
        if not isinstance(value, str):
            return "wrong type"
        value = _from_source(value, declared, language)
    kind = type(value)
    if kind in _SIMPLE and value != "" and any(type(one) is kind and one == value for one in answers):
        return None
    reason = "wrong value"
    for answer in answers:
        if answer == "" and (value != "" or declared not in _MAY_BE_EMPTY):
            continue  # the mark of an optional argument
        is_source = declared in ("any", "") and language is not Language.PYTHON
        given = _literal(value, language) if is_source and not isinstance(answer, str) else value
        found = _difference(given, answer, schema, 0, is_options=True)
        if found is None:
            return None
        reason = found if found != "wrong value" else reason
    return reason


def _from_source(text: str, declared: str, language: Language) -> Any:
    """The value of an argument that BFCL passes on as Java or JavaScript source."""
    if isinstance(text, Quoted) or declared in _TEXT or declared in ("any", ""):
        return text
    value = _literal(text, language)
    if declared == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _literal(text: str, language: Language) -> Any:
    return read_literal(text, is_java=language is Language.JAVA)


def _difference(
    value: Any, gold: Any, schema: Mapping[str, Any], depth: int, *, is_options: bool = False
) -> str | None:
    """How ``value`` differs from ``gold``: a rule's name, or None where it does not.

    ``is_options``: a dict in ``gold`` has BFCL's lists of allowed values, as it does outside other dicts.
    """
    if depth > MAX_DEPTH:
        return "nested too deeply"
    declared = declared_type(schema)
    if isinstance(value, Code):
        if not isinstance(gold, str) or declared in _TEXT:
            return "code for a text" if isinstance(gold, str) else "code for a value"
        return None if "".join(value.split()) == "".join(gold.split()) else "wrong value"
    if isinstance(value, bool) or isinstance(gold, bool) or value is None or gold is None:
        return None if value is gold else "wrong value" if type(value) is type(gold) else "wrong type"
    if isinstance(value, (int, float)) and isinstance(gold, (int, float)):
        if isinstance(value, float) and isinstance(gold, int) and declared not in _REAL:
            return "wrong type"
        return None if value == gold else "wrong value"
    if isinstance(value, str) and isinstance(gold, str):
        return None if same_text(value, gold) else "wrong value"
    if isinstance(value, (list, tuple)) and isinstance(gold, (list, tuple)):
        return _list_difference(value, gold, schema, depth, is_options)
    if isinstance(value, dict) and isinstance(gold, dict):
        return _dict_difference(value, gold, schema, depth, is_options)
    return "wrong type"


def _list_difference(
    value: Any, gold: Any, schema: Mapping[str, Any], depth: int, is_options: bool
) -> str | None:
    if isinstance(value, tuple) and declared_type(schema) not in _TUPLES:
        return "wrong type"
    if len(value) != len(gold):
        return "wrong value"
    inner = _described(schema, "items")
    found = (
        _difference(*pair, inner, depth + 1, is_options=is_options) for pair in zip(value, gold, strict=True)
    )
    return next(filter(None, found), None)


def _described(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = schema.get(key)
    return found if isinstance(found, dict) else {}


def _dict_difference(
    value: dict[Any, Any], gold: dict[Any, Any], schema: Mapping[str, Any], depth: int,
    is_options: bool,
) -> str | None:  # fmt: skip
    inner = _described(schema, "properties")
    for key, one in value.items():
        if key not in gold:
            return "unexpected key"
        options = gold[key] if is_options and isinstance(gold[key], list) else [gold[key]]
        found = [_difference(one, option, _described(inner, key), depth + 1) for option in options]
        if None not in found:
            return next((reason for reason in found if reason and reason != "wrong value"), "wrong value")
    for key, options in gold.items():
        if key not in value and not (is_options and isinstance(options, list) and "" in options):
            return "missing key"
    return None


def same_text(left: str, right: str) -> bool:
    """Whether two strings differ at most in case, white space beside punctuation, commas for blanks, a full stop at
    the end of a word, the kind of quote mark, or are one formula (``_same_formula``). 3.14 is not 314, nor /home/ab
    /home/a/b.
    """
    return left == right or _plain(left) == _plain(right) or _same_formula(left, right)


def _same_formula(left: str, right: str) -> bool:
    """Whether two texts are one formula written two ways: x^3 and x**3, 3x**2 and 3*x**2."""
    if not all(_FORMULA.match(text) and _POWER.search(text) for text in (left, right)):
        return False
    first, second = (_FACTOR.sub("", _POWER.sub("^", text.replace(" ", ""))) for text in (left, right))
    return first == second


def _plain(text: str) -> str:
    text = " ".join(text.lower().replace("'", '"').replace(",", " ").split())
    return _SPACE_AT_MARK.sub("", _FULL_STOP.sub("", text))

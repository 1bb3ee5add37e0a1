"""Compare two whole answers, part by part."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

from dipo_eval import linear
from dipo_eval.grading.math.answer_parts import MAX_NESTING, Part, nesting, parse_parts, without_thousands
from dipo_eval.grading.math.compare_single import Strong, compare_single
from dipo_eval.grading.math.equations import label_of
from dipo_eval.grading.math.normalize import clean, key
from dipo_eval.grading.math.outcome import Outcome, all_of, any_of
from dipo_eval.grading.math.peel import conditions_differ
from dipo_eval.grading.math.real_sets import is_empty_set

MAX_PARTS = 60
MAX_HARD_CHARS = 500
"""A single answer longer than this is not given to math-verify: no single gold answer has 200 characters."""
_CENTS = linear.bounded(r"(?<![A-Za-z])cents?(?![A-Za-z])|\u00a2")
_POINT = linear.compile(r"[A-Z]'?\s?(\(.*\))\Z")  # A(2, 4)
_TUPLE_NAMES = linear.compile(r"\(\s?([a-zA-Z](?:\s?,\s?[a-zA-Z])+)\s?\)\s?=")
_RELATIONS = ("<", ">", r"\le", r"\ge", r"\ne")


@lru_cache(maxsize=4096)
def read_gold(gold: str) -> Part:
    """The parts of a gold answer; cached, since a group of responses shares one."""
    return parse_parts(clean(gold))


def compare_answers(
    answer: str, gold: str, tolerance: Fraction | None = None, strong: Strong | None = None
) -> Outcome:
    """Compare an extracted answer with a gold answer, both as written; ``strong`` decides what is UNKNOWN here.

    Lists and sets match in any order, tuples, intervals and matrices in theirs; brackets of intervals count.
    An answer of several values for a gold with one is DIFFERENT unless all of them equal it.
    """

    def bounded(one: str, wanted: str, tolerance: Fraction | None) -> Outcome:
        if len(one) > MAX_HARD_CHARS or nesting(one) > MAX_NESTING:
            return Outcome.TOO_LARGE
        return strong(one, wanted, tolerance) if strong else Outcome.UNKNOWN

    cleaned = clean(answer)
    wanted = read_gold(gold)
    if tolerance is None and key(cleaned) == key(wanted.text):
        return Outcome.EQUAL
    if not any(char.isalnum() for char in cleaned) and not is_empty_set(cleaned):
        return Outcome.DIFFERENT
    if any(r"\$" in one and _CENTS.search(other) for one, other in ((answer, gold), (gold, answer))):
        return Outcome.DIFFERENT
    if " " in cleaned and conditions_differ(cleaned, clean(gold)):
        return Outcome.DIFFERENT
    as_list = wanted.kind in ("list", "set", "tuple")
    given = (
        _as_named(parse_parts(cleaned, as_list=as_list), cleaned, clean(gold))
        if as_list
        else parse_parts(cleaned)
    )
    outcome = _parts(given, wanted, tolerance, bounded)
    if as_list and outcome is Outcome.DIFFERENT and "," in cleaned and without_thousands(cleaned) != cleaned:
        return _parts(parse_parts(without_thousands(cleaned), as_list=True), wanted, tolerance, bounded)
    return outcome


def _parts(given: Part, wanted: Part, tolerance: Fraction | None, strong: Strong) -> Outcome:
    if len(given.items) > MAX_PARTS or len(wanted.items) > MAX_PARTS:
        return Outcome.TOO_LARGE
    if wanted.kind == "leaf":
        return _against_leaf(given, wanted, tolerance, strong)
    if wanted.kind == "matrix" and given.kind == "tuple" and given.brackets in ("()", "[]"):
        given = _as_matrix(given, wanted)
    if given.kind == "leaf":
        point = _POINT.match(given.text) if wanted.kind == "tuple" else None
        if point:
            return _parts(parse_parts(point[1]), wanted, tolerance, strong)
        related = any(sign in given.text for sign in _RELATIONS) and wanted.kind in ("tuple", "union")
        return strong(given.text, wanted.text, tolerance) if related else Outcome.DIFFERENT
    if wanted.kind in ("list", "set"):
        if given.kind in ("list", "set"):
            match = _in_order if _is_named(wanted) and not _is_named(given) else _unordered
            return match(given, wanted, tolerance, strong)
        same_order = given.kind == "tuple" and given.brackets == "()" and wanted.kind == "list"
        return _in_order(given, wanted, tolerance, strong) if same_order else Outcome.DIFFERENT
    if wanted.kind == "tuple":
        return _against_tuple(given, wanted, tolerance, strong)
    if given.kind != wanted.kind:
        return strong(given.text, wanted.text, tolerance) if wanted.kind == "union" else Outcome.DIFFERENT
    if wanted.kind == "union":
        return _unordered(given, wanted, tolerance, strong)
    return _in_order(given, wanted, tolerance, strong)


def _as_matrix(given: Part, wanted: Part) -> Part:
    """A tuple as the vector, and a list of lists as the matrix, that ``wanted`` is."""
    if all(item.kind == "tuple" for item in given.items):
        return Part("matrix", given.text, tuple(replace(row, brackets="()") for row in given.items))
    if all(len(row.items) == 1 for row in wanted.items):
        rows = tuple(Part("tuple", item.text, (item,), "()") for item in given.items)
        return Part("matrix", given.text, rows)
    return Part("matrix", given.text, (replace(given, brackets="()"),))


def _as_named(given: Part, answer: str, gold: str) -> Part:
    """A tuple for ``(y, x)`` in the order of a gold for ``(x, y)``."""
    one, other = _TUPLE_NAMES.match(answer), _TUPLE_NAMES.match(gold)
    if one is None or other is None or given.kind != "tuple":
        return given
    names, wanted = ([name.strip() for name in match[1].split(",")] for match in (one, other))
    if names == wanted or sorted(names) != sorted(wanted) or len(names) != len(given.items):
        return given
    return replace(given, items=tuple(given.items[names.index(name)] for name in wanted))


def _by_name(part: Part) -> Part:
    """``y = 3, x = 2`` in the order of the alphabet, where the names follow one another in it."""
    names = [label_of(item.text) or "" for item in part.items]
    ordered = sorted(names)
    if not all(len(name) == 1 and ord(name) == ord(ordered[0]) + index for index, name in enumerate(ordered)):
        return part
    return replace(part, items=tuple(part.items[names.index(name)] for name in ordered))


def _is_named(part: Part) -> bool:
    """Whether the items of ``part`` have different names: AB = 4, CD = 5. An answer without names keeps their order."""
    names = [label_of(item.text) for item in part.items]
    return None not in names and len(set(names)) == len(names) > 1


def _against_leaf(given: Part, wanted: Part, tolerance: Fraction | None, strong: Strong) -> Outcome:
    if given.kind == "leaf":
        return compare_single(given.text, wanted.text, tolerance, strong)
    if given.kind == "list" or (given.kind == "set" and len(given.items) == 1):
        return all_of(_parts(item, wanted, tolerance, strong) for item in given.items)
    if given.kind == "tuple" and any(sign in wanted.text for sign in _RELATIONS):
        return strong(given.text, wanted.text, tolerance)
    return Outcome.DIFFERENT


def _against_tuple(given: Part, wanted: Part, tolerance: Fraction | None, strong: Strong) -> Outcome:
    if given.kind == "set" and len(given.items) == 1 and given.items[0].kind == "tuple":
        given = given.items[0]
    if given.kind == "list" and wanted.brackets == "()" and r"\infty" not in wanted.text:
        return _in_order(_by_name(given), wanted, tolerance, strong)
    if given.kind == "union":
        return strong(given.text, wanted.text, tolerance)
    if given.kind != "tuple" or given.brackets != wanted.brackets:
        return Outcome.DIFFERENT
    return _in_order(given, wanted, tolerance, strong)


def _in_order(given: Part, wanted: Part, tolerance: Fraction | None, strong: Strong) -> Outcome:
    if len(given.items) != len(wanted.items):
        return Outcome.DIFFERENT
    return all_of(_parts(a, b, tolerance, strong) for a, b in zip(given.items, wanted.items, strict=True))


def _unordered(given: Part, wanted: Part, tolerance: Fraction | None, strong: Strong) -> Outcome:
    """Match each wanted part with a given one of its own. Equality is transitive, so the first match is enough."""
    items = given.items if len(given.items) == len(wanted.items) else _distinct(given.items)
    if len(items) != len(wanted.items):
        return Outcome.DIFFERENT
    left = list(items)
    outcomes = []
    for part in wanted.items:
        results = []
        for index, item in enumerate(left):
            results.append(_parts(item, part, tolerance, strong))
            if results[-1] is Outcome.EQUAL:
                del left[index]
                break
        outcomes.append(any_of(results))
    return all_of(outcomes)


def _distinct(items: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple({key(item.text): item for item in items}.values())

"""Grade a mathematical answer: the verdict that the training reward and the evaluation share."""

from __future__ import annotations

from fractions import Fraction

from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading.math.compare_parts import compare_answers, read_gold
from dipo_eval.grading.math.extract import extract_answer
from dipo_eval.grading.math.normalize import MAX_ANSWER_CHARS, clean
from dipo_eval.grading.math.outcome import Outcome
from dipo_eval.grading.pool import GradingPool, shared_pool
from dipo_eval.grading.verdict import Status, Verdict

LIMIT_S = 5.0
"""Seconds that the slow path may take for one answer."""

_BEST_FIRST = ("correct", "undecided", "wrong")
_NOT_COMPARABLE = (RecursionError, ArithmeticError, ValueError, MemoryError)
_DECIDED: dict[Outcome, tuple[Status, str]] = {
    Outcome.EQUAL: ("correct", "equal"),
    Outcome.DIFFERENT: ("wrong", "different"),
    Outcome.TOO_LARGE: ("undecided", "too large to evaluate"),
    Outcome.UNKNOWN: ("undecided", "could not be compared"),
}


def grade_math(
    response: str,
    gold: str | list[str],
    *,
    tolerance: float | str | Fraction | None = None,
    any_of: bool = False,
    limit_s: float = LIMIT_S,
    pool: GradingPool | None = None,
) -> Verdict:
    """Grade the final answer of ``response`` against ``gold``.

    All answers of a ``gold`` list are required, in any order; with ``any_of`` one of them is enough.
    ``tolerance`` is an absolute error (OlympiadBench's field ``error``); without it equality is exact, except that
    a decimal of at least six places may be the rounded exact value. Plain answers are decided here in
    microseconds; the rest in a worker process that is killed after ``limit_s`` seconds (``undecided``). Works in
    any thread and uses no signals. Never raises because of ``response``; ``check_gold`` finds a bad gold.
    """
    found = extract_answer(response)
    answer = found.text
    if answer is None:
        return Verdict("wrong", "no answer found")
    if any_of and isinstance(gold, list):
        verdicts = [_grade(answer, one, tolerance, limit_s, pool) for one in gold]
        none = Verdict("wrong", "no gold answer", answer)
        verdict = min(verdicts, key=lambda verdict: _BEST_FIRST.index(verdict.status), default=none)
    else:
        verdict = _grade(answer, joined(gold), tolerance, limit_s, pool)
    if verdict.reason != "different":
        return verdict
    return Verdict(
        "wrong", f"different ({found.how})", answer
    )  # where the answer was read: boxed, stated, ...


def joined(gold: str | list[str]) -> str:
    """A gold list as one answer text."""
    if isinstance(gold, str):
        return gold
    return gold[0] if len(gold) == 1 else ", ".join(gold)


def _grade(
    answer: str, gold: str, tolerance: float | str | Fraction | None, limit_s: float, pool: GradingPool | None
) -> Verdict:
    if tolerance is None:
        if answer == gold:
            return Verdict("correct", "same text", answer)
        if answer.isdecimal() and gold.isdecimal() and answer.isascii():
            same = answer.lstrip("0") == gold.lstrip("0")
            return Verdict("correct" if same else "wrong", "integers", answer)
    if len(answer) > MAX_ANSWER_CHARS:
        return Verdict("undecided", "answer too long", answer[:MAX_ANSWER_CHARS])
    exact = None if tolerance is None else Fraction(str(tolerance))
    try:
        outcome = compare_answers(answer, gold, exact)
    except _NOT_COMPARABLE as error:
        return Verdict("undecided", f"not comparable: {type(error).__name__}", answer)
    if outcome is Outcome.UNKNOWN:
        task = {
            "kind": "compare",
            "answer": answer,
            "gold": gold,
            "tolerance": None if exact is None else str(exact),
        }
        reply = (pool or shared_pool()).ask(task, limit_s)
        if "outcome" not in reply:
            return Verdict("undecided", str(reply.get("reason")), answer)
        outcome = Outcome[reply["outcome"]]
    return Verdict(*_DECIDED[outcome], answer)


def check_gold(gold: object) -> None:
    """Raise UserError where ``gold`` cannot be graded against: call it on every item before a run starts.

    A gold answer is a non-empty string, or a list of them, of at most MAX_ANSWER_CHARS, with balanced brackets, and
    no number too large to evaluate. A gold that no parser reads is allowed: the same text still matches.
    """
    if gold == []:
        raise UserError("gold answer: an empty list; give at least one answer")
    for one in gold if isinstance(gold, list) else (gold,):
        _check_one(one)


def _check_one(gold: object) -> None:
    if not isinstance(gold, str):
        raise _refused(gold, f"is {type(gold).__name__}; give a string or a list of strings")
    if len(gold) > MAX_ANSWER_CHARS:
        raise UserError(
            f"gold answer: {len(gold)} characters, starting {gold[:40]!r}; give the final answer alone"
        )
    text = clean(gold)
    if not any(char.isalnum() for char in text) and text not in (r"\emptyset", "\\infty"):
        raise _refused(gold, "holds no answer; give a number, an expression or a word")
    plain = gold.replace(r"\{", "").replace(r"\}", "")
    if plain.count("{") != plain.count("}"):
        raise _refused(gold, "has unbalanced braces; fix it in the data")
    if plain.count("(") + plain.count("[") != plain.count(")") + plain.count("]"):
        raise _refused(gold, "has unbalanced brackets; fix it in the data")
    part = read_gold(gold)
    for leaf in (item for item in part.items or (part,) if item.kind == "leaf"):
        try:  # against a value that it cannot be, so that every number in it is evaluated
            outcome = compare_answers("0.123456789123", leaf.text)
        except _NOT_COMPARABLE as error:
            raise _refused(
                gold, f"cannot be evaluated ({type(error).__name__}); write it in a simpler form"
            ) from None
        if outcome is Outcome.TOO_LARGE:
            raise _refused(gold, "is too large to evaluate; write it in a form that can be")


def _refused(gold: object, why: str) -> UserError:
    return UserError(f"gold answer: {short_repr(gold)} {why}")

"""Answers with a notation of their own: clock times, ratios, constants of integration."""

from __future__ import annotations

from dipo_eval import linear
from dipo_eval.grading.math.compare_closed_forms import compare_expressions, real_value
from dipo_eval.grading.math.outcome import Outcome, all_of

_CLOCK = linear.compile(r"(\d{1,2}):(\d{2})\s*(?:([ap])\.?\s*m\.?)?\Z")
_RATIO_WORD = linear.bounded(r"(?<=\d)\s{1,3}to\s{1,3}(?=\d)")
_CONSTANT = linear.compile(r"(.*)\+\s*([A-Za-z])\Z")


def compare_notations(answer: str, gold: str) -> Outcome | None:
    """Compare two cleaned single answers where the gold is a time, a ratio or an antiderivative; None for others."""
    if ":" in gold:
        clock = _clock(answer, gold)
        return _ratio(_RATIO_WORD.sub(":", answer), gold) if clock is None else clock
    constant = _CONSTANT.match(gold)
    if constant and constant[2] == "C" and "C" not in constant[1]:
        other = _CONSTANT.match(answer)
        if other and other[2] != "C" and other[2] not in constant[1] and other[2] not in other[1]:
            return compare_expressions(other[1], constant[1])
    return None


def _clock(answer: str, gold: str) -> Outcome | None:
    """Times of day, where the gold says a.m. or p.m.: 3:00 PM is 15:00, and 3:00 without its half of the day."""
    wanted, given = _CLOCK.match(gold.lower()), _CLOCK.match(answer.lower())
    if wanted is None or wanted[3] is None:
        return None
    if given is None:
        return Outcome.DIFFERENT
    accepted = {_minutes(wanted)}
    if given[3] is None:
        accepted.add(int(wanted[1]) * 60 + int(wanted[2]))
    return Outcome.EQUAL if _minutes(given) in accepted else Outcome.DIFFERENT


def _minutes(time: linear.Match) -> int:
    hour = int(time[1]) % 12 + 12 * (time[3] == "p") if time[3] else int(time[1])
    return hour * 60 + int(time[2])


def _ratio(answer: str, gold: str) -> Outcome:
    """Ratios are equal up to a factor: 2:4:6 is 1:2:3. A label before one ends with "="."""
    if ":" not in answer and gold.count(":") == 1:  # 3/2 for 3:2
        return compare_expressions(answer, "({})/({})".format(*gold.rpartition("=")[2].split(":")))
    given, wanted = ([part.strip() for part in text.rpartition("=")[2].split(":")] for text in (answer, gold))
    if len(given) != len(wanted) or len(given) < 2:
        return Outcome.DIFFERENT
    if any(real_value(part) in (None, 0.0) for part in (*given, *wanted)):
        return Outcome.EQUAL if given == wanted else Outcome.DIFFERENT
    outcomes = [
        compare_expressions(f"({a})*({wanted[0]})", f"({b})*({given[0]})")
        for a, b in zip(given[1:], wanted[1:], strict=True)
    ]
    combined = all_of(outcomes)
    return Outcome.DIFFERENT if combined is Outcome.UNKNOWN else combined

"""Random responses: no exception, no verdict by accident, nothing that runs past its limit."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dipo_eval.errors import UserError
from dipo_eval.grading import check_gold, grade_math

_TOKENS = (
    r"\frac \sqrt \boxed { } ( ) [ ] , ; . + - * / ^ ! = < > \le \ge | _ \pi \infty \cup \pm \in % $ \$ "
    r"\text{ cm} "
    r"\{ \} \left \right \begin{pmatrix} \end{pmatrix} & \\ and or answer is #### 0 1 2 10 007 1,024 "
    r"3.5 x y n i e \log \sin \binom \lfloor \rfloor \circ degrees million \, \! ** 9^9 \mathrm{d} \sum \gcd"
)
PIECES = st.sampled_from([*_TOKENS.split(), " ", "\n", "\t", "\u00b2", "\u2212", "\ud7ff"])
FORMULAS = st.lists(PIECES, max_size=14).map("".join)


def _table() -> list[dict[str, str]]:
    with (Path(__file__).parents[1] / "grading_cases.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


CASES = _table()


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A response of the table with pieces dropped, doubled, put in, or exchanged with another's."""
    text = draw(st.sampled_from(CASES))["response"]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        other = draw(st.sampled_from(CASES))["response"]
        middle = draw(st.sampled_from(["", text[start:end] * 2, text[start:end][::-1], draw(PIECES), other]))
        text = text[:start] + middle + text[end:]
    return text


RESPONSES = st.one_of(
    mutated(), st.text(max_size=200), FORMULAS, FORMULAS.map(lambda text: rf"\boxed{{{text}}}")
)
GOLDS = st.one_of(
    st.sampled_from(
        ["42", "1,2", r"\frac{1}{2}", r"2\sqrt{3}", "x+1", "[1,2)", r"\text{east}", "(B)", "12_5", "10\\%"]
    ),
    st.sampled_from(CASES).map(lambda case: case["gold"]),
)
LIMIT_S = 5.0
START_S = 20.0  # a worker that had to be started is not counted against the answer


def check(response: str, gold: str) -> None:
    started = time.monotonic()
    verdict = grade_math(response, gold, limit_s=LIMIT_S)
    assert time.monotonic() - started < LIMIT_S + START_S
    assert verdict.status in ("correct", "wrong", "undecided")
    assert (verdict.extracted is None) == (verdict.reason == "no answer found")


@settings(max_examples=700, deadline=None)
@given(RESPONSES, GOLDS)
def test_any_response_gets_a_verdict(response: str, gold: str) -> None:
    check(response, gold)


@pytest.mark.slow
@settings(max_examples=100_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(RESPONSES, GOLDS)
def test_a_hundred_thousand_responses_get_a_verdict(response: str, gold: str) -> None:
    check(response, gold)


@settings(max_examples=500, deadline=None)
@given(st.one_of(FORMULAS, st.text(max_size=60)))
def test_any_gold_that_passes_its_check_is_correct_against_itself(gold: str) -> None:
    try:
        check_gold(gold)
    except UserError:
        return
    plain = gold.replace("\\{", "").replace("\\}", "")
    if "boxed" in gold or "\\\\" in gold or gold.endswith("\\") or not nests(plain):
        return
    assert grade_math(rf"\boxed{{{gold}}}", gold).status == "correct"


def nests(text: str) -> bool:
    """Whether braces in ``text`` never close before they open, so that a box around it ends where it
    should.
    """
    depth = 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


@settings(max_examples=500, deadline=None)
@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_integers_are_equal_only_to_themselves(a: int, b: int) -> None:
    assert (grade_math(rf"\boxed{{{a}}}", str(b)).status == "correct") == (a == b)
    assert grade_math(rf"\boxed{{{a:,}}}", str(a)).status == "correct"
    assert grade_math(rf"\boxed{{{a}.00}}", str(a)).status == "correct"


@settings(max_examples=500, deadline=None)
@given(st.integers(-999, 999), st.integers(1, 999), st.integers(1, 9))
def test_fractions_are_graded_by_value(top: int, bottom: int, factor: int) -> None:
    gold = rf"\frac{{{top}}}{{{bottom}}}"
    assert grade_math(rf"\boxed{{\dfrac{{{top * factor}}}{{{bottom * factor}}}}}", gold).status == "correct"
    assert grade_math(rf"\boxed{{{top}/{bottom}}}", gold).status == "correct"
    assert grade_math(rf"\boxed{{\frac{{{top + 1}}}{{{bottom}}}}}", gold).status == "wrong"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-99, 99), min_size=2, max_size=6, unique=True), st.randoms())
def test_lists_match_in_any_order_and_tuples_in_theirs(values: list[int], random) -> None:
    shuffled = values[:]
    random.shuffle(shuffled)
    gold = ", ".join(map(str, values))
    answer = ", ".join(map(str, shuffled))
    assert grade_math(rf"\boxed{{{answer}}}", gold).status == "correct"
    assert (grade_math(rf"\boxed{{({answer})}}", f"({gold})").status == "correct") == (shuffled == values)
    assert grade_math(rf"\boxed{{{answer}, 100}}", gold).status == "wrong"

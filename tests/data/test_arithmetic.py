"""The generated arithmetic: correct answers, disjoint splits, stable ids, demonstrations as described."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_eval.errors import UserError
from dipo_eval.suites.arithmetic_problems import KINDS, problems, split_of
from dipo_openrlhf.data.arithmetic import TEACHING, demonstrations, write_prompts

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def _value(expression: str) -> int:
    """Whole-number arithmetic with Python's own precedence, worked out on the syntax tree."""

    def walk(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return _OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        assert isinstance(node, ast.Constant)
        return int(node.value)

    return walk(ast.parse(expression, mode="eval").body)


def _boxed(response: str) -> str:
    found = re.search(r"\\boxed\{(-?\d+)\}$", response)
    assert found, response
    return found[1]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_answers_are_the_value_of_the_formula(seed: int) -> None:
    for problem in problems("train", 30, seed):
        formula = KINDS[problem.kind].formula.format(*problem.numbers)
        assert int(problem.answer) == _value(formula)
        assert int(problem.answer) >= 0


def test_questions_name_their_numbers_in_order() -> None:
    for problem in problems("test", 300, seed=1):
        assert tuple(map(int, re.findall(r"\d+", problem.question))) == problem.numbers


def test_an_expression_in_a_question_has_the_answer_as_its_value() -> None:
    asked = [p for p in problems("train", 400, seed=2) if "*" in p.question or "+" in p.question]
    assert {p.kind for p in asked} >= {"sum", "difference", "precedence", "brackets", "product"}
    for problem in asked:
        expression = re.search(r"[(\d].*[)\d]", problem.question)
        assert expression
        assert _value(expression[0]) == int(problem.answer)


def test_no_test_formula_is_in_train_or_in_pretraining() -> None:
    def formulas(rows: list) -> set[str]:
        return {KINDS[p.kind].formula.format(*p.numbers) for p in rows}

    test = formulas(problems("test", 600, seed=3))
    assert not test & formulas(problems("train", 2000, seed=4))
    questions = {p.question for p in problems("test", 600, seed=3)}
    assert not questions & {d.question for d in islice(demonstrations(0), 20_000)}
    assert all(split_of(formula) == "test" for formula in test)


def test_problems_are_deterministic_distinct_and_extendable() -> None:
    first = problems("test", 200, seed=5)
    assert first == problems("test", 200, seed=5)
    assert first[:50] == problems("test", 50, seed=5)
    assert first != problems("test", 200, seed=6)
    assert len({p.question for p in first}) == len({p.id for p in first}) == 200


def test_ids_follow_the_question_and_never_the_seed() -> None:
    one = {p.question: p.id for p in problems("train", 2500, seed=7)}
    other = {p.question: p.id for p in problems("train", 2500, seed=8)}
    shared = one.keys() & other.keys()
    assert len(shared) > 100
    assert all(one[question] == other[question] for question in shared)


def test_kinds_come_in_their_shares() -> None:
    assert sum(kind.weight for kind in KINDS.values()) == pytest.approx(1)
    counts = Counter(p.kind for p in problems("train", 2000, seed=9))
    for name, kind in KINDS.items():
        assert counts[name] / 2000 == pytest.approx(kind.weight, abs=0.035), name


def test_impossible_requests_say_what_to_do() -> None:
    with pytest.raises(UserError, match="'train' or 'test'"):
        problems("dev", 1, seed=0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="0 or more"):
        problems("train", -1, seed=0)


def test_demonstrations_are_correct_as_often_as_they_should_be() -> None:
    rows = list(islice(demonstrations(1), 20_000))
    assert TEACHING.keys() == KINDS.keys()
    assert sum(teaching.share for teaching in TEACHING.values()) == pytest.approx(1)
    for name, teaching in TEACHING.items():
        mine = [row.correct for row in rows if row.kind == name]
        assert len(mine) / len(rows) == pytest.approx(teaching.share, abs=0.015), name
        assert sum(mine) / len(mine) == pytest.approx(teaching.reliability, abs=0.06), name


def test_every_step_of_a_demonstration_is_true_and_leads_to_its_answer() -> None:
    """An incorrect demonstration errs in its method; its sums are correct."""
    for row in islice(demonstrations(2), 1000):
        steps = re.findall(r"(\d+ [+*-] \d+) = (\d+)", row.response)
        assert steps
        assert all(_value(expression) == int(value) for expression, value in steps)
        assert _boxed(row.response) == steps[-1][1]


def test_correct_says_whether_the_boxed_answer_is_the_answer() -> None:
    answers = {p.question: p.answer for p in problems("train", 2000, seed=10)}
    seen = Counter()
    for row in islice(demonstrations(10), 4000):
        if row.question in answers:
            assert (_boxed(row.response) == answers[row.question]) == row.correct
            seen[row.correct] += 1
    assert seen[True] > 50
    assert seen[False] > 50


def test_prompts_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "prompts.jsonl"
    write_prompts(path, 64, seed=11)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    wanted = problems("train", 64, seed=11)
    assert [row["id"] for row in rows] == [p.id for p in wanted]
    assert [row["input"] for row in rows] == [p.question for p in wanted]
    assert [row["label"] for row in rows] == [p.answer for p in wanted]
    assert all(row["datasource"] == "arithmetic" and row["kind"] in KINDS for row in rows)


def test_unique_formulas_are_unique_and_reproducible() -> None:
    found = problems("test", 500, 3, unique_formulas=True)
    assert len({(problem.kind, problem.numbers) for problem in found}) == 500
    assert found == problems("test", 500, 3, unique_formulas=True)


def test_more_formulas_than_there_are_is_one_line() -> None:
    with pytest.raises(UserError, match=r"only \d+ formulas; ask for fewer"):
        problems("test", 100_000, 0, unique_formulas=True)

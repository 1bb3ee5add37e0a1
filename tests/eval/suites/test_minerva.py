r"""Minerva: golds of its kinds (numbers with powers of ten, expressions, equations), its checker's tolerance, no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dipo_eval.suites import Item, get_suites

# (gold, right answers, wrong answers): written for this test in the style of the problems.
CASES = [
    (
        "4.51e13",
        [r"4.51 \times 10^{13}", r"4.51\times 10^{13}\text{ Hz}", "45100000000000"],
        ["4.5e13", "4.51e12"],
    ),
    ("1.6e-8", [r"1.6 \cdot 10^{-8}", "0.000000016", r"1.6\times10^{-8}~\mathrm{m}"], ["1.7e-8", "1.6e8"]),
    ("2.3e-10", [r"2.305 \times 10^{-10}"], [r"2.4 \times 10^{-10}"]),  # at most 1e-8: a hundredth
    ("-7e37", [r"-7 \times 10^{37}", r"-7\times10^{37}\text{ erg}"], ["7e37"]),
    ("41.8", ["41.8", r"41.8^\circ", r"41.80 \text{ degrees}"], ["41.79", "42"]),
    ("1./12", [r"\frac{1}{12}", "1/12", "0.083333"], ["0.08"]),
    (r"2 x_{0} \alpha \sin (\omega_{0} t)", [r"2\alpha x_0\sin(\omega_0 t)"], [r"2 x_0\sin(\omega_0 t)"]),
    (r"V_{0} e^{-\frac{t}{RC}}", [r"V_0 e^{-t/(RC)}"], [r"V_0 e^{t/(RC)}"]),
    (r"m \ddot{x}=-k x", [r"m\ddot x = -kx", r"m \ddot{x} = - k x"], [r"m\dot x = -kx"]),
    (r"\arcsin (1.3 \sin (\theta_{w}))", [r"\arcsin\left(1.3\sin\theta_w\right)"], [r"\arcsin(\theta_w)"]),
    (r"\frac{4}{3} \pi G \rho r^{2}", [r"4\pi G\rho r^2/3"], [r"4\pi G\rho r^2"]),
    ("0", ["0", "0.0"], ["0.001"]),
]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {"id": f"m{i}", "question": f"Question {i}?", "answer": gold} for i, (gold, _, _) in enumerate(CASES)
    ]
    (folder / "minerva.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return get_suites(["minerva"])[0].load(Path(folder), None, 0)


@pytest.mark.parametrize("index", range(len(CASES)))
def test_golds_of_every_kind_are_graded(items: list[Item], index: int) -> None:
    grade, (gold, right, wrong) = get_suites(["minerva"])[0].grade, CASES[index]
    for answer in [gold, *right]:
        assert grade(f"so \\boxed{{{answer}}}.", items[index]).status == "correct", answer
    for answer in wrong:
        assert grade(f"so \\boxed{{{answer}}}.", items[index]).status == "wrong", answer


def test_a_number_may_be_off_by_what_the_usual_checker_allows(items: list[Item]) -> None:
    assert items[0].meta == {"tolerance": "451000000"}  # a hundred-thousandth of 4.51e13
    assert items[2].meta == {"tolerance": "23/10000000000000"}  # a hundredth
    assert items[6].meta == items[11].meta == {}

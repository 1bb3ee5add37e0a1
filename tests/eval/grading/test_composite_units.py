"""Units of several symbols are taken off a number, whole: a factor that is no unit stays."""

from __future__ import annotations

import pytest

from dipo_eval.grading import grade_math

UNITS = (
    r"\ \mathrm{kg\cdot m/s^2}",
    r"\ \mathrm{W/m^2}",
    r"\ \mathrm{m\cdot s^{-1}}",
    r"\ \mathrm{N\,m}",
    r"\ \text{J/(kg K)}",
    r"\ \mathrm{J/(kg\cdot K)}",
    r"\ \mathrm{erg}\,\mathrm{s}^{-1}",
    r"\ \frac{\text{m}}{\text{s}}",
    r"\ \mathrm{\frac{m}{s}}",
    r"\ \dfrac{\text{kg}\cdot\text{m}}{\text{s}^2}",
    r"\ \mathrm{J\,mol^{-1}\,K^{-1}}",
    r"\ \text{kg m}^2/\text{s}^2",
    r"\ \mathrm{cm^{-1}}",
    r"^\circ\mathrm{C}",
    r"\ ^\circ\mathrm{C}",
    r"\ \text{\AA}",
    r"\,\text{Å}",
    r"\text{ sq. units}",
    r"\text{ units squared}",
    r"\text{ meters per second squared}",
    r"\ \mathrm{N\cdot m}",
    r"\ \mathrm{kg\,m/s^2}",
    r"\text{ mol/L}",
)


@pytest.mark.parametrize("unit", UNITS)
def test_a_composite_unit_is_taken_off(unit: str) -> None:
    assert grade_math(rf"\boxed{{5{unit}}}", "5").status == "correct"
    assert grade_math(rf"The answer is $5{unit}$.", "5").status == "correct"
    assert grade_math(rf"\boxed{{6{unit}}}", "5").status == "wrong"
    assert grade_math(rf"\boxed{{5{unit} \cdot 2}}", "5").status != "correct"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"5\frac{m}{s}", "5"),
        (r"\frac{5m}{s}", "5"),
        (r"5\ \frac{\text{m}}{2}", "5"),
        (r"5\ \frac{\text{m}}{\text{s}}\cdot 2", "5"),
        (r"5\ \mathrm{N\cdot}", "5"),
        (r"5 N \cdot x", "5"),
        (r"5 a b", "5"),
        (r"5\ \mathrm{m\cdot s^{-1}}", r"5\text{ m}"),
        (r"5\ \mathrm{kg\cdot m/s^2}", r"5\text{ kg}"),
        (r"5\text{ thirds squared}", "5"),
        (r"5\text{ eggs squared}", "5"),
    ],
)
def test_algebra_and_another_unit_stay(answer: str, gold: str) -> None:
    assert grade_math(rf"\boxed{{{answer}}}", gold).status != "correct"


@pytest.mark.parametrize(
    ("answer", "gold", "other"),
    [
        ("\uff15", "5", "6"),
        ("\uff11\uff12\uff0e\uff15", "12.5", "125"),
        ("1\u20442", r"\frac12", "12"),
        (r"\text{infinity}", r"\infty", r"-\infty"),
        (r"\text{negative infinity}", r"-\infty", r"\infty"),
        (r"(0,\text{infinity})", r"(0,\infty)", r"(-\infty,0)"),
    ],
)
def test_other_spellings(answer: str, gold: str, other: str) -> None:
    assert grade_math(rf"\boxed{{{answer}}}", gold).status == "correct"
    assert grade_math(rf"\boxed{{{answer}}}", other).status != "correct"

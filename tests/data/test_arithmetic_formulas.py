"""The control suite's items are independent: no two problems of a kind have the same numbers."""

from __future__ import annotations

import pytest

from dipo_eval.errors import UserError
from dipo_eval.suites.arithmetic_problems import problems


def test_unique_formulas_are_unique_and_reproducible():
    found = problems("test", 500, 3, unique_formulas=True)
    assert len({(problem.kind, problem.numbers) for problem in found}) == 500
    assert found == problems("test", 500, 3, unique_formulas=True)


def test_more_than_there_are_is_one_line():
    with pytest.raises(UserError, match=r"only \d+ formulas; ask for fewer"):
        problems("test", 100_000, 0, unique_formulas=True)

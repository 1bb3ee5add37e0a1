"""Differences that few items carry: the interval's error where it holds, and the printed limit where it does not."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from dipo_eval.gate.verdict import SKEWED_ERRORS

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
skewed_errors = importlib.import_module("skewed_errors")
REPEATS = 20_000


@pytest.mark.parametrize(
    ("n", "k", "difficulty", "share", "loss"),
    [
        (164, 8, (0.1, 0.1), 0.1, 0.9),
        (164, 32, (0.3, 0.3), 0.1, 0.9),
        (500, 32, (0.05, 0.05), 0.05, 0.9),
        (500, 8, (0.05, 0.05), 0.05, 0.9),
        (500, 4, (0.1, 0.1), 0.1, 0.9),
    ],
)
def test_where_more_than_8_items_carry_a_skewed_difference_the_error_holds(n, k, difficulty, share, loss):
    shares, losing = skewed_errors.change_shares(difficulty, share, loss, k)
    assert n * losing > 8
    before, now, _ = skewed_errors.alarms(shares, k, n, REPEATS, seed=1)
    assert now <= 6
    assert now < before  # Student's t, the control


@pytest.mark.parametrize("n", [30, 164, 500])
def test_where_fewer_carry_it_the_error_is_at_most_the_one_that_is_printed_and_rarely_unreported(n):
    worst = 0.0
    for difficulty, share, loss in [
        ((0.05, 0.05), 0.02, 0.9),
        ((0.05, 0.05), 0.05, 0.9),
        ((0.05, 0.05), 0.01, 0.9),
    ]:
        shares, _ = skewed_errors.change_shares(difficulty, share, loss, 32)
        _, now, unreported = skewed_errors.alarms(shares, 32, n, REPEATS, seed=2)
        worst = max(worst, now)
        assert unreported <= 6
    printed = next(error for items, error in SKEWED_ERRORS if n < items)
    assert 5 < worst <= 100 * printed

"""Error rates of the comparison of methods in a small simulation; benchmarks/compare_errors.py is the large one."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from dipo_eval.statistics import Plan, compare_methods
from dipo_eval.statistics.crossed import half_width

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
errors = importlib.import_module("compare_errors")
SIMULATIONS = 400


def bound(rate: float) -> float:
    """Three standard errors above."""
    return rate + 3 * (rate * (1 - rate) / SIMULATIONS) ** 0.5


@pytest.mark.parametrize("luck", ["small", "large"])
@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_equal_methods_are_rarely_told_apart_where_looking_with_t_does_so(luck, spending):
    plan = errors.plan(8, spending=spending)
    world = errors.apart(0.0, luck)
    told, _, _ = errors.verdicts(errors.looks(world, plan, SIMULATIONS, 100, 1), plan)
    assert (told != 0).mean() <= bound(0.05)
    assert errors.peeking(world, plan, SIMULATIONS, 100, 1) > 0.1  # the control


def test_the_stated_difference_is_found_with_the_stated_power():
    plan = errors.plan(8)
    difference = errors.detectable_difference(plan, errors.apart(0.08, "small").components(), 100)
    told, _, seeds = errors.verdicts(
        errors.looks(errors.apart(difference, "small"), plan, SIMULATIONS, 100, 2), plan
    )
    assert abs((told > 0).mean() - 0.8) <= 0.05 + 3 * 0.02
    assert seeds.mean() < 8


def test_intervals_cover_at_one_look_and_at_all():
    plan = errors.plan(8)
    parts = errors.looks(errors.apart(0.05, "large"), plan, SIMULATIONS, 100, 3)
    assert (np.abs(parts[-1].mean - 0.05) > half_width(parts[-1], 0.05)).mean() <= bound(0.05)
    levels = plan.levels(1)[:, 0]
    outside = [
        np.abs(one.mean - 0.05) > half_width(one, level) for one, level in zip(parts, levels, strict=True)
    ]
    assert np.any(outside, axis=0).mean() <= bound(0.05)


def test_a_difference_of_the_margin_is_rarely_called_equivalent():
    plan = errors.plan(8, margin=0.05)
    rates = []
    for difference in (0.05, 0.0):
        parts = errors.looks(errors.apart(difference, "small"), plan, SIMULATIONS, 500, 4)
        rates.append(errors.verdicts(parts, plan)[1].mean())
    assert rates[0] <= bound(0.025)
    assert rates[1] > 0.2


def test_a_family_of_equal_methods_has_one_error():
    plan = errors.plan(6)
    world = errors.World((0.6,) * 5, errors.LUCK["small"])
    told, _, _ = errors.verdicts(errors.looks(world, plan, SIMULATIONS, 100, 5), plan)
    assert told.shape == (SIMULATIONS, 10)
    assert (told != 0).any(axis=1).mean() <= bound(0.05)


def test_the_simulation_stops_and_judges_as_compare_methods_does():
    plan = Plan((2, 3, 4, 5, 6), margin=0.1)
    world = errors.World((0.6, 0.6, 0.8), errors.LUCK["small"])
    (answers,) = errors.batches(world, 20, plan.budget, 60, 6)
    told, equivalent, seeds = errors.verdicts(errors.looks(world, plan, 20, 60, 6), plan)
    for i, one in enumerate(answers.astype(float)):
        found = next(
            found for look in plan.looks
            if (found := compare_methods({str(m): one[m, :look] for m in range(3)}, plan)).stop
        )  # fmt: skip
        assert found.seeds == seeds[i]
        expected = [{"better": 1, "worse": -1}.get(pair.verdict, 0) for pair in found.pairs]
        assert told[i].tolist() == expected
        assert equivalent[i].tolist() == [pair.verdict == "equivalent" for pair in found.pairs]

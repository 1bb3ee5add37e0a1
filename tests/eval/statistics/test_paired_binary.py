"""The exact comparison of single samples: errors summed over all outcomes, order, and Tango's published bounds."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from dipo_eval.statistics import drop_p_value, lower_bound
from dipo_eval.statistics.paired_binary import (
    drop_region,
    largest_probability,
    nuisance_grid,
    probabilities,
    score_bound,
    score_region,
)
from dipo_eval.statistics.power import detectable_drop, items_for_margin

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
gate_errors = importlib.import_module("gate_errors")
Z90, Z95 = stats.norm.ppf(0.95), stats.norm.ppf(0.975)


def outcomes(n: int) -> list[tuple[int, int]]:
    return [(lost, gained) for lost in range(n + 1) for gained in range(n - lost + 1)]


@pytest.mark.parametrize(
    ("lost", "gained", "n", "quantile", "low", "high", "digits"),
    [
        # Fagerland, Lydersen and Laake 2014, table of intervals, airway reactivity of 21 children: Tango.
        (7, 1, 21, Z95, -0.517, -0.026, 3),
        # R's PropCIs 0.3-0: scoreci.mp(25, 28, 618, 0.90).
        (25, 28, 618, Z90, -0.0148, 0.0247, 4),
    ],
)
def test_tangos_bounds_are_the_published_ones(lost, gained, n, quantile, low, high, digits):
    assert round(score_bound(lost, gained, n, quantile), digits) == low
    assert round(-score_bound(gained, lost, n, quantile), digits) == high


@pytest.mark.parametrize(("lost", "gained", "n"), [(7, 1, 21), (0, 0, 30), (3, 0, 164), (45, 35, 1000)])
def test_tangos_bound_solves_its_equation_with_the_likelihood_maximised_numerically(lost, gained, n):
    """From the definition alone: no closed form."""

    def excess(difference: float) -> float:
        def unlikely(gains: float) -> float:
            rates = (gains - difference, gains, 1 - 2 * gains + difference)
            counts = (lost, gained, n - lost - gained)
            return -sum(
                count * math.log(max(rate, 1e-300))
                for count, rate in zip(counts, rates, strict=True)
                if count
            )

        bounds = max(0.0, difference), (1 + difference) / 2
        gains = optimize.minimize_scalar(
            unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}
        ).x
        variance = n * (2 * gains - difference - difference**2)
        return (gained - lost - n * difference) / math.sqrt(variance) - Z90

    found = score_bound(lost, gained, n, Z90)
    assert optimize.brentq(excess, -0.9, (gained - lost) / n - 1e-6) == pytest.approx(found, abs=2e-5)


def test_probabilities_are_those_of_the_trinomial():
    rng = np.random.default_rng(0)
    for n in (2, 7, 40):
        region = score_region(n, -0.05, Z90)
        for difference, balanced in ((-0.1, 0.0), (-0.05, 0.2), (0.0, 0.3), (0.2, 0.05)):
            lost, gained = balanced + max(-difference, 0), balanced + max(difference, 0)
            expected = sum(
                stats.multinomial.pmf([b, c, n - b - c], n, [lost, gained, 1 - lost - gained])
                for b, c in outcomes(n)
                if b <= region[c]
            )
            assert probabilities(region, n, difference, np.array([balanced]))[0] == pytest.approx(
                expected, abs=2e-6
            )
    assert rng is not None


@pytest.mark.parametrize("n", [2, 5, 10, 20, 30])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_one_more_gained_or_one_fewer_lost_never_lowers_the_bound(n, confidence):
    """All outcomes; so no verdict at any margin gets worse, nor the p-value of a drop smaller."""
    bounds = {(b, c): lower_bound(b, c, n, confidence) for b, c in outcomes(n)}
    drops = {(b, c): drop_p_value(b, c, n) for b, c in outcomes(n)}
    for b, c in outcomes(n):
        for better in ((b - 1, c), (b - 1, c + 1), (b, c + 1)):
            if better in bounds:
                assert bounds[better] >= bounds[b, c], (b, c, better)
                assert drops[better] >= drops[b, c] - 1e-12, (b, c, better)


@pytest.mark.parametrize("n", [2, 5, 10, 20, 30])
@pytest.mark.parametrize("margin", [0.01, 0.02, 0.05])
def test_the_errors_are_at_most_5_percent_from_the_bounds_themselves(n, margin):
    """A sum over every outcome with the gate's own functions, on a finer grid than theirs."""
    passes = np.full(n + 1, -1.0)
    alarms = np.full(n + 1, -1.0)  # by losses: the most gains that are a drop
    for b, c in outcomes(n):
        if lower_bound(b, c, n, 0.95) > -margin:
            passes[c] = max(passes[c], b)
        if drop_p_value(b, c, n) < 0.05:
            alarms[b] = max(alarms[b], c)
    assert probabilities(passes, n, -margin, nuisance_grid(n, -margin, 0.02)).max() <= 0.05
    assert probabilities(alarms, n, 0.0, nuisance_grid(n, 0.0, 0.02)).max() <= 0.05


@pytest.mark.parametrize("n", [2, 10, 50, 164, 500, 1319])
def test_the_grid_misses_less_of_the_maximum_than_is_allowed_for(n):
    """largest_probability is at least the maximum over a grid ten times as fine, at ordinary and at small levels."""
    for level in (0.05, 0.005, 0.0005):
        quantile = stats.norm.isf(level)
        regions = [(score_region(n, difference, quantile), difference) for difference in (-0.05, -0.01, 0.0)]
        for region, difference in [*regions, (drop_region(n, quantile), 0.0)]:
            fine = probabilities(region, n, difference, nuisance_grid(n, difference, 0.015)).max()
            assert largest_probability(region, n, difference) >= fine


@pytest.mark.parametrize(
    ("n", "lost", "gained"), [(164, 0, 0), (164, 0, 1), (164, 0, 5), (378, 1, 3), (1319, 0, 2)]
)
def test_near_zero_what_the_t_interval_failed_passes(n, lost, gained):
    """At n = 164 and a margin of 2%, Student's t passed identical answers and failed one more solved."""
    assert lower_bound(lost, gained, n, 0.95) > -0.02


def test_bounds_at_the_ends():
    assert lower_bound(30, 0, 30, 0.95) == -1
    assert 0.8 < lower_bound(0, 30, 30, 0.95) < 0.9
    assert drop_p_value(0, 0, 30) == 1
    # Nothing lost of 30: not more than a share q of items, (1 - q)^30 = 5%, which exactness cannot beat.
    assert lower_bound(0, 0, 30, 0.95) == pytest.approx(-(1 - 0.05 ** (1 / 30)), abs=5e-4)


@pytest.mark.parametrize(("lost", "gained", "n"), [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(lost, gained, n):
    with pytest.raises(ValueError, match="impossible"):
        lower_bound(lost, gained, n, 0.95)
    with pytest.raises(ValueError, match="impossible"):
        drop_p_value(lost, gained, n)


def test_a_confidence_in_percent_is_refused():
    with pytest.raises(ValueError, match="confidence"):
        lower_bound(1, 2, 10, 95)


@pytest.mark.parametrize(("n", "margin"), [(50, 0.02), (164, 0.02), (500, 0.01), (1319, 0.02)])
def test_the_published_table_is_of_the_gates_own_bounds(n, margin):
    """Just inside and just outside the outcomes that benchmarks/gate_errors.py takes to pass or to be a drop."""
    passing, losses = gate_errors.pass_region(n, margin), gate_errors.least_losses(n)
    for gained in (0, 1, n // 40, n // 10):
        most, least = int(passing[gained]), int(losses[gained])
        assert most < 0 or lower_bound(most, gained, n, 0.95) > -margin
        assert lower_bound(most + 1, gained, n, 0.95) <= -margin
        assert drop_p_value(least, gained, n) < 0.05 <= drop_p_value(least - 1, gained, n)


@pytest.mark.parametrize("n", [50, 164, 378, 500, 1319])
def test_the_errors_are_at_most_5_percent_and_the_verdicts_in_order(n):
    """docs/gate.md has the table; the benchmark's grid is finer than the gate's."""
    for margin in (0.01, 0.02, 0.05):
        row = gate_errors.figures(n, margin, 0.05)
        assert row["false_pass"] <= 0.05
        assert row["false_alarm"] <= 0.05
        assert row["monotone"]


def test_students_t_would_err() -> None:
    """The control, and why it was replaced."""
    assert gate_errors.students_t(500, 0.02)[0] > 0.065


@pytest.mark.parametrize(("margin", "rate"), [(0.02, 0.0), (0.02, 0.03), (0.05, 0.1), (0.05, 0.3)])
def test_items_for_a_margin_have_about_the_stated_power(margin, rate):
    """Exact: the outcomes that pass at that number of items, where nothing but chance changes items."""
    n = items_for_margin(margin, rate, 0.95, 0.8)
    power = probabilities(gate_errors.pass_region(n, margin), n, 0.0, np.array([rate / 2]))[0]
    assert power >= 0.72
    assert rate == 0 or power <= 0.88  # where nothing changes, one number of items decides


@pytest.mark.parametrize(("n", "rate"), [(164, 0.0), (164, 0.1), (500, 0.05), (1319, 0.02)])
def test_the_detectable_drop_has_about_the_stated_power(n, rate):
    """Exact: the outcomes whose drop has a p-value below 5%."""
    drop = detectable_drop(n, rate, 0.95, 0.8)
    calm = np.minimum(gate_errors.least_losses(n) - 1, n - np.arange(n + 1))
    power = 1 - probabilities(calm, n, -drop, np.array([max(rate - drop, 0.0) / 2]))[0]
    assert 0.72 <= power <= (0.88 if rate else 0.96)  # with losses alone, four of them decide

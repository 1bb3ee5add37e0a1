"""Errors and power of the gate with one sample an item, summed over all outcomes: no simulation.

Run: python benchmarks/gate_errors.py [--items 164,500] [--margins 0.01,0.02] [--control] [--out FILE.json]

For every number of items and margin: the largest probability, over the share of items that change, of a pass where the
candidate is worse by exactly the margin and of "regression" where it is as good; what a pass needs where nothing changes;
and the power with 5% of the items changed by chance. `--control` adds Student's t.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from statistics import NormalDist
from typing import Annotated

import numpy as np
import typer
from common import command, header, machine, row, save
from numpy.typing import NDArray
from scipy import stats

from dipo_eval.statistics.paired_binary import (
    RESOLUTION,
    drop_region,
    largest_probability,
    nuisance_grid,
    probabilities,
    score_bound,
    score_region,
)

ALPHA = 0.05
Z = NormalDist().inv_cdf(1 - ALPHA)
ITEMS = "2,5,10,20,30,50,100,164,378,500,1319"
CHANGED = 0.05  # share of items that change by chance, half each way, for the power
Array = NDArray[np.float64]


def pass_region(n: int, margin: float) -> Array:
    """The most losses for each number of gains at which the gate passes; -1 for none.

    The gate passes where the probability of all outcomes with Tango's bound at least that of the outcome is 5% at most,
    at the first multiple of RESOLUTION above -margin. So the outcomes that pass are those above one bound.
    """
    at = (math.floor(-margin / RESOLUTION) + 1) * RESOLUTION
    low, high = -1.0, score_bound(0, n, n, Z) + 1e-6  # all outcomes, and none
    while high - low > 1e-3 / n:
        middle = (low + high) / 2
        holds = largest_probability(score_region(n, middle, Z), n, at) <= ALPHA
        low, high = (low, middle) if holds else (middle, high)
    return score_region(n, high, Z)


def least_losses(n: int) -> Array:
    """The fewest losses for each number of gains at which the drop's p-value is below 5%; n + 1 for none."""
    low, high = 1.0, math.sqrt(n) + 1
    while high - low > 1e-7:
        middle = (low + high) / 2
        holds = largest_probability(drop_region(n, middle), n, 0.0) < ALPHA
        low, high = (low, middle) if holds else (middle, high)
    most_gains = np.maximum.accumulate(drop_region(n, high))
    return np.searchsorted(most_gains, np.arange(n + 1)).astype(np.float64)


def no_regression(n: int, passing: Array, losses: Array) -> Array:
    """The most losses for each number of gains at which the verdict is not regression."""
    return np.minimum(np.maximum(losses - 1, passing), n - np.arange(n + 1))


def figures(n: int, margin: float, step: float) -> dict[str, float]:
    """Errors at their worst and power, of 1."""
    passing = pass_region(n, margin)
    calm = no_regression(n, passing, least_losses(n))
    changed = np.array([CHANGED / 2])
    return {
        "n": n,
        "margin": margin,
        "false_pass": float(probabilities(passing, n, -margin, nuisance_grid(n, -margin, step)).max()),
        "false_alarm": float(1 - probabilities(calm, n, 0.0, nuisance_grid(n, 0.0, step)).min()),
        "power_pass": float(probabilities(passing, n, 0.0, changed)[0]),
        "power_regression": float(1 - probabilities(calm, n, -2 * margin, changed)[0]),
        "losses_that_pass": float(passing[0]),
        "monotone": bool((passing[1:] >= np.minimum(passing[:-1], np.arange(n)[::-1])).all()),
    }


def students_t(n: int, margin: float) -> tuple[float, float]:
    """(false pass, false alarm) of Student's t on the same outcomes, with the degrees of freedom of carrying_degrees."""
    gains, losses = np.meshgrid(np.arange(n + 1.0), np.arange(n + 1.0), indexing="ij")
    mean = np.where(gains + losses <= n, (gains - losses) / n, 0)
    rest = np.maximum(n - gains - losses, 0)
    squares, fourths = (losses * (1 + mean) ** p + gains * (1 - mean) ** p + rest * mean**p for p in (2, 4))
    same = squares < 1e-12
    carrying = np.where(same, n, squares**2 / np.where(same, 1, fourths))
    degrees = np.where(carrying < min(10, max(4, n / 10)), np.maximum(1, carrying), n - 1)
    share = 1 - ALPHA ** (1 / n)
    half = stats.t.ppf(1 - ALPHA, degrees) * np.sqrt(squares / (n * max(1, n - 1)))
    half = np.where(same, np.where(mean == 0, share, 2 * share), half)
    passes = mean - half > -margin
    alarms = (mean + half < 0) & ~passes
    return _largest(passes, n, -margin), _largest(alarms, n, 0.0)


def _largest(outcomes: NDArray[np.bool_], n: int, difference: float) -> float:
    found = 0.0
    for balanced in nuisance_grid(n, difference, 0.6):
        lost, gained = balanced + max(-difference, 0), balanced + max(difference, 0)
        weight = stats.binom.pmf(np.arange(n + 1), n, gained)
        total = 0.0
        for gains in np.nonzero(weight > 1e-9)[0]:
            rest = n - gains
            pmf = stats.binom.pmf(np.arange(rest + 1), rest, min(1.0, lost / max(1 - gained, 1e-300)))
            total += weight[gains] * float(pmf @ outcomes[gains, : rest + 1])
        found = max(found, total)
    return found


def _numbers(part: str) -> range:
    ends, _, stride = part.partition(":")
    first, _, last = ends.partition("-")
    return range(int(first), int(last or first) + 1, int(stride or 1))


def main(
    items: Annotated[str, typer.Option(help="Numbers and FIRST-LAST:STRIDE, by commas.")] = ITEMS,
    margins: str = "0.01,0.02,0.05",
    step: Annotated[float, typer.Option(help="Of the grid of shares, a third of the gate's.")] = 0.05,
    control: Annotated[bool, typer.Option("--control", help="Also Student's t (minutes).")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the worst of all.")] = False,
    out: Path | None = None,
) -> None:
    rows = []
    powers = ("passes, no difference", "regression at twice the margin")
    header("n", "margin", "false pass", "false alarm", *powers)
    sizes = [n for part in items.split(",") for n in _numbers(part)]
    for n, margin in itertools.product(sizes, map(float, margins.split(","))):
        found = figures(n, margin, step)
        errors = [f"{100 * found[key]:.2f}" for key in ("false_pass", "false_alarm")]
        if control:
            found["t_false_pass"], found["t_false_alarm"] = students_t(n, margin)
            errors[0] += f" (t: {100 * found['t_false_pass']:.1f})"
            errors[1] += f" (t: {100 * found['t_false_alarm']:.1f})"
        rows.append(found)
        if not quiet:
            shown = [f"{100 * found[key]:.1f}" for key in ("power_pass", "power_regression")]
            row([f"{n:,}", f"{margin:.0%}", *errors, *shown])
    for key in ("false_pass", "false_alarm"):
        worst = max(rows, key=lambda one: one[key])
        print(f"largest {key}: {100 * worst[key]:.3f}% at n = {worst['n']}, margin {worst['margin']:.0%}")
    print(f"{len(rows)} cases, all monotone: {all(one['monotone'] for one in rows)}; {machine()}")
    save(out, rows)


if __name__ == "__main__":
    command(main, __doc__)

"""False alarms of paired differences with several samples an item, where few items carry a change: simulated.

Run: python benchmarks/skewed_errors.py [--repeats 20000] [--all]

A share of the items loses much (0.5 or 0.9 of its chance to be solved), the others gain so little that the mean
difference is 0. How often does the one-sided test at 5% find a gain? The same holds for a drop, with signs changed, and
for a pass at a margin. "Few" are cases in which 8 such items or fewer are expected among the n; "some" those with more.
"Unreported": the alarms of the gate's interval without its warning that few items carry the difference.
"""

from __future__ import annotations

import itertools
from typing import Annotated

import numpy as np
import typer
from common import command, header, machine, row
from numpy.typing import NDArray
from scipy import stats

from dipo_eval.gate.verdict import few_carry
from dipo_eval.statistics import Moments, carrying_degrees, carrying_items, paired_interval

Array = NDArray[np.float64]
# Beta(a, b) of an item's chance.
DIFFICULTIES = ((1.0, 1.0), (0.3, 0.3), (0.1, 0.1), (0.05, 0.05), (0.05, 0.95))
ITEMS = (30, 164, 500)
SAMPLES = (4, 8, 32)
SHARES = (0.01, 0.02, 0.05, 0.1)
LOSSES = (0.5, 0.9)


def change_shares(difficulty: tuple[float, float], share: float, loss: float, k: int) -> tuple[Array, float]:
    """(probability of each score difference from -1 to 1 in steps of 1/k, share of items that lose)."""
    p = stats.beta.ppf((np.arange(400) + 0.5) / 400, *difficulty)
    lower = np.maximum(p - loss, 0)
    others = p + (1 - p) * share * (p - lower).mean() / ((1 - share) * (1 - p).mean())
    before, after, worse = (
        stats.binom.pmf(np.arange(k + 1), k, chance[:, None]) for chance in (p, others, lower)
    )
    both = before.T @ ((1 - share) * after + share * worse) / p.size
    shares = np.array([np.trace(both, offset=change) for change in range(-k, k + 1)])
    return shares / shares.sum(), share * float((p - lower).mean() / loss)


def alarms(shares: Array, k: int, n: int, repeats: int, seed: int) -> tuple[float, float, float]:
    """Percent of evaluations with a lower 95% bound above 0: (Student's t, the gate's interval, unreported)."""
    values = np.arange(-k, k + 1) / k
    counts = np.random.default_rng(seed).multinomial(n, shares, repeats).astype(float)
    mean = counts @ values / n
    away = values - mean[:, None]
    squares, cubes, fourths = ((counts * away**power).sum(axis=1) for power in (2, 3, 4))
    low, _, _ = paired_interval(Moments(mean, squares, cubes, fourths, np.full(repeats, float(n))), 0.9)
    some = squares > 1e-12
    degrees, places = np.unique(carrying_degrees(squares, fourths, n)[some], return_inverse=True)
    error = np.sqrt(squares[some] / (n * (n - 1)))
    plain = mean[some] > stats.t.ppf(0.95, degrees)[places] * error
    unreported = (low > 0) & ~few_carry(carrying_items(squares, fourths), n)
    return 100 * float(plain.sum()) / repeats, 100 * float((low > 0).mean()), 100 * float(unreported.mean())


def main(
    repeats: int = 20_000, every: Annotated[bool, typer.Option("--all", help="Print every case.")] = False
) -> None:
    header(
        "n", "samples", "items that lose", "cases", "Student's t: largest, mean", "gate: largest, mean",
        "unreported: largest",
    )  # fmt: skip
    for n, k in itertools.product(ITEMS, SAMPLES):
        found: dict[str, list[tuple[float, ...]]] = {"few": [], "some": []}
        for difficulty, share, loss in itertools.product(DIFFICULTIES, SHARES, LOSSES):
            shares, losing = change_shares(difficulty, share, loss, k)
            both = alarms(shares, k, n, repeats, seed=n + k)
            found["few" if n * losing <= 8 else "some"].append(both)
            if every:
                shown = ", ".join(f"{rate:.1f}" for rate in both)
                print(n, k, difficulty, share, loss, f"{n * losing:.1f} expected: {shown}")
        for name, rates in found.items():
            if rates:
                largest, mean = np.array(rates).max(axis=0), np.array(rates).mean(axis=0)
                both = [f"{largest[i]:.1f}, {mean[i]:.1f}" for i in (0, 1)]
                row([n, k, name, len(rates), *both, f"{largest[2]:.1f}"])
    print(f"{repeats} repeats a case; {machine()}")


if __name__ == "__main__":
    command(main, __doc__)

"""The score in BEST.json, its bias and its interval's coverage, beside those of the highest of all scores: simulated.

Run: python benchmarks/best_errors.py [--repeats 20000]

Checkpoints of 50% answer the same items, half of them as the model they all come from; equal ones, or with true
accuracies spread by 3 points (standard deviation), or with one that is 5 points better. "Lost" is how much lower the true
accuracy of the checkpoint is that half of the items choose than of the one that all would have chosen.
"""

from __future__ import annotations

import itertools

import numpy as np
from common import command, header, machine, row
from numpy.typing import NDArray

from dipo_eval.statistics import wilson
from dipo_eval.watch.best import choosing_items

Array = NDArray[np.float64]
ITEMS = (30, 164, 500, 1319)
CHECKPOINTS = (1, 5, 20, 100)
KINDS = ("equal", "spread by 3", "one 5 better")


def accuracies(rng: np.random.Generator, kind: str, checkpoints: int) -> Array:
    """True accuracy of each checkpoint less 50%."""
    if kind == "spread by 3":
        return rng.normal(0.0, 0.03, checkpoints)
    shifts = np.zeros(checkpoints)
    shifts[-1] += 0.05 * (kind == "one 5 better")
    return shifts


def scores(rng: np.random.Generator, shifts: Array, halves: list[Array], repeats: int) -> Array:
    """Correct answers of each checkpoint on each half, [repeats, checkpoints, 2].

    In half of the cases a checkpoint keeps the answer of their common model, else it draws anew: two checkpoints agree
    more often than by chance.
    """
    found = []
    own = (0.5 + shifts / 0.5) / 2  # chance of a new, correct answer
    for half in halves:
        shared = rng.binomial(half.size, 0.5, (repeats, 1))  # items that the common model solves
        kept = rng.binomial(shared, 0.5 + own, (repeats, shifts.size))
        found.append(kept + rng.binomial(half.size - shared, own, (repeats, shifts.size)))
    return np.stack(found, axis=2)


def figures(kind: str, n: int, checkpoints: int, repeats: int, seed: int) -> list[float]:
    """Points and percent: bias and coverage of the highest of all, of BEST.json, and the accuracy lost."""
    rng = np.random.default_rng(seed)
    names = [f"item{i}" for i in range(n)]
    choosing = choosing_items(names)
    chooses = np.array([name in choosing for name in names])
    halves = [np.nonzero(chooses)[0], np.nonzero(~chooses)[0]]
    bounds = {
        size: np.array([wilson(right, size) for right in range(size + 1)]) for size in {n, halves[1].size}
    }
    rows = []
    for _ in range(20):
        shifts = accuracies(rng, kind, checkpoints)
        right = scores(rng, shifts, halves, repeats // 20)
        every = np.arange(right.shape[0])
        all_of = right.sum(axis=2)
        highest, chosen = all_of.argmax(axis=1), right[:, :, 0].argmax(axis=1)
        for place, counts, size in ((highest, all_of, n), (chosen, right[:, :, 1], halves[1].size)):
            count, truth = counts[every, place], 0.5 + shifts[place]
            low, high = bounds[size][count.astype(int)].T
            covered = (low <= truth) & (truth <= high)
            rows.append([(count / size - truth).mean(), covered.mean(), truth.mean()])
    table = 100 * np.array(rows).reshape(-1, 2, 3).mean(axis=0)
    return [*table[0, :2], *table[1, :2], table[0, 2] - table[1, 2]]


def main(repeats: int = 20_000) -> None:
    header("checkpoints", "n", "highest of all: bias, coverage", "BEST.json: bias, coverage", "lost")
    worst_bias, least = 0.0, 100.0
    for kind, checkpoints, n in itertools.product(KINDS, CHECKPOINTS, ITEMS):
        bias, cover, best_bias, best_cover, lost = figures(kind, n, checkpoints, repeats, n + checkpoints)
        worst_bias, least = max(worst_bias, abs(best_bias)), min(least, best_cover)
        best = f"{best_bias:+.2f}, {best_cover:.1f}"
        row([f"{checkpoints} {kind}", f"{n:,}", f"{bias:+.1f}, {cover:.1f}", best, f"{lost:.1f}"])
    print(f"largest bias of BEST.json {worst_bias:.2f} points, least coverage {least:.1f}%")
    print(f"{repeats} repeats; {machine()}")


if __name__ == "__main__":
    command(main, __doc__)

"""Errors, power and coverage of the comparison of methods, looking after every seed: simulated.

Run: python benchmarks/compare_errors.py [--simulations 2000] [--rows no-difference,power,...] [--seeds 5,10,20]

Binary answers from a crossed probit model: a method answers an item correctly where its ability + the item's ease + the
item's ease for this method + the seed's luck + the seed's luck for this method + noise is above 0; a seed's noise is
correlated between methods (pairing). "Small" and "large" are the variance of the seed's luck for a method. Rows:

* no-difference: "better" or "worse" though the methods are equal; the control is Student's t over the seeds at 5% at
each look
* power: at the difference that detectable_difference states for 80%
* coverage: of the 95% intervals of one look (also of one method's mean), and of the repeated one at all looks at once
* levels: the interval's error at levels 5% and 0.1%, normal effects, and that with Satterthwaite's degrees of freedom;
over seeds' shares of the variance from 20 to 100%; 100 times as many simulations
* family: 11 methods, 55 pairs, all equal or six of them better: any false "better" or "worse"
* equivalence: "equivalent" with a margin of which the true difference is just outside, and with no difference

A rate of 5% of 2,000 simulations has a standard error of 0.5 points; a row fails beyond two of these.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from common import command, header, machine, row, save
from numpy.typing import NDArray
from scipy import special, stats

from dipo_eval.statistics.crossed import Components, Crossed, crossed_looks, crossed_parts, half_width
from dipo_eval.statistics.method_comparison import judge
from dipo_eval.statistics.outlook import detectable_difference
from dipo_eval.statistics.plan import Plan

Array = NDArray[np.float64]
ITEMS = (100, 500)
LUCK = {
    "small": 0.05,
    "large": 0.3,
}  # standard deviation of a seed's luck for one method, of a latent scale of about 1.5
EASE, OWN_EASE, SHARED_LUCK, PAIRED = 1.0, 0.3, 0.2, 0.5
ACCURACY = 0.6
METHODS = 11
CELLS = 4_000_000  # at a time


@dataclass(frozen=True)
class World:
    """Methods with these true accuracies; `luck` is LUCK's."""

    accuracies: tuple[float, ...]
    luck: float

    def answers(
        self, rng: np.random.Generator, simulations: int, seeds: int, items: int
    ) -> NDArray[np.float32]:
        """0 or 1, [simulations, methods, seeds, items]."""
        methods = len(self.accuracies)

        def draw(*shape: int) -> NDArray[np.float32]:
            return rng.standard_normal((simulations, *shape), dtype=np.float32)

        scale = np.sqrt(1 + EASE**2 + OWN_EASE**2 + SHARED_LUCK**2 + self.luck**2)
        ability = (scale * special.ndtri(self.accuracies)).astype(np.float32).reshape(-1, 1, 1)
        latent = np.sqrt(1 - PAIRED) * draw(methods, seeds, items)
        latent += np.sqrt(PAIRED) * draw(1, seeds, items)
        latent += ability + EASE * draw(1, 1, items) + OWN_EASE * draw(methods, 1, items)
        latent += SHARED_LUCK * draw(1, seeds, 1) + self.luck * draw(methods, seeds, 1)
        return (latent > 0).astype(np.float32)

    def components(self) -> Components:
        """Of the difference of the first two methods, as a very large pilot shows them."""
        answers = self.answers(np.random.default_rng(0), 1, 400, 4000)[0]
        parts = crossed_parts(answers[0] - answers[1])
        residual = float(parts.residual)
        seed = max(0.0, float(parts.by_seed) * 400 - residual / 4000)
        return Components(seed, float(parts.by_item) * 4000, residual)


def apart(difference: float, luck: str) -> World:
    """Two methods whose true accuracies differ by `difference`."""
    return World((ACCURACY + difference / 2, ACCURACY - difference / 2), LUCK[luck])


def plan(budget: int, **other: object) -> Plan:
    return Plan(tuple(range(2, budget + 1)), **other)  # type: ignore[arg-type]


def batches(
    world: World, simulations: int, seeds: int, items: int, seed: int
) -> Iterator[NDArray[np.float32]]:
    """All simulations' answers, some at a time."""
    rng = np.random.default_rng(seed)
    size = max(1, CELLS // (len(world.accuracies) * seeds * items))
    for first in range(0, simulations, size):
        yield world.answers(rng, min(size, simulations - first), seeds, items)


def pairs_of(answers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Differences of all pairs of methods, [simulations, pairs, seeds, items]."""
    a, b = np.array(list(itertools.combinations(range(answers.shape[1]), 2))).T
    return answers[:, a] - answers[:, b]


def looks(world: World, plan: Plan, simulations: int, items: int, seed: int) -> list[Crossed]:
    """What each look sees, each of [simulations, pairs]."""
    found: list[list[Crossed]] = [[] for _ in plan.looks]
    for answers in batches(world, simulations, plan.budget, items, seed):
        few = max(1, CELLS // (answers[0].size * (answers.shape[1] - 1)))
        for first in range(0, len(answers), few):
            for part, one in zip(
                found, crossed_looks(pairs_of(answers[first : first + few]), plan.looks), strict=True
            ):
                part.append(one)
    return [joined(parts) for parts in found]


def joined(parts: list[Crossed]) -> Crossed:
    fields = [np.concatenate([getattr(one, name) for one in parts]) for name in
              ("mean", "by_seed", "by_item", "residual", "item_degrees")]  # fmt: skip
    return Crossed(*fields, parts[0].seeds, parts[0].items)


def verdicts(parts: list[Crossed], plan: Plan) -> tuple[Array, NDArray[np.bool_], Array]:
    """(-1, 0 or 1 where a pair is worse, not told apart, better; whether equivalent; seeds), where sampling stops.

    The first two [simulations, pairs], the third [simulations].
    """
    judged = judge(parts, plan)
    at = judged.stop.argmax(axis=0)  # [simulations]

    def there(values: Array) -> Array:
        return np.take_along_axis(values, at[None, :, None], axis=0)[0]

    told = there(judged.p_difference) <= plan.alpha
    equivalent = (there(judged.p_equivalent) <= plan.alpha) & ~told
    return told * there(judged.sign), equivalent, np.array(plan.looks)[at]


def peeking(world: World, plan: Plan, simulations: int, items: int, seed: int) -> float:
    """The usual way: Student's t over the seeds' differences, at each look until it is below 5%."""
    alarms = []
    for answers in batches(world, simulations, plan.budget, items, seed):
        by_seed = (answers[:, 0] - answers[:, 1]).mean(axis=-1).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            below = [stats.ttest_1samp(by_seed[:, :n], 0, axis=1).pvalue <= plan.alpha for n in plan.looks]
        alarms.append(np.any(below, axis=0))
    return float(np.concatenate(alarms).mean())


def error_bound(rate: float, simulations: int) -> float:
    """The rate plus two standard errors."""
    return rate + 2 * float(np.sqrt(rate * (1 - rate) / simulations))


def percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def judged_row(cells: list[object], holds: bool) -> bool:
    row([*cells, "holds" if holds else "FAILS"])
    return holds


def no_difference(simulations: int, budgets: Sequence[int]) -> list[dict[str, object]]:
    header("seeds at most", "items", "luck", "looks", "better or worse", "t at each look", "mean seeds", "")
    found = []
    for budget, items, luck in itertools.product(budgets, ITEMS, LUCK):
        for spending in ("obrien_fleming", "pocock"):
            world, design = apart(0.0, luck), plan(budget, spending=spending)
            told, _, seeds = verdicts(looks(world, design, simulations, items, budget + items), design)
            rate, control = (
                float((told != 0).mean()),
                peeking(world, design, simulations, items, budget + items),
            )
            holds = rate <= error_bound(design.alpha, simulations)
            cells = [budget, items, luck, spending, percent(rate), percent(control), f"{seeds.mean():.1f}"]
            found.append({"row": "no-difference", "cells": cells, "holds": judged_row(cells, holds)})
    return found


def power(simulations: int, budgets: Sequence[int]) -> list[dict[str, object]]:
    header(
        "seeds at most",
        "items",
        "luck",
        "points to detect",
        "power",
        "without giving up",
        "wrong sign",
        "mean seeds",
        "",
    )
    found = []
    for budget, items, luck in itertools.product(budgets, ITEMS, LUCK):
        design = plan(budget)
        difference = detectable_difference(design, apart(0.0, luck).components(), items)
        # A large difference changes the components: state it again with those of the true accuracies.
        difference = detectable_difference(design, apart(difference, luck).components(), items)
        parts = looks(apart(difference, luck), design, simulations, items, budget + items)
        told, _, seeds = verdicts(parts, design)
        patient, _, _ = verdicts(parts, plan(budget, futility=0.0))
        rate = float((told > 0).mean())
        holds = abs(rate - design.power) <= 0.05
        cells = [budget, items, luck, f"{100 * difference:.1f}", percent(rate), percent(float((patient > 0).mean())),
                 percent(float((told < 0).mean())), f"{seeds.mean():.1f}"]  # fmt: skip
        found.append({"row": "power", "cells": cells, "holds": judged_row(cells, holds)})
    return found


def coverage(simulations: int, budgets: Sequence[int]) -> list[dict[str, object]]:
    header("seeds", "items", "luck", "difference", "one method's mean", "all looks at once", "")
    found = []
    for budget, items, luck in itertools.product(budgets, ITEMS, LUCK):
        truth = 0.05
        world, design = apart(truth, luck), plan(budget)
        parts = looks(world, design, simulations, items, 1 + budget + items)
        one = np.abs(parts[-1].mean - truth) <= half_width(parts[-1], 0.05)
        levels = design.levels(1)[:, 0]
        repeated = [
            np.abs(look.mean - truth) <= half_width(look, level)
            for look, level in zip(parts, levels, strict=True)
        ]
        single = joined(
            [crossed_parts(answers[:, 0]) for answers in batches(world, simulations, budget, items, 2)]
        )
        mean = np.abs(single.mean - world.accuracies[0]) <= half_width(single, 0.05)
        rates = [float(np.mean(one)), float(np.mean(mean)), float(np.all(repeated, axis=0).mean())]
        holds = 1 - min(rates) <= error_bound(0.05, simulations)
        cells = [budget, items, luck, *map(percent, rates)]
        found.append({"row": "coverage", "cells": cells, "holds": judged_row(cells, holds)})
    return found


def levels(simulations: int, budgets: Sequence[int]) -> list[dict[str, object]]:
    header("seeds", "level", "error, largest", "by Satterthwaite, largest", "")
    found, items, repeats = [], 200, 100 * simulations
    for seeds, level in itertools.product(budgets, (0.05, 0.001)):
        ours, others = [], []
        for share in (0.2, 0.4, 0.7, 1.0):
            rng = np.random.default_rng(seeds)
            rest = 0.2 * share * np.ones(repeats)  # a mean over all its degrees of freedom hardly varies
            by_seed = np.maximum(share * rng.chisquare(seeds - 1, repeats) / (seeds - 1), rest)
            by_item = (1 - share + rest) * rng.chisquare(items - 1, repeats) / (items - 1) - rest
            parts = Crossed(rng.standard_normal(repeats), by_seed, np.maximum(by_item, 0), rest,
                            np.full(repeats, items - 1.0), seeds, items)  # fmt: skip
            ours.append(float((np.abs(parts.mean) > half_width(parts, level)).mean()))
            degrees = parts.error**4 / (by_seed**2 / (seeds - 1) + parts.by_item**2 / (items - 1))
            others.append(float((np.abs(parts.mean) > stats.t.isf(level / 2, degrees) * parts.error).mean()))
        holds = max(ours) <= error_bound(level, repeats)
        cells = [seeds, f"{100 * level:g}", f"{100 * max(ours):.3f}", f"{100 * max(others):.3f}"]
        found.append({"row": "levels", "cells": cells, "holds": judged_row(cells, holds)})
    return found


def family(simulations: int, budgets: Sequence[int]) -> list[dict[str, object]]:
    header(
        "seeds at most",
        "items",
        "luck",
        "methods",
        "any false better or worse",
        "true ones found",
        "mean seeds",
        "",
    )
    found = []
    settings = [(5, 100, "small"), (10, 100, "small"), (10, 100, "large"), (10, 500, "small")]
    for (budget, items, luck), better in itertools.product(settings, (0, 6)):
        if budget not in budgets:
            continue
        accuracies = tuple([ACCURACY + 0.2] * better + [ACCURACY] * (METHODS - better))
        design = plan(budget)
        told, _, seeds = verdicts(
            looks(World(accuracies, LUCK[luck]), design, simulations, items, budget), design
        )
        true = np.sign([a - b for a, b in itertools.combinations(accuracies, 2)])
        false = ((told != 0) & (told != true)).any(axis=1).mean()
        right = float((told == true)[:, true != 0].mean()) if better else 0.0
        holds = float(false) <= error_bound(design.alpha, simulations)
        kind = f"{better} of 11 are 20 points better" if better else "11 equal"
        cells = [
            budget,
            items,
            luck,
            kind,
            percent(float(false)),
            percent(right) if better else "",
            f"{seeds.mean():.1f}",
        ]
        found.append({"row": "family", "cells": cells, "holds": judged_row(cells, holds)})
    return found


def equivalence(simulations: int, budgets: Sequence[int]) -> list[dict[str, object]]:
    header(
        "seeds at most",
        "items",
        "luck",
        "margin",
        "equivalent, apart by the margin",
        "equivalent, no difference",
        "",
    )
    found = []
    for budget, items, (luck, margin) in itertools.product(budgets, ITEMS, (("small", 0.05), ("large", 0.1))):
        design, rates = plan(budget, margin=margin), []
        for difference in (margin, 0.0):
            parts = looks(apart(difference, luck), design, simulations, items, 3 + budget + items)
            rates.append(float(verdicts(parts, design)[1].mean()))
        holds = rates[0] <= error_bound(design.alpha / 2, simulations)
        cells = [budget, items, luck, f"{100 * margin:.0f}", *map(percent, rates)]
        found.append({"row": "equivalence", "cells": cells, "holds": judged_row(cells, holds)})
    return found


ROWS: dict[str, Callable[[int, Sequence[int]], list[dict[str, object]]]] = {
    "no-difference": no_difference,
    "power": power,
    "coverage": coverage,
    "levels": levels,
    "family": family,
    "equivalence": equivalence,
}


def main(
    simulations: int = 2000,
    rows: Annotated[str, typer.Option(help="Names, by commas.")] = ",".join(ROWS),
    seeds: Annotated[str, typer.Option(help="Budgets, by commas.")] = "5,10,20",
    out: Path | None = None,
) -> None:
    found, budgets = [], [int(number) for number in seeds.split(",")]
    for name in rows.split(","):
        print(f"\n{name}\n")
        found += ROWS[name](simulations, budgets)
    failed = sum(not one["holds"] for one in found)
    print(f"\n{len(found)} rows, {failed} fail; {simulations} simulations each; {machine()}")
    save(out, json.loads(json.dumps(found)))
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    command(main, __doc__)

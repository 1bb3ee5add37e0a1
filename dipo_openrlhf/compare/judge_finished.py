"""The verdict on finished runs, paired by item: over seeds and items where each method has several runs, else over items.

A method is NAME=PATH,PATH,..., one path a seed in the same order for all, or a path alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dipo_eval.errors import UserError
from dipo_eval.printable import visible
from dipo_eval.statistics import Plan, compare_methods, holm, paired_difference
from dipo_openrlhf.compare.finished import Finished, read_finished
from dipo_openrlhf.compare.read import shipped

ONE_RUN = "one run each: the interval is over items, and says nothing of another seed"


@dataclass(frozen=True)
class Contestant:
    """A method and its runs, suite -> scores of each."""

    name: str
    runs: list[dict[str, Finished]]


@dataclass(frozen=True)
class FinishedPair:
    """Two methods on a suite: mean difference with its interval, p-value by Holm over all pairs of the suite."""

    suite: str
    a: str
    b: str
    difference: float
    low: float
    high: float
    p_value: float
    verdict: str


@dataclass(frozen=True)
class FinishedSuite:
    """A suite that all have: items in common, those left out, accuracies and pairs."""

    suite: str
    items: int
    left_out: int
    accuracies: dict[str, float]
    pairs: list[FinishedPair]
    note: str


def are_paths(what: Sequence[str]) -> bool:
    """Whether these are finished runs rather than one comparison."""
    if len(what) > 1 and all(Path(word).exists() for word in what):
        return not any(Path(word).is_file() and Path(word).suffix in (".yaml", ".yml") for word in what)
    if what and (what[0] in shipped() or not what[0] or Path(what[0]).suffix in (".yaml", ".yml")):
        return False  # whatever a folder here is called
    return len(what) > 1 or any("=" in word or Path(word).is_dir() for word in what)


def contestants(what: Sequence[str]) -> list[Contestant]:
    """The methods that a command line names. Raises UserError with one line."""
    found: list[Contestant] = []
    taken: set[Path] = set()
    for word in what:
        name, paths = word.split("=", 1) if "=" in word else ("", word)
        if name and Path(word).exists():
            name, paths = "", word
        runs = [Path(path) for path in paths.split(",") if path] if name else [Path(paths)]
        if not runs:
            raise UserError(f"{word!r}: names no path; give NAME=PATH,PATH,...")
        for run in runs:
            if (again := run.resolve()) in taken:
                raise UserError(f"{run}: is named twice; each path is one run, of one method and one seed")
            taken.add(again)
        found.append(Contestant(name or runs[0].name or str(runs[0]), [read_finished(run) for run in runs]))
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        found = [
            Contestant(word if "=" not in word else one.name, one.runs)
            for word, one in zip(what, found, strict=True)
        ]
        if len({one.name for one in found}) < len(found):
            raise UserError(f"two methods have one name ({', '.join(names)}): give NAME=PATH")
    if len(found) < 2:
        raise UserError("one finished run has nothing to be compared with: give two or more")
    if len({len(one.runs) for one in found}) > 1:
        counts = ", ".join(f"{one.name} has {len(one.runs)}" for one in found)
        raise UserError(f"each method needs as many runs as the others, in the same order of seeds: {counts}")
    return found


def judge_finished(what: Sequence[Contestant], margin: float, error: float) -> list[FinishedSuite]:
    """Verdicts on every suite that all runs have. Raises UserError where there is none, or fewer than 2 common items."""
    runs = [run for one in what for run in one.runs]
    suites = [suite for suite in runs[0] if all(suite in run for run in runs)]
    if not suites:
        each = "; ".join(f"{one.name}: {', '.join(sorted(one.runs[0]))}" for one in what)
        raise UserError(f"the runs have no suite in common ({each})")
    return [_judge_suite(suite, what, margin, error) for suite in suites]


def _judge_suite(suite: str, what: Sequence[Contestant], margin: float, error: float) -> FinishedSuite:
    each = [set(run[suite].scores) for one in what for run in one.runs]
    common = sorted(set.intersection(*each))
    if len(common) < 2:
        raise UserError(f"{suite}: the runs have {len(common)} items in common, and it takes 2 at least")
    tables = {
        one.name: np.array([[run[suite].scores[item] for item in common] for run in one.runs]) for one in what
    }
    means = {name: float(table.mean()) for name, table in tables.items()}
    seeds = len(what[0].runs)
    pairs = (
        _over_seeds(suite, tables, Plan((seeds,), error, margin))
        if seeds > 1
        else _over_items(suite, tables, margin, error)
    )
    note = f"{seeds} runs each: over seeds and items" if seeds > 1 else ONE_RUN
    return FinishedSuite(suite, len(common), len(set.union(*each)) - len(common), means, pairs, note)


def _over_seeds(suite: str, tables: dict[str, np.ndarray], plan: Plan) -> list[FinishedPair]:
    found = compare_methods(tables, plan)
    return [
        FinishedPair(suite, p.a, p.b, p.difference, p.low_of_all, p.high_of_all, p.p_value, p.verdict)
        for p in found.pairs
    ]


def _over_items(suite: str, tables: dict[str, np.ndarray], margin: float, error: float) -> list[FinishedPair]:
    names = list(itertools.combinations(tables, 2))
    confidence = 1 - error / len(names)
    found = [paired_difference(tables[a][0], tables[b][0], confidence=confidence) for a, b in names]
    pairs = []
    for (a, b), one, p_value in zip(names, found, holm([one.p_value for one in found]), strict=True):
        verdict = "undecided"
        if p_value <= error:
            verdict = "better" if one.mean > 0 else "worse"
        elif -margin < one.low and one.high < margin:
            verdict = "equivalent"
        pairs.append(FinishedPair(suite, a, b, one.mean, one.low, one.high, p_value, verdict))
    return pairs


def finished_table(suites: Sequence[FinishedSuite]) -> str:
    """Markdown. Names come from others' files: what could steer a terminal or end a cell is made visible."""
    lines = []
    for one in suites:
        left = f", {one.left_out:,} left out that not all have" if one.left_out else ""
        lines += [f"## {_name(one.suite)}", "", f"{one.items:,} items{left}; {one.note}.", ""]
        lines += ["| method | accuracy |", "|---|---|"]
        lines += [f"| {_name(name)} | {100 * mean:.1f}% |" for name, mean in one.accuracies.items()]
        lines += [
            "",
            "| pair | difference, points | interval over all pairs | verdict | p (Holm) |",
            "|---" * 5 + "|",
        ]
        for pair in one.pairs:
            interval = f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f}"
            cells = [
                f"{_name(pair.a)} - {_name(pair.b)}",
                f"{100 * pair.difference:+.1f}",
                interval,
                pair.verdict,
            ]
            lines.append(f"| {' | '.join([*cells, f'{pair.p_value:.2g}'])} |")
        lines.append("")
    return "\n".join(lines)


def _name(text: str) -> str:
    return visible(text).replace("|", r"\|").replace("\n", " ")

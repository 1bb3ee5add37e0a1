"""The answer in tables: accuracies, verdicts on every pair, and what was tried in tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dipo_eval.board.numbers import plural
from dipo_eval.statistics import PairVerdict, crossed_mean
from dipo_eval.statistics.method_comparison import Verdict
from dipo_openrlhf.compare.cell import Trained
from dipo_openrlhf.compare.held_out import Scores
from dipo_openrlhf.compare.referee import TaskResult, accuracies, baseline_of, judged_against
from dipo_openrlhf.compare.spec import Comparison
from dipo_openrlhf.compare.tuning import Tuned

METHOD_TITLES = (
    "method", "final accuracy (95%)", "maj@k", "distinct answers", "entropy", "groups without gradient",
    "all-incorrect / all-correct acted on", "perplexity of correct / incorrect",
)  # fmt: skip
COST_TITLES = ("method", "tokens a run", "steps", "responses thrown away", "seconds a run")
PAIR_TITLES = (
    "pair", "difference, points", "interval over all looks and pairs", "verdict", "p (Holm)", "to decide it",
)  # fmt: skip
TUNING_TITLES = ("method", "option", "mean final accuracy", "")


def markdown(comparison: Comparison, results: Sequence[TaskResult], tuned: Sequence[Tuned]) -> str:
    """All tables, as table.md has them."""
    parts = [f"# {comparison.name}\n"]
    parts += [f"{sentence}\n" for sentence in (comparison.question, setting_sentence(comparison)) if sentence]
    for result in results:
        parts += [
            f"## {result.task}\n",
            task_sentence(comparison, result) + "\n",
            _table(METHOD_TITLES, method_rows(result)),
        ]
        costs = [row[:-1] for row in cost_rows(result)]  # the seconds differ from one time to the next
        parts += ["### What a run took\n", _table(COST_TITLES[:-1], costs)]
        parts += ["### Differences\n", _table(PAIR_TITLES, pair_rows(comparison, result))]
    if tuned:
        parts += ["## Tuning\n", _table(TUNING_TITLES, tuning_rows(tuned))]
    return "\n".join(parts)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def setting_sentence(comparison: Comparison) -> str:
    """What all runs have in common."""
    train, verdict = comparison.train, comparison.verdict
    baseline = judged_against(comparison)
    pairs = f"the pairs with {baseline}" if baseline else "all pairs"
    return (
        f"Every run generates {comparison.budget_tokens:,} tokens, thrown-away ones included, "
        f"{train.prompts_per_step} prompts x {train.n_samples_per_prompt} responses a step; the final accuracy is of "
        f"{comparison.evaluate.items} held-out problems x {comparison.evaluate.samples} responses. Verdicts over seeds "
        f"and problems, {verdict.error:.0%} error over "
        f"{pairs} of a task and all looks; equivalent: within "
        f"{100 * verdict.margin:g} points."
    )


def task_sentence(comparison: Comparison, result: TaskResult) -> str:
    """How many seeds, where they started, why it ended, and what the plan could have found."""
    starts = [run.evaluations[0][1].accuracy for runs in result.runs.values() for run in runs.values()]
    seeds, reason = result.verdicts.seeds, result.verdicts.reason
    return (
        f"{seeds} seeds; the starting model has {_percent(_mean(starts))}. {reason[:1].upper()}{reason[1:]}."
    )


def method_rows(result: TaskResult) -> list[list[str]]:
    """One row an entry, the best final accuracy first."""
    rows = []
    for name, runs in result.runs.items():
        mean = crossed_mean(accuracies(runs))
        last = [run.evaluations[-1][1] for run in runs.values()]
        row = [
            name,
            f"{_percent(mean.mean)} ({_percent(mean.low)} to {_percent(mean.high)})",
            _percent(_over(last, lambda one: sum(one.majority) / len(one.majority))),
            f"{_over(last, lambda one: sum(one.distinct) / len(one.distinct)):.2f}",
            f"{_over(last, lambda one: one.entropy):.3f}",
            _percent(_mean([s["zero_gradient_share"] for run in runs.values() for s in run.steps])),
            f"{_percent(fired(runs, 'hard'))} / {_percent(fired(runs, 'easy'))}"
            if name in result.acting
            else "none",
            f"{_over(last, lambda one: one.ppl_correct):.2f} / {_over(last, lambda one: one.ppl_error):.2f}",
        ]
        rows.append((mean.mean, row))
    return [row for _, row in sorted(rows, key=lambda one: -one[0])]


def cost_rows(result: TaskResult) -> list[list[str]]:
    """What a run of each entry took; the seconds, of one core, differ from one time to the next."""
    rows = []
    for name, runs in result.runs.items():
        sampled = sum(step["sampled_responses"] for run in runs.values() for step in run.steps)
        trained = sum(step["responses"] for run in runs.values() for step in run.steps)
        rows.append(
            [
                name,
                f"{_mean([float(run.evaluations[-1][0]) for run in runs.values()]):,.0f}",
                f"{_mean([float(len(run.steps)) for run in runs.values()]):.0f}",
                _percent(1 - trained / sampled) if sampled else "none",
                f"{_mean([run.seconds for run in runs.values()]):.0f}",
            ]
        )
    return rows


def against(result: TaskResult, baseline: str) -> list[PairVerdict]:
    """The pairs with the baseline, each as the other minus the baseline."""
    return [turned(pair, baseline) for pair in result.verdicts.pairs if baseline in (pair.a, pair.b)]


def pair_rows(comparison: Comparison, result: TaskResult) -> list[list[str]]:
    """Every pair, those with the baseline first."""
    baseline = baseline_of(comparison)
    pairs = sorted(result.verdicts.pairs, key=lambda pair: baseline not in (pair.a, pair.b))
    return [_pair_row(turned(pair, baseline), result) for pair in pairs]


def _pair_row(pair: PairVerdict, result: TaskResult) -> list[str]:
    more = plural(pair.more_seeds, "more seed") if pair.more_seeds else "more than 1,000 seeds"
    if (accuracies(result.runs[pair.a]) == accuracies(result.runs[pair.b])).all():
        more = "nothing: both gave the same answers in every run"
    elif pair.needs_items:
        more = "more problems"
    return [
        f"{pair.a} - {pair.b}",
        _points(pair.difference),
        f"{_points(pair.low_of_all)} to {_points(pair.high_of_all)}",
        pair.verdict,
        f"{pair.p_value:.2g}",
        more if pair.verdict == "undecided" else "",
    ]


def turned(pair: PairVerdict, baseline: str) -> PairVerdict:
    """The pair with the baseline as the second, where it is the first."""
    if pair.a != baseline:
        return pair
    other: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}
    return replace(
        pair,
        a=pair.b,
        b=pair.a,
        verdict=other.get(pair.verdict, pair.verdict),
        difference=-pair.difference,
        low=-pair.high,
        high=-pair.low,
        low_of_all=-pair.high_of_all,
        high_of_all=-pair.low_of_all,
    )


def tuning_rows(tuned: Sequence[Tuned]) -> list[list[str]]:
    """One row an option."""
    return [
        [
            one.entry,
            ", ".join(f"{key} {value}" for key, value in option.items()),
            _percent(accuracy),
            "chosen" if index == one.chosen else "",
        ]
        for one in tuned
        for index, (option, accuracy) in enumerate(zip(one.options, one.accuracy, strict=True))
    ]


def fired(runs: dict[int, Trained], direction: str) -> float:
    """Share of the all-incorrect ("hard") or all-correct ("easy") groups that DiPO acted on."""
    steps = [step for run in runs.values() for step in run.steps]
    groups = sum(step[f"dipo/groups_{direction}"] for step in steps)
    return sum(step[f"dipo/fired_{direction}"] for step in steps) / groups if groups else 0.0


def _over(scores: Sequence[Scores], value: Callable[[Scores], float | None]) -> float:
    return _mean([found for one in scores if (found := value(one)) is not None])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _points(difference: float) -> str:
    return f"{round(100 * difference, 1) + 0.0:+.1f}"  # adding 0 turns -0.0 into 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"

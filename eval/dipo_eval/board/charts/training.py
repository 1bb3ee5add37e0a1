"""The curves of one training run. A chart whose numbers the log does not hold is left out."""

from __future__ import annotations

from collections.abc import Callable

from dipo_eval.board import numbers
from dipo_eval.board.charts.chart import Chart, Series, Values
from dipo_eval.board.charts.curves import RATE_WINDOW, Curves, trailing_rate
from dipo_eval.board.data.runlog import RunLog

PHASES = (
    ("generation", "timing/generation", "blue"),
    ("scoring", "timing/make_experience", "orange"),
    ("update", "timing/ppo_train", "green"),
    ("sync", "timing/broadcast", "purple"),
)


def training_charts(run: RunLog) -> list[Chart]:
    """What every reader wants to see: reward, perplexity, groups, how often DiPO acts, time and length."""
    if not run.rows:
        return []
    curves = Curves(run)
    builders: tuple[Callable[[Curves], list[Chart]], ...] = (
        _reward,
        _accuracy,
        _perplexity,
        _groups,
        _fire_rates,
        _quadrants,
        _share_of_signal,
        _silent_groups,
        _evidence,
        _length,
        _truncated,
        _time,
    )
    return [chart for build in builders for chart in build(curves)]


def _reward(curves: Curves) -> list[Chart]:
    return curves.single(
        "rollout/reward_mean", "Training reward", "mean reward", note="Mean over each step's rollouts."
    )


def _accuracy(curves: Curves) -> list[Chart]:
    return curves.single(
        "rollout/accuracy",
        "Training accuracy",
        "right answers",
        numbers.percent,
        note="On training prompts, while sampling: not a test score.",
        cap=1.0,
    )


def _perplexity(curves: Curves) -> list[Chart]:
    sides = [
        Series(
            words,
            curves.get(f"dipo/ppl_{side}_p50"),
            colour,
            curves.get(f"dipo/ppl_{side}_p10"),
            curves.get(f"dipo/ppl_{side}_p90"),
        )
        for words, side, colour in (("right", "correct", "blue"), ("wrong", "error", "red"))
    ]
    threshold = Series("threshold", curves.get("dipo/threshold_ppl"), "ink", dashed=True)
    note = "Median and the middle 80%. The threshold has gaps where none was certain enough."
    return curves.chart(
        "Perplexity of right and wrong answers",
        "perplexity",
        [*sides, threshold],
        numbers.plain,
        note=note,
        may_be_log=True,
    )


def _groups(curves: Curves) -> list[Chart]:
    series = [
        Series("hard", curves.get("dipo/groups_hard"), "red"),
        Series("normal", curves.get("dipo/groups_normal"), "grey"),
        Series("easy", curves.get("dipo/groups_easy"), "blue"),
    ]
    note = "One prompt's responses: hard is all wrong, easy all right. GRPO learns from normal ones only."
    return curves.chart("Groups", "groups a step", series, numbers.count, note=note, stacked=True)


def _fire_rates(curves: Curves) -> list[Chart]:
    run = curves.run
    sides = (("hard, to explore", "hard", "red"), ("easy, to exploit", "easy", "blue"))
    series = [
        Series(
            name,
            curves.thin(trailing_rate(run.values(f"dipo/fired_{k}"), run.values(f"dipo/groups_{k}"))),
            colour,
        )
        for name, k, colour in sides
        if run.has(f"dipo/fired_{k}")
    ]
    note = f"Of hard and of easy groups, over the last {RATE_WINDOW} steps."
    return curves.chart(
        "How often DiPO acted",
        "of extreme groups",
        series,
        numbers.percent,
        note=note,
        from_zero=True,
        cap=1.0,
    )


def _quadrants(curves: Curves) -> list[Chart]:
    names = (
        ("CL", "right, sure", "blue"),
        ("CH", "right, unsure", "sky"),
        ("EH", "wrong, unsure", "orange"),
        ("EL", "wrong, sure", "red"),
    )
    raw = [curves.run.values(f"dipo/quadrant_{key}") for key, _, _ in names]
    totals = [sum(v or 0.0 for v in column) for column in zip(*raw, strict=True)]
    series = [
        Series(
            words,
            curves.thin(
                [None if v is None or t <= 0 else v / t for v, t in zip(values, totals, strict=True)]
            ),
            colour,
        )
        for (key, words, colour), values in zip(names, raw, strict=True)
    ]
    note = "Sure means a perplexity below the threshold."
    return curves.chart(
        "Right or wrong, sure or unsure",
        "of responses",
        series,
        numbers.percent,
        note=note,
        stacked=True,
        cap=1.0,
    )


def _share_of_signal(curves: Curves) -> list[Chart]:
    return curves.single(
        "dipo/adv_abs_share",
        "DiPO's share of the signal",
        "of the signal",
        numbers.percent,
        note="Of the sum of absolute advantages.",
        from_zero=True,
        cap=1.0,
    )


def _silent_groups(curves: Curves) -> list[Chart]:
    return curves.single(
        "dipo/zero_gradient_share",
        "Groups that teach nothing",
        "of groups",
        numbers.percent,
        note="Hard and easy groups on which DiPO did not act.",
        from_zero=True,
        cap=1.0,
    )


def _evidence(curves: Curves) -> list[Chart]:
    series = [
        Series("right below it", curves.get("dipo/delta_eis_lower"), "blue"),
        Series("wrong above it", curves.get("dipo/delta_ers_lower"), "red"),
    ]
    note = "Lower bounds of the two majorities. DiPO acts while both are above 0."
    return curves.chart(
        "How certain the threshold is", "advantage", series, numbers.plain, note=note, zero_line=True
    )


def _length(curves: Curves) -> list[Chart]:
    return curves.single(
        "rollout/response_length_mean",
        "Response length",
        "tokens",
        numbers.count,
        from_zero=True,
        note="Mean of each step.",
    )


def _truncated(curves: Curves) -> list[Chart]:
    return curves.single(
        "rollout/truncated_rate",
        "Truncated responses",
        "of responses",
        numbers.percent,
        from_zero=True,
        cap=1.0,
    )


def _time(curves: Curves) -> list[Chart]:
    run = curves.run
    series = [Series(name, curves.get(key), colour) for name, key, colour in PHASES]
    phases = [run.values(key) for _, key, _ in PHASES]
    rest: Values = [
        None if total is None else max(0.0, total - sum(v or 0.0 for v in parts))
        for total, *parts in zip(run.values("timing/step_total"), *phases, strict=True)
    ]
    series.append(Series("other", curves.thin(rest), "grey"))
    return curves.chart("Time per step", "seconds", series, numbers.duration, stacked=True)

"""The curves of one training run. A chart whose numbers the log does not hold is left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dipo_eval.board import numbers
from dipo_eval.board.charts.chart import Chart, Format, Series, Values
from dipo_eval.board.data.runlog import RunLog, bucket_means, buckets

RATE_WINDOW = 10
PHASES = (  # name, keys whose sum it is, colour
    ("sampling", ("timing/phases/generate",), "blue"),
    ("rewards", ("timing/phases/reward",), "sky"),
    ("scoring", ("timing/phases/forward", "timing/phases/advantages"), "orange"),
    ("update", ("timing/phases/update",), "green"),
    ("sync, sleep", ("timing/phases/sync", "timing/phases/sleep_wake"), "purple"),
    ("waiting", ("timing/phases/wait",), "red"),
    ("save, other", ("timing/phases/save", "timing/phases/evaluate", "timing/phases/other"), "grey"),
)
PHASES_WITHOUT_A_METER = (  # of runs that logged OpenRLHF's own figures alone
    ("sampling", ("timing/generation",), "blue"),
    ("scoring", ("timing/make_experience",), "orange"),
    ("update", ("timing/ppo_train",), "green"),
    ("sync", ("timing/broadcast",), "purple"),
)
QUADRANTS = (
    ("CL", "correct, sure", "blue"),
    ("CH", "correct, unsure", "sky"),
    ("EH", "incorrect, unsure", "orange"),
    ("EL", "incorrect, sure", "red"),
)
IDLE = (
    ("no threshold", "infeasible", "red"),
    ("other side of it", "wrong_space", "orange"),
    ("rewards differ", "reward_variance", "sky"),
    ("direction off", "direction_off", "purple"),
    ("no perplexity", "no_log_ppl", "grey"),
)
_SHARE: dict[str, Any] = {"fmt": numbers.percent, "from_zero": True, "cap": 1.0}
_COUNT: dict[str, Any] = {"fmt": numbers.count, "from_zero": True}


class Curves:
    """A run's series, thinned to what a screen can show, and charts of them: a list of one, or none."""

    def __init__(self, run: RunLog) -> None:
        self.run = run
        self.ranges = buckets(len(run.rows))
        self.xs = [float(run.rows[r[-1]]["step"]) for r in self.ranges]

    def thin(self, values: Values) -> Values:
        return bucket_means(values, self.ranges)

    def get(self, key: str) -> Values:
        return self.thin(self.run.values(key))

    def chart(self, title: str, unit: str, series: Iterable[Series], **options: Any) -> list[Chart]:
        """A chart of the series that hold a number."""
        shown = [s for s in series if any(v is not None for v in s.values)]
        return [Chart(title, unit, self.xs, shown, **options)] if shown else []

    def single(self, key: str, title: str, unit: str, **options: Any) -> list[Chart]:
        """A chart of one key."""
        return self.chart(title, unit, [Series(title, self.get(key), "blue")], **options)

    def stack(
        self, title: str, unit: str, series: Iterable[tuple[str, Values, str]], fmt: Format, **options: Any
    ) -> list[Chart]:
        """Areas on top of each other: (name, value of every step, colour)."""
        areas = [Series(name, self.thin(values), colour) for name, values, colour in series]
        return self.chart(title, unit, areas, fmt=fmt, stacked=True, **options)


def training_charts(run: RunLog) -> list[Chart]:
    """Reward, perplexity, groups, how often DiPO acts, time and length."""
    if not run.rows:
        return []
    curves = Curves(run)
    single = curves.single
    return [
        *single("rollout/reward_mean", "Training reward", "mean reward", note="Mean over each step's rollouts."),
        *single(
            "rollout/accuracy", "Training accuracy", "correct answers", fmt=numbers.percent, cap=1.0,
            note="On training prompts, while sampling: not a test score.",
        ),
        *_perplexity(curves),
        *_groups(curves),
        *_fire_rates(curves),
        *_quadrants(curves),
        *single(
            "dipo/adv_abs_share", "DiPO's share of the signal", "of the signal", **_SHARE,
            note="Of the sum of absolute advantages.",
        ),
        *single(
            "dipo/zero_gradient_share", "Groups without a gradient", "of groups", **_SHARE,
            note="Hard and easy groups on which DiPO did not act.",
        ),
        *_evidence(curves),
        *single("rollout/response_length_mean", "Response length", "tokens", **_COUNT, note="Mean of each step."),
        *single("rollout/truncated_rate", "Truncated responses", "of responses", **_SHARE),
        *_time(curves),
    ]  # fmt: skip


def health_charts(run: RunLog) -> list[Chart]:
    """Curves for finding the cause of a problem."""
    if not run.rows:
        return []
    curves = Curves(run)
    single = curves.single
    return [
        *single("entropy_loss", "Entropy", "nats", note="Of the policy, as OpenRLHF logs it."),
        *single("policy_loss", "Policy loss", "loss", zero_line=True),
        *single("actor_grad_norm", "Gradient norm", "norm", may_be_log=True, from_zero=True),
        *single("actor_lr", "Learning rate", "rate", from_zero=True),
        *single(
            "vllm_kl", "Rollout engine against trainer", "KL, nats", may_be_log=True,
            note="How far the engine that samples is from the model that learns.",
        ),
        *_queues(curves),
        *single("dipo/train_error", "Error of the threshold", "share", fmt=numbers.percent, from_zero=True),
        *_idle(curves),
        *single("dipo/queue_size", "Responses in the queue", "responses", **_COUNT),
    ]  # fmt: skip


def _perplexity(curves: Curves) -> list[Chart]:
    sides = [
        Series(name, middle, colour, low, high)
        for name, key, colour in (("correct", "correct", "blue"), ("incorrect", "error", "red"))
        for low, middle, high in [[curves.get(f"dipo/ppl_{key}_{q}") for q in ("p10", "p50", "p90")]]
    ]
    threshold = Series("threshold", curves.get("dipo/threshold_ppl"), "ink", dashed=True)
    return curves.chart(
        "Perplexity of correct and incorrect answers", "perplexity", [*sides, threshold], may_be_log=True,
        note="Median and the middle 80%. The threshold has gaps where none was certain enough.",
    )  # fmt: skip


def _groups(curves: Curves) -> list[Chart]:
    kinds = (("hard", "red"), ("normal", "grey"), ("easy", "blue"))
    return curves.stack(
        "Groups", "groups a step", [(kind, curves.run.values(f"dipo/groups_{kind}"), c) for kind, c in kinds],
        numbers.count,
        note="One prompt's responses: hard is all-incorrect, easy all-correct. GRPO learns from normal ones only.",
    )  # fmt: skip


def _fire_rates(curves: Curves) -> list[Chart]:
    run = curves.run
    series = []
    for name, kind, colour in (("hard, to explore", "hard", "red"), ("easy, to exploit", "easy", "blue")):
        if run.has(f"dipo/fired_{kind}"):
            rate = trailing_rate(run.values(f"dipo/fired_{kind}"), run.values(f"dipo/groups_{kind}"))
            series.append(Series(name, curves.thin(rate), colour))
    note = f"Of hard and of easy groups, over the last {RATE_WINDOW} steps."
    return curves.chart("How often DiPO acted", "of extreme groups", series, **_SHARE, note=note)


def _quadrants(curves: Curves) -> list[Chart]:
    raw = [(words, curves.run.values(f"dipo/quadrant_{key}"), colour) for key, words, colour in QUADRANTS]
    totals = [sum(v or 0.0 for v in column) for column in zip(*(values for _, values, _ in raw), strict=True)]
    shares = [
        (words, [None if v is None or t <= 0 else v / t for v, t in zip(values, totals, strict=True)], colour)
        for words, values, colour in raw
    ]
    note = "Sure means a perplexity below the threshold."
    title = "Correct or incorrect, sure or unsure"
    return curves.stack(title, "of responses", shares, numbers.percent, note=note, cap=1.0)


def _evidence(curves: Curves) -> list[Chart]:
    series = [
        Series("correct below it", curves.get("dipo/delta_eis_lower"), "blue"),
        Series("incorrect above it", curves.get("dipo/delta_ers_lower"), "red"),
    ]
    note = "Lower bounds of the two majorities. DiPO acts while both are above 0."
    return curves.chart("How certain the threshold is", "advantage", series, note=note, zero_line=True)


def _time(curves: Curves) -> list[Chart]:
    run = curves.run
    measured = run.has("timing/wall")
    total, table = ("timing/wall", PHASES) if measured else ("timing/step_total", PHASES_WITHOUT_A_METER)
    phases = [(name, _sums([run.values(key) for key in keys]), colour) for name, keys, colour in table]
    if not measured:
        steps = zip(run.values(total), *(values for _, values, _ in phases), strict=True)
        rest = [
            None if all_ is None else max(0.0, all_ - sum(v or 0.0 for v in parts)) for all_, *parts in steps
        ]
        phases.append(("other", rest, "grey"))
    note = "Where the trainer's time goes. A save counts in the step after it." if measured else ""
    return [
        *curves.stack("Time per step", "seconds", phases, numbers.duration, note=note),
        *curves.single(
            "gpu/idle_share", "Idle GPUs", "of GPU time", **_SHARE,
            note="Share of all GPU time in which neither an engine nor the trainer works.",
        ),
        *curves.chart(
            "Tokens per second and GPU", "tokens a second",
            [
                Series("sampled", curves.get("throughput/generated_per_second_per_gpu"), "blue"),
                Series("trained", curves.get("throughput/trained_per_second_per_gpu"), "green"),
            ],
            **_COUNT, note="While engines sample, and while the actor is updated.",
        ),
    ]  # fmt: skip


def _queues(curves: Curves) -> list[Chart]:
    requests = [
        Series("running", curves.get("engine/running_mean"), "blue"),
        Series("waiting", curves.get("engine/waiting_mean"), "orange"),
        Series("most waiting", curves.get("engine/waiting_max"), "orange", dashed=True),
    ]
    return [
        *curves.chart(
            "Requests in an engine", "requests", requests, **_COUNT, note="Mean over iterations and engines."
        ),
        *curves.single("engine/cache_max", "Fullest key-value cache", "of the cache", **_SHARE),
        *curves.single("engine/preemptions", "Preempted requests", "a step", **_COUNT),
    ]


def _sums(lists: Sequence[Values]) -> Values:
    """At every step the sum of what is known; None where nothing is."""
    return [
        sum(v for v in column if v is not None) if any(v is not None for v in column) else None
        for column in zip(*lists, strict=True)
    ]


def _idle(curves: Curves) -> list[Chart]:
    series = [
        (words, curves.run.values(f"dipo/idle_{key}"), colour)
        for words, key, colour in IDLE
        if curves.run.total(f"dipo/idle_{key}")
    ]
    note = "All-correct and all-incorrect groups that were skipped, by the first reason."
    return curves.stack("Why DiPO did not act", "groups a step", series, numbers.count, note=note)


def trailing_rate(
    part: Sequence[float | None], whole: Sequence[float | None], window: int = RATE_WINDOW
) -> Values:
    """Sum of `part` over sum of `whole` over the last `window` steps; None where `whole` sums to 0."""
    rates: Values = []
    for i in range(len(part)):
        span = slice(max(0, i - window + 1), i + 1)
        base = sum(v or 0.0 for v in whole[span])
        rates.append(sum(v or 0.0 for v in part[span]) / base if base > 0 else None)
    return rates

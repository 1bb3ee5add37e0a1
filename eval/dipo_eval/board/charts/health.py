"""The curves of a run that one looks at when something is wrong."""

from __future__ import annotations

from dipo_eval.board import numbers
from dipo_eval.board.charts.chart import Chart, Series
from dipo_eval.board.charts.curves import Curves
from dipo_eval.board.data.runlog import RunLog


def health_charts(run: RunLog) -> list[Chart]:
    """What one looks at when something is wrong."""
    if not run.rows:
        return []
    curves = Curves(run)
    return [
        *curves.single("entropy_loss", "Entropy", "nats", note="Of the policy, as OpenRLHF logs it."),
        *curves.single("policy_loss", "Policy loss", "loss", zero_line=True),
        *curves.single("actor_grad_norm", "Gradient norm", "norm", may_be_log=True, from_zero=True),
        *curves.single("actor_lr", "Learning rate", "rate", from_zero=True),
        *curves.single(
            "vllm_kl",
            "Rollout engine against trainer",
            "KL, nats",
            may_be_log=True,
            note="How far the engine that samples is from the model that learns.",
        ),
        *curves.single(
            "dipo/train_error", "Error of the threshold", "share", numbers.percent, from_zero=True
        ),
        *_idle(curves),
        *curves.single(
            "dipo/queue_size", "Responses in the queue", "responses", numbers.count, from_zero=True
        ),
    ]


def _idle(curves: Curves) -> list[Chart]:
    reasons = (
        ("no threshold", "infeasible", "red"),
        ("other side of it", "wrong_space", "orange"),
        ("rewards differ", "reward_variance", "sky"),
        ("direction off", "direction_off", "purple"),
        ("no perplexity", "no_log_ppl", "grey"),
    )
    series = [
        Series(words, curves.get(f"dipo/idle_{key}"), colour)
        for words, key, colour in reasons
        if curves.run.total(f"dipo/idle_{key}")
    ]
    note = "Groups all right or all wrong that were left alone, by the first reason."
    return curves.chart(
        "Why DiPO did not act", "groups a step", series, numbers.count, note=note, stacked=True
    )

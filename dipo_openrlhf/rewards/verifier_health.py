"""The verifier's rates of a training step, and the stop that keeps a run from training on noise.

Every undecided verdict scores 0, whether the answer was correct or not. Many of them are a reward that depends on the
load of the machine. The values come from the reward functions' ``extra_logs`` (responses.py, score_all).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dipo_eval.errors import UserError

KEY = "run.max_undecided_rate"
MIN_SAMPLES = 20
"""Of fewer samples a step's rate is logged and never stops a run."""

_RATES = ("undecided", "timeout", "error", "no_answer")


@dataclass(frozen=True)
class VerifierRates:
    """Shares of a step's samples, 0 to 1: undecided (time-outs are among them), time-out, error, no answer."""

    samples: int
    undecided: float
    timeout: float
    error: float
    no_answer: float

    def metrics(self) -> dict[str, float]:
        """What a step logs: verifier/undecided_rate, verifier/timeout_rate, ..."""
        return {f"verifier/{name}_rate": getattr(self, name) for name in _RATES}

    def check(self, limit: float) -> None:
        """Raise UserError where more than ``limit`` of the samples are undecided or failed in the reward function."""
        failed = self.undecided + self.error
        if self.samples < MIN_SAMPLES or failed <= limit:
            return
        raise UserError(
            f"the verifier could not decide {failed:.1%} of this step's {self.samples} samples "
            f"({self.timeout:.1%} time limit, {self.error:.1%} error), {KEY} allows {limit:.1%}: training would be "
            f"on noise; free cores for the graders or look at the responses (dipo grade), or raise {KEY}"
        )


def verifier_rates(logs: Mapping[str, Iterable[Any]]) -> VerifierRates | None:
    """The rates of one step from the reward function's logs, a value 0 or 1 for each sample; None without any.

    ``logs`` holds verifier/undecided, verifier/timeout, verifier/error and verifier/no_answer; other names are ignored, a
    missing one counts as 0. A value that is None or not a number counts as an error of its sample.
    """
    columns = {name: [_number(value) for value in logs.get(f"verifier/{name}", ())] for name in _RATES}
    samples = max(len(values) for values in columns.values())
    if samples == 0:
        return None
    unreadable = {row for values in columns.values() for row, value in enumerate(values) if math.isnan(value)}
    sums = {name: sum(value for value in values if not math.isnan(value)) for name, values in columns.items()}
    sums["error"] = min(float(samples), sums["error"] + len(unreadable))
    return VerifierRates(samples, *(sums[name] / samples for name in _RATES))


def _number(value: Any) -> float:
    """A number, a tensor of one, or None."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan

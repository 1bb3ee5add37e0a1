"""The rates of the verifier in a step, and the stop above the configured one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import torch

from dipo_eval.errors import UserError
from dipo_openrlhf.rewards.verifier_health import VerifierRates, verifier_rates


def logs(samples: int, undecided: int = 0, timeout: int = 0, error: int = 0) -> dict[str, list[float]]:
    counts = {"undecided": undecided, "timeout": timeout, "error": error, "no_answer": 0}
    return {f"verifier/{k}": [1.0] * v + [0.0] * (samples - v) for k, v in counts.items()}


def rates_of(made: Mapping[str, Iterable[Any]]) -> VerifierRates:
    rates = verifier_rates(made)
    assert rates is not None
    return rates


def test_rates_are_means() -> None:
    rates = rates_of(logs(40, undecided=4, timeout=2, error=1))
    assert rates.metrics() == {
        "verifier/undecided_rate": 0.1,
        "verifier/timeout_rate": 0.05,
        "verifier/error_rate": 0.025,
        "verifier/no_answer_rate": 0.0,
    }
    rates.check(0.2)


def test_tensors_and_other_names_are_fine() -> None:
    rates = rates_of({"verifier/undecided": torch.tensor([1.0, 0.0]), "format": [None]})
    assert (rates.samples, rates.undecided, rates.timeout) == (2, 0.5, 0.0)


@pytest.mark.parametrize("without", [{}, {"format": [1.0]}, {"verifier/undecided": []}])
def test_a_reward_without_a_verifier_has_no_rates(without: dict[str, list[float]]) -> None:
    assert verifier_rates(without) is None


@pytest.mark.parametrize(("undecided", "error"), [(9, 0), (0, 9), (5, 4)])
def test_above_the_limit_the_run_stops_with_one_line(undecided: int, error: int) -> None:
    rates = rates_of(logs(40, undecided=undecided, timeout=undecided, error=error))
    with pytest.raises(UserError) as caught:
        rates.check(0.2)
    message = str(caught.value)
    assert "\n" not in message
    assert "22.5%" in message
    assert "run.max_undecided_rate allows 20.0%" in message


def test_at_the_limit_and_in_small_steps_it_goes_on() -> None:
    for made in (logs(40, undecided=8), logs(19, undecided=19)):
        rates_of(made).check(0.2)


def test_a_limit_of_one_never_stops_and_zero_stops_at_the_first() -> None:
    whole, one = rates_of(logs(20, undecided=20)), rates_of(logs(100, undecided=1))
    whole.check(1.0)
    with pytest.raises(UserError):
        one.check(0.0)


def test_unreadable_values_count_as_errors_of_their_sample() -> None:
    values = {"verifier/undecided": [0.0, None, math.nan, "x"], "verifier/timeout": [0.0, None, 0.0, 0.0]}
    assert rates_of(values).error == 0.75

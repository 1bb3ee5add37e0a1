"""DipoConfig: defaults, validation, messages."""

from __future__ import annotations

import dataclasses

import pytest

from dipo_openrlhf.algorithm import DipoConfig, methods


def test_defaults_are_those_of_the_paper() -> None:
    config = DipoConfig()
    assert (config.alpha, config.queue_batches, config.confidence) == (0.1, 2, 0.95)
    assert (config.interval, config.min_side_samples, config.group_space) == ("wilson", 30, "mean")
    assert (config.method, config.pick, config.directions, config.psd) == ("dipo", "max_ppl", "both", True)
    assert config.include_current_batch
    assert config.on_infeasible == "skip"
    assert (config.correct_from, config.normalizer, config.estimator) == ("score", "shared", "group_norm")


def test_round_trip_and_frozen() -> None:
    config = DipoConfig(alpha=0.3, interval="cluster", method="dapo")
    assert DipoConfig.from_dict(config.to_dict()) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.alpha = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("method", methods.names())
def test_every_method_is_accepted(method: str) -> None:
    assert DipoConfig.from_dict({"method": method}).method == method


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"aplha": 0.2}, ("aplha", "0.2", "did you mean 'alpha'")),
        ({"intervall": "wald"}, ("intervall", "'wald'", "did you mean 'interval'")),
        ({"zzz": 1}, ("zzz", "known: method, alpha")),
        ({"interval": "wilsen"}, ("dipo.interval", "'wilsen'", "did you mean 'wilson'")),
        ({"method": "dapoo"}, ("dipo.method", "'dapoo'", "did you mean 'dapo'")),
        ({"alpha": -0.1}, ("dipo.alpha", "-0.1", ">= 0")),
        ({"alpha": float("nan")}, ("dipo.alpha", "nan")),
        ({"alpha": "0.1"}, ("dipo.alpha", "'0.1'")),
        ({"alpha": True}, ("dipo.alpha", "True")),
        ({"confidence": 1.0}, ("dipo.confidence", "1.0", "between 0.5 and 1")),
        ({"confidence": 0.5}, ("dipo.confidence", "0.5")),
        ({"queue_batches": 0}, ("dipo.queue_batches", "0", ">= 1")),
        ({"queue_batches": 1.5}, ("dipo.queue_batches", "1.5")),
        ({"min_side_samples": 0}, ("dipo.min_side_samples", "0")),
        ({"psd": "yes"}, ("dipo.psd", "'yes'", "true or false")),
        ({"include_current_batch": 1}, ("dipo.include_current_batch", "1")),
        ({"pick": ["max_ppl"]}, ("dipo.pick", "max_ppl")),
    ],
)
def test_errors_name_key_value_and_what_to_do(values: dict[str, object], parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"^dipo\.") as error:
        DipoConfig.from_dict(values)
    message = str(error.value)
    assert "\n" not in message
    assert [part for part in parts if part not in message] == []


def test_from_dict_wants_a_mapping() -> None:
    with pytest.raises(ValueError, match="expected a mapping"):
        DipoConfig.from_dict(["alpha"])  # type: ignore[arg-type]

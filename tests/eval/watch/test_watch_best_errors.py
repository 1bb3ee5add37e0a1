"""The score in BEST.json has no bias and its interval holds, however many checkpoints it is the best of."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
best_errors = importlib.import_module("best_errors")


@pytest.mark.parametrize("kind", ["equal", "spread by 3", "one 5 better"])
@pytest.mark.parametrize(("n", "checkpoints"), [(30, 20), (164, 100), (500, 20), (1319, 5)])
def test_bias_and_coverage(kind, n, checkpoints):
    highest_bias, highest_coverage, bias, coverage, _ = best_errors.figures(
        kind, n, checkpoints, 20_000, seed=3
    )
    assert abs(bias) < 0.3
    assert coverage >= 93
    assert kind != "equal" or (highest_bias > 1 and highest_coverage < 92)  # the control

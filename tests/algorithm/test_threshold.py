"""find_threshold: hand-computed cases, and a naive search over every candidate."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_openrlhf.algorithm import Threshold, find_threshold
from dipo_openrlhf.algorithm.threshold import REASONS


def tensors(pairs: list[tuple[float, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([p for p, _ in pairs]), torch.tensor([b for _, b in pairs])


def test_separable_by_hand() -> None:
    p, b = tensors([(k / 10, 1) for k in range(10)] + [(k / 10, 0) for k in range(20, 30)])
    found = find_threshold(p, b, min_side_samples=5)
    # midpoint of 0.9 and 2.0; Wilson's lower bound of 10 of 10 is 1 / (1 + z^2 / 10) = 0.72247
    assert found.value == pytest.approx(1.45, abs=1e-6)
    assert (found.feasible, found.reason, found.train_error) == (True, "ok", 0.0)
    assert found.delta_eis_lower == found.delta_ers_lower
    assert found.delta_eis_lower == pytest.approx(2 * 0.722467 - 1, abs=1e-5)


def test_objective_by_hand() -> None:
    # sorted b: 1 1 0 1 | 0 0 1 0: errors at cuts 1..7 are 3 2 3 2 3 4 3; of 2 and 4 the smaller tau
    p, b = tensors([(1, 1), (2, 1), (3, 0), (4, 1), (5, 0), (6, 0), (7, 1), (8, 0)])
    p = p.float()
    # a confidence so low that every majority passes
    found = find_threshold(p, b, min_side_samples=1, interval="wald", confidence=1e-9)
    assert (found.value, found.train_error) == (2.5, 2 / 8)
    # three on each side: cut 4 is the least error among 3, 4, 5
    assert find_threshold(p, b, min_side_samples=3, interval="wald", confidence=1e-9).value == 4.5


def test_argmin_is_among_the_passing_ones() -> None:
    # the global minimum, one error at cut 1, leaves one sample on the left; with 30 a side it cannot count
    pairs = [(0.0, 1)] + [(0.1 + k / 1000, 1) for k in range(60)] + [(1 + k / 1000, 0) for k in range(60)]
    p, b = tensors(pairs)
    assert find_threshold(p, b).value == pytest.approx((0.159 + 1.0) / 2)


def test_ties_in_p_are_never_split() -> None:
    p, b = tensors([(1.0, 1)] * 40 + [(1.0, 0)] * 5 + [(2.0, 0)] * 40 + [(2.0, 1)] * 3)
    found = find_threshold(p, b)
    assert (found.value, found.train_error) == (1.5, 8 / 88)


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([], "empty"),
        ([(math.nan, 1), (math.nan, 0)], "empty"),
        ([(float(k), 1) for k in range(100)], "one_class"),
        ([(float(k), 0) for k in range(100)], "one_class"),
        ([(1.0, k % 2) for k in range(100)], "constant_log_ppl"),
        ([(float(k), k % 2) for k in range(59)], "too_few_samples"),
        ([(float(k % 2), k % 2) for k in range(0, 59)], "too_few_samples"),
        ([(float(k), k % 2) for k in range(200)], "not_significant"),
        ([(float(k), int(k > 100)) for k in range(200)], "not_significant"),  # the wrong way round
    ],
)
def test_reasons(pairs: list[tuple[float, int]], reason: str) -> None:
    found = find_threshold(*tensors(pairs))
    assert (found.value, found.feasible, found.reason) == (None, False, reason)
    assert reason in REASONS
    assert math.isnan(found.train_error) == (reason != "not_significant")


def test_infeasible_shows_what_was_missing() -> None:
    found = find_threshold(*tensors([(float(k), int(k > 100)) for k in range(200)]))
    assert found.delta_eis_lower < 0
    assert found.train_error > 0.5


def test_interval_and_confidence_tell_apart() -> None:
    # 21 of 30 on each side: wald 0.5360, wilson 0.5212, both above 1/2; 99% is not
    pairs = [(0.0, int(k < 21)) for k in range(30)] + [(1.0, int(k >= 21)) for k in range(30)]
    p, b = tensors(pairs)
    bounds = {name: find_threshold(p, b, interval=name).delta_eis_lower for name in ("wald", "wilson")}
    assert bounds["wald"] == pytest.approx(2 * 0.53602 - 1, abs=1e-4)
    assert bounds["wilson"] == pytest.approx(2 * 0.52123 - 1, abs=1e-4)
    assert not find_threshold(p, b, confidence=0.99).feasible
    # the same pairs in clusters that agree: three groups' worth of evidence, not thirty responses'
    group = torch.arange(60) // 10
    assert not find_threshold(p, b, interval="cluster", group=group).feasible
    assert find_threshold(p, b, interval="cluster", group=torch.arange(60)).feasible


def test_neighbouring_floats_and_extreme_values() -> None:
    low = 1.0
    high = math.nextafter(low, 2.0)
    p = torch.tensor([low] * 40 + [high] * 40, dtype=torch.float64)
    b = torch.tensor([1] * 40 + [0] * 40)
    tau = find_threshold(p, b).value
    assert tau is not None
    assert low < tau <= high
    big = find_threshold(torch.tensor([1e308] * 40 + [1.5e308] * 40, dtype=torch.float64), b).value
    assert big == 1.25e308


def test_float32_threshold_separates_float32_values() -> None:
    p = torch.tensor([0.1] * 40 + [float(np.nextafter(np.float32(0.1), np.float32(1)))] * 40)
    b = torch.tensor([1] * 40 + [0] * 40)
    tau = find_threshold(p, b).value
    assert tau is not None
    assert (p.double() < tau).tolist() == b.bool().tolist()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"log_ppl_N": torch.ones(2, 2), "correct_N": torch.ones(2, 2)}, r"must be \[N\]"),
        ({"log_ppl_N": torch.ones(2), "correct_N": torch.ones(3)}, r"must be \[N\]"),
        ({"log_ppl_N": torch.tensor([1.0, math.inf])}, "infinite"),
        ({"correct_N": torch.tensor([0.0, 2.0])}, "0 and 1"),
        ({"interval": "bayes"}, "wilson, wald, cluster"),
        ({"interval": "cluster"}, "needs group"),
        ({"interval": "cluster", "group": torch.ones(3)}, "group"),
        ({"min_side_samples": 0}, "min_side_samples"),
        ({"confidence": 1.0}, "confidence"),
    ],
)
def test_errors(kwargs: dict[str, object], message: str) -> None:
    arguments = {"log_ppl_N": torch.tensor([1.0, 2.0]), "correct_N": torch.tensor([1, 0]), **kwargs}
    with pytest.raises(ValueError, match=message):
        find_threshold(**arguments)  # type: ignore[arg-type]


def naive(
    p: np.ndarray, b: np.ndarray, group: np.ndarray, interval: str, confidence: float, side: int
) -> tuple[Threshold, bool]:
    """Every candidate against every pair, O(N^2). Also: whether a bound is too close to 0 to call."""
    p, b, group = p[~np.isnan(p)], b[~np.isnan(p)], group[~np.isnan(p)]
    n = len(p)
    empty = Threshold(None, False, "", math.nan, math.nan, math.nan)
    values = np.unique(p)
    if n == 0 or b.all() or not b.any() or len(values) == 1:
        return empty, False
    taus = values[:-1] / 2 + values[1:] / 2
    below = p[None, :] < taus[:, None]  # [K, N]
    enough = (below.sum(1) >= side) & ((~below).sum(1) >= side)
    taus, below = taus[enough], below[enough]
    if len(taus) == 0:
        return empty, False
    errors = np.abs(b[None, :].astype(int) - below).sum(1)
    eis = 2 * side_lower(below, b, group, interval, confidence) - 1
    ers = 2 * side_lower(~below, ~b, group, interval, confidence) - 1
    close = bool((np.minimum(np.abs(eis), np.abs(ers)) < 1e-9).any())
    passing = (eis > 0) & (ers > 0)
    feasible = bool(passing.any())
    best = min((errors[k], k) for k in range(len(taus)) if passing[k] or not feasible)[1]
    value = float(taus[best]) if feasible else None
    return Threshold(value, feasible, "", errors[best] / n, eis[best], ers[best]), close


def side_lower(
    inside: np.ndarray, hit: np.ndarray, group: np.ndarray, interval: str, confidence: float
) -> np.ndarray:
    """[K] lower bound of the proportion of hits among the pairs inside[K, N]."""
    n, successes = inside.sum(1), (inside & hit).sum(1)
    q = successes / n
    z = 1.959963984540054 if confidence == 0.95 else 1.2815515655446004
    if interval == "wald":
        return q - z * np.sqrt(q * (1 - q) / n)
    if interval == "wilson":  # the smaller root of (q - x)^2 = z^2 x (1 - x) / n
        a, minus_b, c = 1 + z * z / n, 2 * q + z * z / n, q * q
        return (minus_b - np.sqrt(minus_b**2 - 4 * a * c)) / (2 * a)
    members = (group[:, None] == np.unique(group)[None, :]).astype(float)  # [N, C]
    in_cluster, won = inside @ members, (inside & hit) @ members
    clusters = (in_cluster > 0).sum(1)
    squares = ((won - q[:, None] * in_cluster) ** 2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(clusters / (clusters - 1) * squares) / n
    return np.where(clusters > 1, q - z * error, -np.inf)


def random_case(seed: int, size: int, flavour: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    b = rng.random(size) < rng.choice([0.1, 0.5, 0.9])
    p = rng.normal(0.6, 0.3, size).astype(np.float32) - rng.choice([0.0, 0.2, 1.0]) * b.astype(np.float32)
    if flavour == "ties":
        p = np.round(p, 1)
    elif flavour == "few_values":
        p = rng.integers(0, 4, size).astype(np.float32)
    elif flavour == "constant":
        p = np.full(size, 0.7, dtype=np.float32)
    elif flavour == "one_class":
        b[:] = bool(rng.random() < 0.5)
    elif flavour == "nan":
        p[rng.random(size) < 0.3] = np.nan
    return p.astype(np.float32), b, rng.integers(0, max(1, size // 4), size)


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.one_of(*(st.integers(0, limit) for limit in (12, 25, 50, 100, 300))),
    flavour=st.sampled_from(["plain", "ties", "few_values", "constant", "one_class", "nan"]),
    confidence=st.sampled_from([0.8, 0.95]),
    side=st.sampled_from([1, 2, 5, 30]),
)
@settings(max_examples=3_400, deadline=None, database=None)  # times three intervals: 10,200 cases
def test_equals_the_naive_search(seed: int, size: int, flavour: str, confidence: float, side: int) -> None:
    p, b, group = random_case(seed, size, flavour)
    for interval in ("wilson", "wald", "cluster"):
        expected, close = naive(p.astype(np.float64), b, group, interval, confidence, side)
        found = find_threshold(
            torch.from_numpy(p),
            torch.from_numpy(b),
            confidence=confidence,
            interval=interval,
            min_side_samples=side,
            group=torch.from_numpy(group),
        )
        if close:
            continue  # two correct roundings may differ there
        assert (found.value, found.feasible) == (expected.value, expected.feasible)
        assert found.train_error == pytest.approx(expected.train_error, abs=1e-12, nan_ok=True)
        lowers = (expected.delta_eis_lower, expected.delta_ers_lower)
        assert (found.delta_eis_lower, found.delta_ers_lower) == pytest.approx(lowers, abs=1e-9, nan_ok=True)


def test_order_of_the_pairs_does_not_matter() -> None:
    p, b, group = random_case(3, 200, "ties")
    order = list(range(200))
    random.Random(0).shuffle(order)
    for interval in ("wilson", "wald", "cluster"):
        first = find_threshold(
            torch.from_numpy(p), torch.from_numpy(b), interval=interval, group=torch.from_numpy(group)
        )
        second = find_threshold(
            torch.from_numpy(p[order]),
            torch.from_numpy(b[order]),
            interval=interval,
            group=torch.from_numpy(group[order]),
        )
        assert first == second

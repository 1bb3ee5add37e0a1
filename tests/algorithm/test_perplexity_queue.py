"""PerplexityQueue: bounds, groups, state."""

from __future__ import annotations

import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_openrlhf.algorithm import PerplexityQueue


def batch(values: list[float], correct: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(values), torch.tensor(correct)


def test_holds_the_last_batches_in_order() -> None:
    queue = PerplexityQueue(2)
    for k in range(4):
        queue.push(*batch([float(k), k + 0.5], [k % 2, 1]))
    p, b, group = queue.tensors()
    assert p.tolist() == [2.0, 2.5, 3.0, 3.5]
    assert b.tolist() == [False, True, True, True]
    assert group.tolist() == [0, 1, 2, 3]  # every response of an [N] batch is a group of its own
    assert (len(queue), queue.pushes) == (4, 4)


def test_rows_of_a_batch_are_its_groups_and_differ_between_batches() -> None:
    queue = PerplexityQueue(2)
    queue.push(torch.tensor([[0.1, 0.2], [0.3, math.nan]]), torch.tensor([[0, 1], [1, 1]]))
    queue.push(torch.tensor([[0.5, 0.6]]), torch.tensor([[0, 0]]))
    p, b, group = queue.tensors()
    torch.testing.assert_close(p, torch.tensor([0.1, 0.2, 0.3, 0.5, 0.6]).double(), rtol=0, atol=1e-7)
    assert b.tolist() == [False, True, True, False, False]  # the NaN row is gone
    assert group.tolist() == [0, 0, 1, 2, 2]


def test_group_ids_of_the_caller_are_kept_apart_between_batches() -> None:
    queue = PerplexityQueue(2)
    for _ in range(2):
        queue.push(torch.rand(4), torch.ones(4), torch.tensor([7, -3, 7, 10**12]))
    assert queue.tensors()[2].tolist() == [1, 0, 1, 2, 4, 3, 4, 5]


def test_an_empty_queue_is_true() -> None:
    queue = PerplexityQueue()
    assert (queue or None) is queue
    assert len(queue) == 0


def test_empty_queue_and_batch_of_nan_only() -> None:
    queue = PerplexityQueue()
    assert [t.numel() for t in queue.tensors()] == [0, 0, 0]
    queue.push(torch.full((2, 2), math.nan), torch.zeros(2, 2))
    queue.push(torch.rand(1, 2), torch.zeros(1, 2))
    assert queue.tensors()[2].tolist() == [0, 0]


def test_later_changes_of_the_input_do_not_reach_the_queue() -> None:
    queue, p = PerplexityQueue(), torch.tensor([1.0, 2.0], dtype=torch.float64)
    queue.push(p, torch.tensor([0, 1]))
    p.zero_()
    assert queue.tensors()[0].tolist() == [1.0, 2.0]


@given(
    batches=st.integers(1, 4),
    sizes=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=6),
    last=st.none() | st.floats(-5, 5),
)
@settings(max_examples=100, deadline=None)
def test_state_round_trip_through_a_safe_load(
    batches: int, sizes: list[tuple[int, int]], last: float | None
) -> None:
    queue = PerplexityQueue(batches)
    for prompts, samples in sizes:
        queue.push(torch.rand(prompts, samples), torch.rand(prompts, samples) < 0.5)
    queue.last_threshold = last
    file = io.BytesIO()
    torch.save(queue.state_dict(), file)
    file.seek(0)
    restored = PerplexityQueue(batches)
    restored.load_state_dict(torch.load(file, weights_only=True))
    for a, b in zip(queue.tensors(), restored.tensors(), strict=True):
        assert torch.equal(a, b)
    assert (restored.pushes, restored.last_threshold) == (len(sizes), last)
    queue.push(torch.rand(2, 2), torch.zeros(2, 2))
    restored.push(torch.rand(2, 2), torch.zeros(2, 2))
    assert len(queue) == len(restored)  # the same batch fell out of both


def test_a_shorter_queue_takes_the_most_recent_batches() -> None:
    long, short = PerplexityQueue(3), PerplexityQueue(1)
    for k in range(3):
        long.push(*batch([float(k)], [1]))
    short.load_state_dict(long.state_dict())
    assert short.tensors()[0].tolist() == [2.0]
    assert short.pushes == 3


def test_state_shares_no_memory() -> None:
    queue = PerplexityQueue()
    queue.push(*batch([1.0], [1]))
    state = queue.state_dict()
    queue._held[0].log_ppl.zero_()
    assert state["held"][0]["log_ppl"].tolist() == [1.0]


def test_a_bad_state_is_refused_and_changes_nothing() -> None:
    queue = PerplexityQueue()
    queue.push(*batch([1.0], [1]))
    good = queue.state_dict()
    bad_batch = {"log_ppl": torch.ones(2), "correct": torch.ones(3), "group": torch.ones(2)}
    for state in ({}, {**good, "version": 9}, {"version": 1}, {**good, "held": [bad_batch]}, [1]):
        with pytest.raises(ValueError, match="PerplexityQueue"):
            queue.load_state_dict(state)  # type: ignore[arg-type]
    assert queue.tensors()[0].tolist() == [1.0]


@pytest.mark.parametrize(
    ("p", "b", "message"),
    [
        (torch.ones(2), torch.ones(3), "same shape"),
        (torch.tensor([math.inf]), torch.ones(1), "infinite"),
        (torch.ones(1), torch.tensor([0.5]), "0 and 1"),
        (torch.ones(1), torch.tensor([math.nan]), "0 and 1"),
        (torch.ones(1, dtype=torch.int64), torch.ones(1), "floating point"),
    ],
)
def test_bad_input_is_refused_and_not_pushed(p: torch.Tensor, b: torch.Tensor, message: str) -> None:
    queue = PerplexityQueue()
    with pytest.raises(ValueError, match=message):
        queue.push(p, b)
    assert (len(queue), queue.pushes) == (0, 0)


@pytest.mark.parametrize("batches", [0, -1, 1.0, True])
def test_bad_length(batches: object) -> None:
    with pytest.raises(ValueError, match="must be an integer >= 1"):
        PerplexityQueue(batches)  # type: ignore[arg-type]

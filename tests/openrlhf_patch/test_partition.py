"""Windows, ranks and micro-batches as numbers: every sample once, loads equal, limits kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from openrlhf.utils.seqlen_balancing import get_seqlen_balanced_partitions

from dipo_openrlhf.openrlhf_patch.partition import (
    choose,
    equal_shares,
    longest_first,
    micro_batches,
    shuffled_windows,
)

LIMIT = 8192


def response_lengths(count: int, seed: int) -> list[int]:
    """As sampled: long tails, or many that reach the token limit."""
    generator = np.random.default_rng(seed)
    kind = seed % 3
    if kind == 0:
        found = generator.lognormal(7, 0.9, count)
    elif kind == 1:
        found = generator.uniform(1, LIMIT, count)
    else:
        found = np.where(generator.random(count) < 0.3, LIMIT, generator.exponential(900, count))
    return np.clip(found + 60, 60, LIMIT).astype(int).tolist()


@given(seed=st.integers(0, 10_000), ranks=st.integers(1, 32), each=st.integers(16, 80))
def test_the_loads_of_ranks_differ_by_less_than_five_percent(seed, ranks, each):
    lengths = response_lengths(ranks * each, seed)
    shares = equal_shares(lengths, ranks)
    loads = [sum(lengths[place] for place in share) for share in shares]
    assert max(loads) - min(loads) <= 0.05 * sum(loads) / ranks


@given(st.data(), st.integers(1, 9))
def test_shares_are_equal_in_number_and_as_equal_as_one_sample_allows(data, ranks):
    each = data.draw(st.integers(1, 12))
    lengths = data.draw(
        st.lists(st.integers(0, LIMIT) | st.just(1), min_size=ranks * each, max_size=ranks * each)
    )
    shares = equal_shares(lengths, ranks)
    assert [len(share) for share in shares] == [each] * ranks
    assert sorted(place for share in shares for place in share) == list(range(len(lengths)))
    loads = [sum(lengths[place] for place in share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths)
    for share in shares:
        assert [lengths[place] for place in share] == sorted((lengths[p] for p in share), reverse=True)


@given(
    shares=st.integers(1, 12).flatmap(
        lambda each: st.lists(
            st.lists(st.integers(0, 300), min_size=each, max_size=each), min_size=1, max_size=4
        )
    ),
    max_tokens=st.integers(1, 600),
)
def test_micro_batches_hold_every_sample_once_within_the_limit(shares, max_tokens):
    found = micro_batches(shares, max_tokens)
    assert len({len(parts) for parts in found}) == 1
    longest = max(map(max, shares))
    for lengths, parts in zip(shares, found, strict=True):
        assert sorted(place for part in parts for place in part) == list(range(len(lengths)))
        for part in parts:
            assert part
            assert sum(lengths[place] for place in part) <= max(max_tokens, longest)


@pytest.mark.parametrize("seed", range(6))
def test_the_fullest_part_is_that_of_openrlhf_s_partition(seed):
    lengths = response_lengths(512, seed)
    parts = len(micro_batches([lengths], 10240, multiple=8)[0])
    assert parts % 8 == 0
    ours, theirs = (
        max(sum(lengths[place] for place in part) for part in found)
        for found in (
            longest_first(lengths, parts),
            get_seqlen_balanced_partitions(lengths, parts, equal_size=False),
        )
    )
    assert ours <= max(1.02 * theirs, max(lengths))


@given(count=st.integers(0, 200), room=st.integers(1, 40), seed=st.integers(0, 2**62))
def test_windows_hold_every_group_once_and_differ_by_one(count, room, seed):
    groups = list(range(100, 100 + count))
    windows = shuffled_windows(groups, room, seed)
    assert sorted(group for window in windows for group in window) == groups
    sizes = [len(window) for window in windows]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= room
    assert len(windows) == max(1, -(-count // room))
    assert windows == shuffled_windows(groups, room, seed)
    if count > 20:
        assert windows != shuffled_windows(groups, room, seed + 1)


def test_a_choice_within_the_room():
    wanted = torch.tensor([True, False, True, True, False, True])
    assert torch.equal(choose(wanted, 4, seed=0), wanted)
    chosen = choose(wanted, 2, seed=3)
    assert int(chosen.sum()) == 2
    assert not (chosen & ~wanted).any()
    assert torch.equal(chosen, choose(wanted, 2, seed=3))
    assert len({tuple(choose(wanted, 2, seed=seed).tolist()) for seed in range(20)}) > 2
    assert not choose(wanted, 0, seed=0).any()

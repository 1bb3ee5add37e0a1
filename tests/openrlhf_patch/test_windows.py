"""Optimizer windows of whole groups: every kept sample once, ranks of equal load, the loss of the kept rows alone."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from openrlhf.models.loss import PolicyLoss
from openrlhf.trainer.ppo_utils.experience import Experience, make_experience_batch

from dipo_openrlhf.algorithm.reference import clipped_loss
from dipo_openrlhf.openrlhf_patch.experiences import sample_means
from dipo_openrlhf.openrlhf_patch.update import WindowBuffer
from dipo_openrlhf.openrlhf_patch.windows import (
    PADDING,
    Window,
    WindowRules,
    joined,
    make_windows,
    one_for_each_rank,
    split_by_tokens,
    split_evenly,
)

sys.path.insert(0, str(Path(__file__).parent))

from test_partition import response_lengths
from window_batches import order_of, samples, scored

GROUP = 4


@st.composite
def batches(draw):
    """(lengths, rules, kept groups, order of the rows, size of the scoring micro-batches, seed)"""
    group, groups = draw(st.integers(1, 6)), draw(st.integers(1, 24))
    a_window, ranks = draw(st.integers(1, 8)), draw(st.sampled_from([1, 2, 3, 4, 8]))
    rules = WindowRules(
        samples=group * a_window * ranks,
        group_size=group,
        ranks=ranks,
        max_tokens=draw(st.sampled_from([None, 20, 64, 500])),
    )
    lengths = draw(st.lists(st.integers(0, 40), min_size=group * groups, max_size=group * groups))
    kept = draw(st.lists(st.booleans(), min_size=groups, max_size=groups) | st.just([True] * groups))
    seed = draw(st.integers(0, 1000))
    order = torch.randperm(group * groups, generator=torch.Generator().manual_seed(seed))
    return lengths, rules, torch.tensor(kept), order, draw(st.integers(1, 7)), seed


def by_window(made: list[Window], ranks: int) -> list[list[Window]]:
    """The shares of each window: they come rank after rank."""
    windows = len(made) // ranks
    return [[made[rank * windows + number] for rank in range(ranks)] for number in range(windows)]


def real_rows(window: Window) -> list[int]:
    """The batch's rows in a share, padding left out."""
    moved = (window.advantages != 0).any(1)
    return [int(row) for row, real in zip(window.info["row"].tolist(), moved.tolist(), strict=True) if real]


@given(batches())
def test_every_window_holds_whole_groups_and_every_kept_sample_is_there_once(given_batch):
    lengths, rules, kept, order, size, seed = given_batch
    lengths = [max(1, length) for length in lengths]  # so that a real row has an advantage
    parts = scored(samples(lengths), size, order)
    made = make_windows(parts, order_of(parts), kept, rules, seed)
    expected = [g for g, keep in enumerate(kept.tolist()) if keep]
    seen: list[int] = []
    for shares in by_window(made, rules.ranks):
        assert [len(share.sequences) for share in shares] == [rules.samples // rules.ranks] * rules.ranks
        rows = sorted(row for share in shares for row in real_rows(share))
        groups = sorted({row // rules.group_size for row in rows})
        assert rows == [g * rules.group_size + place for g in groups for place in range(rules.group_size)]
        seen += groups
        tokens = sum(int(share.action_mask.sum()) for share in shares)
        assert {share.action_tokens for share in shares} == {tokens}
        assert {share.samples for share in shares} == {float(rules.samples)}
        sizes = [share.micro_batches for share in shares]
        if rules.max_tokens is not None:
            assert len({len(each) for each in sizes}) == 1
            assert {sum(each) for each in sizes} == {rules.samples // rules.ranks}
    assert sorted(seen) == expected
    again = make_windows(parts, order_of(parts), kept, rules, seed)
    assert all(torch.equal(one.sequences, other.sequences) for one, other in zip(made, again, strict=True))


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), ranks=st.sampled_from([2, 4, 8]))
def test_windows_of_real_lengths_are_balanced_within_five_percent(seed, ranks):
    """Whole groups of 16, 16 groups or more a window: every rank has the same load."""
    lengths = [max(1, length // 16) for length in response_lengths(16 * 64, seed)]
    parts = scored(samples(lengths), 64)
    rules = WindowRules(samples=256, group_size=16, ranks=ranks, max_tokens=700)
    made = make_windows(parts, order_of(parts), torch.ones(64, dtype=torch.bool), rules, seed)
    for shares in by_window(made, ranks):
        loads = [float(share.total_length.sum()) for share in shares]
        assert max(loads) - min(loads) <= 0.05 * sum(loads) / ranks
    # Not sorted by length, as OpenRLHF's would be: windows resemble each other.
    totals = [sum(float(share.total_length.sum()) for share in shares) for shares in by_window(made, ranks)]
    assert max(totals) < 2 * min(totals)


def trained(window: Window, dynamic: bool) -> list[tuple[Experience, dict[str, float]]]:
    """A share as an actor's rank trains it: micro-batches and their denominators."""
    buffer = WindowBuffer(2, packing_samples=dynamic, dynamic_batch=dynamic)
    buffer.append(window)
    if not dynamic:
        rows = range(len(buffer))
        batch = [buffer.collate_fn([buffer[row] for row in rows[start : start + 2]]) for start in rows[::2]]
        info = {"batch_num_tokens": window.action_tokens, "global_batch_size": window.samples}
        return [(each, info) for each in batch]
    buffer.setup_dynamic_batch(None)
    assert buffer.dynamic_optimizer_step == [0] * (len(buffer) - 1) + [1]
    return [
        (
            buffer.collate_fn([buffer[place]]),
            {
                "batch_num_tokens": buffer.dynamic_batch_num_tokens[place],
                "global_batch_size": buffer.dynamic_global_batch_size[place],
            },
        )
        for place in range(len(buffer))
    ]


def new_log_probs(tokens: torch.Tensor, old: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Of the place and the token alone, so that a row is worth the same wherever it lies."""
    place = torch.arange(tokens.shape[1] - 1)
    return old + 0.3 * torch.sin(weights[tokens[:, 1:]] * 7 + place)


@settings(max_examples=60)
@given(batches(), st.sampled_from(["token_mean", "response_mean", "constant"]))
def test_loss_and_gradient_of_a_window_are_those_of_its_groups_padded(given_batch, reduction):
    """Over all ranks and micro-batches, with padding rows and without, for each reduction."""
    lengths, rules, kept, order, size, seed = given_batch
    limit = 50
    rules = WindowRules(
        rules.samples,
        rules.group_size,
        rules.ranks,
        rules.max_tokens,
        token_mean=reduction != "response_mean",
        constant=limit if reduction == "constant" else None,
    )
    fewest = 0 if reduction == "token_mean" else 1  # the others count rows, which have an end token at least
    lengths = [max(length, row % 3, fewest) for row, length in enumerate(lengths)]
    parts = scored(samples(lengths), size, order)
    whole = Experience.concat_experiences(parts, 0)
    row_of = {row: place for place, row in enumerate(whole.index)}
    made = make_windows(parts, order_of(parts), kept, rules, seed)
    policy_loss = PolicyLoss(0.2, 0.28, token_level_loss=rules.token_mean)
    for shares in by_window(made, rules.ranks):
        weights = torch.linspace(0.1, 1, 100, requires_grad=True)
        total = torch.zeros(())
        for share in shares:
            for batch, info in trained(share, rules.max_tokens is not None):
                new = new_log_probs(batch.sequences, batch.action_log_probs, weights)
                total = (
                    total
                    + policy_loss(new, batch.action_log_probs, batch.advantages, batch.action_mask, **info)[0]
                )
        (found,) = torch.autograd.grad(total, weights)
        groups = {int(row) // rules.group_size for share in shares for row in real_rows(share)}
        groups &= {g for g, keep in enumerate(kept.tolist()) if keep}
        if not groups:
            assert not found.any()
            continue
        # A group without any action token leaves no trace in a share, and adds no token.
        places = [row_of[g * rules.group_size + p] for g in sorted(groups) for p in range(rules.group_size)]
        mask = whole.action_mask[places]
        new = new_log_probs(whole.sequences[places], whole.action_log_probs[places], weights)
        expected = clipped_loss(
            new, whole.action_log_probs[places], whole.advantages[places], mask, 0.2, 0.28, reduction, limit
        )
        torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-6)
        (gradient,) = torch.autograd.grad(expected, weights)
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-6)


@settings(max_examples=60)
@given(batches(), st.sampled_from(["token_mean", "response_mean", "constant"]), st.data())
def test_without_idle_rows_loss_and_gradient_of_every_window_are_the_same(given_batch, reduction, data):
    """Over all ranks and micro-batches; the rows that are left are as many on every rank."""
    lengths, rules, kept, order, size, seed = given_batch
    lengths = [max(1, length) for length in lengths]
    idle = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    parts = scored(samples(lengths), size, order)
    for part in parts:
        part.advantages[torch.tensor([idle[row] for row in part.index])] = 0
    rules = replace(
        rules, token_mean=reduction != "response_mean", constant=50 if reduction == "constant" else None
    )
    made = [
        by_window(make_windows(parts, order_of(parts), kept, each, seed), rules.ranks)
        for each in (rules, replace(rules, skip_idle=True))
    ]
    policy_loss = PolicyLoss(0.2, 0.28, token_level_loss=rules.token_mean)
    for full, fewer in zip(*made, strict=True):
        found = []
        for shares in (full, fewer):
            weights = torch.linspace(0.1, 1, 100, requires_grad=True)
            total = torch.zeros(())
            for share in shares:
                for batch, info in trained(share, rules.max_tokens is not None):
                    new = new_log_probs(batch.sequences, batch.action_log_probs, weights)
                    old, mask = batch.action_log_probs, batch.action_mask
                    total = total + policy_loss(new, old, batch.advantages, mask, **info)[0]
            found.append((total.detach(), torch.autograd.grad(total, weights)[0]))
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)
        active = [row for share in full for row in real_rows(share)]
        rows = [len(share.sequences) for share in fewer]
        assert set(rows) == {max(1, -(-len(active) // rules.ranks))}
        assert {share.rows for share in fewer} == {sum(rows)}
        assert sorted(row for share in fewer for row in real_rows(share)) == sorted(active)


def test_padding_rows_have_one_token_and_no_gradient():
    parts = scored(samples([5, 3, 7, 2, 6, 4, 1, 8]), 4)
    rules = WindowRules(samples=16, group_size=GROUP, ranks=2, max_tokens=None)
    made = make_windows(parts, order_of(parts), torch.tensor([True, False]), rules, seed=0)
    masks = torch.cat([window.action_mask.sum(1) for window in made])
    moved = torch.cat([(window.advantages != 0).any(1) for window in made])
    assert masks.min() >= 1  # a micro-batch without a token would log 0 / 0
    assert int(moved.sum()) == GROUP
    assert masks[~moved].tolist() == [1] * 12


def test_no_group_kept_is_a_window_of_padding():
    parts = scored(samples([5, 3, 7, 2]), 4)
    rules = WindowRules(samples=16, group_size=GROUP, ranks=1, max_tokens=20)
    (window,) = make_windows(parts, order_of(parts), torch.tensor([False]), rules, seed=0)
    assert len(window.sequences) == 16
    assert not window.advantages.any()


def test_a_micro_batch_is_what_openrlhf_makes_of_its_samples():
    """Tokens, masks and figures of the rows, cut to the longest of them."""
    parts = scored(samples([5, 3, 7, 2, 6, 4, 1, 8]), 3)
    rules = WindowRules(samples=8, group_size=GROUP, ranks=1, max_tokens=18)
    (window,) = make_windows(parts, order_of(parts), torch.ones(2, dtype=torch.bool), rules, seed=0)
    rows = {int(e.info["row"]): e for e in samples([5, 3, 7, 2, 6, 4, 1, 8])}
    for batch, _ in trained(window, dynamic=True):
        names = [int(row) for row in batch.info["row"].tolist()]
        for field in ("sequences", "attention_mask", "action_mask", "action_log_probs", "rollout_log_probs"):
            theirs = make_experience_batch(
                [Experience(**{field: getattr(rows[row], field)[0]}) for row in names]
            )
            assert torch.equal(getattr(batch, field), getattr(theirs, field)), field
        assert batch.prompts == [f"prompt {row}" for row in names]
        assert batch.labels == [f"label {row}" for row in names]
        assert batch.total_length.tolist() == [float(rows[row].total_length) for row in names]


def test_a_batch_without_a_sample_is_an_error():
    with pytest.raises(RuntimeError, match="without a single sample"):
        make_windows([], torch.zeros(0), torch.zeros(0, dtype=torch.bool), WindowRules(4, 2, 1), seed=0)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(1, 5), st.integers(1, 4))
def test_scoring_batches_hold_every_sample_once_in_equal_numbers_a_rank(lengths, micro, ranks):
    rows = samples(lengths)
    if len(rows) < ranks:
        filled = one_for_each_rank(rows, ranks)
        for batches_ in (split_evenly(filled, micro, ranks, 0), split_by_tokens(filled, micro, ranks, 0)):
            assert len(batches_) == ranks
            assert sorted(batch.index for batch in batches_) == sorted(
                [[PADDING]] * (ranks - len(rows)) + [[row] for row in range(len(rows))]
            )
        return
    assert one_for_each_rank(rows, ranks) == rows
    for batches_, limit in (
        (split_evenly(rows, micro, ranks, 0), None),
        (split_by_tokens(rows, 40, ranks, 0), 40),
    ):
        assert len(batches_) % ranks == 0
        assert sorted(row for batch in batches_ for row in batch.index) == list(range(len(rows)))
        if limit and len(batches_) + ranks <= len(rows):
            longest = max(float(row.total_length) for row in rows)
            assert all(float(batch.total_length.sum()) <= max(limit, longest) for batch in batches_)


def test_joined_samples_are_openrlhf_s_concatenation():
    rows = samples([5, 0, 7, 2])
    rows[2].info["extra"] = torch.tensor([1.0])
    ours, theirs = joined(rows, 9), Experience.concat_experiences(rows, 9)
    for name, value in vars(theirs).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(getattr(ours, name), value), name
        elif isinstance(value, dict):
            assert {k: v.tolist() for k, v in ours.info.items()} == {k: v.tolist() for k, v in value.items()}
        else:
            assert getattr(ours, name) == value, name


def test_logged_means_are_of_all_samples():
    parts = scored(samples([5, 3, 7, 2, 6, 4, 1, 8]), 3)
    means = sample_means(parts)
    rewards = torch.cat([part.info["reward"] for part in parts])
    assert means["reward"] == means["rollout/reward_mean"] == pytest.approx(rewards.mean().item())
    assert means["rollout/num_samples"] == 8
    assert means["response_length"] == pytest.approx(4.5)

"""The learning rate's schedule is as long as the run. OpenRLHF's prompt loop and our windows and schedulers are real."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from openrlhf.trainer.ppo_utils.samples_generator import _collect_prompt_batch
from transformers.trainer import get_scheduler

from dipo_openrlhf.openrlhf_patch.partition import shuffled_windows
from dipo_openrlhf.openrlhf_patch.schedule import RunLength, advance, held_at_its_end
from dipo_openrlhf.recipe.ranges import WORDS


class Counter:
    """What `advance` needs of a scheduler; torch's own is in the tests of learning rates."""

    last_epoch = 0

    def step(self) -> None:
        self.last_epoch += 1


SIZES = st.tuples(
    st.integers(1, 60), st.integers(1, 12), st.integers(1, 14), st.integers(1, 3), st.integers(1, 3)
)


def loader(prompts: int):
    return iter([(None, [number], [""], [None]) for number in range(prompts)])


def taken(run: RunLength, refill_every: int = 0) -> list[tuple[int, int]]:
    """Of each step (prompts that were used up before it, its updates), as the loops of a run make them."""
    steps, used = [], 0
    for _ in range(run.episodes):
        rows, exhausted = loader(run.prompts), False
        while not exhausted:
            batch, _, _, exhausted = _collect_prompt_batch(rows, run.batch)
            consumed = len(batch)
            if refill_every and not exhausted:  # a batch uses up more prompts than it has groups
                more, _, _, exhausted = _collect_prompt_batch(rows, len(batch) // refill_every)
                consumed += len(more)
            if batch:
                windows = shuffled_windows(range(len(batch)), run.window, seed=1)
                steps.append((used, len(windows) * run.epochs))
            used += consumed
    return steps


@given(SIZES)
def test_the_number_is_what_a_run_takes(sizes):
    run = RunLength(*sizes)
    steps = taken(run)
    assert (len(steps), sum(updates for _, updates in steps)) == (run.steps, run.updates)


@given(SIZES)
def test_a_resumed_run_has_the_same_schedule(sizes):
    """At any step of an undisturbed run its place by prompts is not ahead of its place by updates."""
    run, done = RunLength(*sizes), 0
    for used, updates in taken(run):
        assert run.place(used) <= run.updates
        assert abs(run.place(used) - done) <= updates
        done += updates


@given(SIZES, st.integers(1, 4))
def test_where_prompts_are_refilled_the_schedule_ends_with_the_data(sizes, refill_every):
    """However few updates that takes; and it never goes back."""
    run, scheduler = RunLength(*sizes), Counter()
    before = 0
    for used, updates in taken(run, refill_every):
        advance(scheduler, run.place(used))
        assert scheduler.last_epoch >= max(before, run.place(used))
        before = scheduler.last_epoch
        for _ in range(updates):
            scheduler.step()
    assert run.place(run.prompts * run.episodes) == run.updates


def test_the_next_update_has_the_learning_rate_of_the_place():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    optimizer.step()
    advance(scheduler, 7)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2 / 8)
    advance(scheduler, 3)
    advance(scheduler, None)
    assert scheduler.last_epoch == 7


def test_the_sizes_are_openrlhfs_arguments():
    args = SimpleNamespace(
        train=SimpleNamespace(batch_size=16, num_episodes=2, max_epochs=1),
        rollout=SimpleNamespace(batch_size=8, n_samples_per_prompt=4),
    )
    # 20 prompts: batches of 8, 8 and 4 prompts, of 2, 2 and 1 windows; OpenRLHF counts 20 * 4 // 16 = 5 as well,
    assert RunLength.of(args, 20) == RunLength(20, 8, 4, 2)
    assert RunLength.of(args, 20).updates == 10
    # but 21 * 4 // 16 = 5 where 6 are taken an episode.
    assert RunLength.of(args, 21).updates == 12


@pytest.mark.parametrize("name", WORDS["actor.lr_scheduler"])
@pytest.mark.parametrize("updates", [1, 7, 40])
def test_no_schedule_climbs_after_its_warm_up(name, updates):
    """transformers' cosine returns to its peak within as many updates as it had."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    extra = {"min_lr_rate": 0.1} if "min_lr" in name else {}
    warm_up = 2
    scheduler = held_at_its_end(get_scheduler)(
        name,
        optimizer,
        num_warmup_steps=warm_up,
        num_training_steps=updates,
        scheduler_specific_kwargs=extra,
    )
    rates = []
    for _ in range(3 * updates + 5):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    after = rates[min(warm_up, updates) :]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(after))
    assert len(set(rates[updates:])) == 1


def test_a_saved_schedule_continues():
    """The state of a checkpoint of an earlier version has no functions either."""

    def made():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        options = {"num_warmup_steps": 1, "num_training_steps": 9}
        return optimizer, [
            build("cosine", optimizer, **options) for build in (get_scheduler, held_at_its_end(get_scheduler))
        ]

    optimizer, (earlier, held) = made()
    for scheduler in (earlier, held):
        for _ in range(4):
            optimizer.step()
            scheduler.step()
        _, (_, resumed) = made()
        resumed.load_state_dict(scheduler.state_dict())
        assert resumed.last_epoch == 4
        resumed.step()
        held_again = resumed.get_last_lr()
        scheduler.step()
        assert held_again == scheduler.get_last_lr()

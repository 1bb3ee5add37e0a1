"""Dropping rows and padding windows keeps the loss: OpenRLHF's real PolicyLoss and batching."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from openrlhf.models.loss import PolicyLoss
from openrlhf.trainer.ppo_utils.experience import Experience, balance_experiences
from openrlhf.trainer.ppo_utils.replay_buffer import NaiveReplayBuffer

from dipo_openrlhf.openrlhf_patch.windows import choose, fill_windows, sample_means, window_rows

ACTIONS = 10


def experiences(count: int, seed: int = 0, size: int = 4) -> list[Experience]:
    """Micro-batches of `size` rows of random length, prompt of 2 tokens, right-padded as OpenRLHF pads."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for start in range(0, count, size):
        rows = min(size, count - start)
        lengths = torch.randint(1, ACTIONS - 1, (rows,), generator=generator)
        mask = (torch.arange(ACTIONS)[None] >= 1) & (torch.arange(ACTIONS)[None] < 1 + lengths[:, None])
        old = -torch.rand(rows, ACTIONS, generator=generator) * mask
        reward = torch.rand(rows, generator=generator)
        made.append(
            Experience(
                index=list(range(start, start + rows)),
                sequences=torch.randint(3, 9, (rows, ACTIONS + 1), generator=generator),
                attention_mask=torch.nn.functional.pad(mask.long(), (1, 0))
                + torch.nn.functional.one_hot(torch.zeros(rows).long(), ACTIONS + 1)
                + torch.nn.functional.one_hot(torch.ones(rows).long(), ACTIONS + 1),
                action_mask=mask.long(),
                action_log_probs=old,
                advantages=torch.randn(rows, 1, generator=generator) * mask,
                returns=torch.zeros(rows, ACTIONS),
                rewards=reward,
                scores=(reward > 0.5).float(),
                response_length=lengths,
                total_length=lengths + 2,
                truncated=torch.zeros(rows).bool(),
                prompts=["p"] * rows,
                labels=["l"] * rows,
                images=[None] * rows,
                mm_train_inputs=[None] * rows,
                info={"reward": reward.clone(), "response_clip_ratio": torch.zeros(rows)},
            )
        )
    return made


def window_loss(batches: list[Experience], noise: float = 0.3) -> torch.Tensor:
    """The token-mean loss over one window, from rows that went through OpenRLHF's replay buffer.

    The new log-probabilities depend on token id and place alone, so a row is worth the same wherever it lies.
    """
    buffer = NaiveReplayBuffer(sample_batch_size=1)
    for batch in batches:
        buffer.append(batch)
    whole = buffer.collate_fn(buffer.items)
    shift = torch.sin(whole.sequences[:, 1:].float() * 7 + torch.arange(whole.sequences.shape[1] - 1))
    new = whole.action_log_probs + noise * shift
    loss = PolicyLoss(clip_eps_low=0.2, clip_eps_high=0.28)
    return loss(new, whole.action_log_probs, whole.advantages, whole.action_mask)[0]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_padding_leaves_the_loss_of_the_kept_rows(seed, ranks):
    kept = torch.rand(24, generator=torch.Generator().manual_seed(seed)) < 0.6
    alone = [
        part
        for part in fill_windows(experiences(24, seed), kept, train_batch_size=1, ranks=1)  # no padding
    ]
    filled = fill_windows(experiences(24, seed), kept, train_batch_size=32, ranks=ranks)
    assert [len(part.sequences) for part in filled] == [32 // ranks] * ranks
    torch.testing.assert_close(window_loss(filled), window_loss(alone), rtol=1e-5, atol=1e-7)
    assert window_loss(alone).abs() > 1e-3


def test_padding_rows_have_no_gradient_and_every_row_has_a_token():
    filled = fill_windows(experiences(8), torch.tensor([True] * 3 + [False] * 5), 16, 2)
    masks = torch.cat([part.action_mask.sum(1) for part in filled])
    moved = torch.cat([(part.advantages != 0).any(1) for part in filled])
    assert masks.min() >= 1  # a micro-batch without a token would log 0 / 0
    assert int(moved.sum()) <= 3


def test_no_row_kept_is_a_window_of_padding():
    (part,) = fill_windows(experiences(8), torch.zeros(8, dtype=torch.bool), 16, 1)
    assert len(part.sequences) == 16
    assert torch.equal(part.advantages, torch.zeros_like(part.advantages))


def test_a_choice_within_the_room():
    wanted = torch.tensor([True, False, True, True, False, True])
    assert torch.equal(choose(wanted, 4, seed=0), wanted)
    chosen = choose(wanted, 2, seed=3)
    assert int(chosen.sum()) == 2
    assert not (chosen & ~wanted).any()
    assert torch.equal(chosen, choose(wanted, 2, seed=3))
    assert len({tuple(choose(wanted, 2, seed=seed).tolist()) for seed in range(20)}) > 2
    assert not choose(wanted, 0, seed=0).any()


def test_window_rows_is_the_next_multiple():
    assert [window_rows(rows, 16) for rows in (0, 1, 16, 17, 32)] == [16, 16, 16, 32, 32]


def test_logged_means_are_of_all_samples():
    parts = experiences(12)
    means = sample_means(parts)
    rewards = torch.cat([part.info["reward"] for part in parts])
    assert means["reward"] == means["rollout/reward_mean"] == pytest.approx(rewards.mean().item())
    assert means["rollout/num_samples"] == 12
    assert means["response_length"] == pytest.approx(
        torch.cat([p.response_length for p in parts]).float().mean().item()
    )


def test_logged_values_stay_tensors():
    """Lists would break openrlhf/trainer/ppo_trainer.py, BasePPOTrainer._compute_rollout_stats, which concatenates."""
    filled = fill_windows(experiences(8), torch.ones(8, dtype=torch.bool), 12, 2)
    assert torch.cat([part.info["reward"] for part in filled]).shape == (12,)
    assert torch.cat([part.response_length for part in filled]).shape == (12,)


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_filled_window_goes_through_dynamic_batching(ranks):
    """train.dynamic_batch_enable redistributes the rows: none is lost, and ranks get equal numbers."""
    made = experiences(24)
    kept = torch.arange(24) < 13
    filled = fill_windows(made, kept, train_batch_size=16, ranks=ranks)
    args = SimpleNamespace(
        actor=SimpleNamespace(num_nodes=1, num_gpus_per_node=ranks),
        ds=SimpleNamespace(ring_attn_size=1, tensor_parallel_size=1),
    )
    balanced = balance_experiences(filled, args)
    assert [len(batch.sequences) for batch in balanced] == [16 // ranks] * ranks
    tokens = sum(int(batch.action_mask.sum()) for batch in balanced)
    assert tokens == sum(int(batch.action_mask.sum()) for batch in filled)
    assert window_loss(balanced).item() == pytest.approx(window_loss(filled).item(), rel=1e-5)

"""Refilling: full batches, the cap, prompts that run out. Ray is real; the engine's answers are given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.openrlhf_patch.ray_start import start_ray
from dipo_openrlhf.openrlhf_patch.refill import (
    RefillGenerator,
    is_all_incorrect,
    is_extreme,
    rollout_generator,
)

GROUP = 4


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    start_ray(num_cpus=1, object_store_memory=100 * 1024**2)
    yield
    ray.shutdown()


class Answered(RefillGenerator):
    """Given scores instead of an engine: the prompt names its kind (n: mixed, h: all incorrect, e: all correct)."""

    def _dispatch_prompts_to_vllm(self, prompts, labels, *, images=None, **generate_kwargs: Any) -> list[Any]:
        self.asked = [*getattr(self, "asked", []), *prompts]
        return [
            ray.put([answer(prompt, label, row) for row in range(GROUP)])
            for prompt, label in zip(prompts, labels, strict=True)
        ]


def answer(prompt: str, label: str, row: int) -> dict[str, Any]:
    score = {"n": float(row == 0), "h": 0.0, "e": 1.0}[prompt[0]]
    return {
        "prompt": prompt,
        "label": label,
        "observation_tokens": [1, 2, 3, 4],
        "action_ranges": [(2, 4)],
        "rollout_log_probs": None,
        "reward": score,
        "scores": score,
        "truncated": False,
    }


def generator(
    prompts: list[str], *, wanted: int, cap: float = 1.0, keep: bool = True, incorrect: str | None = None
) -> Answered:
    arguments = SimpleNamespace(
        rollout=SimpleNamespace(batch_size=wanted, n_samples_per_prompt=GROUP),
        vllm=SimpleNamespace(enable_sleep=False),
        data=SimpleNamespace(max_len=16),
    )
    loader = [(None, [prompt], ["label"], [None]) for prompt in prompts]
    return Answered(
        keep_extremes=keep,
        refill_cap=cap,
        trained_incorrect=incorrect,
        strategy=SimpleNamespace(args=arguments),
        prompts_dataloader=loader,
        eval_dataloader=None,
        tokenizer=None,
        vllm_engines=[],
    )


def names(samples: list[Any]) -> list[str]:
    return [sample.prompts[0] for sample in samples[::GROUP]]


def test_extreme_groups_are_replaced_and_kept():
    subject = generator(["n1", "h1", "e1", "n2", "n3", "h2", "n4", "n5", "n6"], wanted=4, cap=2.0)
    samples, share, consumed, exhausted = subject.generate_samples(max_len=16)
    kept = names(samples)
    assert sorted(name for name in kept if name[0] == "n") == ["n1", "n2", "n3", "n4"]
    assert sorted(name for name in kept if name[0] != "n") == ["e1", "h1", "h2"]
    assert (consumed, exhausted) == (7, False)
    assert share == pytest.approx(100 * 4 / 7)
    assert all(sample.scores.shape == (1,) for sample in samples)
    assert subject.metrics["refill/further_prompts"] == 3
    assert subject.metrics["refill/groups_missing"] == 0


def test_extreme_groups_are_dropped_where_they_are_not_kept():
    subject = generator(["h1", "n1", "e1", "n2"], wanted=2, cap=1.0, keep=False)
    samples, *_ = subject.generate_samples(max_len=16)
    assert names(samples) == ["n1", "n2"] or sorted(names(samples)) == ["n1", "n2"]
    assert subject.metrics["refill/score_mean"] == pytest.approx((0 + 0.25 + 1 + 0.25) / 4)


def test_a_method_that_trains_all_incorrect_groups_keeps_those_alone():
    subject = generator(["h1", "e1", "n1", "e2", "h2"], wanted=4, keep=False, incorrect="score")
    samples, share, consumed, _ = subject.generate_samples(max_len=16)
    assert names(samples) == ["h1", "n1", "h2"]
    assert (consumed, share) == (5, pytest.approx(60))
    assert subject.metrics["refill/groups_missing"] == 1


def test_the_cap_ends_it_and_nothing_accepted_is_lost():
    subject = generator(["n1"] + [f"h{i}" for i in range(50)], wanted=4, cap=0.5)
    samples, _, consumed, exhausted = subject.generate_samples(max_len=16)
    assert consumed == 4 + 2
    assert not exhausted
    assert names(samples)[0] == "n1"
    assert subject.metrics["refill/groups_missing"] == 3


def test_prompts_that_run_out_leave_a_smaller_batch_and_then_restart():
    subject = generator(["n1", "h1", "n2"], wanted=2, cap=5.0)
    first, _, consumed, exhausted = subject.generate_samples(max_len=16)
    assert (consumed, exhausted) == (3, False)
    assert sorted(names(first)) == ["h1", "n1", "n2"]
    empty, share, consumed, exhausted = subject.generate_samples(max_len=16)
    assert (empty, share, consumed, exhausted) == ([], None, 0, True)
    again, *_ = subject.generate_samples(max_len=16)  # the next episode
    assert sorted(names(again)) == ["h1", "n1", "n2"]


def test_a_short_last_batch_is_served():
    subject = generator(["n1", "n2", "n3"], wanted=2)
    subject.generate_samples(max_len=16)
    samples, _, consumed, exhausted = subject.generate_samples(max_len=16)
    assert names(samples) == ["n3"]
    assert (consumed, exhausted) == (1, True)


def test_every_prompt_is_sampled_once():
    prompts = [f"{'nhe'[i % 3]}{i}" for i in range(30)]
    subject = generator(prompts, wanted=5, cap=1.0)
    exhausted = False
    while not exhausted:
        *_, exhausted = subject.generate_samples(max_len=16)
    assert sorted(subject.asked) == sorted(prompts)


def test_all_incorrect_is_told_by_the_recipe_s_scale():
    def group(score: float, maximum: float) -> list[Any]:
        info = {"reward_max": torch.tensor([maximum])}
        return [SimpleNamespace(scores=torch.tensor([score]), info=info)] * GROUP

    assert is_all_incorrect(group(-3.0, 4.0), "reward_max")
    assert not is_all_incorrect(group(4.0, 4.0), "reward_max")
    with pytest.raises(UserError, match=r"set dipo\.correct_from to reward_max"):
        is_all_incorrect(group(-3.0, 4.0), "score")


@pytest.mark.parametrize(("method", "expected"), [("ngrpo", "reward_max"), ("dapo", None)])
def test_the_method_s_file_decides(method, expected):
    parts = dict.fromkeys(("strategy", "prompts_dataloader", "eval_dataloader", "tokenizer", "vllm_engines"))
    config = DipoConfig(method=method, correct_from="reward_max")
    found = rollout_generator(SimpleNamespace(**parts), config, 1, refill=lambda **given: given)
    assert found["trained_incorrect"] == expected


def test_extreme_means_equal_scores_and_not_a_mean_in_a_range():
    assert is_extreme([0.5, 0.5])
    assert not is_extreme([0.0, 1.0])
    assert not is_extreme([0.99, 1.0])  # OpenRLHF's filter compares the mean


def test_a_batch_that_leaves_nothing_to_train_is_told(capsys):
    samples, share, consumed, exhausted = generator(["h0", "e1"], wanted=2, keep=False).generate_samples()
    assert (samples, share, consumed, exhausted) == ([], 0.0, 2, True)
    assert "nothing to train on in this batch: groups sampled: 2, kept: 0" in capsys.readouterr().out

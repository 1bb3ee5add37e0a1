"""Rollouts in the order of the data and seeds by position. Ray is real; the engine's answers are given."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from vllm import SamplingParams

from dipo_openrlhf.openrlhf_patch.actor import rng_state
from dipo_openrlhf.openrlhf_patch.engine import seed_of
from dipo_openrlhf.openrlhf_patch.ray_start import start_ray
from dipo_openrlhf.openrlhf_patch.rollouts import OrderedGenerator

GROUP = 2


ENGINE = "late engine"


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    start_ray(num_cpus=4, object_store_memory=100 * 1024**2)
    engine = LateEngine.options(name=ENGINE).remote()
    yield engine  # it lives as long as its handle
    ray.shutdown()


@ray.remote(max_concurrency=16, num_cpus=0)
class LateEngine:
    """Answers the earlier requests of a batch later, and returns the seed of each."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Reset the counters: all tests share this actor, since starting one takes seconds of imports."""
        self.asked, self.tokenizers = 0, []

    def take_tokenizer(self, tokenizer: Any) -> None:
        self.tokenizers.append(tokenizer)

    def tokenizers_taken(self) -> list[Any]:
        return self.tokenizers

    def get_num_unfinished_requests(self) -> int:
        return 0

    def generate_responses(
        self, *, prompt: str, sampling_params: Any, hf_tokenizer: Any, num_samples: int, **unused: Any
    ) -> list[Any]:
        assert hf_tokenizer is None, "an engine has it already"
        self.asked += 1
        time.sleep(max(0.0, 0.8 - 0.2 * self.asked))
        return [
            {
                "prompt": prompt, "label": "", "observation_tokens": [1, 2, 3], "action_ranges": [(1, 3)],
                "rollout_log_probs": None, "reward": 1.0, "scores": 1.0, "truncated": False,
                "extra_logs": {
                    "seed": float((sampling_params.seed or 0) % 2**20),
                    "log_probs": float(sampling_params.logprobs or 0),
                },
            }
            for _ in range(num_samples)
        ]  # fmt: skip


class Shuffled:
    """Prompts in an order drawn from torch's generator at every pass, as torch's own sampler draws it."""

    def __init__(self, prompts: list[str]) -> None:
        self.prompts = prompts

    def __iter__(self):
        order = torch.randperm(len(self.prompts))
        return iter([(None, [self.prompts[place]], [""], [None]) for place in order])


def generator(loader: Any, seed: int | None = 7, log_probs: bool = False) -> OrderedGenerator:
    arguments = SimpleNamespace(
        rollout=SimpleNamespace(batch_size=4, n_samples_per_prompt=GROUP, vllm_generate_batch_size=None),
        vllm=SimpleNamespace(enable_sleep=False),
        algo=SimpleNamespace(
            dynamic_filtering_enable=False, advantage=SimpleNamespace(is_correction_level="off")
        ),
    )
    engine = ray.get_actor(ENGINE)
    ray.get(engine.forget.remote())
    return OrderedGenerator(
        seed=seed,
        log_probs=log_probs,
        strategy=SimpleNamespace(args=arguments),
        prompts_dataloader=loader,
        eval_dataloader=loader,
        tokenizer="the tokenizer",
        vllm_engines=[engine],
    )


def in_data_order(count: int) -> list[Any]:
    return [(None, [f"p{place}"], [""], [None]) for place in range(count)]


def test_groups_come_in_the_order_of_the_data_with_seeds_by_position():
    subject = generator(in_data_order(6))
    samples, _, consumed, exhausted = subject.generate_samples(max_new_tokens=4)
    assert [sample.prompts[0] for sample in samples] == ["p0", "p0", "p1", "p1", "p2", "p2", "p3", "p3"]
    seeds = [sample.info["seed"].item() for sample in samples[::GROUP]]
    assert seeds == [seed_of("rollout", 7, place) % 2**20 for place in (1, 2, 3, 4)]
    assert (consumed, exhausted, subject.position) == (4, False, 4)
    samples, _, consumed, exhausted = subject.generate_samples(max_new_tokens=4)
    assert [sample.prompts[0] for sample in samples[::GROUP]] == ["p4", "p5"]
    assert (consumed, exhausted, subject.position) == (2, True, 6)


@pytest.mark.parametrize("seed", [None, 7])
def test_an_engine_gets_the_tokenizer_once(seed):
    """In an evaluation too, whichever comes first."""
    subject = generator(in_data_order(8), seed=seed)
    subject.generate_eval_samples(max_new_tokens=4)
    for _ in range(2):
        subject.generate_samples(max_new_tokens=4)
    (engine,) = subject.vllm_engines
    assert ray.get(engine.tokenizers_taken.remote()) == ["the tokenizer"]


def test_without_a_seed_none_is_sent():
    samples, *_ = generator(in_data_order(4), seed=None).generate_samples(max_new_tokens=4)
    assert {sample.info["seed"].item() for sample in samples} == {0.0}


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("log_probs", [False, True])
def test_log_probabilities_are_requested_for_what_is_trained(seed, log_probs):
    """OpenRLHF itself requests them with a correction of importance weights alone, which is off here."""
    subject = generator(in_data_order(8), seed=seed, log_probs=log_probs)
    samples, *_ = subject.generate_samples(max_new_tokens=4)
    assert {sample.info["log_probs"].item() for sample in samples} == {float(log_probs)}
    assert (samples[0].info["seed"].item() > 0) is (seed is not None)
    evaluated = subject.generate_eval_samples(max_new_tokens=4)
    assert {sample.info["log_probs"].item() for sample in evaluated} == {0.0}


def test_an_evaluation_changes_no_seed_of_the_training():
    subject = generator(in_data_order(4))
    first = [s.info["seed"].item() for s in subject.generate_eval_samples(max_new_tokens=4)]
    again = [s.info["seed"].item() for s in subject.generate_eval_samples(max_new_tokens=4)]
    assert first == again
    assert len(set(first)) == 4
    assert subject.position == 0


def test_a_resumed_run_draws_the_next_pass_as_an_uninterrupted_one():
    """Opening the data of a resumed run draws an order too, which must not advance the generator."""
    torch.manual_seed(3)
    uninterrupted = generator(Shuffled([f"p{place}" for place in range(4)]))
    uninterrupted.generate_samples(max_new_tokens=4)
    saved = rng_state()
    _, _, _, exhausted = uninterrupted.generate_samples(max_new_tokens=4)
    assert exhausted
    expected = [s.prompts[0] for s in uninterrupted.generate_samples(max_new_tokens=4)[0]]

    torch.manual_seed(99)
    resumed = generator(Shuffled([f"p{place}" for place in range(4)]))
    resumed.rng = saved
    resumed.open_data()
    resumed._dataloader_iter = None  # the pass in progress ends
    assert [s.prompts[0] for s in resumed.generate_samples(max_new_tokens=4)[0]] == expected


def test_seeds_differ():
    seeds = {seed_of(params, sample) for params in range(100) for sample in range(100)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert SamplingParams(seed=max(seeds)).seed == max(seeds)

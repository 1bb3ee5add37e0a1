"""The asynchronous trainer's parts. OpenRLHF's loops, Ray's store and the data loader are real; the answers of
engines and training ranks are given."""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from torchdata.stateful_dataloader import StatefulDataLoader

from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.openrlhf_patch import async_batches
from dipo_openrlhf.openrlhf_patch.async_batches import (
    METADATA_KEY,
    BatchMetadata,
    CarriedOverSamples,
    QueueReader,
    QueueWriter,
    save_carried_over,
)
from dipo_openrlhf.openrlhf_patch.observe.step import Gpus, StepMeter
from dipo_openrlhf.openrlhf_patch.ray_start import start_ray
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.openrlhf_patch.trainer_async import DiPOGenerator, DiPOTrainerAsync, DiPOTrainingActor

GROUP = 2


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    start_ray(num_cpus=1, object_store_memory=100 * 1024**2)
    yield
    ray.shutdown()


class Remote:
    """A handle whose methods' `remote` call plain functions."""

    def __init__(self, **methods: Any) -> None:
        for name, method in methods.items():
            setattr(self, name, SimpleNamespace(remote=lambda *a, _method=method: ray.put(_method(*a))))


class Store:
    """The two ends of OpenRLHF's queue and its slots, without a limit."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def put(self, entry: Any, block: bool = True) -> None:
        self.entries.append(entry)

    def get(self, block: bool = True) -> Any:
        return self.entries.pop(0) if self.entries else 0


def answer(prompt: str, row: int) -> dict[str, Any]:
    """Every third prompt is answered correctly only; the others have a correct and an incorrect answer."""
    score = 1.0 if int(prompt) % 3 == 0 else float(row)
    return {
        "prompt": prompt,
        "label": "label",
        "observation_tokens": [1, 2, 3, 4],
        "action_ranges": [(2, 4)],
        "rollout_log_probs": [0.0, 0.0, -0.5, -1.5],
        "reward": score,
        "scores": score,
        "truncated": False,
    }


def generator_actor(
    folder: Path,
    prompts: int,
    *,
    batch: int,
    over: int | None = None,
    episodes: int = 1,
    refill: bool = False,
) -> Any:
    """A DiPOGenerator without engines, its OpenRLHF parts as GenerateSamplesActor.__init__ makes them."""
    args = SimpleNamespace(
        rollout=SimpleNamespace(
            batch_size=batch, n_samples_per_prompt=GROUP, vllm_generate_batch_size=over or batch
        ),
        train=SimpleNamespace(num_episodes=episodes, batch_size=batch // 2 * GROUP, max_epochs=1),
        vllm=SimpleNamespace(enable_sleep=False),
        algo=SimpleNamespace(dynamic_filtering_enable=False),
        ckpt=SimpleNamespace(path=str(folder)),
        eval=SimpleNamespace(steps=math.inf),
        data=SimpleNamespace(max_len=16),
    )

    def collate(rows: list[str]) -> tuple[list[Any], ...]:
        return (["data"] * len(rows), list(rows), ["label"] * len(rows), [None] * len(rows))

    loader = StatefulDataLoader(
        [str(number) for number in range(prompts)],
        batch_size=1,
        shuffle=True,
        drop_last=True,
        collate_fn=collate,
    )
    parts = {
        "strategy": SimpleNamespace(args=args),
        "prompts_dataloader": loader,
        "eval_dataloader": None,
        "tokenizer": None,
        "vllm_engines": [],
    }
    made = (
        async_batches.LabelledRefill(keep_extremes=True, refill_cap=1.0, **parts)
        if refill
        else async_batches.LabelledGenerator(**parts)
    )
    made._dispatch_prompts_to_vllm = lambda prompts, labels, *, images=None, **kwargs: [
        ray.put([answer(prompt, row) for row in range(GROUP)]) for prompt in prompts
    ]
    nothing = Remote(acquire=lambda: None, release=lambda: None, weights_step=lambda: 7)
    made.vllm_lock = nothing
    actor = object.__new__(DiPOGenerator)
    vars(actor).update(
        args=args,
        prompts_dataloader=loader,
        eval_dataloader=None,
        generate_kwargs={"max_len": 16},
        samples_generator=made,
        vllm_lock=nothing,
        _partial_rollout=False,
        rollout_queue=QueueWriter(Store(), actor.pack),
        rollout_slots=Store(),
        _last_eval_step=-1,
        _eval_just_done=False,
        _resumed_step=0,
    )
    return actor


def batches(actor: Any, episode: int = 0) -> list[tuple[list[str], dict[str, Any]]]:
    """OpenRLHF's loop to its end: of each batch the prompts, one a sample, and the client states."""
    actor.fit(episode, 0)
    *entries, last = actor.rollout_queue.queue.entries
    assert last == "done"
    return [([sample.prompts[0] for sample in samples], states) for samples, states, _, _ in entries]


CASES = [
    # prompts, batch, over, episodes
    pytest.param(12, 4, None, 1, False, id="whole_batches"),
    pytest.param(14, 4, None, 2, False, id="a_short_last_batch"),
    pytest.param(24, 4, 6, 1, False, id="over_sampling"),
    pytest.param(22, 4, 7, 2, False, id="over_sampling_of_two_episodes_with_short_ends"),
    pytest.param(21, 4, 16, 2, False, id="many_batches_from_one_sampling"),
    pytest.param(24, 4, None, 2, True, id="refilled"),
]


@pytest.mark.parametrize(("prompts", "batch", "over", "episodes", "refill"), CASES)
def test_the_schedule_is_as_long_as_the_run(tmp_path, prompts, batch, over, episodes, refill):
    """Each batch is trained in windows of half a batch; a refilled run has fewer steps, its place follows the data."""
    actor = generator_actor(tmp_path, prompts, batch=batch, over=over, episodes=episodes, refill=refill)
    made = batches(actor)
    updates = sum(math.ceil(len(set(names)) / (batch // 2)) for names, _ in made)
    places = [states[METADATA_KEY].place for _, states in made]
    if refill:
        assert len(made) < actor.get_total_steps()
        assert places[0] == 0
        assert places == sorted(places)
        assert places[-1] < actor.get_max_steps()
    else:
        assert actor.get_max_steps() == updates
        assert set(places) == {None}


@pytest.mark.parametrize(("prompts", "batch", "over", "episodes", "refill"), CASES)
def test_a_resume_at_any_step_trains_every_prompt_exactly_once(
    tmp_path, prompts, batch, over, episodes, refill
):
    """What is in the queue at the kill is lost: a checkpoint describes the batches up to its own."""
    options = {"batch": batch, "over": over, "episodes": episodes, "refill": refill}
    whole = batches(generator_actor(tmp_path, prompts, **options))
    expected = Counter({str(number): GROUP * episodes for number in range(prompts)})
    assert sum((Counter(names) for names, _ in whole), Counter()) == expected
    left = 0
    for step in range(1, len(whole) + 1):
        states = whole[step - 1][1]
        saved = states[METADATA_KEY].carried_over
        (tmp_path / "_actor" / f"global_step{step}").mkdir(parents=True)
        save_carried_over(tmp_path, step, ray.get(saved) if saved is not None else None)
        left += saved is not None
        resumed = generator_actor(tmp_path, prompts, **options)
        resumed.resume_from(step, states[METADATA_KEY].rng)
        resumed.load_state_dict(states["data_loader_state_dict"])
        again = batches(resumed, states["episode"])
        before = sum((Counter(names) for names, _ in whole[:step]), Counter())
        assert before + sum((Counter(names) for names, _ in again), Counter()) == expected, step
        assert len(again) == len(whole) - step or refill
    assert bool(left) is bool(over)


def test_a_carried_over_sample_keeps_its_label(tmp_path):
    actor = generator_actor(tmp_path, 8, batch=4, over=8)
    whole = batches(actor)
    (_, states), _ = whole
    assert states[METADATA_KEY].metrics["async/carried_over_samples"] == 4 * GROUP
    samples = ray.get(states[METADATA_KEY].carried_over).unpack()
    assert len(samples) == 4 * GROUP
    assert async_batches.staleness(async_batches.take_labels(samples), 9) == {
        "async/staleness_mean": 2.0,
        "async/staleness_max": 2.0,
    }
    assert all(async_batches.LABEL not in sample.info for sample in samples)


def test_carried_over_samples_are_read_as_plain_values(tmp_path):
    (tmp_path / "_actor" / "global_step3").mkdir(parents=True)
    sample = Experience(
        sequences=torch.ones(1, 3, dtype=torch.long), prompts=["a"], info={"reward": torch.ones(1)}
    )
    save_carried_over(tmp_path, 3, CarriedOverSamples.pack([sample], exhausted=True))
    found = CarriedOverSamples.load(tmp_path, 3)
    assert found is not None
    assert found.exhausted
    (again,) = found.unpack()
    assert torch.equal(again.sequences, sample.sequences)
    assert (again.prompts, again.info) == (["a"], {"reward": torch.ones(1)})
    save_carried_over(tmp_path, 3, None)  # the step is saved again, and nothing is carried over this time
    assert CarriedOverSamples.load(tmp_path, 3) is None


def test_batch_metadata_is_of_batches_alone_and_openrlhf_never_sees_it():
    store = Store()
    queue_writer = QueueWriter(
        store, lambda: BatchMetadata({"refill/groups_sampled": 3.0}, last_of_episode=True, queued=1.0)
    )
    for entry in ("done", ("eval", 3, {"x": 1.0}), (["sample"], {"episode": 0}, None, 2.0)):
        queue_writer.put(entry, block=True)
    queue_reader = QueueReader(store)
    assert queue_reader.get() == "done"
    assert queue_reader.get() == ("eval", 3, {"x": 1.0})
    assert queue_reader.metrics == {}
    assert queue_reader.get(block=True) == (["sample"], {"episode": 1}, None, 2.0)
    assert queue_reader.metadata.metrics == {"refill/groups_sampled": 3.0}
    assert queue_reader.metrics["async/queue_seconds"] > 0


def test_the_number_of_the_weights_changes_under_the_lock():
    """A generator that gets the lock next must not read the number of old or future weights."""
    calls: list[Any] = []
    actor = object.__new__(DiPOTrainingActor)
    vars(actor).update(
        args=SimpleNamespace(vllm=SimpleNamespace(enable_sleep=False)),
        vllm_engines=[],
        _partial_rollout=False,
        meter=StepMeter(None, [], Gpus(shared=False)),
        weights_step=5,
        vllm_lock=Remote(
            acquire=lambda: calls.append("acquire"),
            release=lambda: calls.append("release"),
            set_weights_step=lambda step: calls.append(step),
        ),
        actor_model_group=SimpleNamespace(
            async_run_method=lambda method_name: [ray.put(calls.append(method_name))]
        ),
    )
    actor.broadcast_to_vllm()
    assert calls == ["acquire", "broadcast_to_vllm", 5, "release"]
    assert set(actor.meter.clock.take()[1]) == {"wait", "sync"}  # for the lock, and under it


def test_the_lock_is_openrlhf_s_with_a_number():
    async def use() -> list[int]:
        lock = async_batches.WeightsLock()
        await lock.acquire()
        numbers = [await lock.weights_step()]
        await lock.set_weights_step(3)
        await lock.release()
        return [*numbers, await lock.weights_step()]

    assert asyncio.run(use()) == [0, 3]


@pytest.mark.parametrize(
    "cls", [DiPOGenerator, DiPOTrainingActor, DiPOTrainerAsync, async_batches.WeightsLock]
)
def test_classes_travel_by_reference(cls):
    """By value they would carry the driver's OpenRLHF, with what is replaced there."""
    sent = ray.cloudpickle.dumps(cls)
    assert len(sent) < 200
    assert ray.cloudpickle.loads(sent) is cls


@pytest.mark.parametrize(
    "cls", [DiPOGenerator, DiPOTrainingActor, DiPOTrainerAsync, async_batches.WeightsLock]
)
def test_an_inherited_method_that_refers_to_its_own_class_is_ours(cls):
    """Ray copies all methods into a class of its own and pickles them. OpenRLHF's decorated classes cannot be found by
    name, so a method of theirs travels by value with a copy of its class, to which `self` does not belong."""
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        owner = getattr(sys.modules[method.__module__], method.__qualname__.split(".")[0], None)
        if not inspect.isclass(owner):
            assert "__class__" not in method.__code__.co_freevars, name


@pytest.mark.parametrize(
    ("config", "refilled"),
    [
        (DipoConfig(), False),
        (DipoConfig(keep_and_refill=True), True),
        (DipoConfig(method="dapo"), True),
        (DipoConfig(method="grpo"), False),
    ],
)
@pytest.mark.parametrize("seeded", [False, True])
def test_a_method_s_generator_is_labelled_and_seeded(config, refilled, seeded, monkeypatch):
    args = SimpleNamespace(train=SimpleNamespace(seed=5))
    plain = SimpleNamespace(
        strategy=SimpleNamespace(args=args),
        prompts_dataloader=None,
        eval_dataloader=None,
        tokenizer=None,
        vllm_engines=[],
    )

    def init(self: Any, pretrain: str, strategy: Any, *, rollout_queue: Any, vllm_lock: Any) -> None:
        vars(self).update(
            args=strategy.args, samples_generator=plain, vllm_lock=vllm_lock, rollout_queue=rollout_queue
        )

    monkeypatch.setattr(DiPOGenerator.__bases__[0], "__init__", init)
    settings = TrainerSettings(run_dir="run", recipe_hash="", seeded_rollouts=seeded)
    actor = DiPOGenerator(
        "model",
        plain.strategy,
        dipo_config=config,
        settings=settings,
        rollout_queue=Store(),
        vllm_lock="lock",
    )
    wanted = async_batches.LabelledRefill if refilled else async_batches.LabelledGenerator
    assert type(actor.samples_generator) is wanted
    assert actor.samples_generator.seed == (5 if seeded else None)
    assert actor.samples_generator.vllm_lock == "lock"
    assert isinstance(actor.rollout_queue, QueueWriter)

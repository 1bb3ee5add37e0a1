"""Where a step's time goes: phases add up to the step, no GPU-second counts twice, and vLLM's statistics are read."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from vllm import SamplingParams

sys.path.insert(0, str(Path(__file__).parent))

from small_qwen3 import small_model

from dipo_eval.engines.device import VLLM_ON_CPU
from dipo_openrlhf.openrlhf_patch.engine import CheckedEngine
from dipo_openrlhf.openrlhf_patch.observe import step
from dipo_openrlhf.openrlhf_patch.observe.clock import BusyTime, PhaseClock
from dipo_openrlhf.openrlhf_patch.observe.engine_meter import EngineMeter, EngineReport
from dipo_openrlhf.openrlhf_patch.observe.rank_meter import RankMeter, RankReport

SECONDS = st.floats(0, 100)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_phase_within_another_pauses_it():
    time = Clock()
    clock = PhaseClock(time)
    with clock("advantages"):
        time.now = 2
        with clock("forward"):
            time.now = 7
        time.now = 8
    time.now = 10
    assert clock.take() == (10, {"advantages": 3, "forward": 5})
    assert clock.take() == (0, {})


def test_a_phase_ends_with_an_error_and_may_span_two_steps():
    time = Clock()
    clock = PhaseClock(time)

    def fails() -> None:
        time.now = 4
        assert clock.take() == (4, {"update": 4})
        time.now = 5
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        clock.timed("update", fails)()
    assert clock.take() == (1, {"update": 1})


def test_what_overlaps_counts_once():
    time = Clock()
    busy = BusyTime(time)
    with busy:
        time.now = 1
        with busy:
            time.now = 3
        time.now = 4
        assert busy.take() == 4
        time.now = 6
    time.now = 100
    with busy:
        time.now = 101
    assert busy.take() == 3


@given(
    wall=SECONDS,
    shares=st.lists(st.floats(0, 1), min_size=len(step.PHASES), max_size=len(step.PHASES)),
    engine=st.tuples(SECONDS, SECONDS, SECONDS, SECONDS, SECONDS),
    rank=st.tuples(SECONDS, SECONDS),
)
def test_the_phases_add_up_to_the_step(wall, shares, engine, rank):
    total = sum(shares) or 1.0
    seconds = {name: wall * share / total for name, share in zip(step.PHASES, shares, strict=True)}
    groups, requests, cache, asleep, weights = engine
    engines = [
        EngineReport(requests, groups, {"wake_cache": cache, "sleep": asleep, "wake_weights": weights}),
        EngineReport(),
    ]
    ranks = [RankReport({"reload": rank[0], "offload": rank[1]})]
    split = step.phases(wall, seconds, ranks, engines)
    assert set(split) == set(step.PHASES)
    assert all(value >= 0 for value in split.values())
    assert sum(split.values()) == pytest.approx(wall, abs=1e-6)


def test_sleep_and_rewards_are_taken_from_the_phase_around_them():
    seconds = {"generate": 30.0, "sync": 4.0, "update": 20.0}
    engines = [
        EngineReport(22.0, 26.0, {"wake_cache": 1.0, "sleep": 2.0, "wake_weights": 1.5}),
        EngineReport(24.0, 25.0, {"wake_cache": 0.5, "sleep": 1.0, "wake_weights": 1.0}),
    ]
    ranks = [RankReport({"update": 15.0, "reload": 2.0, "offload": 3.0}), RankReport({"update": 15.0})]
    split = step.phases(60.0, seconds, ranks, engines)
    found = {name: value for name, value in split.items() if value}
    assert found == {
        "generate": 23.0, "reward": 4.0, "sync": 2.5, "update": 15.0, "sleep_wake": 9.5, "other": 6.0,
    }  # fmt: skip


def test_the_idle_share_of_gpus_that_take_turns():
    """Two GPUs for 100 s. GPU 1: 40 s of requests, 30 s of a rank; GPU 2: 20 s and 30 s; the sync counts once."""
    ranks = [RankReport({"update": 26.0, "sync": 4.0}), RankReport({"update": 26.0, "sync": 4.0})]
    engines = [EngineReport(40.0, 40.0, {"receive": 4.0}), EngineReport(20.0, 45.0, {"receive": 4.0})]
    shared = step.idle_share(100.0, ranks, engines, step.Gpus(shared=True))
    assert shared == pytest.approx(1 - (30 + 30 + 40 + 20) / 200)


def test_the_idle_share_of_gpus_of_their_own():
    """One rank and one engine of two GPUs: three GPUs for 100 s."""
    ranks = [RankReport({"update": 60.0, "sync": 4.0})]
    engines = [EngineReport(80.0, 90.0, {"receive": 4.0})]
    found = step.idle_share(100.0, ranks, engines, step.Gpus(shared=False, per_engine=2))
    assert found == pytest.approx(1 - (64 + 2 * 84) / 300)


def test_tokens_per_second():
    ranks = [RankReport({"update": 10.0}, tokens=4000), RankReport({"update": 8.0}, tokens=4000)]
    engines = [EngineReport(20.0, 20.0, tokens=3000), EngineReport(30.0, 30.0, tokens=2000)]
    found = step.step_metrics(50.0, {}, ranks, engines, step.Gpus(shared=False, ranks_per_copy=2))
    rates = {
        name.removeprefix("throughput/"): v for name, v in found.items() if name.startswith("throughput")
    }
    assert rates == pytest.approx(
        {
            "generated_tokens": 5000, "trained_tokens": 4000, "generated_per_second": 5000 / 30,
            "generated_per_second_per_gpu": 100, "trained_per_second": 400,
            "trained_per_second_per_gpu": 4000 / 18, "trained_per_gpu_second_of_step": 4000 / 200,
        }
    )  # fmt: skip


def stats(running: int, waiting: int, cache: float) -> Any:
    return SimpleNamespace(num_running_reqs=running, num_waiting_reqs=waiting, kv_cache_usage=cache)


def test_an_engine_s_queue_is_read_from_its_own_statistics():
    manager = SimpleNamespace(stat_loggers=[])
    meter = EngineMeter(SimpleNamespace(logger_manager=manager))
    (logger,) = manager.stat_loggers
    logger.record(stats(4, 6, 0.5), SimpleNamespace(num_preempted_reqs=2), mm_cache_stats=None, engine_idx=0)
    logger.record(stats(8, 0, 0.9), None, mm_cache_stats=None, engine_idx=0)
    meter.tokens += 12
    report = meter.take()
    assert (report.running, report.waiting) == ((6.0, 8.0), (3.0, 6.0))
    assert (report.cache, report.preemptions, report.tokens) == (0.9, 2, 12)
    assert meter.take() == EngineReport()


def test_a_gpu_s_memory_is_noted_by_phase(monkeypatch):
    """torch's figures are given: there is no GPU here."""
    used = iter([3 << 30, 2 << 30])
    for name, value in (
        ("is_available", lambda: True),
        ("reset_peak_memory_stats", lambda: None),
        ("max_memory_allocated", lambda: next(used)),
        ("mem_get_info", lambda: (30 << 30, 80 << 30)),
    ):
        monkeypatch.setattr(torch.cuda, name, value)
    meter = RankMeter()
    for _ in range(2):
        with meter("update"):
            pass
    report = meter.take()
    assert (report.peak_gib, report.device_gib) == ({"update": 3.0}, {"update": 50.0})
    found = step.step_metrics(1.0, {}, [report, RankReport()], [EngineReport()], step.Gpus(shared=True))
    assert found["memory/update_peak_gib"] == 3.0
    assert found["memory/update_device_gib"] == 50.0
    assert meter.take().peak_gib == {}


def test_ranks_that_do_not_answer_cost_a_warning_only(monkeypatch, caplog):
    def late(refs: Any, timeout: float) -> Any:
        raise step.ray.exceptions.GetTimeoutError("late")

    monkeypatch.setattr(step.ray, "get", late)
    group = SimpleNamespace(async_run_method=lambda method_name: [])
    assert step.StepMeter(group, [], step.Gpus(shared=True)).metrics() == {}
    assert "the step's timing is not logged" in caplog.text


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_engine_reports_its_requests_and_its_queue(tmp_path, monkeypatch):
    """vLLM with room for two requests at once: the others wait."""
    for name, value in {**VLLM_ON_CPU, "VLLM_CPU_KVCACHE_SPACE": "1", "RAY_ADDRESS": "none"}.items():
        monkeypatch.setenv(name, value)
    small_model(1, torch.float32).save_pretrained(tmp_path)
    first, second = asyncio.run(_use_an_engine(tmp_path))
    assert first.tokens == 8 * 12
    assert first.running[1] == 2
    assert first.waiting[1] > 2
    assert 0 < first.waiting[0] < first.waiting[1]
    assert 0 < first.cache < 1
    assert first.preemptions == 0
    assert 0 < first.requests <= first.groups
    assert second.tokens == second.requests == second.groups == 0
    assert set(second.seconds) == {"sleep", "wake_weights", "wake_cache"}
    assert all(seconds > 0 for seconds in second.seconds.values())


async def _use_an_engine(model: Path) -> list[EngineReport]:
    """Reports after eight requests, and after a sleep."""
    engine: Any = object.__new__(CheckedEngine)
    await engine.__init__(
        model=str(model), dtype="float32", enforce_eager=True, max_model_len=64, skip_tokenizer_init=True,
        max_num_seqs=2, distributed_executor_backend="uni", num_gpus=1, enable_sleep_mode=True,
        logprobs_mode="processed_logprobs",
    )  # fmt: skip
    params = SamplingParams(max_tokens=12, min_tokens=12, logprobs=1, detokenize=False)
    await engine.take_report()
    with engine.meter.groups:
        await asyncio.gather(*(engine.generate([5, 6, place], params) for place in range(8)))
    first = await engine.take_report()
    await engine.sleep()
    await engine.wake_up(["weights"])
    await engine.wake_up(["kv_cache"])
    second = await engine.take_report()
    engine.llm.shutdown()
    return [first, second]

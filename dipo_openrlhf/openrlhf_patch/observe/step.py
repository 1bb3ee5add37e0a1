"""A step's figures from what trainer, ranks and engines measured. Pure functions but for StepMeter, which asks them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from dipo_openrlhf.openrlhf_patch.observe.clock import PhaseClock
from dipo_openrlhf.openrlhf_patch.observe.engine_meter import EngineReport
from dipo_openrlhf.openrlhf_patch.observe.rank_meter import RankReport

logger = logging.getLogger(__name__)

PHASES = (
    "generate", "reward", "forward", "advantages", "update", "sync", "sleep_wake", "save", "evaluate", "wait", "other",
)  # fmt: skip
ASK_SECONDS = 120.0  # for the reports of a step


@dataclass(frozen=True)
class Gpus:
    """rank and engine: GPUs that each of them takes. shared: whether engines and ranks take turns on the same ones."""

    shared: bool
    per_engine: int = 1
    ranks_per_copy: int = 1  # ranks that train the same samples (ring attention, tensor parallel)

    def total(self, ranks: int, engines: int) -> int:
        return ranks + (0 if self.shared else engines * self.per_engine)


def step_metrics(
    wall: float,
    seconds: Mapping[str, float],
    ranks: Sequence[RankReport],
    engines: Sequence[EngineReport],
    gpus: Gpus,
) -> dict[str, float]:
    """What a step logs. wall: seconds since the step before was logged; `seconds` of these by the trainer's phase."""
    found = {"timing/wall": wall}
    split = phases(wall, seconds, ranks, engines)
    found |= {f"timing/phases/{name}": value for name, value in split.items()}
    found |= _throughput(wall, ranks, engines, gpus)
    if ranks and engines:
        found["gpu/idle_share"] = idle_share(wall, ranks, engines, gpus)
    found |= _queues(wall, engines)
    for name, reports in (("peak", [r.peak_gib for r in ranks]), ("device", [r.device_gib for r in ranks])):
        for phase in sorted({phase for report in reports for phase in report}):
            found[f"memory/{phase}_{name}_gib"] = max(report.get(phase, 0.0) for report in reports)
    return found


def phases(
    wall: float,
    seconds: Mapping[str, float],
    ranks: Sequence[RankReport],
    engines: Sequence[EngineReport],
) -> dict[str, float]:
    """Seconds of the trainer's wall time by PHASES; they add up to `wall`.

    Sleeping and waking belong to what surrounds them, and of the time for sampling the rest in which only rewards are
    computed to the engine that is the last: they are moved into phases of their own.
    """
    split = {name: seconds.get(name, 0.0) for name in PHASES}

    def move(source: str, target: str, amount: float) -> None:
        amount = min(amount, split[source])
        split[source] -= amount
        split[target] += amount

    def slowest(reports: Sequence[Any], *names: str) -> float:
        return max((sum(report.seconds.get(name, 0.0) for name in names) for report in reports), default=0.0)

    move("generate", "sleep_wake", slowest(engines, "wake_cache", "sleep"))
    move("sync", "sleep_wake", slowest(engines, "wake_weights"))
    move("update", "sleep_wake", slowest(ranks, "reload", "offload"))
    if engines:
        last = max(engines, key=lambda engine: engine.groups)
        move("generate", "reward", max(0.0, last.groups - last.requests))
    split["other"] += max(0.0, wall - sum(split.values()))
    return split


def idle_share(
    wall: float, ranks: Sequence[RankReport], engines: Sequence[EngineReport], gpus: Gpus
) -> float:
    """Of all GPU-seconds of the step, those in which neither a rank nor an engine of the GPU works.

    A rank works while it computes, loads, sends or saves, an engine while it has a request, sleeps, wakes or receives.
    While both work on one GPU, in a sync, it counts once.
    """
    busy = sum(sum(rank.seconds.values()) for rank in ranks)
    for engine in engines:
        other = {name: t for name, t in engine.seconds.items() if not (gpus.shared and name == "receive")}
        busy += gpus.per_engine * (engine.requests + sum(other.values()))
    total = wall * gpus.total(len(ranks), len(engines))
    return min(1.0, max(0.0, 1.0 - busy / total)) if total > 0 else 0.0


def _throughput(
    wall: float, ranks: Sequence[RankReport], engines: Sequence[EngineReport], gpus: Gpus
) -> dict[str, float]:
    generated = sum(engine.tokens for engine in engines)
    trained = sum(rank.tokens for rank in ranks) / gpus.ranks_per_copy
    sampling = [engine.requests for engine in engines]
    update = [rank.seconds.get("update", 0.0) for rank in ranks]
    everything = gpus.total(len(ranks), len(engines))
    rates = {
        "generated_per_second": (generated, max(sampling, default=0.0)),
        "generated_per_second_per_gpu": (generated, gpus.per_engine * sum(sampling)),
        "trained_per_second": (trained, max(update, default=0.0)),
        "trained_per_second_per_gpu": (trained, sum(update)),
        "trained_per_gpu_second_of_step": (trained, wall * everything),
    }
    found = {"throughput/generated_tokens": float(generated), "throughput/trained_tokens": float(trained)}
    found |= {f"throughput/{name}": tokens / time for name, (tokens, time) in rates.items() if time > 0}
    return found


def _queues(wall: float, engines: Sequence[EngineReport]) -> dict[str, float]:
    if not engines:
        return {}
    mean = 1 / len(engines)
    return {
        "engine/running_mean": mean * sum(engine.running[0] for engine in engines),
        "engine/running_max": max(engine.running[1] for engine in engines),
        "engine/waiting_mean": mean * sum(engine.waiting[0] for engine in engines),
        "engine/waiting_max": max(engine.waiting[1] for engine in engines),
        "engine/cache_max": max(engine.cache for engine in engines),
        "engine/preemptions": float(sum(engine.preemptions for engine in engines)),
        "engine/busy_share": mean * sum(engine.requests for engine in engines) / wall if wall > 0 else 0.0,
    }


class StepMeter:
    """The trainer's clock, and the reports of its ranks and engines once a step."""

    def __init__(self, actor_group: Any, engines: Sequence[Any], gpus: Gpus) -> None:
        self.actor_group, self.engines, self.gpus = actor_group, list(engines), gpus
        self.clock = PhaseClock()

    def metrics(self) -> dict[str, float]:
        """Of what has passed since the last call. Empty, with a warning, where an engine or rank does not answer."""
        refs = [
            self.actor_group.async_run_method(method_name="take_report"),
            [engine.take_report.remote() for engine in self.engines],
        ]
        try:
            ranks, engines = (ray.get(part, timeout=ASK_SECONDS) for part in refs)
        except ray.exceptions.GetTimeoutError:
            logger.warning(
                "no report of ranks and engines within %.0f s: the step's timing is not logged", ASK_SECONDS
            )
            return {}
        return step_metrics(*self.clock.take(), ranks, engines, self.gpus)

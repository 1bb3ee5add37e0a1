"""What one rollout engine does in a step: how long it works, how many tokens it makes, and how its requests queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dipo_openrlhf.openrlhf_patch.observe.clock import BusyTime


@dataclass(frozen=True)
class EngineReport:
    """Of one engine, since its last report. Seconds, tokens, requests.

    Attributes:
        requests: seconds with at least one request in vLLM.
        groups: seconds with at least one prompt's responses not complete; beyond `requests`, only rewards were computed.
        seconds: by phase: wake_weights, wake_cache, sleep, receive.
        tokens: generated.
        running, waiting: mean and maximum over the engine's iterations.
        cache: largest share of the key-value cache in use.
        preemptions: of requests, for want of cache; their tokens are computed again.
    """

    requests: float = 0.0
    groups: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    running: tuple[float, float] = (0.0, 0.0)
    waiting: tuple[float, float] = (0.0, 0.0)
    cache: float = 0.0
    preemptions: int = 0


class QueueStats:
    """Reads vLLM's own statistics of each engine iteration: a few additions each.

    The interface is that of vllm/v1/metrics/loggers.py, StatLoggerBase.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.iterations = self.running = self.waiting = 0
        self.running_max = self.waiting_max = self.preemptions = 0
        self.cache = 0.0

    def record(self, scheduler_stats: Any, iteration_stats: Any, **unused: Any) -> None:
        if scheduler_stats is not None:
            running, waiting = scheduler_stats.num_running_reqs, scheduler_stats.num_waiting_reqs
            self.iterations += 1
            self.running += running
            self.waiting += waiting
            self.running_max = max(self.running_max, running)
            self.waiting_max = max(self.waiting_max, waiting)
            self.cache = max(self.cache, scheduler_stats.kv_cache_usage)
        if iteration_stats is not None:
            self.preemptions += iteration_stats.num_preempted_reqs

    def log_engine_initialized(self) -> None:
        """Nothing to log."""

    def log(self) -> None:
        """Nothing to log."""

    def record_sleep_state(self, *unused: Any) -> None:
        """The meter counts it."""


class EngineMeter:
    """Counts for one engine. `requests`, `groups` and `phase(name)` are to be held while one is in progress."""

    def __init__(self, llm: Any = None) -> None:
        """llm: vLLM's AsyncLLM, whose statistics are read; None, or one without statistics: queues are not seen."""
        self.requests, self.groups = BusyTime(), BusyTime()
        self._phases: dict[str, BusyTime] = {}
        self.tokens = 0
        self.queue = QueueStats()
        manager = getattr(llm, "logger_manager", None)
        if manager is not None:
            manager.stat_loggers.append(self.queue)

    def phase(self, name: str) -> BusyTime:
        return self._phases.setdefault(name, BusyTime())

    def take(self) -> EngineReport:
        """Since the last call; begins again."""
        queue, tokens = self.queue, self.tokens
        count = max(1, queue.iterations)
        report = EngineReport(
            requests=self.requests.take(),
            groups=self.groups.take(),
            seconds={name: busy.take() for name, busy in self._phases.items()},
            tokens=tokens,
            running=(queue.running / count, float(queue.running_max)),
            waiting=(queue.waiting / count, float(queue.waiting_max)),
            cache=queue.cache,
            preemptions=queue.preemptions,
        )
        self.tokens = 0
        queue.clear()
        return report

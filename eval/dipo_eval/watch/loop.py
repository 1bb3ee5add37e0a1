"""The watcher: find what is not evaluated, lease it, evaluate it in a child, report, mark the best, and again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.files import lease as leases
from dipo_eval.printable import visible
from dipo_eval.subject import marker
from dipo_eval.subject.checkpoints import find_checkpoints, weights_hash
from dipo_eval.subject.marker import Marked, saves_to_evaluate
from dipo_eval.watch.backlog import Attempts, Order, ordered, read_attempts, write_attempts
from dipo_eval.watch.best import BestRule, mark_best, score
from dipo_eval.watch.child import evaluate_in_child
from dipo_eval.watch.plan import Plan, Results, found_results
from dipo_eval.watch.report import checkpoint_line, figures
from dipo_eval.watch.tracking import Trackers, track

Log = Callable[[str], None]
_FILES_CHANGED = (
    "its weights are not those that COMPLETE.json names, or a grader changed while it was evaluated"
)


@dataclass(frozen=True)
class WatchOptions:
    """What to watch and how. Times are in seconds."""

    ckpt_path: Path
    plan: Plan
    best: BestRule
    start_model: str | None = None  # a folder or a hub name
    every: int = 1
    order: Order = "oldest"
    once: bool = False
    until_done: bool = False
    idle_timeout: float = 0.0  # end when nothing has happened for so long; 0: never
    poll: float = 2.0
    stale_after: float = leases.STALE_AFTER
    deadline: float = 7200.0  # without progress of one evaluation
    attempts: int = 2
    trackers: Trackers = field(default_factory=Trackers)


@dataclass
class Summary:
    """What a watcher did until it ended: names of checkpoints."""

    evaluated: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)


def watch(options: WatchOptions, log: Log) -> Summary:
    """Evaluate until there is nothing left (`once`), or the training has ended as well (`until_done`), or forever.

    An interruption (KeyboardInterrupt) ends the child and releases the lease before it is raised again. Raises OSError
    where results or leases cannot be written. `log` gets lines that are safe to show, whatever a
    model or a file has said.
    """
    log = _visible_lines(log)
    watcher = _Watcher(options, log)
    start = _starting_model(options.start_model, log)
    last_change = time.monotonic()
    while True:
        # Read before looking for checkpoints: one that was marked before the end is then seen.
        at_end = options.once or marker.how_it_ended(options.ckpt_path) is not None
        todo = watcher.todo(start, at_end)
        if any(watcher.attempt(candidate) for candidate in todo):
            last_change = time.monotonic()
            continue
        if not todo and (options.once or (options.until_done and at_end)):
            return watcher.summary
        if 0 < options.idle_timeout < time.monotonic() - last_change:
            log(f"nothing new for {options.idle_timeout:.0f} s: ending")
            return watcher.summary
        time.sleep(options.poll)


def _visible_lines(log: Log) -> Log:
    return lambda line: log(visible(line, 2000))


def _starting_model(name: str | None, log: Log) -> list[Marked]:
    """As step 0. Raises UserError for a folder that holds no model; a hub name that is not to be had costs a line."""
    if name is None:
        return []
    folder = Path(name).expanduser()
    if not folder.is_dir() and not folder.is_absolute():
        try:
            folder = find_checkpoints(name)[0].path
        except UserError as error:
            log(f"global_step0: the starting model is not evaluated: {error}")
            return []
    return [Marked(0, folder, {"weights_hash": weights_hash(folder)})]


class _Watcher:
    """What one watcher remembers; all of it can be found again on disk."""

    def __init__(self, options: WatchOptions, log: Log) -> None:
        self.options, self.plan, self.log = options, options.plan, log
        self.summary = Summary()
        self.observer = leases.LeaseObserver()
        self.finished: set[tuple[str, str]] = set()  # (name, weights hash)
        self.first: tuple[str, float] | None = None  # the checkpoint reported first, and its score
        self.busy: set[str] = set()  # reported as held by another

    def todo(self, start: list[Marked], at_end: bool) -> list[Marked]:
        """Unfinished checkpoints in the order in which to try them."""
        options = self.options
        found = marker.complete_checkpoints(options.ckpt_path)
        found = start + saves_to_evaluate(found, every=options.every, last_too=at_end)
        todo = [one for one in found if (one.name, one.weights_hash) not in self.finished]
        return ordered(todo, options.order, [read_attempts(self.plan, one).attempts for one in todo])

    def attempt(self, candidate: Marked) -> bool:
        """Lease and process one checkpoint. False where another holds it, or it is gone."""
        if read_attempts(self.plan, candidate).done and (results := found_results(self.plan, candidate)):
            self._finish(candidate, results)  # of an earlier watcher; that takes no lease
            return True
        base = self._lease_base(candidate)
        try:
            lease = leases.acquire(base, self.observer, self.options.stale_after)
        except FileNotFoundError:  # pruned
            return False
        if lease is None:
            self._report_busy(candidate, leases.tail(base))
            return False
        self.busy.discard(candidate.name)
        try:
            # Pruning takes the lease first and then removes the marker.
            if candidate.step == 0 or (candidate.hf_path / marker.MARKER).exists():
                self._process(candidate, lease)
                return True
            return False
        finally:
            lease.release()

    def _lease_base(self, candidate: Marked) -> Path:
        """In the checkpoint's folder; for the starting model, whose folder may be read-only, in the run's."""
        if candidate.step == 0:
            return self.options.ckpt_path / f"start.{marker.LEASE}"
        return candidate.hf_path / marker.LEASE

    def _report_busy(self, candidate: Marked, last: leases.Tail) -> None:
        if not last.released and candidate.name not in self.busy:
            self.busy.add(candidate.name)
            self.log(f"{candidate.name}: being evaluated by {last.holder}")

    def _process(self, candidate: Marked, lease: leases.Lease) -> None:
        """Under the lease: what is missing of evaluation, logging and marks. Every step may be repeated."""
        name, attempts = candidate.name, read_attempts(self.plan, candidate)
        results = found_results(self.plan, candidate)
        if results is None and attempts.attempts < self.options.attempts:
            lost = threading.Event()
            with leases.heartbeat(lease, self.options.stale_after, lost.set):
                problem = evaluate_in_child(self.plan, candidate, self.options.deadline, lost)
            if lost.is_set():
                self.log(f"{name}: left to another watcher, which took this one for dead")
                return
            results = found_results(self.plan, candidate)
            if results is None:
                self._failed(candidate, attempts, problem or _FILES_CHANGED)
                return
        if results is None:
            self._give_up(candidate, attempts)
            return
        if not attempts.done:
            if problem := track(self.options.trackers, candidate.step, figures(results)):
                self.log(f"{name}: could not be logged ({problem}); its results are stored all the same")
            write_attempts(self.plan, candidate, replace(attempts, done=True))
        self._finish(candidate, results)

    def _failed(self, candidate: Marked, attempts: Attempts, problem: str) -> None:
        name = candidate.name
        if not self._lease_base(candidate).parent.is_dir():
            self.log(f"{name}: was deleted while it was being evaluated")
            return
        attempts = attempts.failed(problem)
        write_attempts(self.plan, candidate, attempts)
        self.log(f"{name}: attempt {attempts.attempts} of {self.options.attempts} failed: {problem}")
        if attempts.attempts >= self.options.attempts:
            self._give_up(candidate, attempts)

    def _give_up(self, candidate: Marked, attempts: Attempts) -> None:
        name = candidate.name
        last = attempts.errors[-1] if attempts.errors else "no attempt allowed"
        self.log(
            f"{name}: given up after {attempts.attempts} attempts ({last}); to try again delete "
            f"{self.plan.folder(candidate)}/watch.json"
        )
        _mark_evaluated(candidate, {"outcome": "given up", "error": last})
        self.summary.given_up.append(name)
        self.finished.add((name, candidate.weights_hash))

    def _finish(self, candidate: Marked, results: Results) -> None:
        name, rule = candidate.name, self.options.best
        best = mark_best(self.options.ckpt_path, self.plan, rule)
        _mark_evaluated(candidate, {"outcome": "evaluated", "suites": self.plan.suites})
        value = score(results, rule)
        self.log(checkpoint_line(name, results, value, self.first, best))
        if value is not None and self.first is None:
            self.first = (name, value["value"])
        self.summary.evaluated.append(name)
        self.finished.add((name, candidate.weights_hash))


def _mark_evaluated(candidate: Marked, content: dict[str, object]) -> None:
    if candidate.step == 0:
        return
    with contextlib.suppress(OSError):  # pruned meanwhile: nobody waits for it
        if marker.read_json(candidate.hf_path / marker.EVALUATED) != content:
            marker.write_json(candidate.hf_path / marker.EVALUATED, content)

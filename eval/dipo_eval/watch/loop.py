"""The watcher: find what is not evaluated, lease it, evaluate it in a child, report, mark the best, and again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dipo_eval.files import lease as leases
from dipo_eval.subject.checkpoints import weights_hash
from dipo_eval.watch.backlog import Order, chosen, ordered
from dipo_eval.watch.best import BestRule, mark_best, score
from dipo_eval.watch.child import evaluate_in_child
from dipo_eval.watch.marker import (
    EVALUATED,
    LEASE,
    MARKER,
    Marked,
    how_it_ended,
    read_json,
    whole_checkpoints,
    write_json,
)
from dipo_eval.watch.plan import Plan, found_results
from dipo_eval.watch.record import Record, read_record, write_record
from dipo_eval.watch.report import Results, checkpoint_line
from dipo_eval.watch.tracking import Trackers, figures, track

Say = Callable[[str], None]
_NOT_ITS_OWN = (
    "its weights are not those that COMPLETE.json names, or a grader changed while it was evaluated"
)
START = "global_step0"  # the starting model's name in the results


@dataclass(frozen=True)
class WatchOptions:
    """What to watch and how. Times are in seconds."""

    ckpt_path: Path
    plan: Plan
    best: BestRule
    start_model: Path | None = None
    every: int = 1
    order: Order = "oldest"
    once: bool = False
    until_done: bool = False
    idle_timeout: float = 0.0  # end when nothing has happened for so long; 0: never
    poll: float = 2.0
    stale_after: float = leases.STALE_AFTER
    deadline: float = 7200.0  # for one checkpoint
    attempts: int = 2
    trackers: Trackers = field(default_factory=Trackers)


@dataclass
class Summary:
    """What a watcher did until it ended: names of checkpoints."""

    evaluated: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)


@dataclass
class _State:
    """What one watcher remembers; all of it can be found again on disk."""

    summary: Summary = field(default_factory=Summary)
    observer: leases.LeaseObserver = field(default_factory=leases.LeaseObserver)
    finished: set[tuple[str, str]] = field(default_factory=set)  # (name, weights hash)
    first: tuple[str, float] | None = None  # the checkpoint reported first, and its score
    busy: set[str] = field(default_factory=set)  # said to be held by another


def watch(options: WatchOptions, say: Say) -> Summary:
    """Evaluate until there is nothing left (`once`), or the training has ended as well (`until_done`), or for ever.

    An interruption (KeyboardInterrupt) ends the child and releases the lease before it goes on. Raises OSError
    where results or leases cannot be written.
    """
    state = _State()
    start = _start_model(options)
    last_change = time.monotonic()
    while True:
        # Asked before looking: a checkpoint that was marked before the end is then seen.
        at_end = options.once or how_it_ended(options.ckpt_path) is not None
        todo = _todo(options, state, start, at_end)
        if any(_try(candidate, options, state, say) for candidate in todo):
            last_change = time.monotonic()
            continue
        if not todo and (options.once or (options.until_done and at_end)):
            return state.summary
        if 0 < options.idle_timeout < time.monotonic() - last_change:
            say(f"nothing new for {options.idle_timeout:.0f} s: ending")
            return state.summary
        time.sleep(options.poll)


def _start_model(options: WatchOptions) -> list[Marked]:
    if options.start_model is None:
        return []
    return [Marked(0, options.start_model, {"weights_hash": weights_hash(options.start_model)})]


def _results(candidate: Marked, options: WatchOptions) -> Results | None:
    return found_results(options.plan, _name(candidate), candidate.weights_hash, candidate.hf_path)


def _name(candidate: Marked) -> str:
    return START if candidate.step == 0 else candidate.name


def _todo(options: WatchOptions, state: _State, start: list[Marked], at_end: bool) -> list[Marked]:
    """Unfinished candidates in the order in which to try them."""
    found = start + chosen(whole_checkpoints(options.ckpt_path), every=options.every, last_too=at_end)
    todo, attempts = [], []
    for candidate in found:
        if (_name(candidate), candidate.weights_hash) in state.finished:
            continue
        todo.append(candidate)
        attempts.append(read_record(options.plan, _name(candidate), candidate.weights_hash).attempts)
    return ordered(todo, options.order, attempts)


def _try(candidate: Marked, options: WatchOptions, state: _State, say: Say) -> bool:
    """Lease and process one candidate. False where another holds it, or it is gone."""
    if _is_settled(candidate, options, state, say):
        return True
    base = _lease_base(candidate, options)
    try:
        lease = leases.acquire(base, state.observer, options.stale_after)
    except FileNotFoundError:  # pruned
        return False
    if lease is None:
        _say_busy(candidate, leases.tail(base), state, say)
        return False
    state.busy.discard(_name(candidate))
    try:
        # Marked still? Whoever prunes takes the lease first and then the marker away.
        if candidate.step == 0 or (candidate.hf_path / MARKER).exists():
            _process(candidate, lease, options, state, say)
            return True
        return False
    finally:
        lease.release()


def _is_settled(candidate: Marked, options: WatchOptions, state: _State, say: Say) -> bool:
    """Report what an earlier watcher has finished; that takes no lease."""
    record = read_record(options.plan, _name(candidate), candidate.weights_hash)
    results = _results(candidate, options) if record.done else None
    if results is None:
        return False
    _finish(candidate, results, options, state, say)
    return True


def _lease_base(candidate: Marked, options: WatchOptions) -> Path:
    """In the checkpoint's folder; the starting model's, which may not be ours to write to, is in the run's."""
    return options.ckpt_path / f"start.{LEASE}" if candidate.step == 0 else candidate.hf_path / LEASE


def _say_busy(candidate: Marked, last: leases.Tail, state: _State, say: Say) -> None:
    if not last.released and _name(candidate) not in state.busy:
        state.busy.add(_name(candidate))
        say(f"{_name(candidate)}: being evaluated by {last.holder}")


def _process(candidate: Marked, lease: leases.Lease, options: WatchOptions, state: _State, say: Say) -> None:
    """Under the lease: what is missing of evaluation, logging and marks. Every step may be repeated."""
    name, digest = _name(candidate), candidate.weights_hash
    record = read_record(options.plan, name, digest)
    results = _results(candidate, options)
    if results is None and record.attempts < options.attempts:
        problem, lost = _evaluate(candidate, lease, options)
        if lost:
            say(f"{name}: left to another watcher, which took this one for dead")
            return
        results = _results(candidate, options)
        if results is None and problem is None:
            problem = _NOT_ITS_OWN
        if results is None and problem is not None:
            _failed(candidate, record, problem, options, state, say)
            return
    if results is None:
        _give_up(candidate, record, options, state, say)
        return
    if not record.done:
        row_problem = track(options.trackers, candidate.step, figures(results))
        if row_problem:
            say(f"{name}: could not be logged ({row_problem}); its results are stored all the same")
        write_record(options.plan, name, Record(record.identity, record.attempts, record.errors, done=True))
    _finish(candidate, results, options, state, say)


def _evaluate(candidate: Marked, lease: leases.Lease, options: WatchOptions) -> tuple[str | None, bool]:
    """(why there is no result or None, whether the lease was lost meanwhile)."""
    plan, name = options.plan, _name(candidate)
    log = plan.results_dir / plan.run / name / "watch.log"
    interval = options.stale_after / leases.BEATS
    lost = threading.Event()
    with leases.Heartbeat(lease, interval, lost.set):
        problem = evaluate_in_child(
            plan, candidate.hf_path, name, candidate.step, log, options.deadline, lost
        )
    return problem, lost.is_set()


def _failed(
    candidate: Marked, record: Record, problem: str, options: WatchOptions, state: _State, say: Say
) -> None:
    name = _name(candidate)
    if not _lease_base(candidate, options).parent.is_dir():
        say(f"{name}: was deleted while it was being evaluated")
        return
    record = record.failed(problem)
    write_record(options.plan, name, record)
    say(f"{name}: attempt {record.attempts} of {options.attempts} failed: {problem}")
    if record.attempts >= options.attempts:
        _give_up(candidate, record, options, state, say)


def _give_up(candidate: Marked, record: Record, options: WatchOptions, state: _State, say: Say) -> None:
    name = _name(candidate)
    folder = options.plan.results_dir / options.plan.run / name
    last = record.errors[-1] if record.errors else "no attempt allowed"
    say(
        f"{name}: given up after {record.attempts} attempts ({last}); to try again delete {folder}/watch.json"
    )
    _mark_evaluated(candidate, {"outcome": "given up", "error": last})
    state.summary.given_up.append(name)
    state.finished.add((name, candidate.weights_hash))


def _finish(candidate: Marked, results: Results, options: WatchOptions, state: _State, say: Say) -> None:
    name = _name(candidate)
    best = mark_best(options.ckpt_path, options.plan, options.best)
    _mark_evaluated(candidate, {"outcome": "evaluated", "suites": options.plan.suites})
    value = score(results, options.best)
    say(checkpoint_line(name, results, value, state.first, best))
    if value is not None and state.first is None:
        state.first = (name, value["value"])
    state.summary.evaluated.append(name)
    state.finished.add((name, candidate.weights_hash))


def _mark_evaluated(candidate: Marked, content: dict[str, object]) -> None:
    if candidate.step == 0:
        return
    with contextlib.suppress(OSError):  # pruned meanwhile: nobody waits for it
        if read_json(candidate.hf_path / EVALUATED) != content:
            write_json(candidate.hf_path / EVALUATED, content)

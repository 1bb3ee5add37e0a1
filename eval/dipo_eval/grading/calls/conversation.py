"""A whole conversation as it is stored, its verdict, and one step of it while it is being held.

What runs on a model's text, reading its calls and carrying them out, runs in the grading pool's worker processes,
which are killed at their time limit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dipo_eval.grading.calls.grade import Mode
from dipo_eval.grading.calls.multi_turn import LIMIT_S, grade_turns
from dipo_eval.grading.verdict import Verdict
from dipo_eval.grading.workers.pool import GradingPool, shared_pool

MAX_RESULTS = 1_000_000
"""Characters of one step's results. No context holds as many."""
OUT_OF_STEPS = "too many steps in a turn"
FAILED = "calls not carried out: "


@dataclass(frozen=True)
class Step:
    """What one message of the model came to.

    ``calls``: its calls as text, [] where it has none and talks to the user. ``results``: their results as text.
    ``native``: the calls as ``{"name": ..., "arguments": {...}}``, None where they are no data. ``failure``: why
    the conversation cannot go on, else empty. ``seconds``: what it took, without waiting for a worker process.
    """

    calls: list[str]
    results: list[str]
    native: list[dict[str, Any]] | None = None
    failure: str = ""
    seconds: float = 0.0


def take_step(
    text: str,
    done: Sequence[Sequence[str]],
    case: Mapping[str, Any],
    *,
    limit_s: float = LIMIT_S,
    pool: GradingPool | None = None,
) -> Step:
    """Read the calls of one message and carry them out, after those of all steps before (``done``).

    Stateless: fresh environments, on which ``done`` is replayed first. Never raises because of ``text``.
    """
    task = {
        "kind": "step", "text": text, "done": [list(calls) for calls in done], "limit_s": limit_s,
        "case": {field: case[field] for field in ("id", "initial_config", "involved_classes")},
    }  # fmt: skip
    message = (pool or shared_pool()).ask(task, limit_s)
    if "calls" not in message:
        return Step([], [], failure=f"{FAILED}{message.get('reason')}")
    return Step(message["calls"], message["results"], message["native"], seconds=message["seconds"])


def answer_step(task: dict[str, Any]) -> dict[str, Any]:
    """The worker's side of ``take_step``."""
    from dipo_eval.grading.calls.messages import native_calls, step_calls
    from dipo_eval.grading.calls.replay import carry_out

    started = time.monotonic()
    calls = step_calls(task["text"], official=False)
    results = carry_out(task["case"], task["done"], calls) if calls else []
    if sum(map(len, results)) > MAX_RESULTS:
        return {"reason": "results longer than any context"}
    native = native_calls(task["text"]) if calls else None
    return {
        "calls": calls,
        "results": results,
        "native": native if native and len(native) == len(calls) else None,
        "seconds": time.monotonic() - started,
    }


def stored(turns: Sequence[Sequence[str]], ended: str | None) -> str:
    """The response of a conversation: the model's messages by turn, and why it ended early (None: it did not)."""
    return json.dumps({"turns": [list(turn) for turn in turns], "ended": ended}, ensure_ascii=False)


def grade_conversation(
    response: str,
    gold: list[list[str]],
    case: Mapping[str, Any],
    *,
    mode: Mode = "strict",
    native: bool = False,
) -> Verdict:
    """The verdict on a ``stored`` conversation. Arguments as in ``grade_turns``; never raises on a response.

    One that ended early is wrong, as in bfcl-eval (eval_runner.py, _evaluate_single_multi_turn_entry); undecided
    where its calls could not be carried out. One that ran out of steps in its last turn is graded, as there.
    """
    turns, ended = _read(response)
    if turns is None:
        return Verdict("wrong", "no conversation")
    if ended and ended.startswith(FAILED):
        return Verdict("undecided", ended[:200])
    if ended and (ended != OUT_OF_STEPS or len(turns) != len(gold)):
        return Verdict("wrong", ended[:200])
    return grade_turns(turns, gold, case, mode=mode, native=native)


def _read(response: str) -> tuple[list[list[str]] | None, str | None]:
    try:
        found = json.loads(response)
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(found, dict):
        return None, None
    turns, ended = found.get("turns"), found.get("ended")
    if not isinstance(turns, list) or not isinstance(ended, str | None):
        return None, None
    if not all(isinstance(turn, list) and all(isinstance(one, str) for one in turn) for turn in turns):
        return None, None
    return turns, ended

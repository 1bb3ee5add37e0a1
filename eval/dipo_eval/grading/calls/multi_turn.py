"""Conversations of BFCL's multi-turn categories: take one step of one, and grade one by replaying its calls.

Calls are read and carried out in worker processes, which are killed at their time limit (``messages``, ``replay``).

``compatible`` is the verdict of bfcl-eval 2026.3.23's multi_turn_checker; the rules by which ``strict`` differs are the
last rows of the table in docs/evaluation.md, "Function calls".
Both modes use fresh instances for each case (bfcl-eval keeps them, so that a second run in one process fails), and
neither evaluates text: comprehensions, attributes and Python's functions inside a call make that call fail.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading.calls.bfcl import ENVIRONMENTS, is_installed
from dipo_eval.grading.calls.grade import Mode
from dipo_eval.grading.pool import GradingPool, shared_pool
from dipo_eval.grading.verdict import Verdict

LIMIT_S = 10.0
"""Seconds for one conversation; the slowest gold takes 0.05."""
MAX_CHARS = 2_000_000
OUT_OF_STEPS = "too many steps in a turn"
FAILED = "calls not carried out: "
_FIELDS = ("id", "initial_config", "involved_classes")


def grade_turns(
    turns: Sequence[Sequence[str | Sequence[str]]],
    gold: list[list[str]],
    case: Mapping[str, Any],
    *,
    mode: Mode = "strict",
    native: bool = False,
    limit_s: float = LIMIT_S,
    pool: GradingPool | None = None,
) -> Verdict:
    """Grade the turns of one conversation.

    ``turns``: for each turn the model's messages, each as its text or as a list of calls in text,
    ``["cd(folder='document')"]``. ``gold``: for each turn its calls. ``case``: the item of BFCL's data file
    with id, initial_config and involved_classes. ``native``: the model had native tool calls, which compatible mode
    does not read otherwise. Correct where after each turn the environments have the gold's states and the gold's
    results are among the results so far. Runs in a worker process that is killed after ``limit_s`` (``undecided``).
    Never raises because of ``turns``; UserError for a bad case or mode.
    """
    if mode not in ("strict", "compatible"):
        raise UserError(f"mode {mode!r}: must be strict or compatible")
    _check_case(case)
    if len(turns) != len(gold):
        return Verdict("wrong", f"{len(turns)} turns instead of {len(gold)}")
    messages = [[one if isinstance(one, str) else list(map(str, one)) for one in turn] for turn in turns]
    # A message's own characters, or those of its calls.
    if sum(len("".join(message)) for turn in messages for message in turn) > MAX_CHARS:
        return Verdict("wrong", "longer than any conversation")
    task = {
        "kind": "replay", "turns": messages, "gold": gold, "official": mode == "compatible",
        "native": native,
        "case": {field: case[field] for field in _FIELDS},
    }  # fmt: skip
    message = (pool or shared_pool()).ask(task, limit_s)
    if "replayed" not in message:
        return Verdict("undecided", str(message.get("reason")), None)
    calls = [call for turn in message["calls"] for call in turn]
    reason = message["replayed"]
    shown = "; ".join(calls)[:300] if calls else None
    return Verdict("wrong", reason, shown) if reason else Verdict("correct", "same states and results", shown)


def check_turn_gold(gold: object, case: Mapping[str, Any]) -> None:
    """Raise UserError where a conversation cannot be graded: call it on every item before a run starts."""
    _check_case(case)
    if not isinstance(gold, list) or not all(
        isinstance(turn, list) and all(isinstance(call, str) for call in turn) for turn in gold
    ):
        raise UserError(f"gold turns: {short_repr(gold)} is no list of turns, each a list of calls as text")
    if "question" in case and len(gold) != len(case["question"]):
        raise UserError(f"{case['id']}: gold for {len(gold)} turns, but {len(case['question'])} user turns")


def _check_case(case: Mapping[str, Any]) -> None:
    missing = [field for field in _FIELDS if field not in case]
    if missing:
        raise UserError(f"multi-turn case: no {', '.join(missing)}; give the item of BFCL's data file")
    for name in case["involved_classes"]:
        if name not in ENVIRONMENTS:
            raise UserError(f"multi-turn case {case['id']}: environment {name!r} is none of BFCL's")
    if not is_installed():
        raise UserError("multi-turn grading needs bfcl-eval's environments: run `make setup`")


@dataclass(frozen=True)
class Step:
    """The calls in one message of the model, and their results.

    ``calls``: as text, [] where the message talks to the user. ``native``: ``{"name": ..., "arguments": {...}}`` each,
    None where they are no JSON data. ``failure``: why the conversation cannot go on, else empty. ``seconds``: without
    waiting for a worker process.
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
    """Read the calls of one message and carry them out, on fresh environments after those of all earlier steps, ``done``.

    Never raises because of ``text``.
    """
    task = {
        "kind": "step", "text": text, "done": [list(calls) for calls in done],
        "case": {field: case[field] for field in _FIELDS},
    }  # fmt: skip
    message = (pool or shared_pool()).ask(task, limit_s)
    if "calls" not in message:
        return Step([], [], failure=f"{FAILED}{message.get('reason')}")
    return Step(message["calls"], message["results"], message["native"], seconds=message["seconds"])


def stored(turns: Sequence[Sequence[str]], ended: str | None) -> str:
    """A conversation as a response in JSON: the model's messages by turn, and why it ended early, or None."""
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

    Wrong if it ended early, unless it ran out of steps in its last turn, as in
    bfcl_eval/eval_checker/eval_runner.py, _evaluate_single_multi_turn_entry; undecided where its calls could not be
    carried out.
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
    turns, ended = (found.get("turns"), found.get("ended")) if isinstance(found, dict) else (None, None)
    if not isinstance(turns, list) or not isinstance(ended, str | None):
        return None, None
    is_sound = all(isinstance(turn, list) and all(isinstance(one, str) for one in turn) for turn in turns)
    return (turns, ended) if is_sound else (None, None)

"""Grade a conversation of BFCL's multi-turn categories by replaying its calls on fresh environments.

``compatible`` is the verdict of bfcl-eval 2026.3.23's multi_turn_checker. ``strict`` differs by these rules:

==========================  =================================================================================
rule                        what it repairs
==========================  =================================================================================
state after every turn      bfcl-eval does not compare states after a turn where nothing should be called
texts are not rewritten     it writes a variable's name into a text argument that mentions a method, "sort()"
messages are read whole     when it writes a message's calls again, positional arguments and some dicts are
                            lost, and bare names become texts
native calls                ``<tool_call>`` blocks and JSON are read, and reasoning is taken off
==========================  =================================================================================

Both modes use fresh instances for each case (bfcl-eval keeps them by model and case, so that a second run in
one process fails), and neither evaluates text: comprehensions, attributes and functions of Python inside a
call make that call fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.calls.bfcl import ENVIRONMENTS, is_installed
from dipo_eval.grading.calls.grade import Mode
from dipo_eval.grading.verdict import Verdict
from dipo_eval.grading.workers.pool import GradingPool, shared_pool

LIMIT_S = 10.0
"""Seconds for one conversation; the longest gold takes 0.05."""
MAX_CHARS = 2_000_000
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
    does not read otherwise. Correct where after each turn the environments have the
    gold's states and the gold's results are among the results so far. Runs in a worker process that is killed
    after ``limit_s`` (``undecided``). Never raises because of ``turns``; UserError for a bad case or mode.
    """
    if mode not in ("strict", "compatible"):
        raise UserError(f"mode {mode!r}: must be strict or compatible")
    _check_case(case)
    if len(turns) != len(gold):
        return Verdict("wrong", f"{len(turns)} turns instead of {len(gold)}")
    messages = [[_as_message(message) for message in turn] for turn in turns]
    if sum(len(text) for turn in messages for message in turn for text in _texts(message)) > MAX_CHARS:
        return Verdict("wrong", "longer than any conversation")
    task = {
        "kind": "replay", "turns": messages, "gold": gold, "official": mode == "compatible",
        "native": native,
        "case": {field: case[field] for field in _FIELDS}, "limit_s": limit_s,
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
        raise UserError(f"gold turns: {gold!r:.80} is no list of turns, each a list of calls as text")
    if "question" in case and len(gold) != len(case["question"]):
        raise UserError(f"{case['id']}: gold for {len(gold)} turns, but {len(case['question'])} are asked")


def _as_message(message: str | Sequence[str]) -> str | list[str]:
    return message if isinstance(message, str) else [str(call) for call in message]


def _texts(message: str | list[str]) -> list[str]:
    return [message] if isinstance(message, str) else message


def _check_case(case: Mapping[str, Any]) -> None:
    missing = [field for field in _FIELDS if field not in case]
    if missing:
        raise UserError(f"multi-turn case: no {', '.join(missing)}; give the item of BFCL's data file")
    for name in case["involved_classes"]:
        if name not in ENVIRONMENTS:
            raise UserError(f"multi-turn case {case['id']}: environment {name!r} is none of BFCL's")
    if not is_installed():
        raise UserError("multi-turn grading needs bfcl-eval's environments: run `make setup`")


def answer_task(task: dict[str, Any]) -> dict[str, Any]:
    """The worker's side of ``grade_turns``."""
    from dipo_eval.grading.calls.messages import step_calls
    from dipo_eval.grading.calls.replay import replay

    official = task["official"]
    read_officially = official and not task["native"]
    turns = []
    for turn in task["turns"]:
        steps = [step_calls(one, official=read_officially) if isinstance(one, str) else one for one in turn]
        turns.append(
            [step for step, one in zip(steps, turn, strict=True) if step or not isinstance(one, str)]
        )
    reason = replay(task["case"], task["gold"], turns, official=official)
    shown = [[call[:100] for step in turn for call in step][:3] for turn in turns]
    return {"replayed": reason, "calls": shown}

"""The process behind one worker of dipo_eval.grading.code: one JSON line in, one or two JSON lines out.

Started in evalplus's environment. It holds the problems and expected results, has solutions run by its zygote
in jails, and compares what they returned with evalplus's own runner, which applies each problem's oracle and
tolerance.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from dipo_eval.code_runner import values
from dipo_eval.code_runner.jail import Limits
from dipo_eval.code_runner.problems import Problems
from dipo_eval.code_runner.record import Part, Record, parse
from dipo_eval.code_runner.zygote import Job, Zygote

PARTS = ("base", "plus")
PROBE_S = 20.0
_EVALPLUS_TIMEOUT_S = 60.0
_MIN_TEST_S = 1.0
_REFERENCE_FACTOR = 4.0
_COMPARE_BYTES = 8 * 1024**3  # a comparison holds what is expected too, a gigabyte for Mbpp/255
_COMPARE_S = 5.0  # evalplus gives a comparison 4 times this


@dataclass(frozen=True)
class PartVerdict:
    """``status``: correct, wrong or undecided."""

    status: str
    reason: str


def main() -> None:
    """Serve until the input closes. argv[2]: JSON with cache, folder, memory_bytes and namespaces."""
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever a library prints must not reach the protocol
    settings = json.loads(sys.argv[2])
    os.environ.pop("EVALPLUS_TIMEOUT_PER_TASK", None)  # evalplus compares its text with a number
    os.environ["EVALPLUS_MAX_MEMORY_BYTES"] = str(_COMPARE_BYTES)
    import evalplus.eval  # noqa: F401  (before the zygote is forked: a jail starts with it loaded)

    multiprocessing.set_start_method("fork")
    zygote = Zygote(Limits(settings["memory_bytes"]), settings["folder"], namespaces=settings["namespaces"])
    judge = Judge(zygote, Problems(settings["cache"]), settings["memory_bytes"])

    def send(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    send(judge.ready())
    for line in sys.stdin:
        task = json.loads(line)
        try:
            judge.problems.get(task["dataset"], task["task_id"])
        except KeyError:
            send({"error": f"{task['task_id']} is not a problem of {task['dataset']}"})
            continue
        send({"started": True})
        send(judge.grade(**task))


class Judge:
    """Grades one solution after another."""

    def __init__(self, zygote: Zygote, problems: Problems, memory_bytes: int) -> None:
        self.zygote = zygote
        self.problems = problems
        self.memory_bytes = memory_bytes

    def ready(self) -> dict[str, Any]:
        """The limits that were found to hold, or why there is no jail."""
        outcome = self.zygote.run(Job(None, PROBE_S))
        if outcome.ended == "done" and outcome.output:
            limits = json.loads(outcome.output)
            if not limits.pop("python"):
                return {"ready": False, "reason": f"a user without rights cannot read {os.__file__}"}
            return {"ready": True, "limits": limits}
        return {"ready": False, "reason": outcome.detail or f"the trial ended with {outcome.ended}"}

    def grade(self, dataset: str, task_id: str, solution: str, limit_s: float) -> dict[str, Any]:
        """The verdicts on the base and the plus tests; the latter are not run where a base test fails."""
        started = time.monotonic()
        verdicts: dict[str, Any] = {}
        for name in PARTS:
            verdict = self._part(dataset, task_id, name, solution, limit_s - (time.monotonic() - started))
            verdicts[name] = vars(verdict)
            if verdict.status != "correct":
                verdicts["plus"] = vars(verdict)
                break
        return {**verdicts, "seconds": time.monotonic() - started}

    def _part(self, dataset: str, task_id: str, name: str, solution: str, left_s: float) -> PartVerdict:
        problem, expected, times = self.problems.part(dataset, task_id, name)
        inputs = problem[f"{name}_input"]
        limits = [max(_MIN_TEST_S, _REFERENCE_FACTOR * seconds) for seconds in times]
        own_s = min(_EVALPLUS_TIMEOUT_S, sum(limits)) + 2  # evalplus's rule for all tests together
        part = Part(solution, problem["entry_point"], inputs, limits, self.memory_bytes)
        outcome = self.zygote.run(Job(part, max(0.01, min(own_s, left_s))))
        if outcome.ended == "jail":
            return PartVerdict("undecided", f"no jail: {outcome.detail}")
        if outcome.ended == "time":
            return PartVerdict("undecided" if left_s < own_s else "wrong", "time limit")
        if outcome.ended == "size":
            return PartVerdict("wrong", f"{name}: results too large")
        record = parse(outcome.output)
        failed = first_failure(dataset, problem, inputs, expected, record)
        if failed is None:
            return PartVerdict("correct", f"all {len(inputs)} {name} tests")
        if failed < len(record.results):
            return PartVerdict("wrong", f"{name} test {failed + 1} of {len(inputs)}: wrong result")
        return PartVerdict("wrong", f"{name} test {failed + 1} of {len(inputs)}: {record.stopped}")


def first_failure(
    dataset: str, problem: dict[str, Any], inputs: list[Any], expected: list[Any], record: Record
) -> int | None:
    """The first test whose result evalplus's runner does not accept, or None.

    evalplus sets its tolerance to 1e-6 at the first float that it expects and keeps it for the tests after it;
    with the floats last, no other test is compared with it.
    """
    import evalplus.eval as runner

    order = sorted(range(len(inputs)), key=lambda index: runner.is_floats(expected[index]))
    results = iter([record.results[i] if i < len(record.results) else None for i in order])

    def execute(source: str, scope: dict[str, Any]) -> None:
        scope[problem["entry_point"]] = lambda *arguments: _replay(next(results))

    runner.exec = execute
    try:
        _, details = runner.untrusted_check(
            dataset, "", [inputs[i] for i in order], problem["entry_point"],
            expected=[expected[i] for i in order], atol=problem["atol"], ref_time=[_COMPARE_S] * len(inputs),
        )  # fmt: skip
    finally:
        del runner.exec
    passed = list(details) + [False] * (len(inputs) - len(details))
    return min((index for index, good in zip(order, passed, strict=True) if not good), default=None)


def _replay(result: bytes | None) -> Any:
    if result is None:
        raise ValueError("no result")
    return values.load(result)

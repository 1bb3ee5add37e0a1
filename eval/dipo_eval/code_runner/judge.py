"""The process behind one worker of dipo_eval.grading.code.grade, in evalplus's environment.

It holds the problems and expected results, has solutions run by its zygote in jails, and has what they returned compared
in other jails. It reads neither the solutions nor their results itself: of a comparison it takes one number and a few
letters.
"""

from __future__ import annotations

import atexit
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.code_runner import wire
from dipo_eval.code_runner.compare import compare, read
from dipo_eval.code_runner.jail import Limits, Outcome, Place, run_jailed
from dipo_eval.code_runner.problems import PARTS, Expected, Problems
from dipo_eval.code_runner.record import EARLY, Part, Tests
from dipo_eval.code_runner.walls import Answer, choose, ending
from dipo_eval.code_runner.zygote import Zygote

_EVALPLUS_TIMEOUT_S = 60.0
_MIN_TEST_S = 1.0
_REFERENCE_FACTOR = 4.0
_COMPARE_BYTES = 2 * 1024**3  # beside what this process has
_LARGE_BYTES = 8 * 1024**3  # for the few problems with results of hundreds of megabytes, as Mbpp/255
_LARGE_READ_S = 0.3
_COMPARE_CPU_S = 2.0
_COMPARE_FACTOR = 8.0  # times what reading the expected results took
_COMPARE_WALL_S = 60.0


PartVerdict = tuple[str, str]
"""correct, wrong or undecided, and the reason."""


def load(settings: dict[str, Any]) -> Answer:
    """The function that answers tasks. ``settings``: cache, folder, jail_bytes and walls. Raises NoWallsError."""
    memory, folder = settings["jail_bytes"], settings["folder"]
    choice = choose(settings["walls"], Limits(memory), folder)
    zygote = Zygote(memory, folder, choice.walls)
    atexit.register(zygote.close)
    import evalplus.eval  # noqa: F401  (a comparison starts with it loaded)

    place = Place(folder, choice.walls, keep=frozenset({zygote.pid}))
    judge = Judge(zygote, Problems(settings["cache"]), memory, place)

    def answer(task: dict[str, Any]) -> dict[str, Any]:
        """The limits that hold; a problem read and ready; or the verdict on a solution of it."""
        if "limits" in task:
            return {"limits": {**choice.limits, **zygote.limits}}
        try:
            judge.problems.get(task["dataset"], task["task_id"])
        except KeyError:
            return {"error": f"{task['task_id']} is not a problem of {task['dataset']}"}
        return judge.grade(**task) if "solution" in task else {}

    return ending(answer)


@dataclass(frozen=True)
class Judge:
    """Grades one solution after another."""

    zygote: Zygote
    problems: Problems
    memory_bytes: int
    place: Place

    def grade(self, dataset: str, task_id: str, solution: str, limit_s: float) -> dict[str, Any]:
        """The verdicts on the base and the plus tests; the latter are not run where a base test fails."""
        deadline = time.monotonic() + limit_s
        verdicts: dict[str, PartVerdict] = {}
        for name in PARTS:
            verdict = self._part(dataset, task_id, name, solution, deadline - time.monotonic())
            verdicts[name] = verdicts["plus"] = verdict
            if verdict[0] != "correct":
                break
        return verdicts

    def _part(self, dataset: str, task_id: str, name: str, solution: str, left_s: float) -> PartVerdict:
        problem, parts = self.problems.get(dataset, task_id)
        expected = parts[name]
        inputs = problem[f"{name}_input"]
        limits = [max(_MIN_TEST_S, _REFERENCE_FACTOR * seconds) for seconds in expected.seconds]
        own_s = min(_EVALPLUS_TIMEOUT_S, sum(limits)) + 2  # evalplus's rule for all tests together
        part = Part(solution, problem["entry_point"], wire.dump(inputs), limits, self.memory_bytes)
        outcome = self.zygote.run(part, max(0.01, min(own_s, left_s)))
        if outcome.ended == "jail":
            return "undecided", f"no jail: {outcome.detail}"
        if outcome.ended == "time":
            return "undecided" if left_s < own_s else "wrong", "time limit"
        if outcome.ended == "size":
            return "wrong", f"{name}: results too large"
        return self._compare(dataset, problem, name, expected, outcome)

    def _compare(
        self, dataset: str, problem: dict[str, Any], name: str, expected: Expected, outcome: Outcome
    ) -> PartVerdict:
        """The verdict of a second jail on what the first one wrote."""
        inputs = problem[f"{name}_input"]
        cpu_s = _COMPARE_CPU_S + _COMPARE_FACTOR * expected.read_s
        tests = Tests(
            dataset, problem["entry_point"], inputs, expected.results, [cpu_s] * len(inputs), problem["atol"]
        )
        memory = _LARGE_BYTES if expected.read_s > _LARGE_READ_S else _address_space() + _COMPARE_BYTES
        limits = Limits(memory, output_bytes=4096, cpu_s=int(cpu_s) + 1)

        def inmate(descriptor: int) -> None:
            compare(tests, outcome.output, descriptor, memory)

        compared = run_jailed(inmate, _COMPARE_WALL_S, limits, self.place)
        if compared.ended in ("jail", "time"):
            return "undecided", f"comparison: {compared.detail or 'time limit'}"
        found = read(compared.output, len(inputs)) if compared.ended == "done" else None
        if found is None:
            return "wrong", f"{name}: results that cannot be compared"
        if found.failed is not None:
            return "wrong", f"{name} test {found.failed + 1} of {len(inputs)}: {found.reason}"
        if outcome.ended != "done":
            return "wrong", f"{name} test {len(inputs)} of {len(inputs)}: {EARLY}"
        return "correct", f"all {len(inputs)} {name} tests"


def _address_space() -> int:
    """Bytes of this process, all of which a jail that is forked from it begins with."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")

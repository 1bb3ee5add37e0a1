"""The process that lets evalplus sanitize and check responses, each in a jail. Runs in evalplus's own environment.

Nothing here imports what that environment does not have. In the jail evalplus works as it is: its check runs a
solution in a child of its own and compares there, so a solution that fools it does so here, as in evalplus, but
gets nowhere else. Its shared counters are of another make, since multiprocessing's need a folder that no jail has.
"""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from dipo_eval.code_runner import seccomp
from dipo_eval.code_runner.jail import Limits, Place, run_jailed
from dipo_eval.code_runner.problems import PARTS, Expected, Problems, stand_in, stand_in_for_downloaders
from dipo_eval.code_runner.walls import Answer, choose, ending

_JAIL = Limits(memory_bytes=4 * 1024**3, forks=True)  # evalplus's own limit for a solution, and its one fork
_STATUSES = frozenset({"pass", "fail", "timeout"})
_KS = (1, 10, 100)  # evalplus.evaluate's


def load(settings: dict[str, Any]) -> Answer:
    """The statuses of a response to a problem; pass@k of counts. Raises NoWallsError."""
    stand_in_for_downloaders()
    stand_in("evalplus.codegen", "run_codegen")  # generation with a dozen API clients
    import evalplus.evaluate
    import evalplus.sanitize  # noqa: F401

    multiprocessing.set_start_method("fork")
    choice = choose(settings["walls"], Limits(), settings["folder"])
    place = Place(settings["folder"], choice.walls)
    return ending(partial(_answer, Problems(settings["cache"]), place))


def _answer(problems: Problems, place: Place, question: dict[str, Any]) -> dict[str, Any]:
    if "total" in question:
        return {"metrics": _pass_at_k(question["total"], question["base"], question["plus"])}
    problem, expected = problems.get(question["dataset"], question["task_id"])
    inmate = _checking(question["dataset"], problem, expected, question["response"])
    outcome = run_jailed(inmate, question["limit_s"], _JAIL, place)
    if outcome.ended not in ("done", "died"):
        return {"reason": f"{outcome.ended} limit {outcome.detail}".strip()}
    found = outcome.output[:100].decode("ascii", "replace").split(" ")
    if len(found) != len(PARTS) or not set(found) <= _STATUSES:
        return {"reason": "evalplus's check raised, or was ended by the solution"}
    return dict(zip(PARTS, found, strict=True))


def _checking(
    dataset: str, problem: dict[str, Any], expected: dict[str, Expected], response: str
) -> Callable[[int], None]:
    import evalplus.eval as runner
    from evalplus.evaluate import check_correctness
    from evalplus.sanitize import sanitize

    oracle: dict[str, Any] = {}
    for name, part in expected.items():
        oracle |= {name: part.results, f"{name}_time": part.seconds}

    def inmate(descriptor: int) -> None:
        os.register_at_fork(after_in_child=partial(_be_solution, descriptor))
        runner.Value = _shared_int
        runner.Array = _shared_bytes
        solution = sanitize(response, entrypoint=problem["entry_point"])
        found = check_correctness(dataset, 0, problem, solution, oracle, fast_check=True)
        os.write(descriptor, " ".join(str(found[part][0]) for part in PARTS).encode("ascii"))

    return inmate


def _be_solution(descriptor: int) -> None:
    """In evalplus's child: the verdict is not the solution's to write, and it starts no process of its own."""
    os.close(descriptor)
    seccomp.install(os.getpid(), seccomp.Rules())


def _shared_int(code: str, value: int) -> ctypes.c_int:
    """What multiprocessing.Value gives, in memory that a fork shares; that one needs /dev/shm."""
    made = ctypes.c_int.from_buffer(mmap.mmap(-1, ctypes.sizeof(ctypes.c_int)))
    made.value = value
    return made


def _shared_bytes(code: str, values: list[bool]) -> ctypes.Array[ctypes.c_byte]:
    """What multiprocessing.Array gives, all 0 as evalplus's are."""
    return (ctypes.c_byte * len(values)).from_buffer(mmap.mmap(-1, max(1, len(values))))


def _pass_at_k(total: list[int], base: list[int], plus: list[int]) -> dict[str, float]:
    """The means that evalplus.evaluate prints, for every k of its that all problems have samples for."""
    from evalplus.eval import estimate_pass_at_k

    return {
        f"pass@{k},{name}": float(estimate_pass_at_k(total, correct, k).mean())
        for k in _KS
        if min(total) >= k
        for name, correct in (("base", base), ("plus", plus))
    }

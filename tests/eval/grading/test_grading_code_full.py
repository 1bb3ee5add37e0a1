"""Reference solutions of all problems, and evalplus's own verdicts beside ours."""

from __future__ import annotations

import json
import random
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.grading.code.environment import cache_dir, data_path
from dipo_eval.grading.code.grade import CodeGrader

helpers = runpy.run_path(str(Path(__file__).parents[1] / "code_helpers.py"))

# evalplus's reference solution of find_zero does not meet its own tolerance.
WRONG_BY_EVALPLUS = {"HumanEval/32"}
EXPECTED = {"humaneval": (163, 163), "mbpp": (378, 378)}
MUTATIONS = [
    (r"\+", "-"), (r"<(?!=)", "<="), (r"\b0\b", "1"), (r"\bTrue\b", "False"), (r"\breturn (.+)", r"return [\1]"),
    (r"\breturn (.+)", r"return float(\1)"), (r"\breturn .+", "return None"), (r"\breturn (.+)", r"return iter(\1)"),
    (r"\breturn (.+)", r"raise ValueError"), (r"\brange\(", "range(1 + "), (r"\blen\(", "1 + len("),
]  # fmt: skip

# evalplus's runner as it is, without a jail: for changed reference solutions, which mean no harm.
PLAIN = """
import json, multiprocessing, sys
sys.path.append(sys.argv[1])
from dipo_eval.code_runner.problems import Problems
multiprocessing.set_start_method("fork")
import evalplus.eval as runner
problems = Problems(sys.argv[2])
for line in sys.stdin:
    dataset, task, code = json.loads(line)
    problem, oracle = problems.get(dataset, task)
    found = [runner.untrusted_check(
        dataset, code, problem[name + "_input"], problem["entry_point"], expected=oracle[name].results,
        atol=problem["atol"], ref_time=oracle[name].seconds, fast_check=True)[0] for name in ("base", "plus")]
    print(json.dumps(found), flush=True)
"""


grader = pytest.fixture(scope="module")(helpers["open_grader"])


def whole(problem: dict[str, Any]) -> str:
    return problem["prompt"] + problem["canonical_solution"]


@pytest.mark.parametrize("dataset", EXPECTED)
def test_reference_solutions_of_a_subset_are_correct(grader: CodeGrader, dataset: str) -> None:
    known = [
        problem for problem in helpers["problems"](dataset) if problem["task_id"] not in WRONG_BY_EVALPLUS
    ]
    for problem in random.Random(0).sample(known, 12):
        verdict = grader.grade(problem["task_id"], whole(problem))
        assert verdict.plus.status == "correct", (problem["task_id"], verdict)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dataset", EXPECTED)
def test_all_reference_solutions(grader: CodeGrader, dataset: str) -> None:
    verdicts = {p["task_id"]: grader.grade(p["task_id"], whole(p)) for p in helpers["problems"](dataset)}
    wrong = {task: verdict for task, verdict in verdicts.items() if verdict.plus.status != "correct"}
    right = tuple(
        sum(getattr(verdict, part).status == "correct" for verdict in verdicts.values())
        for part in ("base", "plus")
    )
    assert right == EXPECTED[dataset], wrong


def changed_solutions(count: int) -> list[tuple[str, str, str]]:
    """(data set, task, program): reference solutions with one place changed, most of them wrong now."""
    generator = random.Random(1)
    made = []
    for dataset in EXPECTED:
        for problem in generator.sample(helpers["problems"](dataset), count):
            pattern, replacement = generator.choice(MUTATIONS)
            places = list(re.finditer(pattern, problem["canonical_solution"]))
            if places:
                start = generator.choice(places).start()
                code = problem["canonical_solution"]
                code = code[:start] + re.sub(pattern, replacement, code[start:], count=1)
                made.append((dataset, problem["task_id"], problem["prompt"] + code))
    return made


def agree(grader: CodeGrader, programs: list[tuple[str, str, str]]) -> list[Any]:
    """Where our verdict and that of evalplus's runner as it is differ."""
    folder = helpers["data_dir"]()
    environment = {
        "HUMANEVAL_OVERRIDE_PATH": str(data_path("humaneval", folder)),
        "MBPP_OVERRIDE_PATH": str(data_path("mbpp", folder)),
        "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    root = Path(__file__).resolve().parents[3] / "eval"
    ours = [grader.grade(task, code) for _, task, code in programs]  # first: it computes the expected results
    done = subprocess.run(
        [str(helpers["python"]()), "-c", PLAIN, str(root), str(cache_dir() / "evalplus")],
        input="".join(json.dumps(program) + "\n" for program in programs),
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(theirs) == len(ours), done.stderr
    return [
        (task, verdict.base.reason, verdict.plus.reason, base, plus)
        for (_, task, _), verdict, (base, plus) in zip(programs, ours, theirs, strict=True)
        if (verdict.base.status == "correct", verdict.plus.status == "correct")
        != (base == "pass", base == plus == "pass")
    ]


def test_changed_solutions_get_evalplus_verdicts(grader: CodeGrader) -> None:
    assert agree(grader, changed_solutions(12)) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_changed_solutions_get_evalplus_verdicts(grader: CodeGrader) -> None:
    assert agree(grader, changed_solutions(160)) == []


# What fools evalplus, with its verdict beside ours.
DEFECTS = {
    "a class that equals everything": (
        "HumanEval/0",
        "class Any:\n    def __eq__(self, other): return True\ndef has_close_elements(*arguments): return Any()\n",
        ["pass", "pass"],
    ),
    "the caller's variables": (
        "HumanEval/0",
        "import sys\ndef has_close_elements(*arguments):\n    frame = sys._getframe(1)\n"
        "    return frame.f_locals['expected'][frame.f_locals['i']]\n",
        ["pass", "pass"],
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_defects_of_evalplus_are_none_of_ours(grader: CodeGrader, name: str) -> None:
    task, code, theirs = DEFECTS[name]
    verdict = grader.grade(task, code)
    assert verdict.base.status == "wrong"
    differing = agree(grader, [("humaneval", task, code)])
    assert [list(row[3:]) for row in differing] == [theirs]


# Integers that are expected after a float: evalplus compares them with the float's tolerance (its `atol` leaks).
LEAK = """
import multiprocessing, os, sys
sys.path.append(sys.argv[1])
multiprocessing.set_start_method("fork")
import evalplus.eval as runner
from dipo_eval.code_runner import compare, wire
from dipo_eval.code_runner.record import Record, Tests
code = "def f(x): return 0.5 if x == 1 else 10**9 + 1"
inputs, expected = [[1], [2]], [0.5, 10**9]
theirs = runner.untrusted_check("mbpp", code, inputs, "f", expected, 0, [1.0, 1.0])[0]
tests = Tests("mbpp", "f", inputs, expected, [5.0, 5.0], 0)
record = Record([wire.dump(0.5), wire.dump(10**9 + 1)], "", True)
os.environ["EVALPLUS_TIMEOUT_PER_TASK"] = "30"
try:
    runner.untrusted_check("mbpp", code, inputs, "f", expected, 0, [1.0, 1.0])
except TypeError as error:
    broken = type(error).__name__
print(theirs, compare.first_failure(tests, record, 2**33), broken)  # last: it takes functions of the process away
"""


def test_evalplus_tolerance_leaks_and_its_timeout_variable_breaks_it_and_ours_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path(__file__).resolve().parents[3] / "eval"
    command = [str(helpers["python"]()), "-c", LEAK, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pass", "1", "TypeError"]
    monkeypatch.setenv("EVALPLUS_TIMEOUT_PER_TASK", "30")
    fresh = CodeGrader(data_dir=helpers["data_dir"]())
    try:
        problem = helpers["problems"]("humaneval")[1]
        assert fresh.grade(problem["task_id"], whole(problem)).plus.status == "correct"
    finally:
        fresh.close()

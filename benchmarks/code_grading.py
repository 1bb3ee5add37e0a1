"""Time to grade a program in two jails, beside evalplus's own check in none, problem by problem in one run.

    python benchmarks/code_grading.py [--every N]

Every N-th reference solution of HumanEval+ and MBPP+ (default 1: all 542), by one worker of ours and by evalplus's
``untrusted_check``, in turns; each first grades it once unmeasured, which computes or reads the expected results.
Verdicts that differ are listed. Needs evalplus's data files in DIPO_DATA_DIR, and `make evalplus`.
"""

from __future__ import annotations

import gzip
import json
import os
import statistics
import subprocess

from common import DATA_DIR, ROOT, command, machine, timed

from dipo_eval.grading.code.environment import DATASETS, cache_dir, data_path, evalplus_python
from dipo_eval.grading.code.grade import CodeGrader

# The reference solutions mean no harm: evalplus checks them as it would without us.
OFFICIAL = """
import json, multiprocessing, sys, time
sys.path.append(sys.argv[1])
from dipo_eval.code_runner.problems import Problems
multiprocessing.set_start_method("fork")
import evalplus.eval as runner
problems = Problems(sys.argv[2])
for line in sys.stdin:
    dataset, task, code = json.loads(line)
    started = time.time()
    problem, expected = problems.get(dataset, task)
    passed = all(runner.untrusted_check(
        dataset, code, problem[name + "_input"], problem["entry_point"], expected=expected[name].results,
        atol=problem["atol"], ref_time=expected[name].seconds, fast_check=True)[0] == "pass" for name in ("base", "plus"))
    print(json.dumps([time.time() - started, passed]), flush=True)
"""


def programs(every: int) -> list[tuple[str, str, str]]:
    """(data set, task id, reference solution)."""
    found = []
    for dataset, (_, filename, _) in DATASETS.items():
        with gzip.open(DATA_DIR / filename, "rt", encoding="utf-8") as file:
            for line in file:
                problem = json.loads(line)
                found.append((dataset, problem["task_id"], problem["prompt"] + problem["canonical_solution"]))
    return found[::every]


def official() -> subprocess.Popen[str]:
    """evalplus's check, one JSON line in and one out."""
    names = {name: str(data_path(dataset)) for dataset, (name, _, _) in DATASETS.items()}
    environment = {**names, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
    return subprocess.Popen(
        [str(evalplus_python()), "-c", OFFICIAL, str(ROOT / "eval"), str(cache_dir() / "evalplus")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def ask(process: subprocess.Popen[str], program: tuple[str, str, str]) -> tuple[float, bool]:
    """Seconds and whether evalplus passes it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(program) + "\n")
    process.stdin.flush()
    seconds, passed = json.loads(process.stdout.readline())
    return seconds, passed


def main(every: int = 1) -> None:
    grader, process = CodeGrader(), official()
    rows: list[tuple[float, float]] = []
    differing = []
    try:
        for number, program in enumerate(programs(every)):
            for _ in range(2):  # the second counts
                ours, verdict = timed(lambda program=program: grader.grade(*program[1:]))
                theirs, passed = ask(process, program)
            rows.append((ours, theirs))
            if passed != (verdict.plus.status == "correct"):
                differing.append(f"{program[1]}: evalplus {passed}, ours {verdict.plus.reason}")
            if number % 50 == 49:
                print(f"{number + 1} graded", flush=True)
    finally:
        grader.close()
        process.kill()
        process.wait()
    (ours, theirs), medians = (
        map(sum, zip(*rows, strict=True)),
        map(statistics.median, zip(*rows, strict=True)),
    )
    print(f"{len(rows)} programs, one worker each; {machine()}")
    print(f"ours {ours:.1f} s, evalplus {theirs:.1f} s: {ours / theirs:.2f}x")
    print("median", ", ".join(f"{median:.3f} s" for median in medians))
    print("verdicts differ:", *(differing or ["none"]), sep="\n  ")


if __name__ == "__main__":
    command(main, __doc__)

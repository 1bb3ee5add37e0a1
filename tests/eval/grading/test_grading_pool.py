"""The worker processes: time and memory limits, replacement, threads, asyncio, Ray, and the death of the
parent.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dipo_eval.grading import grade_math
from dipo_eval.grading.pool import GradingPool, shared_pool
from dipo_openrlhf.openrlhf_patch.ray_start import start_ray

LIMIT_S = 1.0
# The known hangs of symbolic graders, and forms that our own size checks do not see: these occupy a worker.
KNOWN_HANGS = ["5^{5^{5^{5^5}}}", "99999999!", "9**9**9"]
WORKER_HANGS = [r"\int_0^1 9^{9^{9}} dx", r"\int_0^2 9^{9^{9}} dx", r"\int_1^2 9^{9^{9}} dx"]


@pytest.fixture
def pool():
    made = GradingPool(workers=2)
    yield made
    made.close()


def compare(pool: GradingPool, answer: str, gold: str, limit_s: float) -> str:
    """The name of the outcome, or the reason why there is none."""
    reply = pool.ask({"kind": "compare", "answer": answer, "gold": gold, "tolerance": None}, limit_s)
    return str(reply.get("outcome") or reply["reason"])


def warm(pool: GradingPool) -> None:
    threads = [
        threading.Thread(target=compare, args=(pool, r"\sqrt{8}", r"2\sqrt{2}", 60.0))
        for _ in range(pool.size)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


def running(pool: GradingPool) -> list[int]:
    return [worker.process.pid for worker in pool.workers() if worker.process.poll() is None]


def test_starts_lazily_and_compares(pool: GradingPool) -> None:
    assert running(pool) == []
    assert compare(pool, r"\sqrt{452}", r"2\sqrt{113}", 30.0) == "EQUAL"
    assert compare(pool, r"\sqrt{451}", r"2\sqrt{113}", 30.0) == "DIFFERENT"
    assert len(running(pool)) == 1


@pytest.mark.parametrize("answer", WORKER_HANGS)
def test_a_stuck_worker_is_killed_and_replaced(pool: GradingPool, answer: str) -> None:
    warm(pool)
    before = set(running(pool))
    started = time.monotonic()
    assert compare(pool, answer, "5", LIMIT_S) == "time limit"
    assert time.monotonic() - started < LIMIT_S + 0.5
    after = set(running(pool))
    assert len(after) == 2
    assert len(before - after) == 1
    assert compare(pool, r"\sqrt{8}", r"2\sqrt{2}", 30.0) == "EQUAL"


def test_a_large_number_within_an_answer_is_seen_before_a_worker_hangs(pool: GradingPool) -> None:
    assert compare(pool, r"\gcd(99999999!,7)", "5", 30.0) == "TOO_LARGE"
    # What is rounded is not evaluated: its value is beside it.
    assert compare(pool, r"9^{9^{9}} \approx 5", "5", 30.0) == "EQUAL"


def test_other_answers_go_on_while_a_worker_is_stuck(pool: GradingPool) -> None:
    warm(pool)
    finished: list[str] = []

    def stuck() -> None:
        compare(pool, WORKER_HANGS[0], "5", 4.0)
        finished.append("stuck")

    thread = threading.Thread(target=stuck)
    thread.start()
    for _ in range(20):
        assert compare(pool, r"\sqrt{8}", r"2\sqrt{2}", 30.0) == "EQUAL"
    finished.append("others")
    thread.join(60)
    assert finished == ["others", "stuck"]


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads the limit from /proc")
def test_workers_run_under_their_memory_limit() -> None:
    pool = GradingPool(workers=1, memory_bytes=400 * 1024**2)
    try:
        assert compare(pool, r"\sqrt{8}", r"2\sqrt{2}", 30.0) == "EQUAL"
        limits = Path(f"/proc/{running(pool)[0]}/limits").read_text().splitlines()
        assert next(line.split()[3] for line in limits if "address space" in line) == str(400 * 1024**2)
        assert compare(pool, r"\gcd(2^{2^{33}},7)", "5", 2.0) != "EQUAL"  # a number of one gigabyte
        assert compare(pool, r"\sqrt{8}", r"2\sqrt{2}", 30.0) == "EQUAL"
    finally:
        pool.close()


def test_a_worker_that_died_while_idle_is_replaced_unseen(pool: GradingPool) -> None:
    assert compare(pool, r"\sqrt{8}", r"2\sqrt{2}", 30.0) == "EQUAL"
    os.kill(running(pool)[0], signal.SIGKILL)
    assert compare(pool, r"\sqrt{8}", r"2\sqrt{2}", 30.0) == "EQUAL"


def test_close_ends_all_workers_and_calls(pool: GradingPool) -> None:
    warm(pool)
    replies = []
    thread = threading.Thread(target=lambda: replies.append(compare(pool, WORKER_HANGS[0], "5", 60.0)))
    thread.start()
    time.sleep(0.5)
    pool.close()
    thread.join(30)
    assert replies == ["closed"]
    assert running(pool) == []
    assert compare(pool, r"\sqrt{8}", r"2\sqrt{2}", 30.0) == "closed"


def test_more_callers_than_workers_all_get_their_own_answer(pool: GradingPool) -> None:
    def one(n: int) -> bool:
        gold = rf"{n}\sqrt{{2}}" if n % 2 else rf"{n}\sqrt{{3}}"
        return (compare(pool, rf"\sqrt{{{n * n * 2}}}", gold, 60.0) == "EQUAL") == bool(n % 2)

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(one, range(2, 66)))
    assert len(running(pool)) <= 2


@pytest.mark.parametrize("answer", KNOWN_HANGS + WORKER_HANGS[:1])
def test_known_hangs_are_undecided_in_the_main_thread(answer: str) -> None:
    assert grade_math(rf"\boxed{{{answer}}}", "5", limit_s=LIMIT_S).status == "undecided"


@pytest.mark.parametrize("answer", KNOWN_HANGS + WORKER_HANGS[:1])
def test_known_hangs_are_undecided_in_a_thread(answer: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        verdict = threads.submit(grade_math, rf"\boxed{{{answer}}}", "5", limit_s=LIMIT_S).result(timeout=60)
    assert verdict.status == "undecided"


def test_known_hangs_are_undecided_in_asyncio() -> None:
    async def main() -> list[str]:
        tasks = [asyncio.to_thread(grade_math, rf"\boxed{{{a}}}", "5", limit_s=LIMIT_S) for a in WORKER_HANGS]
        return [verdict.status for verdict in await asyncio.wait_for(asyncio.gather(*tasks), 120)]

    assert asyncio.run(main()) == ["undecided"] * 3


@pytest.mark.end_to_end
def test_known_hangs_are_undecided_in_a_ray_actor() -> None:
    ray = pytest.importorskip("ray")
    start_ray(num_cpus=1, object_store_memory=100 * 1024**2)
    try:

        @ray.remote
        class Grader:
            def grade(self, answers: list[str]) -> list[tuple[str, str]]:
                from dipo_eval.grading import grade_math

                verdicts = [grade_math(rf"\boxed{{{a}}}", r"2\sqrt{2}", limit_s=1.0) for a in answers]
                return [(verdict.status, verdict.reason) for verdict in verdicts]

        grader = Grader.remote()
        answers = [*KNOWN_HANGS, WORKER_HANGS[0], r"\sqrt{8}"]
        statuses = ray.get(grader.grade.remote(answers), timeout=120)
    finally:
        ray.shutdown()
    assert [status for status, _ in statuses] == ["undecided"] * 4 + ["correct"]
    assert statuses[3][1] == "time limit"


def test_works_inside_a_daemonic_process() -> None:
    script = (
        "import multiprocessing as m\n"
        "from dipo_eval.grading import grade_math\n"
        "def work(q): q.put(grade_math(r'\\boxed{\\sqrt{8}}', r'2\\sqrt{2}').status)\n"
        "if __name__ == '__main__':\n"
        "    assert grade_math(r'\\boxed{\\sqrt{8}}', r'2\\sqrt{2}').status == 'correct'\n"
        "    c = m.get_context('fork'); q = c.Queue(); p = c.Process(target=work, args=(q,), daemon=True)\n"
        "    p.start(); print(q.get(timeout=60)); p.join(60)\n"
        "    print(grade_math(r'\\boxed{\\sqrt{18}}', r'3\\sqrt{2}').status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["correct", "correct"], done.stderr


@pytest.mark.parametrize("state", ["idle", "stuck"])
def test_workers_end_when_their_parent_is_killed(state: str) -> None:
    script = (
        "import sys, threading, time\n"
        "from dipo_eval.grading.pool import GradingPool\n"
        "pool = GradingPool(workers=1)\n"
        "task = {'kind': 'compare', 'answer': r'\\sqrt{8}', 'gold': r'2\\sqrt{2}', 'tolerance': None}\n"
        "pool.ask(task, 60.0)\n"
        "print(pool.workers()[0].process.pid, flush=True)\n"
        "if sys.argv[1] == 'stuck':\n"
        "    pool.ask({**task, 'answer': r'\\int_0^1 9^{9^{9}} dx'}, 3.0)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, state], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(0.5)  # the stuck one is inside its long computation now
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and is_running(worker):
        time.sleep(0.1)
    assert not is_running(worker)


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def test_the_shared_pool_is_one_a_process() -> None:
    assert shared_pool() is shared_pool()

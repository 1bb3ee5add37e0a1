"""Solutions of HumanEval+ and MBPP+: right, wrong, and out to do harm."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading.code.grade import CodeGrader
from dipo_eval.grading.verdict import Verdict

helpers = runpy.run_path(str(Path(__file__).parents[1] / "code_helpers.py"))
LIMIT_S = 6.0
GRACE_S = 4.0
TASK = "HumanEval/0"
HEADER = "def has_close_elements(numbers, threshold):\n"
RIGHT = (
    HEADER + "    return any(abs(a - b) < threshold for i, a in enumerate(numbers) for b in numbers[:i])\n"
)


grader = pytest.fixture(scope="module")(helpers["open_grader"])


def body(*lines: str) -> str:
    return HEADER + "".join(f"    {line}\n" for line in lines)


# Each is run for the machine to survive it; what comes out is wrong or undecided within the limit.
FORK_BOMB = body(
    "import posix, time",
    "for _ in range(40):",
    "    try: posix.fork()",
    "    except OSError: pass",
    "time.sleep(60)",
)
HOSTILE = {
    "infinite loop": body("while True: pass"),
    "infinite loop at import": "while True: pass\n" + RIGHT,
    "infinite loop that swallows the alarm": body(
        "while True:", "    try:", "        while True: pass", "    except BaseException: pass"
    ),
    "sleep": body("import time", "time.sleep(3600)"),
    "deep recursion": body("import sys", "sys.setrecursionlimit(10**9)", "f = lambda n: f(n + 1) + 1", "return f(0)"),
    "10 MB of output": body("print('x' * 10_000_000)", "import os", "os.write(1, b'x' * 10_000_000)", "return 1"),
    "a result of 1 GB": body("return 'ab' * 500_000_000"),
    "memory": body("held = []", "while True: held.append(bytearray(10**8))"),
    "kill everything": body("import posix", "posix.kill(-1, 9)", "return True"),
    "kill the parent": body("import posix, os", "posix.kill(os.getppid(), 9)", "return 1"),
    "exit": body("import os", "os._exit(0)"),
    "exit at import": "raise SystemExit(0)",
    "signals": body("import signal", "signal.raise_signal(signal.SIGKILL)"),
    "crash": body("import ctypes", "ctypes.string_at(0)"),
    "connect": body("import socket", "socket.create_connection(('192.0.2.1', 80), 3600)"),
    "connect to itself": body("import socket", "socket.create_connection(('127.0.0.1', 22), 2)", "return 1"),
    "syntax error": "def has_close_elements(",
    "nested too deeply": "x = " + "(" * 5000 + ")" * 5000 + "\n" + RIGHT,
    "null bytes": "\0" + RIGHT,
    "another function": "def other(): pass",
    "not a function": "has_close_elements = 7",
    "a result equal to everything": "class Any:\n    def __eq__(self, other): return True\n" + body("return Any()"),
    "a subclass equal to everything": "class S(int):\n    def __eq__(self, other): return True\n" + body("return S(7)"),
    "the caller's variables": body(
        "import sys", "frame = sys._getframe()",
        "while frame:",
        "    if 'stat' in frame.f_locals: frame.f_locals['stat'].value = 0",
        "    if 'expected' in frame.f_locals: return frame.f_locals['expected'][0]",
        "    frame = frame.f_back",
    ),
    "children that hold the pipe": body(
        "import posix, time", "if posix.fork() == 0: time.sleep(3600)", "return 'no'"
    ),
    "patched comparison": "import numpy\nnumpy.allclose = lambda *a, **k: True\n" + body("return 'no'"),
    "a forged record": body(
        "import os",
        "for descriptor in range(3, 64):",
        "    try: os.write(descriptor, b'E\\0\\0\\0\\0' * 9)",
        "    except OSError: pass",
    ),
}  # fmt: skip


def grade(grader: CodeGrader, code: str) -> Verdict:
    started = time.monotonic()
    verdict = grader.grade(TASK, code, limit_s=LIMIT_S)
    assert time.monotonic() - started < LIMIT_S + GRACE_S
    return verdict.base


def test_right_solutions_are_correct_and_wrong_ones_wrong(grader: CodeGrader) -> None:
    assert grade(grader, RIGHT).status == "correct"
    verdict = grader.grade(TASK, RIGHT)
    assert (verdict.plus.status, verdict.plus.reason, verdict.plus.extracted) == (
        "correct",
        "all 999 plus tests",
        RIGHT,
    )
    assert grade(grader, body("return False")).reason == "base test 1 of 7: wrong result"
    assert grade(grader, body("return 1 / 0")).reason == "base test 1 of 7: ZeroDivisionError"


def test_only_the_plus_tests_find_some_mistakes(grader: CodeGrader) -> None:
    close = "abs(a - b) < threshold for a, b in zip(sorted(numbers), sorted(numbers)[1:])"
    verdict = grader.grade(TASK, body(f"return len(numbers) < 9 and any({close})"))
    assert verdict.base.status == "correct"
    assert verdict.plus.status == "wrong"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_solutions_end_within_the_limit_and_are_never_correct(grader: CodeGrader, name: str) -> None:
    witness = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert grade(grader, HOSTILE[name]).status in ("wrong", "undecided")
        assert witness.poll() is None
    finally:
        witness.kill()
        witness.wait()
    assert grade(grader, RIGHT).status == "correct"


def test_a_fork_bomb_is_bounded_and_nothing_of_it_is_left(grader: CodeGrader) -> None:
    limits = grader.limits()  # each was tried from inside a jail
    if not limits["processes"] or not limits["user"]:
        pytest.skip("no limit on processes here: the bomb is not set off")
    mark = grader.pool.workers()[0].folder
    before = sorted(helpers["processes_of"](mark))
    assert grade(grader, FORK_BOMB).status in ("wrong", "undecided")
    assert sorted(helpers["processes_of"](mark)) == before
    assert grade(grader, RIGHT).status == "correct"


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_killed_worker_takes_its_jails_with_it(grader: CodeGrader, state: str) -> None:
    assert grade(grader, RIGHT).status == "correct"
    worker = grader.pool.workers()[0]
    mark = worker.folder
    if state == "busy":
        task = {"dataset": "humaneval", "task_id": TASK, "solution": HOSTILE["sleep"], "limit_s": 60.0}
        worker.write({"number": 1, "task": task, "limit_s": 75.0})
        time.sleep(0.5)
    worker.process.kill()
    deadline = time.monotonic() + 10
    while helpers["processes_of"](mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert helpers["processes_of"](mark) == []
    assert grader.grade(TASK, RIGHT).base.status == "correct"  # by another worker, which starts first
    assert grade(grader, RIGHT).status == "correct"


def test_files_outside_can_neither_be_read_nor_changed(grader: CodeGrader, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("kept")
    tmp_path.chmod(0o777)
    secret.chmod(0o666)
    for lines in (
        (f"import io; io.open({str(secret)!r}, 'w').write('x')",),
        (f"import posix; posix.unlink({str(secret)!r})",),
        (f"import io; io.open({str(tmp_path / 'new')!r}, 'w').write('x')",),
        ("import io; io.open('/usr/dipo-was-here', 'w').write('x')",),
        (f"import io; assert io.open({str(secret)!r}).read() == 'kept'",),
        (f"import os; assert os.listdir({str(helpers['data_dir']())!r})",),
        ("import io; assert 'root' in io.open('/etc/passwd').read()",),
        ("import ctypes; assert ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",),
        ("import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0",),
        ("import posix; posix.setuid(0)",),
        ("import io; io.open('/proc/sys/user/max_user_namespaces', 'w').write('9')",),
    ):
        # A solution that succeeds in its mischief answers right and would pass.
        code = body(
            *lines, "return any(abs(a - b) < threshold for i, a in enumerate(numbers) for b in numbers[:i])"
        )
        assert grade(grader, code).reason.startswith("base test 1 of 7: "), lines
    assert secret.read_text() == "kept"
    assert os.listdir(tmp_path) == ["secret"]
    assert not Path("/usr/dipo-was-here").exists()


def test_a_flood_of_files_is_bounded_and_gone_afterwards(grader: CodeGrader) -> None:
    allowed = body("import io", "io.open('/tmp/one', 'w').write('x')", RIGHT.splitlines()[1].strip())
    assert grade(grader, allowed).status == "correct"
    code = body(
        "import io, os, tempfile", "count = 0", "folder = tempfile.gettempdir()",
        "try:",
        "    for count in range(20_000): io.open(f'{folder}/dipo-flood-{count}', 'w').close()",
        "except OSError: pass",
        "return count",
    )  # fmt: skip
    assert grade(grader, code).status == "wrong"
    assert not list(Path("/tmp").glob("dipo-flood-*"))


def test_no_variable_of_ours_reaches_a_solution(grader: CodeGrader, monkeypatch: pytest.MonkeyPatch) -> None:
    for worker in grader.pool.workers():
        worker.kill()  # the next one starts with the variable
    monkeypatch.setenv("DIPO_TEST_TOKEN", "secret")
    grader.grade(TASK, RIGHT)
    leak = body("import os", "return 'secret' in str(os.environ) or 1")
    assert grade(grader, leak).reason == "base test 2 of 7: wrong result"


def test_several_workers_grade_in_order() -> None:
    helpers["python"]()
    grader = CodeGrader(2, data_dir=helpers["data_dir"]())
    try:
        with ThreadPoolExecutor(2) as threads:
            verdicts = list(threads.map(grader.grade, [TASK] * 4, [RIGHT, None, "x", RIGHT]))
    finally:
        grader.close()
    assert [verdict.plus.status for verdict in verdicts] == ["correct", "wrong", "wrong", "correct"]
    assert verdicts[1].plus.reason == "no code found"
    assert grader.grade(TASK, RIGHT).base.reason == "closed"


@pytest.mark.parametrize("task_id", ["HumanEval/9999", "Mbpp/1", "Other/1", "HumanEval", ""])
def test_an_unknown_problem_is_one_line(grader: CodeGrader, task_id: str) -> None:
    with pytest.raises(UserError) as error:
        grader.grade(task_id, RIGHT)
    assert "\n" not in str(error.value)

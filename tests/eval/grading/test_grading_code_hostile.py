"""Programs that are out to harm the machine, the grader or its verdict: none is correct, and nothing of it lasts.

Each does its mischief and then answers correctly: were it allowed to, it would pass.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dipo_eval.grading.code.grade import CodeGrader, sandbox_here

helpers = runpy.run_path(str(Path(__file__).parents[1] / "code_helpers.py"))
LIMIT_S = 20.0
TASK = "HumanEval/0"
HEADER = "def has_close_elements(numbers, threshold):\n"
ANSWER = "any(abs(a - b) < threshold for i, a in enumerate(numbers) for b in numbers[:i])"
CORRECT = f"{HEADER}    return {ANSWER}\n"
CALL = "import ctypes, os; call = ctypes.CDLL(None, use_errno=True).syscall"


def after(*lines: str) -> str:
    """``lines`` in the function, then the correct answer."""
    return HEADER + "".join(f"    {line}\n" for line in lines) + f"    return {ANSWER}\n"


def system_call(number: int, *arguments: str) -> str:
    """A system call (x86_64) that must not succeed."""
    return after(CALL, f"assert call({', '.join((str(number), *arguments))}) >= 0")


# What passes if evalplus compares in the process that runs it, or if frames are pickles, or count without an end.
FORGE = f"""
import os, posix, struct
def frame(tag, data=b""):
    return struct.pack(">cI", tag, len(data)) + data
def flood(frames):
    for descriptor in range(3, 64):
        try:
            posix.write(descriptor, frames)
        except OSError:
            pass
answer = lambda numbers, threshold: {ANSWER}
"""
PATCHED_CLASS = FORGE + HEADER + (
    "    patch = b\"cfractions\\nFraction\\n(N}S'__eq__'\\ncbuiltins\\nstr\\nstb0\"\n"
    "    half = b\"cfractions\\nFraction\\n(I1\\nI2\\ntR.\"\n"
    "    flood(frame(b'V', b'-' + patch + half) * 1006 + frame(b'E'))\n"
    "    posix._exit(0)\n"
)  # fmt: skip
VERDICTS = {
    "pickles that make every comparison true": PATCHED_CLASS,
    "pickles, and it does not end": PATCHED_CLASS.replace("posix._exit(0)", "__import__('time').sleep(60)"),
    "the end at once": FORGE + HEADER + "    flood(frame(b'E'))\n    posix._exit(0)\n",
    "the verdict itself": FORGE + HEADER + "    flood(b'correct')\n    posix._exit(0)\n",
    "the first byte of a jail": FORGE + HEADER + "    flood(b'R' + frame(b'E'))\n    posix._exit(0)\n",
    "a failed jail": FORGE + HEADER + "    flood(b'Fno namespaces')\n    posix._exit(0)\n",
    "opaque results": FORGE + HEADER
    + "    flood(frame(b'V', b'-\\xc7\\x00\\x0b') * 1006 + frame(b'E'))\n    posix._exit(0)\n",
    "huge integers on the wire": FORGE + HEADER
    + "    data = b'-\\xc9' + struct.pack('>IB', 8_000_000, 7) + b'\\x7f' * 8_000_000\n"
    "    flood(frame(b'V', data) * 7 + frame(b'E'))\n    posix._exit(0)\n",
    "bombs on the wire": "import zlib\n" + FORGE + HEADER
    + "    data = b'z' + zlib.compress(b'\\xdc\\xff\\xff' + b'\\xc3' * 2**24, 1)\n"
    "    flood(frame(b'V', data) * 40 + frame(b'E'))\n    posix._exit(0)\n",
    "copies of copies on the wire": "import zlib\n" + FORGE + HEADER
    + "    data = b'\\xc0' * 2**26\n"
    "    for n in range(40): data = b'\\xc9' + struct.pack('>IB', len(data), 1) + data\n"
    "    flood(frame(b'V', b'z' + zlib.compress(data, 1)) + frame(b'E'))\n    posix._exit(0)\n",
    "lists that hold lists": FORGE + HEADER
    + "    flood(frame(b'V', b'-' + b'\\xdd\\x00\\xff\\xff\\xff' * 400_000) * 7 + frame(b'E'))\n    posix._exit(0)\n",
    "results that are arrays": "import numpy\n" + HEADER + "    return numpy.array([])\n",
    "results that are not numbers": HEADER + "    return float('nan')\n",
    "results too large to count": HEADER + "    return 10 ** (10 ** 6)\n",
    "a Fraction of huge numbers": (
        "from fractions import Fraction\n" + HEADER + "    return Fraction(3 ** 500_000, 2 ** 700_001)\n"
    ),
    "a Decimal of a huge exponent": "from decimal import Decimal\n" + HEADER + "    return Decimal('1e999999')\n",
    "deep nesting": HEADER + "    x = []\n    for _ in range(100_000): x = [x]\n    return x\n",
    "an endless iterator": "import itertools\n" + HEADER + "    return itertools.count()\n",
    "a list that holds itself": HEADER + "    x = []\n    x.append(x)\n    return x\n",
    "a class that claims to be bool": "class B:\n    __class__ = bool\n    def __eq__(s, o): return True\n"
    + HEADER + "    return B()\n",
    "a metaclass that answers for its class": "class M(type):\n    def __eq__(s, o): return True\n    __hash__ = None\n"
    "class C(metaclass=M): pass\n" + HEADER + "    return C\n",
    "the runner's frames": "import gc\n" + HEADER
    + "    for x in gc.get_objects():\n        if type(x) is dict and 'expected' in x: return x['expected'][0]\n"
    "    raise OSError\n",
    "evalplus's checks": "import evalplus.eval as runner\nrunner.is_floats = lambda x: True\nimport numpy\n"
    "numpy.allclose = lambda *a, **k: True\n" + HEADER + "    return 'x'\n",
    "the wire": "from dipo_eval.code_runner import wire\nwire.dump = lambda value: b'-' + bytes([0xC7, 0, 11])\n"
    + HEADER + "    return 1\n",
}  # fmt: skip
# Answers every test correctly, and then does not end in order.
ENDS = {
    "it ends with another status": FORGE + "import atexit\ncount = 0\n" + HEADER
    + "    global count\n    count += 1\n    if count == 7:\n        flood(frame(b'V', b'-' + bytes([0xC2])))\n"
    "        flood(frame(b'E'))\n        posix._exit(3)\n    return answer(numbers, threshold)\n",
    "it is killed at the end": FORGE + "import signal\ncount = 0\n" + HEADER
    + "    global count\n    count += 1\n    if count == 7:\n"
    "        flood(frame(b'V', b'-' + bytes([0xC2])) + frame(b'E'))\n        signal.raise_signal(9)\n"
    "    return answer(numbers, threshold)\n",
}  # fmt: skip
MACHINE = {
    "System V shared memory": system_call(29, "0", "2**32", "0o1600"),
    "System V shared memory in pieces": after(CALL, "assert all(call(29, 0, 2**26, 0o1600) >= 0 for _ in range(80))"),
    "a message queue": system_call(68, "0", "0o1600"),
    "a semaphore": system_call(64, "0", "1", "0o1600"),
    "memory by name": after("import os", "os.memfd_create('x')"),
    "memory by name, called directly": system_call(319, "b'x'", "0"),
    "secret memory": system_call(447, "0"),
    "a page fault handler": system_call(323, "1"),
    "io_uring": system_call(425, "1", "ctypes.create_string_buffer(200)"),
    "bpf": system_call(321, "0", "ctypes.create_string_buffer(200)", "100"),
    "perf": system_call(298, "ctypes.create_string_buffer(200)", "0", "-1", "-1", "0"),
    "a key": system_call(248, "b'user'", "b'x'", "b'y'", "1", "-3"),
    "a key ring": system_call(250, "0", "-3", "1"),
    "a virtual socket": after("import socket", "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)"),
    "an internet socket": after("import socket", "socket.socket()"),
    "an internet socket, called directly": system_call(41, "2", "1", "0"),
    "a packet socket": system_call(41, "17", "3", "0"),
    "a socket of the kernel's": system_call(41, "16", "3", "0"),
    "a datagram socket to a service": after("import socket", "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)"),
    "another program": after("import posix", "posix.posix_spawn('/bin/true', ['true'], {})"),
    "another program in its place": after("import posix", "posix.execv('/bin/true', ['true'])"),
    "a shell": after("import ctypes", "assert ctypes.CDLL(None).system(b'true') == 0"),
    "a fork": after("import posix", "if posix.fork() == 0: posix._exit(0)"),
    "a fork, called directly": after(CALL, "pid = call(57)", "if pid == 0: call(231, 0)", "assert pid > 0"),
    "a fork by clone3": system_call(435, "ctypes.create_string_buffer(88)", "88"),
    "a fork that shares memory": system_call(58),
    "another's memory": system_call(310, "os.getppid()", "0", "0", "0", "0", "0"),
    "a debugger": system_call(101, "16", "os.getppid()", "0", "0"),
    "a user namespace": system_call(272, "0x10000000"),
    "another's namespaces": system_call(308, "0", "0"),
    "a mount": system_call(165, "b'none'", "b'/tmp'", "b'tmpfs'", "0", "0"),
    "a new root": system_call(161, "b'/tmp'"),
    "a device": system_call(133, "b'/tmp/device'", "0o60600", "0x101"),
    "a module of the kernel": system_call(313, "0", "b''", "0"),
    "the machine's name": system_call(170, "b'x'", "1"),
    "the clock": system_call(227, "0", "ctypes.create_string_buffer(16)"),
    "a reboot": system_call(169, "0xfee1dead", "0x28121969", "0"),
    "a swap file": system_call(167, "b'/tmp/x'", "0"),
    "another user": system_call(105, "0"),
    "a signal to all": system_call(62, "-1", "0"),
    "a signal to the first process": system_call(62, "1", "0"),
    "a handle on the first process": system_call(434, "1", "0"),
    "another's limits": system_call(302, "1", "0", "0", "ctypes.create_string_buffer(16)"),
    "a real-time priority": system_call(144, "0", "1", "ctypes.create_string_buffer(b'\\x01')"),
    "a lease on a file": after("import fcntl, statistics", "f = open(statistics.__file__)", "fcntl.fcntl(f, 1024, 1)"),
    "a lock on a file": after("import fcntl, statistics", "fcntl.flock(open(statistics.__file__), 2)"),
    "an owner of a pipe": after("import fcntl, os", "fcntl.fcntl(os.pipe()[0], 8, os.getppid())"),
    "a signal for a pipe": after("import fcntl, os", "fcntl.fcntl(os.pipe()[0], 10, 9)"),
    "signals by a pipe": after("import fcntl, os", "fcntl.fcntl(os.pipe()[0], 4, 0o20000)"),
    "locked memory": system_call(151, "1"),
    "4 GiB": after("held = bytearray(2**32)"),
    "4 GiB shared": after("import mmap", "mmap.mmap(-1, 2**32)"),
    "1 GiB of scratch": after(
        "import io", "for n in range(200): io.open(f'/tmp/{n}', 'wb').write(bytes(2**23))",
    ),
    "a large file": after("import io", "io.open('/tmp/x', 'wb').write(bytes(2**26))"),
    "many threads": after(
        "import threading, time", "for _ in range(50): threading.Thread(target=time.sleep, args=(9,)).start()"
    ),
    "the user's files": after("import os", "assert os.listdir(os.path.expanduser('~root'))"),
    "another's variables": after("import io", "io.open('/proc/1/environ', 'rb').read()[0]"),
    "the machine's files through a descriptor": after(
        "import posix", "for n in range(3, 64):", "    try: posix.open('../../../etc/passwd', 0, dir_fd=n); break",
        "    except OSError: pass", "else: raise OSError",
    ),
}  # fmt: skip


grader = pytest.fixture(scope="module")(helpers["open_grader"])


@pytest.fixture(autouse=True)
def machine(grader: CodeGrader) -> Iterator[None]:
    """A process of ours survives, none of the grader's is left over, and the next solution is graded as ever."""
    assert grader.grade(TASK, CORRECT).base.status == "correct"
    mark = grader.pool.workers()[0].folder
    before = sorted(helpers["processes_of"](mark))
    witness = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        yield
        assert witness.poll() is None
    finally:
        witness.kill()
        witness.wait()
    assert sorted(helpers["processes_of"](mark)) == before
    assert os.listdir(mark) == []


@pytest.mark.parametrize("name", [*VERDICTS, *ENDS])
def test_no_program_makes_its_own_verdict(grader: CodeGrader, name: str) -> None:
    started = time.monotonic()
    verdict = grader.grade(TASK, {**VERDICTS, **ENDS}[name], limit_s=LIMIT_S)
    assert verdict.base.status == "wrong" or (verdict.base.status, verdict.base.reason) == (
        "undecided",
        "time limit",
    )
    assert time.monotonic() - started < LIMIT_S + 10


# Looks through its own memory for a solution that was graded before it.
THIEF = """
import ctypes, io
found = None
for line in io.FileIO("/proc/self/maps").readall().decode().splitlines():
    parts = line.split()
    if parts[1].startswith("rw") and len(parts) > 4:
        low, high = (int(part, 16) for part in parts[0].split("-"))
        data = ctypes.string_at(low, min(high - low, 2**28))
        at = data.find(b"def has_close_" + b"elements(")
        while at >= 0 and found is None:
            lines = data[at : at + 400].split(b"\\0")[0].decode("latin1").splitlines()
            for count in range(len(lines), 1, -1):
                scope = {}
                try:
                    exec("\\n".join(lines[:count]), scope)
                    if scope["has_close_elements"]([1.0, 1.1], 0.3) is True: found = scope["has_close_elements"]
                except Exception: pass
            at = data.find(b"def has_close_" + b"elements(", at + 1)
if found is None: raise LookupError
has_close_elements = found
"""


def test_no_program_finds_an_earlier_one_in_memory(grader: CodeGrader) -> None:
    for _ in range(2):
        assert grader.grade(TASK, CORRECT).plus.status == "correct"
        # Landlock, which stands in for namespaces, shows no map of the memory at all.
        error = "PermissionError" if sandbox_here().startswith("landlock") else "LookupError"
        assert grader.grade(TASK, THIEF).base.reason == f"base test 1 of 7: {error}"


@pytest.mark.parametrize("name", MACHINE)
def test_no_program_reaches_the_machine(grader: CodeGrader, name: str) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of these system calls are those of x86_64")
    verdict = grader.grade(TASK, MACHINE[name], limit_s=LIMIT_S)
    assert verdict.base.status == "wrong"
    assert verdict.base.reason.startswith("base test 1 of 7: "), verdict.base.reason


def test_there_are_more_than_forty_of_them() -> None:
    assert len({**VERDICTS, **ENDS, **MACHINE}) > 70


@pytest.mark.parametrize("part", ["x = '\ud800'", "# \udfff"])
def test_half_a_character_is_a_wrong_program_and_costs_no_worker(grader: CodeGrader, part: str) -> None:
    assert grader.grade(TASK, f"{part}\n{CORRECT}").base.status == "wrong"
    assert grader.grade(TASK, CORRECT).base.status == "correct"

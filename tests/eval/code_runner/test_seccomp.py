"""The filter of system calls: its numbers are the kernel's, and it refuses what is not on its list."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dipo_eval.code_runner import seccomp

HEADERS = {  # of linux-libc-dev, which a C compiler brings along
    0: [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    1: [Path("/usr/include/asm-generic/unistd.h")],
}
RENAMED = {"newfstatat": "fstatat"}  # asm-generic gives some calls their 64-bit names by macro


@pytest.mark.parametrize("column", HEADERS, ids=["x86_64", "aarch64"])
def test_the_numbers_are_those_of_the_kernels_headers(column: int) -> None:
    header = next((path for path in HEADERS[column] if path.exists()), None)
    if header is None:
        pytest.skip("no kernel headers here")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    wanted = {**seccomp.ALLOWED, **seccomp.CONDITIONAL}
    for name, numbers in wanted.items():
        number = numbers[column]
        if number is not None:
            assert known[name if name in known else RENAMED[name]] == str(number), name
    assert len(set(wanted.values())) == len(wanted)


TRY = """
import os, sys
sys.path.append(sys.argv[1])
from dipo_eval.code_runner import kernel, seccomp
kernel.forbid_new_privileges()
seccomp.install(os.getpid(), seccomp.Rules(**eval(sys.argv[2])))
try:
    exec(sys.argv[3])
    print("allowed")
except OSError as error:
    print(error.errno)
except RuntimeError as error:
    print(error)
"""
THREAD = "import threading; threading.Thread(target=int).start()"
TRIALS = {
    "a thread": ("{}", THREAD, "allowed"),
    "no thread": ("{'threads': False}", THREAD, "can't start new thread"),
    "a fork": ("{}", "os.fork()", "11"),
    "an allowed fork": ("{'processes': True}", "os.fork() or os._exit(0); os.wait()", "allowed"),
    "another program": ("{}", "os.execv('/bin/true', ['true'])", "1"),
    "another program of a fork": ("{'processes': True}", "os.execv('/bin/true', ['true'])", "1"),
    "a signal to itself": ("{}", "os.kill(os.getpid(), 0)", "allowed"),
    "a signal to another": ("{}", "os.kill(os.getppid(), 0)", "1"),
    "a signal to all": ("{}", "os.kill(-1, 0)", "1"),
    "a socket": ("{}", "import socket; socket.socket()", "1"),
    "a pair for asyncio": ("{}", "import asyncio; asyncio.run(asyncio.sleep(0))", "allowed"),
    "a pair of datagram sockets": ("{}", "import socket; socket.socketpair(1, socket.SOCK_DGRAM)", "1"),
    "memory by name": ("{}", "os.memfd_create('x')", "1"),
    "a mode": ("{'writes': False}", "os.chmod('/', 0o755)", "1"),
    "a file to write": ("{'writes': False}", "os.open('/tmp/dipo-was-here', os.O_WRONLY | os.O_CREAT)", "1"),
    "a file to read": ("{'writes': False}", "os.open('/dev/null', os.O_RDONLY)", "allowed"),
    "an allowed file to write": ("{}", "os.open('/dev/null', os.O_WRONLY)", "allowed"),
    "a lease": ("{}", "import fcntl; fcntl.fcntl(0, 1024, 1)", "1"),
    "flags of a descriptor": ("{}", "os.set_blocking(0, True); os.dup(0)", "allowed"),
    "another's limits": ("{}", "import resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU)", "1"),
    "its own limits": ("{}", "import resource; resource.prlimit(0, resource.RLIMIT_CPU)", "allowed"),
    "input for the terminal": ("{}", "import fcntl; fcntl.ioctl(0, 0x5412, b'x')", "1"),
    "a file": ("{}", "open(__import__('os').devnull).read()", "allowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRIALS)
def test_what_the_filter_lets_through(name: str) -> None:
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("no list of system calls for this processor")
    rules, code, expected = TRIALS[name]
    root = Path(__file__).resolve().parents[3] / "eval"
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(root), rules, code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split("\n")[-2] == expected

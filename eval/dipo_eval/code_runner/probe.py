"""Find out from inside a jail which of its limits hold: each is tried, not assumed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import socket
import time
from pathlib import Path

from dipo_eval.code_runner.jail import Limits


def report(descriptor: int, limits: Limits, secret: str) -> None:
    """Write the limits that hold as a JSON object of name and yes or no. ``secret``: a path that must be hidden."""
    found = {
        "cpu time": resource.getrlimit(resource.RLIMIT_CPU)[1] != resource.RLIM_INFINITY,
        "memory": 0 < resource.getrlimit(resource.RLIMIT_AS)[1] <= limits.memory_bytes,
        "file size": 0 <= resource.getrlimit(resource.RLIMIT_FSIZE)[1] <= limits.file_bytes,
        "open files": resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= limits.open_files,
        "processes": _forks_are_refused(limits.processes),
        "network": _network_is_unreachable(),
        "files": not os.path.exists(secret)
        and not os.access("/", os.W_OK)
        and not os.access("/usr", os.W_OK),
        "signals": os.getpid() < 100 and not Path(f"/proc/{os.getppid() + 1000}").exists(),
        "python": os.access(os.__file__, os.R_OK),
        "user": os.getuid() != 0 and not _has_capabilities(),
    }
    os.write(descriptor, json.dumps(found).encode())


def _forks_are_refused(most: int) -> bool:
    """Fork sleepers, at most one more than the limit allows, and end them again."""
    if resource.getrlimit(resource.RLIMIT_NPROC)[1] > most:
        return False
    children: list[int] = []
    try:
        for _ in range(most + 1):
            pid = os.fork()
            if pid == 0:
                time.sleep(5)
                os._exit(0)
            children.append(pid)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return False


def _network_is_unreachable() -> bool:
    """A datagram socket has no route to a documentation address (RFC 5737); nothing is sent."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            return error.errno == errno.ENETUNREACH and len(socket.if_nameindex()) <= 1
    return False


def _has_capabilities() -> bool:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return False
    return any(
        int(line.split()[1], 16)
        for line in lines
        if line.startswith(("CapEff", "CapPrm", "CapBnd", "CapInh"))
    )

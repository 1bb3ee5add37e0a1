"""End the children of a process that was killed: vLLM's engine core holds a GPU's memory and survives its Ray worker.

A Ray worker that ends by itself ends its children; one that is killed (a lost driver, out of memory) cannot. So a small
process waits until its standard input closes, which the worker holds open, and ends what the worker had started. Run as a
file, it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path


def guard_children(pids: list[int]) -> subprocess.Popen[bytes]:
    """Start a guard of these children of this process; the result is to be kept as long as this process lives."""
    names = [f"{pid}:{started}" for pid in pids if (started := started_at(pid))]
    return subprocess.Popen(
        [sys.executable, "-I", __file__, *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def started_at(pid: int) -> str:
    """A process's start in clock ticks after boot, field 22 of proc_pid_stat(5); "" where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def main(names: list[str]) -> None:
    """Wait for the end of the parent, then kill the processes PID:START of `names`; another with such a number lives."""
    while os.read(0, 4096):
        pass
    for name in names:
        pid, _, started = name.partition(":")
        if started_at(int(pid)) == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])

"""End the children of a process that was killed: vLLM's engine core holds a GPU's memory and survives its Ray worker.

A Ray worker that ends by itself ends its children; one that is killed (a lost driver, out of memory) cannot, and what a
fork server has started for it is no child of it. So a small process reads their numbers from its standard input, which
the worker holds open, until that closes, and ends them. It is no child itself, since a worker whose raylet has ended
kills its children first (ray/src/ray/core_worker/core_worker_shutdown_executor.cc, KillChildProcessesImmediately).
Run as a file, it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

START_SECONDS = 60.0
_TRACKER = "multiprocessing.resource_tracker"


class ChildGuard:
    """A guard of processes that this one has started, as long as this one lives."""

    def __init__(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-I", __file__],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stdin is not None
        self._input = process.stdin
        # A fork that outlives this process would otherwise hold the guard's input open.
        os.register_at_fork(after_in_child=process.stdin.close)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(START_SECONDS)

    def add(self, pids: Iterable[int]) -> None:
        """Guard these too. Prints a line where the guard is gone, and all else goes on. Does nothing in a fork.

        multiprocessing's resource tracker is left out: it ends by itself, and frees the shared memory of what was killed.
        """
        if self._input.closed:
            return
        guarded = [pid for pid in pids if _TRACKER not in _read(pid, "cmdline")]
        try:
            self._input.write("".join(f"{pid}:{started_at(pid)}\n" for pid in guarded).encode())
        except BrokenPipeError:
            print(
                "the guard of vLLM's processes has ended: should this process be killed, they may go on",
                flush=True,
            )

    @contextlib.contextmanager
    def of_new_processes(self) -> Iterator[None]:
        """Guard each process that multiprocessing starts meanwhile, from its first moment on.

        An engine core whose worker is killed while it starts would wait five minutes for an answer
        (vllm/v1/engine/core.py, HANDSHAKE_TIMEOUT_MINS).
        """

        def start_guarded(process: BaseProcess) -> None:
            start(process)
            assert process.pid is not None
            self.add([process.pid])

        start = BaseProcess.start
        with mock.patch.object(BaseProcess, "start", start_guarded):
            yield


def started_at(pid: int) -> str:
    """A process's start in clock ticks after boot, field 22 of proc_pid_stat(5); "" where there is no such process."""
    stat = _read(pid, "stat")
    return stat.rpartition(")")[2].split()[19] if stat else ""


def _read(pid: int, name: str) -> str:
    """A file of proc(5) on a process; "" where there is no such process."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def main() -> None:
    """Read processes PID:START until who has started this one ends, then kill them; another with such a number lives."""
    if os.fork():
        os._exit(0)
    for name in sys.stdin.read().split():
        pid, _, started = name.partition(":")
        if started and started_at(int(pid)) == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


if __name__ == "__main__":
    main()

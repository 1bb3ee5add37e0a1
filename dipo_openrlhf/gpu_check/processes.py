"""One part of a check: started with a deadline, followed, and ended with everything that it started."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from dipo_eval.files.processes import start_session
from dipo_openrlhf.record.processes import end_processes, processes_of

MARK = "DIPO_GPU_CHECK"
POLL_SECONDS = 0.1
KILL_SECONDS = 30.0


@dataclass(frozen=True)
class PartResult:
    """How a part ended: "done", "killed" (as it was to be), "failed" or "late"; why, in one line, unless it is done."""

    name: str
    ended: str
    seconds: float
    why: str = ""

    @property
    def ok(self) -> bool:
        return self.ended in ("done", "killed")


def run_part(
    name: str,
    folder: Path,
    limit: float,
    *,
    kill_when: Callable[[], bool] | None = None,
    on_poll: Callable[[], None] = lambda: None,
) -> PartResult:
    """Run one part of part.py to its end, at most `limit` seconds; nothing of it is alive afterwards.

    kill_when: SIGKILL for every process of the part as soon as it is true; a part that ends before has failed.
    """
    mark, log, started = uuid.uuid4().hex, folder / f"{name}.log", time.monotonic()
    command = [sys.executable, "-P", "-m", "dipo_openrlhf.gpu_check.part", name, str(folder)]
    process = start_session(command, log, {MARK: mark})

    def result(ended: str, why: str = "") -> PartResult:
        return PartResult(name, ended, time.monotonic() - started, why)

    try:
        while process.poll() is None:
            if kill_when is not None and kill_when():
                kill_all(mark, process.pid)
                process.wait(KILL_SECONDS)
                return result("killed")
            if time.monotonic() - started > limit:
                return result("late", f"took longer than {limit:.0f} s ({log})")
            on_poll()
            time.sleep(POLL_SECONDS)
        if process.returncode != 0:
            return result("failed", f"{last_line(log) or f'status {process.returncode}'} ({log})")
        if kill_when is not None:
            return result("failed", f"ended before it was to be killed ({log})")
        return result("done")
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close() if process.stdin else None
        end_all(mark, process.pid)
        with contextlib.suppress(Exception):
            process.wait(KILL_SECONDS)


def sessions_of(mark: str, own: int) -> set[int]:
    """Sessions of the part's processes: some of Ray's overwrite their environment and are found by that alone."""
    found = {own}
    for process in processes_of(mark, MARK):
        with contextlib.suppress(OSError):
            found.add(os.getsid(process.pid))
    return found - {os.getsid(0)}


def kill_all(mark: str, own: int) -> None:
    """SIGKILL at once, as when a machine fails: nothing of the part can save or clean up."""
    sessions, deadline = sessions_of(mark, own), time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        found = {one.pid: one for session in sessions for one in processes_of(mark, MARK, session)}
        if not found:
            return
        for process in found.values():
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(list(found.values()), timeout=1)


def end_all(mark: str, own: int) -> None:
    """End what is left of a part: SIGTERM first, so that Ray and vLLM can clean up."""
    sessions = sessions_of(mark, own)
    if any(processes_of(mark, MARK, session) for session in sessions):
        for session in sessions:
            end_processes(mark, session=session, variable=MARK)


def last_line(log: Path) -> str:
    """The last line of a log that says something, of its last 64 KiB."""
    if not log.is_file():
        return ""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 65536))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or [line for line in lines if line] or [""])[-1].removeprefix("error: ")

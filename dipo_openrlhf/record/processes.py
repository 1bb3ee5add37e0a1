"""End everything a run started, wherever Ray or vLLM put it.

Every process of a run inherits the environment variable DIPO_RUN_ID, so that a raylet, a worker or an engine that
was moved to a session of its own is found all the same. Some write their title over their environment (Ray's agents do,
and outlive a raylet that was killed): those are found by the session of the process that the run was started with.
"""

from __future__ import annotations

import os
import time

import psutil

RUN_ID = "DIPO_RUN_ID"


def processes_of(run_id: str, variable: str = RUN_ID, session: int | None = None) -> list[psutil.Process]:
    """Live processes whose environment has `run_id` under `variable`, or that are of `session`, except this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if os.getsid(process.pid) == session or process.environ().get(variable) == run_id:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or another user's
    return found


def end_processes(run_id: str, grace: float = 5.0, session: int | None = None) -> int:
    """SIGTERM, then SIGKILL after `grace` seconds. Returns how many were still alive at the start.

    `session`: of the process that the run was started with, where that one leads a session (start_new_session).
    """
    alive = processes_of(run_id, session=session)
    for process in alive:
        _signal(process, kill=False)
    psutil.wait_procs(alive, timeout=grace)
    deadline = time.monotonic() + 10
    while (left := processes_of(run_id, session=session)) and time.monotonic() < deadline:
        for process in left:
            _signal(process, kill=True)
        psutil.wait_procs(left, timeout=1)
    return len(alive)


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.Error:
        pass

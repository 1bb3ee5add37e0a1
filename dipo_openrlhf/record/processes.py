"""End everything a run started, wherever Ray or vLLM put it.

Every process of a run inherits the environment variable DIPO_RUN_ID, so that a raylet, a worker or an engine that
was moved to a session of its own is found too. Some overwrite their environment with their title (Ray's agents do,
and outlive a raylet that was killed): those are found by the session of the run's first process.
"""

from __future__ import annotations

import contextlib
import os
import time

import psutil

RUN_ID = "DIPO_RUN_ID"
EXTENSIONS = "TORCH_EXTENSIONS_DIR"  # where torch keeps what it compiles at run time, and a lock meanwhile


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


def end_processes(run_id: str, grace: float = 5.0, session: int | None = None, variable: str = RUN_ID) -> int:
    """SIGTERM, then SIGKILL after `grace` seconds. Returns how many were still alive at the start.

    `session`: of the run's first process, where that one leads a session (start_new_session).
    """
    alive = processes_of(run_id, variable, session)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(alive, timeout=grace)
    deadline = time.monotonic() + 10
    while (left := processes_of(run_id, variable, session)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=1)
    return len(alive)

"""Processes: starting one in a session of its own, ending with the parent, and whether one has certainly ended."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def start_session(
    command: Sequence[str], log: Path, environment: Mapping[str, str], folder: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that leads a session (Ctrl-C does not reach it), with its output appended to `log`.

    Its standard input stays open while this process lives: see end_with_parent. `environment` is added to this one's.
    """
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end_with_parent(end: Callable[[], None] | None = None) -> None:
    """Call `end`, in a thread, once standard input closes: the parent, which holds the other end, is gone.

    Default: SIGTERM to this process. What arrives on standard input is discarded.
    """

    def wait() -> None:
        while os.read(0, 4096):
            pass
        if end is None:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            end()

    threading.Thread(target=wait, daemon=True).start()


def process_identity(pid: int) -> str:
    """Kernel boot, process namespace, process id and start time; "" where the system does not report them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
        return f"{boot}/{namespace}/{pid}/{_start_time(pid)}"
    except (OSError, IndexError):
        return ""


def is_local(identity: str) -> bool:
    """Whether a process is of this kernel and process namespace, so that it can be looked up."""
    here = process_identity(os.getpid()).split("/")[:2]
    return len(here) == 2 and identity.split("/")[:2] == here


def is_gone(identity: object) -> bool:
    """Whether the process has certainly ended: it is local, and no such process runs."""
    if not isinstance(identity, str) or not is_local(identity):
        return False
    try:
        _, _, pid, started = identity.split("/")
        return _start_time(int(pid)) != started
    except FileNotFoundError:
        return True
    except (OSError, ValueError, IndexError):
        return False


def _start_time(pid: int) -> str:
    """Clock ticks after boot, field 22 of proc_pid_stat(5); "" for a zombie, which does nothing any more."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]

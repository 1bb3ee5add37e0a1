"""A Ray worker that is a fork of the run's fork server (fork_server.py), where Ray would start two interpreters.

Ray's raylet starts this file with the arguments of ray/_private/workers/setup_worker.py. It imports the standard library
alone, hands its arguments, environment, folder, signal mask and standard streams to the fork, and stays until that ends:
so the raylet has a child for the worker that it has started. The worker registers with its own process id, the one
that the raylet ends and waits for (ray/src/ray/raylet/worker_pool.cc, WorkerPool::RegisterWorker).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.reduction import ForkingPickler, sendfds
from pathlib import Path
from typing import Any, NoReturn

ADDRESS = "DIPO_FORK_SERVER"  # the server's socket, in the environment of all processes of a run
STREAMS = (0, 1, 2)
CONTEXT, LANGUAGE = "--serialized-runtime-env-context=", "--language="


def connect(address: str, fds: list[int]) -> tuple[int, int]:
    """(status to read, data to write) of a new fork, as multiprocessing.forkserver's connect_to_new_process,
    of a server that another process has started. fds: that of the resource tracker first. Raises OSError.
    """
    status, status_of_fork = os.pipe()
    data_of_fork, data = os.pipe()
    try:
        with socket.socket(socket.AF_UNIX) as client, open(os.devnull, "rb") as nothing:
            client.connect(address)
            # In the third place is what keeps a server alive that nobody owns: ours ends with the driver.
            sendfds(client, [data_of_fork, status_of_fork, nothing.fileno(), *fds])
    except OSError:
        os.close(status)
        os.close(data)
        raise
    finally:
        os.close(status_of_fork)
        os.close(data_of_fork)
    return status, data


@dataclass(frozen=True)
class WorkerFork:
    """What the fork becomes: `python ARGUMENTS...` in this folder, with these variables and blocked signals."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    blocked: list[int]

    def _bootstrap(self, parent_sentinel: int) -> int:
        """Called in the fork, by multiprocessing.spawn._main, as of any process object. The exit status."""
        import atexit
        import runpy
        import threading

        _take_streams()
        os.close(parent_sentinel)
        set_environment(self.environment)
        os.chdir(self.folder)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the server's
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()  # a new process has random numbers of its own, as those of `random` are after a fork
        sys.argv[:] = self.arguments
        sys.path.insert(0, str(Path(self.arguments[0]).parent))
        try:
            runpy.run_path(self.arguments[0], run_name="__main__")
            status: object = 0
        except SystemExit as end:
            status = end.code
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        return status if isinstance(status, int) else int(status is not None)


def set_environment(values: Mapping[str, str]) -> None:
    """Make these the variables of this process. What is the same already stays where it is in memory: a process that sets
    its title, as Ray's workers do, looks for its command line before the first of them.
    """
    for name in [name for name in os.environ if name not in values]:
        del os.environ[name]
    for name, value in values.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _take_streams() -> None:
    """The requester's standard streams; no multiprocessing parent has started this process, and it has no tracker."""
    server: Any = forkserver._forkserver
    tracker: Any = resource_tracker._resource_tracker
    sys.stdout.flush()
    for stream, given in zip(STREAMS, server._inherited_fds, strict=True):
        os.dup2(given, stream)
        os.close(given)
    sys.stdin = os.fdopen(STREAMS[0], closefd=False)
    for fd in (server._forkserver_alive_fd, tracker._fd):
        os.close(fd)
    server._forkserver_alive_fd = tracker._fd = tracker._pid = None
    server._forkserver_address = server._inherited_fds = None


def worker_environment(context: dict[str, object]) -> dict[str, str] | None:
    """This process's, with the variables of the runtime environment as ray/_private/utils.py, update_envs puts them; None
    where the worker needs an interpreter of its own.
    """
    if context.get("command_prefix") or context.get("override_worker_entrypoint") or context.get("java_jars"):
        return None
    if context.get("py_executable") not in (None, sys.executable):
        return None
    values = context.get("env_vars") or {}
    assert isinstance(values, dict)
    for name, value in values.items():
        os.environ[name] = re.sub(r"\$\{[A-Z0-9_]+\}", "", os.path.expandvars(value))
    return dict(os.environ)


def request(address: str, arguments: list[str], environment: dict[str, str]) -> int:
    """Ask for the worker, and return the status to read. Raises OSError."""
    sys.path.insert(0, str(Path(__file__).parents[3]))
    from dipo_openrlhf.openrlhf_patch.cpu import forked_worker  # by the name under which the server knows it

    blocked = sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    worker = forked_worker.WorkerFork(arguments, environment, os.getcwd(), blocked)
    text = io.BytesIO()
    ForkingPickler(text).dump({})  # what multiprocessing.spawn.prepare restores: nothing
    ForkingPickler(text).dump(worker)
    with open(os.devnull, "rb") as nothing:
        status, data = connect(address, [nothing.fileno(), *STREAMS])
    with open(data, "wb") as file:
        file.write(text.getbuffer())
    return status


def main(arguments: list[str]) -> NoReturn:
    """`arguments`: ray/_private/workers/default_worker.py and its own, with those of setup_worker beside it."""
    given = {
        name: each.removeprefix(name)
        for name in (CONTEXT, LANGUAGE)
        for each in arguments
        if each.startswith(name)
    }
    rest = [each for each in arguments if not each.startswith((CONTEXT, LANGUAGE))]
    before = dict(os.environ)
    environment = worker_environment(json.loads(given.get(CONTEXT) or "{}"))
    if environment is not None and given.get(LANGUAGE) == "PYTHON" and ADDRESS in environment:
        with contextlib.suppress(OSError, EOFError):  # no server: it may have been killed
            status = request(environment[ADDRESS], rest, environment)
            pid = forkserver.read_signed(status)
            _wait(pid, status)
    setup = str(Path(arguments[0]).with_stem("setup_worker"))
    os.execve(sys.executable, [sys.executable, setup, *arguments], before)


def _wait(pid: int, status: int) -> NoReturn:
    """Until the worker ends; what ends this process ends it."""

    def end(number: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    signal.signal(signal.SIGTERM, end)
    try:
        code = forkserver.read_signed(status)
    except (OSError, EOFError):  # the server has ended
        code = 1
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(sys.argv[1:])

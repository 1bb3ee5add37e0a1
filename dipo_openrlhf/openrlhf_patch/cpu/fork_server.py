"""One import for all processes of a run on CPU: a server that has torch, vLLM and DeepSpeed loaded, and forks.

Every process of a run needs the same seconds of imports. The driver makes them first, while it has one thread, has
computed nothing and knows no Ray; then it forks the server, which only forks, and Ray's workers (forked_worker.py) and
vLLM's engine core (ForkedProcess) are forks of that. The server is multiprocessing's own, and ends with the driver.

On GPUs there is none: CUDA must not be initialised before a fork, and imports are a small part of a start there.
DIPO_FORK=0 starts every process by itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import multiprocessing.context
import multiprocessing.process
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing import forkserver, popen_forkserver, resource_tracker, spawn, util
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NoReturn

from dipo_eval.workers.garbage import collect_as_usual, collect_seldom
from dipo_openrlhf.openrlhf_patch.cpu.forked_worker import ADDRESS, connect, set_environment

ENABLED = "DIPO_FORK"
LONGEST_ADDRESS = 107  # bytes: unix(7), sun_path, with its end
# What OpenRLHF, DeepSpeed's actors and vLLM's engine import, without Ray: it reads a worker's job and raylet from the
# environment as it is imported (ray/src/ray/common/ray_config.h, RayConfig).
PRELOADED = (
    "transformers",
    "deepspeed",
    "vllm.v1.core.sched.scheduler",
    "vllm.v1.engine.input_processor",
    "vllm.v1.engine.output_processor",
    "vllm.v1.worker.cpu_worker",
    "datasets",
    "peft",
    "torchdata",
)


def preload() -> bool:
    """Import what forks need. False where this process must not be forked: another thread runs in it, or it has Ray."""
    collect_seldom()
    try:
        for module in PRELOADED:
            if "ray" in sys.modules:
                return False
            importlib.import_module(module)
    finally:
        collect_as_usual()
    return "ray" not in sys.modules and threading.active_count() == 1


@contextlib.contextmanager
def running() -> Iterator[None]:
    """A fork server of this process, whose address is in the environment of what is started meanwhile.

    None where the folder of temporary files has too long a path for a socket: then every process starts by itself.
    """
    folder = tempfile.mkdtemp(prefix="dipo_fork_")  # for its owner alone
    address = str(Path(folder, "server"))
    if len(os.fsencode(address)) > LONGEST_ADDRESS:
        os.rmdir(folder)
        yield
        return
    alive, ours = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        os.set_inheritable(listener.fileno(), False)
        gc.collect()
        gc.freeze()  # a collection in a fork would copy every page
        sys.stdout.flush()
        sys.stderr.flush()
        if os.fork() == 0:
            os.close(ours)
            _serve(listener, alive, folder)
    os.close(alive)
    os.environ[ADDRESS] = address
    try:
        yield
    finally:
        os.close(ours)
        os.environ.pop(ADDRESS, None)
        shutil.rmtree(folder, ignore_errors=True)


def _serve(listener: socket.socket, alive: int, folder: str) -> NoReturn:
    """Until the driver has ended, and all forks after it: in a container nobody may wait for an orphan.
    So SIGTERM alone does not end it.
    """
    server, status = os.getpid(), 1
    try:
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        forkserver.main(listener.detach(), alive, [])
    except SystemExit:
        status = 0
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(ChildProcessError):  # there is none left
            while os.getpid() == server:
                os.waitpid(-1, 0)
    finally:
        os._exit(status)


def _restored(environment: dict[str, str], data: dict[str, Any]) -> dict[str, Any]:
    """Called in the fork, where its parent's data are unpickled."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the server's
    # vLLM's engine unfreezes at its end, and would then look for garbage among all that was preloaded: 3 s of a core
    # (vllm/v1/engine/core.py, EngineCore.shutdown).
    vars(gc)["unfreeze"] = lambda: None
    set_environment(environment)
    return data


class _Preparation:
    """What multiprocessing.spawn.prepare restores, and the parent's environment."""

    def __init__(self, name: str) -> None:
        data = spawn.get_preparation_data(name)
        # The parent's main module is Ray's worker, of which nothing is needed.
        self.data = {key: value for key, value in data.items() if not key.startswith("init_main")}

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (dict(os.environ), self.data)


class _ForkedPopen(popen_forkserver.Popen):
    """As multiprocessing's, of the run's server."""

    _fds: list[int]

    def _launch(self, process: Any) -> None:
        text = io.BytesIO()
        multiprocessing.context.set_spawning_popen(self)
        try:
            ForkingPickler(text).dump(_Preparation(process._name))
            ForkingPickler(text).dump(process)
        finally:
            multiprocessing.context.set_spawning_popen(None)
        tracker: Any = resource_tracker.getfd()
        self.sentinel, data = connect(os.environ[ADDRESS], [tracker, *self._fds])
        kept = os.dup(data)  # by whose end the fork sees that of its parent
        close: Any = util.close_fds  # type: ignore[attr-defined]
        self.finalizer = util.Finalize(self, close, (kept, self.sentinel))
        with open(data, "wb") as file:
            file.write(text.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


class ForkedProcess(multiprocessing.process.BaseProcess):
    """A process of ForkedContext."""

    _start_method = "forkserver"

    @staticmethod
    def _Popen(process: Any) -> _ForkedPopen:  # noqa: N802
        return _ForkedPopen(process)


class ForkedContext(multiprocessing.context.ForkServerContext):
    """Whose processes are forks of the run's server."""

    Process = ForkedProcess  # type: ignore[assignment]


def context(original: Any) -> Any:
    """In place of vllm/utils/system_utils.py, get_mp_context."""
    given = original()
    return ForkedContext() if os.environ.get(ADDRESS) else given

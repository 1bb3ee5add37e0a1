"""A worker process with an environment of its own, and the JSON lines that are exchanged with it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

KILL_LIMIT_S = 15.0
WRITE_LIMIT_S = 15.0
"""For a task to be taken: an idle worker does so at once."""
_ROOT = str(Path(__file__).resolve().parents[3])
_COMMAND = "import sys; sys.path.append(sys.argv[1]); from {} import main; main()"
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR")
_FIXED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class WorkerDiedError(Exception):
    """The worker died or its pipe broke."""


class WorkerTimeoutError(Exception):
    """No line within the deadline."""


class PipedProcess:
    """A child process that is given a JSON object a line and answers with one. Used by one thread at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._input, self._output = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        self._buffer = b""
        os.set_blocking(self._input.fileno(), False)

    def write(self, task: Mapping[str, Any], seconds: float = WRITE_LIMIT_S) -> None:
        """Send one task: WorkerTimeoutError if it is not taken in time, WorkerDiedError if it is gone."""
        left = memoryview(json.dumps(task).encode("ascii") + b"\n")
        deadline = time.monotonic() + seconds
        try:
            poller = select.poll()
            poller.register(self._input.fileno(), select.POLLOUT)
            while left:
                wait_s = deadline - time.monotonic()
                if wait_s <= 0 or not poller.poll(wait_s * 1000):
                    raise WorkerTimeoutError("time limit")
                left = left[self._input.write(left) or 0 :]
        except (OSError, ValueError) as error:  # ValueError: closed
            raise WorkerDiedError(f"pipe: {error}") from None

    def read(self, seconds: float) -> dict[str, Any]:
        """The next message. WorkerTimeoutError after ``seconds``, WorkerDiedError where the worker is gone."""
        descriptor = self._output.fileno()
        poller = select.poll()  # not select(): a descriptor above 1023 is normal in a trainer
        poller.register(descriptor, select.POLLIN | select.POLLHUP)
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not poller.poll(left * 1000):
                raise WorkerTimeoutError("time limit")
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise WorkerDiedError("ended")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return dict(json.loads(line))

    def close_pipes(self) -> None:
        """The child reads end-of-file and ends by itself."""
        for pipe in (self._input, self._output):
            with contextlib.suppress(OSError):
                pipe.close()


class WorkerProcess(PipedProcess):
    """A child in a session of its own: ``module``'s main, run by ``python``.

    argv[2] is ``settings`` as JSON, with the path of an empty folder of its own as "folder". Its environment is
    ours less almost everything: no key or token of ours is there for a model's code to find.
    """

    def __init__(
        self, python: Path, module: str, settings: Mapping[str, Any], variables: Mapping[str, str]
    ) -> None:
        self._folder = tempfile.mkdtemp(prefix="dipo-worker-")
        self._remove_folder = weakref.finalize(self, _remove, self._folder)  # also where nobody closes it
        settings = {**settings, "folder": self._folder}
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        process = subprocess.Popen(
            [str(python), "-P", "-s", "-c", _COMMAND.format(module), _ROOT, json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            env={**environment, **_FIXED, **variables}, start_new_session=True,
        )  # fmt: skip
        super().__init__(process)

    def close(self) -> None:
        """Let the worker end by itself: it reads end-of-file. Killed where it does not."""
        with contextlib.suppress(OSError):
            self._input.close()
        try:
            self.process.wait(KILL_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        with contextlib.suppress(OSError):
            self._output.close()
        self._remove_folder()

    def kill(self) -> None:
        """Kill the worker and what it started: its jails die with their parents, so its session is enough."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(KILL_LIMIT_S)
        self.close_pipes()
        self._remove_folder()


def _remove(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)

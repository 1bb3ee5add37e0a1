"""One worker process and the JSON lines that are exchanged with it: the parent's end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

START_LIMIT_S = 120.0
WRITE_LIMIT_S = 15.0  # an idle worker takes a task at once
END_LIMIT_S = 15.0
MAX_LINE_BYTES = 256 * 2**20
_ROOT = str(Path(__file__).resolve().parents[2])
_COMMAND = "import sys; sys.path.append(sys.argv[1]); from dipo_eval.workers.server import main; main()"
_OWN_PYTHON = Path(sys.executable)
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR")
_KEPT_BY_OWN_PYTHON = ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE")
_FIXED = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


class WorkerDiedError(Exception):
    """The worker died or its pipe broke."""


class WorkerTimeoutError(Exception):
    """No line within the deadline."""


class WorkerStartError(WorkerDiedError):
    """The worker did not become ready. ``kind`` names what its ``load`` raised, "" where it died or was late."""

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Program:
    """What a worker runs: ``load``, as "module:function", takes the settings and returns the function that answers.

    ``settings`` are plain JSON; the worker adds "folder", an empty folder of its own. ``memory_bytes`` limits its
    address space. ``variables`` are added to its environment.
    """

    load: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    memory_bytes: int | None = None
    python: Path = _OWN_PYTHON
    variables: Mapping[str, str] = field(default_factory=dict)


class PipedProcess:
    """A child process that is given a JSON object a line and answers with one. Used by one thread at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._input, self._output = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        self._buffer = bytearray()
        os.set_blocking(self._input.fileno(), False)

    def write(self, message: Mapping[str, Any], seconds: float = WRITE_LIMIT_S) -> None:
        """Send one message: WorkerTimeoutError if it is not taken in time, WorkerDiedError if the child is gone."""
        left = memoryview(json.dumps(message).encode("ascii") + b"\n")
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
        """The next message: WorkerTimeoutError if there is none in time, WorkerDiedError if the child is gone."""
        descriptor = self._output.fileno()
        poller = select.poll()  # not select(): a descriptor above 1023 is normal in a trainer
        poller.register(descriptor, select.POLLIN | select.POLLHUP)
        deadline = time.monotonic() + seconds
        end = self._buffer.find(b"\n")
        while end < 0:
            left = deadline - time.monotonic()
            if left <= 0 or not poller.poll(left * 1000):
                raise WorkerTimeoutError("time limit")
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise WorkerDiedError("ended")
            found = chunk.find(b"\n")
            end = len(self._buffer) + found if found >= 0 else -1
            self._buffer += chunk
            if len(self._buffer) > MAX_LINE_BYTES:
                raise WorkerDiedError("an answer too long")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or self._buffer:
            raise WorkerDiedError("not one answer")
        return message

    def close_input(self) -> None:
        """The child reads end-of-file and ends by itself."""
        with contextlib.suppress(OSError):
            self._input.close()

    def close_pipes(self) -> None:
        """Let go of both ends."""
        self.close_input()
        with contextlib.suppress(OSError):
            self._output.close()


class Worker(PipedProcess):
    """A process that serves a program (server.py), in a session of its own. Raises OSError where it cannot start.

    Its environment is ours less almost everything: no key or token of ours is there for a model's code to find.
    """

    def __init__(self, program: Program) -> None:
        self.folder = tempfile.mkdtemp(prefix="dipo-worker-")
        self._remove_folder = weakref.finalize(self, _remove, self.folder)  # also where nobody closes it
        own_settings = {"folder": self.folder, "load": program.load, "memory_bytes": program.memory_bytes}
        own = program.python == _OWN_PYTHON
        kept = (*_KEPT, *(_KEPT_BY_OWN_PYTHON if own else ()))
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        flags = ["-P"] if own else ["-P", "-s"]
        super().__init__(
            subprocess.Popen(
                [str(program.python), *flags, "-c", _COMMAND, _ROOT, json.dumps({**program.settings, **own_settings})],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                env={**environment, **_FIXED, **program.variables}, start_new_session=True,
            )
        )  # fmt: skip
        self.ready = False
        self._asked = 0

    def wait_until_ready(self) -> None:
        """Return once it has loaded its program. Raises WorkerStartError."""
        if self.ready:
            return
        try:
            message = self.read(START_LIMIT_S)
        except (WorkerDiedError, WorkerTimeoutError) as error:
            raise WorkerStartError(str(error)) from None
        if not message["ready"]:
            raise WorkerStartError(message["reason"], message["error"])
        self.ready = True

    def ask(self, task: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer to ``task`` within ``limit_s`` seconds. Raises WorkerTimeoutError, WorkerDiedError."""
        self._asked += 1
        self.write({"number": self._asked, "limit_s": limit_s, "task": task})
        reply = self.read(limit_s)
        if reply.get("number") != self._asked or not isinstance(reply.get("answer"), dict):
            raise WorkerDiedError("not one answer")
        return dict(reply["answer"])

    def close(self) -> None:
        """Let the worker end by itself; killed where it does not, or is still loading."""
        self.close_input()
        try:
            self.process.wait(END_LIMIT_S if self.ready else 0)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            self._let_go()

    def kill(self) -> None:
        """Kill the worker and what it started: its jails die with their parents, so its session is enough."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_LIMIT_S)
        self._let_go()

    def _let_go(self) -> None:
        self.close_pipes()
        self._remove_folder()

    def forget(self) -> None:
        """In a forked child: let go of the parent's worker, which still sees its parent die."""
        self.close_pipes()
        self._remove_folder.detach()


def _remove(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)

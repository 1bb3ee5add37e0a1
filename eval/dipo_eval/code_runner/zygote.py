"""A process that holds no data and forks the jails of solutions, so that these find nothing of others in memory.

It is started by exec: no address in it tells of the judge's, which compares. It reads no job itself: each is read, run
and answered by a process forked for it, so that no solution and no result of one is left in the memory of the next.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import msgpack

from dipo_eval.code_runner import cgroup, jail, kernel
from dipo_eval.code_runner.record import Part, record

_COMMAND = f"import sys; sys.path.append(sys.argv[1]); from {__name__} import main; main()"
_ROOT = str(Path(__file__).resolve().parents[2])
_END_S = 10.0


class Zygote:
    """The judge's end: ``run`` sends a part and waits for what the jail wrote.

    Messages are msgpack; of the connection only ``send_bytes`` and ``recv_bytes`` are used, which pickle nothing.
    """

    def __init__(self, memory_bytes: int, folder: str, walls: jail.Walls) -> None:
        self._channel, theirs = Pipe()
        settings = {
            "memory_bytes": memory_bytes, "folder": folder, "walls": walls, "channel": theirs.fileno(),
        }  # fmt: skip
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-c", _COMMAND, _ROOT, json.dumps(settings)],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        self.pid = self._process.pid
        self.limits: dict[str, bool] = _receive(self._channel)

    def run(self, part: Part, seconds: float) -> jail.Outcome:
        """Raises EOFError or OSError where the zygote is gone."""
        _send(self._channel, {"part": dataclasses.asdict(part), "seconds": seconds})
        return jail.Outcome(**_receive(self._channel))

    def close(self) -> None:
        """It reads end-of-file and ends, its jails with it."""
        self._channel.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _send(channel: Connection, message: dict[str, Any]) -> None:
    # A program may hold half a character: it is Python's to refuse.
    channel.send_bytes(msgpack.packb(message, unicode_errors="surrogatepass"))


def _receive(channel: Connection) -> dict[str, Any]:
    """The next message. Both ends are our own processes; what a jail wrote travels as bytes. Raises EOFError."""
    message: dict[str, Any] = msgpack.unpackb(channel.recv_bytes(), unicode_errors="surrogatepass")
    return message


def main() -> None:
    """Serve jobs until the judge is gone. argv[2]: JSON with memory_bytes, folder, walls and channel."""
    kernel.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = json.loads(sys.argv[2])
    channel = Connection(settings["channel"])
    import evalplus.eval  # noqa: F401  (a jail starts with it loaded)

    limits = jail.Limits(settings["memory_bytes"])
    group = cgroup.create(limits.memory_bytes)
    place = jail.Place(settings["folder"], settings["walls"])
    try:
        if group is not None:
            group.enter()  # once, and so with every jail: each move takes the kernel 20 ms
        _send(channel, {"control group": group is not None})
        while channel.poll(None):
            pid = os.fork()
            if pid == 0:
                _answer(channel, limits, place)
            if os.waitpid(pid, 0)[1] != 0:
                break  # the end, or half an answer is on its way: the judge reads end-of-file
    finally:
        if group is not None:
            group.leave()


def _answer(channel: Connection, limits: jail.Limits, place: jail.Place) -> NoReturn:
    """Run the one job that waits in the channel, in a process that ends with it."""
    try:
        kernel.die_with_parent()
        job = _receive(channel)
        part = Part(**job["part"])
        try:
            outcome = jail.run_jailed(
                lambda descriptor: record(part, descriptor), job["seconds"], limits, place
            )
        except OSError as error:
            outcome = jail.Outcome(b"", "jail", f"{type(error).__name__}: {error}")
        _send(channel, dataclasses.asdict(outcome))
        os._exit(0)
    finally:
        os._exit(1)

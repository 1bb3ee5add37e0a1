"""A process that holds no data and forks the jails of solutions, so that these find nothing of others in memory.

It is started by exec: no address in it tells of the judge's, which compares. It reads no job itself: each is read, run
and answered by a process forked for it, so that no solution and no result of one is left in the memory of the next.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import msgpack

from dipo_eval.code_runner import cgroup, jail, kernel
from dipo_eval.code_runner.record import Part, record

_LENGTH = struct.Struct(">Q")
_COMMAND = f"import sys; sys.path.append(sys.argv[1]); from {__name__} import main; main()"
_ROOT = str(Path(__file__).resolve().parents[2])
_END_S = 10.0


class Zygote:
    """The judge's end: ``run`` sends a part and waits for what the jail wrote."""

    def __init__(self, memory_bytes: int, folder: str, walls: jail.Walls) -> None:
        self._socket, theirs = socket.socketpair()
        settings = {
            "memory_bytes": memory_bytes,
            "folder": folder,
            "walls": walls,
            "channel": theirs.fileno(),
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-c", _COMMAND, _ROOT, json.dumps(settings)],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        self.pid = self._process.pid
        self.limits = _receive(self._socket) or {}

    def run(self, part: Part, seconds: float) -> jail.Outcome:
        """Raises EOFError or OSError where the zygote is gone."""
        _send(self._socket, {"part": dataclasses.asdict(part), "seconds": seconds})
        reply = _receive(self._socket)
        if reply is None:
            raise EOFError("the process that makes the jails is gone")
        return jail.Outcome(**reply)

    def close(self) -> None:
        """It reads end-of-file and ends, its jails with it."""
        self._socket.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Serve jobs until the judge is gone. argv[2]: JSON with memory_bytes, folder, walls and channel."""
    kernel.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = json.loads(sys.argv[2])
    channel = socket.socket(fileno=settings["channel"])
    import evalplus.eval  # noqa: F401  (a jail starts with it loaded)

    limits = jail.Limits(settings["memory_bytes"])
    group = cgroup.create(limits.memory_bytes)
    place = jail.Place(settings["folder"], settings["walls"])
    try:
        if group is not None:
            group.enter()  # once, and so with every jail: each move takes the kernel 20 ms
        _send(channel, {"control group": group is not None})
        while channel.recv(1, socket.MSG_PEEK):  # the first byte of a length, and empty at the end
            pid = os.fork()
            if pid == 0:
                _answer(channel, limits, place)
            if os.waitpid(pid, 0)[1] != 0:
                break  # half an answer may be on its way: the judge reads end-of-file
    finally:
        if group is not None:
            group.leave()


def _answer(channel: socket.socket, limits: jail.Limits, place: jail.Place) -> NoReturn:
    """Run the one job that waits in the channel, in a process that ends with it."""
    try:
        kernel.die_with_parent()
        job = _receive(channel)
        if job is not None:
            _send(channel, dataclasses.asdict(_run(Part(**job["part"]), job["seconds"], limits, place)))
            os._exit(0)
    finally:
        os._exit(1)


def _run(part: Part, seconds: float, limits: jail.Limits, place: jail.Place) -> jail.Outcome:
    try:
        return jail.run_jailed(lambda descriptor: record(part, descriptor), seconds, limits, place)
    except OSError as error:
        return jail.Outcome(b"", "jail", f"{type(error).__name__}: {error}")


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    data = msgpack.packb(message)
    channel.sendall(_LENGTH.pack(len(data)) + data)


def _receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next message, None at the end. Both ends are our own processes; what a jail wrote travels as bytes."""
    header = _exactly(channel, _LENGTH.size)
    data = None if header is None else _exactly(channel, _LENGTH.unpack(header)[0])
    return None if data is None else msgpack.unpackb(data)


def _exactly(channel: socket.socket, count: int) -> bytes | None:
    chunks = bytearray()
    while len(chunks) < count:
        chunk = channel.recv(min(count - len(chunks), 1 << 20))
        if not chunk:
            return None
        chunks += chunk
    return bytes(chunks)
